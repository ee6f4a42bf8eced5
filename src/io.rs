//! The only file access of the crate: the path is in every error, nothing is half written.
//!
//! Invariant: a file that exists under its final name is complete. Writers work on a temporary file beside the
//! target, sync it and rename it.

mod atomic_file;
mod contents;
mod reading;

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use tempfile::TempDir;

use crate::digest::Digest;
use crate::error::{Hint, of_open_files};
pub use atomic_file::{AtomicFile, resolved};
pub use contents::{open_decoded, special};
pub use reading::{SETTINGS_BYTES, read, read_settings, read_text, read_text_up_to, read_up_to};

/// What can go wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IoError {
    /// A file that was named does not exist.
    #[error("`{path}` does not exist")]
    Missing {
        /// The file that was named.
        path: PathBuf,
    },
    /// The system refused an operation.
    #[error("cannot {action} `{path}`: {source}")]
    System {
        /// What was tried: `read`, `write`, …
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Something that is no file but has a name as one: it has no end, or its bytes come once, or when somebody else likes.
    #[error("`{path}` is {found}: expected a file")]
    Special {
        /// Its name.
        path: PathBuf,
        /// `a pipe`, `a device`, `a socket`.
        found: &'static str,
    },
    /// Another process is at work in a folder.
    #[error("`{path}` is in use by {holder}")]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, as its lock file says.
        holder: String,
    },
    /// A file that is larger than anything of its kind.
    #[error("`{path}` is too large: expected at most {limit} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Bytes that are read of such a file.
        limit: u64,
    },
    /// A text file is not UTF-8.
    #[error("`{path}` is not UTF-8: first wrong byte at offset {offset}")]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Offset of the first byte that is not part of a character.
        offset: usize,
    },
}

impl IoError {
    /// Wraps an [`io::Error`] with the action and the path it concerns.
    pub fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::NotFound {
            Self::Missing { path: path.to_owned() }
        } else {
            Self::System { action, path: path.to_owned(), source }
        }
    }
}

impl Hint for IoError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::System { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free some space and run the same command again: what is already committed is kept".into())
            }
            Self::System { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("check the owner and the mode of the file and of its folder".into())
            }
            Self::System { source, .. } => of_open_files(&source.to_string()),
            Self::Locked { .. } => Some("wait for it to end, or use another folder".into()),
            Self::Special { .. } => Some("write what it gives into a file, and name that".into()),
            _ => None,
        }
    }
}

/// A path as a POSIX shell reads it, for commands in hints.
pub fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// A read-only handle of a file, or of a folder.
///
/// # Errors
/// [`IoError::Special`] for a pipe or a device, which it does not wait for.
pub fn open(path: &Path) -> Result<File, IoError> {
    if let Some(found) = special(path)? {
        return Err(IoError::Special { path: path.to_owned(), found });
    }
    File::open(path).map_err(|source| IoError::new("open", path, source))
}

/// A handle that writes at the end of an existing file.
pub fn append(path: &Path) -> Result<File, IoError> {
    File::options().append(true).open(path).map_err(|source| IoError::new("open", path, source))
}

/// Digest and size of a file, read in chunks over all cores: unlike a [`map`], it leaves nothing of the file in memory.
pub fn digest(path: &Path) -> Result<(Digest, u64), IoError> {
    Digest::of_reader(&mut open(path)?).map_err(|source| IoError::new("read", path, source))
}

/// Maps a file into memory, read-only.
///
/// The mapping is of a file nobody should rewrite in place: our own files are replaced by rename, which leaves a
/// mapping untouched. A file truncated by another program while it is mapped ends the process (SIGBUS).
pub fn map(path: &Path) -> Result<Mmap, IoError> {
    map_file(&open(path)?, path)
}

/// Maps an open file; `path` is what an error names. See [`map`].
pub fn map_file(file: &File, path: &Path) -> Result<Mmap, IoError> {
    #[expect(unsafe_code, reason = "a memory map is what keeps weights and token ids out of the heap")]
    // SAFETY: the map is read-only and the bytes are checked by whoever parses them (safetensors, Arrow IPC, GGUF);
    // the remaining risk, another program truncating the file, is in the doc of `map`.
    let map = unsafe { Mmap::map(file) };
    map.map_err(|source| IoError::new("map", path, source))
}

