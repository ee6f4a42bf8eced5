//! The model that functions of SQL ask, as flags.

use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::interrupt::Interrupt;
use crate::model::ScoringDtype;
use crate::ops::DeviceName;
use crate::pipeline::{Pipeline, PrecomputeSettings, Settings, words};
use crate::policy::PolicySource;
use crate::query::Extra;
use crate::scoring::{self, ModelFiles, Models};
use crate::tokenize::TokenizerFiles;

/// The model that functions of SQL ask.
#[derive(Debug, clap::Args)]
pub(super) struct QueryModel {
    /// Model that `ref_logps` scores with, and whose tokenizer `n_tokens`, `tokenize` and `token_text` ask, and the tokens of
    /// `logps`: a folder, a `.gguf` file, `org/name`, an adapter or a run. Its weights are read when a query first needs
    /// them.
    #[arg(long, value_name = "M")]
    pub(super) model: Option<String>,

    /// Number format it computes in.
    #[arg(long, value_parser = words::<ScoringDtype>(), requires = "model")]
    dtype: Option<ScoringDtype>,

    /// Where it runs: `cpu`, `cuda` (`cuda:1` for the second GPU) or `metal`. GPUs need a build with the feature of that
    /// name.
    #[arg(long, requires = "model")]
    device: Option<DeviceName>,

    /// Tokens in one forward pass: a matter of speed and memory, never of the result.
    #[arg(long, value_name = "TOKENS", requires = "model")]
    max_tokens: Option<NonZeroUsize>,
}

/// What the functions of a session need of it.
pub(super) struct Found {
    pub(super) tokenizer: Option<TokenizerFiles>,
    pub(super) models: Arc<dyn Models>,
}

impl QueryModel {
    /// Reads the tokenizer and finds the weights; without a model the functions are there and say so. When `interrupt` is
    /// set, they stop.
    pub(super) fn find(&self, interrupt: &Interrupt) -> anyhow::Result<Found> {
        let Some(model) = &self.model else {
            return Ok(Found { tokenizer: None, models: Arc::new(ModelFiles::new(Vec::new())) });
        };
        let source = PolicySource::resolve(model, None)?;
        let tokenizer = source.tokenizer()?.files;
        let (dtype, device, max_tokens) = (self.dtype, self.device, self.max_tokens);
        let flags = Settings {
            model: Some(model.clone()),
            precompute: PrecomputeSettings { dtype, device, max_tokens, ..PrecomputeSettings::default() },
            ..Settings::default()
        };
        let file = Pipeline::from_flags(&flags)?.model_file(source)?;
        Ok(Found { tokenizer: Some(tokenizer), models: Arc::new(ModelFiles::new(vec![file]).stopped_by(interrupt)) })
    }
}

impl Found {
    /// The functions that score.
    pub(super) fn functions(&self) -> Vec<Extra> {
        scoring::functions(&self.models)
    }
}
