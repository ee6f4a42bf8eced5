//! The files of a table: those its manifest lists, or where that cannot be read, those that are there.

use std::path::{Path, PathBuf};

use super::{Report, VerifyError, quoted};
use crate::io::{self, IoError};
use crate::table::{self, FileRecord, Finding, Level, MANIFEST, Manifest, Part, PartReader, REJECTS, TableError};

/// What a table consists of.
pub(super) struct Contents {
    pub(super) folder: PathBuf,
    pub(super) manifest: Option<Manifest>,
    /// The parts, in table order, with what the manifest says of each.
    pub(super) parts: Vec<(PathBuf, Option<Part>)>,
    pub(super) rejects: Option<(PathBuf, Option<FileRecord>)>,
    /// Whether the parts are all that there are: one part alone is no whole table.
    pub(super) is_whole: bool,
}

impl Contents {
    /// Finds the files of a table, and tells what is wrong with the manifest itself.
    ///
    /// # Errors
    /// If the path is neither a table nor a part of one.
    pub(super) fn find(path: &Path, report: &mut Report<'_>) -> Result<Self, VerifyError> {
        if !path.exists() {
            return Err(IoError::Missing { path: path.to_owned() }.into());
        }
        if !path.is_dir() {
            table::refuse_foreign(path)?;
            report.note(format!("{} is one part: without a manifest there is no digest to compare", quoted(path)));
            let parts = vec![(path.to_owned(), None)];
            let folder = path.parent().unwrap_or(path).to_owned();
            return Ok(Self { folder, manifest: None, parts, rejects: None, is_whole: false });
        }
        match Manifest::read(path) {
            Ok(manifest) => {
                for problem in manifest.problems(path) {
                    report.table_error(&problem);
                }
                check_text(path, &manifest, report)?;
                Ok(Self::listed(path, manifest))
            }
            Err(error) => {
                let found = Self::found(path)?;
                if found.parts.is_empty() {
                    return Err(error.into());
                }
                report.table_error(&error);
                Ok(found)
            }
        }
    }

    /// The files that are beside the manifest and not in it are told; those of the user's own are none of our business.
    pub(super) fn check_names(&self, report: &mut Report<'_>) -> Result<(), VerifyError> {
        if self.manifest.is_none() {
            return Ok(());
        }
        let listed: Vec<&Path> = self.parts.iter().map(|(path, _)| path.as_path()).collect();
        let signals: Vec<PathBuf> = self.signals().map(|(_, path, _)| path).collect();
        for entry in io::list(&self.folder)? {
            let is_rejects = entry.file_name().is_some_and(|name| name == REJECTS);
            let is_unlisted_part = table::is_part_name(&entry) && !listed.contains(&entry.as_path());
            let is_unlisted_signals = table::is_signals_name(&entry) && !signals.contains(&entry);
            if is_unlisted_part || is_unlisted_signals || (is_rejects && self.rejects.is_none()) {
                let evidence =
                    format!("{}: expected a file that the manifest lists, found one it does not", quoted(&entry));
                report.push(&Finding {
                    pair_id: None,
                    check: "files".into(),
                    level: Level::Warn,
                    value: None,
                    evidence,
                });
            }
        }
        Ok(())
    }

    /// The files of signals that the manifest lists, each after its part.
    pub(super) fn signals(&self) -> impl Iterator<Item = (&Path, PathBuf, &FileRecord)> {
        self.parts.iter().filter_map(|(path, part)| {
            let file = part.as_ref()?.signals.as_ref().filter(|file| file.is_plain_name())?;
            Some((path.as_path(), self.folder.join(&file.name), file))
        })
    }

    /// Rows of all parts, as the manifest or the footers count them.
    pub(super) fn n_rows(&self) -> u64 {
        let rows = |(path, part): &(PathBuf, Option<Part>)| match part {
            Some(part) => part.file.rows,
            None => PartReader::open(path).map_or(0, |reader| reader.rows()),
        };
        self.parts.iter().map(rows).fold(0, u64::saturating_add)
    }

    fn listed(folder: &Path, manifest: Manifest) -> Self {
        // A name that leads elsewhere has been told and is not followed.
        let parts = manifest.parts.iter().filter(|part| part.file.is_plain_name());
        let parts = parts.map(|part| (folder.join(&part.file.name), Some(part.clone()))).collect();
        let rejects = manifest.rejects.clone().filter(FileRecord::is_plain_name);
        let rejects = rejects.map(|file| (folder.join(&file.name), Some(file)));
        Self { folder: folder.to_owned(), manifest: Some(manifest), parts, rejects, is_whole: true }
    }

    /// What is there without a manifest.
    fn found(folder: &Path) -> Result<Self, TableError> {
        let mut parts: Vec<PathBuf> = io::list(folder)?.into_iter().filter(|path| table::is_part_name(path)).collect();
        // In the order of their numbers, whatever their digits.
        parts.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
        let parts = parts.into_iter().map(|path| (path, None)).collect();
        let rejects = Some((folder.join(REJECTS), None)).filter(|(path, _)| path.is_file());
        Ok(Self { folder: folder.to_owned(), manifest: None, parts, rejects, is_whole: true })
    }
}

/// The manifest has one text for its values, so a change that parses as the same values is still a change.
fn check_text(folder: &Path, manifest: &Manifest, report: &mut Report<'_>) -> Result<(), VerifyError> {
    let path = folder.join(MANIFEST);
    let text = io::read_text(&path)?;
    let Ok(expected) = manifest.text() else { return Ok(()) };
    if text == expected {
        return Ok(());
    }
    let n_equal = expected.lines().zip(text.lines()).take_while(|(expected, found)| expected == found).count();
    let line = |text: &str| {
        text.lines().nth(n_equal).map_or_else(|| "the end".to_owned(), |line| format!("`{}`", line.trim()))
    };
    let evidence = format!(
        "{}, line {}: expected {} as piref writes it, found {}",
        quoted(&path),
        n_equal + 1,
        line(&expected),
        line(&text)
    );
    report.error("manifest", evidence);
    Ok(())
}