/// Lets the system take back what it holds in memory of a map: what is looked at again is read again.
#[cfg_attr(not(unix), expect(unused_variables, reason = "the system decides by itself"))]
pub fn forget(map: &Mmap) {
    #[cfg(unix)]
    {
        #[expect(unsafe_code, reason = "weights are copied out of a map once, and should not be in memory twice")]
        // SAFETY: the map is read-only and of a file, so the pages that are dropped come back with the same bytes.
        let advised = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        // Where the system will not, memory is all that is lost.
        drop(advised);
    }
}

/// Creates a folder and its parents, durably.
pub fn create_dir(path: &Path) -> Result<(), IoError> {
    if path.is_dir() {
        return Ok(());
    }
    let above = parent(path);
    if above != path {
        create_dir(above)?;
    }
    match fs::create_dir(path) {
        // Another process was quicker.
        Err(_) if path.is_dir() => Ok(()),
        Err(source) => Err(IoError::new("create", path, source)),
        Ok(()) => sync_parent(path),
    }
}

/// The entries of a folder, sorted by name.
pub fn list(path: &Path) -> Result<Vec<PathBuf>, IoError> {
    let wrap = |source| IoError::new("list", path, source);
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).map_err(wrap)? {
        entries.push(entry.map_err(wrap)?.path());
    }
    entries.sort();
    Ok(entries)
}

/// Deletes a file; a file that is not there is as good as deleted.
pub fn remove(path: &Path) -> Result<(), IoError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(IoError::new("delete", path, source)),
        _ => Ok(()),
    }
}

/// Deletes a folder and what is in it; a folder that is not there is as good as deleted.
///
/// It loses its name first, so that whoever is killed meanwhile leaves no half of it under a name that means whole.
pub fn remove_dir(path: &Path) -> Result<(), IoError> {
    let gone = hidden(path, "removed");
    remove_tree(&gone)?;
    match fs::rename(path, &gone) {
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(IoError::new("delete", path, source)),
        Ok(()) => remove_tree(&gone),
    }
}

/// Deletes what a process that was killed in [`write()`], [`write_dir`] or [`remove_dir`] left beside `path`.
pub fn remove_halves(path: &Path) -> Result<(), IoError> {
    remove_tree(&hidden(path, "partial"))?;
    remove_tree(&hidden(path, "removed"))?;
    let folder = parent(path);
    if !folder.is_dir() {
        return Ok(());
    }
    list(folder)?.iter().filter(|entry| atomic_file::is_left(entry, path)).try_for_each(|left| remove(left))
}

/// Deletes a folder under the name of a half.
pub fn remove_half(path: &Path) -> Result<(), IoError> {
    remove_tree(path)
}

fn remove_tree(path: &Path) -> Result<(), IoError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(IoError::new("delete", path, source)),
        _ => Ok(()),
    }
}

/// Whether a path, perhaps by another name, is a folder or something in it.
pub fn is_within(path: &Path, folder: &Path) -> bool {
    match (path.canonicalize(), folder.canonicalize()) {
        (Ok(path), Ok(folder)) => path.starts_with(folder),
        _ => false,
    }
}

/// Whether a name is that of a half of what `is_named` knows, as a process that was killed leaves it.
pub fn is_half(name: &str, is_named: &dyn Fn(&str) -> bool) -> bool {
    let Some(hidden) = name.strip_prefix('.') else { return false };
    let whole = hidden.strip_suffix(".partial").or_else(|| hidden.strip_suffix(".removed"));
    // A file has a part drawn at random before that.
    whole.is_some_and(|whole| is_named(whole) || whole.rsplit_once('.').is_some_and(|(whole, _)| is_named(whole)))
}

/// The name beside `path` of what is on its way to it (`partial`) or away from it (`removed`).
fn hidden(path: &Path, state: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{state}"))
}

/// Makes the bytes of a file, or the names in a folder, written by somebody else durable.
pub fn sync(path: &Path) -> Result<(), IoError> {
    open(path)?.sync_all().map_err(|source| IoError::new("sync", path, source))
}

/// Writes a folder at once: `write` fills one beside it, which is synced, file by file, and then takes its place.
///
/// A folder under its final name is complete. Killed between, what is there is the old folder, the new one or, for the
/// time of two renames, none: `.NAME.partial` and `.NAME.removed` then lie beside the name until the next call, or until
/// [`remove_halves`].
pub fn write_dir<E: From<IoError>>(path: &Path, write: impl FnOnce(&Path) -> Result<(), E>) -> Result<(), E> {
    let partial = hidden(path, "partial");
    remove_tree(&partial)?;
    create_dir(&partial)?;
    if let Err(error) = write(&partial) {
        // A full disk is not to stay full of this.
        let _ = remove_tree(&partial);
        return Err(error);
    }
    Ok(replace_dir(&partial, path)?)
}

