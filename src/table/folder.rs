//! The folder of a table: whose it is, what of it is finished, and how it ends.
//!
//! ```text
//! part-00000.parquet …   the table
//! signals-00000.parquet … what the passes over its pairs show beside log-probs
//! manifest.json          written last: the table is finished
//! rejects.parquet        rows that could not be scored
//! references/NAME/       the same pairs scored by another model: a table of its own
//! .piref.lock            held by the process that works here
//! .piref-journal         what it has done so far
//! .piref-shard-0-of-4.lock, .piref-journal-0-of-4
//!                        the same of a shard: several of them may be at work at once
//! .previous/             parts of an earlier state, kept for their log-probs until the new one is finished
//! .replaced/             a table that is made anew, kept whole until the new one is finished
//! ```
//!
//! A table that is to be under a URL is made in a folder like any other, and sent on from there ([`hosted`](super::hosted)).
//!
//! Invariant: no file that is not ours is ever deleted, no table is written among files of somebody else, and a
//! log-prob that was once written stays on disk until the table that replaces it is finished.
//!
//! Shards share no file that one of them writes but those of which all write the same bytes, and every file takes its
//! name in one rename. So they need no lock to be right; a lock tells what would be work done twice, on every file
//! system that has locks.

use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::io::{self, IoError, Lock};
use crate::storage::{Bucket, Cache, Location, ObjectUrl};
use crate::table::hosted::Hosted;
use crate::table::journal::JOURNAL;
use crate::table::manifest::MANIFEST;
use crate::table::part_reader::{Owner, owner};
use crate::table::rejects::REJECTS;
use crate::table::{FileRecord, Manifest, Part, Shard, TableError};

/// File that the process at work holds.
const LOCK: &str = ".piref.lock";

/// Folder of parts that are about to be replaced.
const PREVIOUS: &str = ".previous";

/// Folder of a table that another one is about to replace.
const REPLACED: &str = ".replaced";

/// What names of files of signals begin with.
const SIGNALS: &str = "signals-";

/// Folder of the tables of further references.
pub(super) const REFERENCES: &str = "references";

/// Rejects of a run that has not been found good yet.
const INCOMING_REJECTS: &str = ".rejects.incoming.parquet";

/// The same of a shard, whose index and count come after.
const INCOMING_REJECTS_OF_SHARD: &str = ".rejects.incoming";

/// Rejects of a run that was refused because of them, beside a finished table that has its own.
const REFUSED_REJECTS: &str = "rejects.refused.parquet";

/// A folder that is ours to write a table in, or the parts of a shard of one, and nobody else's as long as this value
/// lives.
#[derive(Debug)]
pub struct TableFolder {
    path: PathBuf,
    shard: Option<Shard>,
    /// The table's side under its URL, if it has one.
    hosted: Option<Hosted>,
    lock: Lock,
}

/// Folder of the further references of the table in `folder`.
pub fn references_folder(folder: &Path) -> PathBuf {
    folder.join(REFERENCES)
}

/// Folder of the reference `name` beside the table in `folder`.
pub fn reference_folder(folder: &Path, name: &str) -> PathBuf {
    folder.join(REFERENCES).join(name)
}

impl TableFolder {
    /// Takes a folder, or a URL, for a table: a new or empty one, or one that holds a table already, finished or not.
    ///
    /// # Errors
    /// [`TableError::NotOurs`] if something else is in it, [`io::IoError::Locked`] if another process is at work there,
    /// [`StorageError::Leased`](crate::storage::StorageError::Leased) if it is on another machine.
    pub fn claim(path: &Path) -> Result<Self, TableError> {
        match Location::of(path)? {
            Location::Local(path) => Self::claim_local(&path, None),
            Location::Object(url) => Self::claim_hosted(Bucket::of(&url)?, url, Cache::of_user()?),
        }
    }

    /// Takes the parts of a shard in such a folder; other shards may be at work there.
    ///
    /// # Errors
    /// As [`claim`](Self::claim), also if another process is at work on this shard, or the table is under a URL: shards
    /// need a folder they share.
    pub fn claim_shard(path: &Path, shard: Shard) -> Result<Self, TableError> {
        match Location::of(path)? {
            Location::Local(path) => Self::claim_local(&path, Some(shard)),
            Location::Object(url) => Err(TableError::HostedShard { url: url.to_string(), shard }),
        }
    }

    /// Takes a URL; what is to be there is made in the cache.
    ///
    /// # Errors
    /// As [`claim`](Self::claim).
    pub(super) fn claim_hosted(bucket: Bucket, url: ObjectUrl, cache: Cache) -> Result<Self, TableError> {
        let folder = Self::claim_local(&cache.work_folder(&url), None)?;
        let hosted = Hosted::claim(bucket, url, cache, &folder.path)?;
        Ok(Self { hosted: Some(hosted), ..folder })
    }

