//! Two machines are two caches; the service is a bucket in the memory of this process.

use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::data::{Reject, RejectKind, Source};
use crate::storage::{Location, StorageError};
use crate::table::tests::{batch, provenance, write_table};
use crate::table::{REJECTS, ReferenceTable, Rejects, write_part};

/// A machine with a cache of its own, and the URL of a table in a bucket that all machines of a test share.
struct Machine {
    folder: TempDir,
    url: ObjectUrl,
    bucket: Bucket,
}

impl Machine {
    fn at(url: &str) -> Self {
        let Location::Object(url) = Location::of(url.as_ref()).unwrap() else { panic!("{url}") };
        let bucket = Bucket::of(&url).unwrap();
        Self { folder: tempfile::tempdir().unwrap(), url, bucket }
    }

    fn cache(&self) -> Cache {
        Cache::at(self.folder.path(), u64::MAX)
    }

    fn try_claim(&self) -> Result<TableFolder, TableError> {
        TableFolder::claim_hosted(self.bucket.clone(), self.url.clone(), self.cache())
    }

    fn claim(&self) -> TableFolder {
        self.try_claim().unwrap()
    }

    fn fetch(&self) -> Result<PathBuf, TableError> {
        fetch_table(&self.bucket, &self.url, &self.cache())
    }

    fn has(&self, name: &str) -> bool {
        self.bucket.head(&self.url.join(name)).unwrap().is_some()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        self.bucket.read(&self.url.join(name), u64::MAX).unwrap().unwrap().0.to_vec()
    }
}

/// Part `index` of the table of `table::tests::write_table`, written and not sent.
fn part(table: &TableFolder, index: usize) -> Part {
    let rows = if index == 0 { 0..3 } else { 3..5 };
    write_part(&table.part_path(index), &batch(rows), &provenance()).unwrap()
}

/// The rest of that table; it is finished then.
fn finish(table: TableFolder, parts: Vec<Part>) {
    let mut rejects = Rejects::new(&table.rejects_path());
    let source = Arc::new(Source { path: "train.jsonl".into(), split: "train".into() });
    let reject = Reject { source, row_idx: 5, line: Some(6), reason: "no `chosen`".into() };
    rejects.push(&reject, RejectKind::Malformed).unwrap();
    let manifest = Manifest::new(provenance(), parts, rejects.finish().unwrap().0);
    table.finish(&manifest).unwrap();
}

fn write(machine: &Machine) {
    let table = machine.claim();
    let parts = vec![part(&table, 0), part(&table, 1)];
    table.publish(&parts[0]).unwrap();
    finish(table, parts);
}

#[test]
fn a_table_under_a_url_has_the_bytes_of_a_local_one() {
    let local = tempfile::tempdir().unwrap();
    write_table(local.path());
    let (writer, reader) = (Machine::at("memory://equal/runs/table"), Machine::at("memory://equal/runs/table"));
    write(&writer);
    assert!(!writer.has(LEASE) && !writer.cache().work_folder(&writer.url).exists());
    for machine in [&writer, &reader] {
        let copy = machine.fetch().unwrap();
        assert_eq!(ReferenceTable::open(&copy).unwrap().n_pairs(), 5);
        for name in ["part-00000.parquet", "part-00001.parquet", REJECTS, MANIFEST] {
            let expected = io::read(&local.path().join(name)).unwrap();
            assert!(machine.bytes(name) == expected && io::read(&copy.join(name)).unwrap() == expected, "{name}");
        }
        assert_eq!(io::list(&copy).unwrap().len(), 4);
    }
    // Where it was written it is not fetched to be read: the copy is whole before the first request for a part.
    writer.bucket.delete(&writer.url.join("part-00000.parquet")).unwrap();
    assert!(writer.fetch().is_ok());
    assert!(Machine::at("memory://equal/runs/table").fetch().is_err());
}

#[test]
fn another_machine_goes_on_from_the_parts_that_were_sent() {
    let url = "memory://resumed/table";
    let (killed, next) = (Machine::at(url), Machine::at(url));
    let table = killed.claim();
    let sent = part(&table, 0);
    table.publish(&sent).unwrap();
    part(&table, 1);
    drop(table);
    assert!(killed.has("part-00000.parquet") && !killed.has("part-00001.parquet") && !killed.has(LEASE));
    let error = next.fetch().unwrap_err();
    assert!(matches!(error, TableError::Incomplete { .. }), "{error}");

    let table = next.claim();
    assert!(!table.is_finished_elsewhere());
    table.restore().unwrap();
    assert_eq!(table.parts().unwrap(), [(0, table.part_path(0))]);
    assert_eq!(io::digest(&table.part_path(0)).unwrap().0, sent.file.digest);
    let parts = vec![sent, part(&table, 1)];
    finish(table, parts);
    assert!(next.fetch().is_ok());

    // The first machine finds its table finished, and its own unsent part in it.
    let table = killed.claim();
    assert!(table.is_finished_elsewhere());
    table.restore().unwrap();
    assert_eq!(Manifest::load(table.path()).unwrap().n_pairs, 5);
    assert!(table.retired().unwrap().is_empty());
}

