//! An adapter as a folder of PEFT: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! Beside them stands `piref.json`, with the digests of the weights the adapter belongs to: PEFT keeps only a name, and
//! an adapter over other weights computes nonsense without an error. A folder of PEFT has no such file and is taken as
//! it is.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::adapter_config::{AdapterConfig, CONFIG};
use super::adapter_weights::{self, PREFIX, WEIGHTS};
use super::decoder::Decoder;
use super::error::ModelError;
use super::lora::{Adapter, Lora, parameters};
use super::tensor_writer::write_safetensors;
use super::weights::Digests;
use crate::digest::{Digest, ModelIdentity};
use crate::io;

const BASE: &str = "piref.json";

/// What an adapter is written as.
pub(super) const FILES: [&str; 3] = [CONFIG, WEIGHTS, BASE];

/// `piref.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Base {
    weights_digest: Digest,
    config_digest: Digest,
    /// Not of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identity: Option<ModelIdentity>,
}

/// The base model of an adapter, as PEFT will look for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseName {
    /// A folder, a file or `org/name`.
    pub name: String,
    /// The revision of `org/name`.
    pub revision: Option<String>,
}

/// Whether a folder holds an adapter in place of a model.
pub fn is_adapter(folder: &Path) -> bool {
    folder.join(CONFIG).is_file()
}

/// The folder of the adapter that a path stands for: that folder, or a run folder whose policy is one.
pub fn find_adapter(path: &Path) -> Option<PathBuf> {
    let of_run = path.join("policy");
    [path, of_run.as_path()].into_iter().find(|folder| is_adapter(folder)).map(Path::to_owned)
}

/// What the adapter of a folder is like, without loading it.
pub fn adapter_config(folder: &Path) -> Result<Lora, ModelError> {
    Ok(AdapterConfig::read(folder)?.lora)
}

/// Digest of what an adapter computes: what its configuration says of that, and its tensors. Where its base model is, and
/// what is only of use in training, is no part of it.
pub fn adapter_digest(folder: &Path) -> Result<Digest, ModelError> {
    let config = AdapterConfig::read(folder)?;
    let lora = Lora { dropout: 0.0, ..config.lora };
    let said = json!({ "lora": lora, "token_rows": config.token_rows, "is_tied": config.is_tied }).to_string();
    let weights = folder.join(WEIGHTS);
    let (weights, _) = io::digest(if weights.is_file() { &weights } else { return Err(no_weights(folder)) })?;
    Ok(Digest::of_parts([("config", said.as_bytes()), ("weights", weights.as_bytes().as_slice())]))
}

fn no_weights(folder: &Path) -> ModelError {
    ModelError::NoAdapterWeights {
        folder: folder.to_owned(),
        has_pickle: folder.join(adapter_weights::PICKLE).is_file(),
    }
}

/// Whether an adapter says which weights it belongs to, and those are others.
///
/// # Errors
/// [`ModelError::OtherBase`].
pub fn check_adapter_base(folder: &Path, base: &Digests) -> Result<(), ModelError> {
    let path = folder.join(BASE);
    if !path.is_file() {
        return Ok(());
    }
    let text = io::read_settings(&path)?;
    let theirs: Base = serde_json::from_str(&text).map_err(|source| ModelError::Json { path: path.clone(), source })?;
    let pairs = match theirs.identity {
        Some(theirs) => {
            [("weights", theirs.weights, base.identity.weights), ("configuration", theirs.config, base.identity.config)]
        }
        None => {
            [("weights", theirs.weights_digest, base.weights), ("configuration", theirs.config_digest, base.config)]
        }
    };
    for (what, expected, found) in pairs {
        if expected != found {
            return Err(ModelError::OtherBase { path, what, expected, found });
        }
    }
    Ok(())
}

/// Whether an adapter says by digest which weights it belongs to.
pub fn names_digests(folder: &Path) -> bool {
    folder.join(BASE).is_file()
}

impl Adapter {
    /// Reads an adapter of a model with these digests, which it is laid over.
    ///
    /// # Errors
    /// If it is no LoRA, has a part that the decoder would not honour, or belongs to other weights.
    pub fn read(folder: &Path, model: &Decoder, base: &Digests) -> Result<Self, ModelError> {
        let config = AdapterConfig::read(folder)?;
        check_adapter_base(folder, base)?;
        adapter_weights::read(folder, config, model)
    }

    /// The adapter of a model as it is written: together with the one that is in its weights already, which nobody else
    /// would find there.
    ///
    /// # Errors
    /// If that one has a part that is not of low rank.
    pub fn over(self, beneath: Option<&Self>) -> Result<Self, ModelError> {
        beneath.map_or(Ok(self.clone()), |beneath| beneath.joined(&self))
    }
}

/// Writes an adapter into `folder`.
///
/// # Errors
/// If a file cannot be written.
pub fn export_adapter(adapter: &Adapter, name: &BaseName, base: &Digests, folder: &Path) -> Result<(), ModelError> {
    let lora = &adapter.lora;
    let config = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": name.name,
        "revision": name.revision,
        "inference_mode": true,
        "r": lora.r,
        "lora_alpha": whole(lora.alpha),
        "lora_dropout": lora.dropout,
        "use_rslora": lora.use_rslora,
        "target_modules": lora.target_modules,
        "exclude_modules": lora.exclude_modules,
        "layers_to_transform": lora.layers_to_transform,
        "layers_pattern": Some(&lora.layers_pattern).filter(|patterns| !patterns.is_empty()),
        "rank_pattern": lora.rank_pattern,
        "alpha_pattern": lora.alpha_pattern.0.iter().map(|(pattern, alpha)| (pattern.clone(), whole(*alpha))).collect::<serde_json::Map<_, _>>(),
        "bias": "none",
        "fan_in_fan_out": false,
        "init_lora_weights": true,
        "modules_to_save": null,
    });
    write_json(&folder.join(CONFIG), &config)?;
    let digests = json!({ "weights_digest": base.weights, "config_digest": base.config, "identity": base.identity });
    write_json(&folder.join(BASE), &digests)?;
    let tensors = adapter.maps.iter().flat_map(|low| {
        let [a, b] = parameters(&low.module);
        [(format!("{PREFIX}{a}"), &low.a), (format!("{PREFIX}{b}"), &low.b)]
    });
    write_safetensors(&folder.join(WEIGHTS), tensors, [("format", "pt")])
}

/// A number as PEFT writes it, which takes `lora_alpha` for a whole one.
#[expect(clippy::cast_possible_truncation, reason = "a whole number below 2³¹ fits")]
fn whole(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < f64::from(i32::MAX) { json!(number as i64) } else { json!(number) }
}

fn write_json(path: &Path, value: &Value) -> Result<(), ModelError> {
    Ok(io::write(path, format!("{value:#}\n").as_bytes())?)
}
