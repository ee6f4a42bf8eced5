//! What can be wrong with a data file as a whole; what is wrong with one row is a [`Reject`](super::Reject).

use std::path::{Path, PathBuf};

use super::recipes::{self, Recognised};
use crate::error::{Hint, nearest};
use crate::io::IoError;
use crate::storage::StorageError;

/// Why a file gives no preference pairs, or no more of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The file cannot be opened.
    #[error(transparent)]
    Io(#[from] IoError),
    /// What is under a URL.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A folder where a file is expected.
    #[error("`{}` is a folder, expected a data file", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
    },
    /// A folder without a data file.
    #[error("`{}` holds no data file: expected one of {expected}", path.display())]
    EmptyFolder {
        /// The folder.
        path: PathBuf,
        /// The extensions that are read.
        expected: &'static str,
    },
    /// The `state.json` or `dataset_dict.json` of a folder made by `save_to_disk` does not say which files it has.
    #[error("`{}` does not list the files of a data set", path.display())]
    SaveToDisk {
        /// The JSON file.
        path: PathBuf,
        /// Why it cannot be read.
        #[source]
        source: serde_json::Error,
    },
    /// A list of files that names one outside of its folder.
    #[error("`{}` names `{found}`, expected the name of a file or folder beside it", path.display())]
    Outside {
        /// The JSON file.
        path: PathBuf,
        /// What it names.
        found: String,
    },
    /// A file that was named and is not there.
    #[error("`{}` does not exist", path.display())]
    Missing {
        /// As it was named.
        path: PathBuf,
    },
    /// A folder with several splits, of which none was asked for.
    #[error("`{}` has several splits: {}", path.display(), splits.join(", "))]
    Splits {
        /// The folder.
        path: PathBuf,
        /// Their names.
        splits: Vec<String>,
    },
    /// A split there is not.
    #[error("`{}` has no split `{split}` ({})", path.display(), found(splits))]
    NoSplit {
        /// The folder or file.
        path: PathBuf,
        /// As it was asked for.
        split: String,
        /// Those there are.
        splits: Vec<String>,
    },
    /// A card that does not say what files there are as `datasets` reads it.
    #[error("`{}`: {problem}", path.display())]
    Card {
        /// The card.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A repository with several data sets.
    #[error("`{}` holds several data sets: {}", path.display(), configs.join(", "))]
    Configs {
        /// The folder.
        path: PathBuf,
        /// Their names.
        configs: Vec<String>,
    },
    /// A folder whose data files are of several kinds: perhaps one data set twice.
    #[error("`{}` has data files of several kinds: {}", path.display(), kinds.join(", "))]
    MixedFolder {
        /// The folder.
        path: PathBuf,
        /// The kinds.
        kinds: Vec<&'static str>,
    },
    /// A pattern that matches no data file.
    #[error("no data file matches `{}`", path.display())]
    NoMatch {
        /// The pattern.
        path: PathBuf,
    },
    /// A pattern that is none.
    #[error("`{}` is no pattern: {problem}", path.display())]
    Pattern {
        /// As given.
        path: PathBuf,
        /// Why not.
        problem: &'static str,
    },
    /// Bytes that come once.
    #[error("`{}` is {found}, and data has to be a file: it is read more than once", path.display())]
    NoFile {
        /// As given.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// A file on the web.
    #[error("`{url}` is on the web: nothing is downloaded")]
    Web {
        /// As given.
        url: String,
    },
    /// A URL of the Hub that is none of a data set.
    #[error("`{url}` is no data set of the Hub: expected `hf://datasets/ORG/NAME/PATH`")]
    HubUrl {
        /// As given.
        url: String,
    },
    /// A repository, or a file of one, that is not in the local cache.
    #[error("{} is not in the local cache `{}`", of_hub(name, revision, inner.as_deref()), cache.display())]
    NotCached {
        /// `ORG/NAME`.
        name: String,
        /// Branch, tag or commit.
        revision: String,
        /// A file or folder in it.
        inner: Option<String>,
        /// The cache that was searched.
        cache: PathBuf,
    },
    /// A file of a kind that is not read, told by its first bytes.
    #[error("`{}` is {found}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
        /// What to do about it.
        hint: &'static str,
    },
    /// A header that may be split in several ways.
    #[error("`{}` can be split at {}: its first line has both outside of quotes", path.display(), found.join(" or "))]
    Separators {
        /// The file.
        path: PathBuf,
        /// The separators.
        found: Vec<&'static str>,
    },
    /// A first line that names no columns.
    #[error("the first line of `{}` names no columns: {problem}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// A quote in separated values that swallows the rest of the file.
    #[error("`{}` has a quote that is never closed: it opens in the row at line {line}", path.display())]
    OpenQuote {
        /// The file.
        path: PathBuf,
        /// 1-based line where the row begins.
        line: u64,
    },
    /// Objects over several lines that do not follow one another.
    #[error("`{}` is not JSON objects one after another: line {line}, after {rows} rows: {problem}", path.display())]
    NotObjects {
        /// The file.
        path: PathBuf,
        /// Objects read before.
        rows: u64,
        /// 1-based line of the file.
        line: u64,
        /// What was found.
        problem: &'static str,
    },
    /// A column of a type that is not read.
    #[error("`{}`: column `{column}` {problem}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// With the names of the columns it is in.
        column: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A column that belongs to what is scored, and would be left out.
    #[error("column `{column}` of `{}` is not empty, and is no part of what is read: {reason}", path.display())]
    Unread {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// Why it matters.
        reason: &'static str,
        /// What reads it, or leaves it out on purpose.
        hint: String,
    },
    /// Two columns that only capitals tell apart, of which one is a part of the pair.
    #[error("`{}` has the columns `{first}` and `{second}`: which of them is meant is not told", path.display())]
    SameName {
        /// The file.
        path: PathBuf,
        /// The part.
        first: String,
        /// The other.
        second: String,
    },
    /// The extension is none that is read.
    #[error("cannot tell what `{}` holds: expected a name ending in one of {expected}", path.display())]
    Extension {
        /// The file.
        path: PathBuf,
        /// The extensions that are read.
        expected: &'static str,
    },
    /// A file without a single row.
    #[error("`{}` has no rows", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Decompression, the disk or a binary container failed on the way.
    #[error("cannot read `{}` past its first {rows} rows", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Rows read before.
        rows: u64,
        /// What the decoder says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A JSON list that does not end as one.
    #[error("`{}` is not a JSON list: line {line}, after {rows} rows: {problem}", path.display())]
    NotList {
        /// The file.
        path: PathBuf,
        /// Elements read before.
        rows: u64,
        /// 1-based line of the file.
        line: u64,
        /// What was found.
        problem: &'static str,
    },
    /// Rows there are, but the first of them are all unreadable.
    #[error("no row of the first {rows} of `{}` can be read{}: {reason}", path.display(), at_line(*line))]
    NoReadableRow {
        /// The file.
        path: PathBuf,
        /// How many rows were tried.
        rows: u64,
        /// 1-based line of the first of them.
        line: Option<u64>,
        /// What is wrong with the first of them.
        reason: String,
    },
    /// Columns that are no preference pairs.
    #[error("`{}` {} (columns found: {})", path.display(), not_pairs(recognised.as_ref()), columns.join(", "))]
    NotPairs {
        /// The file.
        path: PathBuf,
        /// Its columns.
        columns: Vec<String>,
        /// What it is instead, if that is known.
        recognised: Option<Recognised>,
    },
    /// Columns without a prompt, where answers are not asked for.
    #[error(
        "`{}` has no prompts: expected preference pairs, or a column `{expected}` (columns found: {})",
        path.display(),
        columns.join(", ")
    )]
    NoPrompts {
        /// The file.
        path: PathBuf,
        /// The column that is read as the prompt.
        expected: String,
        /// Its columns.
        columns: Vec<String>,
    },
    /// Columns that are nothing to learn answers from.
    #[error(
        "`{}` {} (columns found: {})",
        path.display(),
        not_examples(recognised.as_ref()),
        columns.join(", ")
    )]
    NotExamples {
        /// The file.
        path: PathBuf,
        /// Its columns.
        columns: Vec<String>,
        /// What it is instead, if that is known.
        recognised: Option<Recognised>,
    },
    /// Single answers with a label.
    #[error(
        "`{}` holds unpaired answers with a label, expected preference pairs (columns found: {})",
        path.display(),
        columns.join(", ")
    )]
    Unpaired {
        /// The file.
        path: PathBuf,
        /// Its columns.
        columns: Vec<String>,
        /// What makes pairs of it, if that is known.
        recognised: Option<Recognised>,
    },
    /// More than one way to read the file.
    #[error(
        "`{}` can be read in more than one way: {} (columns found: {})",
        path.display(),
        readings.join("; or "),
        columns.join(", ")
    )]
    Ambiguous {
        /// The file.
        path: PathBuf,
        /// Its columns.
        columns: Vec<String>,
        /// The ways.
        readings: Vec<String>,
    },
    /// Answers without a prompt column, beside a column that may be it.
    #[error(
        "`{}` has no `prompt` column, but `{column}` may be one (columns found: {})",
        path.display(),
        columns.join(", ")
    )]
    MaybePrompt {
        /// The file.
        path: PathBuf,
        /// The column that may be the prompt.
        column: String,
        /// A column that may be a system turn before it.
        system: Option<String>,
        /// Its columns.
        columns: Vec<String>,
    },
    /// A column that was asked for is in none of the first rows.
    #[error("column `{column}` not found in `{}` (found: {})", path.display(), columns.join(", "))]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// As it was asked for.
        column: String,
        /// The columns there are.
        columns: Vec<String>,
    },
    /// A system column for texts that hold their own prompt.
    #[error("column `{column}` of `{}` cannot be a system turn: the rows have no prompt column", path.display())]
    SystemWithoutPrompt {
        /// The file.
        path: PathBuf,
        /// As it was asked for.
        column: String,
    },
}

