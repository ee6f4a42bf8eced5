//! `verify` on tables of the tiny model: clean ones pass, and every kind of damage is found with its place.

use std::fs;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, Float64Type, Int64Type, Schema};
use piref::ops::Backend;
use piref::precompute::Pairs;
use piref::table::{Finding, Level, MANIFEST, Manifest, ParquetFile, Part, REJECTS, ReferenceTable, signals_name};
use piref::verify::{self, Event, ModelCheck, Plan, Summary};
use tempfile::TempDir;

use crate::support::stages;

/// A table of three data files with two rejected rows, in parts of `rows_per_part` pairs.
fn table(rows_per_part: usize, limit: u64) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.jsonl");
    let pair = |i| format!("{{\"prompt\": \"Question {i}?\", \"chosen\": \" Yes.\", \"rejected\": \" No, {i}.\"}}\n");
    fs::write(&bad, [pair(0), "{\"prompt\": 1}\n".into(), pair(2), "none\n".into()].concat()).unwrap();
    let mut plan = stages::precompute_plan(&folder.path().join("table"));
    let paths = vec![bad, "fixtures/pairs/conversational.jsonl".into(), "fixtures/pairs/standard.jsonl".into()];
    plan.pairs = Pairs::Files { paths, limit: NonZeroU64::new(limit) };
    plan.max_reject_rate = 1.0;
    plan.rows_per_part = NonZeroUsize::new(rows_per_part).unwrap();
    stages::precompute(&plan);
    folder
}

fn verified(plan: &Plan) -> (Summary, Vec<Finding>) {
    let mut findings = Vec::new();
    let summary = verify::run(plan, &mut |event| {
        if let Event::Finding(finding) = event {
            findings.push(finding.clone());
        }
    });
    let summary = summary.unwrap();
    let n_errors = findings.iter().filter(|finding| finding.level == Level::Error).count() as u64;
    assert_eq!((summary.n_errors, summary.is_clean()), (n_errors, findings.is_empty()));
    (summary, findings)
}

fn findings(path: &Path) -> Vec<Finding> {
    verified(&Plan { table: path.to_owned(), model: None, data: Vec::new() }).1
}

fn model_check(model: &str) -> ModelCheck {
    ModelCheck {
        model: model.into(),
        adapter: None,
        sample: 8,
        seed: 42,
        tolerance: 1e-3,
        max_tokens: 1024,
        backend: Backend::cpu(),
    }
}

#[track_caller]
fn check(found: &[Finding], expected: &[(&str, &str)]) {
    let lines: Vec<String> = found.iter().map(|finding| format!("{}: {}", finding.check, finding.evidence)).collect();
    for (check, part) in expected {
        let is_it = |finding: &Finding| finding.check == *check && finding.evidence.contains(part);
        assert!(found.iter().any(is_it), "no `{check}` with `{part}` in\n{}", lines.join("\n"));
    }
    assert_eq!(found.len(), expected.len(), "{}", lines.join("\n"));
}

