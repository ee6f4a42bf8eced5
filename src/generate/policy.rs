//! Where a policy is: a model, an adapter with its base model, or the run that made one of them.

use std::path::{Path, PathBuf};

use super::error::GenerateError;
use super::generator::max_length;
use crate::model::{Adapter, Decoder, Digests, ModelError, adapter_base, find_adapter, shapes};
use crate::model_source::ModelSource;
use crate::ops::Backend;

/// A policy that was found on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySource {
    /// As the base model is called.
    name: String,
    base: ModelSource,
    adapter: Option<PathBuf>,
}

impl PolicySource {
    /// Finds the policy a user names: a model as [`ModelSource::resolve`] does, the folder of an adapter, whose base model
    /// is the one it names, or a run folder, for the policy in it. An `adapter` goes over `model`.
    ///
    /// # Errors
    /// If there is no such model or adapter, or an adapter names no base model.
    pub fn resolve(model: &str, adapter: Option<&Path>) -> Result<Self, GenerateError> {
        let path = Path::new(model);
        let (name, adapter) = match adapter {
            Some(adapter) => {
                let no_adapter = || GenerateError::NoAdapter { path: adapter.to_owned() };
                (model.to_owned(), Some(find_adapter(adapter).ok_or_else(no_adapter)?))
            }
            None if path.join("config.json").is_file() => (model.to_owned(), None),
            None => match find_adapter(path) {
                Some(folder) => {
                    let unread = |source| GenerateError::Model { model: model.to_owned(), source };
                    let base = adapter_base(&folder).map_err(unread)?.filter(|base| !base.is_empty());
                    (base.ok_or_else(|| GenerateError::NoBase { path: folder.clone() })?, Some(folder))
                }
                None => (policy_of_run(path).unwrap_or_else(|| model.to_owned()), None),
            },
        };
        Ok(Self { base: ModelSource::resolve(&name)?, name, adapter })
    }

    /// The model whose tokenizer and configuration the policy has.
    pub fn base(&self) -> &ModelSource {
        &self.base
    }

    /// The folder of its adapter, if it has one.
    pub fn adapter(&self) -> Option<&Path> {
        self.adapter.as_deref()
    }

    /// Most tokens of prompt and answer together, without loading the weights.
    pub(super) fn max_length(&self) -> Result<usize, GenerateError> {
        let config = shapes(&self.base).map(|(config, _)| config);
        Ok(max_length(&config.map_err(|source| GenerateError::Model { model: self.name.clone(), source })?))
    }

    /// The model, its adapter beside it.
    pub(super) fn load(&self, backend: &Backend) -> Result<Decoder, GenerateError> {
        let in_model = |source: ModelError| GenerateError::Model { model: self.name.clone(), source };
        let model = Decoder::load(&self.base, backend).map_err(in_model)?;
        let Some(folder) = &self.adapter else { return Ok(model) };
        let digests = Digests::of(&self.base).map_err(in_model)?;
        let adapter = Adapter::read(folder, model.config(), &digests, model.device()).map_err(in_model)?;
        Ok(model.with_adapter(adapter))
    }
}

/// A run that trained all weights has a whole model as its policy.
fn policy_of_run(path: &Path) -> Option<String> {
    let policy = path.join("policy");
    policy.join("config.json").is_file().then(|| policy.to_str().map(str::to_owned))?
}