fn replace_dir(from: &Path, to: &Path) -> Result<(), IoError> {
    sync_tree(from)?;
    let old = hidden(to, "removed");
    remove_tree(&old)?;
    match fs::rename(to, &old) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(IoError::new("replace", to, source)),
        _ => {}
    }
    fs::rename(from, to).map_err(|source| IoError::new("rename", from, source))?;
    sync_parent(to)?;
    remove_tree(&old)
}

fn sync_tree(folder: &Path) -> Result<(), IoError> {
    for entry in list(folder)? {
        if entry.is_dir() { sync_tree(&entry)? } else { sync(&entry)? }
    }
    sync(folder)
}

/// Renames a folder onto a name that is free, or a file onto any name, and makes the rename durable.
pub fn rename(from: &Path, to: &Path) -> Result<(), IoError> {
    fs::rename(from, to).map_err(|source| IoError::new("rename", from, source))?;
    sync_parent(to)
}

/// Copies a file; an existing target is replaced at once.
pub fn copy(from: &Path, to: &Path) -> Result<(), IoError> {
    let mut source = open(from)?;
    let mut target = AtomicFile::create(to)?;
    io::copy(&mut source, &mut target).map_err(|error| IoError::new("copy", from, error))?;
    target.commit()
}

/// A file without a name in the file system of `folder`, to be written and read back: it is gone with its handle.
pub fn scratch(folder: &Path) -> Result<File, IoError> {
    tempfile::tempfile_in(folder).map_err(|source| IoError::new("create a file in", folder, source))
}

/// A folder in the temporary folder of the system that only its owner may look into, gone with its handle.
pub fn temporary_folder() -> Result<TempDir, IoError> {
    let folder = std::env::temp_dir();
    tempfile::Builder::new()
        .prefix("piref-")
        .tempdir_in(&folder)
        .map_err(|source| IoError::new("create a folder in", &folder, source))
}

/// Writes a whole file at once: temporary file, sync, rename.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), IoError> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(|source| IoError::new("write", path, source))?;
    file.commit()
}

/// The right of one process to work in a folder, for as long as the value lives.
///
/// The lock is the system's, on a file that names the holder: it ends with the process, however that ends, so a lock
/// file left by a killed process is no obstacle.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    /// Takes the lock file at `path`.
    ///
    /// # Errors
    /// [`IoError::Locked`] if another process (or another lock of this one) holds it.
    pub fn acquire(path: &Path) -> Result<Self, IoError> {
        let wrap = |source| IoError::new("lock", path, source);
        if let Ok(Some(found)) = special(path) {
            return Err(IoError::Special { path: path.to_owned(), found });
        }
        loop {
            // What it led to would be given our contents.
            if path.is_symlink() {
                return Err(wrap(io::Error::other("it is a link")));
            }
            let file = File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(wrap)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(IoError::Locked { path: path.to_owned(), holder: named_holder(path) });
                }
                // A file system without locks (Lustre mounted without `flock`) is no reason not to work on it.
                Err(TryLockError::Error(source)) if source.kind() == io::ErrorKind::Unsupported => {}
                Err(TryLockError::Error(source)) => return Err(wrap(source)),
            }
            // The holder before us deletes the file when it ends: what we have locked may be a file without a name.
            if !is_same_file(&file, path) {
                continue;
            }
            let lock = Self { path: path.to_owned(), file };
            lock.name_holder().map_err(wrap)?;
            return Ok(lock);
        }
    }

    /// Who holds the lock file at `path`; `None` if nobody does, or if the file system has no locks to tell.
    ///
    /// # Errors
    /// If the file is there and cannot be opened.
    pub fn holder(path: &Path) -> Result<Option<String>, IoError> {
        let file = match open(path) {
            Err(IoError::Missing { .. }) => return Ok(None),
            file => file?,
        };
        // Shared, so that many may ask at once.
        Ok(matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)).then(|| named_holder(path)))
    }

    fn name_holder(&self) -> io::Result<()> {
        let mut file = &self.file;
        file.set_len(0)?;
        writeln!(file, "process {}", std::process::id())
    }
}

/// The holder of a lock as its file names it.
fn named_holder(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().filter(|line| !line.is_empty()).unwrap_or("another process").to_owned()
}

/// Deletes the lock file, then lets go of it; a file that cannot be deleted is no obstacle to the next.
impl Drop for Lock {
    fn drop(&mut self) {
        let _ = remove(&self.path);
    }
}