    fn claim_local(path: &Path, shard: Option<Shard>) -> Result<Self, TableError> {
        io::create_dir(path)?;
        let entries = io::list(path)?;
        // What another shard has meanwhile renamed or deleted is nobody's.
        let is_foreign = |entry: &&PathBuf| is_table_file(entry) && owner(entry) == Owner::Somebody && entry.exists();
        let is_ours = Manifest::is_ours(path)
            || entries.iter().any(|entry| is_marker(entry) || (is_table_file(entry) && owner(entry) == Owner::Us));
        let stranger =
            if is_ours { entries.iter().find(is_foreign) } else { entries.iter().find(|entry| !is_temporary(entry)) };
        if let Some(stranger) = stranger {
            return Err(TableError::NotOurs { path: path.to_owned(), found: name(stranger).to_owned() });
        }
        let lock = Lock::acquire(&path.join(shard.map_or(LOCK.to_owned(), Shard::lock_name)))?;
        // After ours, so that of two that may not work at the same time one at least sees the other.
        let locks = match shard {
            Some(_) => vec![path.join(LOCK)],
            None => io::list(path)?.into_iter().filter(|entry| Shard::of_lock(name(entry)).is_some()).collect(),
        };
        for other in locks {
            if let Some(holder) = Lock::holder(&other)? {
                return Err(IoError::Locked { path: other, holder }.into());
            }
        }
        Ok(Self { path: path.to_owned(), shard, hosted: None, lock })
    }

    /// Whether a process is at work on this shard of the table, as far as the file system has locks to tell.
    ///
    /// # Errors
    /// If its lock file cannot be opened.
    pub fn is_at_work(&self, shard: Shard) -> Result<bool, TableError> {
        Ok(Lock::holder(&self.path.join(shard.lock_name()))?.is_some())
    }

    /// Whether there is a finished table under its URL; a folder shows what it holds.
    pub fn is_finished_elsewhere(&self) -> bool {
        self.hosted.as_ref().is_some_and(Hosted::is_finished)
    }

    /// Fetches what is under its URL, so that a run goes on from it; a folder has everything already.
    ///
    /// # Errors
    /// If it cannot be fetched, or is not what its manifest says.
    pub fn restore(&self) -> Result<(), TableError> {
        self.hosted.as_ref().map_or(Ok(()), |hosted| hosted.restore(self))
    }

    /// Sends a finished part to its URL, if there is one: what is sent is not lost with this machine.
    ///
    /// # Errors
    /// If another run has taken the URL over, or the service does not take the part.
    pub fn publish(&self, part: &Part) -> Result<(), TableError> {
        self.hosted.as_ref().map_or(Ok(()), |hosted| hosted.publish(&self.path, part))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of part number `part_idx`, from 0.
    pub fn part_path(&self, part_idx: usize) -> PathBuf {
        self.path.join(super::part_name(part_idx))
    }

    /// Path of the signals of part number `part_idx`, from 0.
    pub fn signals_path(&self, part_idx: usize) -> PathBuf {
        self.path.join(super::signals_name(part_idx))
    }

    /// Path of the rejects file.
    pub fn rejects_path(&self) -> PathBuf {
        self.path.join(REJECTS)
    }

    /// Path of the journal: of the table, or of the shard.
    pub fn journal_path(&self) -> PathBuf {
        self.path.join(self.shard.map_or(JOURNAL.to_owned(), |shard| shard.name_of(JOURNAL)))
    }

    /// The journals in the folder but for that one, each with the shard it is of; `None` for the table's.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn other_journals(&self) -> Result<Vec<(Option<Shard>, PathBuf)>, TableError> {
        let ours = self.journal_path();
        let entries = io::list(&self.path)?.into_iter().filter(|path| *path != ours);
        let mut journals: Vec<_> = entries.filter_map(|path| Some((journal_of(&path)?, path))).collect();
        journals.sort();
        Ok(journals)
    }

    /// Where the rejects go until it is known whether the run is refused because of them.
    pub fn incoming_rejects_path(&self) -> PathBuf {
        let name = self.shard.map_or(INCOMING_REJECTS.to_owned(), |shard| shard.name_of(INCOMING_REJECTS_OF_SHARD));
        self.path.join(name)
    }

    /// Deletes the incoming rejects: it is for the run that finishes the table to write them.
    pub fn discard_rejects(&self) -> Result<(), TableError> {
        Ok(io::remove(&self.incoming_rejects_path())?)
    }

