//! A trained policy as a GGUF file, where the model it comes from was one.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::TrainError;
use super::merge::merged;
use crate::model::{GgufWeights, Lora, OutType, export_gguf};
use crate::model_source::ModelSource;
use crate::policy::PolicySource;

/// What to write as GGUF.
#[derive(Debug, Clone)]
pub struct GgufPlan {
    /// A run folder, or the folder of a policy: a whole model or an adapter.
    pub policy: PathBuf,
    /// The `.gguf` file whose metadata and tokenizer to keep; an adapter is merged into its weights. `None`: the one the
    /// adapter names.
    pub base: Option<String>,
    /// Its number types.
    pub outtype: OutType,
    /// The file to write, which is replaced if it is there.
    pub out: PathBuf,
}

/// What was written.
#[derive(Debug, Clone, Serialize)]
pub struct GgufSummary {
    /// The base.
    pub model: String,
    /// The policy.
    pub policy: PathBuf,
    /// What its adapter is like, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<Lora>,
    /// Number types of the file.
    pub outtype: OutType,
    /// What was written, and what the types made of it.
    #[serde(flatten)]
    pub weights: GgufWeights,
    /// The file.
    pub out: PathBuf,
}

/// Writes the policy as a GGUF file, all of it under its name or none.
///
/// # Errors
/// If there is no policy, if its base is no GGUF file or another model, or if the file would take the place of the base.
pub fn policy_to_gguf(plan: &GgufPlan) -> Result<GgufSummary, TrainError> {
    let policy = PolicySource::in_folder(&plan.policy, plan.base.as_deref())?;
    let (model, source) = match (policy.adapter(), &plan.base) {
        (Some(_), _) => (policy.name().to_owned(), policy.base().clone()),
        (None, Some(base)) => (base.clone(), PolicySource::resolve(base, None)?.base().clone()),
        (None, None) => return Err(TrainError::NoBase { path: policy.path().to_owned() }),
    };
    let ModelSource::Gguf(base) = &source else {
        return Err(TrainError::NoGguf { path: source.path().to_owned() });
    };
    if is_same(&plan.out, base) {
        return Err(TrainError::Taken { path: plan.out.clone() });
    }
    let (decoder, lora) = merged(&policy)?;
    let weights = export_gguf(&decoder, base, plan.outtype, &plan.out);
    let weights = weights.map_err(|source| TrainError::Model { model: model.clone(), source })?;
    let policy = policy.path().to_owned();
    Ok(GgufSummary { model, policy, lora, outtype: plan.outtype, weights, out: plan.out.clone() })
}

fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    real(one).is_some() && real(one) == real(other)
}
