//! An adapter and its base model as one model, for programs that know no adapters.

use std::path::PathBuf;

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
    let unnamed = |source| TrainError::Model { model: folder.display().to_string(), source };
    let named = match &plan.model {
        Some(model) => Some(model.clone()),
        None => adapter_base(&folder).map_err(unnamed)?,
    };
    let model = named.filter(|name| !name.is_empty()).ok_or_else(|| TrainError::NoBase { path: folder.clone() })?;
    let in_model = |source: ModelError| TrainError::Model { model: model.clone(), source };

    let source = ModelSource::resolve(&model)?;
    let digests = Digests::of(&source).map_err(in_model)?;
    let tokenizer = TokenizerFiles::load(&source)?;
    let base = Decoder::load(&source, &Backend::cpu()).map_err(in_model)?;
    let adapter = Adapter::read(&folder, base.config(), &digests, base.device()).map_err(in_model)?;
    let lora = adapter.lora().clone();
    let merged = base.with_adapter(adapter).merged().map_err(in_model)?;
    io::write_dir(&plan.out, |out| {
        export(&merged, &source, out).map_err(in_model)?;
        Ok::<_, TrainError>(tokenizer.save(&source, out)?)
    })?;
    Ok(MergeSummary { model, adapter: folder, lora, out: plan.out.clone() })
}
