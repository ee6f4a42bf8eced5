//! Every key of a `config.json`: read, without effect on a log-prob, or refused.
//!
//! transformers keeps a key that is no field of the configuration and reads it nowhere; vLLM, llama.cpp or the code a
//! model came with may well. So a key is passed over only if it is known to change no number.

use serde_json::Value;

use super::fields::Fields;
use crate::model::config::Architecture;
use crate::model::error::{ModelError, shown};

/// Read elsewhere in this module.
const READ: &[&str] = &[
    "architectures",
    "model_type",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "rms_norm_eps",
    "hidden_act",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "partial_rotary_factor",
    "max_position_embeddings",
    "original_max_position_embeddings",
    "tie_word_embeddings",
    "attention_bias",
    "mlp_bias",
    "sliding_window",
    "use_sliding_window",
    "max_window_layers",
    "layer_types",
    "initializer_range",
];

/// Keys whose value, whatever it is, changes no log-prob; by the reason.
const HARMLESS: &[&[&str]] = &[
    // Where the file comes from, and with what it was written.
    &["_name_or_path", "name_or_path", "_commit_hash", "transformers_version", "unsloth_version", "unsloth_fixed"],
    &["model_name", "is_llama_config", "transformers.js_config", "finetuning_task", "task_specific_params"],
    // Code that transformers does not run unless it is told to trust it.
    &["auto_map", "custom_pipelines"],
    // What the weights are stored in: each tensor says so itself, and all are computed with in f32 or as asked.
    &["dtype", "torch_dtype", "use_bfloat16"],
    // How a program runs the model: kernels, caches, what it returns beside the logits.
    &["use_cache", "return_dict", "use_return_dict", "output_attentions", "output_hidden_states", "torchscript"],
    &["attn_implementation", "_attn_implementation", "_attn_implementation_autoset", "_attn_implementation_internal"],
    &["_flash_attn_2_enabled", "use_flash_attn", "use_flash_attention", "use_flash_attention_2", "flash_attention"],
    &["experts_implementation", "_experts_implementation_internal", "use_cache_quantization", "use_cache_kernel"],
    &["gradient_checkpointing", "use_gradient_checkpointing", "keys_to_ignore_at_inference", "tf_legacy_loss"],
    // A product or a layer computed in parts and put together again.
    &["pretraining_tp", "chunk_size_feed_forward"],
    // Training of other programs; TRL, too, switches dropout off for DPO.
    &[
        "attention_dropout",
        "hidden_dropout",
        "resid_pdrop",
        "embd_pdrop",
        "attn_pdrop",
        "dropout",
        "classifier_dropout",
    ],
    &["residual_dropout", "embedding_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob", "mlp_dropout"],
    // Tokens: the tokenizer's, and `generation_config.json`'s.
    &["bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "sep_token_id", "cls_token_id", "mask_token_id"],
    &["decoder_start_token_id", "end_token_id", "tokenizer_class", "processor_class", "prefix", "chat_template"],
    // Heads of other tasks.
    &["id2label", "label2id", "num_labels", "problem_type", "summary_type", "summary_use_proj"],
    // Roles a decoder may have in a larger model; by itself it has none.
    &["is_decoder", "tie_encoder_decoder"],
    // Lengths that no forward pass reads.
    &["max_sequence_length", "model_max_length", "max_seq_len", "max_seq_length", "seq_length", "max_length"],
    &["max_model_len", "max_context_length", "n_positions", "n_ctx"],
    // How answers are drawn: `GenerationConfig._get_default_generation_params` of transformers, which drops them here.
    &["assistant_confidence_threshold", "assistant_lookbehind", "bad_words_ids", "begin_suppress_tokens"],
    &["diversity_penalty", "do_sample", "early_stopping", "encoder_no_repeat_ngram_size", "encoder_repetition_penalty"],
    &["epsilon_cutoff", "eta_cutoff", "exponential_decay_length_penalty", "forced_bos_token_id"],
    &["forced_eos_token_id", "length_penalty", "min_length", "no_repeat_ngram_size", "num_assistant_tokens"],
    &["num_assistant_tokens_schedule", "num_beam_groups", "num_beams", "num_return_sequences", "output_scores"],
    &["remove_invalid_values", "repetition_penalty", "return_dict_in_generate", "suppress_tokens", "target_lookbehind"],
    &["temperature", "top_k", "top_p", "typical_p", "generation_config", "cache_implementation"],
];

/// Other programs' names of the norms on queries and keys, which a family has or has not.
const QK_NORM: &[&str] = &["use_qk_norm", "qk_norm", "qk_layernorm"];

/// What a value has to be for its key to change nothing.
enum Neutral {
    False,
    True,
    One,
    Zero,
    /// Null, which every key may be, or nothing at all.
    Absent,
    /// A list of ones.
    AllOne,
    Silu,
}

impl Neutral {
    fn is(&self, value: &Value) -> bool {
        match self {
            Self::False => value == &Value::Bool(false),
            Self::True => value == &Value::Bool(true),
            Self::One => value.as_f64() == Some(1.0),
            Self::Zero => value.as_f64() == Some(0.0),
            Self::Absent => false,
            Self::AllOne => value.as_array().is_some_and(|list| list.iter().all(|one| one.as_f64() == Some(1.0))),
            Self::Silu => matches!(value.as_str(), Some("silu" | "swish")),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::False => "false",
            Self::True => "true",
            Self::One => "1",
            Self::Zero => "0",
            Self::Absent => "null",
            Self::AllOne => "only ones",
            Self::Silu => "`silu`",
        }
    }
}

/// Keys that change the model unless they are neutral: those of configurations derived from these four families.
const NEUTRAL: &[(Neutral, &[&str])] = &[
    (
        Neutral::False,
        &[
            "is_encoder_decoder",
            "add_cross_attention",
            "rope_interleaved",
            "use_mrope",
            "use_qkv_bias",
            "use_bias",
            "bias",
            "parallel_attn",
            "use_parallel_residual",
            "alibi",
            "use_alibi",
            "use_logn_attn",
            "use_dynamic_ntk",
            "scale_embeddings",
            "use_mup",
            "tie_lm_head",
            "attention_sink",
            "use_cla",
            "use_moe",
        ],
    ),
    (Neutral::True, &["is_causal", "causal", "use_rope", "use_rotary_embedding", "use_rms_norm", "rms_norm"]),
    (
        Neutral::One,
        &[
            "logit_scale",
            "logits_scaling",
            "lm_head_multiplier",
            "embedding_multiplier",
            "embedding_scale",
            "residual_multiplier",
            "residual_scale",
            "scale_emb",
            "rope_pct",
            "rotary_pct",
            "rope_ratio",
        ],
    ),
    (
        Neutral::Zero,
        &[
            "num_experts",
            "num_local_experts",
            "n_routed_experts",
            "n_shared_experts",
            "num_experts_per_tok",
            "num_nextn_predict_layers",
            "mtp_num_hidden_layers",
            "attn_logit_softcapping",
            "final_logit_softcapping",
            "logits_soft_cap",
            "attn_logits_soft_cap",
            "router_aux_loss_coef",
        ],
    ),
    (
        Neutral::Absent,
        &[
            "quantization_config",
            "compression_config",
            "attention_multiplier",
            "attention_scale",
            "attn_scale",
            "query_pre_attn_scalar",
            "clip_qkv",
            "scale_depth",
            "dim_model_base",
            "no_rope_layer_interval",
            "sliding_window_pattern",
            "attention_window_size",
            "per_layer_config",
            "text_config",
            "vision_config",
            "audio_config",
            "cross_attention_hidden_size",
            "pruned_heads",
            "transformers_weights",
            "configuration_files",
            "fusion_config",
        ],
    ),
    (Neutral::AllOne, &["no_rope_layers"]),
    (Neutral::Silu, &["hidden_activation", "activation_function", "mlp_activation"]),
];

/// Refuses every key that is neither read, nor harmless, nor neutral.
///
/// Null, `{}`, `[]` and `""` state nothing, whatever the key.
///
/// # Errors
/// Names the key, the value that would change nothing, where it has one, and the value of the file.
pub(super) fn check(fields: &Fields<'_>, architecture: Architecture) -> Result<(), ModelError> {
    for (key, value) in fields.object {
        if READ.contains(&key.as_str()) || HARMLESS.iter().any(|keys| keys.contains(&key.as_str())) || is_empty(value) {
            continue;
        }
        if QK_NORM.contains(&key.as_str()) {
            let has = architecture == Architecture::Qwen3;
            if value != &Value::Bool(has) {
                return Err(fields.wrong(key, &format!("{has}, which a {architecture} model has")));
            }
            continue;
        }
        match NEUTRAL.iter().find(|(_, keys)| keys.contains(&key.as_str())) {
            Some((neutral, _)) if neutral.is(value) => {}
            Some((_, _)) if key == "quantization_config" => {
                return Err(fields.wrong(key, "no quantisation (f32, f16 or bf16 weights, or a GGUF file)"));
            }
            Some((neutral, _)) => {
                let expected = format!("{}, which a {architecture} model has", neutral.name());
                return Err(fields.wrong(key, &expected));
            }
            None => {
                return Err(ModelError::UnknownKey {
                    path: fields.path.to_owned(),
                    key: key.clone(),
                    found: shown(value.to_string()),
                });
            }
        }
    }
    types(fields, architecture)
}

/// A key, what it has to be, and whether a value is that.
type Typed<'a> = (&'a str, &'a str, &'a dyn Fn(&Value) -> bool);

