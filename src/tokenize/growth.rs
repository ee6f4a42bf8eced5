//! How much longer a tokenizer's steps can make a text, told from its settings before any text is given to it.
//!
//! Each step may replace a character by many; a few dozen of them in a row make gigabytes of a word.

use std::path::Path;

use serde::Serialize;
use serde_json::Value as Json;
use tokenizers::Tokenizer;

use super::error::TokenizeError;

/// Bytes that may become of one. Llama 2's `Prepend` and `Replace` come to 12, byte-level steps to 2.
const LIMIT: f64 = 64.0;

/// Refuses a tokenizer whose normalizer and pre-tokenizer, or whose post-processor, may make too much of a text.
pub(super) fn check(tokenizer: &Tokenizer, path: &Path) -> Result<(), TokenizeError> {
    let refuse = |part, found: f64| {
        if found <= LIMIT {
            Ok(())
        } else {
            Err(TokenizeError::Growth { path: path.to_owned(), part, limit: LIMIT, found })
        }
    };
    let before = settings(&tokenizer.get_normalizer(), path)?;
    let within = settings(&tokenizer.get_pre_tokenizer(), path)?;
    refuse("normalizer and pre-tokenizer", of_text(&before) * of_text(&within))?;
    refuse("post-processor", of_ids(&settings(&tokenizer.get_post_processor(), path)?))
}

fn settings(part: &impl Serialize, path: &Path) -> Result<Json, TokenizeError> {
    serde_json::to_value(part)
        .map_err(|source| TokenizeError::Tokenizer { path: path.to_owned(), source: source.into() })
}

/// Bytes of text from one byte.
fn of_text(step: &Json) -> f64 {
    let length = |name: &str| step.get(name).and_then(Json::as_str).map_or(0, str::len) as f64;
    match step.get("type").and_then(Json::as_str).unwrap_or_default() {
        "Sequence" => product(step, ["normalizers", "pretokenizers"], of_text),
        "Replace" => {
            let text = step.pointer("/pattern/String").and_then(Json::as_str).map_or(0, str::len);
            // A regular expression may match at every place, and nothing everywhere.
            if text == 0 { 1.0 + length("content") } else { (length("content") / text as f64).max(1.0) }
        }
        "Prepend" => 1.0 + length("prepend"),
        // Every byte becomes a character, half of them of two bytes.
        "ByteLevel" => 2.0,
        "Metaspace" => 1.0 + length("replacement"),
        _ => 1.0,
    }
}

/// Ids from one id.
fn of_ids(step: &Json) -> f64 {
    match step.get("type").and_then(Json::as_str).unwrap_or_default() {
        "Sequence" => product(step, ["processors"], of_ids),
        "TemplateProcessing" => {
            let pieces = step.get("single").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
            pieces.iter().filter(|piece| piece.get("Sequence").is_some()).count().max(1) as f64
        }
        _ => 1.0,
    }
}

fn product<const N: usize>(step: &Json, names: [&str; N], of: impl Fn(&Json) -> f64) -> f64 {
    names.into_iter().filter_map(|name| step.get(name)?.as_array()).flatten().map(of).product()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_steps_of_real_tokenizers_multiply_to_little() {
        let llama2 = json!({"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ]});
        assert_eq!(of_text(&llama2), 12.0);
        let byte_level = json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": "\\s+"}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]});
        assert_eq!(of_text(&byte_level), 2.0);
        assert_eq!(of_text(&Json::Null), 1.0);
        let frame = json!({"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
        ]});
        assert_eq!(of_ids(&frame), 1.0);
    }

    #[test]
    fn steps_that_multiply_are_seen() {
        let double = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
        assert_eq!(of_text(&json!({"type": "Sequence", "normalizers": vec![&double; 40]})), 2_f64.powi(40));
        assert_eq!(of_text(&json!({"type": "Replace", "pattern": {"Regex": ""}, "content": "abc"})), 4.0);
        let twice = json!({"type": "TemplateProcessing", "single": vec![json!({"Sequence": {"id": "A"}}); 100]});
        assert_eq!(of_ids(&twice), 100.0);
    }
}
