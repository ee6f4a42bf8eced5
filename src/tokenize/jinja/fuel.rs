//! What one rendering may spend.

use std::cell::Cell;

use super::failure::{Cause, Failure, Outcome};

/// Work and memory that are left to a rendering.
#[derive(Debug)]
pub(super) struct Fuel {
    steps: Cell<u64>,
    bytes: Cell<u64>,
    /// Macros, blocks and values that one is in.
    depth: Cell<usize>,
    /// Values that hold values which hold others.
    nested: Cell<usize>,
}

/// Bytes that count as a step: they are copied, compared or searched.
const BYTES_PER_STEP: u64 = 64;

/// Macros in macros. Python gives up on about as many, with its own stack.
const MAX_DEPTH: usize = 200;

/// Values made around others, for one rendering, however long its conversation is: no value is deeper than this, and
/// whoever prints, compares or drops the deepest has stack for it.
const MAX_NESTED: usize = 400_000;

impl Fuel {
    pub(super) fn new(steps: u64, bytes: u64) -> Self {
        Self { steps: Cell::new(steps), bytes: Cell::new(bytes), depth: Cell::new(0), nested: Cell::new(MAX_NESTED) }
    }

    /// Counts a value that was made around others.
    pub(super) fn nest(&self) -> Outcome<()> {
        match self.nested.get().checked_sub(1) {
            Some(left) => {
                self.nested.set(left);
                Ok(())
            }
            None => Err(Failure::of(Cause::OutOfFuel, "out of fuel: it makes values in values without an end")),
        }
    }

    /// Counts steps of work.
    pub(super) fn spend(&self, steps: u64) -> Outcome<()> {
        take(&self.steps, steps)
    }

    /// Counts bytes that are about to be taken, and the work of filling them.
    pub(super) fn bytes(&self, bytes: u64) -> Outcome<()> {
        take(&self.bytes, bytes)?;
        take(&self.steps, 1 + bytes / BYTES_PER_STEP)
    }

    /// Counts a text or list that is about to be made.
    pub(super) fn length(&self, length: usize) -> Outcome<()> {
        self.bytes(u64::try_from(length).unwrap_or(u64::MAX))
    }

    /// Counts work over so many values, and the list they make.
    pub(super) fn values(&self, n_values: usize) -> Outcome<()> {
        let n_values = u64::try_from(n_values).unwrap_or(u64::MAX);
        self.bytes(n_values.saturating_mul(16))?;
        self.spend(n_values / 4)
    }

    /// Runs something one level further in.
    pub(super) fn deeper<T>(&self, run: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        let depth = self.depth.get();
        if depth >= MAX_DEPTH {
            return Err(Failure::of(Cause::Failed, "recursion without an end: macros are nested too deeply"));
        }
        self.depth.set(depth + 1);
        let result = run();
        self.depth.set(depth);
        result
    }
}

fn take(left: &Cell<u64>, amount: u64) -> Outcome<()> {
    let Some(rest) = left.get().checked_sub(amount) else {
        return Err(Failure::of(Cause::OutOfFuel, "out of fuel: it does not end, or makes very much of little"));
    };
    left.set(rest);
    Ok(())
}
