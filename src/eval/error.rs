//! Why there is no evaluation.

use std::path::PathBuf;

use crate::digest::Digest;
use crate::error::Hint;
use crate::loss::LossError;
use crate::model::ModelError;
use crate::policy::PolicyError;
use crate::table::{Difference, TableError};
use crate::tokenize::TokenizeError;

/// What can go wrong in an evaluation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// Nothing to evaluate.
    #[error("there are no pairs to evaluate")]
    NoPairs,
    /// A table without pairs.
    #[error("held-out table `{}` holds no pairs", path.display())]
    EmptyTable {
        /// The table.
        path: PathBuf,
    },
    /// More pairs than a 32-bit number can name.
    #[error("held-out table `{}` is too large: expected fewer than 2^32 pairs, found {n_pairs}", path.display())]
    TooManyPairs {
        /// The table.
        path: PathBuf,
        /// Pairs in it.
        n_pairs: usize,
    },
    /// The policy brings another tokenizer than the one the table was made with.
    #[error(
        "held-out table `{}` was made with another tokenizer: expected `{expected}`, the policy's, found `{found}`",
        table.display()
    )]
    Tokenizer {
        /// The table.
        table: PathBuf,
        /// The policy's.
        expected: Digest,
        /// The table's.
        found: Digest,
    },
    /// Rewards of training and of evaluation would be against different models.
    #[error(
        "held-out table `{}` has another reference than the pairs that are trained on: expected `{}` `{}`, found `{}`",
        table.display(), difference.field, difference.expected, difference.found
    )]
    OtherReference {
        /// The held-out table.
        table: PathBuf,
        /// The first field that differs: expected in the table of training, found in this one.
        difference: Difference,
    },
    /// The objective needs outside scores, and no columns of them are named.
    #[error("the objective needs outside scores of every pair, and no columns of them are named")]
    NoScores,
    /// A number that is none.
    #[error("{what} of pair `{pair_id}` is {found}")]
    NotFinite {
        /// What is not finite.
        what: &'static str,
        /// The number.
        found: f64,
        /// The pair.
        pair_id: String,
    },
    /// The model cannot be loaded.
    #[error("cannot use model `{model}`")]
    Model {
        /// As it was named.
        model: String,
        /// Why.
        #[source]
        source: ModelError,
    },
    /// A forward pass.
    #[error(transparent)]
    Pass(#[from] ModelError),
    /// The objective.
    #[error(transparent)]
    Loss(#[from] LossError),
    /// Where the model is.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The model's tokenizer.
    #[error(transparent)]
    Tokenize(#[from] TokenizeError),
    /// The table, or the one with the results.
    #[error(transparent)]
    Table(#[from] TableError),
}

impl Hint for EvalError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::EmptyTable { .. } => Some("`piref precompute` says how many rows it rejected, and why".into()),
            Self::Tokenizer { .. } => {
                Some("score the held-out pairs with the policy's reference (`piref precompute`)".into())
            }
            Self::OtherReference { difference, .. } => Some(format!(
                "score the held-out pairs with the same model and settings (`piref precompute`); `--allow-{}` evaluates \
                 against this one all the same",
                if difference.field == "dtype" { "dtype-drift" } else { "other-reference" }
            )),
            Self::NoScores => Some("`--chosen-score-column` and `--rejected-score-column` name them".into()),
            Self::NotFinite { .. } => Some("the policy has diverged: train it with a lower `--learning-rate`".into()),
            Self::NoPairs | Self::TooManyPairs { .. } => None,
            Self::Model { source, .. } => source.hint(),
            Self::Pass(error) => error.hint(),
            Self::Loss(error) => error.hint(),
            Self::Policy(error) => error.hint(),
            Self::Tokenize(error) => error.hint(),
            Self::Table(error) => error.hint(),
        }
    }
}
