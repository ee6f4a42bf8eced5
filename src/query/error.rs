//! What can go wrong between a path or a query and its rows.

use std::path::PathBuf;

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use parquet::errors::ParquetError;

use crate::error::Hint;
use crate::io::IoError;
use crate::query::hints;
use crate::query::permitted::Refusal;
use crate::table::TableError;

/// What can go wrong between a path or a query and its rows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// A query that cannot be planned or has failed.
    #[error("cannot answer the query")]
    Sql {
        /// What DataFusion says.
        #[source]
        source: Box<DataFusionError>,
        /// The tables a query can name.
        tables: Vec<String>,
        /// The statement, where it is one of the user's.
        sql: Option<String>,
    },
    /// A statement that is not run.
    #[error("cannot run the statement: {0}")]
    Refused(#[from] Refusal),
    /// A file whose name says another format than the user.
    #[error("cannot write `{}` as {asked}: its extension says {by_name}", path.display())]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// By its extension.
        by_name: &'static str,
        /// As asked for.
        asked: &'static str,
    },
    /// A file whose name says no format.
    #[error("cannot tell the format of `{}` by its extension", path.display())]
    NoFormat {
        /// The file.
        path: PathBuf,
    },
    /// A file that rows are not written to.
    #[error("cannot write rows to `{}`: {why}", path.display())]
    NotWritten {
        /// The file.
        path: PathBuf,
        /// What is in the way.
        why: &'static str,
    },
    /// A second answer for a file that has room for one.
    #[error("cannot write a second answer to `{}`: a file of {format} holds one", path.display())]
    OneAnswer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: &'static str,
    },
    /// A folder or pattern of files that are no table.
    #[error("`{}` is no table: {why}", path.display())]
    Files {
        /// The folder or pattern.
        path: PathBuf,
        /// What is wrong with the files.
        why: String,
    },
    /// A file that is no text in UTF-8.
    #[error("`{}` is not UTF-8: {found}", path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: String,
    },
    /// A file of separated values that is no table.
    #[error("`{}`, line {line}: expected {expected}, found {found}", path.display())]
    Delimited {
        /// The file.
        path: PathBuf,
        /// 1-based line at which the row begins.
        line: u64,
        /// What it has to be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// Rows that cannot be written in a format.
    #[error("cannot write the rows as {format}")]
    Encode {
        /// The format.
        format: &'static str,
        /// What Arrow says.
        #[source]
        source: ArrowError,
    },
    /// Output that nobody takes: see [`QueryError::is_closed_pipe`].
    #[error("cannot write the rows")]
    Output {
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A folder that is neither a table nor a run.
    #[error("`{}` is neither a log-prob table nor a run folder", path.display())]
    UnknownFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A file of a kind that is not read.
    #[error("`{}` ends in none of the known extensions: {}", path.display(), super::source::EXTENSIONS.join(", "))]
    UnknownFile {
        /// The file.
        path: PathBuf,
    },
    /// A name that two paths would have.
    #[error("table `{name}` exists already: `{}` needs another name", path.display())]
    NameTaken {
        /// The name.
        name: String,
        /// The second path.
        path: PathBuf,
    },
    /// A Parquet file that cannot be read.
    #[error("cannot read `{}`", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the Parquet reader says.
        #[source]
        source: ParquetError,
    },
    /// A table that cannot be copied into a Parquet file.
    #[error("cannot copy table `{table}` into a Parquet file")]
    Copy {
        /// The table.
        table: String,
        /// What the Parquet writer says.
        #[source]
        source: ParquetError,
    },
    /// Text that is not JSON.
    #[error("cannot parse `{}`{}", path.display(), line.map(|line| format!(", the object that begins in line {line}")).unwrap_or_default())]
    Json {
        /// The file.
        path: PathBuf,
        /// 1-based line at which the object begins, of lines of objects.
        line: Option<u64>,
        /// What is wrong, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// A JSON value that is no row.
    #[error("`{}`, {place}: expected a JSON object, found {found}", path.display())]
    JsonRow {
        /// The file.
        path: PathBuf,
        /// Which row.
        place: RowPlace,
        /// Kind of the value.
        found: &'static str,
    },
    /// A line of an older or newer version of its contract.
    #[error("`{}`, row {row}: expected `schema` `{expected}`, found {found}", path.display())]
    LineVersion {
        /// The file.
        path: PathBuf,
        /// 0-based row.
        row: u64,
        /// The version this program reads.
        expected: &'static str,
        /// What the row says, or `none`.
        found: String,
    },
    /// A column that has no one type.
    #[error("`{}`, {place}: expected `{column}` to be {expected}, found {found}", path.display())]
    JsonColumn {
        /// The file.
        path: PathBuf,
        /// Which row.
        place: RowPlace,
        /// Column, with the names inside it after dots.
        column: String,
        /// Kind of the values before, or that a key occurs once.
        expected: &'static str,
        /// Kind of the value.
        found: &'static str,
    },
    /// A CSV or Arrow file that cannot be read, or rows that do not fit the columns found in them.
    #[error("cannot read rows of `{}`", path.display())]
    Rows {
        /// The file.
        path: PathBuf,
        /// What Arrow says.
        #[source]
        source: ArrowError,
    },
    /// A function that needs a tokenizer, in a session without one.
    #[error("`{function}` needs the tokenizer of a model, and no model was named")]
    NoTokenizer {
        /// The function.
        function: &'static str,
    },
    /// A query that was stopped before it was answered.
    #[error("the query was stopped")]
    Interrupted,
    /// The threads that answer queries.
    #[error("cannot start the threads that answer queries")]
    Runtime {
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A log-prob table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A file.
    #[error(transparent)]
    Io(#[from] IoError),
}

/// Where a JSON row is: lines are counted from 1 as editors do, items of an array from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowPlace {
    /// The line at which it begins.
    Line(u64),
    /// The item of the array.
    Item(u64),
}

impl std::fmt::Display for RowPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Item(row) => write!(f, "row {row}"),
        }
    }
}

