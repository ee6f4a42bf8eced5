//! Why there is no page.

use std::path::PathBuf;

use crate::error::Hint;
use crate::io::IoError;
use crate::query::QueryError;
use crate::table::TableError;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A record of settings that is no TOML.
    #[error("cannot read the settings in `{}`", path.display())]
    Plan {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// The answer to a query of ours is not of the form that was asked for.
    #[error("cannot use the numbers of `{table}`: this is a bug of piref, please report it")]
    Internal {
        /// The table that was asked.
        table: &'static str,
        /// What Arrow says.
        #[source]
        source: arrow::error::ArrowError,
    },
    /// The page's template.
    #[error("cannot fill the page: this is a bug of piref, please report it")]
    Template {
        /// What minijinja says.
        #[source]
        source: minijinja::Error,
    },
    /// The metrics or the table of the run.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The log-prob table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A file.
    #[error(transparent)]
    Io(#[from] IoError),
}

impl Hint for ReportError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Plan { .. } => Some(
                "it is not as the run wrote it: put that back, or move it away for a report without the settings"
                    .into(),
            ),
            Self::Internal { .. } | Self::Template { .. } => None,
            Self::Query(error) => error.hint(),
            Self::Table(error) => error.hint(),
            Self::Io(error) => error.hint(),
        }
    }
}
