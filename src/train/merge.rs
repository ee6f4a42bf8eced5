//! An adapter and its base model as one model, for programs that know no adapters.

use std::path::PathBuf;

use serde::Serialize;

use super::error::TrainError;
use super::policy_folder;
use crate::io;
use crate::model::{Decoder, Export, Lora, SaveDtype, SavedWeights};
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
    /// Number type of the weights.
    pub save_dtype: SaveDtype,
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
    /// What the number type of the file made of the weights.
    #[serde(flatten)]
    pub weights: SavedWeights,
    /// The merged model: a Hugging Face folder.
    pub out: PathBuf,
}

impl MergeSummary {
    /// What a user should know, where the number type of the file is coarser than what was learnt.
    pub fn warning(&self) -> Option<String> {
        policy_folder::lost(&self.weights)
    }
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
    let ids = policy_folder::named_ids(source, &tokenizer.files)?;
    let how = Export { dtype: plan.save_dtype, shard_bytes: plan.shard_bytes };
    let mut saved = None;
    io::write_dir(&plan.out, |out| {
        saved = Some(policy_folder::write_whole(&merged, source, &tokenizer, &ids, how, out)?);
        Ok::<_, TrainError>(())
    })?;
    let notes = policy.notes().iter().cloned().chain(tokenizer.notes).collect();
    let (adapter, out) = (policy.path().to_owned(), plan.out.clone());
    let weights = saved.unwrap_or(SavedWeights { dtype: "float32", trained: None, rounded: 0.0 });
    Ok(MergeSummary { notes, model: model.to_owned(), adapter, lora, weights, out })
}

/// A policy as a model without an adapter, and what its adapter is like, if it has one.
pub(super) fn merged(policy: &PolicySource) -> Result<(Decoder, Option<Lora>), TrainError> {
    let decoder = policy.load(&Backend::cpu())?;
    let lora = decoder.lora().cloned();
    let merged = decoder.merged();
    Ok((merged.map_err(|source| TrainError::Model { model: policy.name().to_owned(), source })?, lora))
}
