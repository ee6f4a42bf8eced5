//! Tables, parts, and the other Parquet files of piref.

use std::path::{Path, PathBuf};

use arrow::datatypes::{DataType, Field};
use serde::Serialize;

use super::{InspectError, existing, size};
use crate::digest::Digest;
use crate::io;
use crate::table::{
    FileRecord, MANIFEST, Manifest, ParquetInput, PartReader, Provenance, REJECTS, TableError, is_part_name,
};

/// A part of a table, explained from its footer alone.
#[derive(Debug, Serialize)]
pub struct PartInfo {
    /// The file.
    pub path: PathBuf,
    /// Rows in it.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Its digest.
    pub digest: Digest,
    /// Under which conditions its numbers hold.
    pub provenance: Provenance,
    /// Its columns.
    pub columns: Vec<ColumnInfo>,
}

/// A table.
#[derive(Debug, Serialize)]
pub struct TableInfo {
    /// The folder.
    pub path: PathBuf,
    /// Whether the manifest is there, which is written last.
    pub is_finished: bool,
    /// Rows of all parts.
    pub n_pairs: u64,
    /// Rows of the rejects file, where a manifest says it.
    pub n_rejected: Option<u64>,
    /// Number of parts.
    pub n_parts: usize,
    /// Size of the parts.
    pub bytes: u64,
    /// The rejects file, where there is one.
    pub rejects: Option<PathBuf>,
    /// Under which conditions its numbers hold; `None` as long as there is no part.
    pub provenance: Option<Provenance>,
    /// Columns of the first part.
    pub columns: Vec<ColumnInfo>,
}

/// A file of signals, of rejects or of findings.
#[derive(Debug, Serialize)]
pub struct FileInfo {
    /// The file.
    pub path: PathBuf,
    /// Version of its contract.
    pub schema: String,
    /// Rows in it.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Its digest.
    pub digest: Digest,
    /// Its columns.
    pub columns: Vec<ColumnInfo>,
}

/// A column of a file, as the file describes it.
#[derive(Debug, Serialize)]
pub struct ColumnInfo {
    /// Name.
    pub name: String,
    /// Type.
    #[serde(rename = "type")]
    pub data_type: String,
    /// Whether a value may be missing.
    pub nullable: bool,
    /// Unit of its numbers.
    pub unit: Option<String>,
    /// Where its numbers lie.
    pub range: Option<String>,
    /// What a value says; `None` for a column of the source.
    pub doc: Option<String>,
}

pub(super) fn is_table(folder: &Path) -> Result<bool, InspectError> {
    Ok(folder.join(MANIFEST).is_file() || io::list(folder)?.iter().any(|path| is_part_name(path)))
}

pub(super) fn part(path: &Path) -> Result<PartInfo, InspectError> {
    let reader = PartReader::open(path)?;
    let (digest, bytes) = io::digest(path)?;
    let columns = reader.schema().fields().iter().map(|field| column(field)).collect();
    Ok(PartInfo { path: path.to_owned(), rows: reader.rows(), bytes, digest, columns, provenance: reader.provenance })
}

pub(super) fn table(folder: &Path) -> Result<TableInfo, InspectError> {
    match Manifest::load(folder) {
        Ok(manifest) => {
            let first =
                manifest.parts.first().map(|part| PartReader::open(&folder.join(&part.file.name))).transpose()?;
            Ok(TableInfo {
                path: folder.to_owned(),
                is_finished: true,
                n_pairs: manifest.n_pairs,
                n_rejected: Some(manifest.n_rejected),
                n_parts: manifest.parts.len(),
                bytes: manifest.parts.iter().map(|part| part.file.bytes).fold(0, u64::saturating_add),
                rejects: manifest.rejects.as_ref().map(|file: &FileRecord| folder.join(&file.name)),
                columns: columns_of(first.as_ref()),
                provenance: Some(manifest.provenance),
            })
        }
        Err(TableError::Incomplete { .. }) => unfinished(folder),
        Err(error) => Err(error.into()),
    }
}

/// What can be said of a table without its manifest: what its parts say.
fn unfinished(folder: &Path) -> Result<TableInfo, InspectError> {
    let (mut n_pairs, mut n_parts, mut bytes, mut first) = (0, 0, 0, None);
    for path in io::list(folder)?.into_iter().filter(|path| is_part_name(path)) {
        let reader = PartReader::open(&path)?;
        n_pairs += reader.rows();
        n_parts += 1;
        bytes += size(&path)?;
        first.get_or_insert(reader);
    }
    Ok(TableInfo {
        path: folder.to_owned(),
        is_finished: false,
        n_pairs,
        n_rejected: None,
        n_parts,
        bytes,
        rejects: existing(folder.join(REJECTS)),
        columns: columns_of(first.as_ref()),
        provenance: first.map(|reader| reader.provenance),
    })
}

pub(super) fn file(input: &ParquetInput) -> Result<FileInfo, InspectError> {
    let (digest, bytes) = io::digest(input.path())?;
    Ok(FileInfo {
        path: input.path().to_owned(),
        schema: input.version().unwrap_or_default().to_owned(),
        rows: input.rows(),
        bytes,
        digest,
        columns: input.schema().fields().iter().map(|field| column(field)).collect(),
    })
}

pub(super) fn names(input: &ParquetInput) -> Vec<String> {
    input.schema().fields().iter().map(|field| field.name().clone()).collect()
}

fn columns_of(part: Option<&PartReader>) -> Vec<ColumnInfo> {
    part.into_iter().flat_map(|reader| reader.schema().fields().iter().map(|field| column(field))).collect()
}

fn column(field: &Field) -> ColumnInfo {
    let said = |key: &str| field.metadata().get(key).cloned();
    ColumnInfo {
        name: field.name().clone(),
        data_type: match field.data_type() {
            DataType::List(item) => format!("List<{}>", item.data_type()),
            data_type => data_type.to_string(),
        },
        nullable: field.is_nullable(),
        unit: said("unit"),
        range: said("range"),
        doc: said("doc"),
    }
}
