//! The configuration in the metadata of a GGUF file, read as llama.cpp reads it.

mod keys;

use candle_core::quantized::gguf_file::Value;

use super::config::{Architecture, DecoderConfig, MAX_LAYERS, Rope, RopeScaling};
use super::error::{ModelError, shown};
use crate::model_source::Gguf;

/// Reads the configuration of a GGUF file.
///
/// # Errors
/// Names the key, what the decoder can do and what the file says.
pub(super) fn read(gguf: &Gguf) -> Result<DecoderConfig, ModelError> {
    let metadata = Metadata { gguf };
    let name = metadata.text("general.architecture")?;
    let architecture = match name {
        "llama" => Architecture::Llama,
        "qwen2" => Architecture::Qwen2,
        "qwen3" => Architecture::Qwen3,
        found => {
            return Err(ModelError::UnknownArchitecture {
                path: gguf.path.clone(),
                found: found.to_owned(),
                known: "llama, qwen2, qwen3".into(),
            });
        }
    };
    let key = |key: &str| format!("{name}.{key}");
    let n_heads = metadata.count(&key("attention.head_count"))?;
    let hidden_size = metadata.count(&key("embedding_length"))?;
    let n_layers = metadata.count(&key("block_count"))?;
    if n_layers > MAX_LAYERS {
        return Err(metadata.wrong(&key("block_count"), &format!("at most {MAX_LAYERS} layers")));
    }
    let head_dim = match metadata.optional_count(&key("attention.key_length"))? {
        Some(head_dim) => head_dim,
        None if hidden_size.is_multiple_of(n_heads) => hidden_size / n_heads,
        None => return Err(metadata.wrong(&key("attention.head_count"), "a divisor of the embedding length")),
    };
    let n_kv_heads = metadata.optional_count(&key("attention.head_count_kv"))?.unwrap_or(n_heads);
    if !n_heads.is_multiple_of(n_kv_heads) {
        return Err(metadata.wrong(&key("attention.head_count_kv"), "a divisor of the attention heads"));
    }
    keys::check(&metadata, name, &keys::Known { head_dim, n_layers })?;
    let embedding = tensor_shape(gguf, "token_embd.weight")?;
    let vocab_size = embedding.first().copied().unwrap_or(0);
    if metadata.optional_count(&key("vocab_size"))?.is_some_and(|found| found != vocab_size) {
        return Err(metadata.wrong(&key("vocab_size"), &format!("{vocab_size}, the rows of `token_embd.weight`")));
    }
    let has = |name: &str| gguf.content.tensor_infos.contains_key(name);
    Ok(DecoderConfig {
        architecture,
        vocab_size,
        hidden_size,
        intermediate_size: metadata.count(&key("feed_forward_length"))?,
        n_heads,
        n_kv_heads,
        head_dim,
        rms_norm_eps: metadata.number(&key("attention.layer_norm_rms_epsilon"))?,
        rope: rope(&metadata, name, head_dim)?,
        tie_word_embeddings: !has("output.weight"),
        qkv_bias: has("blk.0.attn_q.bias"),
        output_bias: has("blk.0.attn_output.bias"),
        mlp_bias: has("blk.0.ffn_gate.bias"),
        qk_norm: architecture == Architecture::Qwen3,
        windows: vec![None; n_layers],
        max_position_embeddings: metadata.optional_count(&key("context_length"))?,
    })
}

/// The rotary embedding, as `llama_model::load_hparams` and `llama_context` of llama.cpp read it: without
/// `rope.scaling.type` the scaling is linear, its factor that of `rope.scaling.factor`, else of the older
/// `rope.scale_linear`, 0 is none, and `none` switches it off. The factors of `rope_freqs.weight` come on top.
fn rope(metadata: &Metadata<'_>, name: &str, head_dim: usize) -> Result<Rope, ModelError> {
    let key = |key: &str| format!("{name}.rope.{key}");
    let theta = metadata.optional_number(&key("freq_base"))?.unwrap_or(10_000.0);
    let (new, old) = (key("scaling.factor"), key("scale_linear"));
    let factor = match metadata.optional_not_negative(&new)? {
        Some(factor) => {
            if metadata.optional_not_negative(&old)?.is_some_and(|other| other != factor) {
                return Err(metadata.wrong(&old, &format!("{factor}, as `{new}` says")));
            }
            factor
        }
        None => metadata.optional_not_negative(&old)?.unwrap_or(0.0),
    };
    let type_key = key("scaling.type");
    let factor = match metadata.optional_text(&type_key)? {
        Some("none") => None,
        None | Some("linear") => Some(factor).filter(|factor| *factor != 0.0 && *factor != 1.0),
        Some(_) => return Err(metadata.wrong(&type_key, "`none` or `linear`")),
    };
    if metadata.gguf.content.tensor_infos.contains_key("rope_freqs.weight") {
        let found = tensor_shape(metadata.gguf, "rope_freqs.weight")?;
        if found != [head_dim / 2] {
            return Err(ModelError::TensorShape {
                path: metadata.gguf.path.clone(),
                name: "rope_freqs.weight".into(),
                expected: vec![head_dim / 2],
                found: found.to_vec(),
            });
        }
        #[expect(clippy::cast_possible_truncation, reason = "the file has it in f32")]
        let factor = factor.unwrap_or(1.0) as f32;
        let factors = super::weights_gguf::numbers(metadata.gguf, "rope_freqs.weight")?;
        let factors = factors.into_iter().map(|own| own * factor).collect();
        return Ok(Rope { theta, scaling: RopeScaling::PerFrequency { factors } });
    }
    let scaling = factor.map_or(RopeScaling::None, |factor| RopeScaling::Linear { factor });
    Ok(Rope { theta, scaling })
}

