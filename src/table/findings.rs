//! `findings.parquet`: what checks have found, one row each (`schemas/findings.v1.toml`).

use std::borrow::Cow;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Builder, RecordBatch, StringBuilder};
use serde::{Deserialize, Serialize};

use crate::table::schema::findings;
use crate::table::{FileRecord, ParquetFile, TableError};

/// Findings held in memory before they go to the file.
const BATCH_ROWS: usize = 4096;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Worth knowing.
    Info,
    /// Probably not what was meant.
    Warn,
    /// Something is wrong.
    Error,
}

impl Level {
    /// The level of this name, as [`Display`](fmt::Display) writes it.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Info, Self::Warn, Self::Error].into_iter().find(|level| level.to_string() == name)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        })
    }
}

/// One thing a check has found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// Pair it is about, if it is about one.
    pub pair_id: Option<String>,
    /// Check that found it.
    pub check: Cow<'static, str>,
    /// How bad it is.
    pub level: Level,
    /// The number found: nats for log-probs, rows for keys. Finite.
    pub value: Option<f64>,
    /// Place, what was expected there and what was found.
    pub evidence: String,
}

/// Writes findings as they come; the file appears with [`finish`](Self::finish), also without a finding.
pub struct FindingsWriter {
    file: ParquetFile,
    pending: Vec<Finding>,
}

impl FindingsWriter {
    /// Starts the file that will be called `path`.
    pub fn create(path: &Path) -> Result<Self, TableError> {
        let footer = vec![("piref.schema", findings::VERSION.to_owned())];
        Ok(Self { file: ParquetFile::create(path, findings::schema(), footer)?, pending: Vec::new() })
    }

    /// Adds a finding.
    pub fn push(&mut self, finding: &Finding) -> Result<(), TableError> {
        self.pending.push(finding.clone());
        if self.pending.len() == BATCH_ROWS { self.flush() } else { Ok(()) }
    }

    /// Gives the file its name.
    pub fn finish(mut self) -> Result<FileRecord, TableError> {
        self.flush()?;
        self.file.finish()
    }

    fn flush(&mut self) -> Result<(), TableError> {
        let [mut pair_id, mut check, mut level, mut evidence] = std::array::from_fn(|_| StringBuilder::new());
        let mut value = Float64Builder::new();
        for finding in self.pending.drain(..) {
            pair_id.append_option(finding.pair_id);
            check.append_value(finding.check);
            level.append_value(finding.level.to_string());
            value.append_option(finding.value.filter(|value| value.is_finite()));
            evidence.append_value(finding.evidence);
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(pair_id.finish()),
            Arc::new(check.finish()),
            Arc::new(level.finish()),
            Arc::new(value.finish()),
            Arc::new(evidence.finish()),
        ];
        let batch = RecordBatch::try_new(findings::schema(), columns)
            .map_err(|error| TableError::Internal { what: format!("a batch of findings: {error}") })?;
        self.file.write(&batch)
    }
}
