//! `x.name`, `x[key]` and slices, by the order in which Jinja2's sandbox looks.

use std::rc::Rc;
use std::sync::Arc;

use super::failure::{Cause, Failure, Outcome, failed};
use super::fuel::Fuel;
use super::value::{Function, Loop, Value};

/// Methods of texts. `format_map` and `translate` need what a template cannot make.
const OF_TEXT: [&str; 47] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "maketrans",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "translate",
    "upper",
    "zfill",
];
const OF_MARKUP: [&str; 3] = ["escape", "striptags", "unescape"];
const OF_LIST: [&str; 3] = ["copy", "count", "index"];
const OF_LIST_CHANGING: [&str; 8] = ["append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"];
const OF_DICT: [&str; 6] = ["copy", "fromkeys", "get", "items", "keys", "values"];
const OF_DICT_CHANGING: [&str; 5] = ["clear", "pop", "popitem", "setdefault", "update"];
const OF_INT: [&str; 6] = ["as_integer_ratio", "bit_count", "bit_length", "conjugate", "from_bytes", "to_bytes"];
const OF_FLOAT: [&str; 5] = ["as_integer_ratio", "conjugate", "fromhex", "hex", "is_integer"];
/// Attributes every object of Python has.
const OF_ALL: [&str; 24] = [
    "__class__",
    "__delattr__",
    "__dir__",
    "__doc__",
    "__eq__",
    "__format__",
    "__ge__",
    "__getattribute__",
    "__getstate__",
    "__gt__",
    "__hash__",
    "__init__",
    "__init_subclass__",
    "__le__",
    "__lt__",
    "__ne__",
    "__new__",
    "__reduce__",
    "__reduce_ex__",
    "__repr__",
    "__setattr__",
    "__sizeof__",
    "__str__",
    "__subclasshook__",
];

/// What Python's `getattr` finds.
enum Attribute {
    Value(Value),
    /// There, and not for templates.
    Unsafe,
    Missing,
}

/// `value.name`: an attribute, else an item.
pub(super) fn attribute(value: &Value, name: &Arc<str>) -> Outcome<Value> {
    match python_attribute(value, name) {
        Attribute::Value(found) => Ok(found),
        Attribute::Unsafe => Ok(unsafe_attribute(value, name)),
        Attribute::Missing => {
            value.defined()?;
            let found = match value {
                Value::Dict(dict) => dict.get_name(name).cloned(),
                _ => None,
            };
            Ok(found.unwrap_or_else(|| missing(value, name)))
        }
    }
}

/// The filter `attr`: an attribute and nothing else.
pub(super) fn attribute_only(value: &Value, name: &Arc<str>) -> Value {
    match python_attribute(value, name) {
        Attribute::Value(found) => found,
        Attribute::Unsafe => unsafe_attribute(value, name),
        Attribute::Missing => missing(value, name),
    }
}

/// `value[key]`: an item, else an attribute.
pub(super) fn item(value: &Value, key: &Value, fuel: &Fuel) -> Outcome<Value> {
    value.defined()?;
    let found = match value {
        // What cannot be a key is not found.
        Value::Dict(dict) => dict.get(key).unwrap_or_default().cloned(),
        Value::List(items) | Value::Tuple(items) | Value::Group(items) => {
            position(key, items.len()).and_then(|at| items.get(at)).cloned()
        }
        Value::Range(range) => position(key, range.len()).map(|at| range.get(at)),
        Value::Str(text) | Value::Markup(text) if key.as_index().is_some() => {
            fuel.length(text.len())?;
            let length = if text.is_ascii() { text.len() } else { text.chars().count() };
            let at = position(key, length);
            let c = at.and_then(|at| if text.is_ascii() { text[at..].chars().next() } else { text.chars().nth(at) });
            c.map(|c| same_kind(value, c.to_string()))
        }
        _ => None,
    };
    if let Some(found) = found {
        return Ok(found);
    }
    if let Value::Str(name) | Value::Markup(name) = key {
        return Ok(attribute_only(value, name));
    }
    Ok(Value::undefined(format!("`{}` has no element {}", object_name(value), key.to_repr(fuel)?)))
}

