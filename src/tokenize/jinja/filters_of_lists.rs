//! Filters over what can be iterated.

use std::cmp::Ordering;
use std::rc::Rc;
use std::sync::Arc;

use super::arguments::Given;
use super::ast::Operator;
use super::failure::{Outcome, failed};
use super::value::{Generator, Value, View};
use super::vm::Vm;
use super::{access, filters, tests_of_values};

/// Applies one of the filters.
pub(super) fn call(vm: &Vm<'_>, name: &str, value: &Value, mut given: Given) -> Outcome<Value> {
    match name {
        "first" => {
            given.bind(name, &[], 0)?;
            let first = match value {
                Value::Generator(generator) => generator.next()?,
                other => other.iterate(&vm.fuel)?.into_iter().next(),
            };
            Ok(first.unwrap_or_else(|| Value::undefined("no first item, sequence was empty")))
        }
        "last" => {
            given.bind(name, &[], 0)?;
            if matches!(value, Value::Generator(_)) {
                return failed("`generator` object is not reversible");
            }
            let last = value.iterate(&vm.fuel)?.pop();
            Ok(last.unwrap_or_else(|| Value::undefined("no last item, sequence was empty")))
        }
        "reverse" => {
            given.bind(name, &[], 0)?;
            if let Some(text) = value.as_str() {
                vm.fuel.length(text.len())?;
                return Ok(access::same_kind(value, text.chars().rev().collect::<String>()));
            }
            let mut items = value.iterate(&vm.fuel)?;
            items.reverse();
            Ok(if matches!(value, Value::Generator(_)) { Value::list(items) } else { Generator::of(items) })
        }
        "batch" => {
            let mut bound = given.bind(name, &["linecount", "fill_with"], 1)?;
            let count = bound.index(0)?.unwrap_or(0);
            let fill = bound.some(1);
            Ok(until_failure(batch(vm, value, count, fill.as_ref())))
        }
        "slice" => {
            let mut bound = given.bind(name, &["slices", "fill_with"], 1)?;
            let count = bound.index(0)?.unwrap_or(0);
            let fill = bound.some(1);
            Ok(until_failure(slices(vm, value, count, fill.as_ref())))
        }
        "map" => Ok(map(vm, value, given)),
        "select" => Ok(select(vm, value, given, true, false)),
        "reject" => Ok(select(vm, value, given, false, false)),
        "selectattr" => Ok(select(vm, value, given, true, true)),
        "rejectattr" => Ok(select(vm, value, given, false, true)),
        "sort" => {
            let mut bound = given.bind(name, &["reverse", "case_sensitive", "attribute"], 0)?;
            let (reverse, case_sensitive) = (bound.is_true(0), bound.is_true(1));
            let paths = paths_of(bound.value(2))?;
            let key = |item: &Value| -> Outcome<Value> {
                let keys =
                    paths.iter().map(|path| look_up(vm, item, path, None).map(|key| folded(key, case_sensitive)));
                Ok(Value::list(keys.collect::<Outcome<_>>()?))
            };
            Ok(Value::list(sorted(vm, value.iterate(&vm.fuel)?, key, reverse)?))
        }
        "dictsort" => {
            let mut bound = given.bind(name, &["case_sensitive", "by", "reverse"], 0)?;
            let case_sensitive = bound.is_true(0);
            let by = bound.text(1)?.unwrap_or_else(|| Arc::from("key"));
            let at = match &*by {
                "key" => 0,
                "value" => 1,
                _ => return failed("you can only sort by either \"key\" or \"value\""),
            };
            let reverse = bound.is_true(2);
            value.defined()?;
            let Value::Dict(dict) = value else {
                return failed(format!("`{}` object has no attribute `items`", value.type_name()));
            };
            let items = Value::View(View::Items, dict.clone()).iterate(&vm.fuel)?;
            let key = |item: &Value| Ok(folded(access::item(item, &Value::Int(at), &vm.fuel)?, case_sensitive));
            Ok(Value::list(sorted(vm, items, key, reverse)?))
        }
        "unique" => {
            let mut bound = given.bind(name, &["case_sensitive", "attribute"], 0)?;
            let case_sensitive = bound.is_true(0);
            let path = path_of(bound.value(1))?;
            Ok(until_failure(unique(vm, value, case_sensitive, &path)))
        }
        "min" | "max" => {
            let mut bound = given.bind(name, &["case_sensitive", "attribute"], 0)?;
            let case_sensitive = bound.is_true(0);
            let path = path_of(bound.value(1))?;
            let wanted = if name == "min" { Ordering::Less } else { Ordering::Greater };
            let sign = if name == "min" { "<" } else { ">" };
            let mut best: Option<(Value, Value)> = None;
            for item in value.iterate(&vm.fuel)? {
                let key = folded(look_up(vm, &item, &path, None)?, case_sensitive);
                let is_better = match &best {
                    Some((_, known)) => key.compare(known, sign, &vm.fuel)? == Some(wanted),
                    None => true,
                };
                if is_better {
                    best = Some((item, key));
                }
            }
            let best = best.map(|(item, _)| item);
            Ok(best.unwrap_or_else(|| Value::undefined("no aggregated item, sequence was empty")))
        }
        "sum" => {
            let mut bound = given.bind(name, &["attribute", "start"], 0)?;
            let path = bound.some(0).map(|path| path_of(Some(path))).transpose()?;
            let mut total = bound.value(1).unwrap_or(Value::Int(0));
            if total.as_str().is_some() {
                return failed("sum() can't sum strings");
            }
            for item in value.iterate(&vm.fuel)? {
                let item = match &path {
                    Some(path) => look_up(vm, &item, path, None)?,
                    None => item,
                };
                total = vm.binary(Operator::Add, &total, &item)?;
            }
            Ok(total)
        }
        _ => {
            let attribute = given.positional.first().cloned().or_else(|| given.take_named("attribute"));
            if !given.positional.is_empty() {
                given.positional.remove(0);
            }
            let Some(attribute) = attribute else { return failed("`groupby` needs an attribute") };
            let mut bound = given.bind(name, &["default", "case_sensitive"], 0)?;
            group(vm, value, &path_of(Some(attribute))?, bound.some(0).as_ref(), bound.is_true(1))
        }
    }
}