    /// Makes the incoming rejects the table's; `None` of them means that it has none.
    pub fn accept_rejects(&self, rejects: Option<FileRecord>) -> Result<Option<FileRecord>, TableError> {
        io::remove(&self.path.join(REFUSED_REJECTS))?;
        match rejects {
            None => io::remove(&self.rejects_path())?,
            Some(_) => io::rename(&self.incoming_rejects_path(), &self.rejects_path())?,
        }
        Ok(rejects.map(|record| FileRecord { name: REJECTS.to_owned(), ..record }))
    }

    /// Puts the incoming rejects where a user can read them, and a finished table stays as it is; returns where.
    pub fn refuse_rejects(&self) -> Result<PathBuf, TableError> {
        let name = if self.path.join(MANIFEST).is_file() { REFUSED_REJECTS } else { REJECTS };
        let path = self.path.join(name);
        io::rename(&self.incoming_rejects_path(), &path)?;
        Ok(path)
    }

    /// Moves the table, and nothing else, out of the way of one that is made anew: manifest first, so that no moment has a
    /// manifest without its parts. It is deleted when that one is finished. What stands in the way of a second try to
    /// replace it, half of the first, is deleted now. Rejects that have just come in stay, and so do further references,
    /// which are tables of their own.
    pub fn set_aside(&self) -> Result<(), TableError> {
        let replaced = self.path.join(REPLACED);
        let has_ended = Manifest::is_ours(&self.path);
        if has_ended {
            // The table that took its place was finished.
            io::remove_dir(&replaced)?;
        }
        let is_kept = replaced.is_dir();
        let is_ours = |entry: &PathBuf| {
            let is_left = is_temporary(entry) || is_of_shard(entry) || *entry == self.journal_path();
            *entry != self.incoming_rejects_path()
                && (is_left || (is_table_file(entry) && owner(entry) != Owner::Somebody))
        };
        let manifest = has_ended.then(|| self.path.join(MANIFEST));
        let files: Vec<PathBuf> =
            manifest.into_iter().chain(io::list(&self.path)?.into_iter().filter(is_ours)).collect();
        let previous = self.path.join(PREVIOUS);
        if is_kept {
            files.iter().try_for_each(|file| io::remove(file))?;
            return Ok(io::remove_dir(&previous)?);
        }
        if files.is_empty() && !previous.is_dir() {
            return Ok(());
        }
        io::create_dir(&replaced)?;
        for file in &files {
            io::rename(file, &replaced.join(name(file)))?;
        }
        if previous.is_dir() {
            io::rename(&previous, &replaced.join(PREVIOUS))?;
        }
        Ok(())
    }

    /// The parts in the folder by their number.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn parts(&self) -> Result<Vec<(usize, PathBuf)>, TableError> {
        let mut parts: Vec<(usize, PathBuf)> =
            io::list(&self.path)?.into_iter().filter_map(|path| Some((part_idx(&path)?, path))).collect();
        parts.sort();
        Ok(parts)
    }

    /// Moves a part out of the table; its log-probs stay at hand until the table is finished.
    pub fn retire(&self, part: &Path, digest: &Digest) -> Result<(), TableError> {
        let previous = self.path.join(PREVIOUS);
        io::create_dir(&previous)?;
        Ok(io::rename(part, &previous.join(format!("{digest}.parquet")))?)
    }

    /// Moves signals out of the table, like a part.
    pub fn retire_signals(&self, signals: &Path, digest: &Digest) -> Result<(), TableError> {
        let previous = self.path.join(PREVIOUS);
        io::create_dir(&previous)?;
        Ok(io::rename(signals, &previous.join(format!("{SIGNALS}{digest}.parquet")))?)
    }

    /// The parts that were retired since the table was last finished, each with the digest it had.
    pub fn retired(&self) -> Result<Vec<(PathBuf, Digest)>, TableError> {
        self.retired_as("")
    }

    /// The same of signals.
    pub fn retired_signals(&self) -> Result<Vec<(PathBuf, Digest)>, TableError> {
        self.retired_as(SIGNALS)
    }

    /// The retired files whose name is a digest after this.
    fn retired_as(&self, prefix: &str) -> Result<Vec<(PathBuf, Digest)>, TableError> {
        let previous = self.path.join(PREVIOUS);
        if !previous.is_dir() {
            return Ok(Vec::new());
        }
        let digest = |path: &Path| path.file_stem()?.to_str()?.strip_prefix(prefix)?.parse().ok();
        Ok(io::list(&previous)?.into_iter().filter_map(|path| digest(&path).map(|digest| (path, digest))).collect())
    }

    /// Deletes the manifest: the table is not finished any more, its parts may change.
    pub fn reopen(&self) -> Result<(), TableError> {
        if Manifest::is_ours(&self.path) {
            io::remove(&self.path.join(MANIFEST))?;
        }
        Ok(())
    }

    /// Deletes what a process that was killed in [`finish`](Self::finish) has left beside a finished table; nothing if there
    /// is none.
    pub fn clear_left(path: &Path) -> Result<(), TableError> {
        if Manifest::is_ours(path) {
            io::remove_dir(&path.join(REPLACED))?;
        }
        Ok(())
    }

    /// Writes the manifest: the table is finished, and what was kept to finish it is deleted. Of a table under a URL
    /// nothing is left here but a copy in the cache.
    pub fn finish(self, manifest: &Manifest) -> Result<(), TableError> {
        if let Some(hosted) = &self.hosted {
            hosted.finish(&self.path, manifest)?;
        }
        manifest.write(&self.path)?;
        io::remove(&self.journal_path())?;
        io::remove_dir(&self.path.join(PREVIOUS))?;
        io::remove_dir(&self.path.join(REPLACED))?;
        for entry in io::list(&self.path)? {
            // Signals that no part has any more, of a part that a user has deleted and a run has made without them.
            let is_left = is_signals_name(&entry) && manifest.files().all(|file| file.name != name(&entry));
            if is_temporary(&entry) || is_of_shard(&entry) || (is_left && owner(&entry) == Owner::Us) {
                io::remove(&entry)?;
            }
        }
        let Self { path, hosted: Some(hosted), lock, .. } = self else { return Ok(()) };
        hosted.keep_copy(&path)?;
        io::remove_dir(&path)?;
        Hosted::forget(&path)?;
        drop(lock);
        Ok(())
    }
}

