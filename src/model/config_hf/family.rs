//! Which family a `config.json` describes, and what transformers assumes where it is silent.

use serde_json::Value;

use super::fields::Fields;
use crate::model::config::Architecture;
use crate::model::error::ModelError;

/// The family of a file: `model_type` decides, as in `AutoConfig.from_pretrained` of transformers.
///
/// `architectures` is what vLLM and the converters of llama.cpp decide by, so a class of another family beside it is
/// refused: one of the two programs would compute another model. A head that is no language model's (`LlamaModel`,
/// `LlamaForSequenceClassification`) is of the same family; `AutoModelForCausalLM` loads it, and a tensor of that head has
/// no place. `auto_map` names code that transformers runs only when told to trust it; without, it takes its own class.
///
/// # Errors
/// If `model_type` is missing or not known, or if `architectures` names another family.
pub(super) fn architecture(fields: &Fields<'_>) -> Result<Architecture, ModelError> {
    let classes = classes(fields)?;
    if let Some(unknown) = classes.iter().find(|class| of_class(class).is_none()) {
        return Err(not_known(fields, unknown));
    }
    let Some(found) = fields.get("model_type") else { return Err(fields.missing("model_type")) };
    let Some(model_type) = found.as_str() else { return Err(fields.wrong("model_type", "text")) };
    let by_type = Architecture::ALL.into_iter().find(|architecture| architecture.model_type() == model_type);
    let architecture = by_type.ok_or_else(|| not_known(fields, model_type))?;
    if classes.iter().any(|class| of_class(class) != Some(architecture)) {
        let expected = format!("`{}`, the class of model_type `{model_type}`", architecture.hf_name());
        return Err(fields.wrong("architectures", &expected));
    }
    Ok(architecture)
}

fn classes<'a>(fields: &Fields<'a>) -> Result<Vec<&'a str>, ModelError> {
    let Some(value) = fields.get("architectures") else { return Ok(Vec::new()) };
    // transformers takes one name for a list of one.
    if let Some(name) = value.as_str() {
        return Ok(vec![name]);
    }
    let names = value.as_array().map(|names| names.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
    names.flatten().ok_or_else(|| fields.wrong("architectures", "a list of names"))
}

/// The family of a class of transformers: `LlamaForCausalLM`, `LlamaModel`, ….
fn of_class(class: &str) -> Option<Architecture> {
    const HEADS: [&str; 5] =
        ["ForCausalLM", "Model", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering"];
    // The first files converted to Hugging Face's format spell it so.
    if class == "LLaMAForCausalLM" {
        return Some(Architecture::Llama);
    }
    Architecture::ALL.into_iter().find(|architecture| {
        let family = architecture.hf_name().strip_suffix("ForCausalLM");
        let head = family.and_then(|family| class.strip_prefix(family));
        head.is_some_and(|head| HEADS.contains(&head))
    })
}

fn not_known(fields: &Fields<'_>, found: &str) -> ModelError {
    ModelError::UnknownArchitecture {
        path: fields.path.to_owned(),
        found: found.to_owned(),
        known: Architecture::ALL.map(|known| format!("{} ({})", known.hf_name(), known.model_type())).join(", "),
    }
}

/// Key/value heads where `num_key_value_heads` is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KvHeads {
    /// As many as query heads.
    AllHeads,
    /// So many, and null is no value.
    Exactly(usize),
    /// So many, and null is as many as query heads.
    ExactlyUnlessNull(usize),
}

/// The defaults of `LlamaConfig`, `MistralConfig`, `Qwen2Config` and `Qwen3Config` of transformers 5.24 that differ
/// between them.
pub(super) struct Defaults {
    pub(super) vocab_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) kv_heads: KvHeads,
    pub(super) max_position_embeddings: usize,
}

pub(super) const HIDDEN_SIZE: usize = 4096;
pub(super) const N_LAYERS: usize = 32;
pub(super) const N_HEADS: usize = 32;
pub(super) const RMS_NORM_EPS: f64 = 1e-6;
pub(super) const QWEN3_HEAD_DIM: usize = 128;
pub(super) const SLIDING_WINDOW: usize = 4096;
pub(super) const MAX_WINDOW_LAYERS: usize = 28;

pub(super) fn defaults(architecture: Architecture) -> Defaults {
    match architecture {
        Architecture::Llama => Defaults {
            vocab_size: 32_000,
            intermediate_size: 11_008,
            kv_heads: KvHeads::AllHeads,
            max_position_embeddings: 2048,
        },
        Architecture::Mistral => Defaults {
            vocab_size: 32_000,
            intermediate_size: 14_336,
            kv_heads: KvHeads::Exactly(8),
            max_position_embeddings: 131_072,
        },
        Architecture::Qwen2 | Architecture::Qwen3 => Defaults {
            vocab_size: 151_936,
            intermediate_size: 22_016,
            kv_heads: KvHeads::ExactlyUnlessNull(32),
            max_position_embeddings: 32_768,
        },
    }
}