/// A generator of what was made; one that fails at once, where nothing could be.
fn until_failure(made: Outcome<Vec<Value>>) -> Value {
    match made {
        Ok(items) => Generator::of(items),
        Err(failure) => Generator::until_failure([Err(failure)]),
    }
}

/// A part of a path into a value.
pub(super) type Path = Vec<Value>;

/// `a.b.0` as keys one after the other; nothing for none.
pub(super) fn path_of(attribute: Option<Value>) -> Outcome<Path> {
    match attribute {
        None | Some(Value::None) => Ok(Vec::new()),
        Some(Value::Str(text) | Value::Markup(text)) => Ok(keys_of(&text)),
        Some(other) => {
            other.defined()?;
            Ok(vec![other])
        }
    }
}

fn keys_of(text: &str) -> Path {
    text.split('.')
        .map(|part| match part.parse::<i64>() {
            Ok(index) if part.bytes().all(|byte| byte.is_ascii_digit()) => Value::Int(index),
            _ => Value::text(part),
        })
        .collect()
}

/// Paths with commas between.
fn paths_of(attribute: Option<Value>) -> Outcome<Vec<Path>> {
    match attribute {
        Some(Value::Str(text) | Value::Markup(text)) => Ok(text.split(',').map(keys_of).collect()),
        other => Ok(vec![path_of(other)?]),
    }
}

/// What lies at the end of a path.
pub(super) fn look_up(vm: &Vm<'_>, item: &Value, path: &Path, default: Option<&Value>) -> Outcome<Value> {
    let mut item = item.clone();
    for key in path {
        item = access::item(&item, key, &vm.fuel)?;
        if let (Value::Undefined(_), Some(default)) = (&item, default) {
            item = default.clone();
        }
    }
    Ok(item)
}

/// A key without its case, unless that matters.
fn folded(key: Value, case_sensitive: bool) -> Value {
    match &key {
        Value::Str(text) | Value::Markup(text) if !case_sensitive => Value::text(text.to_lowercase()),
        _ => key,
    }
}

fn sorted(
    vm: &Vm<'_>,
    items: Vec<Value>,
    key: impl Fn(&Value) -> Outcome<Value>,
    reverse: bool,
) -> Outcome<Vec<Value>> {
    let mut keyed: Vec<(Value, Value)> =
        items.into_iter().map(|item| Ok((key(&item)?, item))).collect::<Outcome<_>>()?;
    let mut failure = None;
    keyed.sort_by(|(left, _), (right, _)| {
        let order = left.compare(right, "<", &vm.fuel).unwrap_or_else(|found| {
            failure = Some(found);
            None
        });
        let order = order.unwrap_or(Ordering::Equal);
        if reverse { order.reverse() } else { order }
    });
    match failure {
        Some(failure) => Err(failure),
        None => Ok(keyed.into_iter().map(|(_, item)| item).collect()),
    }
}

fn batch(vm: &Vm<'_>, value: &Value, count: i64, fill: Option<&Value>) -> Outcome<Vec<Value>> {
    let items = value.iterate(&vm.fuel)?;
    let Ok(size @ 1..) = usize::try_from(count) else { return failed("`batch` expected a positive number") };
    let mut batches = Vec::new();
    for chunk in items.chunks(size) {
        let mut chunk = chunk.to_vec();
        if let Some(fill) = fill {
            vm.fuel.values(size)?;
            chunk.resize(size, fill.clone());
        }
        batches.push(Value::list(chunk));
    }
    Ok(batches)
}

