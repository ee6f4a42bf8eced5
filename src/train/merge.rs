//! An adapter and its base model as one model, for programs that know no adapters.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::TrainError;
use crate::io;
use crate::model::{Adapter, Decoder, Digests, Lora, ModelError, adapter_base, export, find_adapter};
use crate::model_source::ModelSource;
use crate::ops::Backend;
use crate::tokenize::TokenizerFiles;

/// What to merge.
#[derive(Debug, Clone)]
pub struct MergePlan {
    /// A run folder, or the folder of an adapter.
    pub adapter: PathBuf,
    /// The base model: folder, `.gguf` file or cached name; `None`: the one the adapter names.
    pub model: Option<String>,
    /// The folder to write.
    pub out: PathBuf,
    /// Largest weight file, in bytes.
    pub shard_bytes: u64,
}

/// What was merged.
#[derive(Debug, Clone, Serialize)]
pub struct MergeSummary {
    /// The base model.
    pub model: String,
    /// The adapter.
    pub adapter: PathBuf,
    /// What it is like.
    pub lora: Lora,
    /// The merged model: a Hugging Face folder, in `f32`.
    pub out: PathBuf,
}

/// Writes `W + s·B·A` as a Hugging Face folder, all of it under its name or none.
///
/// # Errors
/// If there is no adapter, if it belongs to another model, or if something is in the way.
pub fn merge(plan: &MergePlan) -> Result<MergeSummary, TrainError> {
    let folder = find_adapter(&plan.adapter).ok_or_else(|| TrainError::NoAdapter { path: plan.adapter.clone() })?;
    if plan.out.exists() {
        return Err(TrainError::Taken { path: plan.out.clone() });
    }
    let model = base_name(&folder, plan.model.as_deref())?;
    let source = ModelSource::resolve(&model)?;
    let tokenizer = TokenizerFiles::load(&source)?;
    let (merged, lora) = merged(&folder, &model, &source)?;
    io::write_dir(&plan.out, |out| {
        let written = export(&merged, &source, out, plan.shard_bytes);
        written.map_err(|source| TrainError::Model { model: model.clone(), source })?;
        Ok::<_, TrainError>(tokenizer.save(&source, out)?)
    })?;
    Ok(MergeSummary { model, adapter: folder, lora, out: plan.out.clone() })
}

/// The name of the model an adapter is for: as given, or as its folder has it.
pub(super) fn base_name(folder: &Path, given: Option<&str>) -> Result<String, TrainError> {
    let unnamed = |source| TrainError::Model { model: folder.display().to_string(), source };
    let named = match given {
        Some(model) => Some(model.to_owned()),
        None => adapter_base(folder).map_err(unnamed)?,
    };
    named.filter(|name| !name.is_empty()).ok_or_else(|| TrainError::NoBase { path: folder.to_owned() })
}

/// A model with the adapter of a folder added to its weights, and what the adapter is like.
pub(super) fn merged(folder: &Path, name: &str, source: &ModelSource) -> Result<(Decoder, Lora), TrainError> {
    let in_model = |source: ModelError| TrainError::Model { model: name.to_owned(), source };
    let digests = Digests::of(source).map_err(in_model)?;
    let base = Decoder::load(source, &Backend::cpu()).map_err(in_model)?;
    let adapter = Adapter::read(folder, base.config(), &digests, base.device()).map_err(in_model)?;
    let lora = adapter.lora().clone();
    Ok((base.with_adapter(adapter).merged().map_err(in_model)?, lora))
}
