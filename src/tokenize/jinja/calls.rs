//! Calls: the functions every template has, macros, loops, and methods of values that are no texts.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::arguments::Given;
use super::failure::{Cause, Failure, Outcome, failed};
use super::value::{Cycler, Dict, Function, Loop, Range, Value, View};
use super::vm::{GLOBALS, Vm};
use super::{number, text_methods};

/// Most numbers of a range, as in Jinja2's sandbox.
const MAX_RANGE: usize = 100_000;

/// The function every template has under a name.
pub(super) fn global(name: &str) -> Option<Function> {
    GLOBALS.iter().find(|(known, _)| *known == name).map(|(_, function)| *function)
}

/// `callee(arguments)`.
pub(super) fn call(vm: &Vm<'_>, callee: &Value, mut given: Given) -> Outcome<Value> {
    callee.defined()?;
    match callee {
        Value::Macro(found) => vm.call_macro(found, given),
        Value::Function(function) => call_function(vm, *function, given),
        Value::Method(method) => call_method(vm, &method.0, &method.1, given),
        Value::Loop(state) => {
            let Some(recursion) = &state.recursion else {
                return failed("the loop must have the `recursive` marker to be called recursively");
            };
            let items = given.bind("loop", &["iterable"], 1)?.value(0).unwrap_or(Value::None).iterate(&vm.fuel)?;
            let text = vm.run_recursively(&recursion.node, items, &recursion.frame, state.depth0 + 1)?;
            Ok(vm.made(text))
        }
        Value::Joiner(joiner) => {
            if !given.positional.is_empty() || given.named.pop().is_some() {
                return failed("a joiner takes no arguments");
            }
            Ok(if joiner.1.replace(true) { joiner.0.clone() } else { Value::text("") })
        }
        other => failed(format!("`{}` object is not callable", other.type_name())),
    }
}

fn call_function(vm: &Vm<'_>, function: Function, given: Given) -> Outcome<Value> {
    match function {
        Function::Range => range(&given),
        Function::Dict => make_dict(vm, given).map(|dict| Value::Dict(Rc::new(dict))),
        Function::Namespace => {
            let values = make_dict(vm, given)?;
            for (name, _) in values.entries() {
                name.as_str().map_or(Ok(()), check_namespace_name)?;
            }
            let values = Rc::new(RefCell::new(values));
            vm.knots.namespace(&values, &vm.fuel)?;
            Ok(Value::Namespace(values))
        }
        Function::Cycler => {
            if given.positional.is_empty() || !given.named.is_empty() {
                return failed("at least one item has to be provided to `cycler`");
            }
            Ok(Value::Cycler(Rc::new(Cycler { items: given.positional, position: Cell::new(0) })))
        }
        Function::Joiner => {
            let separator = given.bind("joiner", &["sep"], 0)?.value(0).unwrap_or_else(|| Value::text(", "));
            Ok(Value::Joiner(Rc::new((separator, Cell::new(false)))))
        }
        Function::Blocks => failed("`self` is not callable"),
        Function::Lipsum => failed("`lipsum` is random, and not supported"),
        Function::RaiseException => {
            let message = given.bind("raise_exception", &["message"], 1)?.value(0).unwrap_or(Value::None);
            Err(Failure::of(Cause::Raised, message.to_text(&vm.fuel)?.to_string()))
        }
        Function::StrftimeNow => {
            let format = given.bind("strftime_now", &["format"], 1)?.text(0)?.unwrap_or_default();
            match vm.date.strftime(&format) {
                Some(text) => Ok(Value::text(text)),
                None => failed(format!("unknown date format `{format}`")),
            }
        }
    }
}

fn range(given: &Given) -> Outcome<Value> {
    let mut bounds = Vec::new();
    if !given.named.is_empty() {
        return failed("`range` takes no keyword arguments");
    }
    for value in &given.positional {
        value.defined()?;
        match value.as_index() {
            Some(bound) => bounds.push(bound),
            None => return failed(format!("`range` expected an integer, found `{}`", value.type_name())),
        }
    }
    let (start, stop, step) = match *bounds.as_slice() {
        [stop] => (0, stop, 1),
        [start, stop] => (start, stop, 1),
        [start, stop, step] => (start, stop, step),
        _ => return failed("`range` takes one to three arguments"),
    };
    if step == 0 {
        return failed("`range`: step must not be zero");
    }
    let range = Range { start, stop, step };
    if range.len() > MAX_RANGE {
        return failed(format!("`range` of more than {MAX_RANGE} numbers"));
    }
    Ok(Value::Range(Rc::new(range)))
}

/// `dict(mapping or pairs, name=value)`.
fn make_dict(vm: &Vm<'_>, given: Given) -> Outcome<Dict> {
    let mut dict = Dict::default();
    let mut positional = given.positional.into_iter();
    match positional.next() {
        None => {}
        Some(Value::Dict(other)) => dict = (*other).clone(),
        Some(other) => {
            other.defined()?;
            for pair in other.iterate(&vm.fuel)? {
                match <[Value; 2]>::try_from(pair.iterate(&vm.fuel)?) {
                    Ok([key, value]) => dict.insert(key, value)?,
                    Err(_) => return failed("`dict` expected pairs of a key and a value"),
                }
            }
        }
    }
    if positional.next().is_some() {
        return failed("`dict` takes at most 1 positional argument");
    }
    for (name, value) in given.named {
        dict.insert_name(name, value);
    }
    Ok(dict)
}

/// Refuses what transformers' namespace refuses.
pub(super) fn check_namespace_name(name: &str) -> Outcome<()> {
    if name.starts_with('_') {
        return failed(format!("a namespace takes no name that starts with an underscore: `{name}`"));
    }
    Ok(())
}

