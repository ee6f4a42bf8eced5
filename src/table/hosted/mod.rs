//! A table under a URL, on the side of the service: what is there, who may write it, and in which order it is written.
//!
//! ```text
//! URL/.piref.lease         names the run that writes: see `storage`
//! URL/signals-00000.parquet, URL/part-00000.parquet, …     each sent when it is finished, signals first
//! URL/rejects.parquet
//! URL/manifest.json        sent last: the table is finished
//! ```
//!
//! The table is made in a local folder, by the code that makes any other; its files have the same bytes. Which parts there
//! are is told by the manifest, or, of a table that is not finished, by asking for part after part until there is none.
//! Invariant: nothing is overwritten that this run has not seen, and a manifest is deleted before a part it lists changes.

mod fetch;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

pub use fetch::{fetch_table, is_remote, local};

use crate::digest::Digest;
use crate::io;
use crate::storage::{self, Bucket, Cache, Condition, Lease, Object, ObjectUrl, Version, in_parallel, link};
use crate::table::manifest::{MANIFEST, MANIFEST_BYTES};
use crate::table::part_reader::{Owner, owner};
use crate::table::{FileRecord, Manifest, Part, TableError, TableFolder, part_name, signals_name};
use fetch::{copy_id, fetch_listed, missing_bytes};

/// Object that names the run at work.
const LEASE: &str = ".piref.lease";

/// Parts that are asked for at once, at most: most tables that are begun have none.
const PROBED: usize = 16;

/// A table under a URL that this run may write.
#[derive(Debug)]
pub(super) struct Hosted {
    url: ObjectUrl,
    bucket: Bucket,
    cache: Cache,
    lease: Lease,
    /// File beside the local folder that says which versions of objects have which digests.
    log: PathBuf,
    remote: Mutex<Remote>,
}

/// What is under the URL.
#[derive(Debug, Default)]
struct Remote {
    manifest: Option<StoredManifest>,
    files: BTreeMap<String, Stored>,
}

#[derive(Debug)]
struct StoredManifest {
    bytes: Bytes,
    version: Version,
    /// `None` for one of another layout.
    manifest: Option<Manifest>,
}

/// A file of the table, as far as it is known; a manifest knows no versions, a service no digests.
#[derive(Debug, Clone, Default)]
struct Stored {
    version: Option<Version>,
    digest: Option<Digest>,
}

impl Hosted {
    /// Takes the right to write under a URL, and looks at what is there. `folder` is the local one, and ours.
    ///
    /// # Errors
    /// If another run has that right, if what is there is no table of ours, or if the service does not answer.
    pub(super) fn claim(bucket: Bucket, url: ObjectUrl, cache: Cache, folder: &Path) -> Result<Self, TableError> {
        let lease = Lease::acquire(&bucket, &url.join(LEASE), &beside(folder, "token"))?;
        let log = beside(folder, "sent");
        let sent = read_log(&log)?;
        let mut remote = Remote::default();
        if let Some((bytes, object)) = bucket.read(&url.join(MANIFEST), MANIFEST_BYTES)? {
            if !Manifest::is_text_of_ours(&bytes) {
                return Err(TableError::NotOurs { path: url.to_path(), found: MANIFEST.into() });
            }
            let manifest = Manifest::parse(&url.to_path(), &bytes).ok();
            for file in manifest.iter().flat_map(Manifest::files) {
                remote.files.insert(file.name.clone(), Stored { version: None, digest: Some(file.digest) });
            }
            remote.manifest = Some(StoredManifest { bytes, version: object.version, manifest });
        }
        if remote.files.is_empty() {
            remote.files = probe(&bucket, &url, &sent)?;
        }
        Ok(Self { url, bucket, cache, lease, log, remote: Mutex::new(remote) })
    }

    /// Whether there is a finished table, of whatever version.
    pub(super) fn is_finished(&self) -> bool {
        self.remote().manifest.is_some()
    }

