//! Signals beside a table: they change no log-prob, go where log-probs go, are checked like them, and can be asked for in
//! SQL.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use piref::error::Hint;
use piref::interrupt::Interrupt;
use piref::precompute::{self, Event, Outcome, Pairs, Plan, Signals, Start, Summary};
use piref::query::{RowQuery, Session, pair_rows};
use piref::table::{Manifest, ParquetFile, ReferenceTable, signals_name};
use piref::verify;

use crate::support::stages::{self, files};

struct Room {
    folder: tempfile::TempDir,
}

impl Room {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// Stage one over these rows into the table `out`, 8 pairs a part.
    fn plan(&self, out: &str, rows: std::ops::Range<usize>) -> Plan {
        let row =
            |i| format!("{{\"prompt\": \"Question {i}?\", \"chosen\": \" Yes, {i}.\", \"rejected\": \" No.\"}}\n");
        let data = self.folder.path().join("pairs.jsonl");
        fs::write(&data, rows.map(row).collect::<String>()).unwrap();
        Plan {
            pairs: Pairs::Files { paths: vec![data], limit: None },
            rows_per_part: NonZeroUsize::new(8).unwrap(),
            max_tokens: NonZeroUsize::new(64).unwrap(),
            ..stages::precompute_plan(&self.folder.path().join(out))
        }
    }
}

/// Runs stage one; what it notes on the way, and what it ends with.
fn noted(plan: &Plan) -> (Vec<String>, Summary) {
    let mut notes = Vec::new();
    let outcome = precompute::run(plan, &Interrupt::default(), &mut |event| {
        if let Event::Note(note) = event {
            notes.push(note);
        }
    });
    match outcome.unwrap() {
        Outcome::Finished(summary) => (notes, summary),
        outcome @ Outcome::Interrupted { .. } => panic!("interrupted by nobody: {outcome:?}"),
    }
}

/// The rows of a query as text.
fn answer(table: &Path, sql: &str) -> Vec<String> {
    let mut session = Session::new().unwrap();
    session.register(table).unwrap();
    let mut lines = Vec::new();
    for batch in session.query(sql).unwrap() {
        let columns: Vec<ArrayRef> = batch
            .columns()
            .iter()
            .map(|column| arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            let values = columns.iter().map(|column| column.as_string::<i32>().value(row).to_owned());
            lines.push(values.collect::<Vec<_>>().join(","));
        }
    }
    lines
}

/// What `verify` finds, as `check: evidence`.
fn findings(table: &Path) -> Vec<String> {
    let mut findings = Vec::new();
    let plan = verify::Plan { table: table.to_owned(), model: None, data: Vec::new() };
    verify::run(&plan, &mut |event| {
        if let verify::Event::Finding(finding) = event {
            findings.push(format!("{}: {}", finding.check, finding.evidence));
        }
    })
    .unwrap();
    findings
}

#[test]
fn a_table_has_the_same_parts_with_signals_and_without() {
    let room = Room::new();
    let with = room.plan("with", 0..20);
    let without = Plan { signals: Signals::Skip, ..room.plan("without", 0..20) };
    stages::precompute(&with);
    stages::precompute(&without);
    let (with_files, without_files) = (files(&with.out), files(&without.out));
    assert_eq!((with_files.len(), without_files.len()), (7, 4), "three parts and a manifest, three files of signals");
    let parts = |files: &[(PathBuf, Vec<u8>)]| -> Vec<(PathBuf, Vec<u8>)> {
        files.iter().filter(|(name, _)| name.to_str().unwrap().starts_with("part-")).cloned().collect()
    };
    assert_eq!(parts(&without_files).len(), 3);
    assert!(parts(&with_files) == parts(&without_files), "the log-probs are not the same bytes");
    let text = fs::read_to_string(without.out.join("manifest.json")).unwrap();
    assert!(!text.contains("signals"), "a manifest of a table without signals is one of an older piref: {text}");
    let digest = |plan: &Plan| ReferenceTable::open(&plan.out).unwrap().digest().unwrap();
    assert_eq!(digest(&with), digest(&without));
    for table in [&with.out, &without.out] {
        assert_eq!(findings(table), Vec::<String>::new());
    }
}

