//! A finished table, opened: what stage two, SQL and `verify` read.

use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::digest::Digest;
use crate::io;
use crate::table::foreign::refuse_foreign;
use crate::table::parquet_input::PartBatches;
use crate::table::part_reader::PartReader;
use crate::table::schema::reference;
use crate::table::{FileRecord, Manifest, Provenance, TableError, check};

/// A log-prob table: a folder with its manifest, or a single part.
///
/// Opening reads footers only. Rows come in the order of the manifest.
#[derive(Debug, Clone)]
pub struct ReferenceTable {
    path: PathBuf,
    provenance: Provenance,
    schema: SchemaRef,
    parts: Vec<PathBuf>,
    n_pairs: u64,
    manifest: Option<Manifest>,
}

impl ReferenceTable {
    /// Opens the table in a folder, or one part of a table as a table of its own.
    ///
    /// # Errors
    /// If the folder has no manifest, if a part is missing, damaged, of another size than listed, lacks a column of
    /// the contract, or was scored under other conditions than the manifest says.
    pub fn open(path: &Path) -> Result<Self, TableError> {
        if path.is_dir() { Self::open_folder(path) } else { Self::open_part(path) }
    }

    fn open_part(path: &Path) -> Result<Self, TableError> {
        refuse_foreign(path)?;
        let reader = PartReader::open(path)?;
        Ok(Self {
            path: path.to_owned(),
            schema: reader.schema().clone(),
            parts: vec![path.to_owned()],
            n_pairs: reader.rows(),
            provenance: reader.provenance,
            manifest: None,
        })
    }

    fn open_folder(folder: &Path) -> Result<Self, TableError> {
        let manifest = Manifest::load(folder)?;
        for file in manifest.files() {
            check_size(&folder.join(&file.name), file)?;
        }

        let mut schema: Option<SchemaRef> = None;
        let mut parts = Vec::with_capacity(manifest.parts.len());
        for part in &manifest.parts {
            let path = folder.join(&part.file.name);
            let reader = PartReader::open(&path)?;
            if reader.rows() != part.file.rows {
                return Err(not_as_listed(path, "rows", &part.file.rows, &reader.rows()));
            }
            if let Some(difference) = manifest.provenance.first_difference(&reader.provenance) {
                return Err(TableError::OtherProvenance { path, difference });
            }
            match &schema {
                None => schema = Some(reader.schema().clone()),
                Some(first) => check_same_columns(&path, first, reader.schema())?,
            }
            parts.push(path);
        }
        let schema = match schema {
            Some(schema) => schema,
            None => reference::schema(&[])?,
        };

        Ok(Self {
            path: folder.to_owned(),
            provenance: manifest.provenance.clone(),
            schema,
            parts,
            n_pairs: manifest.n_pairs,
            manifest: Some(manifest),
        })
    }

    /// The folder or part, as it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Under which conditions its numbers hold.
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// Columns of the contract and pass-through columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The files of the parts, in table order.
    pub fn parts(&self) -> &[PathBuf] {
        &self.parts
    }

    /// Pairs in it.
    pub fn n_pairs(&self) -> u64 {
        self.n_pairs
    }

    /// The manifest, where a folder was opened.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// Digest of all rows: of the parts the manifest lists, or of the one part that was opened.
    pub fn digest(&self) -> Result<Digest, TableError> {
        match &self.manifest {
            None => Ok(io::digest(&self.path)?.0),
            Some(manifest) => {
                let parts = manifest.parts.iter().map(|part| &part.file);
                Ok(Digest::of_parts(parts.map(|file| (file.name.as_str(), file.digest.as_bytes().as_slice()))))
            }
        }
    }

    /// The files of signals that the manifest lists, in table order; a single part has none.
    pub fn signals(&self) -> Vec<PathBuf> {
        let parts = self.manifest.iter().flat_map(|manifest| &manifest.parts);
        parts.filter_map(|part| part.signals.as_ref()).map(|file| self.path.join(&file.name)).collect()
    }

    /// Path of the rejects file, where there is one.
    pub fn rejects(&self) -> Option<PathBuf> {
        let rejects = self.manifest.as_ref()?.rejects.as_ref()?;
        Some(self.path.join(&rejects.name))
    }

    /// Streams these columns of all rows, in table order; the columns of a batch are in file order.
    ///
    /// # Errors
    /// If there is no such column. Each item fails by itself where a part cannot be decoded.
    pub fn batches(
        &self,
        columns: &[&str],
    ) -> Result<impl Iterator<Item = Result<RecordBatch, TableError>> + use<>, TableError> {
        Ok(self.part_batches(columns)?.map(|item| item.map(|(_, batch)| batch)))
    }

