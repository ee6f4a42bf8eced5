//! An adapter and its base model as one model, for programs that know no adapters.

use std::path::PathBuf;

use serde::Serialize;

use super::error::TrainError;
use crate::io;
use crate::model::{Decoder, Lora, export};
use crate::ops::Backend;
use crate::policy::{PolicyError, PolicySource};

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
    /// What a user should know of the base model and the tokenizer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The merged model: a Hugging Face folder, in `f32`.
    pub out: PathBuf,
}

/// Writes `W + s·B·A` as a Hugging Face folder, all of it under its name or none.
///
/// # Errors
/// If there is no adapter, if it belongs to another model, or if something is in the way.
pub fn merge(plan: &MergePlan) -> Result<MergeSummary, TrainError> {
    let policy = PolicySource::of_adapter(&plan.adapter, plan.model.as_deref())?;
    if plan.out.exists() {
        return Err(TrainError::Taken { path: plan.out.clone() });
    }
    let (model, source) = (policy.name(), policy.base());
    let tokenizer = policy.tokenizer()?;
    let (merged, lora) = merged(&policy)?;
    let lora = lora.ok_or_else(|| PolicyError::NoAdapter { path: plan.adapter.clone() })?;
    io::write_dir(&plan.out, |out| {
        let written = export(&merged, source, out, plan.shard_bytes);
        written.map_err(|source| TrainError::Model { model: model.to_owned(), source })?;
        Ok::<_, TrainError>(tokenizer.files.save(&tokenizer.source, out)?)
    })?;
    let notes = policy.notes().iter().cloned().chain(tokenizer.notes).collect();
    Ok(MergeSummary { notes, model: model.to_owned(), adapter: policy.path().to_owned(), lora, out: plan.out.clone() })
}

/// A policy as a model without an adapter, and what its adapter is like, if it has one.
pub(super) fn merged(policy: &PolicySource) -> Result<(Decoder, Option<Lora>), TrainError> {
    let decoder = policy.load(&Backend::cpu())?;
    let lora = decoder.lora().cloned();
    let merged = decoder.merged();
    Ok((merged.map_err(|source| TrainError::Model { model: policy.name().to_owned(), source })?, lora))
}
