//! Weights and configuration as a Hugging Face folder.
//!
//! What is written is what transformers 4 and 5 and vLLM read alike: the rotary embedding in the spelling of either
//! (`rope_theta` and `rope_scaling`, `rope_parameters`), the number type as `dtype` and as `torch_dtype`. Everything else
//! that the configuration of a Hugging Face folder says is carried over as it stands, and so is its
//! `generation_config.json`. Files that no program reads from a model (`LICENSE`, `README.md`) are not.

use std::collections::BTreeSet;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::config::{DecoderConfig, Rope, RopeScaling};
use super::config_hf;
use super::decoder::Decoder;
use super::error::ModelError;
use super::{adapter_folder, identity, tensor_writer, weights, weights_safetensors};
use crate::io;
use crate::model_source::ModelSource;
use crate::ops::{Kernels, reduce};

/// Largest weight file, in bytes, where nothing else is said: `max_shard_size` of transformers 4.
pub const DEFAULT_SHARD_BYTES: u64 = 5_000_000_000;

const CONFIG: &str = "config.json";
const GENERATION_CONFIG: &str = "generation_config.json";

/// Whether a model or an adapter that is written has a file of that name; those of its tokenizer are others.
pub fn exports(name: &str) -> bool {
    let is_shard = || {
        let middle = name.strip_prefix("model-").and_then(|rest| rest.strip_suffix(".safetensors"));
        let numbers = middle.and_then(|middle| middle.split_once("-of-"));
        numbers.is_some_and(|(at, of)| [at, of].iter().all(|number| number.bytes().all(|byte| byte.is_ascii_digit())))
    };
    [CONFIG, GENERATION_CONFIG, weights_safetensors::SINGLE, weights_safetensors::INDEX].contains(&name)
        || adapter_folder::FILES.contains(&name)
        || is_shard()
}

/// Number type of the weights of a policy in its folder. Training keeps them in `f32`, in its checkpoints too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SaveDtype {
    /// That of the model the policy comes from: the one all of its tensors have, else `f32`, as of a GGUF file.
    #[default]
    Auto,
    /// Every number as it was trained.
    F32,
    /// Rounded to the nearest number of bf16.
    Bf16,
    /// Rounded to the nearest number of f16.
    F16,
}

impl SaveDtype {
    /// The type, for a policy that comes from this model.
    ///
    /// # Errors
    /// If its weight files cannot be read.
    fn of(self, source: &ModelSource) -> Result<DType, ModelError> {
        match (self, source) {
            (Self::F32, _) | (Self::Auto, ModelSource::Gguf(_)) => Ok(DType::F32),
            (Self::Bf16, _) => Ok(DType::BF16),
            (Self::F16, _) => Ok(DType::F16),
            (Self::Auto, ModelSource::Folder(folder)) => of_folder(folder),
        }
    }
}

/// The type that all tensors of a folder have, `f32` where there are several or none.
fn of_folder(folder: &Path) -> Result<DType, ModelError> {
    let files = match weights_safetensors::files(folder) {
        Err(ModelError::NoWeights { .. }) => return Ok(DType::F32),
        files => files?,
    };
    let mut found = BTreeSet::new();
    for path in files {
        let map = io::map(&path)?;
        let file =
            SafeTensors::deserialize(&map).map_err(|source| ModelError::Safetensors { path: path.clone(), source })?;
        found.extend(file.iter().map(|(_, view)| view.dtype()));
    }
    Ok(match found.into_iter().collect::<Vec<_>>().as_slice() {
        [Dtype::BF16] => DType::BF16,
        [Dtype::F16] => DType::F16,
        _ => DType::F32,
    })
}

/// The configuration of a model without its weights; where a whole policy is to be written, only if `config.json` can say
/// what it is.
///
/// # Errors
/// If its rotary frequencies have no name there, or its configuration cannot be read.
pub fn check_export(source: &ModelSource, is_whole: bool) -> Result<DecoderConfig, ModelError> {
    let config = weights::config(source)?;
    if let (ModelSource::Gguf(path), true) = (source, is_whole) {
        rope(&config.rope, path)?;
    }
    Ok(config)
}

