//! Files read whole.

use std::io::Read;
use std::path::Path;

use super::{IoError, open};

/// All bytes of a file.
pub fn read(path: &Path) -> Result<Vec<u8>, IoError> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes).map_err(|source| IoError::new("read", path, source))?;
    Ok(bytes)
}

/// All text of a UTF-8 file.
pub fn read_text(path: &Path) -> Result<String, IoError> {
    text(path, read(path)?)
}

/// Most bytes of a file of settings (JSON, TOML, a chat template): no real one comes near it.
pub const SETTINGS_BYTES: u64 = 16 << 20;

/// All bytes of a file that has at most `limit` of them.
///
/// # Errors
/// [`IoError::TooLarge`] before more than that is in memory, also of a file that grows.
pub fn read_up_to(path: &Path, limit: u64) -> Result<Vec<u8>, IoError> {
    let mut bytes = Vec::new();
    let n_read = open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    match n_read.map_err(|source| IoError::new("read", path, source))? as u64 {
        n_read if n_read > limit => Err(IoError::TooLarge { path: path.to_owned(), limit }),
        _ => Ok(bytes),
    }
}

/// All text of a UTF-8 file that has at most `limit` bytes.
pub fn read_text_up_to(path: &Path, limit: u64) -> Result<String, IoError> {
    text(path, read_up_to(path, limit)?)
}

/// The text of a file of settings in JSON or TOML, without the byte order mark that some editors begin one with.
pub fn read_settings(path: &Path) -> Result<String, IoError> {
    let mut text = read_text_up_to(path, SETTINGS_BYTES)?;
    if text.starts_with('\u{feff}') {
        text.remove(0);
    }
    Ok(text)
}

fn text(path: &Path, bytes: Vec<u8>) -> Result<String, IoError> {
    String::from_utf8(bytes)
        .map_err(|error| IoError::NotUtf8 { path: path.to_owned(), offset: error.utf8_error().valid_up_to() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_no_part_of_settings() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        for (bytes, want) in [("\u{feff}{}", "{}"), ("{}\u{feff}", "{}\u{feff}"), ("", "")] {
            super::super::write(&path, bytes.as_bytes()).unwrap();
            assert_eq!(read_settings(&path).unwrap(), want);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_and_a_device_are_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for (path, found) in [(pipe.as_path(), "a pipe"), (Path::new("/dev/zero"), "a device")] {
            let want = format!("`{}` is {found}: expected a file", path.display());
            let said = [
                open(path).map(drop),
                read(path).map(drop),
                read_text(path).map(drop),
                read_up_to(path, 1 << 10).map(drop),
                super::super::map(path).map(drop),
                super::super::digest(path).map(drop),
                super::super::open_decoded(path).map(drop),
                super::super::copy(path, &folder.path().join("copy")),
                super::super::Lock::acquire(path).map(drop),
                super::super::Lock::holder(path).map(drop),
            ];
            for said in said {
                assert_eq!(said.unwrap_err().to_string(), want);
            }
        }
    }
}