fn slices(vm: &Vm<'_>, value: &Value, count: i64, fill: Option<&Value>) -> Outcome<Vec<Value>> {
    let items = value.iterate(&vm.fuel)?;
    let Ok(count @ 1..) = usize::try_from(count) else { return failed("`slice` expected a positive number") };
    vm.fuel.values(count)?;
    let (each, with_extra) = (items.len() / count, items.len() % count);
    let mut slices = Vec::new();
    let mut rest = items.into_iter();
    for at in 0..count {
        let mut slice: Vec<Value> = rest.by_ref().take(each + usize::from(at < with_extra)).collect();
        if let Some(fill) = fill
            && at >= with_extra
        {
            slice.push(fill.clone());
        }
        slices.push(Value::list(slice));
    }
    Ok(slices)
}

fn unique(vm: &Vm<'_>, value: &Value, case_sensitive: bool, path: &Path) -> Outcome<Vec<Value>> {
    let mut seen = super::value::Dict::default();
    let mut kept = Vec::new();
    for item in value.iterate(&vm.fuel)? {
        let key = folded(look_up(vm, &item, path, None)?, case_sensitive);
        if seen.get(&key)?.is_none() {
            seen.insert(key, Value::None)?;
            kept.push(item);
        }
    }
    Ok(kept)
}

fn map(vm: &Vm<'_>, value: &Value, mut given: Given) -> Value {
    if !value.is_true() {
        return Generator::of([]);
    }
    let items = match value.iterate(&vm.fuel) {
        Ok(items) => items,
        Err(failure) => return Generator::until_failure([Err(failure)]),
    };
    if given.positional.is_empty()
        && let Some(attribute) = given.take_named("attribute")
    {
        let default = given.take_named("default").filter(|default| !default.is_none());
        if let Some((name, _)) = given.named.first() {
            return Generator::until_failure([failed(format!("unexpected keyword argument `{name}`"))]);
        }
        let path = match path_of(Some(attribute)) {
            Ok(path) => path,
            Err(failure) => return Generator::until_failure([Err(failure)]),
        };
        return Generator::until_failure(items.iter().map(|item| look_up(vm, item, &path, default.as_ref())));
    }
    if given.positional.is_empty() {
        return Generator::until_failure([failed("map requires a filter argument")]);
    }
    let filter = given.positional.remove(0);
    let Some(filter) = filter.as_str() else {
        return Generator::until_failure([failed("map requires the name of a filter")]);
    };
    Generator::until_failure(items.into_iter().map(|item| filters::call(vm, filter, item, given.clone())))
}

fn select(vm: &Vm<'_>, value: &Value, mut given: Given, wanted: bool, by_attribute: bool) -> Value {
    if !value.is_true() {
        return Generator::of([]);
    }
    let mut prepare = || -> Outcome<(Vec<Value>, Path, Option<Arc<str>>)> {
        let mut path = Path::new();
        if by_attribute {
            if given.positional.is_empty() {
                return failed("missing parameter for attribute name");
            }
            path = path_of(Some(given.positional.remove(0)))?;
        }
        let mut test = None;
        if !given.positional.is_empty() {
            match given.positional.remove(0) {
                Value::Str(name) | Value::Markup(name) => test = Some(name),
                other => return failed(format!("expected the name of a test, found `{}`", other.type_name())),
            }
        }
        Ok((value.iterate(&vm.fuel)?, path, test))
    };
    let (items, path, test) = match prepare() {
        Ok(prepared) => prepared,
        Err(failure) => return Generator::until_failure([Err(failure)]),
    };
    let passes = |item: &Value| -> Outcome<bool> {
        let subject = look_up(vm, item, &path, None)?;
        let holds = match &test {
            Some(name) => tests_of_values::call(vm, name, &subject, given.clone())?.is_true(),
            None => subject.is_true(),
        };
        Ok(holds == wanted)
    };
    Generator::until_failure(items.into_iter().filter_map(|item| match passes(&item) {
        Ok(true) => Some(Ok(item)),
        Ok(false) => None,
        Err(failure) => Some(Err(failure)),
    }))
}

fn group(vm: &Vm<'_>, value: &Value, path: &Path, default: Option<&Value>, case_sensitive: bool) -> Outcome<Value> {
    let key = |item: &Value| look_up(vm, item, path, default).map(|key| folded(key, case_sensitive));
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for item in sorted(vm, value.iterate(&vm.fuel)?, key, false)? {
        let of_item = key(&item)?;
        match groups.last_mut() {
            Some((known, items)) if known.equals(&of_item, &vm.fuel)? => items.push(item),
            _ => groups.push((of_item, vec![item])),
        }
    }
    let mut made = Vec::new();
    for (key, items) in groups {
        // The key as the first of the group has it.
        let key = match items.first() {
            Some(first) if !case_sensitive => look_up(vm, first, path, default)?,
            _ => key,
        };
        made.push(Value::Group(Rc::new(vec![key, Value::list(items)])));
    }
    Ok(Value::list(made))
}
