//! Filters that make text.

use std::sync::Arc;

use super::access::same_kind;
use super::arguments::{Bound, Given};
use super::failure::{Outcome, failed};
use super::filters_of_lists::{look_up, path_of};
use super::text;
use super::value::Value;
use super::vm::Vm;
use super::{filters, markup, text_methods};

/// Applies one of the filters.
pub(super) fn call(vm: &Vm<'_>, name: &str, value: &Value, given: Given) -> Outcome<Value> {
    // What has text stays what it is; of other values it is what they print.
    let soft = value.to_text(&vm.fuel);
    match name {
        "join" => {
            let mut bound = given.bind(name, &["d", "attribute"], 0)?;
            let separator = bound.value(0).unwrap_or_else(|| Value::text("")).to_text(&vm.fuel)?;
            let path = bound.some(1).map(|path| path_of(Some(path))).transpose()?;
            if vm.autoescape.get() {
                return failed("`join` with autoescape is not supported");
            }
            let mut parts = Vec::new();
            for item in value.iterate(&vm.fuel)? {
                let item = match &path {
                    Some(path) => look_up(vm, &item, path, None)?,
                    None => item,
                };
                parts.push(item.to_text(&vm.fuel)?);
            }
            vm.fuel.length(parts.len().saturating_mul(separator.len()))?;
            return Ok(Value::text(parts.join(&*separator)));
        }
        "indent" => return indent(vm, value, &mut given.bind(name, &["width", "first", "blank"], 0)?),
        "truncate" => return truncate(value, &mut given.bind(name, &["length", "killwords", "end", "leeway"], 0)?),
        "urlencode" => {
            given.bind(name, &[], 0)?;
            return url_encode(vm, value);
        }
        "xmlattr" => return xml_attributes(vm, value, &mut given.bind(name, &["autospace"], 0)?),
        "filesizeformat" => return file_size(value, &mut given.bind(name, &["binary"], 0)?),
        _ => {}
    }
    let soft = soft?;
    vm.fuel.length(soft.len())?;
    match name {
        "replace" => {
            let mut bound = given.bind(name, &["old", "new", "count"], 2)?;
            let old = bound.value(0).unwrap_or(Value::None).to_text(&vm.fuel)?;
            let new = bound.value(1).unwrap_or(Value::None).to_text(&vm.fuel)?;
            if vm.autoescape.get() {
                return failed("`replace` with autoescape is not supported");
            }
            let limit = bound.some(2).map_or(Ok(-1), |limit| {
                limit.as_index().map_or_else(|| failed("`replace` expected an integer as its count"), Ok)
            })?;
            Ok(Value::text(text_methods::replace(vm, &soft, &old, &new, limit)?))
        }
        "trim" => {
            let mut bound = given.bind(name, &["chars"], 0)?;
            let characters = match bound.some(0) {
                None => None,
                Some(Value::Str(text) | Value::Markup(text)) => Some(text),
                Some(other) => return failed(format!("`trim` expected a string, found `{}`", other.type_name())),
            };
            Ok(same_kind(value, text::strip(&soft, characters.as_deref(), true, true)))
        }
        "center" => {
            let width = given.bind(name, &["width"], 0)?.index(0)?.unwrap_or(80);
            Ok(same_kind(value, text_methods::aligned(vm, &soft, width, ' ', "center")?))
        }
        _ => {
            given.bind(name, &[], 0)?;
            Ok(match name {
                "upper" => same_kind(value, soft.to_uppercase()),
                "lower" => same_kind(value, soft.to_lowercase()),
                "title" => same_kind(value, text::words_capitalized(&soft)),
                "capitalize" => same_kind(value, text::capitalize(&soft)),
                "safe" => Value::Markup(soft),
                "escape" | "e" => match value {
                    Value::Markup(_) => value.clone(),
                    _ => Value::Markup(text::escape(&soft).into()),
                },
                "forceescape" => Value::Markup(text::escape(&soft).into()),
                "striptags" => Value::text(markup::striptags(&soft)?),
                "wordcount" => {
                    let is_word = |c: char| c.is_alphanumeric() || c == '_';
                    Value::count(soft.split(|c| !is_word(c)).filter(|word| !word.is_empty()).count())
                }
                _ => return filters::unknown(name),
            })
        }
    }
}

fn text_of(value: &Value, name: &str) -> Outcome<Arc<str>> {
    value.defined()?;
    match value {
        Value::Str(text) | Value::Markup(text) => Ok(text.clone()),
        other => failed(format!("`{name}` expected a string, found `{}`", other.type_name())),
    }
}

