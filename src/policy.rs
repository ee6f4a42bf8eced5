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
    /// A folder without a policy.
    #[error("no policy in `{}`: expected `config.json` or `adapter_config.json` in it or in its `policy`", path.display())]
    NoPolicy {
        /// The folder.
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
            Self::NoAdapter { .. } => Some("a run with `--lora-r` ends with one; other policies are whole".into()),
            Self::NoBase { .. } => Some(
                "name it with `--model`; where that names the adapter now, the adapter goes into `--adapter`".into(),
            ),
            Self::NoPolicy { .. } => Some("a run has one when it has finished".into()),
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
        if let Some(folder) = adapter {
            return Self::of_adapter(folder, Some(model));
        }
        let found = if path.join("config.json").is_file() { None } else { Self::find(path, None)? };
        match found {
            Some(policy) => Ok(policy),
            None => Ok(Self { base: ModelSource::resolve(model)?, name: model.to_owned(), adapter: None }),
        }
    }

    /// The policy that a folder is, or that the run in it ended with. An adapter goes over `base`, or over the model it
    /// names; a whole model has no base.
    ///
    /// # Errors
    /// If there is neither, or an adapter names no base model.
    pub fn in_folder(path: &Path, base: Option<&str>) -> Result<Self, PolicyError> {
        Self::find(path, base)?.ok_or_else(|| PolicyError::NoPolicy { path: path.to_owned() })
    }

    /// The adapter that a folder is, or that the run in it ended with, over `base`, or over the model it names.
    ///
    /// # Errors
    /// If there is no adapter, or it names no base model.
    pub fn of_adapter(path: &Path, base: Option<&str>) -> Result<Self, PolicyError> {
        let folder = find_adapter(path).ok_or_else(|| PolicyError::NoAdapter { path: path.to_owned() })?;
        let named = match base {
            Some(base) => Some(base.to_owned()),
            None => adapter_base(&folder).map_err(|source| in_folder(&folder, source))?,
        };
        let name = named.filter(|name| !name.is_empty()).ok_or_else(|| PolicyError::NoBase { path: folder.clone() })?;
        Ok(Self { base: ModelSource::resolve(&name)?, name, adapter: Some(folder) })
    }

    fn find(path: &Path, base: Option<&str>) -> Result<Option<Self>, PolicyError> {
        if find_adapter(path).is_some() {
            return Self::of_adapter(path, base).map(Some);
        }
        let of_run = path.join("policy");
        let whole = [path, of_run.as_path()].into_iter().find(|folder| folder.join("config.json").is_file());
        Ok(whole.map(|folder| Self {
            name: folder.display().to_string(),
            base: ModelSource::Folder(folder.to_owned()),
            adapter: None,
        }))
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

    /// The folder of its adapter, or else what the model itself is: where what was trained stands.
    pub fn path(&self) -> &Path {
        self.adapter().unwrap_or_else(|| self.base.path())
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
        let adapter = Adapter::read(folder, model.config(), &digests, model.device());
        Ok(model.with_adapter(adapter.map_err(|source| in_folder(folder, source))?))
    }
}

fn in_folder(folder: &Path, source: ModelError) -> PolicyError {
    PolicyError::Model { model: folder.display().to_string(), source }
}
