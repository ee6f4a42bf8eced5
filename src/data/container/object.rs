//! One row of JSON text.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Value};

/// The columns of a row.
pub(in crate::data) type Object = Map<String, Value>;

/// Parses one row; the reason if it is none.
pub(super) fn parse(bytes: &[u8]) -> Result<Object, String> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| format!("not UTF-8: first wrong byte at offset {}", error.valid_up_to()))?;
    if let Some(offset) = text.bytes().position(|byte| byte == 0) {
        return Err(format!("a NUL byte at offset {offset}"));
    }
    let strict: StrictObject = serde_json::from_str(text).map_err(|error| reason(text, &error))?;
    Ok(strict.0)
}

/// What serde_json says, with the place where that helps.
fn reason(text: &str, error: &serde_json::Error) -> String {
    let full = error.to_string();
    let what = full.rsplit_once(" at line ").map_or(full.as_str(), |(what, _)| what);
    if what.starts_with("recursion limit") {
        return "nested too deeply".into();
    }
    match error.classify() {
        Category::Data if what.starts_with("invalid type") => {
            // serde_json would quote the value, however long.
            let found = match text.trim_ascii_start().bytes().next() {
                Some(b'[') => "a list",
                Some(b'"') => "a string",
                Some(b'n') => "null",
                Some(b't' | b'f') => "a boolean",
                _ => "a number",
            };
            format!("expected a JSON object, found {found}")
        }
        Category::Data => what.to_owned(),
        _ if error.line() > 1 => {
            format!("not JSON: {what} at line {} of the row, byte {}", error.line(), error.column())
        }
        _ => format!("not JSON: {what} at byte {}", error.column()),
    }
}

/// An object in which no column occurs twice: which of the two is meant, nobody can say.
struct StrictObject(Object);

impl<'de> Deserialize<'de> for StrictObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = StrictObject;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut object = Object::new();
        while let Some((name, value)) = entries.next_entry::<String, Value>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom(format!("column `{name}` occurs twice")));
            }
            object.insert(name, value);
        }
        Ok(StrictObject(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_its_reason() {
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(200), "]".repeat(200));
        for (bytes, want) in [
            (&b"{\"a\": \"\xff\"}"[..], "not UTF-8: first wrong byte at offset 7"),
            (b"{\"a\": \"\0\"}", "a NUL byte at offset 7"),
            (b"{\"a\": \"b", "not JSON: EOF while parsing a string at byte 8"),
            (b"{\"a\": 1} x", "not JSON: trailing characters at byte 10"),
            (b"{\"a\": \"\\ud800\"}", "not JSON: unexpected end of hex escape at byte 14"),
            (b"{\"a\": NaN}", "not JSON: expected value at byte 7"),
            (b"{\"a\": 1,\n  \"b\": }", "not JSON: expected value at line 2 of the row, byte 8"),
            (b"[1]", "expected a JSON object, found a list"),
            (b" \"text\"", "expected a JSON object, found a string"),
            (b"-7", "expected a JSON object, found a number"),
            (b"false", "expected a JSON object, found a boolean"),
            (b"null", "expected a JSON object, found null"),
            (b"{\"a\": 1, \"a\": 2}", "column `a` occurs twice"),
            (deep.as_bytes(), "nested too deeply"),
        ] {
            assert_eq!(parse(bytes).unwrap_err(), want, "{}", String::from_utf8_lossy(bytes));
        }
    }
}
