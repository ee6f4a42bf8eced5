//! What is wrong with a checkpoint.

use std::path::PathBuf;

use crate::digest::Digest;
use crate::error::Hint;
use crate::io::{IoError, shell_word};
use crate::model::ModelError;

/// What is wrong with a checkpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The run was told something else when the checkpoint was made.
    #[error("checkpoint `{}` belongs to another run: `{key}` was {found}, now it is {expected}", path.display())]
    OtherRun {
        /// The checkpoint.
        path: PathBuf,
        /// First setting that differs.
        key: String,
        /// Its value now.
        expected: String,
        /// Its value then.
        found: String,
    },
    /// The run is past the end it is told now.
    #[error("checkpoint `{}` is of step {step}: expected one of at most {n_steps}, where the run is to end", path.display())]
    PastTheEnd {
        /// The checkpoint.
        path: PathBuf,
        /// Steps it has made.
        step: u64,
        /// Steps the run is told to make.
        n_steps: u64,
    },
    /// A damaged tensor file.
    #[error("checkpoint file `{}` is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        #[source]
        source: safetensors::SafeTensorError,
    },
    /// A tensor file that is not the one that was saved.
    #[error("checkpoint file `{}` is damaged: expected digest `{expected}`, found `{found}`", path.display())]
    Digest {
        /// The file.
        path: PathBuf,
        /// When it was saved.
        expected: Digest,
        /// Now.
        found: Digest,
    },
    /// A file of the checkpoint is missing.
    #[error("checkpoint file `{}` is missing", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A damaged state file.
    #[error("checkpoint file `{}` is damaged", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// Line and column.
        #[source]
        source: serde_json::Error,
    },
    /// A tensor of another shape than the model's.
    #[error("checkpoint file `{}`, tensor `{name}`: expected shape {expected:?}, found {found:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The model's.
        expected: Vec<usize>,
        /// The file's.
        found: Vec<usize>,
    },
    /// A tensor could not be made.
    #[error("cannot load checkpoint file `{}`", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// What candle says.
        #[source]
        source: candle_core::Error,
    },
    /// Tensors could not be written.
    #[error(transparent)]
    Write(#[from] ModelError),
    /// A file of the checkpoint.
    #[error(transparent)]
    Io(#[from] IoError),
}

impl CheckpointError {
    /// A file of a checkpoint that is not there: the folder was tampered with, since ours are complete.
    pub(super) fn read(error: IoError) -> Self {
        match error {
            IoError::Missing { path } => Self::Missing { path },
            error => Self::Io(error),
        }
    }
}

impl Hint for CheckpointError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::OtherRun { key, .. } if key == "n_steps" => Some(
                "the learning rate falls towards the last step, or evaluations choose the policy, so that a run of another \
                 length is another run from its first step on; with `--lr-scheduler-type constant` a run can be made longer. \
                 Another `--out` keeps both; `--fresh` starts again in this folder, without the old checkpoints"
                    .into(),
            ),
            Self::OtherRun { .. } | Self::PastTheEnd { .. } => Some(
                "another `--out` keeps both runs; `--fresh` starts again in this folder, without the old checkpoints"
                    .into(),
            ),
            Self::Damaged { path, .. }
            | Self::Digest { path, .. }
            | Self::Missing { path }
            | Self::State { path, .. }
            | Self::Shape { path, .. } => {
                let folder = path.parent().unwrap_or(path);
                let name = shell_word(folder);
                Some(format!(
                    "`mv {name} {name}.damaged` to go on from the checkpoint before it, or from the start if there is none"
                ))
            }
            Self::Tensor { .. } => None,
            Self::Write(error) => error.hint(),
            Self::Io(error) => error.hint(),
        }
    }
}
