//! Which model files hold, whatever they are called, however they are cut, and whoever saved them.
//!
//! The digest of a file changes when weights are put into other shards, when another version of transformers saves
//! `config.json` again, and when an exporter leaves out a tensor that follows from another one. None of that changes a
//! log-prob. What does is told by the numbers of each tensor and by the settings that the decoder reads.

use std::collections::BTreeMap;

use candle_core::quantized::gguf_file::TensorInfo;
use safetensors::SafeTensors;

use super::config::{DecoderConfig, Rope, RopeScaling};
use super::error::ModelError;
use super::{weights, weights_safetensors};
use crate::digest::{Digest, ModelIdentity};
use crate::io;
use crate::model_source::{Gguf, ModelSource, gguf_code};

/// A setting that decides numbers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Setting {
    /// As `config.json` calls it.
    pub(super) key: &'static str,
    /// Its value, for an error.
    pub(super) shown: String,
    value: SettingValue,
}

#[derive(Debug, Clone, PartialEq)]
enum SettingValue {
    Text(String),
    /// Constants: a GGUF file has them in `f32`.
    Numbers(Vec<f64>),
}

impl Setting {
    fn text(key: &'static str, value: &impl ToString) -> Self {
        Self { key, shown: value.to_string(), value: SettingValue::Text(value.to_string()) }
    }

