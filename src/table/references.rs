//! Further references of a table: the same pairs scored by other models.
//!
//! Each is a table of its own in a folder of the first, so that it is written, resumed and read like any other.
//!
//! ```text
//! TABLE/manifest.json, part-00000.parquet, …       the table
//! TABLE/references/NAME/manifest.json, …           what the model that is called NAME says of its pairs
//! ```

use std::path::{Path, PathBuf};

use crate::io;
use crate::table::folder::REFERENCES;
use crate::table::manifest::MANIFEST;
use crate::table::{ReferenceTable, TableError, reference_folder};

/// The finished further references of a table, by name, with their folders. An unfinished one is none yet; a table
/// that is a single file has none.
pub fn references(table: &Path) -> Result<Vec<(String, PathBuf)>, TableError> {
    let folder = table.join(REFERENCES);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let finished = io::list(&folder)?.into_iter().filter(|path| path.join(MANIFEST).is_file());
    let named = finished.filter_map(|path| Some((path.file_name()?.to_str()?.to_owned(), path)));
    Ok(named.filter(|(name, _)| !name.starts_with('.')).collect())
}

/// Names that SQL has beside those of references, with what they are: what a table's own columns begin with, and what is
/// `NAME_scored` and so on of a table that is called NAME.
const TAKEN: [(&str, &str); 10] = [
    ("ref", "the table's own reference"),
    ("scored", "its view `scored`"),
    ("logps", "its view `logps`"),
    ("signals", "its table `signals`"),
    ("rejects", "its table `rejects`"),
    ("by_reference", "its view `by_reference`"),
    ("metrics", "the `metrics` of a run"),
    ("findings", "the `findings` of a run"),
    ("evals", "the `evals` of a run"),
    ("samples", "the `samples` of a run"),
];

/// A text as SQL takes it without quotes: letters, digits and `_`, no capitals.
pub fn sql_name(text: &str) -> String {
    let letters = text.chars().map(|c| if c.is_alphanumeric() { c } else { '_' });
    let mut name = letters.collect::<String>().to_lowercase();
    if name.starts_with(|c: char| c.is_numeric()) {
        name.insert(0, '_');
    }
    name
}

/// Whether the table in `folder` can have a further reference of this name beside those it has, finished or not: of two
/// that are the same to SQL one would stand in for the other.
///
/// # Errors
/// [`TableError::ReferenceName`] with what has the name.
pub fn check_reference_name(folder: &Path, name: &str) -> Result<(), TableError> {
    let in_sql = sql_name(name);
    let taken = TAKEN.iter().find(|(taken, _)| *taken == in_sql).map(|(_, what)| (*what).to_owned());
    let references = folder.join(REFERENCES);
    let others = if references.is_dir() { io::list(&references)? } else { Vec::new() };
    let names = others.iter().filter_map(|path| path.file_name()?.to_str());
    let other = names.filter(|other| !other.starts_with('.')).find(|other| *other != name && sql_name(other) == in_sql);
    match taken.or_else(|| other.map(|other| format!("reference `{other}`"))) {
        Some(taken) => Err(TableError::ReferenceName { path: folder.to_owned(), name: name.to_owned(), in_sql, taken }),
        None => Ok(()),
    }
}

impl ReferenceTable {
    /// Opens a table, or its further reference of this name.
    ///
    /// # Errors
    /// As [`open`](Self::open) and [`open_reference`](Self::open_reference).
    pub fn open_as(path: &Path, reference: Option<&str>) -> Result<Self, TableError> {
        match reference {
            None => Self::open(path),
            Some(name) => Self::open_reference(path, name),
        }
    }

    /// Opens the further reference `name` of the table in `folder`.
    ///
    /// # Errors
    /// [`TableError::NoReference`] with the names there are, or as [`open`](Self::open).
    pub fn open_reference(folder: &Path, name: &str) -> Result<Self, TableError> {
        let path = reference_folder(folder, name);
        if path.is_dir() {
            return Self::open(&path);
        }
        let known = references(folder)?.into_iter().map(|(name, _)| name).collect();
        Err(TableError::NoReference { path: folder.to_owned(), name: name.to_owned(), known })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Hint;
    use crate::table::tests::write_table;

    #[test]
    fn further_references_are_named() {
        let folder = tempfile::tempdir().unwrap();
        write_table(folder.path());
        let open = |name| ReferenceTable::open_reference(folder.path(), name);
        let hint = |name| open(name).unwrap_err().hint().unwrap();
        assert!(hint("dpo").contains("precompute --as NAME"), "{}", hint("dpo"));
        write_table(&folder.path().join("references/sft-2"));
        assert_eq!(open("sft-2").unwrap().n_pairs(), 5);
        assert_eq!(hint("sft2"), "did you mean `sft-2`?");
        assert_eq!(hint("llama"), "there are `sft-2`");
    }

    #[test]
    fn a_name_that_is_another_ones_in_sql_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        write_table(folder.path());
        let taken = |name| check_reference_name(folder.path(), name).map_err(|error| error.to_string());
        for name in ["ref", "REF", "Scored", "by-reference", "logps", "rejects", "metrics", "findings"] {
            assert!(taken(name).unwrap_err().contains("in SQL, and so is"), "{name}");
        }
        for name in ["pairs", "chosen", "a-b", "7b"] {
            assert_eq!(taken(name), Ok(()));
        }
        io::create_dir(&reference_folder(folder.path(), "a-b")).unwrap();
        assert_eq!(taken("a-b"), Ok(()), "it is made again");
        for name in ["a_b", "A.B", "a.b"] {
            assert!(taken(name).unwrap_err().contains("is `a_b` in SQL, and so is reference `a-b`"), "{name}");
        }
        assert!(!reference_folder(folder.path(), "a_b").exists());
    }

    #[test]
    fn an_unfinished_reference_is_none_yet() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b", "a", "killed"] {
            write_table(&reference_folder(folder.path(), name));
        }
        io::remove(&reference_folder(folder.path(), "killed").join(MANIFEST)).unwrap();
        let names: Vec<String> = references(folder.path()).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "b"]);
        let error = ReferenceTable::open_reference(folder.path(), "killed").unwrap_err();
        assert!(matches!(error, TableError::Incomplete { .. }), "{error}");
    }
}
