//! JSON and separated-values files as tables: columns found in a first pass over the file, rows streamed in a second.
//!
//! A JSON array is read whole, since its rows cannot be told apart without parsing it; JSON lines never are.

use std::cell::Cell;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::csv::reader::Format as DelimitedFormat;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::PartitionStream;
use serde_json::{Map, Value};

use crate::io::{self, IoError};
use crate::query::QueryError;
use crate::query::columns::Columns;
use crate::table::schema::{metrics, samples, sft_metrics};

/// Contracts of files of JSON lines, each of which says which one it follows.
const CONTRACTS: [&str; 3] = [metrics::VERSION, sft_metrics::VERSION, samples::VERSION];

/// Rows decoded at once.
const BATCH_ROWS: usize = 4096;

/// Longest JSON object in bytes, which is in memory as a whole.
const ROW_BYTES: usize = 64 << 20;

/// Longest JSON array in bytes, which is in memory as a whole; lines may go on for ever.
const ARRAY_BYTES: usize = 256 << 20;

/// Batches that wait for the query at most.
const BATCHES_AHEAD: usize = 2;

/// The table in a file of JSON objects: lines, objects one after another, or an array.
pub(super) fn open_json(path: &Path) -> Result<Arc<dyn TableProvider>, QueryError> {
    if starts_with_array(path)? {
        return open_json_array(path);
    }
    let wrap = |source| QueryError::Json { path: path.to_owned(), source };
    let mut columns = Columns::default();
    let n_read = Cell::new(0);
    let reader = Limited { reader: io::open_decoded(path)?, n_read: &n_read, limit: ROW_BYTES };
    let values = serde_json::Deserializer::from_reader(reader).into_iter::<Value>();
    for (row, value) in (0..).zip(values) {
        let value = value.map_err(wrap)?;
        n_read.set(0);
        refuse_other_versions(path, row, &value)?;
        widen(&mut columns, path, row, &value)?;
    }
    streaming(TextFiles::of(path, Arc::new(columns.schema()), Layout::JsonLines))
}

/// The samples of a run, one file an evaluation.
///
/// # Errors
/// If a line of one of them follows another contract, or none.
pub(super) fn open_samples(files: &[PathBuf]) -> Result<Arc<dyn TableProvider>, QueryError> {
    for file in files {
        check_lines(file, samples::VERSION)?;
    }
    streaming(TextFiles { paths: files.to_vec(), schema: samples::schema(), layout: Layout::JsonLines })
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
    let rows = serde_json::Deserializer::from_reader(io::open_decoded(path)?).into_iter::<Value>();
    for (row, value) in (0..).zip(rows.map_while(Result::ok)) {
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

/// The table in a file of separated values under a header.
pub(super) fn open_delimited(path: &Path, delimiter: u8) -> Result<Arc<dyn TableProvider>, QueryError> {
    let (schema, _) = delimited_format(delimiter)
        .infer_schema(io::open_decoded(path)?, None)
        .map_err(|source| QueryError::Rows { path: path.to_owned(), source })?;
    streaming(TextFiles::of(path, Arc::new(schema), Layout::Delimited(delimiter)))
}

fn open_json_array(path: &Path) -> Result<Arc<dyn TableProvider>, QueryError> {
    let reader = Limited { reader: io::open_decoded(path)?, n_read: &Cell::new(0), limit: ARRAY_BYTES };
    let rows: Vec<Value> =
        serde_json::from_reader(reader).map_err(|source| QueryError::Json { path: path.to_owned(), source })?;
    let mut columns = Columns::default();
    for (row, value) in (0..).zip(&rows) {
        widen(&mut columns, path, row, value)?;
    }
    let wrap = |source| QueryError::Rows { path: path.to_owned(), source };
    let schema = Arc::new(columns.schema());
    let mut decoder = json_reader(&schema).build_decoder().map_err(wrap)?;
    let mut batches = Vec::new();
    for rows in rows.chunks(BATCH_ROWS) {
        decoder.serialize(rows).map_err(wrap)?;
        batches.extend(decoder.flush().map_err(wrap)?);
    }
    let table = MemTable::try_new(schema, vec![batches])
        .map_err(|source| QueryError::Sql { source: Box::new(source), tables: Vec::new() })?;
    Ok(Arc::new(table))
}

/// A reader that fails after so many bytes, counted from the last time the count was set back.
struct Limited<'a, R> {
    reader: R,
    n_read: &'a Cell<usize>,
    limit: usize,
}

impl<R: Read> Read for Limited<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n_bytes = self.reader.read(buffer)?;
        self.n_read.set(self.n_read.get() + n_bytes);
        if self.n_read.get() > self.limit {
            return Err(std::io::Error::other(format!("expected at most {} bytes at once, found more", self.limit)));
        }
        Ok(n_bytes)
    }
}

