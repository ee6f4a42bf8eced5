//! The rotary embedding of a `config.json`.

use serde_json::Value;

use super::fields::Fields;
use crate::model::config::{Rope, RopeScaling};
use crate::model::error::ModelError;

/// `RotaryEmbeddingConfigMixin.default_theta`.
const DEFAULT_THETA: f64 = 10_000.0;

/// Reads it as `RotaryEmbeddingConfigMixin.convert_rope_params_to_dict` and `standardize_rope_params` of transformers do:
///
/// 1. `rope_scaling`, if it holds anything, is taken in place of `rope_parameters` as a whole, base included;
/// 2. the base is that of the table, else `rope_theta` beside it, else 10000;
/// 3. the type is `rope_type`, else `type`, else `default`;
/// 4. the context of `llama3` is `original_max_position_embeddings` beside the table, else in it, else
///    `max_position_embeddings`.
///
/// Beyond that: `rope_type` and `type` that contradict each other, a table for each type of layer, and a key that
/// transformers only warns of (`Unrecognized keys in rope_parameters`) are refused by name.
pub(super) fn rope(fields: &Fields<'_>, max_position_embeddings: usize) -> Result<Rope, ModelError> {
    if fields.optional_number("partial_rotary_factor")?.is_some_and(|found| found != 1.0) {
        return Err(fields.wrong("partial_rotary_factor", "1"));
    }
    // Before anything else, so that a table that loses is well-formed, too.
    let parameters = table(fields, "rope_parameters")?;
    let Some(table) = table(fields, "rope_scaling")?.or(parameters) else {
        return Ok(Rope { theta: outer_theta(fields)?, scaling: RopeScaling::None });
    };
    let theta = if table.has("rope_theta") { table.number_not_null("rope_theta")? } else { outer_theta(fields)? };
    let (type_key, rope_type) = rope_type(&table)?;
    let scaling = match rope_type {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: table.number("factor")? },
        "llama3" => RopeScaling::Llama3 {
            factor: table.number("factor")?,
            low_freq_factor: table.number("low_freq_factor")?,
            high_freq_factor: table.number("high_freq_factor")?,
            original: original_context(fields, &table, max_position_embeddings)?,
        },
        _ => return Err(table.wrong(type_key, "`default`, `linear` or `llama3`")),
    };
    refuse_unknown(&table, rope_type)?;
    Ok(Rope { theta, scaling })
}

/// A table of the file that holds anything; Python's `or` skips an empty one.
fn table<'a>(fields: &Fields<'a>, key: &'a str) -> Result<Option<Fields<'a>>, ModelError> {
    match fields.get(key) {
        None => Ok(None),
        Some(Value::Object(object)) if object.is_empty() => Ok(None),
        Some(Value::Object(object)) => Ok(Some(Fields { section: key, object, ..*fields })),
        Some(_) => Err(fields.wrong(key, "a table")),
    }
}

/// Null is no number here: transformers takes it, and fails when it computes the frequencies.
fn outer_theta(fields: &Fields<'_>) -> Result<f64, ModelError> {
    if fields.has("rope_theta") { fields.number_not_null("rope_theta") } else { Ok(DEFAULT_THETA) }
}

fn rope_type<'a>(table: &Fields<'a>) -> Result<(&'static str, &'a str), ModelError> {
    let named = |key: &str| match table.object.get(key) {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or_else(|| table.wrong(key, "text")),
    };
    // Only the absence of `rope_type` makes transformers look at `type`.
    let other = if table.has("rope_type") && table.get("type").is_none() { None } else { named("type")? };
    match (named("rope_type")?, other) {
        // `mrope` beside `default` is what transformers 4 wrote of a model with multimodal positions: for text, whose three
        // positions are one, it is the plain embedding.
        (Some(rope_type), Some(other)) if rope_type != other && (rope_type, other) != ("default", "mrope") => {
            Err(table.wrong("type", &format!("`{rope_type}`, as `rope_type` says")))
        }
        (Some(rope_type), _) => Ok(("rope_type", rope_type)),
        (None, Some(rope_type)) => Ok(("type", rope_type)),
        (None, None) => Ok(("rope_type", "default")),
    }
}

fn original_context(
    fields: &Fields<'_>,
    table: &Fields<'_>,
    max_position_embeddings: usize,
) -> Result<f64, ModelError> {
    const KEY: &str = "original_max_position_embeddings";
    if fields.has(KEY) {
        fields.number_not_null(KEY)
    } else if table.has(KEY) {
        table.number_not_null(KEY)
    } else {
        Ok(max_position_embeddings as f64)
    }
}

/// Read, whatever the type, or without effect: the context is that of `llama3`, and with others a note on how the model came
/// about; a section says which of three positions turns a frequency, and of text they are one.
const READ: [&str; 6] =
    ["rope_theta", "rope_type", "type", "original_max_position_embeddings", "mrope_section", "mrope_interleaved"];

/// Keys of the table that would be passed over.
fn refuse_unknown(table: &Fields<'_>, rope_type: &str) -> Result<(), ModelError> {
    for (key, value) in table.object {
        let expected = match key.as_str() {
            _ if READ.contains(&key.as_str()) || value.is_null() => continue,
            "low_freq_factor" | "high_freq_factor" if rope_type == "llama3" => continue,
            "factor" if rope_type != "default" => continue,
            "factor" | "partial_rotary_factor" | "attention_factor" | "mscale" | "mscale_all_dim" => {
                if value.as_f64() == Some(1.0) {
                    continue;
                }
                "1"
            }
            "full_attention" | "sliding_attention" => "one table for all layers",
            _ => {
                return Err(ModelError::UnknownKey {
                    path: table.path.to_owned(),
                    key: table.name(key),
                    found: crate::model::error::shown(value.to_string()),
                });
            }
        };
        return Err(table.wrong(key, expected));
    }
    Ok(())
}
