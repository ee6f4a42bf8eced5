//! `adapter_config.json` of PEFT: what an adapter is on, what it is like there, and which model it belongs to.
//!
//! Read after `LoraConfig` and `LoraModel` of PEFT 0.21. A key that would change what is computed and is not honoured is
//! refused by name, whatever PEFT's own reader, which warns of keys it does not know, makes of it.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::error::{ModelError, shown};
use super::lora::{ALL_LINEAR, LORA_MODULES, Lora};
use super::lora_modules::{EMBEDDING, Modules, Patterns};
use crate::io;

/// The name of the file.
pub(super) const CONFIG: &str = "adapter_config.json";

/// Modules where none are named, of all families the decoder implements
/// (`TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING` of PEFT 0.21).
const DEFAULT_TARGETS: [&str; 2] = ["q_proj", "v_proj"];

/// Keys of PEFT that have no part in what an adapter computes, or only together with another key, which is refused.
const WITHOUT_EFFECT: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "eva_config",
    "inference_mode",
    "loftq_config",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "task_type",
    // Of a linear map it is set right by PEFT, whatever it says.
    "fan_in_fan_out",
];

/// Starts of an adapter that leave the weights of the base model as they are; others change them when PEFT loads it.
const STARTS: &[&str] = &["eva", "gaussian", "orthogonal"];

/// What the file says.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the file")]
pub struct AdapterConfig {
    /// The adapter.
    pub lora: Lora,
    /// The base model, by the name it was trained under.
    pub base: Option<String>,
    /// The revision of the base model, where that is the name of a repository.
    pub revision: Option<String>,
    /// Whether biases of the model are in the adapter, too.
    pub(super) has_biases: bool,
    /// Whether the second matrix has a bias (`lora_bias`).
    pub(super) lora_bias: bool,
    /// Whether each row of the sum has a length of its own (DoRA, Liu et al. 2024, arXiv:2402.09353).
    pub(super) use_dora: bool,
    /// Rows that the adapter has whole, by module: the ends of their names, as PEFT compares them.
    pub(super) token_rows: Vec<(String, Vec<usize>)>,
    /// Whether an embedding and a head that are tied stay so.
    pub(super) is_tied: bool,
}

impl AdapterConfig {
    /// Reads the file in the folder of an adapter.
    ///
    /// # Errors
    /// If the adapter is no LoRA, or has a part that would not be honoured.
    pub fn read(folder: &Path) -> Result<Self, ModelError> {
        let (path, keys) = keys(folder)?;
        parse(&path, &keys)
    }
}

/// The base model of an adapter and its revision, by the names it was trained under, whatever else it is like.
pub fn adapter_base(folder: &Path) -> Result<(Option<String>, Option<String>), ModelError> {
    let (_, keys) = keys(folder)?;
    Ok((text(&keys, "base_model_name_or_path"), text(&keys, "revision")))
}

fn text(keys: &Map<String, Value>, key: &str) -> Option<String> {
    keys.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn keys(folder: &Path) -> Result<(PathBuf, Map<String, Value>), ModelError> {
    let path = folder.join(CONFIG);
    let text = io::read_settings(&path)?;
    match serde_json::from_str(&text) {
        Ok(keys) => Ok((path, keys)),
        Err(source) => Err(ModelError::Json { path, source }),
    }
}

/// The keys of a file, and what is wrong with one.
struct Keys<'a> {
    path: &'a Path,
    keys: &'a Map<String, Value>,
}

impl Keys<'_> {
    fn wrong(&self, key: &str, expected: &str) -> ModelError {
        ModelError::AdapterKey {
            path: self.path.to_owned(),
            key: key.to_owned(),
            expected: expected.to_owned(),
            found: self.keys.get(key).map_or_else(|| "nothing".into(), |value| shown(value.to_string())),
        }
    }

    /// The value of a key that is there and not `null`.
    fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).filter(|value| !value.is_null())
    }

    fn flag(&self, key: &str) -> Result<bool, ModelError> {
        let flag = |value: &Value| value.as_bool().ok_or_else(|| self.wrong(key, "`true` or `false`"));
        self.get(key).map_or(Ok(false), flag)
    }

    fn number(&self, key: &str, default: f64) -> Result<f64, ModelError> {
        let number = |value: &Value| value.as_f64().filter(|number| number.is_finite());
        self.get(key).map_or(Ok(default), |value| number(value).ok_or_else(|| self.wrong(key, "a number")))
    }

    /// One of them alone, or a list.
    fn list<T>(
        &self,
        key: &str,
        expected: &str,
        item: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>, ModelError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let items = match value {
            Value::Array(items) => items.iter().map(&item).collect::<Option<Vec<T>>>(),
            value => item(value).map(|item| vec![item]),
        };
        Ok(Some(items.ok_or_else(|| self.wrong(key, expected))?).filter(|items| !items.is_empty()))
    }

    fn modules(&self, key: &str) -> Result<Option<Modules>, ModelError> {
        match self.get(key) {
            Some(Value::String(pattern)) if pattern.is_empty() => Ok(None),
            Some(Value::String(pattern)) => Ok(Some(Modules::Pattern(pattern.clone()))),
            _ => Ok(self.list(key, "a list of names, or a regular expression", as_text)?.map(Modules::named)),
        }
    }

    fn patterns<T>(
        &self,
        key: &str,
        expected: &str,
        item: impl Fn(&Value) -> Option<T>,
    ) -> Result<Patterns<T>, ModelError> {
        let Some(value) = self.get(key) else { return Ok(Patterns::default()) };
        let pairs = value.as_object().and_then(|patterns| {
            patterns.iter().map(|(pattern, value)| Some((pattern.clone(), item(value)?))).collect::<Option<_>>()
        });
        Ok(Patterns(pairs.ok_or_else(|| self.wrong(key, expected))?))
    }
}

