//! Heads and sliding windows of a `config.json`.

use super::family::{Defaults, KvHeads, MAX_WINDOW_LAYERS, N_HEADS, QWEN3_HEAD_DIM, SLIDING_WINDOW};
use super::fields::Fields;
use crate::model::config::Architecture;
use crate::model::error::ModelError;

/// Query heads, key/value heads and the width of each.
pub(super) struct Heads {
    pub(super) n_query: usize,
    pub(super) n_kv: usize,
    pub(super) width: usize,
}

/// The heads, as the `__post_init__` of each configuration and its attention derive them.
pub(super) fn heads(
    fields: &Fields<'_>,
    architecture: Architecture,
    hidden_size: usize,
    defaults: &Defaults,
) -> Result<Heads, ModelError> {
    let n_heads = fields.count_or("num_attention_heads", N_HEADS)?;
    // `LlamaConfig.validate_architecture`, whatever `head_dim` says.
    if architecture == Architecture::Llama && !hidden_size.is_multiple_of(n_heads) {
        return Err(fields.wrong("num_attention_heads", "a divisor of `hidden_size`"));
    }
    let head_dim = match architecture {
        Architecture::Llama | Architecture::Mistral => fields.optional_count("head_dim")?,
        // No field of `Qwen2Config`, but its attention reads it all the same; null is no width there.
        Architecture::Qwen2 => Some(fields.count_or("head_dim", hidden_size / n_heads)?),
        Architecture::Qwen3 => Some(fields.count_or("head_dim", QWEN3_HEAD_DIM)?),
    };
    let head_dim = head_dim.unwrap_or(hidden_size / n_heads);
    if head_dim == 0 {
        return Err(fields.wrong("num_attention_heads", "at most `hidden_size`"));
    }
    if !head_dim.is_multiple_of(2) {
        return Err(fields.wrong("head_dim", "an even number"));
    }
    let n_kv_heads = match defaults.kv_heads {
        KvHeads::Exactly(n) => fields.count_or("num_key_value_heads", n)?,
        KvHeads::ExactlyUnlessNull(n) if !fields.has("num_key_value_heads") => n,
        KvHeads::AllHeads | KvHeads::ExactlyUnlessNull(_) => {
            fields.optional_count("num_key_value_heads")?.unwrap_or(n_heads)
        }
    };
    if !n_heads.is_multiple_of(n_kv_heads) {
        return Err(fields.wrong("num_key_value_heads", &format!("a divisor of {n_heads} attention heads")));
    }
    Ok(Heads { n_query: n_heads, n_kv: n_kv_heads, width: head_dim })
}

/// The sliding window of every layer of a model for sequences of at most `longest` tokens.
///
/// - Llama has none, so one that would take effect is refused; transformers passes over it, and others may not.
/// - `MistralConfig` has `sliding_window` for all layers, 4096 if it is not said. Beside `layer_types` the
///   `AutoConfig.from_pretrained` of transformers takes the file for a Ministral, which has one where they say so.
/// - `Qwen2Config` and `Qwen3Config` have one only with `use_sliding_window`, in the layers of `layer_types` or, without
///   them, from `max_window_layers` on.
pub(super) fn windows(
    fields: &Fields<'_>,
    architecture: Architecture,
    n_layers: usize,
    longest: usize,
) -> Result<Vec<Option<usize>>, ModelError> {
    let (window, first_windowed) = match architecture {
        Architecture::Llama => {
            let is_used = fields.other_flag("use_sliding_window")?;
            let reaches_all = fields.optional_size("sliding_window")?.is_none_or(|window| window >= longest);
            if is_used == Some(true) || (is_used.is_none() && !reaches_all) {
                let key = if is_used.is_some() { "use_sliding_window" } else { "sliding_window" };
                return Err(fields.wrong(key, "none: a Llama model sees all tokens before"));
            }
            (None, 0)
        }
        Architecture::Mistral => {
            let window = if fields.has("sliding_window") {
                fields.optional_count("sliding_window")?
            } else {
                Some(SLIDING_WINDOW)
            };
            // No keys of a Mistral, whose every layer has the window; only Qwen's files mean anything by them.
            if fields.other_flag("use_sliding_window")?.is_some_and(|is_used| is_used != window.is_some()) {
                return Err(fields.wrong("use_sliding_window", "what `sliding_window` says"));
            }
            if window.is_some() && fields.optional_size("max_window_layers")?.is_some_and(|first| first != 0) {
                return Err(fields.wrong("max_window_layers", "0: every layer of a Mistral model has the window"));
            }
            (window, 0)
        }
        Architecture::Qwen2 | Architecture::Qwen3 => {
            let window = if fields.has("sliding_window") {
                fields.optional_size("sliding_window")?
            } else {
                Some(SLIDING_WINDOW)
            };
            let is_used = fields.flag_or("use_sliding_window", false)?;
            let window = window.filter(|_| is_used);
            if window == Some(0) {
                return Err(fields.wrong("sliding_window", "a number above 0"));
            }
            (window, fields.size_or("max_window_layers", MAX_WINDOW_LAYERS)?)
        }
    };
    if let Some(types) = fields.get("layer_types") {
        let Some(types) = types.as_array().filter(|types| types.len() == n_layers) else {
            return Err(fields.wrong("layer_types", &format!("a list of {n_layers} layer types")));
        };
        let of_type = |layer_type: &serde_json::Value| match layer_type.as_str() {
            // The second by `remap_legacy_layer_types`.
            Some("full_attention" | "attention") => Ok(None),
            Some("sliding_attention") if window.is_some() => Ok(window),
            _ => Err(fields.wrong("layer_types", "`full_attention`, or `sliding_attention` with a window")),
        };
        return types.iter().map(of_type).collect();
    }
    Ok((0..n_layers).map(|layer| if layer >= first_windowed { window } else { None }).collect())
}