fn tensor_shape<'a>(gguf: &'a Gguf, name: &str) -> Result<&'a [usize], ModelError> {
    match gguf.content.tensor_infos.get(name) {
        Some(info) => Ok(info.shape.dims()),
        None => Err(ModelError::MissingTensor { path: gguf.path.clone(), name: name.to_owned() }),
    }
}

/// Typed access to the metadata, with the file in every error.
struct Metadata<'a> {
    gguf: &'a Gguf,
}

impl<'a> Metadata<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.gguf.content.metadata.get(key)
    }

    fn missing(&self, key: &str) -> ModelError {
        ModelError::ConfigMissing { path: self.gguf.path.clone(), key: key.to_owned() }
    }

    fn wrong(&self, key: &str, expected: &str) -> ModelError {
        ModelError::ConfigValue {
            path: self.gguf.path.clone(),
            key: key.to_owned(),
            expected: expected.to_owned(),
            found: self.get(key).map_or_else(|| "nothing".to_owned(), shown_value),
        }
    }

    fn optional_text(&self, key: &str) -> Result<Option<&'a str>, ModelError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.to_string() {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(self.wrong(key, "text")),
        }
    }

    fn text(&self, key: &str) -> Result<&'a str, ModelError> {
        self.optional_text(key)?.ok_or_else(|| self.missing(key))
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>, ModelError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = match value {
            Value::I32(number) => u64::try_from(*number).ok(),
            value => value.to_u64().ok(),
        };
        match number.and_then(|number| u32::try_from(number).ok()) {
            Some(number) => Ok(Some(number as usize)),
            None => Err(self.wrong(key, "a whole number below 2^32")),
        }
    }

    fn optional_count(&self, key: &str) -> Result<Option<usize>, ModelError> {
        match self.optional_size(key)? {
            Some(0) => Err(self.wrong(key, "a number above 0")),
            size => Ok(size),
        }
    }

    fn count(&self, key: &str) -> Result<usize, ModelError> {
        self.optional_count(key)?.ok_or_else(|| self.missing(key))
    }

    fn optional_number(&self, key: &str) -> Result<Option<f64>, ModelError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match as_number(value).filter(|number| number.is_finite() && *number > 0.0) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(key, "a number above 0")),
        }
    }

    /// A number that may be 0.
    fn optional_not_negative(&self, key: &str) -> Result<Option<f64>, ModelError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match as_number(value).filter(|number| number.is_finite() && *number >= 0.0) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(key, "a number, 0 or above")),
        }
    }

    fn number(&self, key: &str) -> Result<f64, ModelError> {
        self.optional_number(key)?.ok_or_else(|| self.missing(key))
    }
}

/// A value in a message.
fn shown_value(value: &Value) -> String {
    shown(match value {
        Value::String(text) => text.clone(),
        Value::Bool(flag) => flag.to_string(),
        Value::Array(values) => format!("an array of {} values", values.len()),
        value => as_number(value).map_or_else(|| format!("{value:?}"), |number| number.to_string()),
    })
}

/// A number of whatever type.
fn as_number(value: &Value) -> Option<f64> {
    match value {
        Value::F32(number) => Some(f64::from(*number)),
        Value::F64(number) => Some(*number),
        Value::I32(number) => Some(f64::from(*number)),
        value => u32::try_from(value.to_u64().ok()?).ok().map(f64::from),
    }
}

#[cfg(test)]
mod tests;