/// How a policy is written.
#[derive(Debug, Clone, Copy)]
pub struct Export {
    /// Number type of its weights.
    pub dtype: SaveDtype,
    /// Largest weight file, in bytes; a tensor that is larger has a file of its own.
    pub shard_bytes: u64,
}

/// Ids of tokens that a model names, for the configuration of one whose files have none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedIds {
    /// Begins a text.
    pub bos: Option<u32>,
    /// Ends one.
    pub eos: Option<u32>,
    /// Fills one up.
    pub pad: Option<u32>,
    /// End an answer, each of them.
    pub ends: BTreeSet<u32>,
}

/// What rounding made of weights that were written. Norms are over all parameters.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SavedWeights {
    /// The number type of the file, as `config.json` names it.
    pub dtype: &'static str,
    /// How far training moved the weights: `‖W − W₀‖/‖W₀‖`, W₀ those of the model the policy comes from; `None` where
    /// nothing was rounded, or there are none.
    pub trained: Option<f64>,
    /// How far the number type moved them from there: `‖W′ − W‖/‖W‖`, W′ those of the file.
    pub rounded: f64,
}

/// Writes `config.json`, and `generation_config.json` where there is something to say in it, into `folder`.
///
/// The configuration of a Hugging Face folder is carried over; that of a GGUF file is written anew, with the `ids` that
/// the file names.
///
/// # Errors
/// If a file cannot be written, or the rotary frequencies of a GGUF file have no name in `config.json`.
pub fn export_config(
    config: &DecoderConfig,
    source: &ModelSource,
    ids: &NamedIds,
    dtype: SaveDtype,
    folder: &Path,
) -> Result<(), ModelError> {
    let dtype = name_of(dtype.of(source)?);
    let mut keys = match source {
        ModelSource::Folder(original) => {
            let generation = original.join(GENERATION_CONFIG);
            if generation.is_file() {
                io::copy(&generation, &folder.join(GENERATION_CONFIG))?;
            }
            config_hf::object(&original.join(CONFIG))?
        }
        ModelSource::Gguf(path) => {
            let ends: Vec<u32> = ids.ends.iter().copied().collect();
            let ends = match ends.as_slice() {
                [] => Value::Null,
                [end] => json!(end),
                ends => json!(ends),
            };
            let generation = json!({"bos_token_id": ids.bos, "eos_token_id": ends, "pad_token_id": ids.pad});
            write_json(&folder.join(GENERATION_CONFIG), &generation)?;
            of_gguf(config, ids, path)?
        }
    };
    // Code of its own, which is not in the folder: the decoder is that of the architecture, or the model was refused.
    keys.shift_remove("auto_map");
    keys.insert("architectures".into(), json!([config.architecture.hf_name()]));
    keys.insert("model_type".into(), config.architecture.model_type().into());
    keys.insert("tie_word_embeddings".into(), config.tie_word_embeddings.into());
    keys.insert("dtype".into(), dtype.into());
    keys.insert("torch_dtype".into(), dtype.into());
    spell_rope(&mut keys, config.rope.theta);
    write_json(&folder.join(CONFIG), &Value::Object(keys))
}

