//! An adapter as a folder of PEFT: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! Beside them stands `piref.json`, with the digests of the weights the adapter belongs to: PEFT keeps only a name, and
//! an adapter over other weights computes nonsense without an error. A folder of PEFT has no such file and is taken as
//! it is.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use candle_core::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::config::DecoderConfig;
use super::decoder::Decoder;
use super::error::{ModelError, shown};
use super::lora::{ALL_LINEAR, Adapter, LORA_MODULES, Lora};
use super::tensor_writer::write_safetensors;
use super::weights::Digests;
use super::weights_safetensors::Slots;
use crate::digest::{Digest, ModelIdentity};
use crate::io;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const BASE: &str = "piref.json";

const NULL: &Value = &Value::Null;

/// What PEFT puts before the names of the base model.
const PREFIX: &str = "base_model.model.";

/// Keys of PEFT that have no part in what an adapter computes, or only together with another key, which is refused.
const WITHOUT_EFFECT: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "eva_config",
    "inference_mode",
    "layers_pattern",
    "loftq_config",
    "megatron_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
];

/// Starts of an adapter that leave the weights of the base model as they are; others change them when PEFT loads it.
const STARTS: &[&str] = &["eva", "gaussian", "orthogonal"];

/// `piref.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Base {
    weights_digest: Digest,
    config_digest: Digest,
    /// Not of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identity: Option<ModelIdentity>,
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

/// The base model of an adapter, by the name it was trained under, if its folder has one.
pub fn adapter_base(folder: &Path) -> Result<Option<String>, ModelError> {
    let (_, keys) = keys(folder)?;
    Ok(keys.get("base_model_name_or_path").and_then(Value::as_str).map(str::to_owned))
}

/// What the adapter of a folder is like, without loading it.
pub fn adapter_config(folder: &Path) -> Result<Lora, ModelError> {
    let (path, keys) = keys(folder)?;
    read_config(&path, &keys)
}

/// Digest of what an adapter computes: its configuration and its tensors.
pub fn adapter_digest(folder: &Path) -> Result<Digest, ModelError> {
    let config = Digest::of(&io::read_up_to(&folder.join(CONFIG), io::SETTINGS_BYTES)?);
    let (weights, _) = io::digest(&folder.join(WEIGHTS))?;
    Ok(Digest::of_parts([("config", config.as_bytes().as_slice()), ("weights", weights.as_bytes().as_slice())]))
}

impl Adapter {
    /// Reads an adapter of a model with this configuration and these digests.
    ///
    /// # Errors
    /// If it is no LoRA, has a part that the decoder would not honour, or belongs to other weights.
    pub fn read(folder: &Path, config: &DecoderConfig, base: &Digests, device: &Device) -> Result<Self, ModelError> {
        let lora = adapter_config(folder)?;
        check_base(&folder.join(BASE), base)?;
        let specs = lora.specs(config)?;
        let path = folder.join(WEIGHTS);
        let mut slots = Slots::new(&specs, PREFIX);
        slots.fill(&path, config, device)?;
        let tensors = slots.finish(&path)?;
        Ok(Self { lora, tensors: specs.into_iter().map(|spec| spec.name).zip(tensors).collect() })
    }
}

/// Writes the adapter of a model into `folder`; `name` is the base model's, as PEFT will look for it.
///
/// # Errors
/// If a file cannot be written.
pub fn export_adapter(model: &Decoder, name: &str, base: &Digests, folder: &Path) -> Result<(), ModelError> {
    let Some(lora) = model.lora() else { return Ok(()) };
    let config = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": name,
        "inference_mode": true,
        "r": lora.r,
        "lora_alpha": whole(lora.alpha),
        "lora_dropout": lora.dropout,
        "use_rslora": lora.use_rslora,
        "target_modules": lora.target_modules,
        "bias": "none",
        "fan_in_fan_out": false,
        "init_lora_weights": true,
        "modules_to_save": null,
    });
    write_json(&folder.join(CONFIG), &config)?;
    let digests = json!({ "weights_digest": base.weights, "config_digest": base.config, "identity": base.identity });
    write_json(&folder.join(BASE), &digests)?;
    let tensors = model.params().trained().map(|(_, name, tensor)| (format!("{PREFIX}{name}"), tensor));
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

fn keys(folder: &Path) -> Result<(PathBuf, Map<String, Value>), ModelError> {
    let path = folder.join(CONFIG);
    let text = io::read_text_up_to(&path, io::SETTINGS_BYTES)?;
    match serde_json::from_str(&text) {
        Ok(keys) => Ok((path, keys)),
        Err(source) => Err(ModelError::Json { path, source }),
    }
}

fn check_base(path: &Path, base: &Digests) -> Result<(), ModelError> {
    if !path.is_file() {
        return Ok(());
    }
    let text = io::read_text_up_to(path, io::SETTINGS_BYTES)?;
    let theirs: Base =
        serde_json::from_str(&text).map_err(|source| ModelError::Json { path: path.to_owned(), source })?;
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
            return Err(ModelError::OtherBase { path: path.to_owned(), what, expected, found });
        }
    }
    Ok(())
}

