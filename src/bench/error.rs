//! Why nothing can be measured.

use crate::data::DataError;
use crate::error::Hint;
use crate::loss::LossError;
use crate::model::ModelError;
use crate::policy::PolicyError;
use crate::tokenize::TokenizeError;

/// What can go wrong in a measurement.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The data has no pair that can be scored.
    #[error("no pair to measure in {n_rows} rows")]
    NoPairs {
        /// Rows read.
        n_rows: u64,
    },
    /// The model.
    #[error("cannot use model `{model}`")]
    Model {
        /// As the user gave it.
        model: String,
        /// Why.
        #[source]
        source: ModelError,
    },
    /// The objective cannot be evaluated on the pairs.
    #[error("cannot evaluate the objective")]
    Loss {
        /// Why not.
        #[source]
        source: LossError,
    },
    /// A pool of one thread could not be made.
    #[error("cannot start a thread")]
    Threads {
        /// Why.
        #[source]
        source: rayon::ThreadPoolBuildError,
    },
    /// Where the model is.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The tokenizer or its template.
    #[error(transparent)]
    Tokenize(#[from] TokenizeError),
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
}

impl Hint for BenchError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoPairs { .. } => Some("`piref precompute` on the same data says what is wrong with each row".into()),
            Self::Model { source, .. } => source.hint(),
            Self::Loss { source: LossError::Missing { .. } } => {
                Some("a measurement reads no columns but those of the pairs: measure another objective".into())
            }
            Self::Loss { source } => source.hint(),
            Self::Policy(error) => error.hint(),
            Self::Tokenize(error) => error.hint(),
            Self::Data(error) => error.hint(),
            Self::Threads { .. } => None,
        }
    }
}
