//! Why a path cannot be explained.

use std::path::{Path, PathBuf};

use crate::checkpoint::CheckpointError;
use crate::error::Hint;
use crate::io::{IoError, shell_word};
use crate::model::ModelError;
use crate::policy::PolicyError;
use crate::table::TableError;

/// Why a path cannot be explained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// A folder that is nothing we know.
    #[error(
        "`{}` is not a folder piref knows: expected a table (`manifest.json` or parts in it), a run (`reference`, \
         `train` or `policy` in it), a model (`config.json` in it) or a checkpoint (`state.json` in it)",
        path.display()
    )]
    UnknownFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A file that is nothing we know.
    #[error(
        "`{}` is not a file piref knows: expected a `.parquet` file that piref wrote, a `manifest.json` or a `.gguf` \
         file",
        path.display()
    )]
    UnknownFile {
        /// The file.
        path: PathBuf,
    },
    /// A Parquet file of somebody else.
    #[error(
        "`{}` was not written by piref: expected `piref.schema` in the Parquet footer, found columns {}",
        path.display(),
        columns.join(", ")
    )]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// Its columns.
        columns: Vec<String>,
    },
    /// A metrics file that is not ours, or of another version.
    #[error("`{}`, line {line}: expected a JSON object with `schema` `{expected}`, found {found}", path.display())]
    Metrics {
        /// The file.
        path: PathBuf,
        /// 1-based line.
        line: usize,
        /// The version this program reads.
        expected: &'static str,
        /// What the line says.
        found: String,
    },
    /// A table or a part.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A model's container.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file.
    #[error(transparent)]
    Io(#[from] IoError),
}

impl Hint for InspectError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NotOurs { path, .. } | Self::UnknownFile { path } => Some(columns_of(path)),
            Self::Table(error) => error.hint(),
            Self::Model(error) => error.hint(),
            Self::Policy(error) => error.hint(),
            Self::Checkpoint(error) => error.hint(),
            Self::Io(error) => error.hint(),
            Self::UnknownFolder { .. } | Self::Metrics { .. } => None,
        }
    }
}

/// What shows a file of somebody else's, and what takes it.
fn columns_of(path: &Path) -> String {
    let name = shell_word(path);
    format!(
        "`piref sql -c \"DESCRIBE '{}'\"` shows the columns of a data file, `piref precompute --model MODEL --data {name} \
         --out TABLE` scores its pairs",
        path.display()
    )
}
