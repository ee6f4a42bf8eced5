//! The filter `tojson`: `json.dumps`, as transformers calls it.

use std::cmp::Ordering;

use super::arguments::Given;
use super::failure::{Outcome, failed};
use super::fuel::Fuel;
use super::number::float_repr;
use super::value::Value;

/// Values in values. Python gives up on about as many, with its own stack.
const MAX_DEPTH: usize = 300;

/// How JSON is written.
struct Style {
    ascii: bool,
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    sort: bool,
}

/// A value as JSON.
pub(super) fn dumps(value: &Value, given: Given, fuel: &Fuel) -> Outcome<Value> {
    let parameters = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let mut bound = given.bind("tojson", &parameters, 0)?;
    let ascii = bound.is_true(0);
    let indent = match bound.some(1) {
        None => None,
        Some(value) => match (&value, value.as_index()) {
            (Value::Str(indent) | Value::Markup(indent), _) => Some(indent.to_string()),
            (_, Some(width)) => {
                let width = usize::try_from(width).unwrap_or(0);
                fuel.length(width)?;
                Some(" ".repeat(width))
            }
            _ => return failed(format!("`indent` expected a number or a string, found `{}`", value.type_name())),
        },
    };
    let (item_separator, key_separator) = match bound.some(2) {
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
        Some(pair) => match pair.iterate(fuel)?.as_slice() {
            [Value::Str(item), Value::Str(key)] => (item.to_string(), key.to_string()),
            _ => return failed("`separators` expected two strings"),
        },
    };
    let sort = bound.is_true(3);
    let style = Style { ascii, indent, item_separator, key_separator, sort };
    let mut out = String::new();
    write(&mut out, value, &style, 0, fuel)?;
    Ok(Value::text(out))
}

fn write(out: &mut String, value: &Value, style: &Style, depth: usize, fuel: &Fuel) -> Outcome<()> {
    if depth > MAX_DEPTH {
        return failed("`tojson` of a value nested too deeply");
    }
    let before = out.len();
    match value {
        Value::None => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(_) | Value::Big(_) => out.push_str(&value.to_text(fuel)?),
        Value::Float(value) => out.push_str(&float(*value)),
        Value::Str(text) | Value::Markup(text) => quote(out, text, style.ascii),
        Value::List(items) | Value::Tuple(items) | Value::Group(items) => {
            write_all(out, ['[', ']'], items.len(), style, depth, fuel, |out, at| {
                let item = items.get(at).unwrap_or(&Value::None);
                write(out, item, style, depth + 1, fuel)
            })?;
        }
        Value::Dict(dict) => {
            let mut entries: Vec<(&Value, &Value)> = dict.entries().iter().map(|(key, value)| (key, value)).collect();
            if style.sort {
                sort(&mut entries, fuel)?;
            }
            write_all(out, ['{', '}'], entries.len(), style, depth, fuel, |out, at| {
                let Some((key, value)) = entries.get(at) else { return Ok(()) };
                quote(out, &key_text(key, fuel)?, style.ascii);
                fuel.length(style.key_separator.len())?;
                out.push_str(&style.key_separator);
                write(out, value, style, depth + 1, fuel)
            })?;
        }
        other => return failed(format!("object of type {} is not JSON serializable", other.type_name())),
    }
    fuel.length(out.len() - before)
}

fn sort(entries: &mut [(&Value, &Value)], fuel: &Fuel) -> Outcome<()> {
    let mut failure = None;
    entries.sort_by(|(left, _), (right, _)| match left.compare(right, "<", fuel) {
        Ok(order) => order.unwrap_or(Ordering::Equal),
        Err(found) => {
            failure = Some(found);
            Ordering::Equal
        }
    });
    failure.map_or(Ok(()), Err)
}

fn key_text(key: &Value, fuel: &Fuel) -> Outcome<String> {
    match key {
        Value::Str(text) | Value::Markup(text) => Ok(text.to_string()),
        Value::None => Ok("null".into()),
        Value::Bool(value) => Ok(if *value { "true" } else { "false" }.into()),
        Value::Int(_) | Value::Big(_) => Ok(key.to_text(fuel)?.to_string()),
        Value::Float(value) => Ok(float(*value)),
        other => failed(format!("keys must be str, int, float, bool or None, not {}", other.type_name())),
    }
}

fn float(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".into(),
        value if value.is_infinite() => if value > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        value => float_repr(value),
    }
}

fn write_all(
    out: &mut String,
    [open, close]: [char; 2],
    n: usize,
    style: &Style,
    depth: usize,
    fuel: &Fuel,
    mut item: impl FnMut(&mut String, usize) -> Outcome<()>,
) -> Outcome<()> {
    out.push(open);
    if n == 0 {
        out.push(close);
        return Ok(());
    }
    // What stands between values may be long: it is counted before it is written, however deep within others.
    let newline = |out: &mut String, depth: usize| -> Outcome<()> {
        if let Some(indent) = &style.indent {
            fuel.length(indent.len().saturating_mul(depth))?;
            out.push('\n');
            out.push_str(&indent.repeat(depth));
        }
        Ok(())
    };
    for at in 0..n {
        if at > 0 {
            fuel.length(style.item_separator.len())?;
            out.push_str(&style.item_separator);
        }
        newline(out, depth + 1)?;
        item(out, at)?;
    }
    newline(out, depth)?;
    out.push(close);
    Ok(())
}

fn quote(out: &mut String, text: &str, ascii: bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            c if c < ' ' || (ascii && c == '\x7f') => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c if ascii && !c.is_ascii() => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
