//! Whole files: every format, every container, every way to be wrong.

mod containers;
mod fixtures;
mod formats;
mod refusals;
mod types;

use std::path::Path;

use serde_json::{Value, json};

use super::{ColumnMap, DataError, PairReader, PairText, PreferencePair, Reject, Row, open};
use crate::io;

/// A reader of rows in a file of JSON lines.
fn open_rows(rows: &[Value], map: &str) -> Result<PairReader, DataError> {
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pairs.jsonl");
    io::write(&path, lines.join("\n").as_bytes()).unwrap();
    let map = if map.is_empty() { ColumnMap::default() } else { map.parse().unwrap() };
    open(&path, &map)
}

/// Everything in a file.
fn read(path: &Path) -> (Vec<PreferencePair>, Vec<Reject>) {
    split(open(path, &ColumnMap::default()).unwrap())
}

fn split(reader: PairReader) -> (Vec<PreferencePair>, Vec<Reject>) {
    let (mut pairs, mut rejects) = (Vec::new(), Vec::new());
    for row in reader {
        match row.unwrap() {
            Row::Pair(pair) => pairs.push(pair),
            Row::Reject(reject) => rejects.push(reject),
        }
    }
    (pairs, rejects)
}

/// A text as JSON, to compare with what a test spells out: `[prompt, chosen, rejected]` of strings or of
/// `"role: content"` turns, then the tools.
fn shown(text: &PairText) -> Value {
    match text {
        PairText::Plain { prompt, chosen, rejected } => json!([prompt, chosen, rejected]),
        PairText::Messages { prompt, chosen, rejected, tools } => {
            let turns = [prompt, chosen, rejected].map(|turns| {
                turns.iter().map(|turn| Value::from(format!("{}: {}", turn.role, turn.content))).collect::<Value>()
            });
            turns.into_iter().chain(tools.clone()).collect()
        }
    }
}
