//! `config.json` of a Hugging Face folder, in the spelling of transformers 4 and 5.

use std::path::Path;

use serde_json::{Map, Value};

use super::config::{Architecture, DecoderConfig, MAX_LAYERS, Rope, RopeScaling};
use super::error::{ModelError, shown};
use crate::io;

/// Reads `config.json`.
///
/// # Errors
/// Names the key, what the decoder can do and what the file says.
pub(super) fn read(path: &Path) -> Result<DecoderConfig, ModelError> {
    let text = io::read_text_up_to(path, io::SETTINGS_BYTES)?;
    let value = serde_json::from_str(&text).map_err(|source| ModelError::Json { path: path.to_owned(), source })?;
    parse(path, &value)
}

fn parse(path: &Path, value: &Value) -> Result<DecoderConfig, ModelError> {
    let empty = Map::new();
    let fields = Fields { path, section: "", object: value.as_object().unwrap_or(&empty) };
    let architecture = architecture(&fields)?;
    refuse_what_changes_the_maths(&fields)?;

    let n_heads = fields.count("num_attention_heads")?;
    let hidden_size = fields.count("hidden_size")?;
    let n_layers = fields.count("num_hidden_layers")?;
    if n_layers > MAX_LAYERS {
        return Err(fields.wrong("num_hidden_layers", &format!("at most {MAX_LAYERS} layers")));
    }
    let head_dim = match fields.optional_count("head_dim")? {
        Some(head_dim) => head_dim,
        None if hidden_size.is_multiple_of(n_heads) => hidden_size / n_heads,
        None => return Err(fields.wrong("num_attention_heads", "a divisor of `hidden_size`, or a `head_dim`")),
    };
    let n_kv_heads = fields.optional_count("num_key_value_heads")?.unwrap_or(n_heads);
    if !n_heads.is_multiple_of(n_kv_heads) {
        return Err(fields.wrong("num_key_value_heads", &format!("a divisor of {n_heads} attention heads")));
    }
    if !head_dim.is_multiple_of(2) {
        return Err(fields.wrong("head_dim", "an even number"));
    }
    let attention_bias = fields.flag("attention_bias", false)?;
    Ok(DecoderConfig {
        architecture,
        vocab_size: fields.count("vocab_size")?,
        hidden_size,
        intermediate_size: fields.count("intermediate_size")?,
        n_heads,
        n_kv_heads,
        head_dim,
        rms_norm_eps: fields.number("rms_norm_eps")?,
        rope: rope(&fields)?,
        tie_word_embeddings: fields.flag("tie_word_embeddings", false)?,
        qkv_bias: architecture == Architecture::Qwen2 || attention_bias,
        output_bias: architecture != Architecture::Qwen2 && attention_bias,
        mlp_bias: fields.flag("mlp_bias", false)?,
        qk_norm: architecture == Architecture::Qwen3,
        windows: windows(&fields, architecture, n_layers)?,
        max_position_embeddings: fields.optional_count("max_position_embeddings")?,
    })
}

fn architecture(fields: &Fields<'_>) -> Result<Architecture, ModelError> {
    let named = fields.object.get("architectures").and_then(Value::as_array).and_then(|names| names.first());
    let found = named.or_else(|| fields.object.get("model_type")).and_then(Value::as_str);
    let Some(found) = found else {
        return Err(ModelError::ConfigMissing { path: fields.path.to_owned(), key: "architectures".into() });
    };
    let known = |architecture: &Architecture| found == architecture.hf_name() || found == architecture.model_type();
    Architecture::ALL.into_iter().find(known).ok_or_else(|| ModelError::UnknownArchitecture {
        path: fields.path.to_owned(),
        found: found.to_owned(),
        known: Architecture::ALL.map(Architecture::hf_name).join(", "),
    })
}

/// Keys that transformers honours and this decoder would not.
fn refuse_what_changes_the_maths(fields: &Fields<'_>) -> Result<(), ModelError> {
    if fields.text("hidden_act").is_some_and(|found| found != "silu" && found != "swish") {
        return Err(fields.wrong("hidden_act", "`silu`"));
    }
    if fields.present("quantization_config") {
        return Err(fields.wrong("quantization_config", "no quantisation (f32, f16 or bf16 weights, or a GGUF file)"));
    }
    for key in ["pretraining_tp", "partial_rotary_factor"] {
        if fields.optional_number(key)?.is_some_and(|found| found != 1.0) {
            return Err(fields.wrong(key, "1"));
        }
    }
    Ok(())
}

