//! What a user names as data: files, patterns, folders, saved data sets, repositories in the local Hugging Face cache, and
//! objects under a URL. One resolver for every command, so that a name means one thing.

use std::path::{Path, PathBuf};

use super::{DataError, container, folder};
use crate::io::{self, IoError};
use crate::model_source;
use crate::storage::{self, Location};

/// A data file, and where its bytes are: for an object that is a copy of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// As a table names it: its path, or its URL.
    pub name: PathBuf,
    /// A local file.
    pub path: PathBuf,
}

/// The files that names stand for, each a path or a URL; `split` says which part of a folder is meant.
///
/// # Errors
/// If there is nothing of a name, if a folder has several splits and none is asked for, or another one, or if what is named
/// is no file: a pipe, a page on the web.
pub fn file_names(names: &[PathBuf], split: Option<&str>) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    for name in names {
        files.extend(files_of(name, split)?);
    }
    Ok(files)
}

/// The same with the bytes at hand: objects are fetched.
///
/// # Errors
/// As [`file_names`], or if an object cannot be fetched.
pub fn named_files(name: &Path) -> Result<Vec<NamedFile>, DataError> {
    let file = |name: PathBuf| Ok(NamedFile { path: storage::local_file(&name)?, name });
    files_of(name, None)?.into_iter().map(file).collect()
}

fn files_of(name: &Path, split: Option<&str>) -> Result<Vec<PathBuf>, DataError> {
    let text = name.to_str().unwrap_or_default();
    if text == "-" {
        return Err(DataError::NoFile { path: name.to_owned(), found: "standard input" });
    }
    if let Some(rest) = text.strip_prefix("hf://") {
        return hub_url(name, rest, split);
    }
    if text.starts_with("https://") || text.starts_with("http://") {
        return Err(DataError::Web { url: text.to_owned() });
    }
    match Location::of(name)? {
        Location::Object(url) => {
            let path = url.to_path();
            check_split(&path, split)?;
            Ok(vec![path])
        }
        Location::Local(path) => local(&path, split),
    }
}

fn local(path: &Path, split: Option<&str>) -> Result<Vec<PathBuf>, DataError> {
    if path.is_dir() {
        return folder::files(path, split);
    }
    match container::check_file(path) {
        Ok(()) => {
            check_split(path, split)?;
            Ok(vec![path.to_owned()])
        }
        Err(DataError::Io(IoError::Missing { path })) => {
            let text = path.to_str().unwrap_or_default();
            if text.contains(['*', '?', '[']) {
                return matching(&path, split);
            }
            match repository(text) {
                Some((id, revision)) => cached(&id, &revision, None, split),
                None => Err(DataError::Missing { path }),
            }
        }
        Err(error) => Err(error),
    }
}

/// A single file is of the split that is asked for, if its name says so.
fn check_split(path: &Path, split: Option<&str>) -> Result<(), DataError> {
    let found = folder::split(path);
    match split {
        Some(wanted) if wanted != found => {
            let splits = Some(found.to_owned()).filter(|found| !found.is_empty()).into_iter().collect();
            Err(DataError::NoSplit { path: path.to_owned(), split: wanted.to_owned(), splits })
        }
        _ => Ok(()),
    }
}

/// The data files that a pattern of a shell stands for; `**` for folders within folders. Hidden files are none.
fn matching(pattern: &Path, split: Option<&str>) -> Result<Vec<PathBuf>, DataError> {
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
    let text = pattern.to_str().unwrap_or_default();
    let paths = glob::glob_with(text, options)
        .map_err(|source| DataError::Pattern { path: pattern.to_owned(), problem: source.msg })?;
    let mut files: Vec<PathBuf> = paths.filter_map(Result::ok).filter(|path| path.is_file()).collect();
    if let [file] = files.as_slice() {
        check_split(file, split)?;
        return Ok(files);
    }
    files.retain(|path| folder::is_data(path) && split.is_none_or(|split| folder::split(path) == split));
    if files.is_empty() { Err(DataError::NoMatch { path: pattern.to_owned() }) } else { Ok(files) }
}

/// `org/name` and a revision, `main` if none is given; none of a text that is no repository's name.
fn repository(text: &str) -> Option<(String, String)> {
    let (id, revision) = text.split_once('@').unwrap_or((text, "main"));
    let mut parts = id.split('/');
    let is_name = |part: &str| {
        !part.is_empty() && !part.starts_with('.') && part.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c))
    };
    let is_repository = parts.by_ref().take(2).filter(|part| is_name(part)).count() == 2 && parts.next().is_none();
    (is_repository && !container::is_readable(Path::new(id)) && !revision.is_empty())
        .then(|| (id.to_owned(), revision.to_owned()))
}

/// `hf://datasets/ORG/NAME[@REVISION][/PATH]`.
fn hub_url(name: &Path, rest: &str, split: Option<&str>) -> Result<Vec<PathBuf>, DataError> {
    let wrong = || DataError::HubUrl { url: name.display().to_string() };
    let parts: Vec<&str> = rest.strip_prefix("datasets/").ok_or_else(wrong)?.splitn(3, '/').collect();
    let (id, inner) = match parts.as_slice() {
        [org, name] => (format!("{org}/{name}"), None),
        [org, name, inner] => (format!("{org}/{name}"), Some(*inner).filter(|inner| !inner.is_empty())),
        _ => return Err(wrong()),
    };
    let (id, revision) = repository(&id).ok_or_else(wrong)?;
    cached(&id, &revision, inner, split)
}

