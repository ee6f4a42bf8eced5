//! One part, opened: its footer read and its columns held against the contract, its rows still on disk.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;

use crate::error;
use crate::guard;
use crate::io;
use crate::parquet_check;
use crate::table::schema::reference;
use crate::table::{Provenance, TableError};

/// Rows decoded at once.
const BATCH_ROWS: usize = 2048;

/// A part whose footer and schema are known good.
pub(super) struct PartReader {
    pub(super) path: PathBuf,
    pub(super) provenance: Provenance,
    builder: ParquetRecordBatchReaderBuilder<File>,
}

impl PartReader {
    pub(super) fn open(path: &Path) -> Result<Self, TableError> {
        let checked = parquet_check::open(io::open(path)?)
            .map_err(|source| TableError::Read { path: path.to_owned(), source })?;
        let batch_rows = checked.batch_rows(BATCH_ROWS);
        let builder = checked.builder.with_batch_size(batch_rows);
        let provenance = Provenance::from_footer(path, |key| footer_value(&builder, key))?;
        if provenance.schema != reference::VERSION {
            return Err(TableError::Schema {
                path: path.to_owned(),
                column: "piref.schema".into(),
                expected: reference::VERSION.into(),
                found: provenance.schema,
            });
        }
        check_columns(path, builder.schema())?;
        Ok(Self { path: path.to_owned(), provenance, builder })
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        self.builder.schema()
    }

    pub(super) fn rows(&self) -> u64 {
        u64::try_from(self.builder.metadata().file_metadata().num_rows()).unwrap_or_default()
    }

    /// Streams these columns, in file order.
    pub(super) fn batches(self, columns: &[&str]) -> Result<PartBatches, TableError> {
        let mut roots = Vec::with_capacity(columns.len());
        for column in columns {
            roots.push(self.schema().index_of(column).map_err(|_| self.no_column(column))?);
        }
        let mask = ProjectionMask::roots(self.builder.parquet_schema(), roots);
        let reader = guard::catch(|| self.builder.with_projection(mask).build())
            .unwrap_or_else(|panicked| Err(ParquetError::External(panicked.into())))
            .map_err(|source| TableError::Read { path: self.path.clone(), source })?;
        Ok(PartBatches { path: self.path, reader })
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

/// The batches of one part.
pub(super) struct PartBatches {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
}

impl Iterator for PartBatches {
    type Item = Result<RecordBatch, TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = guard::catch(|| self.reader.next())
            .unwrap_or_else(|panicked| Some(Err(ArrowError::ExternalError(panicked.into()))))?;
        Some(batch.map_err(|source| TableError::Decode { path: self.path.clone(), source }))
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
    let Ok(file) = io::open(path) else { return Owner::Somebody };
    match parquet_check::open(file) {
        Err(_) => Owner::Unknown,
        Ok(checked) if footer_value(&checked.builder, "piref.schema").is_some() => Owner::Us,
        Ok(_) => Owner::Somebody,
    }
}

fn footer_value<'a>(builder: &'a ParquetRecordBatchReaderBuilder<File>, key: &str) -> Option<&'a str> {
    let entries = builder.metadata().file_metadata().key_value_metadata()?;
    entries.iter().find(|entry| entry.key == key)?.value.as_deref()
}

fn check_columns(path: &Path, schema: &SchemaRef) -> Result<(), TableError> {
    for column in reference::COLUMNS {
        let found = schema.field_with_name(column.name).ok();
        if !found.is_some_and(|field| reference::fits(column, field.data_type())) {
            return Err(TableError::Schema {
                path: path.to_owned(),
                column: column.name.to_owned(),
                expected: column.data_type.to_string(),
                found: found.map_or_else(|| "no such column".into(), |field| field.data_type().to_string()),
            });
        }
    }
    Ok(())
}
