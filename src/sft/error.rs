//! Why supervised training is refused or stops.

use crate::data::DataError;
use crate::error::Hint;
use crate::io::IoError;
use crate::spool::SpoolError;
use crate::table::{RejectCounts, TableError, TooManyRejects};
use crate::tokenize::TokenizeError;
use crate::train::TrainError;

/// What can go wrong in supervised training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SftError {
    /// Data without anything to learn.
    #[error(
        "the data holds nothing to learn: of {n_rows} rows, {} were rejected and {} do not fit max_length",
        n_rejected.malformed,
        n_rejected.overlong
    )]
    NothingToLearn {
        /// Rows read.
        n_rows: u64,
        /// Rows that were rejected.
        n_rejected: RejectCounts,
    },
    /// More rows were rejected than the plan allows.
    #[error(transparent)]
    TooManyRejects(#[from] TooManyRejects),
    /// More sequences than a 32-bit number can name.
    #[error("{n_sequences} sequences are too many: expected fewer than 2^32")]
    TooManySequences {
        /// Sequences there are.
        n_sequences: usize,
    },
    /// Documents, and no length of the blocks they are cut into.
    #[error("documents are cut into blocks of `max_length` tokens: expected one of at least 2, found {found}")]
    BlockLength {
        /// The length, or `no limit`.
        found: String,
    },
    /// A number that is none.
    #[error("step {step}: {what} is {found}; rows of the step among the sequences: {rows}")]
    NotFinite {
        /// The step, from 1.
        step: u64,
        /// What is not finite.
        what: &'static str,
        /// The number.
        found: f64,
        /// The sequences concerned, from 0 in the order of the data.
        rows: String,
    },
    /// What cannot happen.
    #[error("internal error: {what}; please report it")]
    Internal {
        /// What happened.
        what: String,
    },
    /// What every training run may meet.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A data file.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Tokenizer or chat template.
    #[error(transparent)]
    Tokenize(#[from] TokenizeError),
    /// The file of rejected rows.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The disk under the sequences.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// A file of the run.
    #[error(transparent)]
    Io(#[from] IoError),
}

impl Hint for SftError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NothingToLearn { .. } => {
                Some("`train/rejects.parquet` in the run folder says why each row was rejected".into())
            }
            Self::TooManyRejects(error) => error.hint(),
            Self::BlockLength { .. } => Some("give it with `--max-length`".into()),
            Self::NotFinite { .. } => Some("lower `--learning-rate`".into()),
            Self::TooManySequences { .. } | Self::Internal { .. } => None,
            Self::Train(error) => error.hint(),
            Self::Data(error) => error.hint(),
            Self::Tokenize(error) => error.hint(),
            Self::Table(error) => error.hint(),
            Self::Spool(error) => error.hint(),
            Self::Io(error) => error.hint(),
        }
    }
}
