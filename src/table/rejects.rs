//! `rejects.parquet`: the rows that could not be scored, each with its place and reason.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Builder, RecordBatch, StringBuilder};

use crate::data::Reject;
use crate::table::TableError;
use crate::table::parquet_file::{FileRecord, ParquetFile};
use crate::table::schema::rejects;

/// Name of the file in the folder of a table.
pub const REJECTS: &str = "rejects.parquet";

/// Rejects held in memory before they go to the file.
const BATCH_ROWS: u64 = 4096;

/// Writes rejects as they come. No file appears without a reject.
pub struct RejectsWriter {
    path: PathBuf,
    file: Option<ParquetFile>,
    pending: Columns,
    n_pending: u64,
}

#[derive(Default)]
struct Columns {
    source: StringBuilder,
    row_idx: Int64Builder,
    line: Int64Builder,
    reason: StringBuilder,
}

impl RejectsWriter {
    /// A writer of the file that will be called `path`.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None, pending: Columns::default(), n_pending: 0 }
    }

    /// Adds a reject.
    pub fn push(&mut self, reject: &Reject) -> Result<(), TableError> {
        let signed = |number: u64| {
            i64::try_from(number).map_err(|_| TableError::Internal { what: format!("row or line {number}") })
        };
        self.pending.source.append_value(reject.source.path.to_string_lossy());
        self.pending.row_idx.append_value(signed(reject.row_idx)?);
        self.pending.line.append_option(reject.line.map(signed).transpose()?);
        self.pending.reason.append_value(&reject.reason);
        self.n_pending += 1;
        if self.n_pending == BATCH_ROWS { self.flush() } else { Ok(()) }
    }

    /// Gives the file its name; `None` if there was nothing to write.
    pub fn finish(mut self) -> Result<Option<FileRecord>, TableError> {
        if self.n_pending > 0 {
            self.flush()?;
        }
        self.file.map(ParquetFile::finish).transpose()
    }

    fn flush(&mut self) -> Result<(), TableError> {
        let mut columns = std::mem::take(&mut self.pending);
        self.n_pending = 0;
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(columns.source.finish()),
            Arc::new(columns.row_idx.finish()),
            Arc::new(columns.line.finish()),
            Arc::new(columns.reason.finish()),
        ];
        let batch = RecordBatch::try_new(rejects::schema(), arrays)
            .map_err(|error| TableError::Internal { what: format!("a batch of rejects: {error}") })?;
        let file = if let Some(file) = self.file.take() {
            file
        } else {
            let footer = vec![("piref.schema", rejects::VERSION.to_owned())];
            ParquetFile::create(&self.path, rejects::schema(), footer)?
        };
        self.file.insert(file).write(&batch)
    }
}
