//! What can go wrong between a path or a query and its rows.

use std::path::PathBuf;

use arrow::error::ArrowError;
use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;
use parquet::errors::ParquetError;

use crate::error::{Hint, nearest};
use crate::io::IoError;
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
    #[error("cannot parse `{}`", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// A JSON value that is no row.
    #[error("`{}`, row {row}: expected a JSON object, found {found}", path.display())]
    JsonRow {
        /// The file.
        path: PathBuf,
        /// 0-based row.
        row: u64,
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
    #[error("`{}`, row {row}: expected {expected} in `{column}` as in the rows before, found {found}", path.display())]
    JsonColumn {
        /// The file.
        path: PathBuf,
        /// 0-based row.
        row: u64,
        /// Column, with the names inside it after dots.
        column: String,
        /// Kind of the values before.
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

impl QueryError {
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
            Self::Sql { source, tables } => sql_hint(source, tables),
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

fn sql_hint(error: &DataFusionError, tables: &[String]) -> Option<String> {
    match error.find_root() {
        DataFusionError::SchemaError(error, _) => match error.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => column_hint(&field.name, valid_fields),
            _ => None,
        },
        DataFusionError::Plan(message) => {
            let table = message.strip_prefix("table '")?.split_once("' not found")?.0;
            // DataFusion puts its catalogue and schema before the name.
            Some(table_hint(table.splitn(3, '.').last().unwrap_or(table), tables))
        }
        // Ballista's words for a plan with a table that only this process can read.
        DataFusionError::Internal(message) if message.starts_with("failed to serialize logical plan") => Some(
            "a cluster reads Parquet files alone, under the paths they have here; without `--cluster` every table can be read"
                .into(),
        ),
        DataFusionError::ResourcesExhausted(_) => Some("`--memory-limit` sets how much memory a query may take".into()),
        _ => None,
    }
}

fn table_hint(name: &str, tables: &[String]) -> String {
    if name.contains(['.', '/']) {
        return format!("as a path, `{name}` leads nowhere");
    }
    match nearest(name, tables.iter().map(String::as_str)) {
        Some(table) => format!("did you mean `{table}`?"),
        None if tables.is_empty() => "name a table, run or data file on the command line".into(),
        None => format!("there are {}", tables.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
    }
}

fn column_hint(name: &str, valid: &[Column]) -> Option<String> {
    let names = || valid.iter().map(|column| column.name.as_str());
    let slashed = names().find(|column| column.split_once('/').is_some_and(|(start, _)| start == name));
    if let Some(column) = slashed {
        return Some(format!("a name with a slash needs double quotes: `\"{column}\"`"));
    }
    nearest(name, names()).map(|column| format!("did you mean `{column}`?"))
}
