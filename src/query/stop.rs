//! Whether anybody still waits for a statement, for functions that compute for long within one batch.
//!
//! The engine stops a query between two batches. A function that scores a whole batch asks in between, through the
//! options of the session that planned it: they are all a function is given beside its arguments.

use std::any::Any;

use datafusion::common::config::{ConfigEntry, ConfigExtension, ExtensionOptions};
use datafusion::common::config_err;
use datafusion::error::DataFusionError;

use crate::interrupt::Interrupt;

/// Whether anybody still waits for a statement. Clones share the answer.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// The wish of the user.
    interrupt: Interrupt,
    /// That the rows of the statement were dropped, all read or not.
    dropped: Interrupt,
}

impl Stop {
    pub(super) fn new(interrupt: &Interrupt) -> Self {
        Self { interrupt: interrupt.clone(), dropped: Interrupt::default() }
    }

    /// Whether to stop.
    pub fn is_asked(&self) -> bool {
        self.interrupt.is_set() || self.dropped.is_set()
    }

    /// Says that nobody waits any more.
    pub(super) fn ask(&self) {
        self.dropped.set();
    }
}

impl ConfigExtension for Stop {
    const PREFIX: &'static str = "piref";
}

impl ExtensionOptions for Stop {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, _: &str) -> Result<(), DataFusionError> {
        config_err!("there is no option `{}.{key}`", Self::PREFIX)
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        Vec::new()
    }
}
