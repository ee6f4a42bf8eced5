//! One part, opened: its footer read and its columns held against the contract, its rows still on disk.

use std::path::{Path, PathBuf};

use arrow::datatypes::SchemaRef;

use crate::table::parquet_input::{ParquetInput, PartBatches};
use crate::table::schema::reference;
use crate::table::{Provenance, TableError};

/// A part whose footer and schema are known good.
pub(crate) struct PartReader {
    pub(crate) path: PathBuf,
    pub(crate) provenance: Provenance,
    input: ParquetInput,
}

impl PartReader {
    pub(crate) fn open(path: &Path) -> Result<Self, TableError> {
        let input = ParquetInput::open(path)?;
        // Before the rest of the footer: another version may have other entries.
        input.check_version(reference::VERSION)?;
        let provenance = Provenance::from_footer(path, |key| input.footer_value(key))?;
        input.check_columns(reference::COLUMNS)?;
        Ok(Self { path: path.to_owned(), provenance, input })
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        self.input.schema()
    }

    pub(crate) fn rows(&self) -> u64 {
        self.input.rows()
    }

    /// Streams these columns, in file order.
    pub(crate) fn batches(self, columns: &[&str]) -> Result<PartBatches, TableError> {
        self.input.batches(columns)
    }

    /// Streams all columns, in file order.
    pub(crate) fn all_batches(self) -> Result<PartBatches, TableError> {
        self.input.all_batches()
    }
}

/// Whose a file under a name of ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// It has a footer of ours.
    Us,
    /// It is no Parquet that can be read.
    Unknown,
    /// It is Parquet without a footer of ours, or not ours to read.
    Somebody,
}

/// Whose the file at `path` is, by its footer.
pub(super) fn owner(path: &Path) -> Owner {
    match ParquetInput::open(path) {
        Err(TableError::Io(_)) => Owner::Somebody,
        Err(_) => Owner::Unknown,
        Ok(input) if input.version().is_some() => Owner::Us,
        Ok(_) => Owner::Somebody,
    }
}
