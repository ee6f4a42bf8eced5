//! The data files of a folder, and what names say of a split.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::{DataError, container};
use crate::io;
use crate::storage::{self, Location};

/// The data files that a path stands for: the file itself, or what is in a folder.
///
/// A folder that Hugging Face `save_to_disk` wrote lists its files in `state.json`, one with several splits its
/// folders in `dataset_dict.json`; of any other folder the files are taken whose names say that they are data, in the
/// order of their names.
pub fn files(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let (state, splits) = (path.join("state.json"), path.join("dataset_dict.json"));
    let found = if state.is_file() {
        listed(&state, path)?
    } else if splits.is_file() {
        let Splits { splits: names } = read_json(&splits)?;
        let mut found = Vec::new();
        for name in names {
            // A split has files and no splits: a folder that names itself leads nowhere.
            let folder = inside(&splits, path, &name)?;
            found.extend(listed(&folder.join("state.json"), &folder)?);
        }
        found
    } else {
        let mut found = io::list(path)?;
        found.retain(|path| path.is_file() && container::is_readable(path));
        found
    };
    if found.is_empty() {
        return Err(DataError::EmptyFolder { path: path.to_owned(), expected: container::EXTENSIONS });
    }
    Ok(found)
}

/// A data file, and where its bytes are: for an object that is a copy of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// As a table names it: its path, or its URL.
    pub name: PathBuf,
    /// A local file.
    pub path: PathBuf,
}

/// The same as [`files`] of what a user named, which may be the URL of one file.
///
/// # Errors
/// As [`files`], or if there is no such object, or it cannot be fetched.
pub fn named_files(name: &Path) -> Result<Vec<NamedFile>, DataError> {
    match Location::of(name)? {
        Location::Local(path) => {
            Ok(files(&path)?.into_iter().map(|path| NamedFile { name: path.clone(), path }).collect())
        }
        Location::Object(url) => Ok(vec![NamedFile { name: url.to_path(), path: storage::local_file(name)? }]),
    }
}

/// The files that a `state.json` lists.
fn listed(state: &Path, folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let State { data_files } = read_json(state)?;
    data_files.iter().map(|file| inside(state, folder, &file.filename)).collect()
}

/// A name that `list` gives, in its folder: a data set somebody sent does not get to name other files of ours.
fn inside(list: &Path, folder: &Path, name: &str) -> Result<PathBuf, DataError> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(part)), None) if part == name => Ok(folder.join(name)),
        _ => Err(DataError::Outside { path: list.to_owned(), found: name.to_owned() }),
    }
}

/// The split that a file name tells, or else the folder it is in; empty if neither does.
pub(super) fn split(path: &Path) -> &'static str {
    let names = [path.file_name(), path.parent().and_then(Path::file_name)];
    names
        .into_iter()
        .flatten()
        .flat_map(|name| name.to_str().unwrap_or_default().split(|c: char| !c.is_ascii_alphanumeric()))
        .find_map(|word| match word.to_ascii_lowercase().as_str() {
            "train" => Some("train"),
            "test" => Some("test"),
            "validation" | "valid" | "val" | "dev" => Some("validation"),
            "eval" => Some("eval"),
            _ => None,
        })
        .unwrap_or_default()
}

#[derive(Deserialize)]
struct State {
    #[serde(rename = "_data_files")]
    data_files: Vec<DataFile>,
}

#[derive(Deserialize)]
struct DataFile {
    filename: String,
}

#[derive(Deserialize)]
struct Splits {
    splits: Vec<String>,
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, DataError> {
    let text = io::read_text_up_to(path, io::SETTINGS_BYTES)?;
    serde_json::from_str(&text).map_err(|source| DataError::SaveToDisk { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_split() {
        for (path, want) in [
            ("hh/harmless-base.test.mild.jsonl.gz", "test"),
            ("train_prefs-00000-of-00001.parquet", "train"),
            ("ds/train/data-00000-of-00001.arrow", "train"),
            ("train/eval.jsonl", "eval"),
            ("x-dev.jsonl", "validation"),
            ("val.jsonl", "validation"),
            ("contest/latest.jsonl", ""),
            ("pairs.jsonl", ""),
        ] {
            assert_eq!(split(Path::new(path)), want, "{path}");
        }
    }

    #[test]
    fn a_saved_data_set_lists_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for split in ["train", "test"] {
            io::create_dir(&root.join(split)).unwrap();
            let state =
                format!(r#"{{"_data_files": [{{"filename": "{split}-1.arrow"}}, {{"filename": "{split}-0.arrow"}}]}}"#);
            io::write(&root.join(split).join("state.json"), state.as_bytes()).unwrap();
        }
        io::write(&root.join("dataset_dict.json"), br#"{"splits": ["train", "test"]}"#).unwrap();
        let want = ["train/train-1.arrow", "train/train-0.arrow", "test/test-1.arrow", "test/test-0.arrow"];
        assert_eq!(files(root).unwrap(), want.map(|name| root.join(name)));

        io::write(&root.join("dataset_dict.json"), b"{}").unwrap();
        assert!(matches!(files(root), Err(DataError::SaveToDisk { .. })));
    }

    #[test]
    fn a_saved_data_set_names_nothing_but_what_is_in_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for split in [".", "..", "a/b", "/tmp", ""] {
            let splits = serde_json::json!({"splits": [split]}).to_string();
            io::write(&root.join("dataset_dict.json"), splits.as_bytes()).unwrap();
            assert!(matches!(files(root), Err(DataError::Outside { found, .. }) if found == split), "{split}");
        }
        for file in ["../a.arrow", "/etc/passwd", "a/../b.arrow"] {
            let state = serde_json::json!({"_data_files": [{"filename": file}]}).to_string();
            io::write(&root.join("state.json"), state.as_bytes()).unwrap();
            assert!(matches!(files(root), Err(DataError::Outside { found, .. }) if found == file), "{file}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn splits_that_lead_back_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        io::write(&root.join("dataset_dict.json"), br#"{"splits": ["a", "b"]}"#).unwrap();
        for name in ["a", "b"] {
            std::os::unix::fs::symlink(root, root.join(name)).unwrap();
        }
        assert!(matches!(files(root), Err(DataError::Io(io::IoError::Missing { .. }))));
    }

    #[test]
    fn a_folder_of_files_gives_those_that_are_data() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(files(folder.path()), Err(DataError::EmptyFolder { .. })));
        for name in ["b.jsonl.gz", "a.parquet", "README.md", "c.parquet.gz"] {
            io::write(&folder.path().join(name), b"").unwrap();
        }
        assert_eq!(files(folder.path()).unwrap(), ["a.parquet", "b.jsonl.gz"].map(|name| folder.path().join(name)));
    }
}
