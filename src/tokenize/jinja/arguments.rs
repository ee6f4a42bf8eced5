//! Arguments of a call, and their places in a signature.

use std::sync::Arc;

use super::failure::{Outcome, failed};
use super::value::Value;

/// Values given to a function, filter, test or method.
#[derive(Debug, Clone, Default)]
pub(super) struct Given {
    pub(super) positional: Vec<Value>,
    pub(super) named: Vec<(Arc<str>, Value)>,
}

/// Values by parameter.
pub(super) struct Bound {
    what: String,
    values: Vec<Option<Value>>,
}

impl Given {
    pub(super) fn take_named(&mut self, name: &str) -> Option<Value> {
        let at = self.named.iter().position(|(known, _)| &**known == name)?;
        Some(self.named.remove(at).1)
    }

    /// The values by parameter, `required` of them needed; a parameter without a name cannot be given by one.
    pub(super) fn bind(self, what: &str, parameters: &[&str], required: usize) -> Outcome<Bound> {
        let mut values: Vec<Option<Value>> = vec![None; parameters.len()];
        if self.positional.len() > parameters.len() {
            return failed(format!(
                "`{what}` takes at most {} arguments, found {}",
                parameters.len(),
                self.positional.len()
            ));
        }
        for (slot, value) in values.iter_mut().zip(self.positional) {
            *slot = Some(value);
        }
        for (name, value) in self.named {
            let at = parameters.iter().position(|parameter| *parameter == &*name);
            match at.and_then(|at| values.get_mut(at)) {
                Some(slot @ None) => *slot = Some(value),
                Some(Some(_)) => return failed(format!("`{what}` got multiple values for argument `{name}`")),
                None => return failed(format!("`{what}` got an unexpected keyword argument `{name}`")),
            }
        }
        if values.iter().take(required).any(Option::is_none) {
            return failed(format!("`{what}` needs at least {required} arguments"));
        }
        Ok(Bound { what: what.to_owned(), values })
    }
}

impl Bound {
    pub(super) fn value(&mut self, at: usize) -> Option<Value> {
        self.values.get_mut(at).and_then(Option::take)
    }

    pub(super) fn is_true(&mut self, at: usize) -> bool {
        self.value(at).is_some_and(|value| value.is_true())
    }

    /// A value that is not `none`.
    pub(super) fn some(&mut self, at: usize) -> Option<Value> {
        self.value(at).filter(|value| !value.is_none())
    }

    pub(super) fn index(&mut self, at: usize) -> Outcome<Option<i64>> {
        let Some(value) = self.value(at) else { return Ok(None) };
        match value.as_index() {
            Some(index) => Ok(Some(index)),
            None => self.wrong("an integer", &value),
        }
    }

    pub(super) fn text(&mut self, at: usize) -> Outcome<Option<Arc<str>>> {
        match self.value(at) {
            None => Ok(None),
            Some(Value::Str(text) | Value::Markup(text)) => Ok(Some(text)),
            Some(value) => self.wrong("a string", &value),
        }
    }

    fn wrong<T>(&self, expected: &str, found: &Value) -> Outcome<T> {
        found.defined()?;
        failed(format!("`{}` expected {expected}, found `{}`", self.what, found.type_name()))
    }
}
