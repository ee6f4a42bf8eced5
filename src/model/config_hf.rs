//! `config.json` of a Hugging Face folder, read as transformers 5.24 reads it, in the spelling of 4 and of 5.
//!
//! transformers makes a dataclass of the file (`PreTrainedConfig.from_dict`): an absent key has the default of the
//! `model_type`, and a value of another type than the field's is refused.

mod attention;
mod family;
mod fields;
mod keys;
mod rope;

use std::path::Path;

use serde_json::{Map, Value};

use super::config::{Architecture, DecoderConfig, MAX_LAYERS};
use super::error::ModelError;
use crate::io;
use fields::Fields;

/// Reads `config.json`.
///
/// # Errors
/// Names the key, what the decoder can do and what the file says.
pub(super) fn read(path: &Path) -> Result<DecoderConfig, ModelError> {
    parse(path, &object(path)?)
}

/// The keys of a `config.json`.
///
/// # Errors
/// If the file is no JSON object.
pub(super) fn object(path: &Path) -> Result<Map<String, Value>, ModelError> {
    let text = io::read_settings(path)?;
    match serde_json::from_str(&text).map_err(|source| ModelError::Json { path: path.to_owned(), source })? {
        Value::Object(object) => Ok(object),
        _ => Err(ModelError::NoObject { path: path.to_owned() }),
    }
}

fn parse(path: &Path, object: &Map<String, Value>) -> Result<DecoderConfig, ModelError> {
    let fields = Fields { path, section: "", object };
    let architecture = family::architecture(&fields)?;
    let defaults = family::defaults(architecture);
    hidden_act(&fields)?;
    keys::check(&fields, architecture)?;

    let hidden_size = fields.count_or("hidden_size", family::HIDDEN_SIZE)?;
    let n_layers = fields.count_or("num_hidden_layers", family::N_LAYERS)?;
    if n_layers > MAX_LAYERS {
        return Err(fields.wrong("num_hidden_layers", &format!("at most {MAX_LAYERS} layers")));
    }
    let heads = attention::heads(&fields, architecture, hidden_size, &defaults)?;
    let max_position_embeddings = fields.count_or("max_position_embeddings", defaults.max_position_embeddings)?;
    let biases = biases(&fields, architecture)?;
    Ok(DecoderConfig {
        architecture,
        vocab_size: fields.count_or("vocab_size", defaults.vocab_size)?,
        hidden_size,
        intermediate_size: fields.count_or("intermediate_size", defaults.intermediate_size)?,
        n_heads: heads.n_query,
        n_kv_heads: heads.n_kv,
        head_dim: heads.width,
        rms_norm_eps: fields.float_or("rms_norm_eps", family::RMS_NORM_EPS)?,
        rope: rope::rope(&fields, max_position_embeddings)?,
        tie_word_embeddings: fields.flag_or("tie_word_embeddings", false)?,
        qkv_bias: biases.qkv,
        output_bias: biases.output,
        mlp_bias: biases.mlp,
        qk_norm: architecture == Architecture::Qwen3,
        windows: attention::windows(&fields, architecture, n_layers, max_position_embeddings)?,
        max_position_embeddings: Some(max_position_embeddings),
    })
}

fn hidden_act(fields: &Fields<'_>) -> Result<(), ModelError> {
    match fields.object.get("hidden_act").map(Value::as_str) {
        None | Some(Some("silu" | "swish")) => Ok(()),
        Some(_) => Err(fields.wrong("hidden_act", "`silu`")),
    }
}

/// Which linear maps have a bias.
struct Biases {
    qkv: bool,
    output: bool,
    mlp: bool,
}

/// `attention_bias` and `mlp_bias` where the configuration has them as fields. Qwen2 has biases on queries, keys and
/// values, and on nothing else, whatever the file says; a Mistral has none, so one that claims them is refused.
fn biases(fields: &Fields<'_>, architecture: Architecture) -> Result<Biases, ModelError> {
    let none = |key: &str| match fields.other_flag(key)? {
        Some(true) => Err(fields.wrong(key, &format!("false, which a {architecture} model has"))),
        Some(false) | None => Ok(false),
    };
    match architecture {
        Architecture::Llama => {
            let attention = fields.flag_or("attention_bias", false)?;
            Ok(Biases { qkv: attention, output: attention, mlp: fields.flag_or("mlp_bias", false)? })
        }
        Architecture::Mistral => Ok(Biases { qkv: none("attention_bias")?, output: false, mlp: none("mlp_bias")? }),
        Architecture::Qwen2 => {
            fields.other_flag("attention_bias")?;
            Ok(Biases { qkv: true, output: false, mlp: none("mlp_bias")? })
        }
        Architecture::Qwen3 => {
            let attention = fields.flag_or("attention_bias", false)?;
            Ok(Biases { qkv: attention, output: attention, mlp: none("mlp_bias")? })
        }
    }
}

#[cfg(test)]
mod tests;
