//! Values of a template, with Python's meaning of truth, equality, order, iteration and `repr`.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use num_bigint::BigInt;

use super::ast::{For, Macro};
use super::failure::{Failure, Outcome, failed};
use super::frame::Frame;
use super::fuel::Fuel;
use super::number;

/// A value. Clones are cheap: what is large is shared.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Undefined(Rc<Undefined>),
    None,
    Bool(bool),
    /// Every integer that fits; others are `Big`.
    Int(i64),
    Big(Rc<BigInt>),
    Float(f64),
    Str(Arc<str>),
    /// Text that is escaped already (`markupsafe.Markup`).
    Markup(Arc<str>),
    List(Rc<Vec<Value>>),
    Tuple(Rc<Vec<Value>>),
    /// What `groupby` makes: a tuple whose items have names.
    Group(Rc<Vec<Value>>),
    Dict(Rc<Dict>),
    View(View, Rc<Dict>),
    Range(Rc<Range>),
    /// What is used up by reading it.
    Generator(Rc<Generator>),
    Namespace(Rc<RefCell<Dict>>),
    Macro(Rc<MacroValue>),
    Loop(Rc<Loop>),
    Cycler(Rc<Cycler>),
    Joiner(Rc<(Value, Cell<bool>)>),
    Function(Function),
    /// A method of a value.
    Method(Rc<(Value, Arc<str>)>),
}

/// What is not there, and what to say about it.
#[derive(Debug)]
pub(super) struct Undefined {
    pub(super) reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Keys,
    Values,
    Items,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: i64,
    pub(super) stop: i64,
    pub(super) step: i64,
}

/// Functions every template has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Range,
    Dict,
    Namespace,
    Cycler,
    Joiner,
    Lipsum,
    RaiseException,
    StrftimeNow,
    /// `self`, which knows the blocks of a template.
    Blocks,
}

/// An iterator: items not read yet, and what reading on would say.
#[derive(Debug)]
pub(super) struct Generator {
    pub(super) items: RefCell<VecDeque<Value>>,
    pub(super) failure: RefCell<Option<Box<Failure>>>,
}

#[derive(Debug)]
pub(super) struct MacroValue {
    pub(super) node: Arc<Macro>,
    pub(super) frame: Rc<Frame>,
}

/// The state of a loop.
#[derive(Debug)]
pub(super) struct Loop {
    pub(super) items: Vec<Value>,
    /// Items already passed: 1 in the first round.
    pub(super) index: Cell<usize>,
    pub(super) depth0: usize,
    pub(super) changed: RefCell<Option<Vec<Value>>>,
    /// What a recursive loop runs again.
    pub(super) recursion: Option<Recursion>,
}

/// A recursive loop's own statement, and where it was met.
#[derive(Debug, Clone)]
pub(super) struct Recursion {
    pub(super) node: Arc<For>,
    pub(super) frame: Rc<Frame>,
}

#[derive(Debug)]
pub(super) struct Cycler {
    pub(super) items: Vec<Value>,
    pub(super) position: Cell<usize>,
}

/// A dictionary in the order its keys came.
#[derive(Debug, Clone, Default)]
pub(super) struct Dict {
    entries: Vec<(Value, Value)>,
    index: HashMap<Key, usize>,
}

/// A value as a key: 1, 1.0 and true are the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Str(Arc<str>),
    Int(i64),
    Big(BigInt),
    Float(u64),
    None,
    Undefined,
    Tuple(Vec<Key>),
    Address(usize),
}

impl Dict {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn entries(&self) -> &[(Value, Value)] {
        &self.entries
    }

    pub(super) fn insert(&mut self, key: Value, value: Value) -> Outcome<()> {
        let hashed = key_of(&key)?;
        if let Some(at) = self.index.get(&hashed) {
            if let Some(entry) = self.entries.get_mut(*at) {
                entry.1 = value;
            }
        } else {
            self.index.insert(hashed, self.entries.len());
            self.entries.push((key, value));
        }
        Ok(())
    }