#[test]
fn log_probs_from_before_are_not_scored_again_for_their_signals() {
    let room = Room::new();
    let without = Plan { signals: Signals::Skip, ..room.plan("table", 0..12) };
    stages::precompute(&without);
    let before = files(&without.out);

    let plan = Plan { signals: Signals::Make, ..without };
    let (notes, summary) = noted(&plan);
    assert_eq!((summary.n_scored, summary.n_resumed), (0, 12));
    assert!(notes.iter().any(|note| note.starts_with("12 pairs have no signals")), "{notes:?}");
    assert!(files(&plan.out) == before, "a finished table was changed");

    // More data: the part that is made anew has signals of what is scored, and says of the others that it has none.
    let plan = room.plan("table", 0..20);
    let (notes, summary) = noted(&plan);
    assert_eq!((summary.n_scored, summary.n_reused), (8, 12));
    assert!(notes.iter().any(|note| note.starts_with("12 pairs have no signals")), "{notes:?}");
    let listed: Vec<bool> =
        Manifest::load(&plan.out).unwrap().parts.iter().map(|part| part.signals.is_some()).collect();
    assert_eq!(listed, [false, true, true], "rows 0 to 7 have none, 8 to 15 some");
    assert_eq!(findings(&plan.out), Vec::<String>::new());
    let sql = "SELECT count(*), count(ref_ches), count(ref_chosen_entropy_mean), count(ref_rejected_min_token_logp) FROM scored";
    assert_eq!(answer(&plan.out, sql), ["20,8,8,12"], "minima of log-probs need no signals");

    // From the beginning, all have them.
    let fresh = Plan { start: Start::Fresh, ..plan };
    let (notes, summary) = noted(&fresh);
    assert_eq!((summary.n_scored, notes.len()), (20, 0), "{notes:?}");
    assert_eq!(answer(&fresh.out, sql), ["20,20,20,20"]);
}

#[test]
fn damaged_signals_are_named_and_left_out_once_they_are_deleted() {
    let room = Room::new();
    let plan = room.plan("table", 0..20);
    stages::precompute(&plan);
    let path = plan.out.join(signals_name(1));
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();

    let found = findings(&plan.out);
    assert!(found.iter().any(|line| line.starts_with("digest: ") && line.contains("signals-00001")), "{found:?}");
    let error = precompute::run(&plan, &Interrupt::default(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("signals-00001.parquet"), "{error}");
    assert!(error.hint().unwrap().contains("without these signals"), "{:?}", error.hint());

    fs::remove_file(&path).unwrap();
    assert!(findings(&plan.out).iter().any(|line| line.contains("is listed in the manifest and missing")));
    let (notes, summary) = noted(&plan);
    assert_eq!((summary.n_scored, summary.n_resumed), (0, 20));
    assert!(notes.iter().any(|note| note.contains("signals-00001.parquet` is gone")), "{notes:?}");
    assert_eq!(findings(&plan.out), Vec::<String>::new());
    assert_eq!(answer(&plan.out, "SELECT count(*), count(ref_ches) FROM scored"), ["20,12"]);
}

/// Writes the signals of a part again with another column, and the manifest as if they had always been so.
fn rewrite(table: &Path, part_idx: usize, column: &str, change: impl FnOnce(&ArrayRef) -> ArrayRef) {
    let path = table.join(signals_name(part_idx));
    let builder = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&path).unwrap()).unwrap();
    let footer = builder.metadata().file_metadata().key_value_metadata().unwrap().clone();
    let footer: Vec<(String, String)> = footer
        .into_iter()
        .filter(|entry| entry.key.starts_with("piref."))
        .map(|entry| (entry.key, entry.value.unwrap()))
        .collect();
    let schema = builder.schema().clone();
    let batch = builder.build().unwrap().next().unwrap().unwrap();
    let mut columns = batch.columns().to_vec();
    let at = schema.index_of(column).unwrap();
    columns[at] = change(&columns[at]);
    let footer = footer.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
    let mut file = ParquetFile::create(&path, schema.clone(), footer).unwrap();
    file.write(&RecordBatch::try_new(schema, columns).unwrap()).unwrap();
    let mut manifest = Manifest::load(table).unwrap();
    manifest.parts[part_idx].signals = Some(file.finish().unwrap());
    Manifest::new(manifest.provenance, manifest.parts, manifest.rejects).write(table).unwrap();
}

