//! Tables on disk: the contract, what a damaged or foreign folder leads to, and what comes back out.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, ListBuilder, RecordBatch, StringArray, StructArray,
    UInt32Builder,
};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Schema};
use tempfile::TempDir;

use super::schema::reference;
use super::*;
use crate::data::{Reject, RejectKind, Source};
use crate::digest::{Digest, ModelIdentity};
use crate::error::Hint;
use crate::io;

pub(crate) fn provenance() -> Provenance {
    Provenance {
        schema: reference::VERSION.into(),
        crate_version: "0.1.0".into(),
        model: ModelProvenance {
            path: "models/tiny".into(),
            architecture: "llama".into(),
            weights_digest: Digest::of(b"weights"),
            config_digest: Digest::of(b"config"),
            adapter_digest: None,
            identity: Some(ModelIdentity { weights: Digest::of(b"tensors"), config: Digest::of(b"settings") }),
        },
        tokenizer_digest: Digest::of(b"tokenizer"),
        chat_template: Some(TemplateProvenance { digest: Digest::of(b"template"), date: "2026-01-31".into() }),
        dtype: "f32".into(),
        kernel: "test.1".into(),
        max_length: Some(1024),
        truncation_mode: "keep_start".into(),
        eos_rule: "append".into(),
        boundary_rule: "joint".into(),
        sources: vec![SourceProvenance {
            path: "train.jsonl".into(),
            format: "standard".into(),
            rows: 5,
            bytes: 100,
            digest: Digest::of(b"source"),
        }],
    }
}

/// Rows `rows` of a token store: pair `i` has a prompt of 2 tokens, `i + 1` chosen and 2 rejected ones.
pub(crate) fn store(rows: std::ops::Range<u32>) -> RecordBatch {
    let text = |prefix: &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.clone().map(|row| format!("{prefix}{row}"))))
    };
    let ints = |value: fn(i32) -> i32| -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(rows.clone().map(|row| value(row.cast_signed()))))
    };
    let ids = |len: fn(u32) -> u32| -> ArrayRef {
        let mut lists = ListBuilder::new(UInt32Builder::new());
        for row in rows.clone() {
            lists.append_value((0..len(row)).map(|id| Some(100 + id)));
        }
        Arc::new(lists.finish())
    };
    let conversation = rows.clone().map(|row| (row % 2 == 1).then(|| format!("[{row}]")));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("pair_id", text("pair-")),
        ("tokens_id", text("tokens-")),
        ("row_idx", Arc::new(Int64Array::from_iter_values(rows.clone().map(i64::from)))),
        ("source", Arc::new(StringArray::from_iter_values(rows.clone().map(|_| "train.jsonl")))),
        ("split", Arc::new(StringArray::from_iter_values(rows.clone().map(|_| "train")))),
        ("prompt", text("What is ")),
        ("chosen", text("It is, \"well\"\n")),
        ("rejected", text("No | ")),
        ("conversation", Arc::new(conversation.collect::<StringArray>())),
        ("prompt_ids", ids(|_| 2)),
        ("chosen_ids", ids(|row| row + 1)),
        ("rejected_ids", ids(|_| 2)),
        ("prompt_tokens", ints(|_| 2)),
        ("chosen_tokens", ints(|row| row + 1)),
        ("rejected_tokens", ints(|_| 2)),
        ("prompt_cut", ints(|_| 0)),
        ("chosen_cut", ints(|_| 0)),
        ("rejected_cut", ints(|row| row % 2)),
        ("boundary_moved", ints(|_| 0)),
    ];
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), array.null_count() > 0))
        .collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

/// −0.5 a chosen token, −1.25 a rejected one.
pub(crate) fn logps(rows: std::ops::Range<u32>) -> Vec<PairTokenLogps> {
    rows.map(|row| PairTokenLogps { chosen: vec![-0.5; row as usize + 1], rejected: vec![-1.25; 2] }).collect()
}

/// Signals of a pair with these log-probs: entropies that rise by a third of a nat a token, every other token a first
/// choice.
pub(crate) fn signals(logps: &PairTokenLogps) -> PairSignals {
    let side = |logps: &[f32]| CompletionSignals {
        entropies: (0..logps.len()).map(|token| token as f32 / 3.0).collect(),
        are_top: (0..logps.len()).map(|token| token % 2 == 0).collect(),
    };
    PairSignals { chosen: side(&logps.chosen), rejected: side(&logps.rejected), ches: -17.25, ches_mean: 0.1 }
}

