//! Local copies of objects, so that whatever reads them reads files.
//!
//! ```text
//! objects/SCHEME/BUCKET/KEY@ID/…       what is under a URL as it was in one version: never changed, deleted as a whole
//! objects/SCHEME/BUCKET/KEY@ID.lock    held, shared, by every process that uses it; its time is that of the last use
//! tables/SCHEME/BUCKET/KEY@work/…      a table that is being written: see `table`
//! ```
//!
//! Invariant: a file in a copy is a whole object of that version. Beyond the limit the copies that were not used for the
//! longest time go; one that is in use stays.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use bytesize::ByteSize;

use super::error::StorageError;
use super::location::ObjectUrl;
use crate::io::{self, IoError};

/// Bytes of all copies, unless `PIREF_CACHE_SIZE` says otherwise.
const DEFAULT_BYTES: u64 = 100 << 30;

/// What the names of lock files end in.
const LOCK: &str = "lock";

/// The folder of copies, and how much may be in it.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
    limit: u64,
}

/// The locks of the copies this process uses: they end with it.
static IN_USE: Mutex<Vec<File>> = Mutex::new(Vec::new());

impl Cache {
    /// The cache of the user: `PIREF_CACHE_DIR`, else `piref` in `XDG_CACHE_HOME`, else `~/.cache/piref`; of at most
    /// `PIREF_CACHE_SIZE`, else 100 GiB.
    ///
    /// # Errors
    /// If none of these is set, or the size is none.
    pub fn of_user() -> Result<Self, StorageError> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = variable("PIREF_CACHE_DIR")
            .or_else(|| variable("XDG_CACHE_HOME").map(|folder| folder.join("piref")))
            .or_else(|| variable("HOME").map(|home| home.join(".cache").join("piref")))
            .ok_or(StorageError::NoCache)?;
        let limit = match std::env::var("PIREF_CACHE_SIZE") {
            Err(_) => DEFAULT_BYTES,
            Ok(found) => match found.parse::<ByteSize>() {
                Ok(size) => size.as_u64(),
                Err(_) => return Err(StorageError::CacheSize { found }),
            },
        };
        Ok(Self { folder, limit })
    }

    /// A cache in this folder.
    #[cfg(test)]
    pub(crate) fn at(folder: &Path, limit: u64) -> Self {
        Self { folder: folder.to_owned(), limit }
    }

    /// Where a table is written that is to be under this URL.
    pub fn work_folder(&self, url: &ObjectUrl) -> PathBuf {
        // The mark keeps the folder of a table apart from those of tables under it, as further references are.
        let mut folder = self.folder.join("tables").join(url.to_relative_path()).into_os_string();
        folder.push("@work");
        folder.into()
    }

    /// The folder for version `id` of what is under a URL, made if it is not there; it stays as long as this process lives.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn copy(&self, url: &ObjectUrl, id: &str) -> Result<PathBuf, StorageError> {
        let (folder, lock) = self.locked_copy(url, id)?;
        IN_USE.lock().unwrap_or_else(PoisonError::into_inner).push(lock);
        Ok(folder)
    }

    fn locked_copy(&self, url: &ObjectUrl, id: &str) -> Result<(PathBuf, File), StorageError> {
        let mut folder = self.folder.join("objects").join(url.to_relative_path()).into_os_string();
        folder.push(format!("@{id}"));
        let folder = PathBuf::from(folder);
        io::create_dir(&folder)?;
        let path = lock_path(&folder);
        loop {
            let wrap = |source| IoError::new("lock", &path, source);
            let lock = File::options().write(true).create(true).truncate(false).open(&path).map_err(wrap)?;
            lock.lock_shared().map_err(wrap)?;
            lock.set_modified(SystemTime::now()).map_err(wrap)?;
            // Whoever made room between the two may have deleted both.
            if path.is_file() && folder.is_dir() {
                return Ok((folder, lock));
            }
            io::create_dir(&folder)?;
        }
    }

    /// Deletes copies until `n_bytes` more fit under the limit, or all that are left are in use.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn make_room(&self, n_bytes: u64) -> Result<(), StorageError> {
        let mut locks = Vec::new();
        find_locks(&self.folder.join("objects"), &mut locks)?;
        locks.sort();
        let mut sizes = Vec::with_capacity(locks.len());
        for (_, path) in &locks {
            sizes.push(size(&path.with_extension(""))?);
        }
        let mut total: u64 = sizes.iter().copied().fold(n_bytes, u64::saturating_add);
        for ((_, path), size) in locks.iter().zip(sizes) {
            if total <= self.limit {
                break;
            }
            let Ok(lock) = File::options().write(true).open(path) else { continue };
            if lock.try_lock().is_ok() {
                io::remove_dir(&path.with_extension(""))?;
                io::remove(path)?;
                total = total.saturating_sub(size);
            }
        }
        Ok(())
    }
}