    pub(super) fn insert_name(&mut self, name: Arc<str>, value: Value) {
        // A text is always a key.
        let _ = self.insert(Value::Str(name), value);
    }

    /// The value under a key.
    ///
    /// # Errors
    /// If the key is no key at all: a list or a dictionary.
    pub(super) fn get(&self, key: &Value) -> Outcome<Option<&Value>> {
        let at = self.index.get(&key_of(key)?);
        Ok(at.and_then(|at| self.entries.get(*at)).map(|(_, value)| value))
    }

    pub(super) fn get_name(&self, name: &str) -> Option<&Value> {
        let at = self.index.get(&Key::Str(Arc::from(name)))?;
        self.entries.get(*at).map(|(_, value)| value)
    }
}

fn key_of(value: &Value) -> Outcome<Key> {
    Ok(match value {
        Value::Str(text) | Value::Markup(text) => Key::Str(text.clone()),
        Value::Bool(value) => Key::Int(i64::from(*value)),
        Value::Int(value) => Key::Int(*value),
        Value::Big(value) => Key::Big((**value).clone()),
        Value::Float(value) if value.is_finite() && value.fract() == 0.0 => match number::truncated(*value)? {
            Value::Int(value) => Key::Int(value),
            other => Key::Big(other.as_big().unwrap_or_default()),
        },
        Value::Float(value) => Key::Float(value.to_bits()),
        Value::None => Key::None,
        Value::Undefined(_) => Key::Undefined,
        Value::Tuple(items) | Value::Group(items) => Key::Tuple(items.iter().map(key_of).collect::<Outcome<_>>()?),
        Value::Range(range) => Key::Tuple(vec![Key::Int(range.start), Key::Int(range.stop), Key::Int(range.step)]),
        Value::List(_) | Value::Dict(_) | Value::View(..) => {
            return failed(format!("unhashable type: `{}`", value.type_name()));
        }
        Value::Function(function) => Key::Address(*function as usize),
        Value::Generator(value) => Key::Address(Rc::as_ptr(value).addr()),
        Value::Namespace(value) => Key::Address(Rc::as_ptr(value).addr()),
        Value::Macro(value) => Key::Address(Rc::as_ptr(value).addr()),
        Value::Loop(value) => Key::Address(Rc::as_ptr(value).addr()),
        Value::Cycler(value) => Key::Address(Rc::as_ptr(value).addr()),
        Value::Joiner(value) => Key::Address(Rc::as_ptr(value).addr()),
        Value::Method(value) => Key::Address(Rc::as_ptr(value).addr()),
    })
}

impl Range {
    pub(super) fn len(&self) -> usize {
        let span =
            if self.step > 0 { self.stop.saturating_sub(self.start) } else { self.start.saturating_sub(self.stop) };
        let step = self.step.unsigned_abs().max(1);
        usize::try_from(u64::try_from(span).unwrap_or(0).div_ceil(step)).unwrap_or(usize::MAX)
    }

    pub(super) fn get(&self, index: usize) -> Value {
        let offset = i64::try_from(index).unwrap_or(i64::MAX).saturating_mul(self.step);
        Value::Int(self.start.saturating_add(offset))
    }
}

impl Value {
    /// Whether it holds values of its own.
    fn is_container(&self) -> bool {
        !matches!(
            self,
            Self::Undefined(_)
                | Self::None
                | Self::Bool(_)
                | Self::Int(_)
                | Self::Big(_)
                | Self::Float(_)
                | Self::Str(_)
                | Self::Markup(_)
                | Self::Range(_)
                | Self::Function(_)
        )
    }

