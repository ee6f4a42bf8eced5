//! Methods of `str`.

use std::sync::Arc;

use super::access::same_kind;
use super::arguments::{Bound, Given};
use super::failure::{Outcome, failed};
use super::text::{self, is_space};
use super::value::Value;
use super::vm::Vm;
use super::{markup, str_format};

/// Calls a method of a text; what it makes of a `Markup` is one.
pub(super) fn call(vm: &Vm<'_>, value: &Value, text: &Arc<str>, method: &Arc<str>, given: Given) -> Outcome<Value> {
    vm.fuel.length(text.len())?;
    let is_markup = matches!(value, Value::Markup(_));
    if is_markup {
        match &**method {
            "striptags" => return Ok(Value::text(markup::striptags(text)?)),
            "format" | "format_map" | "join" | "replace" | "escape" | "unescape" | "center" | "ljust" | "rjust"
            | "partition" | "rpartition" | "removeprefix" | "removesuffix" => {
                return failed(format!("method `{method}` of a text marked as escaped is not supported"));
            }
            _ => {}
        }
    }
    let made = |text: String| Ok(same_kind(value, text));
    let kept = |text: &str| Ok(same_kind(value, text));
    let texts = |parts: Vec<&str>| -> Outcome<Value> {
        vm.fuel.values(parts.len())?;
        Ok(Value::list(parts.into_iter().map(|part| same_kind(value, part)).collect()))
    };
    let truth = |holds: bool| Ok(Value::Bool(holds));
    let all = |is_right: fn(char) -> bool| Ok(Value::Bool(!text.is_empty() && text.chars().all(is_right)));
    match &**method {
        "format" => Ok(Value::text(str_format::format(vm, text, &given)?)),
        "format_map" => {
            let Some(Value::Dict(values)) = given.bind("format_map", &[""], 1)?.value(0) else {
                return failed("`format_map` expected a mapping");
            };
            let named =
                values.entries().iter().filter_map(|(key, value)| Some((Arc::from(key.as_str()?), value.clone())));
            let given = Given { positional: Vec::new(), named: named.collect() };
            Ok(Value::text(str_format::format(vm, text, &given)?))
        }
        "split" | "rsplit" => {
            let mut bound = given.bind(method, &["sep", "maxsplit"], 0)?;
            let separator = separator(&mut bound)?;
            let limit = bound.index(1)?.and_then(|limit| usize::try_from(limit).ok());
            let parts = if &**method == "split" {
                split(text, separator.as_deref(), limit)
            } else {
                rsplit(text, separator.as_deref(), limit)
            };
            texts(parts)
        }
        "splitlines" => {
            let keep = given.bind(method, &["keepends"], 0)?.is_true(0);
            texts(text::lines(text, keep))
        }
        "strip" | "lstrip" | "rstrip" => {
            let mut bound = given.bind(method, &[""], 0)?;
            let characters = optional_text(&mut bound, 0)?;
            kept(text::strip(text, characters.as_deref(), &**method != "rstrip", &**method != "lstrip"))
        }
        "replace" => {
            let mut bound = given.bind(method, &["", "", ""], 2)?;
            let (old, new) = (required(&mut bound, 0)?, required(&mut bound, 1)?);
            let limit = bound.index(2)?.unwrap_or(-1);
            made(replace(vm, text, &old, &new, limit)?)
        }
        "join" => {
            let mut bound = given.bind(method, &[""], 1)?;
            let mut parts = Vec::new();
            for (at, item) in bound.value(0).unwrap_or(Value::None).iterate(&vm.fuel)?.into_iter().enumerate() {
                match &item {
                    Value::Str(part) | Value::Markup(part) => parts.push(part.clone()),
                    other => {
                        return failed(format!(
                            "sequence item {at}: expected str instance, {} found",
                            other.type_name()
                        ));
                    }
                }
            }
            let length = parts.iter().map(|part| part.len() + text.len()).sum();
            vm.fuel.length(length)?;
            made(parts.join(&**text))
        }
        "startswith" | "endswith" => starts_or_ends(vm, text, method, given),
        "find" | "rfind" | "index" | "rindex" | "count" => find(vm, text, method, given),
        "partition" | "rpartition" => {
            let separator = required(&mut given.bind(method, &[""], 1)?, 0)?;
            if separator.is_empty() {
                return failed("empty separator");
            }
            let from_left = &**method == "partition";
            let found = if from_left { text.split_once(&*separator) } else { text.rsplit_once(&*separator) };
            let parts = match found {
                Some((before, after)) => [before, &*separator, after],
                None if from_left => [&**text, "", ""],
                None => ["", "", &**text],
            };
            Ok(Value::tuple(parts.into_iter().map(Value::text).collect()))
        }
        "removeprefix" => {
            let prefix = required(&mut given.bind(method, &[""], 1)?, 0)?;
            kept(text.strip_prefix(&*prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let suffix = required(&mut given.bind(method, &[""], 1)?, 0)?;
            kept(text.strip_suffix(&*suffix).unwrap_or(text))
        }
        "center" | "ljust" | "rjust" => {
            let mut bound = given.bind(method, &["", ""], 1)?;
            let width = bound.index(0)?.unwrap_or(0);
            let fill = match bound.text(1)? {
                None => ' ',
                Some(fill) => match (fill.chars().next(), fill.chars().count()) {
                    (Some(fill), 1) => fill,
                    _ => return failed("the fill character must be exactly one character long"),
                },
            };
            made(aligned(vm, text, width, fill, method)?)
        }
        "zfill" => {
            let width = usize::try_from(given.bind(method, &[""], 1)?.index(0)?.unwrap_or(0)).unwrap_or(0);
            vm.fuel.length(width)?;
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
            let zeros = width.saturating_sub(text.chars().count());
            made([sign, &"0".repeat(zeros), digits].concat())
        }
        "expandtabs" => {
            let size = given.bind(method, &["tabsize"], 0)?.index(0)?.unwrap_or(8);
            made(expand_tabs(vm, text, usize::try_from(size).unwrap_or(0))?)
        }
        simple => {
            given.bind(method, &[], 0).map_err(|failure| failure.at(0))?;
            match simple {
                "upper" => made(text.to_uppercase()),
                "lower" => made(text.to_lowercase()),
                "title" => made(text::title(text)),
                "capitalize" => made(text::capitalize(text)),
                "swapcase" => made(text::swapcase(text)),
                "casefold" => made(text::casefold(text)),
                "isspace" => all(is_space),
                "isalpha" => all(text::is_letter),
                "isdecimal" => all(text::is_decimal),
                "isdigit" => all(text::is_digit),
                "isnumeric" => all(|c| c.is_numeric() || text::is_digit(c)),
                "isalnum" => all(|c| text::is_letter(c) || c.is_numeric() || text::is_digit(c)),
                "isascii" => truth(text.is_ascii()),
                "isprintable" => truth(text.chars().all(text::is_printable)),
                "islower" => truth(text::is_all(text, char::is_lowercase)),
                "isupper" => truth(text::is_all(text, char::is_uppercase)),
                "istitle" => truth(text::is_titled(text)),
                "isidentifier" => {
                    let mut chars = text.chars();
                    let starts = chars.next().is_some_and(|c| text::is_letter(c) || c == '_');
                    truth(starts && chars.all(|c| c.is_alphanumeric() || c == '_'))
                }
                _ => failed(format!("method `{method}` of a text is not supported")),
            }
        }
    }
}

fn required(bound: &mut Bound, at: usize) -> Outcome<Arc<str>> {
    Ok(bound.text(at)?.unwrap_or_default())
}

fn optional_text(bound: &mut Bound, at: usize) -> Outcome<Option<Arc<str>>> {
    match bound.some(at) {
        None => Ok(None),
        Some(Value::Str(text) | Value::Markup(text)) => Ok(Some(text)),
        Some(other) => {
            other.defined()?;
            failed(format!("expected a string or none, found `{}`", other.type_name()))
        }
    }
}

fn separator(bound: &mut Bound) -> Outcome<Option<Arc<str>>> {
    let separator = optional_text(bound, 0)?;
    if separator.as_deref() == Some("") {
        return failed("empty separator");
    }
    Ok(separator)
}

fn split<'a>(text: &'a str, separator: Option<&str>, limit: Option<usize>) -> Vec<&'a str> {
    let full = |parts: &Vec<&str>| limit.is_some_and(|limit| parts.len() >= limit);
    let mut parts = Vec::new();
    let mut rest = text;
    let Some(separator) = separator else {
        // Runs of white space separate, and none is left at the ends.
        loop {
            rest = rest.trim_start_matches(is_space);
            if rest.is_empty() {
                return parts;
            }
            let end = if full(&parts) { None } else { rest.find(is_space) };
            let Some(end) = end else {
                parts.push(if full(&parts) { rest } else { rest.trim_end_matches(is_space) });
                return parts;
            };
            parts.push(&rest[..end]);
            rest = &rest[end..];
        }
    };
    while !full(&parts) {
        let Some((before, after)) = rest.split_once(separator) else { break };
        parts.push(before);
        rest = after;
    }
    parts.push(rest);
    parts
}

