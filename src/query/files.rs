//! Several files as one table: a folder of them, or what a pattern matches.

use std::path::{Path, PathBuf};

use crate::io::{self, IoError};
use crate::query::QueryError;
use crate::query::source::{FileKind, Source};

/// Characters that make a path a pattern, where no file has it as its name.
pub(super) const WILDCARDS: [char; 3] = ['*', '?', '['];

/// Files that `datasets` and hubs put beside rows.
const BESIDE: [&str; 4] = ["dataset_info.json", "dataset_infos.json", "state.json", "dataset_dict.json"];

/// Files that make a folder one of a model.
const MODEL: [&str; 3] = ["config.json", "adapter_config.json", "tokenizer_config.json"];

/// The files that a pattern matches, in the order of their names; `None` if the path is no pattern.
///
/// # Errors
/// If the pattern is none, matches nothing, or a folder cannot be listed.
pub(super) fn matched(path: &Path) -> Result<Option<Vec<PathBuf>>, QueryError> {
    let Some(pattern) = path.to_str().filter(|text| text.contains(WILDCARDS)) else { return Ok(None) };
    let wrong = |why: String| QueryError::Files { path: path.to_owned(), why };
    // As a shell: what is hidden is not meant.
    let options =
        glob::MatchOptions { require_literal_leading_dot: true, require_literal_separator: true, case_sensitive: true };
    let mut files = Vec::new();
    for entry in glob::glob_with(pattern, options).map_err(|error| wrong(format!("no pattern: {error}")))? {
        let entry = entry.map_err(|error| {
            let place = error.path().to_owned();
            IoError::new("list", &place, error.into())
        })?;
        if entry.is_file() {
            files.push(entry);
        }
    }
    if files.is_empty() {
        return Err(wrong("the pattern matches no file".into()));
    }
    files.sort();
    Ok(Some(files))
}

/// The files with rows right inside a folder, in the order of their names. Hidden ones, and what `datasets` puts beside rows,
/// are none.
pub(super) fn of_folder(folder: &Path) -> Result<Vec<PathBuf>, QueryError> {
    // A model, whose files are JSON, too.
    if MODEL.iter().any(|name| folder.join(name).is_file()) {
        return Ok(Vec::new());
    }
    let is_row_file = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        path.is_file() && !name.starts_with(['.', '_']) && !BESIDE.contains(&name) && FileKind::of(path).is_some()
    };
    let mut files: Vec<PathBuf> = io::list(folder)?.into_iter().filter(is_row_file).collect();
    files.sort();
    Ok(files)
}

/// Files as one source.
///
/// # Errors
/// If they are of several kinds, or one is of none.
pub(super) fn of_one_kind(path: &Path, files: Vec<PathBuf>) -> Result<Source, QueryError> {
    let mut kinds: Vec<(FileKind, &PathBuf)> = Vec::new();
    for file in &files {
        let kind = FileKind::of(file).ok_or_else(|| QueryError::UnknownFile { path: file.clone() })?;
        if kinds.iter().all(|(known, _)| *known != kind) {
            kinds.push((kind, file));
        }
    }
    match kinds.as_slice() {
        [(kind, _)] => Ok(Source::Files(*kind, files)),
        kinds => {
            let names: Vec<String> = kinds.iter().map(|(_, file)| format!("`{}`", file.display())).collect();
            let why = format!("its files are of several kinds, as {}", names.join(" and "));
            Err(QueryError::Files { path: path.to_owned(), why })
        }
    }
}