fn indent(vm: &Vm<'_>, value: &Value, bound: &mut Bound) -> Outcome<Value> {
    let text = text_of(value, "indent")?;
    let indention = match bound.value(0) {
        None => "    ".to_owned(),
        Some(Value::Str(text) | Value::Markup(text)) => text.to_string(),
        Some(width) => match width.as_index() {
            Some(width) => {
                let width = usize::try_from(width).unwrap_or(0);
                vm.fuel.length(width)?;
                " ".repeat(width)
            }
            None => return failed("`indent` expected a number or a string as its width"),
        },
    };
    let (first, blank) = (bound.is_true(1), bound.is_true(2));
    // Jinja2 puts a line end behind the text, so that a last empty line counts.
    let ended = format!("{text}\n");
    let lines = text::lines(&ended, false);
    vm.fuel.length(ended.len() + lines.len().saturating_mul(indention.len()))?;
    let mut out = String::new();
    for (at, line) in lines.iter().enumerate() {
        if at > 0 {
            out.push('\n');
        }
        if (at == 0 && first) || (at > 0 && (blank || !line.is_empty())) {
            out.push_str(&indention);
        }
        out.push_str(line);
    }
    Ok(same_kind(value, out))
}

fn truncate(value: &Value, bound: &mut Bound) -> Outcome<Value> {
    let text = text_of(value, "truncate")?;
    let length = bound.index(0)?.unwrap_or(255);
    let kills_words = bound.is_true(1);
    let end = bound.text(2)?.unwrap_or_else(|| Arc::from("..."));
    let leeway = bound.some(3).map_or(Some(5), |leeway| leeway.as_index()).filter(|leeway| *leeway >= 0);
    let Some(leeway) = leeway else { return failed("`truncate` expected a leeway of at least 0") };
    let n_end = i64::try_from(end.chars().count()).unwrap_or(i64::MAX);
    if length < n_end {
        return failed(format!("`truncate` expected a length of at least {n_end}, found {length}"));
    }
    if i64::try_from(text.chars().count()).unwrap_or(i64::MAX) <= length.saturating_add(leeway) {
        return Ok(value.clone());
    }
    let kept: String = text.chars().take(usize::try_from(length - n_end).unwrap_or(0)).collect();
    let kept = if kills_words { &kept } else { kept.rsplit_once(' ').map_or(kept.as_str(), |(before, _)| before) };
    Ok(same_kind(value, [kept, &end].concat()))
}

fn quoted(text: &str, keeps_slash: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => out.push(char::from(byte)),
            b'/' if keeps_slash => out.push('/'),
            b' ' if !keeps_slash => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn url_encode(vm: &Vm<'_>, value: &Value) -> Outcome<Value> {
    if value.as_str().is_some() || !value.is_iterable() {
        return Ok(Value::text(quoted(&value.to_text(&vm.fuel)?, true)));
    }
    let pairs = match value {
        Value::Dict(dict) => dict.entries().to_vec(),
        other => {
            let mut pairs = Vec::new();
            for pair in other.iterate(&vm.fuel)? {
                match <[Value; 2]>::try_from(pair.iterate(&vm.fuel)?) {
                    Ok([key, value]) => pairs.push((key, value)),
                    Err(_) => return failed("`urlencode` expected pairs of a key and a value"),
                }
            }
            pairs
        }
    };
    let mut parts = Vec::new();
    for (key, value) in &pairs {
        parts.push(format!("{}={}", quoted(&key.to_text(&vm.fuel)?, false), quoted(&value.to_text(&vm.fuel)?, false)));
    }
    Ok(Value::text(parts.join("&")))
}

fn xml_attributes(vm: &Vm<'_>, value: &Value, bound: &mut Bound) -> Outcome<Value> {
    let spaced = bound.value(0).is_none_or(|spaced| spaced.is_true());
    value.defined()?;
    let Value::Dict(dict) = value else {
        return failed(format!("`{}` object has no attribute `items`", value.type_name()));
    };
    let mut items = Vec::new();
    for (key, value) in dict.entries() {
        if value.is_none() || value.is_undefined() {
            continue;
        }
        let key = text_of(key, "xmlattr")?;
        if key.contains(|c: char| c.is_ascii_whitespace() || matches!(c, '\x0b' | '/' | '>' | '=')) {
            return failed(format!("invalid character in attribute name: `{key}`"));
        }
        let text = value.to_text(&vm.fuel)?;
        let text = if matches!(value, Value::Markup(_)) { text.to_string() } else { text::escape(&text) };
        items.push(format!("{}=\"{text}\"", text::escape(&key)));
    }
    let joined = items.join(" ");
    Ok(vm.made(if spaced && !joined.is_empty() { format!(" {joined}") } else { joined }))
}

fn file_size(value: &Value, bound: &mut Bound) -> Outcome<Value> {
    let bytes = match value.as_str() {
        Some(text) => match super::number::parse_float(text) {
            Some(bytes) => bytes,
            None => return failed(format!("could not convert string to float: `{text}`")),
        },
        None => value.to_float()?,
    };
    let (base, prefixes): (f64, _) = if bound.is_true(0) {
        (1024.0, ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"])
    } else {
        (1000.0, ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"])
    };
    if bytes == 1.0 {
        return Ok(Value::text("1 Byte"));
    }
    if bytes < base {
        return Ok(Value::text(format!("{:.0} Bytes", bytes.trunc())));
    }
    let mut unit = base;
    let mut made = String::new();
    for prefix in prefixes {
        unit *= base;
        made = format!("{:.1} {prefix}", base * bytes / unit);
        if bytes < unit {
            break;
        }
    }
    Ok(Value::text(made))
}