/// The files of a repository in the local cache, which is laid out as huggingface_hub does it.
fn cached(id: &str, revision: &str, inner: Option<&str>, split: Option<&str>) -> Result<Vec<PathBuf>, DataError> {
    let cache = model_source::cache().path().clone();
    let root = cache.join(format!("datasets--{}", id.replace('/', "--")));
    let reference = root.join("refs").join(revision);
    let commit =
        if reference.is_file() { io::read_text_up_to(&reference, io::SETTINGS_BYTES)? } else { revision.to_owned() };
    let snapshot = root.join("snapshots").join(commit.trim());
    let path = inner.map_or_else(|| snapshot.clone(), |inner| snapshot.join(inner));
    // A name leads out of the cache nowhere.
    let leaves = Path::new(revision).components().chain(Path::new(inner.unwrap_or_default()).components());
    let is_inside = leaves.into_iter().all(|part| matches!(part, std::path::Component::Normal(_)));
    match inner {
        _ if is_inside && path.is_dir() => folder::files(&path, split),
        Some(_) if is_inside && path.is_file() => Ok(vec![path]),
        _ => Err(DataError::NotCached {
            name: id.to_owned(),
            revision: revision.to_owned(),
            inner: inner.map(str::to_owned),
            cache,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Hint;

    fn names(text: &str, split: Option<&str>) -> Result<Vec<PathBuf>, DataError> {
        file_names(&[text.into()], split)
    }

    #[test]
    fn a_pattern_stands_for_the_data_files_it_matches() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        io::create_dir(&root.join("sub")).unwrap();
        for name in ["a-2.jsonl", "a-1.jsonl", ".a-3.jsonl", "a-4.md", "sub/a-5.jsonl", "a-train.jsonl"] {
            io::write(&root.join(name), b"{}").unwrap();
        }
        let matching = |pattern: &str, split| {
            let found = names(root.join(pattern).to_str().unwrap(), split)?;
            Ok::<_, DataError>(
                found.into_iter().map(|path| path.strip_prefix(root).unwrap().to_owned()).collect::<Vec<_>>(),
            )
        };
        assert_eq!(matching("a-?.jsonl", None).unwrap(), [Path::new("a-1.jsonl"), Path::new("a-2.jsonl")]);
        assert_eq!(matching("**/a-[125].*", None).unwrap().len(), 3);
        assert_eq!(matching("a-*.jsonl", Some("train")).unwrap(), [Path::new("a-train.jsonl")]);
        assert!(matches!(matching("b*", None), Err(DataError::NoMatch { .. })));
        assert!(matches!(matching("a-*.md", None), Ok(files) if files.len() == 1));
    }

    #[test]
    fn what_is_no_file_is_refused_with_what_to_do() {
        for (name, error, hint) in [
            (
                "-",
                "`-` is standard input, and data has to be a file: it is read more than once",
                "write it into a file",
            ),
            (
                "https://huggingface.co/datasets/org/name/resolve/main/data/train.jsonl?download=true",
                "is on the web: nothing is downloaded",
                "`hf download --repo-type dataset org/name data/train.jsonl`, then `--data hf://datasets/org/name/data/train.jsonl`",
            ),
            ("https://host/a.jsonl", "is on the web: nothing is downloaded", "`curl -LO https://host/a.jsonl`"),
            ("hf://models/a/b", "expected `hf://datasets/ORG/NAME/PATH`", ""),
            (
                "hf://datasets/org/none/train.jsonl",
                "data set `org/none` is not in the local cache",
                "`hf download --repo-type dataset org/none train.jsonl`",
            ),
            ("org/none", "data set `org/none` is not in the local cache", "`hf download --repo-type dataset org/none`"),
            ("none.jsonl", "`none.jsonl` does not exist", ""),
            ("fixtures/pairs/standard.jsonl,fixtures/pairs/edge.jsonl", "does not exist", "separate files by blanks"),
        ] {
            let found = names(name, None).unwrap_err();
            assert!(found.to_string().contains(error), "{name}: {found}");
            assert!(found.hint().unwrap_or_default().contains(hint), "{name}: {:?}", found.hint());
        }
    }

    #[test]
    fn a_file_has_the_split_its_name_says() {
        let split = |split| names("fixtures/pairs/standard.jsonl", split);
        assert!(split(None).is_ok());
        assert!(matches!(split(Some("train")), Err(DataError::NoSplit { splits, .. }) if splits.is_empty()));
    }

    #[test]
    fn repositories_are_told_from_paths() {
        let is = |text: &str| repository(text);
        assert_eq!(is("org/name"), Some(("org/name".into(), "main".into())));
        assert_eq!(is("org/name@v1"), Some(("org/name".into(), "v1".into())));
        for path in ["name", "a/b/c", "./a", "../a", "a/b.jsonl", "/a/b", "a/", "a/b@"] {
            assert_eq!(is(path), None, "{path}");
        }
    }
}
