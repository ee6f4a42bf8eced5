//! Parquet and Arrow IPC: batches of columns, taken apart into rows.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::json::writer::{LineDelimited, WriterBuilder};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::ipc::Messages;
use super::{RawRow, RawRows, damaged, object};
use crate::data::DataError;
use crate::io;

/// Rows that are in memory as JSON at a time.
const CHUNK_ROWS: usize = 128;

/// Rows of a Parquet file, one row group after the other.
pub(super) fn open_parquet(path: &Path) -> Result<RawRows, DataError> {
    let file = io::open(path)?;
    let decode = || Ok(ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(CHUNK_ROWS).build()?);
    let batches = guarded(decode).map_err(|source| damaged(path, 0, source))?;
    Ok(Box::new(ColumnarRows::new(path, batches)))
}

/// Rows of an Arrow IPC file: the stream that Hugging Face `save_to_disk` writes, or the file format.
pub(super) fn open_arrow(path: &Path) -> Result<RawRows, DataError> {
    let messages = Messages::open(io::open(path)?).map_err(|source| damaged(path, 0, source))?;
    Ok(Box::new(ColumnarRows::new(path, messages)))
}

/// Runs a decoder that may panic on a damaged file, as arrow-ipc does on a buffer that is shorter than its rows; what
/// it leaves behind is not used again.
fn guarded<T>(decode: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, ArrowError> {
    let panicked = |_| Err(ArrowError::ParseError("the decoder gave up on inconsistent lengths".into()));
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(panicked)
}

/// Rows of record batches.
struct ColumnarRows<I> {
    path: PathBuf,
    batches: I,
    /// What is left of the batch that was read last.
    batch: Option<RecordBatch>,
    chunk: std::vec::IntoIter<RawRow>,
    n_rows: u64,
    is_done: bool,
}

impl<I: Iterator<Item = Result<RecordBatch, ArrowError>>> ColumnarRows<I> {
    fn new(path: &Path, batches: I) -> Self {
        let chunk = Vec::new().into_iter();
        Self { path: path.to_owned(), batches, batch: None, chunk, n_rows: 0, is_done: false }
    }

    /// Takes the next rows apart, `false` at the end of the file.
    fn next_chunk(&mut self) -> Result<bool, ArrowError> {
        let batch = match self.batch.take() {
            Some(batch) => batch,
            None => match self.batches.next().transpose()? {
                Some(batch) => batch,
                None => return Ok(false),
            },
        };
        let n_taken = batch.num_rows().min(CHUNK_ROWS);
        if n_taken < batch.num_rows() {
            self.batch = Some(batch.slice(n_taken, batch.num_rows() - n_taken));
        }
        let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
        writer.write(&batch.slice(0, n_taken))?;
        writer.finish()?;
        let json = writer.into_inner();
        let rows: Vec<RawRow> = json
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .zip(self.n_rows..)
            .map(|(line, row_idx)| RawRow { row_idx, line: None, n_bytes: line.len(), object: object::parse(line) })
            .collect();
        self.n_rows += rows.len() as u64;
        self.chunk = rows.into_iter();
        Ok(true)
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
                    return Some(Err(damaged(&self.path, self.n_rows, source)));
                }
            }
        }
    }
}