/// Number in a name like `part-00042.parquet`.
fn part_idx(path: &Path) -> Option<usize> {
    number_after("part-", path)
}

fn number_after(prefix: &str, path: &Path) -> Option<usize> {
    let digits = name(path).strip_prefix(prefix)?.strip_suffix(".parquet")?;
    if digits.len() < 5 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

pub(crate) fn is_part_name(path: &Path) -> bool {
    part_idx(path).is_some()
}

pub(crate) fn is_signals_name(path: &Path) -> bool {
    number_after(SIGNALS, path).is_some()
}

/// A sign that stage one has been at work in the folder.
pub(super) fn is_marker(path: &Path) -> bool {
    [JOURNAL, LOCK, PREVIOUS, REPLACED].contains(&name(path)) || is_of_shard(path) || is_of_references(path)
}

/// Whether a table that is made anew in `folder` moves that input out of the way.
pub(crate) fn is_replaced(input: &Path, folder: &Path) -> bool {
    io::is_within(input, folder)
        && !io::is_within(input, &folder.join(REFERENCES))
        && (is_table_file(input) || (input.is_dir() && is_table_folder(input)))
}

/// A folder of tables of further references.
fn is_of_references(path: &Path) -> bool {
    name(path) == REFERENCES
        && path.is_dir()
        && io::list(path).is_ok_and(|tables| tables.iter().any(|table| table.is_dir() && is_table_folder(table)))
}

/// Whether a folder holds a log-prob table, finished or not: its manifest, a part or a sign of work.
pub(crate) fn is_table_folder(folder: &Path) -> bool {
    let is_sign = |entry: &PathBuf| {
        is_marker(entry) || ((is_part_name(entry) || is_signals_name(entry)) && owner(entry) == Owner::Us)
    };
    Manifest::is_ours(folder) || io::list(folder).is_ok_and(|entries| entries.iter().any(is_sign))
}

/// A file that only shards have: journal, lock, incoming rejects.
fn is_of_shard(path: &Path) -> bool {
    let name = name(path);
    let files = [JOURNAL, INCOMING_REJECTS_OF_SHARD];
    Shard::of_lock(name).is_some() || files.iter().any(|file| Shard::of_file(name, file).is_some())
}

/// The shard whose journal has this path, `None` within for the journal of the table itself; `None` if it is none.
#[expect(clippy::option_option, reason = "whether it is a journal, and whose")]
pub(super) fn journal_of(path: &Path) -> Option<Option<Shard>> {
    match name(path) {
        JOURNAL => Some(None),
        name => Shard::of_file(name, JOURNAL).map(Some),
    }
}

/// A name that stage one gives to a file; whose the file is says its footer.
pub(super) fn is_table_file(path: &Path) -> bool {
    is_part_name(path) || is_signals_name(path) || [REJECTS, REFUSED_REJECTS, INCOMING_REJECTS].contains(&name(path))
}

/// What a killed run of ours leaves: [`io::AtomicFile`] before its rename.
fn is_temporary(path: &Path) -> bool {
    let name = name(path);
    let is_ours = [".part-", ".signals-", ".manifest.json.", ".rejects.", "..rejects.", "..piref-"];
    name.ends_with(".partial") && is_ours.iter().any(|prefix| name.starts_with(prefix))
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}