#[test]
fn two_runs_do_not_write_one_table() {
    let url = "memory://twice/table";
    let (first, second) = (Machine::at(url), Machine::at(url));
    let table = first.claim();
    let error = second.try_claim().unwrap_err();
    assert!(matches!(error, TableError::Storage(StorageError::Leased { .. })), "{error}");
    // A run that was thought dead and was not: it finds its lease gone when it sends.
    let kept = part(&table, 0);
    first.bucket.delete(&first.url.join(LEASE)).unwrap();
    let table_of_second = second.claim();
    let error = table.publish(&kept).unwrap_err();
    assert!(matches!(error, TableError::Storage(StorageError::LeaseLost { .. })), "{error}");
    assert!(!first.has("part-00000.parquet"));
    drop(table);
    assert!(second.has(LEASE), "nobody gives back what is another's");
    let parts = vec![part(&table_of_second, 0), part(&table_of_second, 1)];
    finish(table_of_second, parts);
}

#[test]
fn what_somebody_else_has_put_there_is_not_overwritten() {
    let machine = Machine::at("memory://foreign/table");
    let table = machine.claim();
    let kept = part(&table, 0);
    machine.bucket.put(&machine.url.join("part-00000.parquet"), &Bytes::from("theirs"), &Condition::Absent).unwrap();
    let error = table.publish(&kept).unwrap_err();
    assert!(matches!(error, TableError::Storage(StorageError::Changed { expected: "absent", .. })), "{error}");
    assert_eq!(machine.bytes("part-00000.parquet"), b"theirs");
    drop(table);

    let machine = Machine::at("memory://foreign/other");
    machine.bucket.put(&machine.url.join(MANIFEST), &Bytes::from("{}"), &Condition::Absent).unwrap();
    assert!(matches!(machine.try_claim(), Err(TableError::NotOurs { .. })));
    assert_eq!(machine.bytes(MANIFEST), b"{}");
}

#[test]
fn a_manifest_goes_before_a_part_it_lists_and_files_of_no_part_go_last() {
    let machine = Machine::at("memory://changed/table");
    write(&machine);
    let table = machine.claim();
    table.restore().unwrap();
    let changed = write_part(&table.part_path(0), &batch(0..2), &provenance()).unwrap();
    table.publish(&changed).unwrap();
    let error = Machine::at("memory://changed/table").fetch().unwrap_err();
    assert!(matches!(error, TableError::Incomplete { .. }), "{error}");
    let manifest = Manifest::new(provenance(), vec![changed], None);
    table.finish(&manifest).unwrap();
    assert!(!machine.has("part-00001.parquet") && !machine.has(REJECTS));
    assert_eq!(ReferenceTable::open(&machine.fetch().unwrap()).unwrap().n_pairs(), 2);
}

#[test]
fn a_table_that_is_there_already_is_not_sent_again() {
    let machine = Machine::at("memory://again/table");
    write(&machine);
    let version = || machine.bucket.head(&machine.url.join("part-00000.parquet")).unwrap().unwrap().version;
    let (before, manifest) = (version(), machine.bucket.head(&machine.url.join(MANIFEST)).unwrap().unwrap().version);
    write(&machine);
    assert_eq!(version(), before);
    assert_eq!(machine.bucket.head(&machine.url.join(MANIFEST)).unwrap().unwrap().version, manifest);
}

#[test]
fn a_further_reference_is_a_table_under_the_first() {
    let table = Machine::at("memory://further/table");
    write(&table);
    let reference = Machine { url: table.url.join("references/sft"), ..Machine::at("memory://further/table") };
    write(&reference);
    // On one machine, too, neither is taken for a part of the other.
    let further = Machine { url: table.url.join("references/dpo"), bucket: table.bucket.clone(), folder: table.folder };
    write(&further);
    let table = Machine { url: table.url, ..further };
    drop(table.claim());
    assert_eq!(ReferenceTable::open(&table.fetch().unwrap()).unwrap().n_pairs(), 5);
    assert_eq!(ReferenceTable::open(&reference.fetch().unwrap()).unwrap().n_pairs(), 5);
}

#[test]
fn what_is_missing_or_damaged_under_a_url_is_named() {
    let url = "memory://damaged/table";
    let machine = Machine::at(url);
    let message = |machine: &Machine| machine.fetch().unwrap_err().to_string();
    assert_eq!(message(&machine), format!("`{url}/{MANIFEST}` does not exist"));
    write(&machine);
    let object = machine.url.join("part-00001.parquet");
    let version = machine.bucket.head(&object).unwrap().unwrap().version;
    machine.bucket.put(&object, &Bytes::from("damaged"), &Condition::Unchanged(version)).unwrap();
    let error = Machine::at(url).fetch().unwrap_err();
    let is_named = |path: &Path| *path == object.to_path();
    assert!(matches!(&error, TableError::NotAsListed { path, what: "digest", .. } if is_named(path)), "{error}");
    machine.bucket.delete(&object).unwrap();
    let error = Machine::at(url).fetch().unwrap_err();
    assert!(matches!(&error, TableError::PartMissing { path } if is_named(path)), "{error}");
    // A run makes a part again that is gone: the others stay.
    let table = Machine::at(url);
    let folder = table.claim();
    folder.restore().unwrap();
    assert_eq!(folder.parts().unwrap(), [(0, folder.part_path(0))]);
}
