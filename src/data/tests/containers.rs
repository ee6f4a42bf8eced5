//! The same rows in every container, whole and damaged.

use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::ipc::writer::{FileWriter, StreamWriter};
use arrow::json::reader::{ReaderBuilder, infer_json_schema_from_iterator};
use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};

use super::{read, shown, split};
use crate::data::{ColumnMap, DataError, Row, open};

const N_ROWS: usize = 300;

/// Nested rows, with members that only some of them have.
fn rows() -> Vec<Value> {
    let turn = |role: &str, content: String| json!({"role": role, "content": content});
    (0..N_ROWS)
        .map(|i| {
            let mut prompt = vec![turn("user", format!("q{i} “ä”\n"))];
            if i % 3 == 0 {
                prompt.insert(0, json!({"role": "system", "content": "s", "name": "ada"}));
            }
            json!({"prompt": prompt, "chosen": [turn("assistant", format!("y{i}"))],
                   "rejected": [turn("assistant", String::new())], "score": i, "meta": {"tags": ["a", format!("b{i}")]}})
        })
        .collect()
}

fn lines() -> Vec<u8> {
    rows().iter().flat_map(|row| format!("{row}\n").into_bytes()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn batches() -> (Arc<Schema>, Vec<RecordBatch>) {
    let schema = Arc::new(infer_json_schema_from_iterator(rows().into_iter().map(Ok)).unwrap());
    let lines = lines();
    let reader = ReaderBuilder::new(Arc::clone(&schema)).with_batch_size(200).build(Cursor::new(lines)).unwrap();
    (schema, reader.map(Result::unwrap).collect())
}

fn parquet() -> Vec<u8> {
    let (schema, batches) = batches();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(70)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties)).unwrap();
    for batch in &batches {
        writer.write(batch).unwrap();
    }
    writer.into_inner().unwrap()
}

fn arrow_stream() -> Vec<u8> {
    let (schema, batches) = batches();
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
    for batch in &batches {
        writer.write(batch).unwrap();
    }
    writer.into_inner().unwrap()
}

fn arrow_file() -> Vec<u8> {
    let (schema, batches) = batches();
    let mut writer = FileWriter::try_new(Vec::new(), &schema).unwrap();
    for batch in &batches {
        writer.write(batch).unwrap();
    }
    writer.into_inner().unwrap()
}

