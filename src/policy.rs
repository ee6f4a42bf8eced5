//! The model a user names, wherever it stands: a whole model, an adapter with its base model, or the run that made one of
//! them. Policies and references are told by the same names, in every command.

mod base;
mod error;
#[cfg(test)]
mod tests;
mod tokenizer;

use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::model::{Adapter, BaseName, Decoder, Digests, ModelError, adapter_digest};
use crate::model_source::{Found, ModelSource, ModelSourceError, Repository, locate};
use crate::ops::Backend;
pub use error::PolicyError;
pub use tokenizer::PolicyTokenizer;

/// A model that was found on disk, with an adapter over it or without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySource {
    /// As the base model is called.
    name: String,
    base: ModelSource,
    /// The repository of the base model, where that is what was named.
    repository: Option<Repository>,
    adapter: Option<PathBuf>,
    notes: Vec<String>,
}

/// Digests of a model, and of the adapter over it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyDigests {
    /// Of the base model.
    pub base: Digests,
    /// Of the adapter, if there is one.
    pub adapter: Option<Digest>,
}

impl PolicySource {
    /// Finds the model a user names: a whole one as [`ModelSource::resolve`] does, the folder of an adapter, whose base
    /// model is the one it names, or a run folder, for the policy in it. An `adapter` goes over `model`.
    ///
    /// # Errors
    /// If there is no such model or adapter, if an adapter names no base model that is here, or another than `model`.
    pub fn resolve(model: &str, adapter: Option<&Path>) -> Result<Self, PolicyError> {
        let located = locate(model)?;
        match (Found::at(&located.path)?, adapter) {
            (Found::Model(base), None) => Ok(Self {
                name: model.to_owned(),
                base,
                repository: located.repository,
                adapter: None,
                notes: Vec::new(),
            }),
            (Found::Adapter(folder), None) => Self::over_named(&folder),
            (found, Some(adapter)) => {
                let folder = adapter_folder(adapter)?;
                match found {
                    Found::Model(base) => Self::over_given(&folder, model, base, located.repository),
                    Found::Adapter(same) if base::is_same_place(&same, &folder) => Self::over_named(&folder),
                    Found::Adapter(other) => Err(PolicyError::TwoAdapters { model: other, adapter: folder }),
                }
            }
        }
    }

    /// The policy that a folder is, or that the run in it ended with. An adapter goes over `base`, or over the model it
    /// names; a whole model has no base.
    ///
    /// # Errors
    /// If there is neither, or an adapter names no base model that is here.
    pub fn in_folder(path: &Path, base: Option<&str>) -> Result<Self, PolicyError> {
        let name = path.to_string_lossy();
        match (Found::at(&locate(&name)?.path)?, base) {
            (Found::Adapter(folder), Some(base)) => Self::resolve(base, Some(&folder)),
            (Found::Adapter(folder), None) => Self::over_named(&folder),
            (Found::Model(source), _) => Ok(Self {
                name: source.path().display().to_string(),
                base: source,
                repository: None,
                adapter: None,
                notes: Vec::new(),
            }),
        }
    }

    /// The adapter that a folder is, or that the run in it ended with, over `base`, or over the model it names.
    ///
    /// # Errors
    /// If there is no adapter, or it names no base model that is here.
    pub fn of_adapter(path: &Path, base: Option<&str>) -> Result<Self, PolicyError> {
        let folder = adapter_folder(path)?;
        match base {
            Some(base) => Self::resolve(base, Some(&folder)),
            None => Self::over_named(&folder),
        }
    }

    fn over_named(folder: &Path) -> Result<Self, PolicyError> {
        let base::Named { name, source, repository } = base::named_by(folder)?;
        Ok(Self { name, base: source, repository, adapter: Some(folder.to_owned()), notes: Vec::new() })
    }

    fn over_given(
        folder: &Path,
        model: &str,
        base: ModelSource,
        repository: Option<Repository>,
    ) -> Result<Self, PolicyError> {
        let notes = base::compare(folder, model, &base)?.into_iter().collect();
        Ok(Self { name: model.to_owned(), base, repository, adapter: Some(folder.to_owned()), notes })
    }

    /// What the base model is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The model whose configuration the policy has.
    pub fn base(&self) -> &ModelSource {
        &self.base
    }

    /// The base model as an adapter is to name it, so that it is found from anywhere: PEFT looks for a relative path
    /// where it is started, not beside the adapter.
    pub fn base_name(&self) -> BaseName {
        if let Some(Repository { id, revision }) = &self.repository {
            return BaseName { name: id.clone(), revision: revision.clone() };
        }
        let path = self.base.path();
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        BaseName { name: path.display().to_string(), revision: None }
    }

    /// The folder of its adapter, if it has one.
    pub fn adapter(&self) -> Option<&Path> {
        self.adapter.as_deref()
    }

    /// The folder of its adapter, or else what the model itself is: where what was trained stands.
    pub fn path(&self) -> &Path {
        self.adapter().unwrap_or_else(|| self.base.path())
    }

    /// What a user should know of how it was found.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Digests its files, without loading it.
    ///
    /// # Errors
    /// If one of them cannot be read.
    pub fn digests(&self) -> Result<PolicyDigests, PolicyError> {
        let base = Digests::of(&self.base).map_err(|source| self.in_base(source))?;
        let of_adapter = |folder: &Path| adapter_digest(folder).map_err(|source| error::in_folder(folder, source));
        Ok(PolicyDigests { base, adapter: self.adapter().map(of_adapter).transpose()? })
    }

    /// The model, its adapter beside it.
    ///
    /// # Errors
    /// If one of them cannot be read, or they do not belong together.
    pub fn load(&self, backend: &Backend) -> Result<Decoder, PolicyError> {
        let model = Decoder::load(&self.base, backend).map_err(|source| self.in_base(source))?;
        match self.read_adapter(&model)? {
            Some(adapter) => model.with_adapter(adapter).map_err(|source| self.in_base(source)),
            None => Ok(model),
        }
    }

    /// The same as one model, the adapter in its weights.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_merged(&self, backend: &Backend) -> Result<Decoder, PolicyError> {
        self.load(backend)?.merged().map_err(|source| self.in_base(source))
    }

    /// Its adapter, if it has one; `model` is its base model.
    ///
    /// # Errors
    /// If it cannot be read, or belongs to another model.
    pub fn read_adapter(&self, model: &Decoder) -> Result<Option<Adapter>, PolicyError> {
        let Some(folder) = self.adapter() else { return Ok(None) };
        let digests = Digests::of(&self.base).map_err(|source| self.in_base(source))?;
        Adapter::read(folder, model, &digests).map(Some).map_err(|source| error::in_folder(folder, source))
    }

    fn in_base(&self, source: ModelError) -> PolicyError {
        PolicyError::Model { model: self.name.clone(), source }
    }
}

/// The folder of the adapter that a user names.
fn adapter_folder(path: &Path) -> Result<PathBuf, PolicyError> {
    let located = locate(&path.to_string_lossy())?;
    match Found::at(&located.path) {
        Ok(Found::Adapter(folder)) => Ok(folder),
        // A model and an adapter in one folder: named as an adapter, it is one.
        Err(ModelSourceError::Both { path, .. }) => Ok(path),
        Ok(Found::Model(_)) => Err(PolicyError::NoAdapter { path: path.to_owned() }),
        Err(error) => Err(error.into()),
    }
}