/// The place of the first bad row, where the file has lines.
fn at_line(line: Option<u64>) -> String {
    line.map(|line| format!(", line {line}")).unwrap_or_default()
}

fn found(names: &[String]) -> String {
    if names.is_empty() { "its name tells none".into() } else { format!("found: {}", names.join(", ")) }
}

fn of_hub(name: &str, revision: &str, inner: Option<&str>) -> String {
    let of = format!("data set `{name}`");
    let of = if revision == "main" { of } else { format!("revision `{revision}` of {of}") };
    inner.map_or(of.clone(), |inner| format!("`{inner}` of {of}"))
}

fn not_pairs(recognised: Option<&Recognised>) -> String {
    match recognised {
        Some(recognised) => format!("holds {}, expected preference pairs", recognised.what),
        None => "does not look like preference pairs".into(),
    }
}

fn not_examples(recognised: Option<&Recognised>) -> String {
    let expected = "preference pairs, `messages`, `prompt` with `completion`, or `text`";
    match recognised {
        Some(recognised) => format!("holds {}, expected {expected}", recognised.what),
        None => format!("holds neither of {expected}"),
    }
}

/// The command that fetches a part of the Hub into the cache.
fn download(name: &str, revision: &str, inner: Option<&str>) -> String {
    let revision = if revision == "main" { String::new() } else { format!(" --revision {revision}") };
    let inner = inner.map(|inner| format!(" {inner}")).unwrap_or_default();
    format!("hf download --repo-type dataset {name}{inner}{revision}")
}

