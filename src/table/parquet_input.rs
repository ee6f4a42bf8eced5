//! One Parquet file, opened: its footer read, its rows still on disk.
//!
//! Invariant: damaged bytes lead to an error with the name of the file. The Parquet and Arrow readers panic on some of
//! them; nothing of that leaves this file.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use crate::error;
use crate::guard;
use crate::io;
use crate::parquet_check;
use crate::table::TableError;
use crate::table::schema::{Column, VERSIONS, reference};

/// Rows decoded at once.
const BATCH_ROWS: usize = 2048;

/// Footer entry with the version of a file's contract.
const SCHEMA: &str = "piref.schema";

/// A Parquet file whose footer could be read.
pub(crate) struct ParquetInput {
    path: PathBuf,
    builder: ParquetRecordBatchReaderBuilder<File>,
}

impl ParquetInput {
    pub(crate) fn open(path: &Path) -> Result<Self, TableError> {
        let checked = parquet_check::open(io::open(path)?)
            .map_err(|source| TableError::Read { path: path.to_owned(), source })?;
        let batch_rows = checked.batch_rows(BATCH_ROWS);
        Ok(Self { path: path.to_owned(), builder: checked.builder.with_batch_size(batch_rows) })
    }

    /// The file, as it was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The columns.
    pub(crate) fn schema(&self) -> &SchemaRef {
        self.builder.schema()
    }

    /// Rows, as the footer counts them.
    pub(crate) fn rows(&self) -> u64 {
        u64::try_from(self.builder.metadata().file_metadata().num_rows()).unwrap_or_default()
    }

    /// An entry of the footer.
    pub(crate) fn footer_value(&self, key: &str) -> Option<&str> {
        let entries = self.builder.metadata().file_metadata().key_value_metadata()?;
        entries.iter().find(|entry| entry.key == key)?.value.as_deref()
    }

    /// The contract the file says it follows; `None` in a file that is not ours.
    pub(crate) fn version(&self) -> Option<&str> {
        self.footer_value(SCHEMA)
    }

    /// Refuses a file that follows another contract than `expected`, or another version of it.
    pub(crate) fn check_version(&self, expected: &'static str) -> Result<(), TableError> {
        match self.version() {
            Some(found) if found == expected => Ok(()),
            found => Err(TableError::SchemaVersion {
                path: self.path.clone(),
                expected: expected.into(),
                found: found.unwrap_or("no `piref.schema`").to_owned(),
            }),
        }
    }

    /// Refuses a file without the columns of its contract.
    pub(crate) fn check_columns(&self, columns: &[Column]) -> Result<(), TableError> {
        for column in columns {
            let found = self.schema().field_with_name(column.name).ok();
            if !found.is_some_and(|field| reference::fits(column, field.data_type())) {
                return Err(TableError::Schema {
                    path: self.path.clone(),
                    column: column.name.to_owned(),
                    expected: column.data_type.to_string(),
                    found: found.map_or_else(|| "no such column".into(), |field| field.data_type().to_string()),
                });
            }
        }
        Ok(())
    }

    /// Streams all columns, in file order.
    pub(crate) fn all_batches(self) -> Result<PartBatches, TableError> {
        self.project(ProjectionMask::all())
    }

    /// Streams these columns, in file order.
    pub(crate) fn batches(self, columns: &[&str]) -> Result<PartBatches, TableError> {
        let mut roots = Vec::with_capacity(columns.len());
        for column in columns {
            roots.push(self.schema().index_of(column).map_err(|_| self.no_column(column))?);
        }
        let mask = ProjectionMask::roots(self.builder.parquet_schema(), roots);
        self.project(mask)
    }

    fn project(self, mask: ProjectionMask) -> Result<PartBatches, TableError> {
        let Self { path, builder } = self;
        match guard::catch(|| builder.with_projection(mask).build()) {
            Ok(Ok(reader)) => Ok(PartBatches { path, reader: Some(reader) }),
            Ok(Err(source)) => Err(TableError::Read { path, source }),
            Err(source) => Err(TableError::Damaged { path, source }),
        }
    }

    fn no_column(&self, column: &str) -> TableError {
        let known = self.schema().fields().iter().map(|field| field.name().as_str());
        TableError::NoColumn {
            path: self.path.clone(),
            column: column.to_owned(),
            nearest: error::nearest(column, known).map(str::to_owned),
        }
    }
}

/// The batches of one file; ends after the first error.
pub(crate) struct PartBatches {
    path: PathBuf,
    reader: Option<ParquetRecordBatchReader>,
}

impl Iterator for PartBatches {
    type Item = Result<RecordBatch, TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        // Taken out, so that a reader that has failed is not asked again.
        let mut reader = self.reader.take()?;
        let path = || self.path.clone();
        match guard::catch(|| reader.next()) {
            Ok(None) => None,
            Ok(Some(Ok(batch))) => {
                self.reader = Some(reader);
                Some(Ok(batch))
            }
            Ok(Some(Err(source))) => Some(Err(TableError::Decode { path: path(), source })),
            Err(source) => Some(Err(TableError::Damaged { path: path(), source })),
        }
    }
}

/// Whether a file follows one of our contracts, of whatever version.
pub(crate) fn is_contract_file(path: &Path) -> bool {
    ParquetInput::open(path).is_ok_and(|input| input.version().is_some())
}

/// Refuses a Parquet file of ours that follows a contract this program does not know, an older or a newer one. A file
/// of somebody else is none of its business.
pub(crate) fn refuse_other_versions(path: &Path) -> Result<(), TableError> {
    let input = ParquetInput::open(path)?;
    let Some(found) = input.version() else { return Ok(()) };
    if VERSIONS.contains(&found) {
        return Ok(());
    }
    let name = |version: &str| version.rsplit_once(".v").map(|(name, _)| name.to_owned());
    let expected = VERSIONS.into_iter().find(|known| name(known) == name(found));
    let expected = expected.map_or_else(|| VERSIONS.join(", "), str::to_owned);
    Err(TableError::SchemaVersion { path: path.to_owned(), expected, found: found.to_owned() })
}
