//! `manifest.json`: the list of parts and the conditions they were scored under, written last.
//!
//! Invariant: a folder with a manifest holds a finished table.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::io;
use crate::table::parquet_file::FileRecord;
use crate::table::{Part, Provenance, Shard, TableError, folder};

/// Name of the manifest in the folder of a table.
pub const MANIFEST: &str = "manifest.json";

/// What `format` says in a manifest of ours.
const FORMAT: &str = "piref-reference-table";

/// The layout of the manifest that this program reads and writes.
const FORMAT_VERSION: u64 = 1;

/// Most bytes of a manifest: some hundred for each of half a million parts.
pub(super) const MANIFEST_BYTES: u64 = 128 << 20;

/// What a finished table consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: String,
    format_version: u64,
    /// Conditions of scoring and data files.
    pub provenance: Provenance,
    /// Pairs in all parts.
    pub n_pairs: u64,
    /// Rows in the rejects file.
    pub n_rejected: u64,
    /// The parts, in table order.
    pub parts: Vec<Part>,
    /// Rows that could not be scored, where there are any.
    pub rejects: Option<FileRecord>,
}

/// The first thing read of a manifest: enough to tell whose it is.
#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    format: serde_json::Value,
    #[serde(default)]
    format_version: serde_json::Value,
}

impl Manifest {
    /// Manifest of these parts.
    pub fn new(provenance: Provenance, parts: Vec<Part>, rejects: Option<FileRecord>) -> Self {
        Self {
            format: FORMAT.into(),
            format_version: FORMAT_VERSION,
            provenance,
            n_pairs: parts.iter().map(|part| part.file.rows).fold(0, u64::saturating_add),
            n_rejected: rejects.as_ref().map_or(0, |rejects| rejects.rows),
            parts,
            rejects,
        }
    }

    /// Reads the manifest of the table in `folder`.
    ///
    /// # Errors
    /// If there is none ([`TableError::Incomplete`] where there are parts), or if it is not JSON, of another version,
    /// or contradicts itself. That the parts are there is checked by [`ReferenceTable::open`](super::ReferenceTable::open).
    pub fn load(folder: &Path) -> Result<Self, TableError> {
        let manifest = Self::read(folder)?;
        manifest.problems(folder).into_iter().next().map_or(Ok(manifest), Err)
    }

    /// Reads the manifest without asking whether its numbers and names make sense: see [`problems`](Self::problems).
    pub(crate) fn read(folder: &Path) -> Result<Self, TableError> {
        let path = folder.join(MANIFEST);
        if !path.is_file() {
            return Err(Self::missing(folder));
        }
        Self::of_bytes(folder, io::read_text_up_to(&path, MANIFEST_BYTES)?.as_bytes())
    }

    /// The manifest in these bytes, which are of the table at `place`: a folder or a URL.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub(super) fn parse(place: &Path, bytes: &[u8]) -> Result<Self, TableError> {
        let manifest = Self::of_bytes(place, bytes)?;
        manifest.problems(place).into_iter().next().map_or(Ok(manifest), Err)
    }

    fn of_bytes(folder: &Path, bytes: &[u8]) -> Result<Self, TableError> {
        let path = folder.join(MANIFEST);
        let wrap = |source| TableError::Manifest { path: path.clone(), source };

        let header: Header = serde_json::from_slice(bytes).map_err(wrap)?;
        if header.format != FORMAT {
            return Err(TableError::not_a_table(folder));
        }
        if header.format_version != FORMAT_VERSION {
            let found = match header.format_version {
                serde_json::Value::Null => "none".into(),
                found => found.to_string(),
            };
            return Err(TableError::ManifestVersion { path, expected: FORMAT_VERSION, found });
        }
        serde_json::from_slice(bytes).map_err(wrap)
    }

    /// Writes the manifest into `folder`: from now on the table is finished.
    pub fn write(&self, folder: &Path) -> Result<(), TableError> {
        let path = folder.join(MANIFEST);
        let text = self.text().map_err(|source| TableError::Manifest { path: path.clone(), source })?;
        Ok(io::write(&path, text.as_bytes())?)
    }

    /// The file's text: the one text that these values have.
    pub(crate) fn text(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Whether the folder has a manifest of ours, of whatever version.
    pub(super) fn is_ours(folder: &Path) -> bool {
        io::read_up_to(&folder.join(MANIFEST), MANIFEST_BYTES).is_ok_and(|bytes| Self::is_text_of_ours(&bytes))
    }

    /// Whether these bytes are a manifest of ours, of whatever version.
    pub(super) fn is_text_of_ours(bytes: &[u8]) -> bool {
        serde_json::from_slice::<Header>(bytes).is_ok_and(|header| header.format == FORMAT)
    }

    fn missing(folder: &Path) -> TableError {
        match io::list(folder) {
            Err(error) => error.into(),
            Ok(entries) if entries.iter().any(|path| folder::is_part_name(path) || folder::is_marker(path)) => {
                // The newest division into shards is not known; the largest is as good.
                let shards = entries.iter().filter_map(|path| folder::journal_of(path).flatten());
                TableError::Incomplete { path: folder.to_owned(), n_shards: shards.map(Shard::count).max() }
            }
            Ok(_) => TableError::not_a_table(folder),
        }
    }

    /// What its numbers and names contradict: a manifest is read back from disk, where anybody may have edited it.
    pub(crate) fn problems(&self, folder: &Path) -> Vec<TableError> {
        let path = folder.join(MANIFEST);
        let rows = |part: &Part| u128::from(part.file.rows);
        let counts: [(&'static str, u128, u64); 2] = [
            ("n_pairs", self.parts.iter().map(rows).sum(), self.n_pairs),
            ("n_rejected", self.rejects.as_ref().map_or(0, |rejects| rejects.rows.into()), self.n_rejected),
        ];
        let counts = counts
            .into_iter()
            .filter(|(_, expected, found)| *expected != u128::from(*found))
            .map(|(field, expected, found)| TableError::ManifestCount { path: path.clone(), field, expected, found });
        let names = self
            .files()
            .filter(|file| !file.is_plain_name())
            .map(|file| TableError::ManifestFile { path: path.clone(), found: file.name.clone() });
        counts.chain(names).collect()
    }

    /// Every file the manifest lists.
    pub fn files(&self) -> impl Iterator<Item = &FileRecord> {
        self.parts.iter().flat_map(Part::files).chain(&self.rejects)
    }
}
