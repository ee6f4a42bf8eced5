//! A trained policy, wherever it stands: a model, an adapter with its base model, or the run that made one of them.

use std::path::{Path, PathBuf};

use crate::error::Hint;
use crate::model::{Adapter, Decoder, Digests, ModelError, adapter_base, find_adapter};
use crate::model_source::{ModelSource, ModelSourceError};
use crate::ops::Backend;

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A folder that holds no adapter.
    #[error("no adapter in `{}`: expected `adapter_config.json` in it or in its `policy`", path.display())]
    NoAdapter {
        /// The folder.
        path: PathBuf,
    },
    /// An adapter that names no base model.
    #[error("the adapter in `{}` names no base model", path.display())]
    NoBase {
        /// Its folder.
        path: PathBuf,
    },
    /// The model or its adapter cannot be read.
    #[error("cannot use model `{model}`")]
    Model {
        /// The model, or the folder of the adapter.
        model: String,
        /// Why not.
        #[source]
        source: ModelError,
    },
    /// Where the model is.
    #[error(transparent)]
    Source(#[from] ModelSourceError),
}

impl Hint for PolicyError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoAdapter { .. } => Some("a whole model goes into `--model`".into()),
            Self::NoBase { .. } => Some("name it with `--model`, and the adapter with `--adapter`".into()),
            Self::Model { source, .. } => source.hint(),
            Self::Source(error) => error.hint(),
        }
    }
}

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
    pub fn resolve(model: &str, adapter: Option<&Path>) -> Result<Self, PolicyError> {
        let path = Path::new(model);
        let (name, adapter) = match adapter {
            Some(adapter) => {
                let no_adapter = || PolicyError::NoAdapter { path: adapter.to_owned() };
                (model.to_owned(), Some(find_adapter(adapter).ok_or_else(no_adapter)?))
            }
            None if path.join("config.json").is_file() => (model.to_owned(), None),
            None => match find_adapter(path) {
                Some(folder) => {
                    let unread = |source| PolicyError::Model { model: folder.display().to_string(), source };
                    let base = adapter_base(&folder).map_err(unread)?.filter(|base| !base.is_empty());
                    (base.ok_or_else(|| PolicyError::NoBase { path: folder.clone() })?, Some(folder))
                }
                None => (policy_of_run(path).unwrap_or_else(|| model.to_owned()), None),
            },
        };
        Ok(Self { base: ModelSource::resolve(&name)?, name, adapter })
    }

    /// What the base model is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The model whose tokenizer and configuration the policy has.
    pub fn base(&self) -> &ModelSource {
        &self.base
    }

    /// The folder of its adapter, if it has one.
    pub fn adapter(&self) -> Option<&Path> {
        self.adapter.as_deref()
    }

    /// The model, its adapter beside it.
    ///
    /// # Errors
    /// If one of them cannot be read, or they do not belong together.
    pub fn load(&self, backend: &Backend) -> Result<Decoder, PolicyError> {
        let in_base = |source: ModelError| PolicyError::Model { model: self.name.clone(), source };
        let model = Decoder::load(&self.base, backend).map_err(in_base)?;
        let Some(folder) = &self.adapter else { return Ok(model) };
        let digests = Digests::of(&self.base).map_err(in_base)?;
        let in_adapter = |source| PolicyError::Model { model: folder.display().to_string(), source };
        let adapter = Adapter::read(folder, model.config(), &digests, model.device()).map_err(in_adapter)?;
        Ok(model.with_adapter(adapter))
    }
}

/// A run that trained all weights has a whole model as its policy.
fn policy_of_run(path: &Path) -> Option<String> {
    let policy = path.join("policy");
    policy.join("config.json").is_file().then(|| policy.to_str().map(str::to_owned))?
}
