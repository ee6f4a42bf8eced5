//! Every hyperparameter of a GGUF file: read, without effect on a log-prob, or refused.
//!
//! llama.cpp reads them under the name of the architecture (`llama_hparams`; the names are those of `LLM_KV_NAMES`). The
//! other namespaces describe the file (`general.`), its tokens (`tokenizer.`, read in [`crate::tokenize`]), how it was
//! made (`quantize.`, `imatrix.`) or whose it is; none of them is a setting of the model.

use candle_core::quantized::gguf_file::Value;

use super::{Metadata, as_number, shown_value};
use crate::model::error::ModelError;

/// What the keys are checked against.
pub(super) struct Known {
    pub(super) head_dim: usize,
    pub(super) n_layers: usize,
}

/// Read where the configuration is made.
const READ: [&str; 13] = [
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "vocab_size",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "rope.freq_base",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scale_linear",
];

/// Without effect, whatever they say.
const HARMLESS: [&str; 6] = [
    // How the model came about.
    "rope.scaling.finetuned",
    // Read by yarn and longrope only, which are refused.
    "rope.scaling.original_context_length",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    // The order of rows that every file of the architecture has.
    "tensor_data_layout",
    // How hidden states become the embedding of a text.
    "pooling_type",
];

/// What switches the feature of a key off.
enum Off {
    Zero,
    ZeroOrOne,
    One,
    True,
    False,
    HeadDim,
}

/// Keys that change the model unless they have this value.
const NEUTRAL: [(&str, Off); 29] = [
    ("attention.value_length", Off::HeadDim),
    ("rope.dimension_count", Off::HeadDim),
    ("rope.scaling.attn_factor", Off::One),
    ("rope.scaling.yarn_log_multiplier", Off::Zero),
    ("rope.scaling.yarn_ext_factor", Off::Zero),
    ("rope.scaling.yarn_attn_factor", Off::One),
    ("attention.sliding_window", Off::Zero),
    ("attention.sliding_window_pattern", Off::Zero),
    ("attention.scale", Off::Zero),
    ("attention.output_scale", Off::ZeroOrOne),
    ("attention.temperature_scale", Off::Zero),
    ("attention.temperature_length", Off::Zero),
    ("attention.clamp_kqv", Off::Zero),
    ("attention.max_alibi_bias", Off::Zero),
    ("attention.causal", Off::True),
    ("attn_logit_softcapping", Off::Zero),
    ("final_logit_softcapping", Off::Zero),
    ("logit_scale", Off::ZeroOrOne),
    ("embedding_scale", Off::ZeroOrOne),
    ("residual_scale", Off::ZeroOrOne),
    ("expert_count", Off::Zero),
    ("expert_used_count", Off::Zero),
    ("expert_shared_count", Off::Zero),
    ("expert_feed_forward_length", Off::Zero),
    ("expert_weights_scale", Off::ZeroOrOne),
    ("leading_dense_block_count", Off::Zero),
    ("nextn_predict_layers", Off::Zero),
    ("n_deepstack_layers", Off::Zero),
    ("use_parallel_residual", Off::False),
];

/// Refuses every key of the architecture that is neither read, nor harmless, nor switched off, and what is no model.
///
/// # Errors
/// Names the key, the value that would change nothing, where it has one, and the value of the file.
pub(super) fn check(metadata: &Metadata<'_>, architecture: &str, known: &Known) -> Result<(), ModelError> {
    if metadata.optional_text("general.type")?.is_some_and(|found| found != "model") {
        return Err(metadata.wrong("general.type", "`model`"));
    }
    let mut keys: Vec<&String> = metadata.gguf.content.metadata.keys().collect();
    keys.sort_unstable();
    for key in keys {
        let Some(name) = key.strip_prefix(architecture).and_then(|rest| rest.strip_prefix('.')) else { continue };
        if READ.contains(&name) || HARMLESS.contains(&name) {
            continue;
        }
        let Some(value) = metadata.get(key) else { continue };
        match NEUTRAL.iter().find(|(neutral, _)| *neutral == name) {
            Some((_, off)) => {
                let expected = expected(off, known);
                if !is_off(off, value, known) {
                    return Err(metadata.wrong(key, &expected));
                }
            }
            None => {
                return Err(ModelError::UnknownKey {
                    path: metadata.gguf.path.clone(),
                    key: key.clone(),
                    found: shown_value(value),
                });
            }
        }
    }
    Ok(())
}

fn is_off(off: &Off, value: &Value, known: &Known) -> bool {
    // One for each layer says the same as one for all.
    if let Value::Array(values) = value {
        return values.len() == known.n_layers && values.iter().all(|value| is_off(off, value, known));
    }
    match off {
        Off::True => matches!(value, Value::Bool(true)),
        Off::False => matches!(value, Value::Bool(false)),
        Off::Zero => as_number(value) == Some(0.0),
        Off::One => as_number(value) == Some(1.0),
        Off::ZeroOrOne => as_number(value).is_some_and(|number| number == 0.0 || number == 1.0),
        Off::HeadDim => as_number(value) == Some(known.head_dim as f64),
    }
}

fn expected(off: &Off, known: &Known) -> String {
    match off {
        Off::Zero => "0, which switches it off".into(),
        Off::One => "1, which changes nothing".into(),
        Off::ZeroOrOne => "0 or 1, which change nothing".into(),
        Off::True => "true".into(),
        Off::False => "false".into(),
        Off::HeadDim => format!("{}, the width of a head", known.head_dim),
    }
}
