//! JSON as it is written: where its values are, without reading them.
//!
//! A parser that makes values of them rounds integers beyond 64 bits and forgets a key that stands there twice.

use std::borrow::Cow;

use crate::named_floats;

/// The text as JSON: with the words that Python's `json` writes for floats that are no numbers in quotes.
pub(super) fn quoted_words(text: &str) -> Cow<'_, str> {
    if !text.contains("NaN") && !text.contains("Infinity") {
        return Cow::Borrowed(text);
    }
    let (mut quoted, mut rest, mut is_text) = (String::with_capacity(text.len() + 2), text, false);
    while let Some(first) = rest.chars().next() {
        let word = named_floats::NAMES.into_iter().find(|word| !is_text && rest.starts_with(word));
        let taken = match (word, first) {
            (Some(word), _) => word.len(),
            (None, '\\') if is_text => rest.char_indices().nth(2).map_or(rest.len(), |(at, _)| at),
            (None, _) => first.len_utf8(),
        };
        is_text ^= first == '"';
        let (token, after) = rest.split_at(taken);
        match word {
            Some(word) => quoted.extend(["\"", word, "\""]),
            None => quoted.push_str(token),
        }
        rest = after;
    }
    Cow::Owned(quoted)
}

/// A place in valid JSON, or in JSON with words for what is no number: what follows is known from one byte.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The beginning of a text, which has to be valid but for these words.
    pub(super) fn new(text: &'a str) -> Self {
        Self { bytes: text.as_bytes(), at: 0 }
    }

    /// The text of the next value, which is gone past.
    pub(super) fn value(&mut self) -> &'a str {
        let first = self.peek();
        let start = self.at;
        match first {
            b'"' => self.string(),
            b'{' | b'[' => {
                let mut depth = 0_usize;
                loop {
                    match self.bytes.get(self.at) {
                        Some(b'"') => {
                            self.string();
                            continue;
                        }
                        Some(b'{' | b'[') => depth += 1,
                        Some(b'}' | b']') => depth -= 1,
                        Some(_) => {}
                        None => break,
                    }
                    self.at += 1;
                    if depth == 0 {
                        break;
                    }
                }
            }
            _ => _ = self.scalar(),
        }
        std::str::from_utf8(&self.bytes[start..self.at]).unwrap_or_default()
    }

    fn skip(&mut self, also: u8) {
        while self.bytes.get(self.at).is_some_and(|&byte| byte.is_ascii_whitespace() || byte == also) {
            self.at += 1;
        }
    }

    /// The first byte of the next value.
    pub(super) fn peek(&mut self) -> u8 {
        self.skip(b' ');
        self.bytes.get(self.at).copied().unwrap_or(b'n')
    }

    /// Goes past the bracket of a list or an object.
    pub(super) fn enter(&mut self) {
        self.skip(b' ');
        self.at += 1;
    }

    /// Whether a list goes on; past its bracket if not.
    pub(super) fn has_item(&mut self) -> bool {
        self.skip(b',');
        match self.bytes.get(self.at) {
            None => false,
            Some(b']' | b'}') => {
                self.at += 1;
                false
            }
            Some(_) => true,
        }
    }

    /// The next key of an object, past its colon; `None`, and past the bracket, at the end.
    pub(super) fn key(&mut self) -> Option<String> {
        if !self.has_item() {
            return None;
        }
        let start = self.at;
        self.string();
        let name = serde_json::from_slice(&self.bytes[start..self.at]).unwrap_or_default();
        self.skip(b':');
        Some(name)
    }

    /// Goes past a string.
    pub(super) fn string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.bytes.get(self.at) {
            self.at += match byte {
                b'\\' => 2,
                _ => 1,
            };
            if *byte == b'"' {
                break;
            }
        }
    }

    /// The text of a number or a word.
    pub(super) fn scalar(&mut self) -> &str {
        let start = self.at;
        let is_end = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b']' | b'}');
        while self.bytes.get(self.at).is_some_and(|byte| !is_end(byte)) {
            self.at += 1;
        }
        std::str::from_utf8(&self.bytes[start..self.at]).unwrap_or_default()
    }
}