/// Gives a file a second name, without a second copy of its bytes where the disk can do that.
///
/// # Errors
/// If the disk refuses both.
pub fn link(from: &Path, to: &Path) -> Result<(), StorageError> {
    io::remove(to)?;
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    Ok(io::copy(from, to)?)
}

fn lock_path(folder: &Path) -> PathBuf {
    let mut name = OsString::from(folder);
    name.push(".");
    name.push(LOCK);
    name.into()
}

/// The lock files under a folder, each with the time of its last use.
fn find_locks(folder: &Path, found: &mut Vec<(SystemTime, PathBuf)>) -> Result<(), StorageError> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in io::list(folder)? {
        if entry.is_dir() {
            // The folder of a copy has files only.
            if !lock_path(&entry).is_file() {
                find_locks(&entry, found)?;
            }
        } else if entry.extension().is_some_and(|extension| extension == LOCK) {
            // Another process may have made room meanwhile.
            let Ok(used) = fs::metadata(&entry).and_then(|metadata| metadata.modified()) else { continue };
            found.push((used, entry));
        }
    }
    Ok(())
}

/// Bytes of the files in a folder.
fn size(folder: &Path) -> Result<u64, StorageError> {
    if !folder.is_dir() {
        return Ok(0);
    }
    let sizes = io::list(folder)?.into_iter().filter_map(|file| fs::metadata(file).ok()).map(|metadata| metadata.len());
    Ok(sizes.fold(0, u64::saturating_add))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Location;
    use super::*;

    fn url(name: &str) -> ObjectUrl {
        match Location::of(name.as_ref()).unwrap() {
            Location::Object(url) => url,
            Location::Local(path) => panic!("{}", path.display()),
        }
    }

    /// A copy of ten bytes that was used so long ago, and that no process uses.
    fn unused(cache: &Cache, name: &str, hours: u64) -> PathBuf {
        let (folder, lock) = cache.locked_copy(&url(name), "1").unwrap();
        io::write(&folder.join("bytes"), b"0123456789").unwrap();
        lock.set_modified(SystemTime::now() - Duration::from_secs(3600 * hours)).unwrap();
        folder
    }

    #[test]
    fn room_is_made_of_what_was_not_used_for_longest() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path(), 25);
        let (old, older) = (unused(&cache, "memory://c/a/old", 1), unused(&cache, "memory://c/a", 2));
        let used = cache.copy(&url("memory://c/used"), "1").unwrap();
        io::write(&used.join("bytes"), b"0123456789").unwrap();
        // 30 bytes are there: one copy has to go, then, for 10 more, the next; what is in use stays.
        cache.make_room(0).unwrap();
        assert!(old.is_dir() && !older.exists() && !lock_path(&older).exists());
        cache.make_room(10).unwrap();
        assert!(!old.exists() && used.is_dir());
        cache.make_room(1000).unwrap();
        assert!(used.join("bytes").is_file());
    }

    #[test]
    fn versions_lie_side_by_side_and_names_tell_what_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path(), 25);
        let copy = |id| cache.copy(&url("memory://bucket/runs/table"), id).unwrap();
        let (one, two) = (copy("1"), copy("2"));
        assert_eq!(one, folder.path().join("objects/memory/bucket/runs/table@1"));
        assert!(one != two && one == copy("1"));
        assert_eq!(cache.work_folder(&url("memory://b/t")), folder.path().join("tables/memory/b/t@work"));
    }
}
