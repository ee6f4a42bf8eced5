//! The model a run starts from: found, digested, and loaded as the run trains it.

use std::path::Path;
use std::sync::OnceLock;

use super::course::Course;
use super::error::TrainError;
use super::order::rng;
use super::plan::Trained;
use super::policy_folder;
use crate::digest::Digest;
use crate::model::{Adapter, Decoder, Digests, ModelError, NamedIds, check_export};
use crate::policy::{PolicyDigests, PolicyError, PolicySource, PolicyTokenizer};

/// A model on disk, its weights not loaded.
pub(crate) struct Base {
    pub(crate) source: PolicySource,
    /// Of the model the policy starts from, with its adapter, whether that is trained or in the weights.
    pub(crate) digests: PolicyDigests,
    pub(crate) tokenizer: PolicyTokenizer,
    /// What its configuration has to say of tokens.
    pub(crate) ids: NamedIds,
    /// The adapter of the model that is in its weights, once they are loaded.
    beneath: OnceLock<Adapter>,
}

impl Base {
    /// Finds what a course starts from.
    ///
    /// # Errors
    /// If the model, its tokenizer or the adapter is not there, or the policy could not be written and read at the end.
    pub(crate) fn open(course: &Course) -> Result<Self, TrainError> {
        let source = course.source()?;
        let in_model = in_model(course);
        let is_whole = matches!(course.trained, Trained::Weights | Trained::Drawn);
        let config = check_export(source.base(), is_whole).map_err(in_model)?;
        let tokenizer = source.tokenizer()?;
        let ids = policy_folder::named_ids(source.base(), &tokenizer.files)?;
        if is_whole {
            policy_folder::prove_whole(&config, source.base(), &tokenizer, &ids, course.save_dtype)?;
        }
        let digests = match &course.trained {
            Trained::Drawn => {
                let seed = Digest::of_parts([("seed of the weights", course.seed.to_le_bytes().as_slice())]);
                PolicyDigests { base: Digests::of_drawn(source.base(), seed).map_err(in_model)?, adapter: None }
            }
            _ => source.digests()?,
        };
        Ok(Self { source, digests, tokenizer, ids, beneath: OnceLock::new() })
    }

    /// What it is read from: the model, and where that is an adapter, its base.
    pub(crate) fn paths(&self) -> [&Path; 2] {
        [self.source.path(), self.source.base().path()]
    }

    /// What a user should know of the model and its tokenizer.
    pub(crate) fn notes(&self) -> impl Iterator<Item = &String> {
        self.source.notes().iter().chain(&self.tokenizer.notes)
    }

    /// The policy before its first step.
    ///
    /// # Errors
    /// If the weights or the adapter are not what the decoder honours, or the adapter that is trained could not be
    /// written.
    pub(crate) fn load(&self, course: &Course) -> Result<Decoder, TrainError> {
        let in_model = in_model(course);
        let purpose = |name: &str| rng(course.seed, &format!("start of {name}"));
        if course.trained == Trained::Drawn {
            let model = Decoder::draw(self.source.base(), &course.backend, purpose).map_err(in_model)?;
            return Ok(model.with_dtype(course.dtype));
        }
        let model = Decoder::load(self.source.base(), &course.backend).map_err(in_model)?.with_dtype(course.dtype);
        let found = self.source.read_adapter(&model)?;
        match &course.trained {
            Trained::Adapter { dropout, .. } => {
                let adapter = found.ok_or_else(|| PolicyError::NoAdapter { path: self.source.path().to_owned() })?;
                refuse_fixed(&adapter).map_err(in_model)?;
                model.with_adapter(adapter.with_dropout(*dropout)).map_err(in_model)
            }
            Trained::NewAdapter(lora) => {
                let model = match found {
                    Some(beneath) => {
                        refuse_fixed(&beneath).map_err(in_model)?;
                        let beneath = self.beneath.get_or_init(|| beneath);
                        model.with_adapter(beneath.clone()).and_then(Decoder::merged).map_err(in_model)?
                    }
                    None => model,
                };
                let adapter = Adapter::new(lora, model.config(), model.device(), purpose).map_err(in_model)?;
                model.with_adapter(adapter).map_err(in_model)
            }
            Trained::Weights | Trained::Drawn => match found {
                Some(beneath) => model.with_adapter(beneath).and_then(Decoder::merged).map_err(in_model),
                None => Ok(model),
            },
        }
    }

    /// The adapter of a policy as it is written: with the one that is in the weights of the model, so that it belongs to
    /// the base model that is on disk; `None` for a whole policy.
    pub(crate) fn adapter_of(&self, policy: &Decoder) -> Result<Option<Adapter>, ModelError> {
        policy.adapter().map(|adapter| adapter.over(self.beneath.get())).transpose()
    }
}

/// An adapter that is trained, or trained over, is written as one of low rank.
fn refuse_fixed(adapter: &Adapter) -> Result<(), ModelError> {
    match adapter.fixed().next() {
        Some(name) => Err(ModelError::FixedPart { name: name.to_owned() }),
        None => Ok(()),
    }
}

fn in_model(course: &Course) -> impl Fn(ModelError) -> TrainError + Copy + use<'_> {
    |source| TrainError::Model { model: course.model.clone(), source }
}
