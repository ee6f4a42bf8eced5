//! JSON files as tables: columns found in a first pass over the file, rows streamed in a second.

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use datafusion::catalog::TableProvider;
use serde_json::Value;

use crate::io::{self, IoError};
use crate::query::QueryError;
use crate::query::columns::Columns;
use crate::query::file_stream::{Batches, FileStream};
use crate::query::json_rows::JsonRows;
use crate::table::schema::{metrics, samples, sft_metrics};

/// Contracts of files of JSON lines, each of which says which one it follows.
const CONTRACTS: [&str; 3] = [metrics::VERSION, sft_metrics::VERSION, samples::VERSION];

/// Rows decoded at once.
pub(super) const BATCH_ROWS: usize = 4096;

/// Bytes of them, as they are written; a single row may have more.
pub(super) const BATCH_BYTES: usize = 64 << 20;

/// The table in files of JSON objects: lines, objects one after another, or an array.
///
/// # Errors
/// If one of them holds something else, or two rows cannot share a column.
pub(super) fn open_json(files: &[PathBuf]) -> Result<Arc<dyn TableProvider>, QueryError> {
    let mut columns = Columns::default();
    for path in files {
        let mut rows = JsonRows::new(path, open_text(path)?);
        let mut row_idx = 0;
        while let Some(row) = rows.next()? {
            columns.widen(row.text).map_err(|conflict| QueryError::JsonColumn {
                path: path.clone(),
                place: row.place,
                column: conflict.column,
                expected: conflict.expected,
                found: conflict.found,
            })?;
            if columns.has("schema")
                && let Ok(value) = serde_json::from_str(&row.json)
            {
                refuse_other_versions(path, row_idx, &value)?;
            }
            row_idx += 1;
        }
    }
    let schema = Arc::new(columns.schema());
    stream(FileStream::new(Arc::clone(&schema)), files, &schema).into_table()
}

/// The samples of a run, one file an evaluation.
///
/// # Errors
/// If a line of one of them follows another contract, or none.
pub(super) fn open_samples(files: &[PathBuf]) -> Result<Arc<dyn TableProvider>, QueryError> {
    for file in files {
        check_lines(file, samples::VERSION)?;
    }
    let schema = samples::schema();
    stream(FileStream::new(Arc::clone(&schema)), files, &schema).into_table()
}

/// Refuses the metrics of a run of which a line follows another contract than this program knows, an older or a newer
/// one, or none.
///
/// # Errors
/// At the first such line. What is no JSON is left to whoever reads the rows.
pub(super) fn check_metrics(path: &Path) -> Result<(), QueryError> {
    check_lines(path, metrics::VERSION)
}

/// Refuses lines that follow another contract than this program knows, or none, where `expected` would do.
fn check_lines(path: &Path, expected: &'static str) -> Result<(), QueryError> {
    let mut rows = JsonRows::new(path, open_text(path)?);
    let mut next = || serde_json::from_str::<Value>(&rows.next().ok()??.json).ok();
    for (row, value) in (0..).zip(std::iter::from_fn(&mut next)) {
        if value.get("schema").is_none() {
            return Err(QueryError::LineVersion { path: path.to_owned(), row, expected, found: "none".into() });
        }
        refuse_other_versions(path, row, &value)?;
    }
    Ok(())
}

/// A row that says it is of another version of a contract, in whatever file.
fn refuse_other_versions(path: &Path, row: u64, value: &Value) -> Result<(), QueryError> {
    let Some(Value::String(found)) = value.get("schema") else { return Ok(()) };
    match CONTRACTS.into_iter().find(|version| found.starts_with(name(version))) {
        Some(expected) if found != expected => {
            Err(QueryError::LineVersion { path: path.to_owned(), row, expected, found: format!("`{found}`") })
        }
        _ => Ok(()),
    }
}

/// `metrics.v` of `metrics.v1`.
fn name(version: &str) -> &str {
    version.trim_end_matches(|c: char| c.is_ascii_digit())
}

/// The text of a file, without the byte-order mark that Excel and PowerShell put in front.
///
/// # Errors
/// If the file is UTF-16, which its first bytes say.
pub(super) fn open_text(path: &Path) -> Result<Box<dyn BufRead + Send>, QueryError> {
    let mut reader = io::open_decoded(path)?;
    let start = reader.fill_buf().map_err(|source| IoError::new("read", path, source))?;
    match start {
        [0xEF, 0xBB, 0xBF, ..] => reader.consume(3),
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] | [_, 0, ..] | [0, _, ..] => {
            return Err(QueryError::Encoding { path: path.to_owned(), found: "it is UTF-16".into() });
        }
        _ => {}
    }
    Ok(reader)
}

fn stream(stream: FileStream, files: &[PathBuf], schema: &SchemaRef) -> FileStream {
    files.iter().fold(stream, |stream, path| {
        let (file, schema) = (path.clone(), Arc::clone(schema));
        stream.with_file(path.clone(), move || batches(&file, &schema))
    })
}

fn batches(path: &Path, schema: &SchemaRef) -> Result<Batches, QueryError> {
    let mut rows = JsonRows::new(path, open_text(path)?);
    let mut decoder = arrow::json::ReaderBuilder::new(Arc::clone(schema))
        .with_batch_size(BATCH_ROWS)
        .with_coerce_primitive(true)
        .build_decoder()
        .map_err(|source| QueryError::Rows { path: path.to_owned(), source })?;
    let mut next = move || -> Result<Option<RecordBatch>, ArrowError> {
        let outer = |error: QueryError| ArrowError::ExternalError(Box::new(error));
        let mut n_bytes = 0;
        for _ in 0..BATCH_ROWS {
            let Some(row) = rows.next().map_err(outer)? else { break };
            decoder.decode(row.json.as_bytes())?;
            n_bytes += row.json.len();
            if n_bytes > BATCH_BYTES {
                break;
            }
        }
        decoder.flush()
    };
    Ok(Box::new(std::iter::from_fn(move || next().transpose())))
}