fn as_text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn as_count(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|count| usize::try_from(count).ok())
}

fn as_rank(value: &Value) -> Option<NonZeroUsize> {
    as_count(value).and_then(NonZeroUsize::new)
}

fn parse(path: &Path, keys: &Map<String, Value>) -> Result<AdapterConfig, ModelError> {
    let file = Keys { path, keys };
    if keys.get("peft_type").is_none_or(|kind| kind != "LORA") {
        return Err(file.wrong("peft_type", "`LORA`"));
    }
    refuse_unknown(&file)?;
    let target_modules = targets(&file)?;
    let layers_to_transform = file.list("layers_to_transform", "a number of a layer, or a list of them", as_count)?;
    let layers_pattern = file.list("layers_pattern", "a name, or a list of names", as_text)?.unwrap_or_default();
    // As `LoraConfig.__post_init__` refuses them.
    if matches!(target_modules, Modules::Pattern(_)) && layers_to_transform.is_some() {
        return Err(file.wrong("layers_to_transform", "nothing beside a `target_modules` that is a regular expression"));
    }
    if !layers_pattern.is_empty() && layers_to_transform.is_none() {
        return Err(file.wrong("layers_pattern", "nothing without `layers_to_transform`"));
    }
    let r = file.get("r").map_or(NonZeroUsize::new(8), as_rank);
    let dropout = file.number("lora_dropout", 0.0)?;
    let lora = Lora {
        r: r.ok_or_else(|| file.wrong("r", "a whole number of at least 1"))?,
        alpha: file.number("lora_alpha", 8.0)?,
        dropout: Some(dropout)
            .filter(|rate| (0.0..1.0).contains(rate))
            .ok_or_else(|| file.wrong("lora_dropout", "a number in [0, 1)"))?,
        use_rslora: file.flag("use_rslora")?,
        target_modules,
        exclude_modules: file.modules("exclude_modules")?,
        layers_to_transform,
        layers_pattern,
        rank_pattern: file.patterns("rank_pattern", "ranks of at least 1, by names", as_rank)?,
        alpha_pattern: file.patterns("alpha_pattern", "numbers, by names", Value::as_f64)?,
        modules_to_save: file.list("modules_to_save", "a list of names", as_text)?.unwrap_or_default(),
    };
    Ok(AdapterConfig {
        lora,
        base: text(keys, "base_model_name_or_path"),
        revision: text(keys, "revision"),
        has_biases: file.get("bias").is_some_and(|bias| bias != "none"),
        lora_bias: file.flag("lora_bias")?,
        use_dora: file.flag("use_dora")?,
        token_rows: token_rows(&file)?,
        is_tied: file.flag("ensure_weight_tying")?,
    })
}

fn refuse_unknown(file: &Keys<'_>) -> Result<(), ModelError> {
    for (key, value) in file.keys {
        let expected = match key.as_str() {
            "peft_type"
            | "r"
            | "lora_alpha"
            | "lora_dropout"
            | "use_rslora"
            | "target_modules"
            | "exclude_modules"
            | "layers_to_transform"
            | "layers_pattern"
            | "rank_pattern"
            | "alpha_pattern"
            | "modules_to_save"
            | "use_dora"
            | "lora_bias"
            | "trainable_token_indices"
            | "ensure_weight_tying" => None,
            "bias" => {
                let is_known = value.is_null() || ["none", "all", "lora_only"].iter().any(|known| value == known);
                (!is_known).then_some("`none`, `all` or `lora_only`")
            }
            "init_lora_weights" => {
                let is_known = value.is_boolean() || value.as_str().is_some_and(|start| STARTS.contains(&start));
                (!is_known && !value.is_null())
                    .then_some("a start that leaves the weights of the base model as they are")
            }
            key => (!WITHOUT_EFFECT.contains(&key) && !is_off(value)).then_some("LoRA without this"),
        };
        if let Some(expected) = expected {
            return Err(file.wrong(key, expected));
        }
    }
    Ok(())
}

