//! Expressions, one rendering at a time.

use std::rc::Rc;

use super::ast::{Comparison, Const, Expr, ExprKind, Operator};
use super::failure::{Outcome, failed};
use super::frame::Frame;
use super::value::{Dict, Value};
use super::vm::Vm;
use super::{access, calls, filters, number, printf, tests_of_values, text};

/// Whether an expression may make a value around another one: a name or an item is there already.
fn makes_values(kind: &ExprKind) -> bool {
    matches!(
        kind,
        ExprKind::List(_)
            | ExprKind::Tuple(_)
            | ExprKind::Dict(_)
            | ExprKind::Attribute(..)
            | ExprKind::Call(..)
            | ExprKind::Filter(..)
    )
}

impl Vm<'_> {
    /// The value of an expression.
    pub(super) fn eval(&self, expr: &Expr, frame: &Rc<Frame>) -> Outcome<Value> {
        self.fuel.spend(1)?;
        let value = self.value_of(&expr.kind, frame).and_then(|value| {
            if makes_values(&expr.kind) && value.holds_others() {
                self.fuel.nest()?;
            }
            Ok(value)
        });
        value.map_err(|failure| failure.at(expr.line))
    }

    /// The values of expressions.
    pub(super) fn all(&self, items: &[Expr], frame: &Rc<Frame>) -> Outcome<Vec<Value>> {
        items.iter().map(|item| self.eval(item, frame)).collect()
    }

    fn value_of(&self, kind: &ExprKind, frame: &Rc<Frame>) -> Outcome<Value> {
        Ok(match kind {
            ExprKind::Const(value) => match value {
                Const::None => Value::None,
                Const::Bool(value) => Value::Bool(*value),
                Const::Int(value) => Value::Int(*value),
                Const::Big(value) => Value::Big(Rc::new(value.clone())),
                Const::Float(value) => Value::Float(*value),
                Const::Str(value) => Value::Str(value.clone()),
            },
            ExprKind::Name(name) => self.lookup(*name, frame),
            ExprKind::List(items) => Value::list(self.all(items, frame)?),
            ExprKind::Tuple(items) => Value::tuple(self.all(items, frame)?),
            ExprKind::Dict(items) => {
                let mut dict = Dict::default();
                for (key, value) in items {
                    let key = self.eval(key, frame)?;
                    dict.insert(key, self.eval(value, frame)?)?;
                }
                Value::Dict(Rc::new(dict))
            }
            ExprKind::Attribute(inner, name) => access::attribute(&self.eval(inner, frame)?, name)?,
            ExprKind::Item(inner, key) => {
                let inner = self.eval(inner, frame)?;
                if let ExprKind::Slice(parts) = &key.kind {
                    let mut bounds = [None, None, None];
                    for (bound, part) in bounds.iter_mut().zip(parts) {
                        *bound = part.as_ref().map(|part| self.eval(part, frame)).transpose()?;
                    }
                    let sliced = access::slice(&inner, bounds, &self.fuel);
                    // Jinja2 works out constants when it compiles, and there what cannot be sliced is undefined.
                    match sliced {
                        Err(failure) if failure.is_of_type() && is_constant(kind) => {
                            Value::undefined(failure.reason().to_owned())
                        }
                        sliced => sliced?,
                    }
                } else {
                    access::item(&inner, &self.eval(key, frame)?, &self.fuel)?
                }
            }
            ExprKind::Slice(_) => return failed("syntax error: a slice among several subscripts"),
            ExprKind::Call(callee, arguments) => {
                let callee = self.eval(callee, frame)?;
                let given = self.given(arguments, frame)?;
                calls::call(self, &callee, given)?
            }
            ExprKind::Filter(value, filter) => {
                let value = self.eval(value, frame)?;
                let given = self.given(&filter.arguments, frame)?;
                filters::call(self, &filter.name, value, given)?
            }
            ExprKind::Test(value, test) => {
                let value = self.eval(value, frame)?;
                let given = self.given(&test.arguments, frame)?;
                tests_of_values::call(self, &test.name, &value, given)?
            }
            ExprKind::Not(inner) => Value::Bool(!self.eval(inner, frame)?.is_true()),
            ExprKind::Negative(inner) => {
                let value = self.eval(inner, frame)?;
                match &value {
                    Value::Float(float) => Value::Float(-float),
                    _ => match value.as_big() {
                        Some(whole) => Value::integer(-whole),
                        None => return no_operand("-", &value),
                    },
                }
            }
            ExprKind::Positive(inner) => {
                let value = self.eval(inner, frame)?;
                match value {
                    Value::Float(_) => value,
                    _ => match value.as_big() {
                        Some(whole) => Value::integer(whole),
                        None => return no_operand("+", &value),
                    },
                }
            }
            ExprKind::And(left, right) => {
                let left = self.eval(left, frame)?;
                if left.is_true() { self.eval(right, frame)? } else { left }
            }
            ExprKind::Or(left, right) => {
                let left = self.eval(left, frame)?;
                if left.is_true() { left } else { self.eval(right, frame)? }
            }
            ExprKind::Binary(operator, left, right) => {
                let left = self.eval(left, frame)?;
                let right = self.eval(right, frame)?;
                self.binary(*operator, &left, &right)?
            }
            ExprKind::Concat(parts) => {
                let is_constant = is_constant(kind);
                match self.concat(&self.all(parts, frame)?)? {
                    // Constants are joined when a template is compiled, as the strings they are.
                    Value::Markup(_) if is_constant => {
                        let texts = self.all(parts, frame)?;
                        let texts: Vec<_> =
                            texts.iter().map(|part| part.to_text(&self.fuel)).collect::<Outcome<_>>()?;
                        Value::text(texts.concat())
                    }
                    joined => joined,
                }
            }
            ExprKind::Compare(first, rest) => {
                let mut left = self.eval(first, frame)?;
                for (comparison, operand) in rest {
                    let right = self.eval(operand, frame)?;
                    if !self.compare(*comparison, &left, &right)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Value::Bool(true)
            }
            ExprKind::Conditional { test, then, otherwise } => {
                if self.eval(test, frame)?.is_true() {
                    self.eval(then, frame)?
                } else if let Some(otherwise) = otherwise {
                    self.eval(otherwise, frame)?
                } else {
                    Value::undefined("the inline if-expression evaluated to false and no else section was defined")
                }
            }
        })
    }

    fn concat(&self, parts: &[Value]) -> Outcome<Value> {
        let as_markup = self.autoescape.get() && parts.iter().any(|part| matches!(part, Value::Markup(_)));
        let mut out = String::new();
        for part in parts {
            let text = part.to_text(&self.fuel)?;
            if as_markup && !matches!(part, Value::Markup(_)) {
                out.push_str(&text::escape(&text));
            } else {
                out.push_str(&text);
            }
        }
        self.fuel.length(out.len())?;
        Ok(if as_markup { Value::Markup(out.into()) } else { Value::Str(out.into()) })
    }

    /// Whether a comparison holds.
    pub(super) fn compare(&self, comparison: Comparison, left: &Value, right: &Value) -> Outcome<bool> {
        let order = |sign: &str| left.compare(right, sign, &self.fuel);
        Ok(match comparison {
            Comparison::Eq => left.equals(right, &self.fuel)?,
            Comparison::Ne => !left.equals(right, &self.fuel)?,
            Comparison::Lt => order("<")?.is_some_and(std::cmp::Ordering::is_lt),
            Comparison::Le => order("<=")?.is_some_and(std::cmp::Ordering::is_le),
            Comparison::Gt => order(">")?.is_some_and(std::cmp::Ordering::is_gt),
            Comparison::Ge => order(">=")?.is_some_and(std::cmp::Ordering::is_ge),
            Comparison::In => right.contains(left, &self.fuel)?,
            Comparison::NotIn => !right.contains(left, &self.fuel)?,
        })
    }

    /// `left operator right`.
    pub(super) fn binary(&self, operator: Operator, left: &Value, right: &Value) -> Outcome<Value> {
        if operator == Operator::Mod
            && let Some(format) = left.as_str()
        {
            return Ok(access::same_kind(left, printf::format(format, right, &self.fuel)?));
        }
        left.defined()?;
        right.defined()?;
        match (operator, left, right) {
            (_, left, right) if left.is_number() && right.is_number() => {
                number::operate(operator, left, right, &self.fuel)
            }
            (Operator::Add, Value::Str(a), Value::Str(b)) => {
                self.fuel.length(a.len() + b.len())?;
                Ok(Value::text([&**a, &**b].concat()))
            }
            (Operator::Add, Value::Str(_) | Value::Markup(_), Value::Str(_) | Value::Markup(_)) => {
                let escaped = |value: &Value| match value {
                    Value::Str(text) => text::escape(text),
                    other => other.as_str().unwrap_or_default().to_owned(),
                };
                Ok(Value::Markup((escaped(left) + &escaped(right)).into()))
            }
            (Operator::Add, Value::List(a), Value::List(b)) => {
                self.fuel.values(a.len() + b.len())?;
                Ok(Value::list([&***a, &***b].concat()))
            }
            (Operator::Add, Value::Tuple(a) | Value::Group(a), Value::Tuple(b) | Value::Group(b)) => {
                self.fuel.values(a.len() + b.len())?;
                Ok(Value::tuple([&***a, &***b].concat()))
            }
            (Operator::Mul, many, times) if times.as_index().is_some() && is_sequence(many) => self.repeat(many, times),
            (Operator::Mul, times, many) if times.as_index().is_some() && is_sequence(many) => self.repeat(many, times),
            _ => {
                let sign = match operator {
                    Operator::Add => "+",
                    Operator::Sub => "-",
                    Operator::Mul => "*",
                    Operator::Div => "/",
                    Operator::FloorDiv => "//",
                    Operator::Mod => "%",
                    Operator::Pow => "**",
                };
                failed(format!(
                    "unsupported operand types for {sign}: `{}` and `{}`",
                    left.type_name(),
                    right.type_name()
                ))
            }
        }
    }

    fn repeat(&self, many: &Value, times: &Value) -> Outcome<Value> {
        let times = usize::try_from(times.as_index().unwrap_or(0).max(0)).unwrap_or(usize::MAX);
        if let Some(text) = many.as_str() {
            self.fuel.length(text.len().saturating_mul(times))?;
            return Ok(access::same_kind(many, text.repeat(times)));
        }
        let items = many.iterate(&self.fuel)?;
        self.fuel.values(items.len().saturating_mul(times))?;
        // Nothing as often as that would be counted to the end.
        let times = if items.is_empty() { 0 } else { times };
        let items: Vec<Value> = std::iter::repeat_n(items, times).flatten().collect();
        Ok(if matches!(many, Value::List(_)) { Value::list(items) } else { Value::tuple(items) })
    }
}

