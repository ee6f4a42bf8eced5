//! What a path is, told by its name and, for folders, by what is in them.

use std::path::{Path, PathBuf};

use crate::io::IoError;
use crate::query::{QueryError, files};
use crate::table::{MANIFEST, StepFiles, sql_name};

/// Extensions of files that are read; the text ones also followed by `.gz` or `.zst`.
pub(super) const EXTENSIONS: [&str; 7] = [".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".arrow"];

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// A log-prob table, finished or not.
    Table,
    /// A run, with those of its parts that are there.
    Run(RunFiles),
    /// A file with rows.
    File(FileKind),
    /// Files of one kind, in the order of their names: a folder, or what a pattern matches.
    Files(FileKind, Vec<PathBuf>),
}

/// The parts of a run folder that SQL reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RunFiles {
    pub(super) reference: Option<PathBuf>,
    pub(super) metrics: Option<PathBuf>,
    pub(super) findings: Option<PathBuf>,
    /// The evaluations of its training, by step.
    pub(super) evals: Vec<PathBuf>,
    /// What its policy answered at them, by step.
    pub(super) samples: Vec<PathBuf>,
}

/// How the rows of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    Parquet,
    /// Arrow IPC, the stream or the file format.
    Arrow,
    /// JSON objects, one after another or in an array.
    Json,
    /// Separated values under a header.
    Delimited(u8),
}

impl Source {
    pub(super) fn of(path: &Path) -> Result<Self, QueryError> {
        if path.is_file() {
            return FileKind::of(path).map(Self::File).ok_or_else(|| QueryError::UnknownFile { path: path.to_owned() });
        }
        if !path.is_dir() {
            return match files::matched(path)? {
                Some(found) => files::of_one_kind(path, found),
                None => Err(IoError::Missing { path: path.to_owned() }.into()),
            };
        }
        let of_evaluations = |kind: StepFiles, folder: &str| {
            let files = kind.list(&path.join("train").join(folder))?;
            Ok::<_, IoError>(files.into_iter().map(|(_, file)| file).collect::<Vec<PathBuf>>())
        };
        let run = RunFiles {
            reference: Some(path.join("reference")).filter(|folder| folder.is_dir()),
            metrics: Some(path.join("train").join("metrics.jsonl")).filter(|file| file.is_file()),
            findings: Some(path.join("findings.parquet")).filter(|file| file.is_file()),
            evals: of_evaluations(StepFiles::Evals, "evals")?,
            samples: of_evaluations(StepFiles::Samples, "samples")?,
        };
        if path.join(MANIFEST).is_file() || path.join(crate::table::part_name(0)).is_file() {
            Ok(Self::Table)
        } else if run.is_any() {
            Ok(Self::Run(run))
        } else {
            match files::of_folder(path)? {
                found if found.is_empty() => Err(QueryError::UnknownFolder { path: path.to_owned() }),
                found => files::of_one_kind(path, found),
            }
        }
    }
}

impl RunFiles {
    /// Whether any part is there.
    fn is_any(&self) -> bool {
        let parts = [&self.reference, &self.metrics, &self.findings];
        parts.iter().any(|part| part.is_some()) || !(self.evals.is_empty() && self.samples.is_empty())
    }
}

impl FileKind {
    pub(super) fn of(path: &Path) -> Option<Self> {
        match extension(path).as_str() {
            "parquet" => Some(Self::Parquet),
            "arrow" => Some(Self::Arrow),
            "jsonl" | "ndjson" | "json" => Some(Self::Json),
            "csv" => Some(Self::Delimited(b',')),
            "tsv" => Some(Self::Delimited(b'\t')),
            _ => None,
        }
    }
}

/// The name of a file as a table: letters, digits and `_`, no extension, no capital (SQL folds those). Of a pattern, what
/// is none of it; of a folder, or a pattern for all files of one, the folder.
pub(super) fn table_name(path: &Path) -> String {
    let file = uncompressed(path).replace(files::WILDCARDS, "");
    let is_empty = file.split('.').next().is_none_or(str::is_empty) && !file.starts_with('.');
    if let Some(folder) = path.parent().filter(|folder| is_empty && folder.file_name().is_some()) {
        return table_name(folder);
    }
    sql_name(file.split('.').next().filter(|stem| !stem.is_empty()).unwrap_or("data"))
}

fn extension(path: &Path) -> String {
    let file = uncompressed(path);
    file.rsplit_once('.').map(|(_, extension)| extension.to_lowercase()).unwrap_or_default()
}

fn uncompressed(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_become_identifiers() {
        for (file, expected) in [
            ("data/train.jsonl.gz", "train"),
            ("Harmless-base.test.mild.jsonl", "harmless_base"),
            ("2024 pairs.csv", "_2024_pairs"),
            (".hidden", "data"),
            ("data/train-*.parquet", "train_"),
            ("data/*.jsonl", "data"),
            ("data/parts/", "parts"),
        ] {
            assert_eq!(table_name(Path::new(file)), expected, "{file}");
        }
    }

    #[test]
    fn kinds_are_told_through_compression() {
        assert_eq!(FileKind::of(Path::new("a.jsonl.zst")), Some(FileKind::Json));
        assert_eq!(FileKind::of(Path::new("a.b.PARQUET")), Some(FileKind::Parquet));
        assert_eq!(FileKind::of(Path::new("data-00000-of-00001.arrow")), Some(FileKind::Arrow));
        assert_eq!(FileKind::of(Path::new("a.tsv.gz")), Some(FileKind::Delimited(b'\t')));
        assert_eq!(FileKind::of(Path::new("weights.safetensors")), None);
    }
}