/// A step into a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// The value of a key.
    Key(String),
    /// An item of a list, from 0.
    Item(usize),
}

/// The text of the value at a path; `None` if there is none, or the text is not JSON. Of a key that an object has twice the
/// last counts, as for every JSON parser.
pub(crate) fn at_path<'a>(text: &'a str, path: &[Step]) -> Option<&'a str> {
    let _: serde::de::IgnoredAny = serde_json::from_str(text).ok()?;
    let mut value = Cursor::new(text).value();
    for step in path {
        value = step_into(value, step)?;
    }
    Some(value)
}

fn step_into<'a>(value: &'a str, step: &Step) -> Option<&'a str> {
    let mut cursor = Cursor::new(value);
    let mut found = None;
    match (cursor.peek(), step) {
        (b'{', Step::Key(wanted)) => {
            cursor.enter();
            while let Some(key) = cursor.key() {
                let value = cursor.value();
                if key == *wanted {
                    found = Some(value);
                }
            }
        }
        (b'[', Step::Item(wanted)) => {
            cursor.enter();
            let mut at = 0;
            while cursor.has_item() {
                let value = cursor.value();
                if at == *wanted {
                    return Some(value);
                }
                at += 1;
            }
        }
        _ => {}
    }
    found
}

/// What a value says as a text: a string without its quotes, anything else as it is written; `None` for null.
pub(crate) fn unquoted(value: &str) -> Option<String> {
    match value.as_bytes().first() {
        Some(b'"') => serde_json::from_str(value).ok(),
        Some(b'n') | None => None,
        Some(_) => Some(value.to_owned()),
    }
}

/// Calls `found` with the path of every scalar in a text, if it is JSON; of lists, of the first `n_items` items.
pub(crate) fn scalar_paths(text: &str, n_items: usize, found: &mut dyn FnMut(&[Step])) {
    if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() && depth(text) <= MAX_DEPTH {
        walk(Cursor::new(text).value(), n_items, &mut Vec::new(), found);
    }
}

/// Values within each other that are walked into.
const MAX_DEPTH: usize = 127;

/// An upper bound of how deep values are within each other.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn walk(value: &str, n_items: usize, path: &mut Vec<Step>, found: &mut dyn FnMut(&[Step])) {
    let mut cursor = Cursor::new(value);
    match cursor.peek() {
        b'{' => {
            cursor.enter();
            while let Some(key) = cursor.key() {
                path.push(Step::Key(key));
                walk(cursor.value(), n_items, path, found);
                path.pop();
            }
        }
        b'[' => {
            cursor.enter();
            let mut at = 0;
            while cursor.has_item() {
                let item = cursor.value();
                if at < n_items {
                    path.push(Step::Item(at));
                    walk(item, n_items, path, found);
                    path.pop();
                }
                at += 1;
            }
        }
        _ => found(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#" {"a": {"b.c": [1, {"d": "x\"}]"}, 1180591620717411303424]}, "a2": null, "e": {}} "#;

    fn key(name: &str) -> Step {
        Step::Key(name.into())
    }

    #[test]
    fn a_value_is_found_by_its_path_as_it_is_written() {
        let at = |path: &[Step]| at_path(TEXT, path);
        assert_eq!(at(&[key("a"), key("b.c"), Step::Item(2)]), Some("1180591620717411303424"));
        assert_eq!(at(&[key("a"), key("b.c"), Step::Item(1), key("d")]).and_then(unquoted).as_deref(), Some("x\"}]"));
        assert_eq!(at(&[key("a2")]).and_then(unquoted), None);
        assert_eq!(at(&[key("e")]), Some("{}"));
        assert_eq!(at(&[key("e"), key("f")]), None);
        assert_eq!(at(&[key("a"), Step::Item(0)]), None);
        assert_eq!(at_path("{\"a\": 1", &[key("a")]), None);
        assert_eq!(at_path(r#"{"a": 1, "a": 2}"#, &[key("a")]), Some("2"));
    }

    #[test]
    fn the_paths_of_a_text_lead_to_its_scalars() {
        let mut paths = Vec::new();
        scalar_paths(TEXT, 2, &mut |path| paths.push(path.len()));
        assert_eq!(paths, [3, 4, 1]);
    }
}
