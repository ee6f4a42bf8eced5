//! The model a run starts from: found, digested, and loaded as the run trains it.

use super::course::Course;
use super::error::TrainError;
use super::order::rng;
use super::plan::Trained;
use super::policy_folder;
use crate::digest::Digest;
use crate::model::{Adapter, Decoder, Digests, ModelError, NamedIds, adapter_digest, check_export};
use crate::model_source::ModelSource;
use crate::tokenize::TokenizerFiles;

/// A model on disk, its weights not loaded.
pub(crate) struct Base {
    pub(crate) source: ModelSource,
    pub(crate) digests: Digests,
    /// Of the adapter the policy starts from, if it starts from one.
    pub(crate) adapter: Option<Digest>,
    pub(crate) tokenizer: TokenizerFiles,
    /// What its configuration has to say of tokens.
    pub(crate) ids: NamedIds,
}

impl Base {
    /// Finds what a course starts from.
    ///
    /// # Errors
    /// If the model, its tokenizer or the adapter is not there, or the policy could not be written and read at the end.
    pub(crate) fn open(course: &Course) -> Result<Self, TrainError> {
        let source = ModelSource::resolve(&course.model)?;
        let in_model = in_model(course);
        let is_whole = matches!(course.trained, Trained::Weights | Trained::Drawn);
        let config = check_export(&source, is_whole).map_err(in_model)?;
        let tokenizer = TokenizerFiles::load(&source)?;
        let ids = policy_folder::named_ids(&source, &tokenizer)?;
        if is_whole {
            policy_folder::prove_whole(&config, &source, &tokenizer, &ids, course.save_dtype)?;
        }
        let digests = match &course.trained {
            Trained::Drawn => {
                let seed = Digest::of_parts([("seed of the weights", course.seed.to_le_bytes().as_slice())]);
                Digests::of_drawn(&source, seed).map_err(in_model)?
            }
            _ => Digests::of(&source).map_err(in_model)?,
        };
        let adapter = match &course.trained {
            Trained::Adapter { path, .. } => Some(adapter_digest(path).map_err(in_model)?),
            Trained::Weights | Trained::NewAdapter(_) | Trained::Drawn => None,
        };
        Ok(Self { source, digests, adapter, tokenizer, ids })
    }

    /// The policy before its first step.
    ///
    /// # Errors
    /// If the weights or the adapter are not what the decoder honours.
    pub(crate) fn load(&self, course: &Course) -> Result<Decoder, TrainError> {
        let in_model = in_model(course);
        let purpose = |name: &str| rng(course.seed, &format!("start of {name}"));
        if course.trained == Trained::Drawn {
            let model = Decoder::draw(&self.source, &course.backend, purpose).map_err(in_model)?;
            return Ok(model.with_dtype(course.dtype));
        }
        let model = Decoder::load(&self.source, &course.backend).map_err(in_model)?.with_dtype(course.dtype);
        let adapter = match &course.trained {
            Trained::Weights | Trained::Drawn => return Ok(model),
            Trained::NewAdapter(lora) => Adapter::new(lora, model.config(), model.device(), purpose),
            Trained::Adapter { path, dropout } => {
                let adapter = Adapter::read(path, model.config(), &self.digests, model.device());
                adapter.map(|adapter| adapter.with_dropout(*dropout))
            }
        };
        Ok(model.with_adapter(adapter.map_err(in_model)?))
    }
}

fn in_model(course: &Course) -> impl Fn(ModelError) -> TrainError + Copy + use<'_> {
    |source| TrainError::Model { model: course.model.clone(), source }
}