    /// Whether it was made around values that hold others.
    pub(super) fn holds_others(&self) -> bool {
        let any = |items: &[Value]| items.iter().any(Self::is_container);
        match self {
            Self::List(items) | Self::Tuple(items) | Self::Group(items) => any(items),
            Self::Dict(dict) => dict.entries.iter().any(|(key, value)| key.is_container() || value.is_container()),
            Self::Generator(generator) => generator.items.borrow().iter().any(Self::is_container),
            Self::Cycler(cycler) => any(&cycler.items),
            Self::Joiner(joiner) => joiner.0.is_container(),
            // A view of a dictionary and a method of a value are one level more than these.
            Self::View(..) | Self::Namespace(_) => true,
            Self::Method(method) => method.0.is_container(),
            _ => false,
        }
    }
}

impl Generator {
    pub(super) fn of(items: impl IntoIterator<Item = Value>) -> Value {
        let items = RefCell::new(items.into_iter().collect());
        Value::Generator(Rc::new(Self { items, failure: RefCell::new(None) }))
    }

    /// A generator of what could be made, and of the failure that ended it.
    pub(super) fn until_failure(items: impl IntoIterator<Item = Outcome<Value>>) -> Value {
        let (mut made, mut failure) = (VecDeque::new(), None);
        for item in items {
            match item {
                Ok(item) => made.push_back(item),
                Err(found) => {
                    failure = Some(found);
                    break;
                }
            }
        }
        Value::Generator(Rc::new(Self { items: RefCell::new(made), failure: RefCell::new(failure) }))
    }

    pub(super) fn next(&self) -> Outcome<Option<Value>> {
        match self.items.borrow_mut().pop_front() {
            Some(item) => Ok(Some(item)),
            None => self.failure.borrow_mut().take().map_or(Ok(None), Err),
        }
    }

    fn rest(&self) -> Outcome<Vec<Value>> {
        let items = self.items.borrow_mut().drain(..).collect();
        self.failure.borrow_mut().take().map_or(Ok(items), Err)
    }
}

impl Value {
    pub(super) fn undefined(reason: impl Into<String>) -> Self {
        Self::Undefined(Rc::new(Undefined { reason: reason.into() }))
    }