/// A number and a struct, as UltraFeedback has them.
fn pass_through(rows: std::ops::Range<u32>) -> Vec<(FieldRef, ArrayRef)> {
    let scores: ArrayRef = Arc::new(Float64Array::from_iter_values(rows.clone().map(f64::from)));
    let sources: ArrayRef = Arc::new(StringArray::from_iter_values(rows.map(|_| "truthful_qa")));
    let inner = vec![Field::new("source", DataType::Utf8, true)];
    let metadata = StructArray::new(inner.into(), vec![sources], None);
    vec![
        (Arc::new(Field::new("score_chosen", DataType::Float64, true)), scores),
        (Arc::new(Field::new("metadata", metadata.data_type().clone(), true)), Arc::new(metadata)),
    ]
}

pub(crate) fn batch(rows: std::ops::Range<u32>) -> RecordBatch {
    assemble(&store(rows.clone()), &pass_through(rows.clone()), &logps(rows)).unwrap()
}

/// A finished table of 5 pairs in two parts, with one reject.
pub(crate) fn write_table(folder: &Path) -> Manifest {
    let table = TableFolder::claim(folder).unwrap();
    let parts = vec![
        write_part(&table.part_path(0), &batch(0..3), &provenance()).unwrap(),
        write_part(&table.part_path(1), &batch(3..5), &provenance()).unwrap(),
    ];
    let mut rejects = Rejects::new(&table.rejects_path());
    let source = Arc::new(Source { path: "train.jsonl".into(), split: "train".into() });
    let reject = Reject { source, row_idx: 5, line: Some(6), reason: "no `chosen`".into() };
    rejects.push(&reject, RejectKind::Malformed).unwrap();
    let manifest = Manifest::new(provenance(), parts, rejects.finish().unwrap().0);
    table.finish(&manifest).unwrap();
    manifest
}

fn table() -> (TempDir, Manifest) {
    let folder = tempfile::tempdir().unwrap();
    let manifest = write_table(folder.path());
    (folder, manifest)
}

fn open_error(folder: &Path) -> TableError {
    ReferenceTable::open(folder).unwrap_err()
}

#[test]
fn store_columns_end_where_log_probs_begin() {
    assert_eq!(reference::COLUMNS[reference::STORE_COLUMNS].name, "ref_chosen_logps");
}

#[test]
fn a_table_comes_back_as_it_was_written() {
    let (folder, manifest) = table();
    assert_eq!(Manifest::load(folder.path()).unwrap(), manifest);
    assert_eq!((manifest.n_pairs, manifest.n_rejected), (5, 1));

    let table = ReferenceTable::open(folder.path()).unwrap();
    assert_eq!(table.provenance(), &provenance());
    let names: Vec<&str> = table.schema().fields().iter().map(|field| field.name().as_str()).collect();
    let written = arrow::compute::concat_batches(table.schema(), &[batch(0..3), batch(3..5)]).unwrap();
    let read: Vec<RecordBatch> = table.batches(&names).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(arrow::compute::concat_batches(table.schema(), &read).unwrap(), written);
    table.check_digests().unwrap();
}

#[test]
fn a_single_part_is_a_table_of_its_own() {
    let (folder, _) = table();
    let table = ReferenceTable::open(&folder.path().join("part-00001.parquet")).unwrap();
    assert_eq!((table.n_pairs(), table.provenance()), (2, &provenance()));
    assert_eq!(table.load_pairs(TokenLogps::Skip, folder.path()).unwrap().get(0).unwrap().pair_id, "pair-3");
}

#[test]
fn the_same_rows_give_the_same_bytes() {
    let (first, manifest) = table();
    let (second, _) = table();
    for file in manifest.files().map(|file| file.name.as_str()).chain([MANIFEST]) {
        let read = |folder: &TempDir| io::read(&folder.path().join(file)).unwrap();
        assert_eq!(read(&first), read(&second), "{file}");
    }
    let names: Vec<_> = io::list(first.path()).unwrap();
    assert_eq!(names.len(), 4, "two parts, rejects, manifest: {names:?}");
}

