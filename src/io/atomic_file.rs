//! A file that is there whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::{IoError, parent, special, sync_parent};

/// A file under a temporary name in the folder of its target; [`commit`](Self::commit) gives it its name, and the mode of
/// the file that it replaces. Dropped without a commit, it is deleted. A device or a pipe of that name has no place to be
/// renamed to: what is written goes to it.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    file: Destination,
}

#[derive(Debug)]
enum Destination {
    Temporary(NamedTempFile),
    Special(File),
}

impl AtomicFile {
    /// Starts a file that will be called `path`. A link of that name is replaced itself: where it is the user's and what
    /// it leads to is meant, [`resolved`] says where.
    pub fn create(path: &Path) -> Result<Self, IoError> {
        if special(path).is_ok_and(|found| found.is_some()) {
            let file = File::options().write(true).open(path).map_err(|source| IoError::new("open", path, source))?;
            return Ok(Self { path: path.to_owned(), file: Destination::Special(file) });
        }
        let folder = parent(path);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let prefix = format!(".{name}.");
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix(&prefix).suffix(".partial").rand_bytes(N_DRAWN);
        #[cfg(unix)]
        let builder = builder.permissions(common_mode());
        let file = builder.tempfile_in(folder).map_err(|source| IoError::new("create a file in", folder, source))?;
        // Tells it from what a killed process left; a file system without locks tells nothing.
        let _ = file.as_file().try_lock();
        Ok(Self { path: path.to_owned(), file: Destination::Temporary(file) })
    }

    /// Where the file will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Syncs the bytes, renames the file to its name and syncs the folder.
    pub fn commit(self) -> Result<(), IoError> {
        let Self { path, file } = self;
        let Destination::Temporary(file) = file else { return Ok(()) };
        // Who made a file unreadable for others did not mean its bytes of that day.
        if let Some(replaced) = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file) {
            let kept = file.as_file().set_permissions(replaced.permissions());
            kept.map_err(|source| IoError::new("set the mode of", &path, source))?;
        }
        file.as_file().sync_all().map_err(|source| IoError::new("sync", &path, source))?;
        file.persist(&path).map_err(|error| IoError::new("rename to", &path, error.error))?;
        sync_parent(&path)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Destination::Temporary(file) => file.write(bytes),
            Destination::Special(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.file {
            Destination::Temporary(file) => file.flush(),
            Destination::Special(file) => file.flush(),
        }
    }
}

/// Characters that are drawn for the name of a temporary file.
const N_DRAWN: usize = 6;

/// Whether a file is what a process that was killed left of the file `of`: one that is being written is locked.
pub(super) fn is_left(path: &Path, of: &Path) -> bool {
    let [name, of] = [path, of].map(|path| path.file_name().unwrap_or_default().to_string_lossy());
    let drawn = name.strip_prefix('.').and_then(|name| name.strip_prefix(&*of)?.strip_prefix('.'));
    let drawn = drawn.and_then(|name| name.strip_suffix(".partial"));
    let is_ours =
        drawn.is_some_and(|drawn| drawn.len() == N_DRAWN && drawn.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    is_ours && path.is_file() && File::open(path).is_ok_and(|file| file.try_lock().is_ok())
}

/// What a link leads to, whether that is there yet or not; any other path as it is.
pub fn resolved(path: &Path) -> PathBuf {
    // As many as Linux follows.
    const LINKS: usize = 40;
    let mut found = path.to_owned();
    for _ in 0..LINKS {
        let Ok(target) = fs::read_link(&found) else { break };
        found = parent(&found).join(target);
    }
    found
}

/// Temporary files are otherwise made for their owner only; results are for everybody the umask of the user allows, which
/// the system takes away from this when it makes the file.
#[cfg(unix)]
fn common_mode() -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    fs::Permissions::from_mode(0o666)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::write;
    use super::*;

    #[test]
    fn the_mode_of_what_is_replaced_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret.csv");
        write(&path, b"one").unwrap();
        for mode in [0o600, 0o640, 0o444] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            write(&path, b"two").unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
        }
    }

    #[test]
    fn what_a_killed_process_left_is_told_from_what_is_being_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.csv");
        let open = AtomicFile::create(&path).unwrap();
        let [left, other, long] = [".out.csv.Ab12Cd.partial", ".out.csv.mine.partial", ".out.csv.part.Ab12Cd.partial"]
            .map(|name| folder.path().join(name));
        for file in [&left, &other, &long] {
            fs::write(file, "half").unwrap();
        }
        super::super::remove_halves(&path).unwrap();
        assert!(!left.exists() && other.exists() && long.exists());
        open.commit().unwrap();
    }

    #[test]
    fn links_are_resolved_and_devices_stay_devices() {
        let folder = tempfile::tempdir().unwrap();
        let [target, link, chain] = ["target", "link", "chain"].map(|name| folder.path().join(name));
        symlink("target", &link).unwrap();
        symlink(&link, &chain).unwrap();
        assert_eq!(resolved(&chain), target);
        write(&resolved(&chain), b"bytes").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink() && fs::read(&chain).unwrap() == b"bytes");
        symlink("round", folder.path().join("round")).unwrap();
        resolved(&folder.path().join("round"));

        write(Path::new("/dev/null"), b"nothing").unwrap();
        assert!(special(Path::new("/dev/null")).unwrap().is_some());
    }
}
