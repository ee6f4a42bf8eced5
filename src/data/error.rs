//! What can be wrong with a data file as a whole; what is wrong with one row is a [`Reject`](super::Reject).

use std::path::PathBuf;

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
    #[error("`{}` does not look like preference pairs (columns found: {})", path.display(), columns.join(", "))]
    NotPairs {
        /// The file.
        path: PathBuf,
        /// Its columns.
        columns: Vec<String>,
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
        "`{}` holds neither preference pairs nor `messages`, `prompt` with `completion`, or `text` (columns found: {})",
        path.display(),
        columns.join(", ")
    )]
    NotExamples {
        /// The file.
        path: PathBuf,
        /// Its columns.
        columns: Vec<String>,
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

impl Hint for DataError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Io(error) => error.hint(),
            Self::Storage(error) => error.hint(),
            Self::Folder { .. } => Some("name the files in it".into()),
            Self::NotPairs { .. } | Self::Ambiguous { .. } => {
                Some("name the columns: `--map prompt=question,chosen=better,rejected=worse`".into())
            }
            Self::NoPrompts { .. } => Some("name the column: `--map prompt=question`".into()),
            Self::MaybePrompt { column, .. } => Some(format!(
                "`--map prompt={column}` if it is; `--map chosen=chosen` if both answers begin with the prompt"
            )),
            Self::NoReadableRow { .. } => Some("expected one JSON object a line, or one list of them".into()),
            Self::Unpaired { .. } => Some("DPO needs two answers to one prompt, a better and a worse one".into()),
            Self::MissingColumn { column, columns, .. } => {
                nearest(column, columns.iter().map(String::as_str)).map(|column| format!("did you mean `{column}`?"))
            }
            Self::SystemWithoutPrompt { .. } => Some("name the prompt too: `--map system=…,prompt=…`".into()),
            Self::Damaged { .. } | Self::NotList { .. } => Some("the file may be cut short: fetch it again".into()),
            _ => None,
        }
    }
}
