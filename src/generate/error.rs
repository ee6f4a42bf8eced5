//! Why nothing is generated.

use std::path::PathBuf;

use crate::data::DataError;
use crate::error::Hint;
use crate::model::ModelError;
use crate::policy::PolicyError;
use crate::tokenize::TokenizeError;

/// What can go wrong between a prompt and its answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// A setting that no distribution can be cut by.
    #[error("`{setting}`: expected {expected}, found {found}")]
    Sampling {
        /// Its name.
        setting: &'static str,
        /// The range.
        expected: &'static str,
        /// The value.
        found: f64,
    },
    /// A prompt without tokens: nothing predicts the first token of an answer.
    #[error("expected a prompt of at least one token, found none")]
    EmptyPrompt,
    /// A prompt that leaves no room for an answer.
    #[error("the prompt of {n_tokens} tokens fills the {max_length} positions the model was made for")]
    PromptTooLong {
        /// Tokens of the prompt.
        n_tokens: usize,
        /// Positions of the model.
        max_length: usize,
    },
    /// A model that has stopped computing numbers.
    #[error("the logits after {n_tokens} tokens are not finite")]
    NotFinite {
        /// Tokens of the prompt and of the answer so far.
        n_tokens: usize,
    },
    /// Texts to make a conversation of, and a model that does not say how.
    #[error("`{}` has no chat template to make a conversation of the prompt", model.display())]
    NoTemplate {
        /// The model.
        model: PathBuf,
    },
    /// Not one prompt can be completed.
    #[error("no prompt can be completed, {n_rejected} are rejected; the first, {place}: {reason}")]
    NoPrompts {
        /// How many there are.
        n_rejected: u64,
        /// Where the first comes from.
        place: String,
        /// Why it is none.
        reason: String,
    },
    /// Data without a single prompt.
    #[error("the data has no prompts")]
    NoData,
    /// The model cannot be loaded or run.
    #[error("cannot use model `{model}`")]
    Model {
        /// As given.
        model: String,
        /// Why not.
        #[source]
        source: ModelError,
    },
    /// A pass over the model failed.
    #[error(transparent)]
    Pass(#[from] ModelError),
    /// Tokenizer or template.
    #[error(transparent)]
    Tokenize(#[from] TokenizeError),
    /// The data file.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Where the model is.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

impl Hint for GenerateError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoTemplate { .. } => Some("`--raw` takes the text as it is".into()),
            Self::Sampling { setting: "temperature", .. } => Some("0 is greedy".into()),
            Self::Pass(error) => error.hint(),
            Self::Tokenize(error) => error.hint(),
            Self::Data(error) => error.hint(),
            Self::Policy(error) => error.hint(),
            _ => None,
        }
    }
}