fn rsplit<'a>(text: &'a str, separator: Option<&str>, limit: Option<usize>) -> Vec<&'a str> {
    let full = |parts: &Vec<&str>| limit.is_some_and(|limit| parts.len() >= limit);
    let mut parts = Vec::new();
    let mut rest = text;
    match separator {
        Some(separator) => {
            while !full(&parts) {
                let Some((before, after)) = rest.rsplit_once(separator) else { break };
                parts.push(after);
                rest = before;
            }
            parts.push(rest);
        }
        None => loop {
            rest = rest.trim_end_matches(is_space);
            if rest.is_empty() {
                break;
            }
            let space = if full(&parts) { None } else { rest.rfind(is_space) };
            let Some(space) = space else {
                parts.push(rest);
                break;
            };
            let (before, after) = rest.split_at(space);
            parts.push(after.trim_start_matches(is_space));
            rest = before;
        },
    }
    parts.reverse();
    parts
}

/// `str.replace`; a negative limit is none, and an empty text is found around every character.
pub(super) fn replace(vm: &Vm<'_>, text: &str, old: &str, new: &str, limit: i64) -> Outcome<String> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let found = if old.is_empty() { text.chars().count() + 1 } else { text.matches(old).count() };
    vm.fuel.length(text.len() + found.min(limit).saturating_mul(new.len()))?;
    Ok(text.replacen(old, new, limit))
}