    /// The same, each batch checked: what is no log-prob, or a list of another length than counted, is an error with
    /// its place.
    ///
    /// # Errors
    /// As [`batches`](Self::batches).
    pub fn checked_batches(
        &self,
        columns: &[&str],
    ) -> Result<impl Iterator<Item = Result<RecordBatch, TableError>> + use<>, TableError> {
        let check = |(place, batch): (BatchPlace, RecordBatch)| {
            check::rows(&place.path, place.first_row, &batch).map(|()| batch)
        };
        Ok(self.part_batches(columns)?.map(move |item| item.and_then(check)))
    }

    /// The same, with the part of each batch.
    pub(super) fn part_batches(&self, columns: &[&str]) -> Result<TableBatches, TableError> {
        for column in columns {
            if self.schema.field_with_name(column).is_err() {
                return Err(self.no_column(column));
            }
        }
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        Ok(TableBatches { parts: self.parts.clone().into_iter(), columns, current: None })
    }

    /// Reads every byte of every file and compares the digests with the manifest's.
    ///
    /// # Errors
    /// At the first file whose digest is not the listed one. A table opened from a single part has nothing to compare.
    pub fn check_digests(&self) -> Result<(), TableError> {
        for file in self.manifest.iter().flat_map(Manifest::files) {
            let path = self.path.join(&file.name);
            let found = FileRecord::of(&path, file.rows)?;
            if found.digest != file.digest {
                return Err(not_as_listed(path, "digest", &file.digest, &found.digest));
            }
        }
        Ok(())
    }

    fn no_column(&self, column: &str) -> TableError {
        let known = self.schema.fields().iter().map(|field| field.name().as_str());
        TableError::NoColumn {
            path: self.path.clone(),
            column: column.to_owned(),
            nearest: crate::error::nearest(column, known).map(str::to_owned),
        }
    }
}

/// The batches of a table, part after part, each with its part and the row in the part where it starts.
pub(super) struct TableBatches {
    parts: std::vec::IntoIter<PathBuf>,
    columns: Vec<String>,
    current: Option<(PathBuf, usize, PartBatches)>,
}

/// A part and the row of it where a batch starts.
#[derive(Debug, Clone)]
pub(super) struct BatchPlace {
    pub(super) path: PathBuf,
    pub(super) first_row: usize,
}

impl TableBatches {
    fn open_next(&mut self) -> Option<Result<(), TableError>> {
        let path = self.parts.next()?;
        let columns: Vec<&str> = self.columns.iter().map(String::as_str).collect();
        let batches = PartReader::open(&path).and_then(|reader| reader.batches(&columns));
        Some(batches.map(|batches| self.current = Some((path, 0, batches))))
    }
}

impl Iterator for TableBatches {
    type Item = Result<(BatchPlace, RecordBatch), TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((path, row, batches)) = &mut self.current {
                match batches.next() {
                    Some(Ok(batch)) => {
                        let place = BatchPlace { path: path.clone(), first_row: *row };
                        *row += batch.num_rows();
                        return Some(Ok((place, batch)));
                    }
                    Some(Err(error)) => {
                        self.current = None;
                        self.parts = Vec::new().into_iter();
                        return Some(Err(error));
                    }
                    None => self.current = None,
                }
            }
            if let Err(error) = self.open_next()? {
                self.parts = Vec::new().into_iter();
                return Some(Err(error));
            }
        }
    }
}

fn check_size(path: &Path, listed: &FileRecord) -> Result<(), TableError> {
    if !path.is_file() {
        return Err(TableError::PartMissing { path: path.to_owned() });
    }
    let metadata = io::open(path)?.metadata().map_err(|source| io::IoError::new("read", path, source))?;
    if metadata.len() != listed.bytes {
        return Err(not_as_listed(path.to_owned(), "bytes", &listed.bytes, &metadata.len()));
    }
    Ok(())
}

fn check_same_columns(path: &Path, first: &SchemaRef, found: &SchemaRef) -> Result<(), TableError> {
    let differs = |column: &str, expected: String, found: String| TableError::Schema {
        path: path.to_owned(),
        column: column.to_owned(),
        expected,
        found,
    };
    for field in first.fields() {
        match found.field_with_name(field.name()) {
            Ok(other) if other.data_type() == field.data_type() => {}
            Ok(other) => {
                return Err(differs(field.name(), field.data_type().to_string(), other.data_type().to_string()));
            }
            Err(_) => return Err(differs(field.name(), field.data_type().to_string(), "no such column".into())),
        }
    }
    match found.fields().iter().find(|field| first.field_with_name(field.name()).is_err()) {
        Some(extra) => Err(differs(extra.name(), "no such column".into(), extra.data_type().to_string())),
        None => Ok(()),
    }
}

fn not_as_listed(path: PathBuf, what: &'static str, expected: &impl ToString, found: &impl ToString) -> TableError {
    TableError::NotAsListed { path, what, expected: expected.to_string(), found: found.to_string() }
}