/// Rewrites one part with other rows and without signals, and the manifest as if it had always been so.
fn rewrite(table: &Path, part_idx: usize, change: impl FnOnce(RecordBatch) -> RecordBatch) {
    let mut manifest = Manifest::load(table).unwrap();
    let path = table.join(&manifest.parts[part_idx].file.name);
    let part = ReferenceTable::open(&path).unwrap();
    let names: Vec<String> = part.schema().fields().iter().map(|field| field.name().clone()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let batches: Vec<RecordBatch> = part.batches(&names).unwrap().collect::<Result<_, _>>().unwrap();
    let batch = change(arrow::compute::concat_batches(part.schema(), &batches).unwrap());
    let mut file = ParquetFile::create(&path, batch.schema(), part.provenance().to_footer()).unwrap();
    file.write(&batch).unwrap();
    let pair = |row: usize| batch.column_by_name("pair_id").unwrap().as_string::<i32>().value(row).to_owned();
    let (first_pair, last_pair) = (pair(0), pair(batch.num_rows() - 1));
    fs::remove_file(table.join(signals_name(part_idx))).unwrap_or_default();
    manifest.parts[part_idx] = Part { file: file.finish().unwrap(), first_pair, last_pair, signals: None };
    Manifest::new(manifest.provenance, manifest.parts, manifest.rejects).write(table).unwrap();
}

fn with_column(batch: &RecordBatch, name: &str, column: ArrayRef) -> RecordBatch {
    let at = batch.schema().index_of(name).unwrap();
    let mut fields: Vec<Field> = batch.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    fields[at] = fields[at].clone().with_nullable(true);
    let mut columns = batch.columns().to_vec();
    columns[at] = column;
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

#[test]
fn a_clean_table_passes_with_its_model_and_its_data() {
    let folder = table(5, 16);
    let plan = Plan {
        table: folder.path().join("table"),
        model: Some(model_check("fixtures/tiny")),
        data: vec![folder.path().join("bad.jsonl"), "fixtures/pairs/standard.jsonl".into()],
    };
    let (summary, found) = verified(&plan);
    check(&found, &[]);
    assert_eq!((summary.n_pairs, summary.n_rejected, summary.n_parts), (16, 2, 4));
    let rescored = summary.rescored.unwrap();
    assert_eq!(rescored.n_pairs, 8);
    assert!(rescored.n_tokens > 0 && rescored.max_sequence < 1e-4 && rescored.max_token <= rescored.max_sequence);

    let (again, _) = verified(&plan);
    assert_eq!(again.rescored, summary.rescored, "the same seed scores the same rows");
}

#[test]
fn one_part_alone_is_checked_as_far_as_it_goes() {
    let folder = table(5, 16);
    let part = folder.path().join("table/part-00001.parquet");
    let (summary, found) = verified(&Plan { table: part, model: Some(model_check("fixtures/tiny")), data: Vec::new() });
    check(&found, &[]);
    assert_eq!((summary.n_pairs, summary.rescored.unwrap().n_pairs), (5, 5));
}

#[test]
fn every_flipped_bit_of_a_part_is_found() {
    let folder = table(4, 6);
    let table = folder.path().join("table");
    flip_bits(&table, "part-00001.parquet", 61);
    flip_bits(&table, "part-00000.parquet", 997);
    flip_bits(&table, REJECTS, 31);
}

#[test]
fn every_flipped_bit_of_the_manifest_is_found() {
    let folder = table(6, 6);
    flip_bits(&folder.path().join("table"), MANIFEST, 1);
}

/// Flips one bit every `stride` bytes of a file, and one at each end of it; each time something must be found, and the
/// other files must still be read.
#[track_caller]
fn flip_bits(table: &Path, name: &str, stride: usize) {
    let path = table.join(name);
    let good = fs::read(&path).unwrap();
    let mut offsets: Vec<usize> = (0..good.len()).step_by(stride).collect();
    offsets.extend(good.len().saturating_sub(12)..good.len());
    for at in offsets {
        // Every bit has its turn, whatever the stride.
        let bit = (at + at / stride) % 8;
        let mut damaged = good.clone();
        damaged[at] ^= 1 << bit;
        fs::write(&path, &damaged).unwrap();
        let found = findings(table);
        assert!(!found.is_empty(), "bit {bit} of byte {at} of {name}");
        let names_it = |finding: &Finding| finding.check == "digest" && finding.evidence.contains(name);
        assert!(name == MANIFEST || found.iter().any(names_it), "bit {bit} of byte {at} of {name}: {found:?}");
    }
    fs::write(&path, good).unwrap();
    check(&findings(table), &[]);
}

/// A further reference is a table: what is wrong with it is found like what is wrong with the first.
#[test]
fn further_references_are_verified_with_their_table() {
    let folder = table(4, 6);
    let table = folder.path().join("table");
    let other = table.join("references/other");
    stages::copy_dir(&table, &other);
    let (summary, found) = verified(&Plan { table: table.clone(), model: None, data: Vec::new() });
    check(&found, &[]);
    assert_eq!((summary.n_pairs, summary.n_rejected, summary.references["other"]), (6, 2, 6));

    let part = other.join("part-00001.parquet");
    let good = fs::read(&part).unwrap();
    let mut damaged = good.clone();
    damaged[good.len() / 2] ^= 4;
    fs::write(&part, &damaged).unwrap();
    let found = findings(&table);
    assert!(
        !found.is_empty() && found.iter().all(|finding| finding.evidence.contains("references/other")),
        "{found:?}"
    );
    assert!(found.iter().any(|finding| finding.check == "digest"), "{found:?}");
    fs::write(&part, good).unwrap();

    // With a manifest that has the digests of the wrong rows.
    rewrite(&other, 1, |batch| {
        let n_rows = batch.num_rows();
        with_column(&batch, "ref_chosen_logps", Arc::new(Float64Array::from(vec![1.0; n_rows])))
    });
    let found = findings(&table);
    assert!(found.iter().all(|finding| finding.evidence.contains("references/other")), "{found:?}");
    assert!(found.iter().any(|finding| finding.check == "logps" && finding.pair_id.is_some()), "{found:?}");
    fs::remove_file(&part).unwrap();
    let missing = |finding: &Finding| finding.check == "files" && finding.evidence.contains("references/other");
    assert!(findings(&table).iter().any(missing));

    fs::write(other.join(MANIFEST), "{}").unwrap();
    assert!(findings(&table).iter().any(|finding| finding.check == "manifest"));
    // One that is not finished is none yet.
    fs::remove_file(other.join(MANIFEST)).unwrap();
    check(&findings(&table), &[]);
}

#[test]
fn a_part_without_a_manifest_never_ends_the_program() {
    let folder = table(4, 6);
    let path = folder.path().join("table/part-00001.parquet");
    let good = fs::read(&path).unwrap();
    let mut n_found = 0;
    for at in (0..good.len()).step_by(29) {
        let mut damaged = good.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&path, &damaged).unwrap();
        n_found += usize::from(!findings(&path).is_empty());
    }
    assert!(n_found > 0);
}

#[test]
fn what_is_damaged_is_named_and_the_rest_is_read() {
    let folder = table(4, 12);
    let table = folder.path().join("table");
    let [first, last] = ["part-00000.parquet", "part-00002.parquet"].map(|name| table.join(name));
    let bytes = fs::read(&first).unwrap();
    fs::write(&first, &bytes[..bytes.len() / 2]).unwrap();
    fs::remove_file(&last).unwrap();
    let (summary, found) = verified(&Plan { table: table.clone(), model: None, data: Vec::new() });
    assert_eq!(summary.n_pairs, 4, "the part between the two is read");
    // Rows 0 and 2 of the first file and 0 to 1 of the second were in the first part; the last rows in the last one.
    let lines: Vec<String> = found.iter().map(|finding| format!("{}: {}", finding.check, finding.evidence)).collect();
    let has =
        |check: &str, part: &str| found.iter().any(|finding| finding.check == check && finding.evidence.contains(part));
    assert!(has("files", "expected bytes"), "{lines:#?}");
    assert!(has("digest", "part-00000.parquet"), "{lines:#?}");
    assert!(has("damage", "cannot read"), "{lines:#?}");
    assert!(has("files", "part-00002.parquet` is listed in the manifest and missing"), "{lines:#?}");
    assert!(has("missing", "expected row 0 of `"), "{lines:#?}");
    assert!(has("missing", "expected row 2 of `"), "{lines:#?}");
    assert!(summary.hints.iter().any(|hint| hint.contains("only its pairs are scored")), "{:?}", summary.hints);
}

#[test]
fn missing_double_and_foreign_keys_are_listed() {
    let folder = table(8, 12);
    let table = folder.path().join("table");
    rewrite(&table, 0, |batch| {
        let column = |name: &str| batch.column_by_name(name).unwrap();
        let mut rows = column("row_idx").as_primitive::<Int64Type>().values().to_vec();
        let mut sources: Vec<String> =
            column("source").as_string::<i32>().iter().map(|source| source.unwrap().to_owned()).collect();
        // Rows 0 and 2 of `bad.jsonl`, then the second file from its row 0 on.
        rows[0] = 1; // a row that is in the rejects
        rows[3] = 0; // the row before
        rows[4] = 900; // beyond the file
        rows[5] = -1;
        sources[6] = "nowhere.jsonl".into();
        let batch = with_column(&batch, "row_idx", Arc::new(Int64Array::from(rows)));
        with_column(&batch, "source", Arc::new(StringArray::from(sources)))
    });
    let found = findings(&table);
    check(
        &found,
        &[
            ("duplicate", "found row 1 of `"),
            ("duplicate", "found row 0 of `fixtures/pairs/conversational.jsonl` again"),
            ("foreign", "expected rows below"),
            ("foreign", "expected a row from 0 of `fixtures/pairs/conversational.jsonl`, found -1"),
            ("foreign", "expected a data file of the provenance, found row 4 of `nowhere.jsonl`"),
            ("missing", "expected row 0 of `"),
            ("missing", "expected rows 1 to 4 of `fixtures/pairs/conversational.jsonl`"),
        ],
    );
    let double = found.iter().find(|finding| finding.evidence.contains("found row 0 of")).unwrap();
    assert!(double.evidence.contains("part-00000.parquet`, row 3") && double.pair_id.is_some(), "{double:?}");
}

#[test]
fn every_wrong_value_is_listed_with_its_place() {
    let folder = table(8, 12);
    let table = folder.path().join("table");
    rewrite(&table, 1, |batch| {
        let logps = batch.column_by_name("ref_chosen_logps").unwrap().as_primitive::<Float64Type>().values();
        let logps = vec![Some(f64::NAN), None, Some(1.0), Some(logps[3] - 1e-6)];
        let batch = with_column(&batch, "ref_chosen_logps", Arc::new(Float64Array::from(logps)));
        let ids = batch.column_by_name("tokens_id").unwrap().as_string::<i32>();
        let mut ids: Vec<&str> = ids.iter().flatten().collect();
        ids.swap(0, 1);
        let ids: ArrayRef = Arc::new(StringArray::from(ids.clone()));
        with_column(&batch, "tokens_id", ids)
    });
    let found = findings(&table);
    check(
        &found,
        &[
            ("logps", "part-00001.parquet`, row 0, pair"),
            ("nulls", "part-00001.parquet`, row 1: expected a value in `ref_chosen_logps`, found null"),
            ("logps", "row 2, pair"),
            ("sums", "row 3, pair"),
            ("tokens_id", "row 0, pair"),
            ("tokens_id", "row 1, pair"),
        ],
    );
    assert_eq!(found.iter().find(|finding| finding.evidence.contains("row 2, pair")).unwrap().value, Some(1.0));
}

#[test]
fn a_part_of_other_provenance_is_named_field_by_field() {
    let folder = table(8, 12);
    let table = folder.path().join("table");
    let mut manifest = Manifest::load(&table).unwrap();
    manifest.provenance.crate_version = "9.9.9".into();
    manifest.provenance.sources[2].rows += 1;
    manifest.write(&table).unwrap();
    let found = findings(&table);
    let parts = ["part-00000.parquet", "part-00001.parquet"];
    check(
        &found,
        &[
            ("provenance", &format!("{}` was scored with another `crate_version`: expected `9.9.9`", parts[0])),
            ("provenance", &format!("{}` was scored with another `sources`", parts[0])),
            ("provenance", &format!("{}` was scored with another `crate_version`", parts[1])),
            ("provenance", &format!("{}` was scored with another `sources`", parts[1])),
            ("missing", "of `fixtures/pairs/standard.jsonl`"),
        ],
    );
    let sources = found.iter().find(|finding| finding.evidence.contains("sources")).unwrap();
    assert!(sources.evidence.contains("standard.jsonl") && !sources.evidence.contains("bad.jsonl"), "{sources:?}");
}

#[test]
fn another_model_is_named_by_what_differs_and_by_its_log_probs() {
    let folder = table(8, 12);
    let other = folder.path().join("model");
    fs::create_dir(&other).unwrap();
    for entry in fs::read_dir("fixtures/tiny").unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, other.join(path.file_name().unwrap())).unwrap();
    }
    // The exponent of a weight: another model, and one that scores otherwise.
    let weights = other.join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let n_header = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap() + 8;
    for at in (n_header..bytes.len()).step_by(64) {
        bytes[at + 3] ^= 0x80;
    }
    fs::write(&weights, bytes).unwrap();
    let plan = Plan {
        table: folder.path().join("table"),
        model: Some(model_check(other.to_str().unwrap())),
        data: Vec::new(),
    };
    let (summary, found) = verified(&plan);
    let model: Vec<&Finding> = found.iter().filter(|finding| finding.check == "model").collect();
    assert_eq!(model.len(), 1, "{model:?}");
    assert!(model[0].evidence.contains("expected `model.weights_identity`"), "{model:?}");
    assert!(summary.hints.iter().any(|hint| hint.contains("name the model")), "{:?}", summary.hints);
    let rescored = found.iter().find(|finding| finding.check == "rescore").unwrap();
    assert!(rescored.value.unwrap() > 1e-3 && rescored.pair_id.is_some(), "{rescored:?}");
    assert!(summary.rescored.unwrap().max_sequence >= rescored.value.unwrap());
}