#[test]
fn training_pairs_cross_parts_in_order() {
    let (folder, _) = table();
    let table = ReferenceTable::open(folder.path()).unwrap();
    let pairs = table.load_pairs(TokenLogps::Load, folder.path()).unwrap();
    assert_eq!(pairs.len(), 5);
    for (row, pair) in pairs.iter().enumerate() {
        assert_eq!(pair.pair_id, format!("pair-{row}"));
        assert_eq!(pair.tokens_id, format!("tokens-{row}"));
        assert_eq!((pair.prompt_ids, pair.chosen_ids.len()), ([100, 101].as_slice(), row + 1));
        assert_eq!(pair.ref_chosen_logps.to_bits(), (-0.5 * (row as f64 + 1.0)).to_bits());
        assert_eq!(pair.ref_rejected_logps.to_bits(), (-2.5_f64).to_bits());
        let terms = pair.ref_token_logps.unwrap();
        assert_eq!((terms.chosen.len(), terms.rejected), (row + 1, [-1.25, -1.25].as_slice()));
    }
    assert_eq!(pairs.get(5), None);

    let sums = table.load_pairs(TokenLogps::Skip, folder.path()).unwrap();
    assert_eq!((sums.len(), sums.get(3).unwrap().ref_token_logps), (5, None));
}

#[test]
fn sums_are_added_in_f64() {
    // In f32, 2²⁴ + 1 is 2²⁴.
    let logps = vec![PairTokenLogps { chosen: vec![-16_777_216.0, -1.0], rejected: vec![-0.1, -0.1] }];
    let batch = assemble(&store(1..2), &[], &logps).unwrap();
    let sum = batch.column_by_name("ref_chosen_logps").unwrap().as_primitive::<Float64Type>().value(0);
    assert_eq!(sum.to_bits(), (-16_777_217.0_f64).to_bits());
}

#[test]
fn a_value_that_is_no_log_prob_is_refused_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("part-00000.parquet");
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.25] {
        let mut logps = logps(0..3);
        logps[2].rejected[1] = bad;
        let batch = assemble(&store(0..3), &[], &logps).unwrap();
        let error = write_part(&path, &batch, &provenance()).unwrap_err();
        let TableError::Logps { row: 2, pair_id, column, .. } = &error else { panic!("{error}") };
        assert_eq!(pair_id, "pair-2");
        assert!(column.starts_with("ref_rejected"), "{column}");
        assert!(io::list(folder.path()).unwrap().is_empty(), "nothing may be written");
    }
}

#[test]
fn a_positive_term_hidden_in_a_negative_sum_is_refused() {
    let logps = vec![PairTokenLogps { chosen: vec![-9.0, 0.5], rejected: vec![-1.0, -1.0] }];
    let batch = assemble(&store(1..2), &[], &logps).unwrap();
    let error = write_part(Path::new("part.parquet"), &batch, &provenance()).unwrap_err();
    assert!(matches!(error, TableError::Logps { column: "ref_chosen_token_logps", .. }), "{error}");
}

#[test]
fn a_sum_that_is_not_the_sum_of_its_terms_is_refused() {
    let good = batch(0..3);
    let at = good.schema().index_of("ref_chosen_logps").unwrap();
    let with = |sums: [f64; 3]| {
        let mut columns = good.columns().to_vec();
        columns[at] = Arc::new(Float64Array::from(sums.to_vec()));
        RecordBatch::try_new(good.schema(), columns).unwrap()
    };
    // The order in which a sum is added may differ, by an ulp a term.
    check::rows(Path::new("part"), 0, &with([-0.5, -1.0 - f64::EPSILON, -1.5])).unwrap();
    let error = check::rows(Path::new("part"), 10, &with([-0.5, -1.0, -1.5 + 1e-9])).unwrap_err();
    let TableError::Sum { row: 12, column: "ref_chosen_logps", expected, .. } = error else { panic!("{error}") };
    assert_eq!(expected, -1.5);
}