/// Values that transformers refuses for their type, of keys that are harmless otherwise.
fn types(fields: &Fields<'_>, architecture: Architecture) -> Result<(), ModelError> {
    let is_token = |value: &Value| value.is_i64() || value.is_u64();
    let of_type: [Typed<'_>; 9] = [
        ("use_cache", "true or false", &Value::is_boolean),
        ("return_dict", "true, false or null", &|value| value.is_boolean() || value.is_null()),
        ("attention_dropout", "a number", &|value| {
            value.is_number() || (value.is_null() && architecture == Architecture::Llama)
        }),
        ("initializer_range", "a number with a decimal point", &Value::is_f64),
        ("bos_token_id", "a token id or null", &|value| is_token(value) || value.is_null()),
        ("pad_token_id", "a token id or null", &|value| is_token(value) || value.is_null()),
        ("eos_token_id", "token ids or null", &|value| {
            is_token(value) || value.is_null() || value.as_array().is_some_and(|ids| ids.iter().all(is_token))
        }),
        ("dtype", "the name of a number type", &|value| value.is_string() || value.is_null()),
        ("transformers_version", "text", &|value| value.is_string() || value.is_null()),
    ];
    match of_type.into_iter().find(|(key, _, is_right)| fields.object.get(*key).is_some_and(|value| !is_right(value))) {
        Some((key, expected, _)) => Err(fields.wrong(key, expected)),
        None => Ok(()),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_has_two_meanings() {
        let groups = HARMLESS.iter().copied().chain([READ, QK_NORM]).chain(NEUTRAL.iter().map(|(_, keys)| *keys));
        let mut keys: Vec<&str> = groups.flatten().copied().collect();
        keys.sort_unstable();
        let twice = keys.windows(2).find(|pair| pair[0] == pair[1]);
        assert_eq!(twice, None);
    }
}
