//! Why a call of a scoring function fails as a whole.

use datafusion::error::DataFusionError;

use crate::digest::{Digest, ParseDigestError};
use crate::error::Hint;
use crate::model::ModelError;
use crate::policy::PolicyError;

/// Why a call of a scoring function fails as a whole; what is wrong with one row is a [`RowFault`](super::RowFault).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScoringError {
    /// No model to ask.
    #[error("a model is needed, and none was named")]
    NoModel,
    /// Several models, and no digest that says which.
    #[error("expected the digest of one of the models at hand, found none: {}", listed(known))]
    NoDigest {
        /// Digests of the models.
        known: Vec<Digest>,
    },
    /// Text that is no digest.
    #[error("a model is named by its digest")]
    NotADigest {
        /// What was found.
        #[source]
        source: ParseDigestError,
    },
    /// A model that is not here, or that computes otherwise.
    #[error("no model at hand has the digest `{expected}`: found {}", listed(known))]
    OtherModel {
        /// As asked for.
        expected: Digest,
        /// Digests of the models.
        known: Vec<Digest>,
    },
    /// A model that cannot be loaded, or a pass that failed.
    #[error("cannot use model `{model}`")]
    Model {
        /// As the user gave it.
        model: String,
        /// Why.
        #[source]
        source: ModelError,
    },
    /// A model whose files cannot be read, or do not belong together.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// A query that nobody waits for.
    #[error("the query was stopped")]
    Stopped,
    /// A struct that no scoring function made.
    #[error("expected the struct of `ref_logps`, found {found}")]
    Foreign {
        /// What is wrong with it.
        found: String,
    },
}

fn listed(digests: &[Digest]) -> String {
    match digests {
        [] => "none".into(),
        digests => digests.iter().map(|digest| format!("`{digest}`")).collect::<Vec<_>>().join(", "),
    }
}

impl ScoringError {
    /// Whether it is the machine that failed, so that another one, or another time, may do better.
    pub fn is_infrastructure(&self) -> bool {
        match self {
            Self::Model { source, .. } | Self::Policy(PolicyError::Model { source, .. }) => {
                matches!(source, ModelError::Io(_) | ModelError::Tensor { .. })
            }
            // Where one machine ends, another one goes on.
            Self::Stopped => true,
            _ => false,
        }
    }
}

impl From<ScoringError> for DataFusionError {
    fn from(error: ScoringError) -> Self {
        if error.is_infrastructure() {
            Self::IoError(std::io::Error::other(error))
        } else {
            Self::External(Box::new(error))
        }
    }
}

impl Hint for ScoringError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoModel => Some("`--model M` names one: a folder, a `.gguf` file or `org/name`".into()),
            Self::NotADigest { .. } | Self::OtherModel { .. } => Some(
                "`SELECT model_digest()` says that of the model at hand, and NULL stands for it; weights, configuration, \
                 number format and code path are all in it"
                    .into(),
            ),
            Self::Model { source, .. } => source.hint(),
            Self::Policy(error) => error.hint(),
            Self::NoDigest { .. } | Self::Stopped | Self::Foreign { .. } => None,
        }
    }
}