/// A text of the kind of another.
pub(super) fn same_kind(like: &Value, text: impl Into<Arc<str>>) -> Value {
    if matches!(like, Value::Markup(_)) { Value::Markup(text.into()) } else { Value::Str(text.into()) }
}

fn position(key: &Value, length: usize) -> Option<usize> {
    let index = key.as_index()?;
    let length = i64::try_from(length).ok()?;
    let index = if index < 0 { index.checked_add(length)? } else { index };
    usize::try_from(index).ok().filter(|_| index < length)
}

fn object_name(value: &Value) -> String {
    match value {
        Value::None => "None".into(),
        other => format!("{} object", other.type_name()),
    }
}

fn missing(value: &Value, name: &str) -> Value {
    Value::undefined(format!("`{}` has no attribute `{name}`", object_name(value)))
}

fn unsafe_attribute(value: &Value, name: &str) -> Value {
    Value::undefined(format!("access to attribute `{name}` of `{}` object is unsafe", value.type_name()))
}

fn python_attribute(value: &Value, name: &Arc<str>) -> Attribute {
    if name.starts_with('_') {
        let known = OF_ALL.contains(&&**name)
            || (value.len().is_some()
                && !value.is_undefined()
                && matches!(&**name, "__len__" | "__iter__" | "__getitem__" | "__contains__"));
        return if known { Attribute::Unsafe } else { Attribute::Missing };
    }
    let is_in = |names: &[&str]| names.contains(&&**name);
    let method = || Attribute::Value(Value::Method(Rc::new((value.clone(), name.clone()))));
    let methods = |names: &[&str]| if is_in(names) { method() } else { Attribute::Missing };
    let give = |value: Option<Value>| value.map_or(Attribute::Missing, Attribute::Value);
    match value {
        Value::Str(_) => methods(&OF_TEXT),
        Value::Markup(_) => {
            if is_in(&OF_MARKUP) {
                method()
            } else {
                methods(&OF_TEXT)
            }
        }
        Value::List(_) if is_in(&OF_LIST_CHANGING) => Attribute::Unsafe,
        Value::List(_) => methods(&OF_LIST),
        Value::Tuple(_) => methods(&["count", "index"]),
        Value::Group(items) => match &**name {
            "grouper" => give(items.first().cloned()),
            "list" => give(items.get(1).cloned()),
            _ => methods(&["count", "index"]),
        },
        Value::Dict(_) if is_in(&OF_DICT_CHANGING) => Attribute::Unsafe,
        Value::Dict(_) => methods(&OF_DICT),
        Value::View(..) => methods(&["isdisjoint", "mapping"]),
        Value::Range(range) => match &**name {
            "start" => give(Some(Value::Int(range.start))),
            "stop" => give(Some(Value::Int(range.stop))),
            "step" => give(Some(Value::Int(range.step))),
            _ => methods(&["count", "index"]),
        },
        Value::Bool(_) | Value::Int(_) | Value::Big(_) => match &**name {
            "real" | "numerator" => give(value.as_big().map(Value::integer)),
            "imag" => give(Some(Value::Int(0))),
            "denominator" => give(Some(Value::Int(1))),
            _ => methods(&OF_INT),
        },
        Value::Float(_) => match &**name {
            "real" => give(Some(value.clone())),
            "imag" => give(Some(Value::Float(0.0))),
            _ => methods(&OF_FLOAT),
        },
        Value::Namespace(values) => give(values.borrow().get_name(name).cloned()),
        Value::Loop(state) => match &**name {
            "cycle" | "changed" => method(),
            _ => give(of_loop(state, name)),
        },
        Value::Cycler(cycler) => match &**name {
            "next" | "reset" => method(),
            "current" => give(cycler.items.get(cycler.position.get()).cloned()),
            _ => Attribute::Missing,
        },
        Value::Macro(found) => match &**name {
            "name" => give(Some(found.node.name.clone().map_or(Value::None, Value::Str))),
            "arguments" => {
                let names = found.node.parameters.iter().map(|(_, name)| Value::Str(name.clone()));
                give(Some(Value::tuple(names.collect())))
            }
            "caller" => give(Some(Value::Bool(found.node.reads_caller))),
            "catch_kwargs" => give(Some(Value::Bool(found.node.reads_kwargs))),
            "catch_varargs" => give(Some(Value::Bool(found.node.reads_varargs))),
            _ => Attribute::Missing,
        },
        Value::Function(Function::Dict) => methods(&["fromkeys"]),
        Value::Undefined(_)
        | Value::None
        | Value::Generator(_)
        | Value::Joiner(_)
        | Value::Function(_)
        | Value::Method(_) => Attribute::Missing,
    }
}