fn rope(fields: &Fields<'_>) -> Result<Rope, ModelError> {
    const DEFAULT_THETA: f64 = 10_000.0;
    // transformers 5 keeps all of it in `rope_parameters`, 4 has `rope_theta` beside `rope_scaling`.
    let section = ["rope_parameters", "rope_scaling"].into_iter().find(|key| fields.present(key));
    let outer_theta = fields.optional_number("rope_theta")?;
    let Some(key) = section else {
        return Ok(Rope { theta: outer_theta.unwrap_or(DEFAULT_THETA), scaling: RopeScaling::None });
    };
    let Some(object) = fields.object.get(key).and_then(Value::as_object) else {
        return Err(fields.wrong(key, "a table"));
    };
    let rope = Fields { path: fields.path, section: key, object };
    let theta = rope.optional_number("rope_theta")?.or(outer_theta).unwrap_or(DEFAULT_THETA);
    if rope.optional_number("partial_rotary_factor")?.is_some_and(|found| found != 1.0) {
        return Err(rope.wrong("partial_rotary_factor", "1"));
    }
    let type_key = if rope.present("rope_type") { "rope_type" } else { "type" };
    let scaling = match rope.text(type_key).unwrap_or("default") {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: rope.number("factor")? },
        "llama3" => RopeScaling::Llama3 {
            factor: rope.number("factor")?,
            low_freq_factor: rope.number("low_freq_factor")?,
            high_freq_factor: rope.number("high_freq_factor")?,
            original: rope.number("original_max_position_embeddings")?,
        },
        _ => return Err(rope.wrong(type_key, "`default`, `linear` or `llama3`")),
    };
    Ok(Rope { theta, scaling })
}

/// The window of every layer, as transformers derives it.
fn windows(fields: &Fields<'_>, architecture: Architecture, n_layers: usize) -> Result<Vec<Option<usize>>, ModelError> {
    let window = match architecture {
        // A Mistral file without the key would mean transformers' default, 4096: ask for it instead.
        Architecture::Mistral if !fields.object.contains_key("sliding_window") => {
            return Err(ModelError::ConfigMissing { path: fields.path.to_owned(), key: "sliding_window".into() });
        }
        Architecture::Mistral => fields.optional_count("sliding_window")?,
        Architecture::Qwen2 | Architecture::Qwen3 if fields.flag("use_sliding_window", false)? => {
            fields.optional_count("sliding_window")?
        }
        Architecture::Llama | Architecture::Qwen2 | Architecture::Qwen3 => None,
    };
    if fields.present("layer_types") {
        let Some(types) = fields.object["layer_types"].as_array().filter(|types| types.len() == n_layers) else {
            return Err(fields.wrong("layer_types", &format!("a list of {n_layers} layer types")));
        };
        return types
            .iter()
            .map(|layer_type| match layer_type.as_str() {
                Some("full_attention") => Ok(None),
                Some("sliding_attention") if window.is_some() => Ok(window),
                _ => Err(fields.wrong("layer_types", "`full_attention`, or `sliding_attention` with a window")),
            })
            .collect();
    }
    let first_windowed = match architecture {
        Architecture::Qwen2 | Architecture::Qwen3 if window.is_some() => fields.size("max_window_layers")?,
        _ => 0,
    };
    Ok((0..n_layers).map(|layer| if layer >= first_windowed { window } else { None }).collect())
}

/// No real checkpoint comes near this; a larger number would only overflow later.
const LARGEST: u64 = 1 << 30;

/// The keys of one table of the file; null counts as absent.
struct Fields<'a> {
    path: &'a Path,
    section: &'static str,
    object: &'a Map<String, Value>,
}