fn every_container() -> Vec<(&'static str, Vec<u8>)> {
    let lines = lines();
    let list = serde_json::to_vec_pretty(&rows()).unwrap();
    vec![
        ("a.jsonl", lines.clone()),
        ("bom.jsonl", [b"\xef\xbb\xbf", &lines[..]].concat()),
        ("b.NDJSON", lines.clone()),
        ("c.json", lines.clone()),
        ("d.jsonl.gz", gzip(&lines)),
        ("two-members.jsonl.gz", [gzip(&lines[..100]), gzip(&lines[100..])].concat()),
        ("compressed.jsonl", gzip(&lines)),
        ("no-extension", lines.clone()),
        ("cr.jsonl", lines.iter().map(|byte| if *byte == b'\n' { b'\r' } else { *byte }).collect()),
        ("pretty.json", rows().iter().flat_map(|row| format!("{row:#}\n").into_bytes()).collect()),
        ("h.jsonl", parquet()),
        ("e.jsonl.zst", zstd::encode_all(&lines[..], 3).unwrap()),
        ("f.json", list.clone()),
        ("g.json.gz", gzip(&list)),
        ("h.parquet", parquet()),
        ("i.arrow", arrow_stream()),
        ("j.arrow", arrow_file()),
    ]
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> std::path::PathBuf {
    // Without the sync of `io::write`: there are many of these.
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn every_container_gives_the_same_pairs() {
    let folder = tempfile::tempdir().unwrap();
    let (want, rejects) = read(&write(folder.path(), "pairs.jsonl", &lines()));
    assert_eq!((want.len(), rejects.len()), (N_ROWS, 0));
    assert_eq!(shown(&want[3].text), json!([["system: s", "user: q3 “ä”\n"], ["assistant: y3"], ["assistant: "]]));
    assert_eq!(want[3].extra["meta"], json!({"tags": ["a", "b3"]}));

    for (name, bytes) in every_container() {
        let (pairs, rejects) = read(&write(folder.path(), name, &bytes));
        assert_eq!((pairs.len(), rejects.len()), (N_ROWS, 0), "{name}");
        for (pair, want) in pairs.iter().zip(&want) {
            assert_eq!((pair.id, pair.row_idx, &pair.text), (want.id, want.row_idx, &want.text), "{name}");
            assert_eq!(pair.extra, want.extra, "{name}");
        }
    }
}

/// Rows before the error, and the error.
fn read_damaged(path: &Path) -> Result<(u64, DataError), u64> {
    let reader = match open(path, &ColumnMap::default()) {
        Ok(reader) => reader,
        Err(error) => return Ok((0, error)),
    };
    let mut n_rows = 0;
    for row in reader {
        match row {
            Ok(Row::Pair(_) | Row::Reject(_)) => n_rows += 1,
            Err(error) => return Ok((n_rows, error)),
        }
    }
    Err(n_rows)
}

#[test]
fn a_file_cut_short_is_an_error_that_names_the_row() {
    let folder = tempfile::tempdir().unwrap();
    let list = serde_json::to_vec(&rows()).unwrap();
    for (name, bytes) in [
        ("a.jsonl.gz", gzip(&lines())),
        ("b.jsonl.zst", zstd::encode_all(&lines()[..], 3).unwrap()),
        ("c.json", list),
        ("d.parquet", parquet()),
        ("e.arrow", arrow_stream()),
        ("f.arrow", arrow_file()),
    ] {
        let path = write(folder.path(), name, &bytes[..bytes.len() * 9 / 10]);
        let (n_rows, error) = read_damaged(&path).unwrap();
        match error {
            DataError::Damaged { path: named, rows, .. } | DataError::NotList { path: named, rows, .. } => {
                assert_eq!((named, rows), (path, n_rows), "{name}");
            }
            other => panic!("{name}: {other}"),
        }
    }
}

/// Wrong bytes anywhere: an error, a reject or another text, but the end is always reached.
#[test]
fn no_wrong_byte_stops_the_program() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in every_container() {
        let step = bytes.len() / 97 + 1;
        for at in (0..bytes.len()).step_by(step).chain(bytes.len().saturating_sub(24)..bytes.len()) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            let _ = read_damaged(&write(folder.path(), name, &damaged));
        }
    }
}

#[test]
fn a_reject_has_its_place_in_each_container() {
    let folder = tempfile::tempdir().unwrap();
    let pair = json!({"prompt": "q", "chosen": "y", "rejected": "n"}).to_string();
    let odd = json!({"prompt": "q", "chosen": "y", "rejected": null}).to_string();
    let lines = format!("{pair}\n\n{pair}\n{odd}\n{pair}\n");
    let list = format!("[{pair},\n\n{pair}, {odd},\n{pair}]");
    for (name, text, line) in [("a.jsonl", lines, Some(4)), ("a.json", list, Some(3))] {
        let (pairs, rejects) = read(&write(folder.path(), name, text.as_bytes()));
        assert_eq!(pairs.iter().map(|pair| pair.row_idx).collect::<Vec<_>>(), [0, 1, 3], "{name}");
        assert_eq!((rejects[0].row_idx, rejects[0].line), (2, line), "{name}");
        assert_eq!(rejects[0].reason, "column `rejected` is null", "{name}");
    }
}

#[test]
fn rejects_after_the_sample_are_as_those_within() {
    let folder = tempfile::tempdir().unwrap();
    let good = rows();
    let line = |i: usize| if i % 10 == 9 { "{".to_owned() } else { good[i].to_string() };
    let text = (0..100).map(line).collect::<Vec<_>>().join("\n");
    let path = write(folder.path(), "train.jsonl", text.as_bytes());
    let reader = open(&path, &ColumnMap::default()).unwrap();
    assert_eq!(reader.source().split, "train");
    assert_eq!(reader.columns(), ["prompt", "chosen", "rejected", "score", "meta"]);
    let (pairs, rejects) = split(reader);
    assert_eq!(pairs.len(), 90);
    let places: Vec<_> = rejects.iter().map(|reject| (reject.row_idx, reject.line)).collect();
    assert_eq!(places, (0..10).map(|i| (i * 10 + 9, Some(i * 10 + 10))).collect::<Vec<_>>());
}