fn of_loop(state: &Loop, name: &str) -> Option<Value> {
    let (index, length) = (state.index.get(), state.items.len());
    let item = |at: Option<usize>, what: &str| {
        let found = at.and_then(|at| state.items.get(at)).cloned();
        found.unwrap_or_else(|| Value::undefined(format!("there is no {what} item")))
    };
    Some(match name {
        "index" => Value::count(index),
        "index0" => Value::count(index.saturating_sub(1)),
        "revindex" => Value::count(length + 1 - index.min(length + 1)),
        "revindex0" => Value::count(length - index.min(length)),
        "first" => Value::Bool(index == 1),
        "last" => Value::Bool(index == length),
        "length" => Value::count(length),
        "depth" => Value::count(state.depth0 + 1),
        "depth0" => Value::count(state.depth0),
        "previtem" => item(index.checked_sub(2), "previous"),
        "nextitem" => item(Some(index), "next"),
        _ => return None,
    })
}

/// `value[start:stop:step]`.
pub(super) fn slice(value: &Value, parts: [Option<Value>; 3], fuel: &Fuel) -> Outcome<Value> {
    value.defined()?;
    let mut bounds = [None; 3];
    for (bound, part) in bounds.iter_mut().zip(parts) {
        *bound = match part {
            None | Some(Value::None) => None,
            Some(part) => match part.as_index() {
                Some(index) => Some(index),
                None => return Err(Failure::of(Cause::Type, "slice indices must be integers or none")),
            },
        };
    }
    let [start, stop, step] = bounds;
    let step = step.unwrap_or(1);
    if step == 0 {
        return failed("slice step cannot be zero");
    }
    let take = |length: usize| {
        let (start, stop) = bounds_of(length, start, stop, step);
        indices(start, stop, step)
    };
    match value {
        Value::Str(text) | Value::Markup(text) => {
            fuel.length(text.len())?;
            let chars: Vec<char> = text.chars().collect();
            let picked: String = take(chars.len()).filter_map(|at| chars.get(at)).collect();
            Ok(same_kind(value, picked))
        }
        Value::List(items) | Value::Tuple(items) | Value::Group(items) => {
            fuel.values(items.len())?;
            let picked = take(items.len()).filter_map(|at| items.get(at)).cloned().collect();
            Ok(if matches!(value, Value::List(_)) { Value::list(picked) } else { Value::tuple(picked) })
        }
        Value::Range(range) => {
            let (start, stop) = bounds_of(range.len(), start, stop, step);
            let bound = |at: i64| range.start.saturating_add(at.saturating_mul(range.step));
            let step = range.step.saturating_mul(step);
            Ok(Value::Range(Rc::new(super::value::Range { start: bound(start), stop: bound(stop), step })))
        }
        _ => {
            let reason = format!("`{}` object is not subscriptable by a slice", value.type_name());
            Err(Failure::of(Cause::Type, reason))
        }
    }
}

/// Where a slice begins and ends, by Python's rules for bounds beyond the ends.
fn bounds_of(length: usize, start: Option<i64>, stop: Option<i64>, step: i64) -> (i64, i64) {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let clamp = |bound: i64| {
        let bound = if bound < 0 { bound.saturating_add(length) } else { bound };
        if step > 0 { bound.clamp(0, length) } else { bound.clamp(-1, length - 1) }
    };
    let (first, end) = if step > 0 { (0, length) } else { (length - 1, -1) };
    (start.map_or(first, clamp), stop.map_or(end, clamp))
}

/// Positions of a slice.
fn indices(start: i64, stop: i64, step: i64) -> impl Iterator<Item = usize> {
    let mut at = start;
    std::iter::from_fn(move || {
        if (step > 0 && at >= stop) || (step < 0 && at <= stop) {
            return None;
        }
        let current = usize::try_from(at).ok();
        at = at.saturating_add(step);
        current
    })
}