    /// Puts what is there into the local folder, so that a run goes on from it: of two parts of a name that one counts,
    /// and the log-probs of the other stay at hand.
    ///
    /// # Errors
    /// If a file is not what the manifest lists; one that is gone is made again.
    pub(super) fn restore(&self, folder: &TableFolder) -> Result<(), TableError> {
        let mut remote = self.remote();
        let Remote { manifest, files } = &mut *remote;
        if let Some(StoredManifest { bytes, manifest: Some(manifest), .. }) = manifest {
            self.restore_finished(folder, manifest, &copy_id(bytes), files)?;
            return Ok(io::write(&folder.path().join(MANIFEST), bytes)?);
        }
        // Of a run that was killed before the service had it.
        folder.reopen()?;
        let mut wanted = Vec::new();
        for (name, stored) in &*files {
            if make_way(folder, name, stored.digest.as_ref())? {
                wanted.push(name.clone());
            }
        }
        let fetched = in_parallel(&wanted, |name| {
            self.bucket.fetch(&self.url.join(name), &folder.path().join(name), |_, _| true)
        })?;
        for (name, fetched) in wanted.into_iter().zip(fetched) {
            match fetched {
                None => drop(files.remove(&name)),
                Some((digest, Object { version, .. })) => {
                    let path = folder.path().join(&name);
                    if owner(&path) != Owner::Us {
                        io::remove(&path)?;
                        return Err(TableError::NotOurs { path: self.url.to_path(), found: name });
                    }
                    self.log_sent(&name, &version, &digest)?;
                    files.insert(name, Stored { version: Some(version), digest: Some(digest) });
                }
            }
        }
        Ok(())
    }

    /// The parts of a finished table, by way of its copy.
    fn restore_finished(
        &self,
        folder: &TableFolder,
        manifest: &Manifest,
        id: &str,
        files: &mut BTreeMap<String, Stored>,
    ) -> Result<(), TableError> {
        let listed: Vec<&FileRecord> = manifest.parts.iter().flat_map(Part::files).collect();
        let copy = self.cache.copy(&self.url, id)?;
        self.cache.make_room(missing_bytes(&listed, &copy))?;
        let found = in_parallel(&listed, |file| fetch_listed(&self.bucket, &self.url, file, &copy))?;
        for (file, is_there) in listed.into_iter().zip(found) {
            if !is_there {
                files.remove(&file.name);
            } else if make_way(folder, &file.name, Some(&file.digest))? {
                link(&copy.join(&file.name), &folder.path().join(&file.name))?;
            }
        }
        Ok(())
    }

    /// Sends a part and its signals, unless they are there.
    ///
    /// # Errors
    /// If somebody else has written there meanwhile, or the service does not take them; what was sent before stays.
    pub(super) fn publish(&self, folder: &Path, part: &Part) -> Result<(), TableError> {
        // Signals first: a part that is there has its signals.
        for file in part.signals.iter().chain([&part.file]) {
            self.publish_file(folder, file)?;
        }
        Ok(())
    }

    fn publish_file(&self, folder: &Path, file: &FileRecord) -> Result<(), TableError> {
        let mut remote = self.remote();
        let Remote { manifest, files } = &mut *remote;
        let stored = files.get(&file.name);
        if stored.is_some_and(|stored| stored.digest == Some(file.digest)) {
            return Ok(());
        }
        self.lease.confirm()?;
        if manifest.is_some() {
            self.bucket.delete(&self.url.join(MANIFEST))?;
            *manifest = None;
        }
        let url = self.url.join(&file.name);
        let condition = match stored {
            None => Condition::Absent,
            Some(Stored { version: Some(version), .. }) => Condition::Unchanged(version.clone()),
            Some(Stored { version: None, .. }) => match self.bucket.head(&url)? {
                Some(object) => Condition::Unchanged(object.version),
                None => Condition::Absent,
            },
        };
        let version = self.bucket.put(&url, &storage::body(&folder.join(&file.name))?, &condition)?;
        self.log_sent(&file.name, &version, &file.digest)?;
        files.insert(file.name.clone(), Stored { version: Some(version), digest: Some(file.digest) });
        Ok(())
    }

