//! The folder of a table: whose it is, what of it is finished, and how it ends.
//!
//! Invariant: no file that is not ours is ever deleted, and no table is written among files of somebody else.

use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray, StringArray};
use arrow::compute::concat;

use crate::io;
use crate::table::manifest::MANIFEST;
use crate::table::part_reader::{Owner, PartReader, owner};
use crate::table::rejects::REJECTS;
use crate::table::{Manifest, Part, Provenance, SourceProvenance, TableError, parquet_file};

/// File that stands in the folder while stage one works there.
const MARKER: &str = ".piref-in-progress";

/// A folder that is ours to write a table in.
#[derive(Debug)]
pub struct TableFolder {
    path: PathBuf,
}

/// A part that an earlier run has finished.
#[derive(Debug)]
pub struct ScannedPart {
    /// Its file.
    pub path: PathBuf,
    /// What the manifest will say about it.
    pub part: Part,
    /// Which token triples it has scores of, in row order.
    pub tokens_ids: StringArray,
    /// The data files it was made from.
    pub sources: Vec<SourceProvenance>,
}

impl TableFolder {
    /// Takes a folder for a table: a new or empty one, or one that holds a table already, finished or not.
    ///
    /// A marker stands in it from now until [`finish`](Self::finish), also where that is never reached.
    ///
    /// # Errors
    /// [`TableError::NotOurs`] if something else is in it.
    pub fn claim(path: &Path) -> Result<Self, TableError> {
        io::create_dir(path)?;
        let entries = io::list(path)?;
        let is_foreign = |entry: &&PathBuf| is_table_file(entry) && owner(entry) == Owner::Somebody;
        let is_ours = Manifest::is_ours(path)
            || entries.iter().any(|entry| is_marker(entry) || (is_table_file(entry) && owner(entry) == Owner::Us));
        let stranger =
            if is_ours { entries.iter().find(is_foreign) } else { entries.iter().find(|entry| !is_temporary(entry)) };
        if let Some(stranger) = stranger {
            let found = stranger.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Err(TableError::NotOurs { path: path.to_owned(), found });
        }
        io::write(&path.join(MARKER), b"piref precompute is at work here, or was interrupted\n")?;
        Ok(Self { path: path.to_owned() })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of part number `part_idx`, from 0.
    pub fn part_path(&self, part_idx: usize) -> PathBuf {
        self.path.join(super::part_name(part_idx))
    }

    /// Path of the rejects file.
    pub fn rejects_path(&self) -> PathBuf {
        self.path.join(REJECTS)
    }

    /// Deletes the table, and nothing else: manifest first, so that no moment has a manifest without its parts.
    pub fn clear(&self) -> Result<(), TableError> {
        if Manifest::is_ours(&self.path) {
            io::remove(&self.path.join(MANIFEST))?;
        }
        for entry in io::list(&self.path)? {
            if is_temporary(&entry) || (is_table_file(&entry) && owner(&entry) != Owner::Somebody) {
                io::remove(&entry)?;
            }
        }
        Ok(())
    }

    /// The parts that earlier runs have finished, in part order, after checking that they were scored as we score.
    ///
    /// A file under its final name is complete, so a part that cannot be read is damaged: an error, not a gap.
    ///
    /// # Errors
    /// If a part is damaged, or was scored under other conditions than `provenance`.
    pub fn scan_parts(&self, provenance: &Provenance) -> Result<Vec<ScannedPart>, TableError> {
        let mut parts: Vec<(usize, PathBuf)> =
            io::list(&self.path)?.into_iter().filter_map(|path| Some((part_idx(&path)?, path))).collect();
        parts.sort();
        parts.into_iter().map(|(_, path)| scan_part(path, provenance)).collect()
    }

    /// Deletes the manifest: the table is not finished any more, its parts may change.
    pub fn reopen(&self) -> Result<(), TableError> {
        Ok(io::remove(&self.path.join(MANIFEST))?)
    }

    /// Writes the manifest: the table is finished.
    pub fn finish(&self, manifest: &Manifest) -> Result<(), TableError> {
        manifest.write(&self.path)?;
        Ok(io::remove(&self.path.join(MARKER))?)
    }
}

fn scan_part(path: PathBuf, provenance: &Provenance) -> Result<ScannedPart, TableError> {
    let reader = PartReader::open(&path)?;
    if let Some(difference) = provenance.first_difference(&reader.provenance) {
        return Err(TableError::OtherProvenance { path, difference });
    }
    let file = parquet_file::record(&path, reader.rows())?;
    if file.rows == 0 {
        return Err(TableError::NotAsListed { path, what: "rows", expected: "1 or more".into(), found: "0".into() });
    }

    let sources = reader.provenance.sources.clone();
    let mut batches = Vec::new();
    for batch in reader.batches(&["pair_id", "tokens_id"])? {
        batches.push(batch?);
    }
    let column = |name| {
        let chunks: Vec<_> = batches.iter().filter_map(|batch| batch.column_by_name(name)).map(AsRef::as_ref).collect();
        let column = concat(&chunks).map_err(|source| TableError::Decode { path: path.clone(), source })?;
        Ok::<_, TableError>(column.as_string::<i32>().clone())
    };
    let (pair_ids, tokens_ids) = (column("pair_id")?, column("tokens_id")?);
    let (first_pair, last_pair) = (pair_ids.value(0).to_owned(), pair_ids.value(pair_ids.len() - 1).to_owned());
    Ok(ScannedPart { path, part: Part { file, first_pair, last_pair }, tokens_ids, sources })
}

/// Number in a name like `part-00042.parquet`.
fn part_idx(path: &Path) -> Option<usize> {
    let digits = path.file_name()?.to_str()?.strip_prefix("part-")?.strip_suffix(".parquet")?;
    if digits.len() < 5 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

pub(crate) fn is_part_name(path: &Path) -> bool {
    part_idx(path).is_some()
}

pub(super) fn is_marker(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == MARKER)
}

/// A name that stage one gives to a file; whose the file is says its footer.
fn is_table_file(path: &Path) -> bool {
    is_part_name(path) || path.file_name().is_some_and(|name| name == REJECTS)
}

/// What a killed run of ours leaves: [`io::AtomicFile`] before its rename.
fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_ours = [".part-", ".manifest.json.", ".rejects.parquet.", "..piref-"];
    name.ends_with(".partial") && is_ours.iter().any(|prefix| name.starts_with(prefix))
}
