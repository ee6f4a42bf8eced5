//! One Parquet file, written whole or not at all, with the digest of what was written.

use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::io::{self, AtomicFile};
use crate::table::TableError;

/// zstd level: 3 is where size stops falling faster than time rises on text.
const ZSTD_LEVEL: i32 = 3;

/// A file of a table, as the manifest lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Name in the folder of the table.
    #[serde(rename = "file")]
    pub name: String,
    /// Rows in it.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Its digest.
    pub digest: Digest,
}

impl FileRecord {
    /// Whether the name is of a file in the folder, and leads nowhere else.
    pub(crate) fn is_plain_name(&self) -> bool {
        Path::new(&self.name).file_name().is_some_and(|name| *name == *self.name)
    }
}

/// A Parquet file in the making: zstd, the same bytes for the same batches, no file before [`finish`](Self::finish).
pub struct ParquetFile {
    path: PathBuf,
    writer: ArrowWriter<AtomicFile>,
    rows: u64,
}

impl ParquetFile {
    /// Starts the file that will be called `path`, with these footer entries.
    pub fn create(path: &Path, schema: SchemaRef, footer: Vec<(&str, String)>) -> Result<Self, TableError> {
        Self::create_with(path, schema, footer, WriterProperties::builder())
    }

    /// The same with properties of single columns.
    pub fn create_with(
        path: &Path,
        schema: SchemaRef,
        footer: Vec<(&str, String)>,
        properties: WriterPropertiesBuilder,
    ) -> Result<Self, TableError> {
        let wrap = |source| TableError::Write { path: path.to_owned(), source };
        let footer = footer.into_iter().map(|(key, value)| KeyValue::new(key.to_owned(), value)).collect();
        let properties = properties
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL).map_err(wrap)?))
            .set_key_value_metadata(Some(footer))
            .build();
        let writer = ArrowWriter::try_new(AtomicFile::create(path)?, schema, Some(properties)).map_err(wrap)?;
        Ok(Self { path: path.to_owned(), writer, rows: 0 })
    }

    /// Adds rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), TableError> {
        self.rows += batch.num_rows() as u64;
        self.writer.write(batch).map_err(|source| TableError::Write { path: self.path.clone(), source })
    }

    /// Gives the file its name.
    pub fn finish(self) -> Result<FileRecord, TableError> {
        let Self { path, writer, rows } = self;
        let file = writer.into_inner().map_err(|source| TableError::Write { path: path.clone(), source })?;
        file.commit()?;
        if io::special(&path)?.is_some() {
            // What a device or a pipe was given cannot be read again.
            let name = path.display().to_string();
            return Ok(FileRecord { name, rows, bytes: 0, digest: Digest::of(b"") });
        }
        FileRecord::of(&path, rows)
    }
}

impl FileRecord {
    /// What the manifest says about the file at `path`, which has this many rows.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn of(path: &Path, rows: u64) -> Result<Self, TableError> {
        let (digest, bytes) = io::digest(path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, rows, bytes, digest })
    }
}