/// Writes the rotary embedding in both spellings: `rope_theta` and `rope_scaling` of transformers 4 (null without
/// scaling), `rope_parameters` of transformers 5. One per type of layer has no old spelling and stays as it is.
fn spell_rope(keys: &mut Map<String, Value>, theta: f64) {
    // transformers 5 (`RotaryEmbeddingConfigMixin.convert_rope_params_to_dict`) takes `rope_scaling` where it is set.
    let mut tables = ["rope_scaling", "rope_parameters"].into_iter().filter_map(|key| keys.get(key)?.as_object());
    let mut table = tables.find(|table| !table.is_empty()).cloned().unwrap_or_default();
    if table.values().any(Value::is_object) {
        return;
    }
    let old_name = table.shift_remove("type");
    let kind = table.shift_remove("rope_type").or(old_name).filter(|kind| !kind.is_null());
    let kind = kind.unwrap_or_else(|| "default".into());
    // As the decoder has read it, wherever it stands.
    table.shift_remove("rope_theta");
    let theta = Value::from(theta);
    let with_kind = |more: Option<(String, Value)>| {
        let head = [("rope_type".to_owned(), kind.clone())].into_iter().chain(more);
        Value::Object(head.chain(table.clone()).collect())
    };
    let scaling = if kind == "default" { Value::Null } else { with_kind(None) };
    let parameters = with_kind(Some(("rope_theta".into(), theta.clone())));
    keys.insert("rope_theta".into(), theta);
    keys.insert("rope_scaling".into(), scaling);
    keys.insert("rope_parameters".into(), parameters);
}

/// Whether the `config.json` in `folder` is read back as this configuration.
///
/// # Errors
/// Names the first setting that is another one.
pub fn check_config(config: &DecoderConfig, folder: &Path) -> Result<(), ModelError> {
    let found = weights::config(&ModelSource::Folder(folder.to_owned()))?;
    match identity::first_difference(config, &found) {
        None => Ok(()),
        Some((key, expected, found)) => Err(ModelError::ReadBack {
            key,
            expected: super::error::shown(expected),
            found: super::error::shown(found),
        }),
    }
}

/// Writes a model into `folder`: its configuration, as [`export_config`] does, and its weights.
///
/// # Errors
/// If a file cannot be written, the rotary frequencies of a GGUF file have no name in `config.json`, or a weight is too
/// large for its type.
pub fn export(
    model: &Decoder,
    source: &ModelSource,
    ids: &NamedIds,
    how: Export,
    folder: &Path,
) -> Result<SavedWeights, ModelError> {
    export_config(model.config(), source, ids, how.dtype, folder)?;
    check_config(model.config(), folder)?;
    let dtype = how.dtype.of(source)?;
    let tensors: Vec<(&str, &Tensor, DType)> =
        model.params().iter().map(|(_, name, tensor)| (name, tensor, dtype)).collect();
    let shard_bytes = usize::try_from(how.shard_bytes).unwrap_or(usize::MAX);
    let n_bytes = |tensor: &Tensor| dtype.size_in_bytes() * tensor.elem_count();
    let shards = crate::batch::pack(tensors.iter().map(|(_, tensor, _)| n_bytes(tensor)), shard_bytes);
    let n_shards = shards.len();
    let mut weight_map = Map::new();
    let mut moved = 0.0;
    for (index, shard) in shards.into_iter().enumerate() {
        let name = match n_shards {
            1 => "model.safetensors".to_owned(),
            _ => format!("model-{:05}-of-{n_shards:05}.safetensors", index + 1),
        };
        weight_map.extend(tensors[shard.clone()].iter().map(|(tensor, ..)| ((*tensor).to_owned(), json!(name))));
        moved += tensor_writer::write(&folder.join(name), tensors[shard].to_vec(), [("format", "pt")])?;
    }
    if n_shards > 1 {
        let total_size = dtype.size_in_bytes() * model.params().n_parameters();
        let index = json!({"metadata": {"total_size": total_size}, "weight_map": weight_map});
        write_json(&folder.join("model.safetensors.index.json"), &index)?;
    }
    if moved == 0.0 {
        return Ok(SavedWeights { dtype: name_of(dtype), trained: None, rounded: 0.0 });
    }
    let square = |tensor: &Tensor| reduce::sum_of_squares(&tensor.to_device(&Device::Cpu)?, Kernels::Own);
    let norm: candle_core::Result<f64> = tensors.iter().map(|(_, tensor, _)| square(tensor)).sum();
    let norm = norm.map_err(ModelError::tensor("comparing weights"))?;
    let trained = match source {
        ModelSource::Folder(base) => weights_safetensors::distance(base, model.params())?,
        ModelSource::Gguf(_) => None,
    };
    Ok(SavedWeights { dtype: name_of(dtype), trained, rounded: (moved / norm).sqrt() })
}

