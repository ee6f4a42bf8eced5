//! The filters of Jinja2.

use std::rc::Rc;
use std::sync::Arc;

use super::arguments::{Bound, Given};
use super::ast::Operator;
use super::failure::{Outcome, failed};
use super::value::{Dict, Generator, Value, View};
use super::vm::Vm;
use super::{access, filters_of_lists, filters_of_text, json, number, printf};

/// Names of all filters; those that are not supported say so when they are called.
const NAMES: [&str; 54] = [
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "float",
    "forceescape",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "random",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "urlize",
    "wordcount",
    "wordwrap",
    "xmlattr",
];

/// Whether Jinja2 has a filter of this name.
pub(super) fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// What is said about a filter nobody knows.
pub(super) fn unknown<T>(name: &str) -> Outcome<T> {
    failed(format!("unknown filter `{name}`"))
}

/// `value | name(arguments)`.
pub(super) fn call(vm: &Vm<'_>, name: &str, value: Value, given: Given) -> Outcome<Value> {
    vm.fuel.spend(1)?;
    match name {
        "abs" => {
            given.bind(name, &[], 0)?;
            absolute(vm, &value)
        }
        "attr" => {
            value.defined()?;
            let attribute = given.bind(name, &["name"], 1)?.text(0)?.unwrap_or_default();
            Ok(access::attribute_only(&value, &attribute))
        }
        "d" | "default" => {
            let mut bound = given.bind(name, &["default_value", "boolean"], 0)?;
            let default = bound.value(0).unwrap_or_else(|| Value::text(""));
            let boolean = bound.is_true(1);
            Ok(if value.is_undefined() || (boolean && !value.is_true()) { default } else { value })
        }
        "count" | "length" => {
            given.bind(name, &[], 0)?;
            match value.len() {
                Some(len) => Ok(Value::count(len)),
                None => failed(format!("object of type `{}` has no len()", value.type_name())),
            }
        }
        "int" => int(&value, &mut given.bind(name, &["default", "base"], 0)?),
        "float" => {
            let default = given.bind(name, &["default"], 0)?.value(0).unwrap_or(Value::Float(0.0));
            value.defined()?;
            match &value {
                Value::Str(text) | Value::Markup(text) => Ok(number::parse_float(text).map_or(default, Value::Float)),
                other if other.is_number() => Ok(Value::Float(other.to_float()?)),
                _ => Ok(default),
            }
        }
        "round" => round(vm, &value, &mut given.bind(name, &["precision", "method"], 0)?),
        "string" => {
            given.bind(name, &[], 0)?;
            if matches!(value, Value::Markup(_)) { Ok(value) } else { Ok(Value::Str(value.to_text(&vm.fuel)?)) }
        }
        "tojson" => json::dumps(&value, given, &vm.fuel),
        "format" => {
            if !given.positional.is_empty() && !given.named.is_empty() {
                return failed("`format` can't handle positional and keyword arguments at the same time");
            }
            let values = if given.named.is_empty() {
                Value::tuple(given.positional)
            } else {
                let mut dict = Dict::default();
                for (name, value) in given.named {
                    dict.insert_name(name, value);
                }
                Value::Dict(Rc::new(dict))
            };
            let text = value.to_text(&vm.fuel)?;
            Ok(access::same_kind(&value, printf::format(&text, &values, &vm.fuel)?))
        }
        "list" => {
            given.bind(name, &[], 0)?;
            Ok(Value::list(value.iterate(&vm.fuel)?))
        }
        "items" => {
            given.bind(name, &[], 0)?;
            match &value {
                Value::Undefined(_) => Ok(Generator::of([])),
                Value::Dict(dict) => Ok(Generator::of(Value::View(View::Items, dict.clone()).iterate(&vm.fuel)?)),
                _ => Ok(Generator::until_failure([failed("can only get item pairs from a mapping")])),
            }
        }
        "random" => failed("the filter `random` is not supported: a text that is scored is not drawn"),
        "pprint" | "urlize" | "wordwrap" => failed(format!("the filter `{name}` is not supported")),
        "batch" | "dictsort" | "first" | "groupby" | "last" | "map" | "max" | "min" | "reject" | "rejectattr"
        | "reverse" | "select" | "selectattr" | "slice" | "sort" | "sum" | "unique" => {
            filters_of_lists::call(vm, name, &value, given)
        }
        _ if is_known(name) => filters_of_text::call(vm, name, &value, given),
        _ => unknown(name),
    }
}

fn absolute(vm: &Vm<'_>, value: &Value) -> Outcome<Value> {
    match value {
        Value::Float(float) => Ok(Value::Float(float.abs())),
        _ => match value.as_big() {
            Some(whole) if whole.sign() == num_bigint::Sign::Minus => {
                vm.binary(Operator::Sub, &Value::Int(0), &Value::integer(whole))
            }
            Some(whole) => Ok(Value::integer(whole)),
            None => failed(format!("bad operand type for abs(): `{}`", value.type_name())),
        },
    }
}

fn int(value: &Value, bound: &mut Bound) -> Outcome<Value> {
    value.defined()?;
    let default = bound.value(0).unwrap_or(Value::Int(0));
    let base = bound.index(1)?.unwrap_or(10);
    match value {
        Value::Str(text) | Value::Markup(text) => {
            if let Some(whole) = number::parse_int(text, base) {
                return Ok(Value::integer(whole));
            }
            Ok(number::parse_float(text).and_then(|float| number::truncated(float).ok()).unwrap_or(default))
        }
        Value::Float(float) if float.is_nan() => Ok(default),
        Value::Float(float) => number::truncated(*float),
        other => Ok(other.as_big().map_or(default, Value::integer)),
    }
}

fn round(vm: &Vm<'_>, value: &Value, bound: &mut Bound) -> Outcome<Value> {
    value.defined()?;
    let precision = bound.index(0)?.unwrap_or(0);
    let method = bound.text(1)?.unwrap_or_else(|| Arc::from("common"));
    if &*method == "common" {
        return number::round(value, precision, &vm.fuel);
    }
    if !matches!(&*method, "ceil" | "floor") {
        return failed("`round`: method must be common, ceil or floor");
    }
    let unit = vm.binary(Operator::Pow, &Value::Int(10), &Value::Int(precision))?;
    let scaled = vm.binary(Operator::Mul, value, &unit)?;
    let whole = match &scaled {
        Value::Float(float) => number::truncated(if &*method == "ceil" { float.ceil() } else { float.floor() })?,
        other => other.clone(),
    };
    vm.binary(Operator::Div, &whole, &unit)
}