    /// Whether it is the same setting, but for the rounding of a constant to `f32`.
    fn is_same(&self, other: &Self) -> bool {
        let is_near = |(one, other): (&f64, &f64)| (one - other).abs() <= 1e-6 * one.abs();
        match (&self.value, &other.value) {
            (SettingValue::Numbers(ours), SettingValue::Numbers(theirs)) => {
                ours.len() == theirs.len() && ours.iter().zip(theirs).all(is_near)
            }
            (ours, theirs) => ours == theirs,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match &self.value {
            SettingValue::Text(text) => text.clone().into_bytes(),
            SettingValue::Numbers(numbers) => {
                numbers.iter().flat_map(|number| number.to_bits().to_le_bytes()).collect()
            }
        }
    }
}

/// Every setting that decides a number. A new field of a configuration does not compile until it is here.
pub(super) fn settings(config: &DecoderConfig) -> Vec<Setting> {
    let DecoderConfig {
        architecture,
        vocab_size,
        hidden_size,
        intermediate_size,
        n_heads,
        n_kv_heads,
        head_dim,
        rms_norm_eps,
        rope,
        tie_word_embeddings,
        qkv_bias,
        output_bias,
        mlp_bias,
        qk_norm,
        windows,
        // How long a text may be, not what it scores.
        max_position_embeddings: _,
    } = config;
    let Rope { theta: _, scaling } = rope;
    match scaling {
        // All of it is in the frequencies.
        RopeScaling::None
        | RopeScaling::Linear { factor: _ }
        | RopeScaling::PerFrequency { factors: _ }
        | RopeScaling::Llama3 { factor: _, low_freq_factor: _, high_freq_factor: _, original: _ } => {}
    }
    let numbers = |key, shown, numbers| Setting { key, shown, value: SettingValue::Numbers(numbers) };
    let frequencies = config.frequencies().into_iter().map(f64::from).collect();
    vec![
        Setting::text("architecture", architecture),
        Setting::text("vocab_size", vocab_size),
        Setting::text("hidden_size", hidden_size),
        Setting::text("intermediate_size", intermediate_size),
        Setting::text("num_attention_heads", n_heads),
        Setting::text("num_key_value_heads", n_kv_heads),
        Setting::text("head_dim", head_dim),
        numbers("rms_norm_eps", rms_norm_eps.to_string(), vec![*rms_norm_eps]),
        numbers("rope", format!("{rope:?}"), frequencies),
        Setting::text("tie_word_embeddings", tie_word_embeddings),
        Setting::text("biases of queries, keys and values", qkv_bias),
        Setting::text("bias of the attention's output", output_bias),
        Setting::text("mlp_bias", mlp_bias),
        Setting::text("norms of queries and keys", qk_norm),
        Setting::text("sliding_window", &format!("{windows:?}")),
    ]
}

/// The first setting in which two configurations differ: key, the first's value, the second's. Constants are equal where
/// they are in `f32`.
pub(super) fn first_difference(ours: &DecoderConfig, theirs: &DecoderConfig) -> Option<(&'static str, String, String)> {
    let mut pairs = settings(ours).into_iter().zip(settings(theirs));
    pairs.find(|(ours, theirs)| !ours.is_same(theirs)).map(|(ours, theirs)| (ours.key, ours.shown, theirs.shown))
}

/// Which model a source is.
///
/// # Errors
/// If its configuration or a weight file cannot be read.
pub(super) fn of(source: &ModelSource) -> Result<ModelIdentity, ModelError> {
    Ok(ModelIdentity { weights: of_weights(source)?, config: of_config(source)? })
}

/// What the configuration of a model means; there may be no weights.
pub(super) fn of_config(source: &ModelSource) -> Result<Digest, ModelError> {
    let settings = settings(&weights::config(source)?);
    let parts: Vec<_> = settings.iter().map(|setting| (setting.key, setting.bytes())).collect();
    Ok(Digest::of_parts(parts.iter().map(|(key, bytes)| (*key, bytes.as_slice()))))
}

fn of_weights(source: &ModelSource) -> Result<Digest, ModelError> {
    let mut tensors = match source {
        ModelSource::Folder(folder) => {
            let mut tensors = BTreeMap::new();
            for path in weights_safetensors::files(folder)? {
                let map = io::map(&path)?;
                let file = SafeTensors::deserialize(&map)
                    .map_err(|source| ModelError::Safetensors { path: path.clone(), source })?;
                for (name, view) in file.iter() {
                    let of = format!("{} {:?} ", view.dtype(), view.shape());
                    tensors.insert(name.to_owned(), (of, Digest::of_many(view.data())));
                    io::forget(&map);
                }
            }
            tensors
        }
        ModelSource::Gguf(path) => {
            let gguf = Gguf::open(path)?;
            let digest = |(name, info): (&String, &TensorInfo)| {
                let missing = || ModelError::MissingTensor { path: path.clone(), name: name.clone() };
                let of = format!("{} {:?} ", gguf_code(info.ggml_dtype), info.shape.dims());
                Ok((name.clone(), (of, Digest::of_many(gguf.bytes(name).ok_or_else(missing)?))))
            };
            gguf.content.tensor_infos.iter().map(digest).collect::<Result<BTreeMap<_, _>, ModelError>>()?
        }
    };
    // Both follow from what else is there, and not every exporter writes them.
    tensors.retain(|name, _| !name.ends_with("rotary_emb.inv_freq"));
    if tensors.get("lm_head.weight") == tensors.get("model.embed_tokens.weight") {
        tensors.remove("lm_head.weight");
    }
    let parts: Vec<_> = tensors
        .iter()
        .map(|(name, (of, digest))| (name.as_str(), [of.as_bytes(), digest.as_bytes().as_slice()].concat()))
        .collect();
    Ok(Digest::of_parts(parts.iter().map(|(name, bytes)| (*name, bytes.as_slice()))))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use candle_core::{DType, Device, Tensor};
    use serde_json::{Value, json};

    use super::super::tensor_writer;
    use super::*;

    const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny");

    /// The tiny model: its tensors cut into this many files, its configuration changed.
    fn variant(n_files: usize, change: impl Fn(&mut Value, &mut Vec<(String, Tensor)>)) -> ModelIdentity {
        let folder = tempfile::tempdir().unwrap();
        let text = fs::read(Path::new(TINY).join("config.json")).unwrap();
        let mut config: Value = serde_json::from_slice(&text).unwrap();
        let tensors = candle_core::safetensors::load(Path::new(TINY).join("model.safetensors"), &Device::Cpu).unwrap();
        let mut tensors: Vec<(String, Tensor)> = tensors.into_iter().collect();
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        change(&mut config, &mut tensors);
        fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        let mut map = serde_json::Map::new();
        for (at, chunk) in tensors.chunks(tensors.len().div_ceil(n_files)).enumerate() {
            let name = if n_files == 1 { "model.safetensors".to_owned() } else { format!("w{}.safetensors", 9 - at) };
            let written = chunk.iter().map(|(name, tensor)| (name.as_str(), tensor));
            tensor_writer::write_safetensors(&folder.path().join(&name), written, [("made", "here")]).unwrap();
            map.extend(chunk.iter().map(|(tensor, _)| (tensor.clone(), json!(name))));
        }
        if n_files > 1 {
            let index = json!({ "weight_map": map });
            fs::write(folder.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
        }
        of(&ModelSource::Folder(folder.path().to_owned())).unwrap()
    }

    fn tiny() -> ModelIdentity {
        of(&ModelSource::Folder(TINY.into())).unwrap()
    }

    #[test]
    fn a_model_saved_again_is_the_same_model() {
        assert_eq!(variant(1, |_, _| {}), tiny());
        assert_eq!(variant(3, |_, _| {}), tiny(), "in other files");
        let resaved = variant(1, |config, tensors| {
            config["transformers_version"] = json!("9.9.9");
            config["use_cache"] = json!(false);
            config["max_position_embeddings"] = json!(1 << 20);
            let theta = config["rope_parameters"]["rope_theta"].clone();
            let theta = if theta.is_null() { config["rope_theta"].clone() } else { theta };
            config["rope_theta"] = theta.clone();
            config["rope_parameters"] = json!({"rope_theta": theta, "rope_type": "default"});
            let inv_freq = Tensor::zeros(4, DType::F32, &Device::Cpu).unwrap();
            tensors.push(("model.layers.0.self_attn.rotary_emb.inv_freq".into(), inv_freq));
        });
        assert_eq!(resaved, tiny());
    }

    #[test]
    fn another_number_shape_name_or_setting_is_another_model() {
        let changed = variant(1, |_, tensors| tensors[0].1 = (&tensors[0].1 * 1.0001).unwrap());
        assert_ne!(changed.weights, tiny().weights);
        assert_eq!(changed.config, tiny().config);
        let renamed = variant(1, |_, tensors| tensors[1].0.push('x'));
        assert_ne!(renamed.weights, tiny().weights);
        let rounded = variant(1, |_, tensors| tensors[0].1 = tensors[0].1.to_dtype(DType::BF16).unwrap());
        assert_ne!(rounded.weights, tiny().weights);
        for (key, value) in [("rms_norm_eps", json!(1e-4)), ("rope_theta", json!(77.0))] {
            let other = variant(1, |config, _| {
                config.as_object_mut().unwrap().retain(|key, _| !key.starts_with("rope_"));
                config[key] = value.clone();
            });
            assert_ne!(other.config, tiny().config, "{key}");
            assert_eq!(other.weights, tiny().weights, "{key}");
        }
    }
}
