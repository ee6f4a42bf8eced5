//! One row of JSON text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Number, Value};

use crate::named_floats;

/// Columns of one row at most: thousands are a table laid on its side, or somebody's joke.
pub(super) const MAX_COLUMNS: usize = 4096;

/// The columns of a row.
pub(in crate::data) type Object = Map<String, Value>;

/// Parses one row; the reason if it is none.
pub(super) fn parse(bytes: &[u8]) -> Result<Object, String> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| format!("not UTF-8: first wrong byte at offset {}", error.valid_up_to()))?;
    if let Some(offset) = text.bytes().position(|byte| byte == 0) {
        return Err(format!("a NUL byte at offset {offset}"));
    }
    let kept = with_all_numbers(text, Some(1))?;
    let StrictObject(object) = serde_json::from_str(&kept).map_err(|error| reason(text, &error))?;
    if object.len() > MAX_COLUMNS {
        return Err(format!("expected at most {MAX_COLUMNS} columns, found {}", object.len()));
    }
    Ok(object)
}

/// Parses the JSON text of a value within a row, as strictly as the row itself.
///
/// # Errors
/// If it is no JSON, names something twice, or has a number that would not be the one that is written.
pub(in crate::data) fn parse_value(text: &str) -> Result<Value, String> {
    let kept = with_all_numbers(text, None)?;
    let StrictValue(value) = serde_json::from_str(&kept).map_err(|error| reason(text, &error))?;
    Ok(value)
}