fn call_method(vm: &Vm<'_>, value: &Value, method: &Arc<str>, given: Given) -> Outcome<Value> {
    match value {
        Value::Str(text) | Value::Markup(text) => text_methods::call(vm, value, text, method, given),
        Value::Dict(dict) => of_dict(vm, dict, method, given),
        Value::List(_) | Value::Tuple(_) | Value::Group(_) | Value::Range(_) => of_sequence(vm, value, method, given),
        Value::Loop(state) => of_loop(vm, state, method, given),
        Value::Cycler(cycler) => {
            given.bind(method, &[], 0)?;
            let position = cycler.position.get();
            if &**method == "reset" {
                cycler.position.set(0);
                return Ok(Value::None);
            }
            cycler.position.set((position + 1) % cycler.items.len().max(1));
            Ok(cycler.items.get(position).cloned().unwrap_or(Value::None))
        }
        Value::Float(float) if &**method == "is_integer" => {
            given.bind(method, &[], 0)?;
            Ok(Value::Bool(float.is_finite() && float.fract() == 0.0))
        }
        Value::Bool(_) | Value::Int(_) | Value::Big(_)
            if matches!(&**method, "bit_length" | "conjugate" | "bit_count") =>
        {
            given.bind(method, &[], 0)?;
            let whole = value.as_big().unwrap_or_default();
            Ok(match &**method {
                "bit_length" => Value::Int(i64::try_from(whole.bits()).unwrap_or(i64::MAX)),
                "bit_count" => {
                    Value::count(whole.magnitude().iter_u64_digits().map(|word| word.count_ones() as usize).sum())
                }
                _ => Value::integer(whole),
            })
        }
        Value::Function(Function::Dict) => {
            let mut bound = given.bind("dict.fromkeys", &["", ""], 1)?;
            let keys = bound.value(0).unwrap_or(Value::None).iterate(&vm.fuel)?;
            from_keys(keys, bound.value(1))
        }
        other => failed(format!("method `{method}` of `{}` is not supported", other.type_name())),
    }
}

fn from_keys(keys: Vec<Value>, value: Option<Value>) -> Outcome<Value> {
    let value = value.unwrap_or(Value::None);
    let mut dict = Dict::default();
    for key in keys {
        dict.insert(key, value.clone())?;
    }
    Ok(Value::Dict(Rc::new(dict)))
}

fn of_dict(vm: &Vm<'_>, dict: &Rc<Dict>, method: &str, given: Given) -> Outcome<Value> {
    match method {
        "get" => {
            let mut bound = given.bind("dict.get", &["", ""], 1)?;
            let key = bound.value(0).unwrap_or(Value::None);
            let found = dict.get(&key)?.cloned();
            Ok(found.or_else(|| bound.value(1)).unwrap_or(Value::None))
        }
        "fromkeys" => {
            let mut bound = given.bind("dict.fromkeys", &["", ""], 1)?;
            let keys = bound.value(0).unwrap_or(Value::None).iterate(&vm.fuel)?;
            from_keys(keys, bound.value(1))
        }
        _ => {
            given.bind(method, &[], 0)?;
            Ok(match method {
                "keys" => Value::View(View::Keys, dict.clone()),
                "values" => Value::View(View::Values, dict.clone()),
                "items" => Value::View(View::Items, dict.clone()),
                _ => Value::Dict(Rc::new((**dict).clone())),
            })
        }
    }
}

fn of_sequence(vm: &Vm<'_>, value: &Value, method: &str, given: Given) -> Outcome<Value> {
    if method == "copy" {
        given.bind("copy", &[], 0)?;
        return Ok(Value::list(value.iterate(&vm.fuel)?));
    }
    let parameters: &[&str] = if method == "index" { &["", "", ""] } else { &[""] };
    let mut bound = given.bind(method, parameters, 1)?;
    let wanted = bound.value(0).unwrap_or(Value::None);
    let items = value.iterate(&vm.fuel)?;
    let mut found = Vec::new();
    for (at, item) in items.iter().enumerate() {
        if item.equals(&wanted, &vm.fuel)? {
            found.push(at);
        }
    }
    if method == "count" {
        return Ok(Value::count(found.len()));
    }
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let clamp = |bound: i64| if bound < 0 { (bound + length).max(0) } else { bound };
    let (start, stop) = (clamp(bound.index(1)?.unwrap_or(0)), clamp(bound.index(2)?.unwrap_or(length)));
    let at = found.into_iter().find(|at| i64::try_from(*at).is_ok_and(|at| (start..stop).contains(&at)));
    at.map_or_else(|| failed(format!("a value is not in {}", value.type_name())), |at| Ok(Value::count(at)))
}

fn of_loop(vm: &Vm<'_>, state: &Loop, method: &str, given: Given) -> Outcome<Value> {
    if !given.named.is_empty() {
        return failed(format!("`loop.{method}` takes no keyword arguments"));
    }
    let values = given.positional;
    if method == "cycle" {
        if values.is_empty() {
            return failed("no items for cycling given");
        }
        let at = state.index.get().saturating_sub(1) % values.len();
        return Ok(values.get(at).cloned().unwrap_or(Value::None));
    }
    let same = match &*state.changed.borrow() {
        Some(before) => Value::tuple(before.clone()).equals(&Value::tuple(values.clone()), &vm.fuel)?,
        None => false,
    };
    if !same {
        *state.changed.borrow_mut() = Some(values);
    }
    Ok(Value::Bool(!same))
}

/// `int()` of a value that is no text.
pub(super) fn to_int(value: &Value) -> Outcome<Value> {
    match value {
        Value::Float(float) => number::truncated(*float),
        other => match other.as_big() {
            Some(whole) => Ok(Value::integer(whole)),
            None => failed(format!("`{}` is no number", other.type_name())),
        },
    }
}