#[test]
fn all_problems_of_a_batch_are_told_with_their_places() {
    let mut logps = logps(0..3);
    logps[0].chosen[0] = f32::NAN;
    logps[1].rejected.push(-1.0);
    logps[2].rejected[1] = 0.5;
    let batch = assemble(&store(0..3), &[], &logps).unwrap();
    let mut found = Vec::new();
    let _ = problems(Path::new("part"), 100, &batch, &mut |problem| {
        found.push(match problem {
            TableError::Logps { row, column, .. } | TableError::TokenCount { row, column, .. } => (row, column),
            other => panic!("{other}"),
        });
        Answer::Continue(())
    });
    assert_eq!(
        found,
        [
            (100, "ref_chosen_logps"),
            (100, "ref_chosen_token_logps"),
            (102, "ref_rejected_token_logps"),
            (101, "ref_rejected_token_logps"),
        ]
    );
    // The same path stops at the first where it is asked to.
    let first = check::rows(Path::new("part"), 100, &batch).unwrap_err();
    assert!(matches!(first, TableError::Logps { row: 100, column: "ref_chosen_logps", .. }), "{first}");
}

#[test]
fn lists_of_another_length_than_counted_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut logps = logps(0..3);
    logps[1].chosen.push(-1.0);
    let batch = assemble(&store(0..3), &[], &logps).unwrap();
    let error = write_part(&folder.path().join("part-00000.parquet"), &batch, &provenance()).unwrap_err();
    let TableError::TokenCount { row: 1, column: "ref_chosen_token_logps", expected: 2, found: 3, .. } = error else {
        panic!("{error}")
    };
}

#[test]
fn a_store_that_does_not_fit_is_refused_by_column() {
    let store = store(0..3);
    let missing = store.project(&(1..19).collect::<Vec<_>>()).unwrap();
    let error = assemble(&missing, &[], &logps(0..3)).unwrap_err();
    assert!(matches!(&error, TableError::Store { column: "pair_id", .. }), "{error}");

    let taken: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let field = Arc::new(Field::new("prompt_tokens", DataType::Int64, true));
    let error = assemble(&store, &[(field, taken)], &logps(0..3)).unwrap_err();
    assert!(matches!(&error, TableError::PassThrough { column } if column == "prompt_tokens"), "{error}");

    assert!(matches!(assemble(&store, &[], &logps(0..2)), Err(TableError::Internal { .. })));
}

#[test]
fn a_truncated_part_is_named() {
    let (folder, _) = table();
    let path = folder.path().join("part-00001.parquet");
    let bytes = io::read(&path).unwrap();
    io::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = open_error(folder.path());
    assert!(matches!(&error, TableError::NotAsListed { what: "bytes", .. }), "{error}");
    assert!(error.to_string().contains("part-00001.parquet"), "{error}");
    // Without a manifest to compare with, Parquet itself says so.
    assert!(matches!(open_error(&path), TableError::Read { .. }));

    io::remove(&path).unwrap();
    assert!(matches!(open_error(folder.path()), TableError::PartMissing { .. }));
}

#[test]
fn no_damaged_byte_passes_unseen_or_panics() {
    let (folder, _) = table();
    let path = folder.path().join("part-00000.parquet");
    let bytes = io::read(&path).unwrap();
    for at in (0..bytes.len()).step_by(97) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0xff;
        io::write(&path, &damaged).unwrap();
        let digests = ReferenceTable::open(folder.path()).and_then(|table| {
            // What is read from a damaged page may be an error or other rows; it must not be a panic.
            let _ = table.load_pairs(TokenLogps::Load, folder.path());
            table.check_digests()
        });
        assert!(digests.is_err(), "byte {at}");
    }
}

#[test]
fn a_value_edited_on_disk_is_refused_when_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("part-00000.parquet");
    let good = batch(0..3);
    for (bad, is_null) in [(Some(f64::NAN), false), (Some(1e-9), false), (None, true)] {
        let mut fields = good.schema().fields().to_vec();
        let column = good.schema().index_of("ref_rejected_logps").unwrap();
        fields[column] = Arc::new(fields[column].as_ref().clone().with_nullable(true));
        let mut columns = good.columns().to_vec();
        columns[column] = Arc::new(Float64Array::from(vec![Some(-1.0), bad, Some(-1.0)]));
        let edited = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        let mut file = ParquetFile::create(&path, edited.schema(), provenance().to_footer()).unwrap();
        file.write(&edited).unwrap();
        file.finish().unwrap();

        let error = ReferenceTable::open(&path).unwrap().load_pairs(TokenLogps::Skip, folder.path()).unwrap_err();
        match &error {
            TableError::Null { row: 1, column: "ref_rejected_logps", .. } => assert!(is_null),
            TableError::Logps { row: 1, column: "ref_rejected_logps", pair_id, .. } => {
                assert!(!is_null && pair_id == "pair-1");
            }
            _ => panic!("{error}"),
        }
        assert!(error.to_string().contains("part-00000.parquet"), "{error}");
    }
}