/// The text with numbers that serde_json has not as strings, where a column is one, so many brackets deep: integers beyond 64 bits, which would
/// lose digits as floats, and the words that Python's `json` writes for what is no number.
///
/// # Errors
/// If one stands inside of a value: there a string is something else.
fn with_all_numbers(text: &str, columns: Option<usize>) -> Result<Cow<'_, str>, String> {
    let mut out = String::new();
    let (mut copied, mut at, mut depth) = (0, 0, 0_usize);
    let bytes = text.as_bytes();
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at += 1;
                while bytes.get(at).is_some_and(|byte| *byte != b'"') {
                    at += if bytes.get(at) == Some(&b'\\') { 2 } else { 1 };
                }
                at += 1;
            }
            b'{' | b'[' => (depth, at) = (depth + 1, at + 1),
            b'}' | b']' => (depth, at) = (depth.saturating_sub(1), at + 1),
            b'-' | b'0'..=b'9' | b'N' | b'I' => {
                let rest = text.get(at..).unwrap_or_default();
                let word = named_floats::NAMES.into_iter().find(|word| rest.starts_with(word));
                let is_of_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                let n_digits = || rest.bytes().take_while(is_of_number).count().max(1);
                let end = at + word.map_or_else(n_digits, str::len);
                let number = text.get(at..end).unwrap_or_default();
                if word.is_some() || is_large(number) {
                    if Some(depth) != columns {
                        let shown: String = number.chars().take(30).collect();
                        return Err(match word {
                            Some(_) => format!("a number inside of a value is `{shown}`: give it as a string, or null"),
                            None => format!(
                                "an integer inside of a value is beyond 64 bits (`{shown}`): give it as a string"
                            ),
                        });
                    }
                    out.push_str(text.get(copied..at).unwrap_or_default());
                    out.extend(["\"", number, "\""]);
                    copied = end;
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    if copied == 0 {
        return Ok(Cow::Borrowed(text));
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    Ok(Cow::Owned(out))
}

fn is_large(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    digits.len() >= 19
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0')
        && number.parse::<i64>().is_err()
        && number.parse::<u64>().is_err()
}

/// What serde_json says, with the place where that helps.
fn reason(text: &str, error: &serde_json::Error) -> String {
    let full = error.to_string();
    let what = full.rsplit_once(" at line ").map_or(full.as_str(), |(what, _)| what);
    if what.starts_with("recursion limit") {
        return "nested too deeply".into();
    }
    if what == "unexpected end of hex escape" || what == "lone leading surrogate in hex escape" {
        return format!("not JSON: half of a surrogate pair (`\\ud800` to `\\udfff`) at byte {}", error.column());
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

/// An object in which nothing is named twice, at any depth: which of the two is meant, nobody can say.
struct StrictObject(Object);

impl<'de> Deserialize<'de> for StrictObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = StrictObject;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
        members(entries, "column").map(StrictObject)
    }
}

/// A value under the same rule.
struct StrictValue(Value);

impl<'de> Deserialize<'de> for StrictValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor).map(Self)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(StrictValue(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Value, A::Error> {
        members(entries, "key").map(Value::Object)
    }
}

fn members<'de, A: MapAccess<'de>>(mut entries: A, what: &str) -> Result<Object, A::Error> {
    let mut object = Object::new();
    while let Some((name, StrictValue(value))) = entries.next_entry::<String, _>()? {
        if object.contains_key(&name) {
            return Err(A::Error::custom(format!("{what} `{name}` occurs twice")));
        }
        object.insert(name, value);
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_fault_has_its_reason() {
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(200), "]".repeat(200));
        let wide = (0..5000).map(|i| format!("\"c{i}\":0")).collect::<Vec<_>>().join(",");
        let wide = format!("{{{wide}}}");
        for (bytes, want) in [
            (&b"{\"a\": \"\xff\"}"[..], "not UTF-8: first wrong byte at offset 7"),
            (b"{\"a\": \"\0\"}", "a NUL byte at offset 7"),
            (b"{\"a\": \"b", "not JSON: EOF while parsing a string at byte 8"),
            (b"{\"a\": 1} x", "not JSON: trailing characters at byte 10"),
            (b"{\"a\": \"\\ud800\"}", "not JSON: half of a surrogate pair (`\\ud800` to `\\udfff`) at byte 14"),
            (b"{\"a\": \"\\ud800\\ud800\"}", "not JSON: half of a surrogate pair (`\\ud800` to `\\udfff`) at byte 19"),
            (b"{\"a\": \"\\udc00\"}", "not JSON: half of a surrogate pair (`\\ud800` to `\\udfff`) at byte 13"),
            (b"{\"a\": 1e999}", "not JSON: number out of range at byte 11"),
            (b"{\"a\": [{\"b\": 1, \"b\": 1}]}", "key `b` occurs twice"),
            (b"{\"a\": Na}", "not JSON: expected value at byte 7"),
            (b"{\"a\": {\"b\": NaN}}", "a number inside of a value is `NaN`: give it as a string, or null"),
            (b"{\"a\": 1,\n  \"b\": }", "not JSON: expected value at line 2 of the row, byte 8"),
            (b"[1]", "expected a JSON object, found a list"),
            (b" \"text\"", "expected a JSON object, found a string"),
            (b"-7", "expected a JSON object, found a number"),
            (b"false", "expected a JSON object, found a boolean"),
            (b"null", "expected a JSON object, found null"),
            (b"{\"a\": 1, \"a\": 2}", "column `a` occurs twice"),
            (deep.as_bytes(), "nested too deeply"),
            (wide.as_bytes(), "expected at most 4096 columns, found 5000"),
        ] {
            assert_eq!(parse(bytes).unwrap_err(), want, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn an_integer_beyond_64_bits_keeps_its_digits_or_is_refused() {
        let large = "123456789012345678901234567890";
        let row =
            parse(format!(r#"{{"id": {large}, "n": -{large}, "t": "{large}", "s": 1.5e30}}"#).as_bytes()).unwrap();
        assert_eq!((row["id"].as_str(), row["n"].as_str()), (Some(large), Some(format!("-{large}").as_str())));
        assert_eq!((row["t"].as_str(), row["s"].as_f64()), (Some(large), Some(1.5e30)));
        for exact in [i64::MIN.to_string(), u64::MAX.to_string()] {
            assert_eq!(parse(format!(r#"{{"id": {exact}}}"#).as_bytes()).unwrap()["id"].to_string(), exact);
        }
        let inside = parse(format!(r#"{{"a": [{{"b": {large}}}]}}"#).as_bytes()).unwrap_err();
        assert!(inside.contains("beyond 64 bits"), "{inside}");
    }

    #[test]
    fn what_python_writes_for_no_number_is_kept_by_its_name() {
        let row = parse(br#"{"a": NaN, "b":-Infinity,"c": Infinity, "t": "NaN, Infinity", "I": -1}"#).unwrap();
        assert_eq!(
            Value::Object(row),
            serde_json::json!({"a": "NaN", "b": "-Infinity", "c": "Infinity", "t": "NaN, Infinity", "I": -1})
        );
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-c]{1,2}", inner, 0..4).prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_row_without_faults_is_what_serde_json_reads(value in json()) {
            let text = serde_json::json!({"a": value}).to_string();
            prop_assert_eq!(Value::Object(parse(text.as_bytes()).unwrap()), serde_json::from_str::<Value>(&text).unwrap());
        }
    }
}
