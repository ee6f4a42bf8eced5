//! Variables of a scope.

use std::cell::RefCell;
use std::rc::Rc;

use super::ast::Name;
use super::value::Value;

/// A scope while it is rendered. A name without a value is hidden: it is not looked up further out.
#[derive(Debug, Default)]
pub(super) struct Frame {
    variables: RefCell<Vec<(Name, Option<Value>)>>,
    outer: Option<Rc<Frame>>,
}

impl Frame {
    pub(super) fn root(hidden: &[Name]) -> Rc<Self> {
        Rc::new(Self { variables: RefCell::new(hidden.iter().map(|name| (*name, None)).collect()), outer: None })
    }

    pub(super) fn inside(outer: &Rc<Self>, hidden: &[Name]) -> Rc<Self> {
        let variables = RefCell::new(hidden.iter().map(|name| (*name, None)).collect());
        Rc::new(Self { variables, outer: Some(outer.clone()) })
    }

    pub(super) fn set(&self, name: Name, value: Value) {
        let mut variables = self.variables.borrow_mut();
        match variables.iter_mut().find(|(known, _)| *known == name) {
            Some(variable) => variable.1 = Some(value),
            None => variables.push((name, Some(value))),
        }
    }

    /// Forgets the values of this scope and those around it.
    pub(super) fn clear(&self) {
        let mut frame = Some(self);
        while let Some(this) = frame {
            // Dropped when nothing is borrowed: a value may lead back here.
            drop(this.variables.take());
            frame = this.outer.as_deref();
        }
    }

    /// The value of a name; an inner `None` where it is hidden, `None` where no scope knows it.
    pub(super) fn get(&self, name: Name) -> Option<Option<Value>> {
        let mut frame = self;
        loop {
            if let Some((_, value)) = frame.variables.borrow().iter().find(|(known, _)| *known == name) {
                return Some(value.clone());
            }
            frame = frame.outer.as_deref()?;
        }
    }
}
