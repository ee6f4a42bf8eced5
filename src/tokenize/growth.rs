//! How much longer a tokenizer's steps can make a text, told from its settings before any text is given to it.
//!
//! Each step may replace a character by many; a few dozen of them in a row make gigabytes of a word.

use std::path::Path;

use serde::Serialize;
use serde_json::Value as Json;
use tokenizers::Tokenizer;

use super::error::TokenizeError;

/// Bytes that may become of one. Llama 2's `Prepend` and `Replace` come to 12, byte-level steps to 2, and the table of
/// SentencePiece, which spells out one character of Arabic with 33 bytes, with the mark of a word to 132.
const LIMIT: f64 = 256.0;

/// Ids that may stand around a text: models that speak many languages name two or three things there.
const ADDED_IDS: usize = 256;

/// What ids are below: every one up to the largest is looked up when a tokenizer is digested. The largest vocabularies have
/// a million.
const IDS: u32 = 1 << 24;

/// Refuses a tokenizer with an id that nobody counts to.
pub(super) fn check_ids(tokenizer: &Tokenizer, path: &Path) -> Result<(), TokenizeError> {
    match tokenizer.get_vocab(true).into_values().max() {
        Some(found) if found >= IDS => Err(TokenizeError::LargeId { path: path.to_owned(), limit: IDS, found }),
        _ => Ok(()),
    }
}

/// Refuses a tokenizer whose normalizer and pre-tokenizer, or whose post-processor, may make too much of a text.
pub(super) fn check(tokenizer: &Tokenizer, path: &Path) -> Result<(), TokenizeError> {
    let refuse = |part, found: f64| {
        if found <= LIMIT {
            Ok(())
        } else {
            Err(TokenizeError::Growth { path: path.to_owned(), part, limit: LIMIT, found })
        }
    };
    let after = settings(&tokenizer.get_decoder(), path)?;
    let before = settings(&tokenizer.get_normalizer(), path)?;
    let within = settings(&tokenizer.get_pre_tokenizer(), path)?;
    refuse("normalizer and pre-tokenizer", of_text(&before) * of_text(&within))?;
    refuse("decoder", of_text(&after))?;
    let around = settings(&tokenizer.get_post_processor(), path)?;
    refuse("post-processor", of_ids(&around))?;
    match added_ids(&around) {
        found if found <= ADDED_IDS => Ok(()),
        found => Err(TokenizeError::AddedIds { path: path.to_owned(), limit: ADDED_IDS, found }),
    }
}

/// The settings of a part, as its file has them.
pub(super) fn settings(part: &impl Serialize, path: &Path) -> Result<Json, TokenizeError> {
    serde_json::to_value(part)
        .map_err(|source| TokenizeError::Tokenizer { path: path.to_owned(), source: source.into() })
}

/// Bytes of text from one byte.
fn of_text(step: &Json) -> f64 {
    let length = |name: &str| step.get(name).and_then(Json::as_str).map_or(0, str::len) as f64;
    match step.get("type").and_then(Json::as_str).unwrap_or_default() {
        "Sequence" => product(step, ["normalizers", "pretokenizers", "decoders"], of_text),
        "Replace" => {
            let text = step.pointer("/pattern/String").and_then(Json::as_str).map_or(0, str::len);
            // A regular expression may match at every place, and nothing everywhere.
            if text == 0 { 1.0 + length("content") } else { (length("content") / text as f64).max(1.0) }
        }
        "Prepend" => 1.0 + length("prepend"),
        // Of one character, which may be a byte, any of its texts.
        "Precompiled" => {
            longest_text(step.get("precompiled_charsmap").and_then(Json::as_str).unwrap_or_default()) as f64
        }
        // Every byte becomes a character, half of them of two bytes.
        "ByteLevel" => 2.0,
        "Metaspace" => 1.0 + length("replacement"),
        _ => 1.0,
    }
}

/// The longest text that a table of SentencePiece puts in the place of a character: a trie, of whose bytes the first four
/// are the number, and texts that end with a byte of 0. At least 1; a table that is none is found out by whoever uses it.
fn longest_text(table: &str) -> usize {
    let bytes = base64(table);
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return 1 };
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    // Where the trie says that it is longer than the table, all of it may be texts.
    let texts = rest.get(length..).unwrap_or(rest);
    texts.split(|byte| *byte == 0).map(<[u8]>::len).max().unwrap_or_default().max(1)
}

/// The bytes of a text in base 64; what is none of its digits is passed over.
fn base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits: Vec<u8> = text.bytes().filter_map(digit).collect();
    let bytes = |digits: &[u8]| {
        let bits = digits.iter().fold(0_u32, |bits, digit| bits << 6 | u32::from(*digit)) << (6 * (4 - digits.len()));
        let [_, bytes @ ..] = bits.to_be_bytes();
        bytes[..digits.len() - 1].to_vec()
    };
    digits.chunks(4).flat_map(bytes).collect()
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

/// Ids that are put around a text, those of each piece that is no text.
fn added_ids(step: &Json) -> usize {
    let array = |name: &str| step.get(name).and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    match step.get("type").and_then(Json::as_str).unwrap_or_default() {
        "Sequence" => array("processors").iter().map(added_ids).fold(0, usize::saturating_add),
        "TemplateProcessing" => {
            let n_ids = |piece: &Json| {
                let name = piece.pointer("/SpecialToken/id")?.as_str()?;
                Some(step.get("special_tokens")?.get(name)?.get("ids")?.as_array()?.len())
            };
            array("single").iter().filter_map(n_ids).fold(0, usize::saturating_add)
        }
        "BertProcessing" | "RobertaProcessing" => 2,
        _ => 0,
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
        let decoders = json!({"type": "Sequence", "decoders": vec![&double; 20]});
        assert_eq!(of_text(&decoders), 2_f64.powi(20));
        let twice = json!({"type": "TemplateProcessing", "single": vec![json!({"Sequence": {"id": "A"}}); 100]});
        assert_eq!(of_ids(&twice), 100.0);
    }

    #[test]
    fn ids_around_a_text_are_counted() {
        let piece = json!({"SpecialToken": {"id": "<s>", "type_id": 0}});
        let frame = json!({"type": "TemplateProcessing", "single": [piece, piece, {"Sequence": {"id": "A"}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": vec![1; 500_000], "tokens": []}}});
        assert_eq!(added_ids(&frame), 1_000_000);
        assert_eq!(added_ids(&json!({"type": "Sequence", "processors": [frame, frame]})), 2_000_000);
        assert_eq!(added_ids(&json!({"type": "ByteLevel"})), 0);
    }

    #[test]
    fn the_longest_text_of_a_table_is_found_wherever_its_trie_ends() {
        assert_eq!(base64("aGkgw6kh"), "hi é!".as_bytes());
        assert_eq!((base64("aA=="), base64("aGk=")), (b"h".to_vec(), b"hi".to_vec()));
        // A trie of 8 bytes, and the texts `a` and `bcd`.
        let table = "CAAAAP////8AAAAAYQBiY2QA";
        assert_eq!(longest_text(table), 3);
        // One that says it has 4 billion bytes.
        assert_eq!(longest_text("/////2FhYWFhYWFh"), 8);
        assert_eq!(longest_text(""), 1);
        let step = json!({"type": "Precompiled", "precompiled_charsmap": table});
        assert_eq!(of_text(&json!({"type": "Sequence", "normalizers": vec![&step; 3]})), 27.0);
    }
}
