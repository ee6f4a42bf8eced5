//! The tests of Jinja2, after `is`.

use super::arguments::Given;
use super::ast::{Comparison, Operator};
use super::failure::{Outcome, failed};
use super::value::Value;
use super::vm::Vm;
use super::{filters, text};

const NAMES: [&str; 39] = [
    "!=",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "boolean",
    "callable",
    "defined",
    "divisibleby",
    "eq",
    "equalto",
    "escaped",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
];

/// Whether Jinja2 has a test of this name.
pub(super) fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

/// What is said about a test nobody knows.
pub(super) fn unknown<T>(name: &str) -> Outcome<T> {
    failed(format!("unknown test `{name}`"))
}

/// `value is name(arguments)`.
pub(super) fn call(vm: &Vm<'_>, name: &str, value: &Value, given: Given) -> Outcome<Value> {
    vm.fuel.spend(1)?;
    let comparison = match name {
        "==" | "eq" | "equalto" => Some(Comparison::Eq),
        "!=" | "ne" => Some(Comparison::Ne),
        "<" | "lt" | "lessthan" => Some(Comparison::Lt),
        "<=" | "le" => Some(Comparison::Le),
        ">" | "gt" | "greaterthan" => Some(Comparison::Gt),
        ">=" | "ge" => Some(Comparison::Ge),
        "in" => Some(Comparison::In),
        _ => None,
    };
    if let Some(comparison) = comparison {
        let other = given.bind(name, &["seq"], 1)?.value(0).unwrap_or(Value::None);
        return vm.compare(comparison, value, &other).map(Value::Bool);
    }
    match name {
        "divisibleby" => {
            let by = given.bind(name, &["num"], 1)?.value(0).unwrap_or(Value::None);
            return remainder_is(vm, value, &by, 0);
        }
        "sameas" => {
            let other = given.bind(name, &["other"], 1)?.value(0).unwrap_or(Value::None);
            return match value.is_same(&other) {
                Some(same) => Ok(Value::Bool(same)),
                None => failed("`sameas` of equal numbers or strings depends on how Python keeps them; use `==`"),
            };
        }
        _ => {}
    }
    given.bind(name, &[], 0)?;
    Ok(Value::Bool(match name {
        "odd" => return remainder_is(vm, value, &Value::Int(2), 1),
        "even" => return remainder_is(vm, value, &Value::Int(2), 0),
        "defined" => !value.is_undefined(),
        "undefined" => value.is_undefined(),
        "filter" => value.as_str().is_some_and(filters::is_known),
        "test" => value.as_str().is_some_and(is_known),
        "none" => value.is_none(),
        "boolean" => matches!(value, Value::Bool(_)),
        "false" => matches!(value, Value::Bool(false)),
        "true" => matches!(value, Value::Bool(true)),
        "integer" => matches!(value, Value::Int(_) | Value::Big(_)),
        "float" => matches!(value, Value::Float(_)),
        "lower" => text::is_all(&value.to_text(&vm.fuel)?, char::is_lowercase),
        "upper" => text::is_all(&value.to_text(&vm.fuel)?, char::is_uppercase),
        "string" => value.as_str().is_some(),
        "mapping" => matches!(value, Value::Dict(_)),
        "number" => value.is_number(),
        "sequence" => has_items(value),
        "iterable" => value.is_iterable(),
        "callable" => is_callable(value),
        "escaped" => matches!(value, Value::Markup(_)),
        _ => return unknown(name),
    }))
}

/// Whether it has a length and items.
fn has_items(value: &Value) -> bool {
    // A loop and a view have a length, and no items to be had by number or key.
    value.len().is_some() && !matches!(value, Value::View(..) | Value::Loop(_))
}

fn is_callable(value: &Value) -> bool {
    matches!(
        value,
        Value::Undefined(_)
            | Value::Macro(_)
            | Value::Loop(_)
            | Value::Joiner(_)
            | Value::Function(_)
            | Value::Method(_)
    )
}

fn remainder_is(vm: &Vm<'_>, value: &Value, by: &Value, wanted: i64) -> Outcome<Value> {
    let rest = vm.binary(Operator::Mod, value, by)?;
    Ok(Value::Bool(rest.equals(&Value::Int(wanted), &vm.fuel)?))
}
