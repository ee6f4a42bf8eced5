//! What an audit found as SARIF 2.1.0 (OASIS, 27 March 2020), for the programs that show what linters find.
//!
//! A check is a rule, a finding a result, a check that could not look a notification of the invocation. Results are
//! written as they come; what the format wants before them may stand after them, because a JSON object has no order.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use serde_json::{Map, Value, json};

use super::ReportError;
use crate::audit::{CheckSummary, Summary};
use crate::digest::Id;
use crate::io::{AtomicFile, IoError};
use crate::table::{Finding, Level, ReferenceTable, TableError};
use crate::visible::visible;

/// Version of how [`Sarif`] makes a fingerprint.
const FINGERPRINT: &str = "piref/v1";

/// A SARIF file in the making: it appears with [`finish`](Self::finish), also without a finding.
///
/// A result says where its pair stands in the data, so that the places of all pairs are in memory: 32 bytes a row, and
/// what a hash table leaves free.
pub struct Sarif {
    file: BufWriter<AtomicFile>,
    places: Places,
    n_results: u64,
}

impl Sarif {
    /// Starts the file that will be called `path`, about the table at `table`.
    ///
    /// # Errors
    /// If the table cannot be read, or the file not be made.
    pub fn create(path: &Path, table: &Path) -> Result<Self, ReportError> {
        let places = Places::of(&ReferenceTable::open(table)?)?;
        let mut sarif = Self { file: BufWriter::new(AtomicFile::create(path)?), places, n_results: 0 };
        sarif.write(
            "{\"$schema\": \"https://json.schemastore.org/sarif-2.1.0.json\", \"version\": \"2.1.0\", \"runs\": \
             [{\"results\": [",
        )?;
        Ok(sarif)
    }

    /// Adds a finding.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn push(&mut self, finding: &Finding) -> Result<(), IoError> {
        let before = if self.n_results == 0 { "\n" } else { ",\n" };
        self.n_results += 1;
        let result = self.places.result(finding);
        self.write(&format!("{before}{result}"))
    }

    /// Adds what the results are about, and gives the file its name.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn finish(mut self, summary: &Summary) -> Result<(), ReportError> {
        let driver = json!({
            "name": "piref",
            "version": env!("CARGO_PKG_VERSION"),
            "rules": summary.checks.iter().map(rule).collect::<Vec<_>>(),
        });
        let skipped = summary.checks.iter().filter_map(notification);
        let invocation =
            json!({ "executionSuccessful": true, "toolExecutionNotifications": skipped.collect::<Vec<_>>() });
        let about = json!({
            "tableDigest": summary.table_digest, "pairs": summary.n_pairs, "beta": summary.beta,
        });
        self.write(&format!(
            "\n],\n\"tool\": {{\"driver\": {driver}}},\n\"invocations\": [{invocation}],\n\"properties\": {about}}}]}}\n"
        ))?;
        let path = self.file.get_ref().path().to_owned();
        let file = self.file.into_inner();
        let file = file.map_err(|error| IoError::new("write", &path, error.into_error()))?;
        Ok(file.commit()?)
    }

    fn write(&mut self, text: &str) -> Result<(), IoError> {
        let written = self.file.write_all(text.as_bytes());
        written.map_err(|source| IoError::new("write", self.file.get_ref().path(), source))
    }
}

/// Where pairs stand in the data.
struct Places {
    table: String,
    sources: Vec<String>,
    /// Source and row of a pair, of one that is repeated the first in the table.
    rows: HashMap<Id, (usize, i64)>,
}

impl Places {
    fn of(table: &ReferenceTable) -> Result<Self, ReportError> {
        let mut places =
            Self { table: table.path().to_string_lossy().into_owned(), sources: Vec::new(), rows: HashMap::new() };
        for batch in table.batches(&["pair_id", "source", "row_idx"])? {
            let batch = batch?;
            let texts = |name: &str| batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
            let rows = batch.column_by_name("row_idx").and_then(|column| column.as_primitive_opt::<Int64Type>());
            let (Some(pair_ids), Some(sources), Some(rows)) = (texts("pair_id"), texts("source"), rows) else {
                return Err(TableError::Internal { what: "the columns of places are of another type".into() }.into());
            };
            for row in (0..batch.num_rows()).filter(|row| pair_ids.is_valid(*row) && sources.is_valid(*row)) {
                let source = places.source(sources.value(row));
                places.rows.entry(key(pair_ids.value(row))).or_insert((source, rows.value(row)));
            }
        }
        Ok(places)
    }

    /// The index of a source; rows of one mostly stand together.
    fn source(&mut self, name: &str) -> usize {
        self.sources.iter().rposition(|known| known == name).unwrap_or_else(|| {
            self.sources.push(name.to_owned());
            self.sources.len() - 1
        })
    }

    fn result(&self, finding: &Finding) -> Value {
        let mut result = Map::new();
        result.insert("ruleId".into(), json!(finding.check));
        result.insert("level".into(), json!(level(finding.level)));
        result.insert("message".into(), json!({ "text": message(&finding.evidence) }));
        result.insert("locations".into(), json!([self.location(finding.pair_id.as_deref())]));
        result.insert("partialFingerprints".into(), json!({ FINGERPRINT: fingerprint(finding) }));
        if let Some(value) = finding.value {
            result.insert("properties".into(), json!({ "value": value }));
        }
        Value::Object(result)
    }