    pub(super) fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Str(text.into())
    }

    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::List(Rc::new(items))
    }

    pub(super) fn tuple(items: Vec<Self>) -> Self {
        Self::Tuple(Rc::new(items))
    }

    pub(super) fn count(n: usize) -> Self {
        Self::Int(i64::try_from(n).unwrap_or(i64::MAX))
    }

    /// The text, of a text.
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) | Self::Markup(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined(_))
    }

    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Refuses what is not there; every operation but printing, testing and counting does.
    pub(super) fn defined(&self) -> Outcome<()> {
        match self {
            Self::Undefined(missing) => failed(missing.reason.clone()),
            _ => Ok(()),
        }
    }

    /// Python's name of the type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Undefined(_) => "Undefined",
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::Big(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) => "str",
            Self::Markup(_) => "Markup",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Group(_) => "_GroupTuple",
            Self::Dict(_) => "dict",
            Self::View(View::Keys, _) => "dict_keys",
            Self::View(View::Values, _) => "dict_values",
            Self::View(View::Items, _) => "dict_items",
            Self::Range(_) => "range",
            Self::Generator(_) => "generator",
            Self::Namespace(_) => "Namespace",
            Self::Macro(_) => "Macro",
            Self::Loop(_) => "LoopContext",
            Self::Cycler(_) => "Cycler",
            Self::Joiner(_) => "Joiner",
            Self::Function(_) | Self::Method(_) => "function",
        }
    }

    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Undefined(_) | Self::None => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Str(_)
            | Self::Markup(_)
            | Self::List(_)
            | Self::Tuple(_)
            | Self::Group(_)
            | Self::Dict(_)
            | Self::View(..)
            | Self::Range(_)
            | Self::Loop(_) => self.len().is_some_and(|len| len > 0),
            _ => true,
        }
    }

    /// `len()`, of what has one.
    pub(super) fn len(&self) -> Option<usize> {
        match self {
            Self::Undefined(_) => Some(0),
            Self::Str(text) | Self::Markup(text) => Some(text.chars().count()),
            Self::List(items) | Self::Tuple(items) | Self::Group(items) => Some(items.len()),
            Self::Dict(dict) | Self::View(_, dict) => Some(dict.len()),
            Self::Range(range) => Some(range.len()),
            Self::Loop(state) => Some(state.items.len()),
            _ => None,
        }
    }

    pub(super) fn is_iterable(&self) -> bool {
        match self {
            Self::Undefined(_) | Self::Generator(_) => true,
            _ => self.len().is_some(),
        }
    }

    /// What a loop over it reads; a generator is empty afterwards.
    pub(super) fn iterate(&self, fuel: &Fuel) -> Outcome<Vec<Self>> {
        fuel.values(match self {
            Self::Generator(generator) => generator.items.borrow().len(),
            Self::Str(text) | Self::Markup(text) => text.len(),
            _ => self.len().unwrap_or(0),
        })?;
        Ok(match self {
            Self::Undefined(_) => Vec::new(),
            Self::Str(text) => text.chars().map(|c| Self::text(c.to_string())).collect(),
            Self::Markup(text) => text.chars().map(|c| Self::Markup(c.to_string().into())).collect(),
            Self::List(items) | Self::Tuple(items) | Self::Group(items) => items.to_vec(),
            Self::Dict(dict) | Self::View(View::Keys, dict) => {
                dict.entries().iter().map(|(key, _)| key.clone()).collect()
            }
            Self::View(View::Values, dict) => dict.entries().iter().map(|(_, value)| value.clone()).collect(),
            Self::View(View::Items, dict) => {
                dict.entries().iter().map(|(key, value)| Self::tuple(vec![key.clone(), value.clone()])).collect()
            }
            Self::Range(range) => (0..range.len()).map(|index| range.get(index)).collect(),
            Self::Generator(generator) => generator.rest()?,
            Self::Loop(_) => return failed("a loop over `loop` itself is not supported"),
            other => return failed(format!("`{}` object is not iterable", other.type_name())),
        })
    }

    /// Python's `==`.
    pub(super) fn equals(&self, other: &Self, fuel: &Fuel) -> Outcome<bool> {
        fuel.spend(1)?;
        let all = |left: &[Self], right: &[Self]| -> Outcome<bool> {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (left, right) in left.iter().zip(right) {
                if !left.equals(right, fuel)? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        Ok(match (self, other) {
            (Self::Undefined(_), Self::Undefined(_)) | (Self::None, Self::None) => true,
            (Self::Str(left) | Self::Markup(left), Self::Str(right) | Self::Markup(right)) => left == right,
            (left, right) if left.is_number() && right.is_number() => {
                number::compare(left, right) == Some(Ordering::Equal)
            }
            (Self::List(left), Self::List(right)) => Rc::ptr_eq(left, right) || all(left, right)?,
            (Self::Tuple(left) | Self::Group(left), Self::Tuple(right) | Self::Group(right)) => {
                Rc::ptr_eq(left, right) || all(left, right)?
            }
            (Self::Dict(left), Self::Dict(right)) => {
                if Rc::ptr_eq(left, right) {
                    return Ok(true);
                }
                if left.len() != right.len() {
                    return Ok(false);
                }
                for (key, value) in left.entries() {
                    match right.get(key)? {
                        Some(other) if value.equals(other, fuel)? => {}
                        _ => return Ok(false),
                    }
                }
                true
            }
            (Self::Range(left), Self::Range(right)) => {
                let n = left.len();
                n == right.len() && (n == 0 || left.start == right.start) && (n < 2 || left.step == right.step)
            }
            (Self::View(View::Keys | View::Items, _), Self::View(View::Keys | View::Items, _)) => {
                let (left, right) = (self.iterate(fuel)?, other.iterate(fuel)?);
                left.len() == right.len() && {
                    let mut same = true;
                    for item in &left {
                        same &= other.contains(item, fuel)?;
                    }
                    same
                }
            }
            (Self::Function(left), Self::Function(right)) => left == right,
            (Self::Method(left), Self::Method(right)) => left.1 == right.1 && left.0.is_same(&right.0).unwrap_or(false),
            _ => self.is_same(other).unwrap_or(false),
        })
    }

    /// Python's `is`, where it does not depend on how the interpreter keeps its constants.
    pub(super) fn is_same(&self, other: &Self) -> Option<bool> {
        Some(match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Undefined(left), Self::Undefined(right)) => Rc::ptr_eq(left, right),
            (Self::Bool(left), Self::Bool(right)) => left == right,
            (Self::Int(left), Self::Int(right)) if left != right || (-5..=256).contains(left) => left == right,
            (Self::Str(left), Self::Str(right)) if left != right || Arc::ptr_eq(left, right) || left.is_empty() => {
                left == right
            }
            (Self::Int(_), Self::Int(_))
            | (Self::Big(_), Self::Big(_))
            | (Self::Float(_), Self::Float(_))
            | (Self::Str(_), Self::Str(_))
            | (Self::Method(_), Self::Method(_)) => return None,
            (Self::List(left), Self::List(right)) | (Self::Group(left), Self::Group(right)) => Rc::ptr_eq(left, right),
            (Self::Tuple(left), Self::Tuple(right)) => (left.is_empty() && right.is_empty()) || Rc::ptr_eq(left, right),
            (Self::Dict(left), Self::Dict(right)) => Rc::ptr_eq(left, right),
            (Self::Range(left), Self::Range(right)) => Rc::ptr_eq(left, right),
            (Self::Generator(left), Self::Generator(right)) => Rc::ptr_eq(left, right),
            (Self::Namespace(left), Self::Namespace(right)) => Rc::ptr_eq(left, right),
            (Self::Macro(left), Self::Macro(right)) => Rc::ptr_eq(left, right),
            (Self::Loop(left), Self::Loop(right)) => Rc::ptr_eq(left, right),
            (Self::Cycler(left), Self::Cycler(right)) => Rc::ptr_eq(left, right),
            (Self::Function(left), Self::Function(right)) => left == right,
            _ => false,
        })
    }

    /// Python's order; `None` is neither less, equal nor greater.
    pub(super) fn compare(&self, other: &Self, sign: &str, fuel: &Fuel) -> Outcome<Option<Ordering>> {
        fuel.spend(1)?;
        self.defined()?;
        other.defined()?;
        match (self, other) {
            (Self::Str(left) | Self::Markup(left), Self::Str(right) | Self::Markup(right)) => {
                Ok(Some(left.chars().cmp(right.chars())))
            }
            (left, right) if left.is_number() && right.is_number() => Ok(number::compare(left, right)),
            (Self::List(left), Self::List(right))
            | (Self::Tuple(left) | Self::Group(left), Self::Tuple(right) | Self::Group(right)) => {
                for (left, right) in left.iter().zip(right.iter()) {
                    if !left.equals(right, fuel)? {
                        return left.compare(right, sign, fuel);
                    }
                }
                Ok(Some(left.len().cmp(&right.len())))
            }
            _ => failed(format!(
                "`{sign}` not supported between instances of `{}` and `{}`",
                self.type_name(),
                other.type_name()
            )),
        }
    }

    /// Whether an item is in it.
    pub(super) fn contains(&self, item: &Self, fuel: &Fuel) -> Outcome<bool> {
        match self {
            Self::Str(text) | Self::Markup(text) => match item.as_str() {
                Some(part) => {
                    fuel.length(text.len())?;
                    Ok(text.contains(part))
                }
                None => failed(format!("`in <string>` requires string as left operand, not {}", item.type_name())),
            },
            Self::Dict(dict) | Self::View(View::Keys, dict) => Ok(dict.get(item)?.is_some()),
            Self::Undefined(_) => Ok(false),
            _ if self.is_iterable() => {
                for found in self.iterate(fuel)? {
                    if found.equals(item, fuel)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            _ => failed(format!("argument of type `{}` is not iterable", self.type_name())),
        }
    }
}