fn targets(file: &Keys<'_>) -> Result<Modules, ModelError> {
    let value = file.get("target_modules");
    if value.and_then(Value::as_str).is_some_and(|word| word.eq_ignore_ascii_case(ALL_LINEAR)) {
        return Ok(Modules::named(LORA_MODULES));
    }
    match file.modules("target_modules")? {
        Some(modules) => Ok(modules),
        None if value.is_none() => Ok(Modules::named(DEFAULT_TARGETS)),
        None => Err(file.wrong("target_modules", "a list of names, a regular expression or `all-linear`")),
    }
}

/// Rows of embeddings: a list is of the embedding of the tokens.
fn token_rows(file: &Keys<'_>) -> Result<Vec<(String, Vec<usize>)>, ModelError> {
    let expected = "ids of tokens, or lists of these by the names of modules";
    let rows = |value: &Value| value.as_array()?.iter().map(as_count).collect::<Option<Vec<_>>>();
    let wrong = || file.wrong("trainable_token_indices", expected);
    match file.get("trainable_token_indices") {
        None => Ok(Vec::new()),
        Some(Value::Object(modules)) => modules
            .iter()
            .map(|(module, value)| Ok((module.clone(), rows(value).ok_or_else(wrong)?)))
            .collect::<Result<_, ModelError>>(),
        Some(value) => Ok(vec![(EMBEDDING.to_owned(), rows(value).ok_or_else(wrong)?)]),
    }
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
    use serde_json::json;

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

    fn read(key: &str, value: Value) -> Result<AdapterConfig, ModelError> {
        let mut keys = peft();
        keys.insert(key.into(), value);
        parse(Path::new("a.json"), &keys)
    }

    #[test]
    fn a_configuration_of_peft_is_read() {
        let config = parse(Path::new("a.json"), &peft()).unwrap();
        let lora = config.lora;
        assert_eq!((lora.r.get(), lora.alpha, lora.dropout, lora.use_rslora), (4, 8.0, 0.0, false));
        assert_eq!(lora.target_modules, Modules::named(["q_proj", "v_proj"]));
        assert_eq!((config.base.as_deref(), config.revision), (Some("base"), None));
    }

    #[test]
    fn modules_are_names_or_an_expression_or_those_of_the_family() {
        for (value, want) in [
            (json!("all-linear"), Modules::named(LORA_MODULES)),
            (json!("All-Linear"), Modules::named(LORA_MODULES)),
            (json!(null), Modules::named(["q_proj", "v_proj"])),
            (json!(".*_proj"), Modules::Pattern(".*_proj".into())),
            (json!(["o_proj", "k_proj", "o_proj"]), Modules::named(["k_proj", "o_proj"])),
        ] {
            assert_eq!(read("target_modules", value).unwrap().lora.target_modules, want);
        }
        assert_eq!(read("layers_to_transform", json!(1)).unwrap().lora.layers_to_transform, Some(vec![1]));
        assert_eq!(read("layers_to_transform", json!([])).unwrap().lora.layers_to_transform, None);
        let ranks = read("rank_pattern", json!({"v_proj": 2, "q_proj": 16})).unwrap().lora.rank_pattern.0;
        let ranks: Vec<(&str, usize)> = ranks.iter().map(|(name, rank)| (name.as_str(), rank.get())).collect();
        assert_eq!(ranks, [("v_proj", 2), ("q_proj", 16)], "in the order of the file");
    }

    #[test]
    fn what_the_decoder_would_not_honour_is_refused_by_name() {
        for (key, value) in [
            ("peft_type", json!("LOHA")),
            ("bias", json!("some")),
            ("rank_pattern", json!({"q_proj": 0})),
            ("rank_pattern", json!([8])),
            ("alpha_pattern", json!({"q_proj": "8"})),
            ("layers_to_transform", json!(["1"])),
            ("layers_pattern", json!("layers")),
            ("init_lora_weights", json!("pissa")),
            ("init_lora_weights", json!("olora")),
            ("init_lora_weights", json!("pissa_niter_16")),
            ("layer_replication", json!([[0, 2], [1, 2]])),
            ("target_parameters", json!(["mlp.up_proj.weight"])),
            ("alora_invocation_tokens", json!([1, 2])),
            ("use_qalora", json!(true)),
            ("kasa_config", json!({"beta": 1e-4})),
            ("velora_config", json!({"rank": 1})),
            ("use_bdlora", json!({"target_modules_bd_a": ["q_proj"]})),
            ("monteclora_config", json!({"num_samples": 8})),
            ("arrow_config", json!({"top_k": 3})),
            ("trainable_token_indices", json!("all")),
            ("target_modules", json!([])),
            ("target_modules", json!([1])),
            ("r", json!(0)),
            ("r", json!(-1)),
            ("lora_alpha", json!("8")),
            ("lora_dropout", json!(1.0)),
            ("use_rslora", json!("no")),
            ("something_new", json!(3)),
        ] {
            let error = read(key, value.clone()).unwrap_err().to_string();
            assert!(error.contains(&format!("key `{key}`")), "{key} = {value}: {error}");
        }
        assert!(read("something_new", json!(null)).is_ok());
    }
}