#[test]
fn log_probs_that_were_shifted_whole_are_found_by_scoring_again() {
    let folder = table(64, 12);
    let table = folder.path().join("table");
    stages::shift_logps(&table, -0.25);
    check(&findings(&table), &[]);
    let (summary, found) = verified(&Plan { table, model: Some(model_check("fixtures/tiny")), data: Vec::new() });
    assert_eq!(found.len(), 8, "the chosen side of every pair of the sample: {found:?}");
    assert!(found.iter().all(|finding| finding.check == "rescore" && (finding.value.unwrap() - 0.25).abs() < 1e-3));
    assert_eq!(summary.n_errors, 8);
}

#[test]
fn files_beside_the_manifest_and_other_data_are_told() {
    let folder = table(8, 12);
    let table = folder.path().join("table");
    fs::copy(table.join("part-00000.parquet"), table.join("part-00007.parquet")).unwrap();
    fs::write(table.join("notes.txt"), "mine").unwrap();
    let data: Vec<PathBuf> = vec!["fixtures/pairs/edge.jsonl".into(), folder.path().join("copy/bad.jsonl")];
    fs::create_dir(folder.path().join("copy")).unwrap();
    fs::write(&data[1], "{}\n").unwrap();
    let (summary, found) = verified(&Plan { table, model: None, data });
    check(
        &found,
        &[
            ("files", "part-00007.parquet`: expected a file that the manifest lists"),
            ("data", "expected one of the table's data files"),
            ("data", "as the table was made from, found 3 of"),
        ],
    );
    assert_eq!((summary.n_warnings, summary.n_errors), (1, 2));
}

#[test]
fn a_table_without_its_manifest_is_verified_as_far_as_it_goes() {
    let folder = table(8, 12);
    let table = folder.path().join("table");
    fs::remove_file(table.join(MANIFEST)).unwrap();
    check(&findings(&table), &[("manifest", "is incomplete: it has parts and no `manifest.json`")]);
    let error =
        verify::run(&Plan { table: "fixtures".into(), model: None, data: Vec::new() }, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("is no log-prob table"), "{error}");
}
