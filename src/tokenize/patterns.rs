//! How long the regular expressions of a tokenizer take, measured before any text is given to it.
//!
//! The engine gives up on one match that goes back and forth for too long, and not on a text with a match at every place that
//! nearly does: `b*b*[ef]c` takes an hour for a page of `b`. Such an expression takes long for a line already.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tokenizers::{NormalizedString, Normalizer as _, PreTokenizedString, PreTokenizer as _, Tokenizer};

use super::error::TokenizeError;
use super::growth::settings;
use crate::guard;

/// Longest time for one line. Those of real tokenizers take a thousandth of it.
const LIMIT: Duration = Duration::from_millis(400);

/// Characters of a line, all the same but for the last ones.
const LENGTH: usize = 1200;

/// Characters that are tried beside those of the expressions.
const USUAL: &str = "aA1 \n.é";

/// Most characters that are tried.
const MAX_CHARACTERS: usize = 24;

/// Refuses a tokenizer whose expressions take much more time for a line than it has characters.
pub(super) fn check(tokenizer: &Tokenizer, path: &Path) -> Result<(), TokenizeError> {
    let mut characters = BTreeSet::new();
    for part in [settings(&tokenizer.get_normalizer(), path)?, settings(&tokenizer.get_pre_tokenizer(), path)?] {
        collect(&part, &mut characters);
    }
    if characters.is_empty() {
        return Ok(());
    }
    let end: String = characters.iter().take(MAX_CHARACTERS).collect();
    let tried: BTreeSet<char> = end.chars().chain(USUAL.chars()).collect();
    for character in tried {
        let text = character.to_string().repeat(LENGTH) + " " + &end;
        let start = Instant::now();
        // What an expression gives up on is an error of the row that has it.
        let is_read = guard::catch(|| read(tokenizer, &text)).is_ok_and(|read| read.is_ok());
        let found = start.elapsed();
        if is_read && found > LIMIT {
            let path = path.to_owned();
            return Err(TokenizeError::SlowPattern { path, length: LENGTH, character, limit: LIMIT, found });
        }
    }
    Ok(())
}

fn read(tokenizer: &Tokenizer, text: &str) -> tokenizers::Result<()> {
    let mut text = NormalizedString::from(text);
    if let Some(normalizer) = tokenizer.get_normalizer() {
        normalizer.normalize(&mut text)?;
    }
    let mut text = PreTokenizedString::from(text);
    match tokenizer.get_pre_tokenizer() {
        Some(pre_tokenizer) => pre_tokenizer.pre_tokenize(&mut text),
        None => Ok(()),
    }
}

/// The characters of all regular expressions in the settings of a part.
fn collect(part: &Json, characters: &mut BTreeSet<char>) {
    match part {
        Json::Object(members) => {
            if let Some(expression) = members.get("Regex").and_then(Json::as_str) {
                characters.extend(expression.chars());
            }
            members.values().for_each(|member| collect(member, characters));
        }
        Json::Array(items) => items.iter().for_each(|item| collect(item, characters)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tokenizer(expression: &str) -> Tokenizer {
        let split = json!({"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": false});
        let model = json!({"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"});
        let file = json!({"version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": split,
            "post_processor": null, "decoder": null, "truncation": null, "padding": null, "model": model});
        Tokenizer::from_bytes(file.to_string()).unwrap()
    }

    #[test]
    fn expressions_that_take_the_cube_of_a_line_are_refused() {
        for expression in
            [r"\s+(?!\S)|\s+", r"'s| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+", r"[^\r\n\p{L}\p{N}]?\p{L}+"]
        {
            check(&tokenizer(expression), Path::new("tokenizer.json")).unwrap();
        }
        assert!(matches!(
            check(&tokenizer("b*b*[ef]c"), Path::new("tokenizer.json")),
            Err(TokenizeError::SlowPattern { character: 'b', .. })
        ));
    }
}
