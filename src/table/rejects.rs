//! `rejects.parquet`: the rows that could not be scored, each with its place and reason, and when they are too many.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Builder, RecordBatch, StringBuilder};

use crate::data::{Overlong, Reject, RejectKind};
use crate::error::Hint;
use crate::table::TableError;
use crate::table::parquet_file::{FileRecord, ParquetFile};
use crate::table::schema::rejects;

/// Name of the file in the folder of a table.
pub const REJECTS: &str = "rejects.parquet";

/// Rejects held in memory before they go to the file.
const BATCH_ROWS: u64 = 4096;

/// How many rows a plan lets go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RejectLimits {
    /// Share of malformed rows, of all rows, in [0, 1].
    pub max_rate: f64,
    /// What is done with rows that do not fit `max_length`; they are no part of that share.
    pub overlong: Overlong,
}

/// Rejected rows, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RejectCounts {
    /// Rows that are no pairs.
    pub malformed: u64,
    /// Rows that do not fit `max_length`.
    pub overlong: u64,
}

impl RejectCounts {
    /// All of them.
    pub fn total(self) -> u64 {
        self.malformed + self.overlong
    }
}

/// More rows were rejected than the plan allows.
#[derive(Debug, thiserror::Error)]
pub enum TooManyRejects {
    /// Rows that are no pairs.
    #[error("{n_rejected} of {n_rows} rows rejected, expected at most {} %: first in {place}: {reason}", 100.0 * max_rate)]
    Malformed {
        /// Malformed rows.
        n_rejected: u64,
        /// Rows read.
        n_rows: u64,
        /// Share allowed.
        max_rate: f64,
        /// File, row from 0, and line from 1 if there are lines, of the first.
        place: String,
        /// What is wrong with it.
        reason: String,
        /// Where all of them are.
        rejects: PathBuf,
    },
    /// Rows that do not fit, where the plan wants all to.
    #[error("{n_overlong} of {n_rows} rows do not fit max_length: first in {place}: {reason}")]
    Overlong {
        /// Rows that do not fit.
        n_overlong: u64,
        /// Rows read.
        n_rows: u64,
        /// File, row from 0, and line from 1 if there are lines, of the first.
        place: String,
        /// By how much it does not.
        reason: String,
        /// Where all of them are.
        rejects: PathBuf,
    },
}

impl Hint for TooManyRejects {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Malformed { rejects, .. } => {
                format!("all of them are in `{}`; `--max-reject-rate` allows a larger share", rejects.display())
            }
            Self::Overlong { rejects, .. } => format!(
                "all of them are in `{}`; `--max-length` allows longer rows, `--overlong drop` leaves them out",
                rejects.display()
            ),
        })
    }
}

/// The rejected rows of one pass over the data: written as they come, counted by kind.
pub struct Rejects {
    writer: RejectsWriter,
    tally: RejectTally,
}

impl Rejects {
    /// None yet; the file will be called `path`.
    pub fn new(path: &Path) -> Self {
        Self { writer: RejectsWriter::new(path), tally: RejectTally::default() }
    }

    /// How many there are.
    pub fn counts(&self) -> RejectCounts {
        self.tally.counts
    }

    /// Adds a row.
    pub fn push(&mut self, reject: &Reject, kind: RejectKind) -> Result<(), TableError> {
        let RejectTally { counts, first_malformed, first_overlong } = &mut self.tally;
        let (count, first) = match kind {
            RejectKind::Malformed => (&mut counts.malformed, first_malformed),
            RejectKind::Overlong => (&mut counts.overlong, first_overlong),
        };
        *count += 1;
        first.get_or_insert_with(|| (place(reject), reject.reason.clone()));
        self.writer.push(reject, kind)
    }

    /// Gives the file its name, where there is something to write.
    pub fn finish(self) -> Result<(Option<FileRecord>, RejectTally), TableError> {
        Ok((self.writer.finish()?, self.tally))
    }
}

/// The rejected rows of a whole pass, counted by kind.
#[derive(Debug, Clone, Default)]
pub struct RejectTally {
    counts: RejectCounts,
    /// Place and reason of the first.
    first_malformed: Option<(String, String)>,
    first_overlong: Option<(String, String)>,
}

impl RejectTally {
    /// How many there are.
    pub fn counts(&self) -> RejectCounts {
        self.counts
    }

    /// The refusal of a pass over `n_rows` rows, if they are too many; `kept` puts the file where a user finds it.
    pub fn refusal(
        &self,
        limits: RejectLimits,
        n_rows: u64,
        kept: impl FnOnce() -> Result<PathBuf, TableError>,
    ) -> Result<Option<TooManyRejects>, TableError> {
        let RejectCounts { malformed: n_rejected, overlong: n_overlong } = self.counts;
        if let Some((place, reason)) = self.first_malformed.clone()
            && n_rejected as f64 > limits.max_rate * n_rows as f64
        {
            let max_rate = limits.max_rate;
            return Ok(Some(TooManyRejects::Malformed {
                n_rejected,
                n_rows,
                max_rate,
                place,
                reason,
                rejects: kept()?,
            }));
        }
        if let (Some((place, reason)), Overlong::Refuse) = (self.first_overlong.clone(), limits.overlong) {
            return Ok(Some(TooManyRejects::Overlong { n_overlong, n_rows, place, reason, rejects: kept()? }));
        }
        Ok(None)
    }

    /// What a user has to know of rows that were left out because they do not fit, if there are any.
    pub fn note(&self, n_rows: u64) -> Option<String> {
        let (place, reason) = self.first_overlong.as_ref()?;
        let n_overlong = self.counts.overlong;
        Some(format!(
            "{n_overlong} of {n_rows} rows do not fit and are left out, the first in {place}: {reason}; `--max-length` \
             allows longer rows"
        ))
    }
}

fn place(reject: &Reject) -> String {
    let line = reject.line.map(|line| format!(" (line {line})")).unwrap_or_default();
    format!("`{}`, row {}{line}", reject.source.path.display(), reject.row_idx)
}

/// Writes rejects as they come. No file appears without a reject.
struct RejectsWriter {
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
    kind: StringBuilder,
}

impl RejectsWriter {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None, pending: Columns::default(), n_pending: 0 }
    }

    fn push(&mut self, reject: &Reject, kind: RejectKind) -> Result<(), TableError> {
        let signed = |number: u64| {
            i64::try_from(number).map_err(|_| TableError::Internal { what: format!("row or line {number}") })
        };
        self.pending.source.append_value(reject.source.path.to_string_lossy());
        self.pending.row_idx.append_value(signed(reject.row_idx)?);
        self.pending.line.append_option(reject.line.map(signed).transpose()?);
        self.pending.reason.append_value(&reject.reason);
        self.pending.kind.append_value(kind.name());
        self.n_pending += 1;
        if self.n_pending == BATCH_ROWS { self.flush() } else { Ok(()) }
    }

    fn finish(mut self) -> Result<Option<FileRecord>, TableError> {
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
            Arc::new(columns.kind.finish()),
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