    /// Sends what is not there yet, and the manifest last; then deletes what is no part of the table any more.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub(super) fn finish(&self, folder: &Path, manifest: &Manifest) -> Result<(), TableError> {
        for part in &manifest.parts {
            self.publish(folder, part)?;
        }
        if let Some(rejects) = &manifest.rejects {
            self.publish_file(folder, rejects)?;
        }
        let url = self.url.join(MANIFEST);
        let text = manifest.text().map_err(|source| TableError::Manifest { path: url.to_path(), source })?;
        let bytes = Bytes::from(text);
        let mut remote = self.remote();
        if remote.manifest.as_ref().is_none_or(|stored| stored.bytes != bytes) {
            self.lease.confirm()?;
            let condition = match &remote.manifest {
                None => Condition::Absent,
                Some(stored) => Condition::Unchanged(stored.version.clone()),
            };
            let version = self.bucket.put(&url, &bytes, &condition)?;
            let manifest = Some(manifest.clone());
            remote.manifest = Some(StoredManifest { bytes, version, manifest });
        }
        let is_surplus = |name: &str| manifest.files().all(|file| file.name != name);
        let surplus: Vec<String> = remote.files.keys().filter(|name| is_surplus(name)).cloned().collect();
        for name in surplus {
            self.bucket.delete(&self.url.join(&name))?;
            remote.files.remove(&name);
        }
        Ok(())
    }

    /// Makes the files of a finished table a copy of what is under its URL, so that they are not fetched to be read here.
    ///
    /// # Errors
    /// If the disk refuses.
    pub(super) fn keep_copy(&self, folder: &Path) -> Result<(), TableError> {
        let remote = self.remote();
        let Some(StoredManifest { bytes, manifest: Some(manifest), .. }) = &remote.manifest else { return Ok(()) };
        let copy = self.cache.copy(&self.url, &copy_id(bytes))?;
        let files: Vec<&FileRecord> = manifest.files().collect();
        self.cache.make_room(missing_bytes(&files, &copy))?;
        for file in files {
            let to = copy.join(&file.name);
            if !to.is_file() {
                link(&folder.join(&file.name), &to)?;
            }
        }
        Ok(io::write(&copy.join(MANIFEST), bytes)?)
    }

    /// Deletes what lies beside the local folder of a table that is finished.
    pub(super) fn forget(folder: &Path) -> Result<(), TableError> {
        io::remove(&beside(folder, "sent"))?;
        Ok(io::remove(&beside(folder, "token"))?)
    }

    fn remote(&self) -> MutexGuard<'_, Remote> {
        self.remote.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what a version of an object is, so that this machine need not fetch it to know.
    fn log_sent(&self, name: &str, version: &Version, digest: &Digest) -> Result<(), TableError> {
        use std::io::Write as _;
        let mut line = String::new();
        // Writing to a string does not fail.
        let _ = writeln!(line, "{name}\t{}\t{digest}", version.text());
        if !self.log.is_file() {
            io::write(&self.log, b"")?;
        }
        let written = io::append(&self.log)?.write_all(line.as_bytes());
        Ok(written.map_err(|source| io::IoError::new("write", &self.log, source))?)
    }
}

/// Makes the local name of a file free for the one under the URL, whose digest is this if it is known; `false` if the local
/// one is the same.
fn make_way(folder: &TableFolder, name: &str, digest: Option<&Digest>) -> Result<bool, TableError> {
    let path = folder.path().join(name);
    if !path.is_file() {
        return Ok(true);
    }
    let (found, _) = io::digest(&path)?;
    if digest == Some(&found) {
        return Ok(false);
    }
    if super::is_part_name(&path) {
        folder.retire(&path, &found)?;
    } else {
        folder.retire_signals(&path, &found)?;
    }
    Ok(true)
}

/// The parts of a table that is not finished, with their signals.
fn probe(
    bucket: &Bucket,
    url: &ObjectUrl,
    sent: &BTreeMap<(String, String), Digest>,
) -> Result<BTreeMap<String, Stored>, TableError> {
    let mut files = BTreeMap::new();
    let (mut first, mut n_probed) = (0, 1);
    loop {
        let indices: Vec<usize> = (first..first + n_probed).collect();
        let found = in_parallel(&indices, |&index| {
            let look = |name: String| {
                let object = bucket.head(&url.join(&name))?;
                Ok::<_, TableError>(object.map(|Object { version, .. }| (name, version)))
            };
            Ok::<_, TableError>((look(part_name(index))?, look(signals_name(index))?))
        })?;
        for (part, signals) in found {
            let is_last = part.is_none();
            for (name, version) in part.into_iter().chain(signals) {
                let digest = sent.get(&(name.clone(), version.text())).copied();
                files.insert(name, Stored { version: Some(version), digest });
            }
            if is_last {
                return Ok(files);
            }
        }
        first += n_probed;
        n_probed = PROBED.min(4 * n_probed);
    }
}

/// Digests of versions of objects that this machine has sent or fetched.
fn read_log(path: &Path) -> Result<BTreeMap<(String, String), Digest>, TableError> {
    if !path.is_file() {
        return Ok(BTreeMap::new());
    }
    let text = io::read_text(path)?;
    let entry = |line: &str| {
        let mut fields = line.split('\t');
        let (name, version, digest) = (fields.next()?, fields.next()?, fields.next()?);
        Some(((name.to_owned(), version.to_owned()), digest.parse().ok()?))
    };
    // A line that a kill has cut short says nothing: what it was of is fetched.
    Ok(text.lines().filter_map(entry).collect())
}

/// A file beside the local folder, where nobody takes it for a part of the table.
fn beside(folder: &Path, what: &str) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{what}"));
    folder.with_file_name(name)
}

#[cfg(test)]
mod tests;
