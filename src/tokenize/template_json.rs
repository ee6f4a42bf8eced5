//! `tojson` as transformers defines it for chat templates: Python's `json.dumps`, without HTML escapes.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

/// Nesting a template may reach by wrapping a value again and again; the parser of the data stops at 128.
const MAX_DEPTH: usize = 200;

/// The filter: `value | tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false)`.
#[expect(clippy::needless_pass_by_value, reason = "minijinja hands a filter its options by value")]
pub(super) fn tojson(state: &State, value: &Value, options: Kwargs) -> Result<Value, Error> {
    to_json(value, &options, &|fuel| state.consume_fuel(fuel))
}

/// The same with the fuel of somebody: a list that holds another twice, which holds another twice, is small until it is
/// written down.
fn to_json(value: &Value, options: &Kwargs, consume: &dyn Fn(u64) -> Result<(), Error>) -> Result<Value, Error> {
    let indent = match options.get::<Option<Value>>("indent")? {
        Some(width) if width.is_none() => None,
        Some(width) => Some(match width.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(width.as_usize().filter(|width| *width <= 64).ok_or_else(|| invalid("indent"))?),
        }),
        None => None,
    };
    let separators = match options.get::<Option<Value>>("separators")? {
        Some(pair) if !pair.is_none() => {
            let mut texts = pair.try_iter()?.map(|text| text.as_str().map(str::to_owned));
            match (texts.next().flatten(), texts.next().flatten()) {
                (Some(item), Some(key)) => (item, key),
                _ => return Err(invalid("separators")),
            }
        }
        _ => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
    };
    let mut writer = JsonWriter {
        out: String::new(),
        indent,
        item_separator: separators.0,
        key_separator: separators.1,
        ensure_ascii: options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sort_keys: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        depth: 0,
        consume,
        n_paid: 0,
    };
    options.assert_all_used()?;
    writer.value(value)?;
    Ok(Value::from(writer.out))
}

fn invalid(option: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("`tojson` does not take this `{option}`"))
}

struct JsonWriter<'a> {
    out: String,
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    ensure_ascii: bool,
    sort_keys: bool,
    depth: usize,
    consume: &'a dyn Fn(u64) -> Result<(), Error>,
    /// Bytes that fuel was spent on.
    n_paid: usize,
}

