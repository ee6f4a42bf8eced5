//! A trained policy, wherever it stands: a model, an adapter beside its base model, or the run that ended with either.

use std::path::{Path, PathBuf};

use super::error::EvalError;
use crate::model::{Adapter, Decoder, Digests, ModelError, ScoringDtype, adapter_base, is_adapter};
use crate::model_source::ModelSource;
use crate::ops::Backend;
use crate::tokenize::TokenizerFiles;

/// A policy in memory.
#[derive(Debug)]
pub struct Policy {
    /// Its weights, with the adapter beside them if it has one.
    pub model: Decoder,
    /// Its tokenizer; of an adapter, that of its base model.
    pub tokenizer: TokenizerFiles,
}

impl Policy {
    /// Loads the policy a user names: a Hugging Face folder, a `.gguf` file, a cached name, the folder of an adapter, or a
    /// run folder with `policy/` in it. `base` is the base model of an adapter, where its own name for it leads nowhere.
    ///
    /// # Errors
    /// If there is no such model, if an adapter names no base model or belongs to another, or if `base` is named for a
    /// policy that is no adapter.
    pub fn load(name: &str, base: Option<&str>, backend: &Backend, dtype: ScoringDtype) -> Result<Self, EvalError> {
        let folder = folder(name);
        if is_adapter(&folder) {
            return Self::load_adapter(&folder, base, backend, dtype);
        }
        if base.is_some() {
            return Err(EvalError::NeedlessBase { policy: name.to_owned() });
        }
        let source = ModelSource::resolve(&folder.to_string_lossy())?;
        let tokenizer = TokenizerFiles::load(&source)?;
        let in_model = |source| EvalError::Model { model: name.to_owned(), source };
        let model = Decoder::load(&source, backend).map_err(in_model)?.with_dtype(dtype);
        Ok(Self { model, tokenizer })
    }

    fn load_adapter(
        folder: &Path,
        base: Option<&str>,
        backend: &Backend,
        dtype: ScoringDtype,
    ) -> Result<Self, EvalError> {
        let in_adapter = |source: ModelError| EvalError::Model { model: folder.display().to_string(), source };
        let named = match base {
            Some(base) => Some(base.to_owned()),
            None => adapter_base(folder).map_err(in_adapter)?,
        };
        let base = named.filter(|name| !name.is_empty());
        let base = base.ok_or_else(|| EvalError::NoBase { path: folder.to_owned() })?;
        let in_base = |source| EvalError::Model { model: base.clone(), source };
        let source = ModelSource::resolve(&base)?;
        let digests = Digests::of(&source).map_err(in_base)?;
        let tokenizer = TokenizerFiles::load(&source)?;
        let model = Decoder::load(&source, backend).map_err(in_base)?.with_dtype(dtype);
        let adapter = Adapter::read(folder, model.config(), &digests, model.device()).map_err(in_adapter)?;
        Ok(Self { model: model.with_adapter(adapter), tokenizer })
    }
}

/// Where the model or adapter of a name is: in a run folder it is the policy.
fn folder(name: &str) -> PathBuf {
    let path = Path::new(name);
    let policy = path.join("policy");
    let is_model = path.join("config.json").is_file() || is_adapter(path);
    if policy.is_dir() && !is_model { policy } else { path.to_owned() }
}