#[test]
fn a_missing_column_is_named_with_its_type() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("part-00000.parquet");
    let batch = batch(0..3);
    let without: Vec<usize> = (0..batch.num_columns()).filter(|&column| column != 19).collect();
    let batch = batch.project(&without).unwrap();
    let mut file = ParquetFile::create(&path, batch.schema(), provenance().to_footer()).unwrap();
    file.write(&batch).unwrap();
    file.finish().unwrap();
    let error = open_error(&path).to_string();
    assert!(error.contains("`ref_chosen_logps` of type Float64, found no such column"), "{error}");
}

#[test]
fn a_manifest_that_cannot_be_trusted_is_refused() {
    let (folder, _) = table();
    let path = folder.path().join(MANIFEST);
    let text = io::read_text(&path).unwrap();
    let check = |text: &str, expected: &str| {
        io::write(&path, text.as_bytes()).unwrap();
        let error = open_error(folder.path());
        let mut message = error.to_string();
        if let Some(source) = std::error::Error::source(&error) {
            message = format!("{message}: {source}");
        }
        assert!(message.contains(expected), "{message}");
    };
    check(&text[..40], "EOF while parsing");
    check(&text.replace("\"format_version\": 1", "\"format_version\": 99"), "has format version 99, expected 1");
    check(&text.replace("\"n_pairs\": 5", "\"n_pairs\": 6"), "expected `n_pairs` to be 5, found 6");
    check(&text.replace("part-00001", "../part-00001"), "found `../part-00001.parquet`");
    check(&text.replace("\"rows\": 2", "\"rows\": 4").replace("\"n_pairs\": 5", "\"n_pairs\": 7"), "rows 4, found 2");
    check(
        &text.replace("\"max_length\": 1024", "\"max_length\": 512"),
        "another `max_length`: expected `512`, found `1024`",
    );
    check("{\"name\": \"some web app\"}", "is no log-prob table: it is something else");
}

#[test]
fn an_unfinished_table_says_how_to_finish_it() {
    let folder = tempfile::tempdir().unwrap();
    let table = TableFolder::claim(folder.path()).unwrap();
    assert!(matches!(open_error(folder.path()), TableError::Incomplete { .. }), "claimed, no part yet");
    write_part(&table.part_path(0), &batch(0..3), &provenance()).unwrap();
    let error = open_error(folder.path());
    assert!(error.hint().unwrap().contains("precompute` again"), "{error}");
}

#[test]
fn what_a_killed_run_leaves_is_ours_and_a_second_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let table = TableFolder::claim(folder.path()).unwrap();
    write_part(&table.part_path(0), &batch(0..3), &provenance()).unwrap();
    io::write(&folder.path().join(".part-00001.parquet.x1y2.partial"), b"PAR1 torn").unwrap();
    let error = TableFolder::claim(folder.path()).unwrap_err();
    assert!(error.to_string().contains("is in use by process"), "{error}");

    drop(table);
    io::write(&folder.path().join(".piref.lock"), b"process 1\n").unwrap();
    let again = TableFolder::claim(folder.path()).unwrap();
    assert_eq!(again.parts().unwrap(), [(0, again.part_path(0))]);
}

#[test]
fn a_retired_part_is_kept_until_the_table_is_finished() {
    let (folder, manifest) = table();
    let table = TableFolder::claim(folder.path()).unwrap();
    table.reopen().unwrap();
    let digest = manifest.parts[1].file.digest;
    table.retire(&table.part_path(1), &digest).unwrap();
    assert!(matches!(open_error(folder.path()), TableError::Incomplete { .. }));

    let retired = table.retired().unwrap();
    assert_eq!(retired.len(), 1);
    assert_eq!((ReferenceTable::open(&retired[0].0).unwrap().n_pairs(), retired[0].1), (2, digest));
    table.finish(&Manifest::new(provenance(), manifest.parts[..1].to_vec(), manifest.rejects)).unwrap();
    let left: Vec<_> = io::list(folder.path()).unwrap();
    assert_eq!(left, ["manifest.json", "part-00000.parquet", "rejects.parquet"].map(|name| folder.path().join(name)));
}

