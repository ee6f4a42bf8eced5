//! Parquet and Arrow IPC: batches of columns, taken apart into rows.

use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileReader, StreamReader};
use arrow::json::writer::{LineDelimited, WriterBuilder};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{RawRow, RawRows, damaged, object};
use crate::data::DataError;
use crate::io;

/// Rows that are in memory as JSON at a time.
const CHUNK_ROWS: usize = 128;

/// Rows of a Parquet file, one row group after the other.
pub(super) fn open_parquet(path: &Path) -> Result<RawRows, DataError> {
    let file = io::open(path)?;
    let batches = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(|builder| builder.with_batch_size(CHUNK_ROWS).build())
        .map_err(|source| damaged(path, 0, source))?;
    Ok(Box::new(Rows::new(path, batches)))
}

/// Rows of an Arrow IPC file: the stream that Hugging Face `save_to_disk` writes, or the file format.
pub(super) fn open_arrow(path: &Path) -> Result<RawRows, DataError> {
    const FILE_MAGIC: &[u8] = b"ARROW1";
    let mut file = io::open(path)?;
    let mut start = Vec::new();
    (&mut file).take(6).read_to_end(&mut start).map_err(|source| damaged(path, 0, source))?;
    file.seek(SeekFrom::Start(0)).map_err(|source| damaged(path, 0, source))?;
    let reader = BufReader::new(file);
    if start == FILE_MAGIC {
        let batches = FileReader::try_new(reader, None).map_err(|source| damaged(path, 0, source))?;
        Ok(Box::new(Rows::new(path, batches)))
    } else {
        let batches = StreamReader::try_new(reader, None).map_err(|source| damaged(path, 0, source))?;
        Ok(Box::new(Rows::new(path, batches)))
    }
}

/// Rows of record batches.
struct Rows<I> {
    path: PathBuf,
    batches: I,
    /// What is left of the batch that was read last.
    batch: Option<RecordBatch>,
    chunk: std::vec::IntoIter<RawRow>,
    n_rows: u64,
    is_done: bool,
}

impl<I: Iterator<Item = Result<RecordBatch, ArrowError>>> Rows<I> {
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

impl<I: Iterator<Item = Result<RecordBatch, ArrowError>>> Iterator for Rows<I> {
    type Item = Result<RawRow, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.chunk.next() {
                return Some(Ok(row));
            }
            if self.is_done {
                return None;
            }
            match self.next_chunk() {
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