impl JsonWriter<'_> {
    /// Spends fuel on what was written since the last time: one for four bytes, as minijinja's own `tojson`.
    fn pay(&mut self) -> Result<(), Error> {
        const STEP: usize = 1 << 10;
        if self.out.len() - self.n_paid >= STEP {
            (self.consume)((self.out.len() - self.n_paid) as u64 / 4)?;
            self.n_paid = self.out.len();
        }
        Ok(())
    }

    fn value(&mut self, value: &Value) -> Result<(), Error> {
        self.pay()?;
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.number(value),
            ValueKind::String => self.string(value.as_str().unwrap_or_default())?,
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.checked().collect::<Result<_, _>>()?;
                self.container(['[', ']'], &items, Self::value)?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.checked().collect::<Result<_, _>>()?;
                if self.sort_keys {
                    keys.sort();
                }
                self.container(['{', '}'], &keys, |writer, key| {
                    writer.key(key)?;
                    writer.out.push_str(&writer.key_separator);
                    writer.value(&value.get_item(key)?)
                })?;
            }
            kind => {
                return Err(Error::new(ErrorKind::BadSerialization, format!("{kind} is not JSON serializable")));
            }
        }
        Ok(())
    }

    /// Numbers print as in Python: shortest digits, an exponent of two digits from 1e16 up and below 1e-4.
    fn number(&mut self, value: &Value) {
        let text = match f64::try_from(value.clone()) {
            _ if value.is_integer() => value.to_string(),
            Ok(number) if number.is_nan() => "NaN".to_owned(),
            Ok(number) if number.is_infinite() => if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
            Ok(number) => format!("{number:?}"),
            Err(_) => value.to_string(),
        };
        let text = match text.split_once('e').map(|(digits, exponent)| (digits, exponent.strip_prefix('-'), exponent)) {
            Some((digits, Some(exponent), _)) => format!("{digits}e-{exponent:0>2}"),
            Some((digits, None, exponent)) => format!("{digits}e+{exponent:0>2}"),
            None => text,
        };
        self.out.push_str(&text);
    }

    fn key(&mut self, key: &Value) -> Result<(), Error> {
        match key.kind() {
            ValueKind::String => self.string(key.as_str().unwrap_or_default())?,
            ValueKind::None | ValueKind::Bool | ValueKind::Number => {
                self.out.push('"');
                self.value(key)?;
                self.out.push('"');
            }
            kind => {
                return Err(Error::new(ErrorKind::BadSerialization, format!("{kind} cannot be a key in JSON")));
            }
        }
        Ok(())
    }

    fn container(
        &mut self,
        [open, close]: [char; 2],
        items: &[Value],
        write: impl Fn(&mut Self, &Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.depth == MAX_DEPTH {
            return Err(Error::new(ErrorKind::BadSerialization, "`tojson` of a value nested too deeply"));
        }
        self.depth += 1;
        self.out.push(open);
        for (idx, item) in items.iter().enumerate() {
            if idx > 0 {
                self.out.push_str(&self.item_separator);
            }
            self.new_line();
            write(self, item)?;
        }
        self.depth -= 1;
        if !items.is_empty() {
            self.new_line();
        }
        self.out.push(close);
        Ok(())
    }

    fn new_line(&mut self) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            for _ in 0..self.depth {
                self.out.push_str(indent);
            }
        }
    }

    fn string(&mut self, text: &str) -> Result<(), Error> {
        self.out.push('"');
        for character in text.chars() {
            match character {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                _ if character < ' ' || (self.ensure_ascii && character > '~') => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        write!(self.out, "\\u{unit:04x}")?;
                    }
                }
                _ => self.out.push(character),
            }
        }
        self.out.push('"');
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use minijinja::value::Serde;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(value: &serde_json::Value, options: &[(&'static str, Value)], want: &str) {
        let options: Kwargs = options.iter().cloned().collect();
        assert_eq!(to_json(&Value::from(Serde(value)), &options, &|_| Ok(())).unwrap().as_str().unwrap(), want);
    }

    #[test]
    fn nothing_is_escaped_for_html() {
        check(&json!("<b>&'\"\u{7f}é\u{1}"), &[], "\"<b>&'\\\"\u{7f}é\\u0001\"");
    }

    #[test]
    fn ensure_ascii_writes_surrogates() {
        check(&json!("é🙂\u{7f}"), &[("ensure_ascii", Value::from(true))], "\"\\u00e9\\ud83d\\ude42\\u007f\"");
    }

    #[test]
    fn indents_separators_and_order_are_those_of_python() {
        check(&json!([1e16, 9e15, 1e-4, 1e-5, -1.5e300]), &[], "[1e+16, 9000000000000000.0, 0.0001, 1e-05, -1.5e+300]");
        let value = json!({"b": [1, 2.0, 1e22], "a": {}, "c": []});
        check(&value, &[], r#"{"b": [1, 2.0, 1e+22], "a": {}, "c": []}"#);
        check(
            &value,
            &[("sort_keys", Value::from(true)), ("indent", Value::from(1))],
            "{\n \"a\": {},\n \"b\": [\n  1,\n  2.0,\n  1e+22\n ],\n \"c\": []\n}",
        );
        check(&value, &[("separators", Value::from(vec![",", ":"]))], r#"{"b":[1,2.0,1e+22],"a":{},"c":[]}"#);
    }

    #[test]
    fn what_python_refuses_is_refused() {
        let refused = |value: Value, options: Kwargs| to_json(&value, &options, &|_| Ok(())).unwrap_err().to_string();
        let none = || Kwargs::from_iter(Vec::<(&str, Value)>::new());
        assert!(refused(Value::UNDEFINED, none()).contains("undefined is not JSON serializable"));
        assert!(refused(Value::from(1), Kwargs::from_iter([("indnt", Value::from(2))])).contains("indnt"));
        let deep = (0..300).fold(Value::from(1), |inner, _| Value::from(vec![inner]));
        assert!(refused(deep, none()).contains("nested too deeply"));
    }
}