impl QueryError {
    /// What the engine says, of no statement of the user's.
    pub(super) fn engine(source: DataFusionError) -> Self {
        Self::Sql { source: Box::new(source), tables: Vec::new(), sql: None }
    }

    /// As an error of the engine, which is what a function returns.
    pub(super) fn no_tokenizer(function: &'static str) -> DataFusionError {
        DataFusionError::External(Box::new(Self::NoTokenizer { function }))
    }

    /// Whether the reader of the output has gone (`piref sql … | head`): no failure of ours.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output { source } if source.kind() == std::io::ErrorKind::BrokenPipe)
    }
}

impl Hint for QueryError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Sql { source, tables, sql } => hints::of_engine(source, tables, sql.as_deref()),
            Self::Refused(refusal) => refusal.hint(),
            Self::OtherFormat { .. } => Some("leave out the format, or name the file for it".into()),
            Self::NoFormat { .. } => Some(
                "`--format` says it; known are `.csv`, `.tsv`, `.json`, `.jsonl`, `.ndjson`, `.parquet`, `.arrow`, `.md` and `.txt`"
                    .into(),
            ),
            Self::NotWritten { .. } => Some("name a new file, in a folder of your own".into()),
            Self::OneAnswer { .. } => Some("give each query a file of its own".into()),
            Self::Encoding { path, .. } => {
                Some(format!("`iconv -f FROM -t UTF-8 {} > NEW` makes such a file", path.display()))
            }
            Self::Json { source, .. } if source.is_eof() => {
                Some("the text ends within an object: was the file cut, or is it still being written?".into())
            }
            Self::Json { source, .. } if source.is_syntax() => {
                Some("JSON has no comments and no commas at the end, and its texts and keys are in double quotes".into())
            }
            Self::JsonColumn { expected: "there once", .. } => {
                Some("one of the two would be lost: rename or drop it".into())
            }
            Self::UnknownFolder { .. } => {
                Some("a table has `manifest.json`, a run has `reference/` or `train/`".into())
            }
            Self::LineVersion { .. } => Some("read it with the version of piref that wrote it".into()),
            Self::NoTokenizer { .. } => Some("`--model M` names one: a folder, a `.gguf` file or `org/name`".into()),
            Self::NameTaken { path, .. } => Some(format!("`--table NAME={}` names it", path.display())),
            Self::Table(error) => error.hint(),
            Self::Io(error) => error.hint(),
            _ => None,
        }
    }
}
