//! `manifest.json`: the list of parts and the conditions they were scored under, written last.
//!
//! Invariant: a folder with a manifest holds a finished table.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::io;
use crate::table::parquet_file::FileRecord;
use crate::table::{Part, Provenance, TableError, folder};

/// Name of the manifest in the folder of a table.
pub const MANIFEST: &str = "manifest.json";

/// What `format` says in a manifest of ours.
const FORMAT: &str = "piref-reference-table";

/// The layout of the manifest that this program reads and writes.
const FORMAT_VERSION: u64 = 1;

/// Most bytes of a manifest: some hundred for each of half a million parts.
const MANIFEST_BYTES: u64 = 128 << 20;

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
            n_pairs: parts.iter().map(|part| part.file.rows).sum(),
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
        let path = folder.join(MANIFEST);
        if !path.is_file() {
            return Err(Self::missing(folder));
        }
        let text = io::read_text_up_to(&path, MANIFEST_BYTES)?;
        let wrap = |source| TableError::Manifest { path: path.clone(), source };

        let header: Header = serde_json::from_str(&text).map_err(wrap)?;
        if header.format != FORMAT {
            return Err(TableError::NotATable { path: folder.to_owned() });
        }
        if header.format_version != FORMAT_VERSION {
            let found = match header.format_version {
                serde_json::Value::Null => "none".into(),
                found => found.to_string(),
            };
            return Err(TableError::ManifestVersion { path, expected: FORMAT_VERSION, found });
        }
        let manifest: Self = serde_json::from_str(&text).map_err(wrap)?;
        manifest.check(&path)?;
        Ok(manifest)
    }

    /// Writes the manifest into `folder`: from now on the table is finished.
    pub fn write(&self, folder: &Path) -> Result<(), TableError> {
        let path = folder.join(MANIFEST);
        let mut text =
            serde_json::to_vec_pretty(self).map_err(|source| TableError::Manifest { path: path.clone(), source })?;
        text.push(b'\n');
        Ok(io::write(&path, &text)?)
    }

    /// Whether the folder has a manifest of ours, of whatever version.
    pub(super) fn is_ours(folder: &Path) -> bool {
        io::read_up_to(&folder.join(MANIFEST), MANIFEST_BYTES)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Header>(&bytes).ok())
            .is_some_and(|header| header.format == FORMAT)
    }

    fn missing(folder: &Path) -> TableError {
        match io::list(folder) {
            Err(error) => error.into(),
            Ok(entries) if entries.iter().any(|path| folder::is_part_name(path) || folder::is_marker(path)) => {
                TableError::Incomplete { path: folder.to_owned() }
            }
            Ok(_) => TableError::NotATable { path: folder.to_owned() },
        }
    }

    /// A manifest is read back from disk, where anybody may have edited it.
    fn check(&self, path: &Path) -> Result<(), TableError> {
        let counts = [
            ("n_pairs", self.parts.iter().fold(0, |sum, part| part.file.rows.saturating_add(sum)), self.n_pairs),
            ("n_rejected", self.rejects.as_ref().map_or(0, |rejects| rejects.rows), self.n_rejected),
        ];
        for (field, expected, found) in counts {
            if expected != found {
                return Err(TableError::ManifestCount { path: path.to_owned(), field, expected, found });
            }
        }
        for file in self.files() {
            let name: PathBuf = file.name.clone().into();
            if name.file_name() != Some(name.as_os_str()) {
                return Err(TableError::ManifestFile { path: path.to_owned(), found: file.name.clone() });
            }
        }
        Ok(())
    }

    /// Every file the manifest lists.
    pub fn files(&self) -> impl Iterator<Item = &FileRecord> {
        self.parts.iter().map(|part| &part.file).chain(&self.rejects)
    }
}