/// A column of numbers with another one in its first row.
fn with_first(column: &ArrayRef, to: Option<f64>) -> ArrayRef {
    let values = column.as_primitive::<Float64Type>().iter().enumerate();
    Arc::new(values.map(|(row, value)| if row == 0 { to } else { value }).collect::<Float64Array>())
}

#[test]
fn verify_finds_signals_that_are_not_those_of_their_part() {
    type Change = fn(&ArrayRef) -> ArrayRef;
    let cases: [(&str, Change, &str); 6] = [
        ("ref_chosen_entropy_mean", |column| with_first(column, Some(0.5)), "in `ref_chosen_entropy_mean`, found 0.5"),
        ("ref_rejected_mean_token_accuracy", |column| with_first(column, Some(0.123)), "found 0.123"),
        ("ref_chosen_min_token_logp", |column| with_first(column, Some(-0.125)), "found -0.125"),
        ("ref_ches", |column| with_first(column, Some(f64::NAN)), "expected a number in `ref_ches`, found NaN"),
        ("ref_ches_mean", |column| with_first(column, None), "a value as beside it in `ref_ches_mean`, found null"),
        (
            "tokens_id",
            |column| {
                let ids = column.as_string::<i32>().iter().enumerate();
                Arc::new(ids.map(|(row, id)| if row == 0 { Some("other") } else { id }).collect::<StringArray>())
            },
            "as in the part in `tokens_id`, found other",
        ),
    ];
    let room = Room::new();
    let plan = room.plan("table", 0..12);
    stages::precompute(&plan);
    for (column, change, evidence) in cases {
        let table = room.folder.path().join(column);
        stages::copy_dir(&plan.out, &table);
        rewrite(&table, 1, column, change);
        let found = findings(&table);
        let [line] = &found[..] else { panic!("{column}: {found:?}") };
        assert!(line.starts_with("signals: "), "{line}");
        for part in ["signals-00001.parquet`, row 0, pair", evidence] {
            assert!(line.contains(part), "{column}: {line}");
        }
    }
}

#[test]
fn pairs_are_chosen_and_ordered_by_their_signals() {
    let room = Room::new();
    let plan = room.plan("table", 0..20);
    stages::precompute(&plan);
    let table = [ReferenceTable::open(&plan.out).unwrap()];
    let rows = |predicate, order_by| pair_rows(&table, RowQuery { predicate, order_by }).unwrap();
    assert_eq!(rows(Some("ref_chosen_entropy_mean > 0 AND ref_ches IS NOT NULL"), None).len(), 20);

    let mut session = Session::new().unwrap();
    assert_eq!(session.register(&plan.out).unwrap(), ["pairs", "signals", "scored", "logps"]);
    let batches = session.query("SELECT row_idx, ref_ches_mean FROM signals ORDER BY row_idx").unwrap();
    let mut scores: Vec<(f64, u64)> = Vec::new();
    for batch in &batches {
        let row = batch.column(0).as_primitive::<Int64Type>().values().iter().map(|row| row.unsigned_abs());
        scores.extend(batch.column(1).as_primitive::<Float64Type>().values().iter().copied().zip(row));
    }
    scores.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let order: Vec<u64> = scores.iter().map(|(_, row)| *row).collect();
    assert_eq!(rows(None, Some("ref_ches_mean DESC")), order);
    let mut worst = order[..5].to_vec();
    worst.sort_unstable();
    let predicate = format!("ref_ches_mean >= {:?}", scores[4].0);
    assert_eq!(rows(Some(&predicate), None), worst);
}

#[test]
fn a_pair_that_is_there_twice_is_scored_once_and_joined_once() {
    let room = Room::new();
    let mut plan = room.plan("table", 0..6);
    if let Pairs::Files { paths, .. } = &mut plan.pairs {
        paths.push(paths[0].clone());
    }
    let summary = stages::precompute(&plan);
    assert_eq!((summary.n_scored, summary.n_repeated), (6, 6));
    assert_eq!(answer(&plan.out, "SELECT count(*), count(ref_ches) FROM signals"), ["12,12"]);
    assert_eq!(answer(&plan.out, "SELECT count(*), count(ref_ches) FROM scored"), ["12,12"]);
}
