//! Whole files: every format, every container, every way to be wrong.

mod containers;
mod formats;
mod refusals;

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

#[test]
fn adhoc() {
    let mut files: Vec<_> = std::fs::read_dir("/work/shared/data")
        .unwrap()
        .map(|d| d.unwrap().path())
        .filter(|p| p.is_dir())
        .flat_map(|d| std::fs::read_dir(d).unwrap().map(|f| f.unwrap().path()).collect::<Vec<_>>())
        .filter(|p| !p.ends_with("LICENSE"))
        .collect();
    files.sort();
    for f in files {
        let map = if f.ends_with("stack_exchange_paired_tiny.json") {
            "prompt=question,chosen=response_j,rejected=response_k".parse().unwrap()
        } else {
            ColumnMap::default()
        };
        let t = std::time::Instant::now();
        match open(&f, &map) {
            Err(e) => eprintln!("{} ERROR {e}", f.display()),
            Ok(r) => {
                let format = r.format();
                let cols = r.columns().join(",");
                let split_name = r.source().split.clone();
                let (p, rj) = split(r);
                let ids: std::collections::BTreeSet<_> = p.iter().map(|p| p.id).collect();
                let roles: std::collections::BTreeMap<String, usize> = p.iter().fold(Default::default(), |mut m, p| {
                    let PairText::Messages { prompt, chosen, .. } = &p.text else { return m };
                    let k = format!(
                        "{}|{}",
                        prompt.iter().map(|t| &t.role[..1]).collect::<String>(),
                        chosen.iter().map(|t| &t.role[..1]).collect::<String>()
                    );
                    *m.entry(k).or_default() += 1;
                    m
                });
                eprintln!(
                    "{} [{format}] split={split_name} cols={cols} pairs={} distinct={} rejects={} {:?} empty={} extra={:?} {roles:?}",
                    f.display(),
                    p.len(),
                    ids.len(),
                    rj.len(),
                    t.elapsed(),
                    p.iter().filter(|p| p.text.chosen_text().is_empty() || p.text.rejected_text().is_empty()).count(),
                    p[0].extra.keys().collect::<Vec<_>>()
                );
                for r in rj.iter().take(5) {
                    eprintln!("   {:?}", r);
                }
                if f.to_str().unwrap().contains("harmless") {
                    use std::io::BufRead;
                    let rows: Vec<serde_json::Value> = io::open_decoded(&f)
                        .unwrap()
                        .lines()
                        .map(|l| serde_json::from_str(&l.unwrap()).unwrap())
                        .collect();
                    let (mut same, mut other) = (0, 0);
                    for (i, (p, row)) in p.iter().zip(&rows).enumerate() {
                        let PairText::Plain { prompt, chosen, rejected } = &p.text else { panic!() };
                        let (c, j) = (row["chosen"].as_str().unwrap(), row["rejected"].as_str().unwrap());
                        assert_eq!(format!("{prompt}{chosen}"), c);
                        assert_eq!(format!("{prompt}{rejected}"), j);
                        let m = "\n\nAssistant:";
                        let at = |s: &str| s[..s.rfind(m).unwrap() + m.len()].to_owned();
                        if at(c) == at(j) {
                            assert_eq!(*prompt, at(c), "row {i}");
                            same += 1
                        } else {
                            other += 1;
                            eprintln!("   row {i} diverges earlier: {prompt:?} || {chosen:?} || {rejected:?}");
                        }
                    }
                    eprintln!("   same {same} other {other}");
                }
            }
        }
    }
}
