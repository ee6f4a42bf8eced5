//! Parquet and Arrow IPC: batches of columns, taken apart into rows.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::json::writer::{LineDelimited, WriterBuilder};

use super::cells::Cells;
use super::ipc::Messages;
use super::retype::{Unreadable, marked, retyped};
use super::{ROW_LIMIT, RawRow, RawRows, damaged, object, too_long};
use crate::data::DataError;
use crate::{guard, io, parquet_check};

/// Rows that are in memory as JSON at a time.
const CHUNK_ROWS: usize = 128;

/// Bytes of JSON that these rows may make together; beyond that they are taken one by one.
const CHUNK_BYTES: usize = 4 * ROW_LIMIT;

/// Rows of a Parquet file, one row group after the other.
pub(super) fn open_parquet(path: &Path) -> Result<RawRows, DataError> {
    let checked = parquet_check::open(io::open(path)?).map_err(|source| damaged(path, 0, source))?;
    let batch_rows = checked.batch_rows(CHUNK_ROWS);
    let schema = marked(checked.builder.schema(), checked.builder.parquet_schema());
    let decode = || Ok(checked.builder.with_batch_size(batch_rows).build()?);
    let batches = guarded(decode).map_err(|source| damaged(path, 0, source))?;
    Ok(Box::new(ColumnarRows::new(path, batches, Some(schema))))
}

/// Rows of an Arrow IPC file: the stream that Hugging Face `save_to_disk` writes, or the file format.
pub(super) fn open_arrow(path: &Path) -> Result<RawRows, DataError> {
    let messages = Messages::open(io::open(path)?).map_err(|source| damaged(path, 0, source))?;
    Ok(Box::new(ColumnarRows::new(path, messages, None)))
}

/// Runs a decoder that may panic on a damaged file, as arrow-ipc does on a buffer that is shorter than its rows.
fn guarded<T>(decode: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, ArrowError> {
    guard::catch(decode).unwrap_or_else(|panicked| Err(ArrowError::ExternalError(panicked.into())))
}

/// Rows of record batches.
struct ColumnarRows<I> {
    path: PathBuf,
    batches: I,
    /// The columns with their marks, where the batches do not have them.
    schema: Option<SchemaRef>,
    /// What is left of the batch that was read last.
    batch: Option<RecordBatch>,
    chunk: std::vec::IntoIter<RawRow>,
    n_rows: u64,
    is_done: bool,
}

impl<I: Iterator<Item = Result<RecordBatch, ArrowError>>> ColumnarRows<I> {
    fn new(path: &Path, batches: I, schema: Option<SchemaRef>) -> Self {
        let chunk = Vec::new().into_iter();
        Self { path: path.to_owned(), batches, schema, batch: None, chunk, n_rows: 0, is_done: false }
    }

    /// Takes the next rows apart, `false` at the end of the file.
    fn next_chunk(&mut self) -> Result<bool, ArrowError> {
        let batch = match self.batch.take() {
            Some(batch) => batch,
            None => match self.batches.next().transpose()? {
                Some(batch) => {
                    let schema = self.schema.clone().unwrap_or_else(|| batch.schema());
                    retyped(&batch, &schema)?
                }
                None => return Ok(false),
            },
        };
        let n_taken = batch.num_rows().min(CHUNK_ROWS);
        if n_taken < batch.num_rows() {
            self.batch = Some(batch.slice(n_taken, batch.num_rows() - n_taken));
        }
        let rows: Vec<RawRow> = match json_lines(&batch.slice(0, n_taken), CHUNK_BYTES)? {
            Some(json) => {
                let lines = json.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
                lines.zip(self.n_rows..).map(|(line, row_idx)| raw_row(row_idx, line)).collect()
            }
            None => (0..n_taken)
                .zip(self.n_rows..)
                .map(|(row, row_idx)| {
                    let line = json_lines(&batch.slice(row, 1), ROW_LIMIT)?;
                    let long = RawRow { row_idx, line: None, n_bytes: 0, object: Err(too_long(ROW_LIMIT)) };
                    Ok(line.map_or(long, |line| raw_row(row_idx, line.trim_ascii_end())))
                })
                .collect::<Result<_, ArrowError>>()?,
        };
        self.n_rows += rows.len() as u64;
        self.chunk = rows.into_iter();
        Ok(true)
    }
}

/// A column that cannot be read, or a file that is damaged.
fn failed(path: &Path, rows: u64, source: ArrowError) -> DataError {
    match source {
        ArrowError::ExternalError(source) => match source.downcast::<Unreadable>() {
            Ok(unreadable) => {
                let Unreadable { column, problem } = *unreadable;
                DataError::Unreadable { path: path.to_owned(), column, problem }
            }
            Err(source) => damaged(path, rows, ArrowError::ExternalError(source)),
        },
        source => damaged(path, rows, source),
    }
}

fn raw_row(row_idx: u64, line: &[u8]) -> RawRow {
    let object = if line.len() > ROW_LIMIT { Err(too_long(ROW_LIMIT)) } else { object::parse(line) };
    RawRow { row_idx, line: None, n_bytes: line.len(), object }
}

/// Rows as JSON lines; `None` where they are longer than `limit` together. A few values of a dictionary, or a few views
/// of one text, may stand for more than the file has.
fn json_lines(rows: &RecordBatch, limit: usize) -> Result<Option<Vec<u8>>, ArrowError> {
    let mut json = Bounded { bytes: Vec::new(), limit, is_full: false };
    let builder = WriterBuilder::new().with_explicit_nulls(true).with_encoder_factory(Arc::new(Cells));
    let mut writer = builder.build::<_, LineDelimited>(&mut json);
    let result = writer.write(rows).and_then(|()| writer.finish());
    drop(writer);
    if json.is_full { Ok(None) } else { result.map(|()| Some(json.bytes)) }
}

/// Bytes up to a limit.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    is_full: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.limit {
            self.is_full = true;
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<I: Iterator<Item = Result<RecordBatch, ArrowError>>> Iterator for ColumnarRows<I> {
    type Item = Result<RawRow, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.chunk.next() {
                return Some(Ok(row));
            }
            if self.is_done {
                return None;
            }
            match guarded(|| self.next_chunk()) {
                Ok(true) => {}
                Ok(false) => self.is_done = true,
                Err(source) => {
                    self.is_done = true;
                    return Some(Err(failed(&self.path, self.n_rows, source)));
                }
            }
        }
    }
}