#[cfg(unix)]
fn is_same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(named)) => identity(ours) == identity(named),
        _ => false,
    }
}

/// A file that is open cannot be deleted here.
#[cfg(not(unix))]
fn is_same_file(_: &File, _: &Path) -> bool {
    true
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn sync_parent(path: &Path) -> Result<(), IoError> {
    let folder = parent(path);
    open(folder)?.sync_all().map_err(|source| IoError::new("sync", folder, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uncommitted_file_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part.parquet");
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert!(list(folder.path()).unwrap().is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn a_file_has_the_mode_of_any_new_file_of_the_user() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let [ours, theirs] = ["ours", "theirs"].map(|name| folder.path().join(name));
        write(&ours, b"x").unwrap();
        File::create(&theirs).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&ours), mode(&theirs));
    }

    #[test]
    fn a_folder_is_replaced_as_a_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/policy");
        create_dir(path.parent().unwrap()).unwrap();
        let fill = |text: &'static [u8]| move |into: &Path| write(&into.join("weights"), text);
        write_dir(&path, fill(b"one")).unwrap();
        let refused = write_dir(&path, |into| {
            fill(b"tw")(into)?;
            Err(IoError::new("write", into, io::ErrorKind::StorageFull.into()))
        });
        assert!(refused.is_err() && read(&path.join("weights")).unwrap() == b"one");
        // As a kill in the middle of an earlier replacement leaves it.
        create_dir(&hidden(&path, "removed")).unwrap();
        fs::write(path.with_file_name(".policy.Xy12Zw.partial"), "half").unwrap();
        fs::write(path.with_file_name(".policy.kept"), "another's").unwrap();
        remove_halves(&path).unwrap();
        assert_eq!(list(path.parent().unwrap()).unwrap(), [path.with_file_name(".policy.kept"), path.clone()]);
        remove(&path.with_file_name(".policy.kept")).unwrap();
        write_dir(&path, fill(b"three")).unwrap();
        assert_eq!(read(&path.join("weights")).unwrap(), b"three");
        assert_eq!(list(path.parent().unwrap()).unwrap(), std::slice::from_ref(&path));
        remove_dir(&path).unwrap();
        remove_dir(&path).unwrap();
        assert!(list(path.parent().unwrap()).unwrap().is_empty());
    }

    #[test]
    fn compressed_files_read_like_plain_ones() {
        let folder = tempfile::tempdir().unwrap();
        let text = "{\"a\": 1}\n".repeat(1000);
        let zst = folder.path().join("a.jsonl.zst");
        write(&zst, &zstd::encode_all(text.as_bytes(), 3).unwrap()).unwrap();
        let gz = folder.path().join("a.jsonl.gz");
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        write(&gz, &encoder.finish().unwrap()).unwrap();

        for path in [zst, gz] {
            let mut found = String::new();
            open_decoded(&path).unwrap().read_to_string(&mut found).unwrap();
            assert_eq!(found, text, "{}", path.display());
        }
    }

    #[test]
    fn a_lock_is_held_by_one_and_its_file_alone_is_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".lock");
        write(&path, b"process 1\n").unwrap();
        let lock = Lock::acquire(&path).unwrap();
        let error = Lock::acquire(&path).unwrap_err();
        let us = format!("process {}", std::process::id());
        assert!(matches!(&error, IoError::Locked { holder, .. } if *holder == us), "{error}");
        assert_eq!(Lock::holder(&path).unwrap().as_deref(), Some(&*us));
        drop(lock);
        assert!(!path.exists());
        assert_eq!(Lock::holder(&path).unwrap(), None);
        write(&path, b"process 1\n").unwrap();
        assert_eq!(Lock::holder(&path).unwrap(), None, "left by a killed process");
        Lock::acquire(&path).unwrap();
    }

    #[test]
    fn a_file_over_the_limit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.txt");
        write(&path, b"abc").unwrap();
        assert_eq!(read_text_up_to(&path, 3).unwrap(), "abc");
        assert!(matches!(read_up_to(&path, 2), Err(IoError::TooLarge { limit: 2, .. })));
    }

    #[test]
    fn a_missing_file_and_a_wrong_byte_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.txt");
        assert!(matches!(read_text(&path), Err(IoError::Missing { .. })));
        write(&path, b"ab\xff").unwrap();
        assert!(matches!(read_text(&path), Err(IoError::NotUtf8 { offset: 2, .. })));
    }
}