/// As torch calls it.
fn name_of(dtype: DType) -> &'static str {
    match dtype {
        DType::BF16 => "bfloat16",
        DType::F16 => "float16",
        _ => "float32",
    }
}

fn write_json(path: &Path, value: &Value) -> Result<(), ModelError> {
    let text =
        serde_json::to_string_pretty(value).map_err(|source| ModelError::Json { path: path.to_owned(), source })?;
    Ok(io::write(path, format!("{text}\n").as_bytes())?)
}

/// The configuration of a decoder that came from a GGUF file. A begin token that it does not name is null: without the
/// key, transformers takes that of Llama 2.
fn of_gguf(config: &DecoderConfig, ids: &NamedIds, path: &Path) -> Result<Map<String, Value>, ModelError> {
    let keys = json!({
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.n_layers(),
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": config.rms_norm_eps,
        "rope_parameters": rope(&config.rope, path)?,
        "attention_bias": config.qkv_bias,
        "mlp_bias": config.mlp_bias,
        "max_position_embeddings": config.max_position_embeddings.unwrap_or(2048),
        "bos_token_id": ids.bos,
        "eos_token_id": ids.eos,
        "pad_token_id": ids.pad,
    });
    Ok(if let Value::Object(keys) = keys { keys } else { Map::new() })
}

/// As transformers 5 writes it.
fn rope(rope: &Rope, path: &Path) -> Result<Value, ModelError> {
    Ok(match &rope.scaling {
        RopeScaling::None => json!({"rope_type": "default", "rope_theta": rope.theta}),
        RopeScaling::Linear { factor } => json!({"rope_type": "linear", "rope_theta": rope.theta, "factor": factor}),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => json!({
            "rope_type": "llama3",
            "rope_theta": rope.theta,
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original,
        }),
        RopeScaling::PerFrequency { .. } => {
            return Err(ModelError::ConfigValue {
                path: path.to_owned(),
                key: "rope_freqs.weight".into(),
                expected: "rotary factors that `config.json` can name (train from the Hugging Face folder, or an adapter, instead)"
                    .into(),
                found: "one factor per frequency".into(),
            });
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelt(config: Value, theta: f64) -> Value {
        let Value::Object(mut keys) = config else { panic!("no table") };
        spell_rope(&mut keys, theta);
        Value::Object(keys)
    }

    #[test]
    fn a_rotary_embedding_is_written_in_both_spellings() {
        let plain = json!({
            "rope_theta": 5e5, "rope_scaling": null, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5},
        });
        let linear = json!({
            "rope_theta": 5e5, "rope_scaling": {"rope_type": "linear", "factor": 4.0},
            "rope_parameters": {"rope_type": "linear", "rope_theta": 5e5, "factor": 4.0},
        });
        for (config, want) in [
            (json!({"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}), &plain),
            (json!({"rope_parameters": {"rope_theta": 5e5}, "rope_scaling": null}), &plain),
            (json!({"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5e5}}), &linear),
            (
                json!({"rope_parameters": {}, "rope_scaling": {"type": "linear", "factor": 4.0, "rope_theta": 5e5}}),
                &linear,
            ),
            (linear.clone(), &linear),
        ] {
            assert_eq!(spelt(config.clone(), 5e5), *want, "{config}");
        }
        // In the old spelling the base stands beside the table, which is where the decoder has read it.
        let old = spelt(json!({"rope_theta": 10000, "rope_scaling": {"type": "linear", "factor": 2}}), 10_000.0);
        assert_eq!(old["rope_parameters"], json!({"rope_type": "linear", "rope_theta": 10_000.0, "factor": 2}));
        assert_eq!(
            spelt(json!({}), 10_000.0)["rope_parameters"],
            json!({"rope_type": "default", "rope_theta": 10_000.0})
        );
        let nested = json!({"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}});
        assert_eq!(spelt(nested.clone(), 1e4), nested);
    }
}