/// A text in a field of some width.
pub(super) fn aligned(vm: &Vm<'_>, text: &str, width: i64, fill: char, how: &str) -> Outcome<String> {
    let length = text.chars().count();
    let width = usize::try_from(width).unwrap_or(0);
    let missing = width.saturating_sub(length);
    vm.fuel.length(missing.saturating_mul(fill.len_utf8()))?;
    let left = match how {
        "ljust" => 0,
        "rjust" => missing,
        // Where the halves differ, CPython puts the larger one on the left of an odd width.
        _ => missing / 2 + (missing & width & 1),
    };
    let repeat = |n: usize| fill.to_string().repeat(n);
    Ok([repeat(left).as_str(), text, &repeat(missing - left)].concat())
}

fn expand_tabs(vm: &Vm<'_>, text: &str, size: usize) -> Outcome<String> {
    let mut out = String::new();
    let mut column = 0;
    for c in text.chars() {
        match c {
            '\t' => {
                let n = if size == 0 { 0 } else { size - column % size };
                vm.fuel.length(n)?;
                out.push_str(&" ".repeat(n));
                column += n;
            }
            '\n' | '\r' => {
                out.push(c);
                column = 0;
            }
            c => {
                out.push(c);
                column += 1;
            }
        }
    }
    Ok(out)
}

/// Byte offsets of the part between two bounds in characters; `None` where the part lies beyond the end.
fn part(text: &str, bound: &mut Bound) -> Outcome<Option<(usize, usize, usize)>> {
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let clamp = |bound: i64| if bound < 0 { (bound.saturating_add(length)).max(0) } else { bound };
    let mut at = |at: usize, default: i64| -> Outcome<i64> {
        Ok(match bound.some(at) {
            None => default,
            Some(value) => match value.as_index() {
                Some(index) => clamp(index),
                None => return failed("slice indices must be integers or none"),
            },
        })
    };
    let (start, stop) = (at(1, 0)?, at(2, length)?.min(length));
    if start > length || start > stop {
        return Ok(None);
    }
    let byte = |at: i64| {
        let at = usize::try_from(at).unwrap_or(0);
        text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte)
    };
    Ok(Some((byte(start), byte(stop), usize::try_from(start).unwrap_or(0))))
}

fn starts_or_ends(vm: &Vm<'_>, text: &str, method: &str, given: Given) -> Outcome<Value> {
    let mut bound = given.bind(method, &["", "", ""], 1)?;
    let wanted = match bound.value(0).unwrap_or(Value::None) {
        Value::Tuple(items) => items.to_vec(),
        other => vec![other],
    };
    let found = part(text, &mut bound)?;
    vm.fuel.values(wanted.len())?;
    for one in &wanted {
        one.defined()?;
        let Some(one) = one.as_str() else {
            return failed(format!("`{method}` expected a string or a tuple of strings, found `{}`", one.type_name()));
        };
        let Some((start, stop, _)) = found else { continue };
        let inside = &text[start..stop];
        if if method == "startswith" { inside.starts_with(one) } else { inside.ends_with(one) } {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn find(vm: &Vm<'_>, text: &str, method: &str, given: Given) -> Outcome<Value> {
    let mut bound = given.bind(method, &["", "", ""], 1)?;
    let wanted = required(&mut bound, 0)?;
    let inside = part(text, &mut bound)?;
    vm.fuel.length(text.len())?;
    if method == "count" {
        let count = inside.map_or(0, |(start, stop, _)| {
            let inside = &text[start..stop];
            if wanted.is_empty() { inside.chars().count() + 1 } else { inside.matches(&*wanted).count() }
        });
        return Ok(Value::count(count));
    }
    let found = inside.and_then(|(start, stop, before)| {
        let inside = &text[start..stop];
        let at = if method.starts_with('r') { inside.rfind(&*wanted) } else { inside.find(&*wanted) };
        at.map(|at| before + inside[..at].chars().count())
    });
    match found {
        Some(at) => Ok(Value::count(at)),
        None if method.ends_with("find") => Ok(Value::Int(-1)),
        None => failed("substring not found"),
    }
}
