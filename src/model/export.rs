//! Weights and configuration as a Hugging Face folder.

use std::path::Path;

use candle_core::Tensor;
use safetensors::SafeTensorError;
use serde_json::{Value, json};

use super::config::{DecoderConfig, RopeScaling};
use super::decoder::Decoder;
use super::error::ModelError;
use super::weights;
use crate::io::{self, IoError};
use crate::model_source::ModelSource;

/// Largest weight file, in bytes, where nothing else is said: `max_shard_size` of transformers 4.
pub const DEFAULT_SHARD_BYTES: u64 = 5_000_000_000;

/// Whether [`export`] can say in `config.json` what a model is, without loading its weights.
///
/// # Errors
/// If its rotary frequencies have no name there, or its configuration cannot be read.
pub fn check_export(source: &ModelSource) -> Result<(), ModelError> {
    match source {
        ModelSource::Folder(_) => Ok(()),
        ModelSource::Gguf(path) => hf_config(&weights::config(source)?, path).map(drop),
    }
}

/// Writes `config.json` and the weights in `f32` into `folder`, in files of at most `shard_bytes` bytes of tensors; one
/// that is larger has a file of its own.
///
/// The configuration of a Hugging Face folder is copied, its dtype set; that of a GGUF file is written anew.
///
/// # Errors
/// If a file cannot be written, or the rotary frequencies of a GGUF file have no name in `config.json`.
pub fn export(model: &Decoder, source: &ModelSource, folder: &Path, shard_bytes: u64) -> Result<(), ModelError> {
    let mut config = match source {
        ModelSource::Folder(original) => {
            let path = original.join("config.json");
            serde_json::from_str(&io::read_text(&path)?).map_err(|source| ModelError::Json { path, source })?
        }
        ModelSource::Gguf(path) => hf_config(model.config(), path)?,
    };
    if let Some(keys) = config.as_object_mut() {
        keys.remove("torch_dtype");
        keys.insert("dtype".into(), "float32".into());
        // An adapter may have parted them.
        if !model.config().tie_word_embeddings && keys.get("tie_word_embeddings").is_some_and(|tied| tied == true) {
            keys.insert("tie_word_embeddings".into(), false.into());
        }
    }
    write_json(&folder.join("config.json"), &config)?;
    write_weights(model, folder, shard_bytes)
}

fn write_weights(model: &Decoder, folder: &Path, shard_bytes: u64) -> Result<(), ModelError> {
    let tensors: Vec<(&str, &Tensor)> = model.params().iter().map(|(_, name, tensor)| (name, tensor)).collect();
    let shard_bytes = usize::try_from(shard_bytes).unwrap_or(usize::MAX);
    let shards = crate::batch::pack(tensors.iter().map(|(_, tensor)| 4 * tensor.elem_count()), shard_bytes);
    let n_shards = shards.len();
    let mut weight_map = serde_json::Map::new();
    for (index, shard) in shards.into_iter().enumerate() {
        let name = match n_shards {
            1 => "model.safetensors".to_owned(),
            _ => format!("model-{:05}-of-{n_shards:05}.safetensors", index + 1),
        };
        weight_map.extend(tensors[shard.clone()].iter().map(|(tensor, _)| ((*tensor).to_owned(), json!(name))));
        write_safetensors(&folder.join(name), tensors[shard].iter().copied(), [("format", "pt")])?;
    }
    if n_shards > 1 {
        let total_size = 4 * model.params().n_parameters();
        let index = json!({"metadata": {"total_size": total_size}, "weight_map": weight_map});
        write_json(&folder.join("model.safetensors.index.json"), &index)?;
    }
    Ok(())
}

/// Writes tensors as one safetensors file, through a temporary one.
pub(crate) fn write_safetensors<'a, N: AsRef<str> + Ord + std::fmt::Display>(
    path: &Path,
    tensors: impl Iterator<Item = (N, &'a Tensor)>,
    metadata: impl IntoIterator<Item = (&'static str, &'static str)>,
) -> Result<(), ModelError> {
    let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    safetensors::serialize_to_file(tensors, Some(metadata), path).map_err(|source| match source {
        SafeTensorError::IoError(source) => IoError::new("write", path, source).into(),
        source => ModelError::Safetensors { path: path.to_owned(), source },
    })?;
    Ok(io::sync(path)?)
}

fn write_json(path: &Path, value: &Value) -> Result<(), ModelError> {
    let text =
        serde_json::to_string_pretty(value).map_err(|source| ModelError::Json { path: path.to_owned(), source })?;
    Ok(io::write(path, format!("{text}\n").as_bytes())?)
}

/// `config.json` of a decoder that came from a GGUF file.
fn hf_config(config: &DecoderConfig, path: &Path) -> Result<Value, ModelError> {
    let mut rope = json!({"rope_type": "default", "rope_theta": config.rope.theta});
    match &config.rope.scaling {
        RopeScaling::None => {}
        RopeScaling::Linear { factor } => {
            rope["rope_type"] = "linear".into();
            rope["factor"] = (*factor).into();
        }
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => {
            rope["rope_type"] = "llama3".into();
            rope["factor"] = (*factor).into();
            rope["low_freq_factor"] = (*low_freq_factor).into();
            rope["high_freq_factor"] = (*high_freq_factor).into();
            rope["original_max_position_embeddings"] = (*original).into();
        }
        RopeScaling::PerFrequency { .. } => {
            return Err(ModelError::ConfigValue {
                path: path.to_owned(),
                key: "rope_freqs.weight".into(),
                expected: "rotary factors that `config.json` can name (train from the Hugging Face folder, or an adapter, instead)"
                    .into(),
                found: "one factor per frequency".into(),
            });
        }
    }
    Ok(json!({
        "architectures": [config.architecture.hf_name()],
        "model_type": config.architecture.model_type(),
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.n_layers(),
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope.theta,
        "rope_parameters": rope,
        "tie_word_embeddings": config.tie_word_embeddings,
        "attention_bias": config.qkv_bias,
        "mlp_bias": config.mlp_bias,
        "max_position_embeddings": config.max_position_embeddings.unwrap_or(2048),
    }))
}
