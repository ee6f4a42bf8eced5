//! What may hold itself, and is taken apart when a rendering ends: a namespace in itself, a macro in the scope it was met
//! in, a loop that remembers itself. Nobody else would ever free them.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use super::failure::Outcome;
use super::frame::Frame;
use super::fuel::Fuel;
use super::value::{Dict, Loop};

/// Bytes of one that is remembered, with what stays of it when it is dropped before.
const BYTES: u64 = 64;

/// Those of a rendering.
#[derive(Debug, Default)]
pub(super) struct Knots(RefCell<Vec<Knot>>);

#[derive(Debug)]
enum Knot {
    Scope(Weak<Frame>),
    Namespace(Weak<RefCell<Dict>>),
    Loop(Weak<Loop>),
}

impl Knots {
    /// A scope that a value holds.
    pub(super) fn scope(&self, frame: &Rc<Frame>, fuel: &Fuel) -> Outcome<()> {
        self.add(Knot::Scope(Rc::downgrade(frame)), fuel)
    }

    /// A namespace.
    pub(super) fn namespace(&self, values: &Rc<RefCell<Dict>>, fuel: &Fuel) -> Outcome<()> {
        self.add(Knot::Namespace(Rc::downgrade(values)), fuel)
    }

    /// A loop.
    pub(super) fn state(&self, state: &Rc<Loop>, fuel: &Fuel) -> Outcome<()> {
        self.add(Knot::Loop(Rc::downgrade(state)), fuel)
    }

    fn add(&self, knot: Knot, fuel: &Fuel) -> Outcome<()> {
        fuel.bytes(BYTES)?;
        self.0.borrow_mut().push(knot);
        Ok(())
    }

    /// Empties all that can hold itself.
    pub(super) fn untie(&self) {
        for knot in self.0.borrow().iter() {
            match knot {
                Knot::Scope(frame) => drop(frame.upgrade().map(|frame| frame.clear())),
                Knot::Namespace(values) => drop(values.upgrade().map(|values| values.take())),
                Knot::Loop(state) => drop(state.upgrade().map(|state| state.changed.take())),
            }
        }
    }

    /// How many are still there.
    #[cfg(test)]
    pub(super) fn n_alive(&self) -> usize {
        let is_alive = |knot: &&Knot| match knot {
            Knot::Scope(frame) => frame.strong_count() > 0,
            Knot::Namespace(values) => values.strong_count() > 0,
            Knot::Loop(state) => state.strong_count() > 0,
        };
        self.0.borrow().iter().filter(is_alive).count()
    }
}