    /// Where a pair is, in the file it came from and as `table/source/row/pair_id`; the table where there is no such pair.
    fn location(&self, pair_id: Option<&str>) -> Value {
        let place = pair_id.and_then(|pair_id| {
            let (source, row_idx) = self.rows.get(&key(pair_id))?;
            Some((self.sources.get(*source)?, row_idx))
        });
        let file = |path: &str| json!({ "artifactLocation": { "uri": uri(path) } });
        match (pair_id, place) {
            (Some(pair_id), Some((source, row_idx))) => json!({
                "physicalLocation": file(source),
                "logicalLocations": [{
                    "name": pair_id,
                    "fullyQualifiedName": format!("{}/{source}/{row_idx}/{pair_id}", self.table),
                    "kind": "object",
                    "properties": { "source": source, "row_idx": row_idx },
                }],
            }),
            (pair_id, _) => json!({
                "physicalLocation": file(&self.table),
                "logicalLocations": [{ "name": pair_id.unwrap_or(&self.table), "kind": "object" }],
            }),
        }
    }
}

/// A pair id in 16 bytes, whatever a table holds as one.
fn key(pair_id: &str) -> Id {
    Id::of_parts("pair_id", [pair_id.as_bytes()])
}

/// A check.
fn rule(check: &CheckSummary) -> Value {
    let info = &check.info;
    json!({
        "id": info.id,
        "shortDescription": { "text": message(&info.title) },
        "fullDescription": { "text": message(&info.question) },
        "help": { "text": message(&info.advice) },
        "defaultConfiguration": { "level": level(info.level) },
        "properties": { "source": info.source },
    })
}

/// That a check could not look.
fn notification(check: &CheckSummary) -> Option<Value> {
    let reason = check.skipped.as_deref()?;
    Some(json!({
        "message": { "text": message(&format!("skipped: {reason}")) },
        "level": "note",
        "associatedRule": { "id": check.info.id },
    }))
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "note",
    }
}

/// A message in plain text. A viewer makes a link of `[text](target)` (§3.11.6) and data must not have any; what hides is
/// spelt out, and nothing, which a message may not be, has a name.
fn message(text: &str) -> String {
    if text.trim().is_empty() { "(no text)".into() } else { visible(text).replace("](", "] (") }
}

/// The same finding in another run has the same fingerprint: of its check, its pair and what was found, without numbers,
/// which change with every pair that is added.
fn fingerprint(finding: &Finding) -> String {
    let words: String = finding.evidence.chars().filter(|c| !c.is_ascii_digit()).collect();
    let pair_id = finding.pair_id.as_deref().unwrap_or_default();
    Id::of_parts("finding", [finding.check.as_bytes(), pair_id.as_bytes(), words.as_bytes()]).to_string()
}

/// A path as a URI reference (RFC 3986).
fn uri(path: &str) -> String {
    let mut uri = String::from(if path.starts_with('/') { "file://" } else { "" });
    for &byte in path.as_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => uri.push(char::from(byte)),
            // Writing to a string does not fail.
            _ => _ = write!(uri, "%{byte:02X}"),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(pair_id: Option<&str>, evidence: &str) -> Finding {
        let pair_id = pair_id.map(str::to_owned);
        Finding { pair_id, check: "B1".into(), level: Level::Warn, value: Some(0.5), evidence: evidence.into() }
    }

    fn places() -> Places {
        let rows = HashMap::from([(key("ab12"), (0, 7))]);
        Places { table: "runs/a/reference".into(), sources: vec!["data/my pairs.jsonl".into()], rows }
    }

    #[test]
    fn a_result_has_what_the_format_asks_for() {
        let result = places().result(&finding(Some("ab12"), "both are the same"));
        let want = json!({
            "ruleId": "B1",
            "level": "warning",
            "message": { "text": "both are the same" },
            "locations": [{
                "physicalLocation": { "artifactLocation": { "uri": "data/my%20pairs.jsonl" } },
                "logicalLocations": [{
                    "name": "ab12",
                    "fullyQualifiedName": "runs/a/reference/data/my pairs.jsonl/7/ab12",
                    "kind": "object",
                    "properties": { "source": "data/my pairs.jsonl", "row_idx": 7 },
                }],
            }],
            "partialFingerprints": { "piref/v1": fingerprint(&finding(Some("ab12"), "both are the same")) },
            "properties": { "value": 0.5 },
        });
        assert_eq!(result, want);
    }

    #[test]
    fn what_is_about_no_known_pair_is_about_the_table() {
        for (pair_id, name) in [(None, "runs/a/reference"), (Some("nobody"), "nobody")] {
            let location = places().location(pair_id);
            assert_eq!(location["physicalLocation"]["artifactLocation"]["uri"], "runs/a/reference");
            assert_eq!(location["logicalLocations"][0]["name"], name);
        }
    }

    #[test]
    fn fingerprints_outlive_numbers_and_tell_pairs_and_checks_apart() {
        let of = |pair_id, evidence| fingerprint(&finding(pair_id, evidence));
        assert_eq!(of(None, "share 0.61 of 100"), of(None, "share 0.62 of 2000"));
        assert_ne!(of(None, "lists: 1"), of(None, "code: 1"));
        assert_ne!(of(Some("a"), "x"), of(Some("b"), "x"));
        assert_ne!(of(Some("a"), "x"), fingerprint(&Finding { check: "B2".into(), ..finding(Some("a"), "x") }));
    }

    #[test]
    fn data_cannot_put_links_into_messages() {
        assert_eq!(message("[click](https://example.org)"), "[click] (https://example.org)");
        assert_eq!(message("a\u{202e}b"), "a⟨U+202E⟩b");
        assert_eq!(message(" "), "(no text)");
    }

    #[test]
    fn paths_are_uri_references() {
        for (path, want) in [
            ("data/a.jsonl", "data/a.jsonl"),
            ("/data/a b?.jsonl", "file:///data/a%20b%3F.jsonl"),
            ("C:\\é", "C%3A%5C%C3%A9"),
        ] {
            assert_eq!(uri(path), want);
        }
    }
}