impl Fields<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    fn present(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    fn name(&self, key: &str) -> String {
        if self.section.is_empty() { key.to_owned() } else { format!("{}.{key}", self.section) }
    }

    fn missing(&self, key: &str) -> ModelError {
        ModelError::ConfigMissing { path: self.path.to_owned(), key: self.name(key) }
    }

    fn wrong(&self, key: &str, expected: &str) -> ModelError {
        ModelError::ConfigValue {
            path: self.path.to_owned(),
            key: self.name(key),
            expected: expected.to_owned(),
            found: shown(self.object.get(key).unwrap_or(&Value::Null).to_string()),
        }
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>, ModelError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_u64().filter(|&number| number <= LARGEST).and_then(|number| usize::try_from(number).ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(key, "a whole number up to 2^30")),
        }
    }

    fn size(&self, key: &str) -> Result<usize, ModelError> {
        self.optional_size(key)?.ok_or_else(|| self.missing(key))
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
        match value.as_f64().filter(|number| number.is_finite() && *number > 0.0) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(key, "a number above 0")),
        }
    }

    fn number(&self, key: &str) -> Result<f64, ModelError> {
        self.optional_number(key)?.ok_or_else(|| self.missing(key))
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(key, "true or false")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn llama() -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2,
            "num_attention_heads": 4, "vocab_size": 100, "rms_norm_eps": 1e-5, "hidden_act": "silu",
        })
    }

    fn with(key: &str, value: Value) -> Result<DecoderConfig, ModelError> {
        let mut config = llama();
        config[key] = value;
        parse(Path::new("config.json"), &config)
    }

    #[track_caller]
    fn refused(key: &str, value: Value, message: &str) {
        let error = with(key, value).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }

    #[test]
    fn defaults_are_those_of_transformers() {
        let config = with("use_cache", json!(true)).unwrap();
        assert_eq!((config.head_dim, config.n_kv_heads), (16, 4));
        assert_eq!(config.rope, Rope { theta: 10_000.0, scaling: RopeScaling::None });
        assert!(!config.tie_word_embeddings);
    }

    #[test]
    fn both_spellings_of_rope_are_one() {
        let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                            "original_max_position_embeddings": 32, "rope_theta": 500.0});
        let new = with("rope_parameters", llama3.clone()).unwrap();
        let mut old = llama();
        old["rope_theta"] = json!(500.0);
        old["rope_scaling"] = llama3;
        old["rope_scaling"].as_object_mut().unwrap().remove("rope_theta");
        assert_eq!(new, parse(Path::new("config.json"), &old).unwrap());
    }

    #[test]
    fn what_it_does_not_know_is_refused_by_name() {
        refused("architectures", json!(["GPT2LMHeadModel"]), "unknown architecture `GPT2LMHeadModel`");
        refused("hidden_act", json!("gelu"), "key `hidden_act`: expected `silu`, found `\"gelu\"`");
        refused("rope_scaling", json!({"rope_type": "yarn"}), "key `rope_scaling.rope_type`");
        refused("rope_scaling", json!({"type": "linear"}), "key `rope_scaling.factor` is missing");
        refused("quantization_config", json!({"bits": 4}), "key `quantization_config`");
        refused("num_key_value_heads", json!(3), "a divisor of 4");
        refused("hidden_size", json!(-1), "key `hidden_size`");
        refused("vocab_size", json!(null), "key `vocab_size` is missing");
        refused("num_hidden_layers", json!(1_000_000_000), "expected at most 4096 layers, found `1000000000`");
        refused("vocab_size", json!(u64::MAX), "expected a whole number up to 2^30");
        refused("hidden_act", json!("x".repeat(1 << 20)), "xxx…`");
        refused("layer_types", json!(["full_attention"]), "a list of 2 layer types");
    }

    #[test]
    fn sliding_windows_follow_the_family() {
        let mut mistral = llama();
        mistral["architectures"] = json!(["MistralForCausalLM"]);
        assert!(
            matches!(parse(Path::new("c"), &mistral), Err(ModelError::ConfigMissing { key, .. }) if key == "sliding_window")
        );
        mistral["sliding_window"] = json!(8);
        assert_eq!(parse(Path::new("c"), &mistral).unwrap().windows, [Some(8), Some(8)]);

        let mut qwen = llama();
        qwen["architectures"] = json!(["Qwen2ForCausalLM"]);
        qwen["sliding_window"] = json!(8);
        qwen["max_window_layers"] = json!(1);
        assert_eq!(parse(Path::new("c"), &qwen).unwrap().windows, [None, None]);
        qwen["use_sliding_window"] = json!(true);
        assert_eq!(parse(Path::new("c"), &qwen).unwrap().windows, [None, Some(8)]);
    }
}
