//! Statements, one rendering at a time.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::arguments::Given;
use super::ast::{
    Arguments, CALLER, ExprKind, Filter, For, KWARGS, LOOP, Macro, Name, Scope, Stmt, StmtKind, Target, VARARGS,
};
use super::failure::{Outcome, failed};
use super::frame::Frame;
use super::fuel::Fuel;
use super::knots::Knots;
use super::value::{Dict, Function, Loop, MacroValue, Recursion, Value};
use super::{calls, filters, text};
use crate::tokenize::template_date::TemplateDate;

/// One rendering.
pub(super) struct Vm<'t> {
    pub(super) names: &'t [Arc<str>],
    pub(super) context: HashMap<Arc<str>, Value>,
    pub(super) fuel: Fuel,
    pub(super) date: TemplateDate,
    pub(super) autoescape: Cell<bool>,
    pub(super) root: Rc<Frame>,
    pub(super) knots: Knots,
}

/// How statements went on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Next,
    Break,
    Continue,
}

impl Vm<'_> {
    fn name(&self, name: Name) -> &Arc<str> {
        static NOTHING: std::sync::OnceLock<Arc<str>> = std::sync::OnceLock::new();
        let at = usize::try_from(name).unwrap_or(usize::MAX);
        self.names.get(at).unwrap_or_else(|| NOTHING.get_or_init(|| Arc::from("")))
    }

    // Statements.

    /// Renders statements.
    pub(super) fn run(&self, body: &[Stmt], frame: &Rc<Frame>, out: &mut String) -> Outcome<Flow> {
        for stmt in body {
            self.fuel.spend(1)?;
            let flow = self.statement(&stmt.kind, frame, out).map_err(|failure| failure.at(stmt.line))?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn write(&self, out: &mut String, text: &str) -> Outcome<()> {
        self.fuel.length(text.len())?;
        out.push_str(text);
        Ok(())
    }

    fn run_inside(&self, scope: &Scope, frame: &Rc<Frame>, out: &mut String) -> Outcome<Flow> {
        self.run(&scope.body, &Frame::inside(frame, &scope.hidden), out)
    }

    /// The text of a scope.
    fn captured(&self, scope: &Scope, frame: &Rc<Frame>) -> Outcome<(Value, Flow)> {
        let mut out = String::new();
        let flow = self.run_inside(scope, frame, &mut out)?;
        Ok((self.made(out), flow))
    }

    /// Text that the template made itself, which needs no escaping.
    pub(super) fn made(&self, text: String) -> Value {
        if self.autoescape.get() { Value::Markup(text.into()) } else { Value::Str(text.into()) }
    }

    fn statement(&self, stmt: &StmtKind, frame: &Rc<Frame>, out: &mut String) -> Outcome<Flow> {
        match stmt {
            StmtKind::Data(text) => self.write(out, text)?,
            StmtKind::Print(value) => {
                let value = self.eval(value, frame)?;
                let text = self.printed(&value)?;
                self.write(out, &text)?;
            }
            StmtKind::For(each) => {
                let items = self.eval(&each.iter, frame)?.iterate(&self.fuel)?;
                if each.recursive {
                    let text = self.run_recursively(each, items, frame, 0)?;
                    self.write(out, &text)?;
                    return Ok(Flow::Next);
                }
                return self.run_loop(each, items, frame, 0, out);
            }
            StmtKind::If(branches, otherwise) => {
                for (test, body) in branches {
                    if self.eval(test, frame)?.is_true() {
                        return self.run(body, frame, out);
                    }
                }
                return self.run(otherwise, frame, out);
            }
            StmtKind::Set(target, value) => {
                self.check_namespaces(target, frame)?;
                let value = self.eval(value, frame)?;
                self.assign(target, value, frame)?;
            }
            StmtKind::SetBlock { target, filters, scope } => {
                let inner = Frame::inside(frame, &scope.hidden);
                let mut text = String::new();
                let flow = self.run(&scope.body, &inner, &mut text)?;
                if flow != Flow::Next {
                    return Ok(flow);
                }
                let value = self.filtered(Value::Str(text.into()), filters, &inner)?;
                let value = match value {
                    Value::Str(text) if self.autoescape.get() => Value::Markup(text),
                    other => other,
                };
                self.check_namespaces(target, frame)?;
                self.assign(target, value, frame)?;
            }
            StmtKind::With { values, scope } => {
                let inner = Frame::inside(frame, &scope.hidden);
                for (target, value) in values {
                    let value = self.eval(value, frame)?;
                    self.assign(target, value, &inner)?;
                }
                return self.run(&scope.body, &inner, out);
            }
            StmtKind::Macro(node) => {
                let value = self.macro_value(node, frame)?;
                if let Some(name) = node.number {
                    frame.set(name, value);
                }
            }
            StmtKind::Call { call, body } => {
                let caller = self.macro_value(body, frame)?;
                let ExprKind::Call(callee, arguments) = &call.kind else { return failed("expected a call") };
                let callee = self.eval(callee, frame)?;
                let mut given = self.given(arguments, frame)?;
                given.named.push(("caller".into(), caller));
                let made = calls::call(self, &callee, given)?;
                self.write_text(out, &made)?;
            }
            StmtKind::FilterBlock { filters, scope } => {
                let inner = Frame::inside(frame, &scope.hidden);
                let mut text = String::new();
                let flow = self.run(&scope.body, &inner, &mut text)?;
                if flow != Flow::Next {
                    return Ok(flow);
                }
                let made = self.filtered(Value::Str(text.into()), filters, &inner)?;
                self.write_text(out, &made)?;
            }
            StmtKind::Autoescape(on, scope) => {
                let on = self.eval(on, frame)?.is_true();
                let before = self.autoescape.replace(on);
                let flow = self.run_inside(scope, frame, out);
                self.autoescape.set(before);
                return flow;
            }
            StmtKind::Generation(scope) => {
                let (made, _) = self.captured(scope, frame)?;
                self.write_text(out, &made)?;
            }
            StmtKind::Block { scoped, scope } => {
                let outer = if *scoped { frame } else { &self.root };
                self.fuel.deeper(|| self.run_inside(scope, outer, out))?;
            }
            StmtKind::Break => return Ok(Flow::Break),
            StmtKind::Continue => return Ok(Flow::Continue),
            StmtKind::NoLoader(what) => {
                return failed(format!("`{what}`: a chat template cannot load other templates"));
            }
        }
        Ok(Flow::Next)
    }

    /// What a print statement writes of a value.
    fn printed(&self, value: &Value) -> Outcome<Arc<str>> {
        let text = value.to_text(&self.fuel)?;
        if !self.autoescape.get() || matches!(value, Value::Markup(_)) {
            return Ok(text);
        }
        Ok(text::escape(&text).into())
    }

    /// Writes what a block made, which has to be text.
    fn write_text(&self, out: &mut String, made: &Value) -> Outcome<()> {
        match made.as_str() {
            Some(text) => self.write(out, text),
            None => failed(format!("expected a string, found `{}`", made.type_name())),
        }
    }

    fn filtered(&self, value: Value, chain: &[Filter], frame: &Rc<Frame>) -> Outcome<Value> {
        chain.iter().try_fold(value, |value, filter| {
            let given = self.given(&filter.arguments, frame)?;
            filters::call(self, &filter.name, value, given).map_err(|failure| failure.at(filter.line))
        })
    }

    fn run_loop(
        &self,
        each: &Arc<For>,
        mut items: Vec<Value>,
        frame: &Rc<Frame>,
        depth0: usize,
        out: &mut String,
    ) -> Outcome<Flow> {
        let passes = |item: &Value| -> Outcome<bool> {
            let Some(test) = &each.test else { return Ok(true) };
            let inner = Frame::inside(frame, &[]);
            self.assign(&each.target, item.clone(), &inner)?;
            Ok(self.eval(test, &inner)?.is_true())
        };
        if each.reads_loop && each.test.is_some() {
            let mut passed = Vec::new();
            for item in items {
                if passes(&item)? {
                    passed.push(item);
                }
            }
            items = passed;
        }
        let recursion = each.recursive.then(|| Recursion { node: each.clone(), frame: frame.clone() });
        if recursion.is_some() {
            self.fuel.nest()?;
            self.knots.scope(frame, &self.fuel)?;
        }
        let state = each.reads_loop.then(|| {
            let (index, changed) = (Cell::new(0), RefCell::new(None));
            Rc::new(Loop { items: items.clone(), index, depth0, changed, recursion })
        });
        if let Some(state) = &state {
            self.knots.state(state, &self.fuel)?;
        }
        // A round that jumps does not count: the `else` of a loop all of whose rounds do so is rendered.
        let mut any = false;
        for item in items {
            self.fuel.spend(1)?;
            if state.is_none() && !passes(&item)? {
                continue;
            }
            let inner = Frame::inside(frame, &each.body.hidden);
            self.assign(&each.target, item, &inner)?;
            if let Some(state) = &state {
                state.index.set(state.index.get() + 1);
                inner.set(LOOP, Value::Loop(state.clone()));
            }
            match self.run(&each.body.body, &inner, out)? {
                Flow::Next => any = true,
                Flow::Continue => {}
                Flow::Break => break,
            }
        }
        if any || each.otherwise.body.is_empty() {
            return Ok(Flow::Next);
        }
        self.run_inside(&each.otherwise, frame, out)
    }

    /// A loop that its body may call.
    pub(super) fn run_recursively(
        &self,
        each: &Arc<For>,
        items: Vec<Value>,
        frame: &Rc<Frame>,
        depth0: usize,
    ) -> Outcome<String> {
        let mut out = String::new();
        self.fuel.deeper(|| self.run_loop(each, items, frame, depth0, &mut out))?;
        Ok(out)
    }

    fn check_namespaces(&self, target: &Target, frame: &Rc<Frame>) -> Outcome<()> {
        match target {
            Target::Name(_) => Ok(()),
            Target::Tuple(targets) => targets.iter().try_for_each(|target| self.check_namespaces(target, frame)),
            Target::Namespace(name, _) => match self.lookup(*name, frame) {
                Value::Namespace(_) => Ok(()),
                _ => failed("cannot assign attribute on non-namespace object"),
            },
        }
    }

    fn assign(&self, target: &Target, value: Value, frame: &Rc<Frame>) -> Outcome<()> {
        match target {
            Target::Name(name) => frame.set(*name, value),
            Target::Tuple(targets) => {
                let items = value.iterate(&self.fuel)?;
                if items.len() != targets.len() {
                    return failed(format!("expected {} values to unpack, found {}", targets.len(), items.len()));
                }
                for (target, item) in targets.iter().zip(items) {
                    self.assign(target, item, frame)?;
                }
            }
            Target::Namespace(name, attribute) => {
                let Value::Namespace(values) = self.lookup(*name, frame) else {
                    return failed("cannot assign attribute on non-namespace object");
                };
                calls::check_namespace_name(attribute)?;
                values.borrow_mut().insert_name(attribute.clone(), value);
            }
        }
        Ok(())
    }

    /// The value of a name: of the scopes, of the row, of Jinja2.
    pub(super) fn lookup(&self, name: Name, frame: &Frame) -> Value {
        match frame.get(name) {
            Some(Some(value)) => return value,
            Some(None) => {}
            None => {
                let name = self.name(name);
                if let Some(value) = self.context.get(name) {
                    return value.clone();
                }
                if let Some(function) = calls::global(name) {
                    return Value::Function(function);
                }
            }
        }
        Value::undefined(format!("`{}` is undefined", self.name(name)))
    }

    pub(super) fn given(&self, arguments: &Arguments, frame: &Rc<Frame>) -> Outcome<Given> {
        let mut given = Given { positional: self.all(&arguments.positional, frame)?, named: Vec::new() };
        for (name, value) in &arguments.named {
            given.named.push((name.clone(), self.eval(value, frame)?));
        }
        if let Some(more) = &arguments.more {
            given.positional.extend(self.eval(more, frame)?.iterate(&self.fuel)?);
        }
        if let Some(more) = &arguments.more_named {
            let Value::Dict(dict) = self.eval(more, frame)? else { return failed("`**` expects a mapping") };
            for (name, value) in dict.entries() {
                let Value::Str(name) = name else { return failed("keywords must be strings") };
                if given.named.iter().any(|(known, _)| known == name) {
                    return failed(format!("got multiple values for keyword argument `{name}`"));
                }
                given.named.push((name.clone(), value.clone()));
            }
        }
        Ok(given)
    }

    /// A macro, which sees the scope it was met in.
    fn macro_value(&self, node: &Arc<Macro>, frame: &Rc<Frame>) -> Outcome<Value> {
        self.fuel.nest()?;
        self.knots.scope(frame, &self.fuel)?;
        Ok(Value::Macro(Rc::new(MacroValue { node: node.clone(), frame: frame.clone() })))
    }

    /// Calls a macro, whose arguments go where `jinja2.runtime.Macro` puts them.
    pub(super) fn call_macro(&self, value: &MacroValue, mut given: Given) -> Outcome<Value> {
        let node: &Macro = &value.node;
        let name = node.name.as_deref().unwrap_or("caller");
        let frame = Frame::inside(&value.frame, &node.scope.hidden);
        let n_parameters = node.parameters.len();
        let n_given = given.positional.len().min(n_parameters);
        let varargs = given.positional.split_off(n_given);
        let mut found_caller = n_given == n_parameters && node.parameters.iter().any(|(name, _)| *name == CALLER);
        let mut values: Vec<Option<Value>> = given.positional.drain(..).map(Some).collect();
        for (parameter, word) in node.parameters.iter().skip(n_given) {
            found_caller |= *parameter == CALLER;
            values.push(given.take_named(word));
        }
        if node.reads_caller && !found_caller {
            let caller = given.take_named("caller").filter(|caller| !caller.is_none());
            frame.set(CALLER, caller.unwrap_or_else(|| Value::undefined("no caller is defined")));
        }
        if node.reads_kwargs {
            let mut named = Dict::default();
            for (name, value) in given.named.drain(..) {
                named.insert_name(name, value);
            }
            frame.set(KWARGS, Value::Dict(Rc::new(named)));
        } else if let Some((word, _)) = given.named.first() {
            return failed(format!("macro `{name}` takes no keyword argument `{word}`"));
        }
        if node.reads_varargs {
            frame.set(VARARGS, Value::tuple(varargs));
        } else if !varargs.is_empty() {
            return failed(format!("macro `{name}` takes not more than {n_parameters} arguments"));
        }
        let first_default = n_parameters - node.defaults.len();
        for (at, ((parameter, word), value)) in node.parameters.iter().zip(values).enumerate() {
            let value = match value {
                Some(value) => value,
                None => match at.checked_sub(first_default).and_then(|at| node.defaults.get(at)) {
                    Some(default) => self.eval(default, &frame)?,
                    None => Value::undefined(format!("parameter `{word}` was not provided")),
                },
            };
            frame.set(*parameter, value);
        }
        let mut out = String::new();
        self.fuel.deeper(|| self.run(&node.scope.body, &frame, &mut out))?;
        Ok(self.made(out))
    }
}

/// Names of the functions of every template.
pub(super) const GLOBALS: [(&str, Function); 9] = [
    ("self", Function::Blocks),
    ("range", Function::Range),
    ("dict", Function::Dict),
    ("namespace", Function::Namespace),
    ("cycler", Function::Cycler),
    ("joiner", Function::Joiner),
    ("lipsum", Function::Lipsum),
    ("raise_exception", Function::RaiseException),
    ("strftime_now", Function::StrftimeNow),
];
