//! Why a verification cannot be made.

use crate::error::Hint;
use crate::io::IoError;
use crate::model::ModelError;
use crate::policy::PolicyError;
use crate::table::TableError;
use crate::tokenize::TokenizeError;

/// Why a verification cannot be made. What is wrong with a table is no error but a finding.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A path that is no table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The model.
    #[error("cannot use model `{model}`")]
    Model {
        /// As the user gave it.
        model: String,
        /// Why.
        #[source]
        source: ModelError,
    },
    /// Where the model is.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The tokenizer of the model.
    #[error(transparent)]
    Tokenize(#[from] TokenizeError),
    /// A file.
    #[error(transparent)]
    Io(#[from] IoError),
}

impl Hint for VerifyError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Table(error) => error.hint(),
            Self::Model { source, .. } => source.hint(),
            Self::Policy(error) => error.hint(),
            Self::Tokenize(error) => error.hint(),
            Self::Io(error) => error.hint(),
        }
    }
}