/// What fetches a URL: a file of the Hub into the cache, any other into the working directory.
fn fetch(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or(url);
    let parts: Vec<&str> = plain.split('/').skip(2).collect();
    match parts.as_slice() {
        ["huggingface.co" | "hf.co", "datasets", org, name, "resolve" | "blob", revision, inner @ ..]
            if !inner.is_empty() =>
        {
            let inner = inner.join("/");
            let at = if *revision == "main" { String::new() } else { format!("@{revision}") };
            let command = download(&format!("{org}/{name}"), revision, Some(&inner));
            format!("`{command}`, then `--data hf://datasets/{org}/{name}{at}/{inner}`")
        }
        ["huggingface.co" | "hf.co", "datasets", org, name, ..] => {
            format!("`{}`, then `--data {org}/{name}`", download(&format!("{org}/{name}"), "main", None))
        }
        _ => format!("`curl -LO {url}`, then name the file"),
    }
}

/// How a column is left out.
fn without(path: &Path, column: &str) -> String {
    let top = column.split('.').next().unwrap_or(column);
    let query = format!("SELECT * EXCLUDE (\"{top}\") FROM");
    format!("if it is not wanted: `{}`", recipes::command(&query, path))
}

impl Hint for DataError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Io(error) => error.hint(),
            Self::Storage(error) => error.hint(),
            Self::Folder { .. } => Some("name the files in it".into()),
            Self::NotPairs { path, recognised: Some(recognised), .. }
            | Self::NotExamples { path, recognised: Some(recognised), .. } => recognised.advice(path),
            Self::Missing { path } => {
                let name = path.to_str().unwrap_or_default();
                let is_list = name.contains(',') && name.split(',').any(|part| Path::new(part).exists());
                is_list.then(|| "separate files by blanks: `--data a.jsonl b.jsonl`".into())
            }
            Self::Splits { splits, .. } => splits.first().map(|split| {
                let split = splits.iter().find(|split| split.starts_with("train")).unwrap_or(split);
                format!("`--split {split}` reads one of them, `--split all` all")
            }),
            Self::NoSplit { splits, split, .. } => match nearest(split, splits.iter().map(String::as_str)) {
                Some(split) => Some(format!("did you mean `{split}`?")),
                None if splits.is_empty() => Some("`--split` is for folders: leave it out".into()),
                None => None,
            },
            Self::Configs { path, .. } => {
                Some(format!("name the files of one of them, e.g. `--data '{}/FOLDER/*.parquet'`", path.display()))
            }
            Self::MixedFolder { path, .. } => {
                Some(format!("name the files of one kind: `--data '{}/*.jsonl'`", path.display()))
            }
            Self::NoFile { .. } => {
                Some("write it into a file: `COMMAND > data.jsonl`, then `--data data.jsonl`".into())
            }
            Self::Web { url } => Some(fetch(url)),
            Self::NotCached { name, revision, inner, .. } => {
                let command = download(name, revision, inner.as_deref());
                Some(format!("`{command}` fetches it into the cache; piref itself downloads nothing"))
            }
            Self::Foreign { path, hint, .. } => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let file = recipes::shell_word(&path.display().to_string());
                Some(hint.replace("NEW_FILE", &recipes::shell_word(&format!("utf8-{name}"))).replace("FILE", &file))
            }
            Self::Separators { .. } => Some("put quotes around the names of columns that have one of them".into()),
            Self::OpenQuote { .. } => Some("a quote within a quoted value is written twice: `\"\"`".into()),
            Self::Unreadable { path, column, .. } => Some(without(path, column)),
            Self::Unread { hint, .. } => Some(hint.clone()),
            Self::SameName { second, .. } => Some(format!("`--map ignore={second}` leaves that one out")),
            Self::Extension { path, .. } if path.extension().is_some_and(|extension| extension == "toml") => {
                Some("a pipeline file stands before `--data`".into())
            }
            Self::Extension { path, .. } if path.extension().is_some_and(|extension| extension == "txt") => {
                Some("if it holds JSON lines or separated values, give it a name that says so".into())
            }
            Self::NotPairs { .. } | Self::Ambiguous { .. } => {
                Some("name the columns: `--map prompt=question,chosen=better,rejected=worse`".into())
            }
            Self::NoPrompts { .. } => Some("name the column: `--map prompt=question`".into()),
            Self::MaybePrompt { column, system, .. } => {
                let system = system.as_ref().map(|system| format!(",system={system}")).unwrap_or_default();
                Some(format!(
                    "`--map prompt={column}{system}` if it is; `--map chosen=chosen` if both answers begin with the prompt"
                ))
            }
            Self::NoReadableRow { path, reason, .. } if reason.contains("not UTF-8") => {
                let (file, name) = (path.display().to_string(), path.file_name().unwrap_or_default().to_string_lossy());
                let (file, new) = (recipes::shell_word(&file), recipes::shell_word(&format!("utf8-{name}")));
                Some(format!(
                    "write it as UTF-8, from whatever it is, e.g. `iconv -f WINDOWS-1252 -t UTF-8 {file} > {new}`"
                ))
            }
            Self::NoReadableRow { .. } => Some("expected one JSON object a line, or one list of them".into()),
            Self::Unpaired { path, recognised, .. } => {
                let why = "DPO needs two answers to one prompt, a better and a worse one";
                Some(match recognised.as_ref().and_then(|recognised| recognised.command(path)) {
                    Some(command) => format!("{why}: `{command}` makes them where a prompt has both"),
                    None => why.into(),
                })
            }
            Self::MissingColumn { column, columns, .. } => {
                nearest(column, columns.iter().map(String::as_str)).map(|column| format!("did you mean `{column}`?"))
            }
            Self::SystemWithoutPrompt { .. } => Some("name the prompt too: `--map system=…,prompt=…`".into()),
            Self::Damaged { .. } | Self::NotList { .. } | Self::NotObjects { .. } => {
                Some("the file may be cut short: fetch it again".into())
            }
            _ => None,
        }
    }
}