#[test]
fn refused_rejects_leave_a_finished_table_alone() {
    let (folder, _) = table();
    let before = io::read(&folder.path().join(REJECTS)).unwrap();
    let table = TableFolder::claim(folder.path()).unwrap();
    io::write(&table.incoming_rejects_path(), b"others").unwrap();
    assert_eq!(table.refuse_rejects().unwrap(), folder.path().join("rejects.refused.parquet"));
    assert_eq!(io::read(&table.rejects_path()).unwrap(), before);

    table.reopen().unwrap();
    io::write(&table.incoming_rejects_path(), b"others").unwrap();
    assert_eq!(table.refuse_rejects().unwrap(), table.rejects_path());
}

#[test]
fn a_damaged_part_goes_with_a_fresh_start() {
    let folder = tempfile::tempdir().unwrap();
    let table = TableFolder::claim(folder.path()).unwrap();
    io::write(&table.part_path(0), b"PAR1 torn").unwrap();
    table.set_aside().unwrap();
    assert!(table.parts().unwrap().is_empty());
}

#[test]
fn foreign_folders_are_neither_claimed_nor_cleared() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = folder.path().join("thesis.tex");
    io::write(&foreign, b"years of work").unwrap();
    let error = TableFolder::claim(folder.path()).unwrap_err();
    assert!(matches!(&error, TableError::NotOurs { found, .. } if found == "thesis.tex"), "{error}");
    assert_eq!(io::list(folder.path()).unwrap(), [foreign.as_path()]);

    let dataset = tempfile::tempdir().unwrap();
    let path = dataset.path().join("part-00000.parquet");
    let mut file = ParquetFile::create(&path, batch(0..3).schema(), vec![]).unwrap();
    file.write(&batch(0..3)).unwrap();
    file.finish().unwrap();
    assert!(matches!(TableFolder::claim(dataset.path()), Err(TableError::NotOurs { .. })), "Parquet of somebody else");

    let manifest = tempfile::tempdir().unwrap();
    io::write(&manifest.path().join(MANIFEST), b"{\"name\": \"some web app\"}").unwrap();
    assert!(
        matches!(TableFolder::claim(manifest.path()), Err(TableError::NotOurs { .. })),
        "manifest of somebody else"
    );
}

#[test]
fn a_fresh_start_replaces_the_table_and_nothing_else_once_the_new_one_is_finished() {
    let (folder, _) = table();
    let notes = folder.path().join("notes.txt");
    io::write(&notes, b"mine").unwrap();
    let names = |path: &Path| {
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        io::list(path).unwrap().iter().map(name).collect::<Vec<_>>()
    };
    let before = names(folder.path());
    let replaced = folder.path().join(".replaced");
    // Twice: the first try does not end, and leaves a part.
    for _ in 0..2 {
        let table = TableFolder::claim(folder.path()).unwrap();
        table.set_aside().unwrap();
        assert_eq!(names(folder.path()), [".piref.lock", ".replaced", "notes.txt"]);
        let kept: Vec<String> = before.iter().filter(|name| **name != "notes.txt").cloned().collect();
        assert_eq!(names(&replaced), kept);
        let rows = batch(0..3);
        let part = write_part(&table.part_path(0), &rows, &provenance()).unwrap();
        drop(part);
    }
    let table = TableFolder::claim(folder.path()).unwrap();
    table.set_aside().unwrap();
    let part = write_part(&table.part_path(0), &batch(0..3), &provenance()).unwrap();
    table.finish(&Manifest::new(provenance(), vec![part], None)).unwrap();
    assert_eq!(names(folder.path()), ["manifest.json", "notes.txt", "part-00000.parquet"]);
}

#[test]
fn no_rejects_no_file() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Rejects::new(&folder.path().join(REJECTS)).finish().unwrap().0, None);
    assert!(io::list(folder.path()).unwrap().is_empty());
}