fn read_config(path: &Path, keys: &Map<String, Value>) -> Result<Lora, ModelError> {
    let wrong = |key: &str, expected: &str| ModelError::ConfigValue {
        path: path.to_owned(),
        key: key.to_owned(),
        expected: expected.to_owned(),
        found: keys.get(key).map_or_else(|| "nothing".into(), |value| shown(value.to_string())),
    };
    let value = |key: &str| keys.get(key).unwrap_or(NULL);
    if value("peft_type") != "LORA" {
        return Err(wrong("peft_type", "`LORA`"));
    }
    for (key, value) in keys {
        let is_known = match key.as_str() {
            "peft_type" | "r" | "lora_alpha" | "lora_dropout" | "use_rslora" | "target_modules" => true,
            "bias" => value == "none",
            "init_lora_weights" => value.is_boolean() || value.as_str().is_some_and(|start| STARTS.contains(&start)),
            key => WITHOUT_EFFECT.contains(&key) || is_off(value),
        };
        if !is_known {
            return Err(wrong(key, "LoRA on linear maps alone, without this"));
        }
    }
    let number = |key: &str, default: f64| match value(key) {
        Value::Null => Some(default),
        value => value.as_f64().filter(|number| number.is_finite()),
    };
    let r = value("r").as_u64().and_then(|r| usize::try_from(r).ok()).and_then(NonZeroUsize::new);
    let dropout = number("lora_dropout", 0.0).filter(|rate| (0.0..1.0).contains(rate));
    Ok(Lora {
        r: r.ok_or_else(|| wrong("r", "a whole number of at least 1"))?,
        alpha: number("lora_alpha", 8.0).ok_or_else(|| wrong("lora_alpha", "a number"))?,
        dropout: dropout.ok_or_else(|| wrong("lora_dropout", "a number in [0, 1)"))?,
        use_rslora: match value("use_rslora") {
            Value::Null => false,
            value => value.as_bool().ok_or_else(|| wrong("use_rslora", "`true` or `false`"))?,
        },
        target_modules: targets(value("target_modules"))
            .ok_or_else(|| wrong("target_modules", "a list of names, or `all-linear`"))?,
    })
}

/// Names of the maps, sorted: PEFT writes a set.
fn targets(value: &Value) -> Option<Vec<String>> {
    if value.as_str().is_some_and(|word| word.eq_ignore_ascii_case(ALL_LINEAR)) {
        return Some(LORA_MODULES.map(str::to_owned).to_vec());
    }
    let mut names: Vec<String> =
        value.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<_>>()?;
    names.sort();
    names.dedup();
    Some(names).filter(|names| !names.is_empty())
}

/// Whether a setting is turned off.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is_on) => !is_on,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `LoraConfig(r=4, lora_alpha=8, target_modules=["v_proj", "q_proj"]).save_pretrained` of PEFT writes it, but
    /// for most keys that are `null`.
    fn peft() -> Map<String, Value> {
        let keys = json!({
            "alpha_pattern": {}, "auto_mapping": null, "base_model_name_or_path": "base", "bias": "none",
            "ensure_weight_tying": false, "fan_in_fan_out": false, "inference_mode": true, "init_lora_weights": true,
            "layer_replication": null, "loftq_config": {}, "lora_alpha": 8, "lora_bias": false, "lora_dropout": 0.0,
            "megatron_core": "megatron.core", "modules_to_save": null, "peft_type": "LORA", "peft_version": "0.21.2",
            "qalora_group_size": 16, "r": 4, "rank_pattern": {}, "revision": null,
            "target_modules": ["v_proj", "q_proj"], "task_type": "CAUSAL_LM", "use_dora": false, "use_rslora": false,
        });
        keys.as_object().unwrap().clone()
    }

    fn read(key: &str, value: Value) -> Result<Lora, ModelError> {
        let mut keys = peft();
        keys.insert(key.into(), value);
        read_config(Path::new("a.json"), &keys)
    }

    #[test]
    fn a_configuration_of_peft_is_read() {
        let lora = read_config(Path::new("a.json"), &peft()).unwrap();
        assert_eq!((lora.r.get(), lora.alpha, lora.dropout, lora.use_rslora), (4, 8.0, 0.0, false));
        assert_eq!(lora.target_modules, ["q_proj", "v_proj"]);
        assert_eq!(read("target_modules", json!("all-linear")).unwrap().target_modules, LORA_MODULES);
    }

    #[test]
    fn what_the_decoder_would_not_honour_is_refused_by_name() {
        for (key, value) in [
            ("peft_type", json!("LOHA")),
            ("use_dora", json!(true)),
            ("bias", json!("all")),
            ("modules_to_save", json!(["lm_head"])),
            ("rank_pattern", json!({"q_proj": 8})),
            ("layers_to_transform", json!([1])),
            ("init_lora_weights", json!("pissa")),
            ("target_modules", json!(".*_proj")),
            ("target_modules", json!([])),
            ("r", json!(0)),
            ("r", json!(-1)),
            ("lora_alpha", json!("8")),
            ("lora_dropout", json!(1.0)),
            ("something_new", json!(3)),
        ] {
            let error = read(key, value.clone()).unwrap_err().to_string();
            assert!(error.contains(&format!("key `{key}`")), "{key} = {value}: {error}");
        }
        assert!(read("something_new", json!(null)).is_ok());
    }
}