fn no_operand<T>(operator: &str, value: &Value) -> Outcome<T> {
    value.defined()?;
    failed(format!("bad operand type for unary {operator}: `{}`", value.type_name()))
}

/// Whether an expression is made of literals alone.
fn is_constant(kind: &ExprKind) -> bool {
    let all = |items: &[Expr]| items.iter().all(|item| is_constant(&item.kind));
    match kind {
        ExprKind::Const(_) => true,
        ExprKind::List(items) | ExprKind::Tuple(items) | ExprKind::Concat(items) => all(items),
        ExprKind::Dict(items) => items.iter().all(|(key, value)| is_constant(&key.kind) && is_constant(&value.kind)),
        ExprKind::Slice(parts) => parts.iter().flatten().all(|part| is_constant(&part.kind)),
        ExprKind::Not(inner)
        | ExprKind::Negative(inner)
        | ExprKind::Positive(inner)
        | ExprKind::Attribute(inner, _) => is_constant(&inner.kind),
        ExprKind::Filter(value, filter) => {
            let arguments = &filter.arguments;
            let is_plain = arguments.named.is_empty() && arguments.more.is_none() && arguments.more_named.is_none();
            is_constant(&value.kind) && is_plain && all(&arguments.positional)
        }
        ExprKind::Item(left, right) | ExprKind::Binary(_, left, right) => {
            is_constant(&left.kind) && is_constant(&right.kind)
        }
        _ => false,
    }
}

fn is_sequence(value: &Value) -> bool {
    matches!(value, Value::Str(_) | Value::Markup(_) | Value::List(_) | Value::Tuple(_) | Value::Group(_))
}