fn starts_with_array(path: &Path) -> Result<bool, QueryError> {
    let mut reader = io::open_decoded(path)?;
    loop {
        let buffer = reader.fill_buf().map_err(|source| IoError::new("read", path, source))?;
        match buffer.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(&byte) => return Ok(byte == b'['),
            None if buffer.is_empty() => return Ok(false),
            None => {
                let blank = buffer.len();
                reader.consume(blank);
            }
        }
    }
}

fn widen(columns: &mut Columns, path: &Path, row: u64, value: &Value) -> Result<(), QueryError> {
    columns.widen(object(path, row, value)?).map_err(|conflict| QueryError::JsonColumn {
        path: path.to_owned(),
        row,
        column: conflict.column,
        expected: conflict.expected,
        found: conflict.found,
    })
}

fn object<'a>(path: &Path, row: u64, value: &'a Value) -> Result<&'a Map<String, Value>, QueryError> {
    let found = match value {
        Value::Object(object) => return Ok(object),
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
    };
    Err(QueryError::JsonRow { path: path.to_owned(), row, found })
}

fn json_reader(schema: &SchemaRef) -> arrow::json::ReaderBuilder {
    arrow::json::ReaderBuilder::new(Arc::clone(schema)).with_batch_size(BATCH_ROWS).with_coerce_primitive(true)
}

fn delimited_format(delimiter: u8) -> DelimitedFormat {
    DelimitedFormat::default().with_header(true).with_delimiter(delimiter)
}

fn streaming(files: TextFiles) -> Result<Arc<dyn TableProvider>, QueryError> {
    let table = StreamingTable::try_new(Arc::clone(&files.schema), vec![Arc::new(files)])
        .map_err(|source| QueryError::Sql { source: Box::new(source), tables: Vec::new() })?;
    Ok(Arc::new(table))
}

/// Files that are read again by each query, one after another.
#[derive(Debug, Clone)]
struct TextFiles {
    paths: Vec<PathBuf>,
    schema: SchemaRef,
    layout: Layout,
}

#[derive(Debug, Clone, Copy)]
enum Layout {
    JsonLines,
    Delimited(u8),
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>>>;

impl TextFiles {
    /// One file.
    fn of(path: &Path, schema: SchemaRef, layout: Layout) -> Self {
        Self { paths: vec![path.to_owned()], schema, layout }
    }

    fn batches(&self, path: &Path) -> Result<Batches, QueryError> {
        let wrap = |source| QueryError::Rows { path: path.to_owned(), source };
        let reader = io::open_decoded(path)?;
        match self.layout {
            Layout::JsonLines => Ok(Box::new(json_reader(&self.schema).build(reader).map_err(wrap)?)),
            Layout::Delimited(delimiter) => {
                let builder = arrow::csv::ReaderBuilder::new(Arc::clone(&self.schema))
                    .with_format(delimited_format(delimiter))
                    .with_batch_size(BATCH_ROWS);
                Ok(Box::new(builder.build_buffered(reader).map_err(wrap)?))
            }
        }
    }
}

impl PartitionStream for TextFiles {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), BATCHES_AHEAD);
        let (sender, files) = (stream.tx(), self.clone());
        stream.spawn_blocking(move || {
            let outer = |error: QueryError| DataFusionError::External(Box::new(error));
            for path in &files.paths {
                for batch in files.batches(path).map_err(outer)? {
                    let batch = batch.map_err(|source| outer(QueryError::Rows { path: path.clone(), source }))?;
                    if sender.blocking_send(Ok(batch)).is_err() {
                        // The query has what it wanted (LIMIT).
                        return Ok(());
                    }
                }
            }
            Ok(())
        });
        stream.build()
    }
}
