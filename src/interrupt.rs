//! The wish of a user to stop: noticed between two units of work, so that what is done is committed first.
//!
//! Invariant: the first signal asks, the second ends the process at once. Nothing here stops anything by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Exit code of a process that was interrupted and committed its state.
pub const EXIT_CODE: u8 = 130;

/// Whether somebody has asked for the end. Clones share the answer.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// One that Ctrl-C (SIGINT) and SIGTERM set; a second signal ends the process with [`EXIT_CODE`].
    ///
    /// # Errors
    /// If the system does not let the process handle its signals.
    pub fn on_signals() -> std::io::Result<Self> {
        let asked = Self::default();
        asked.watch_signals()?;
        Ok(asked)
    }

    /// From now on signals set it as they set one made by [`on_signals`](Self::on_signals).
    ///
    /// # Errors
    /// If the system does not let the process handle its signals.
    pub fn watch_signals(&self) -> std::io::Result<()> {
        self.watch(SIGINT)?;
        self.watch(SIGTERM)
    }

    /// From now on Ctrl-C sets it: in a console it stops the query at hand, and [`clear`](Self::clear) makes the next one
    /// the first again.
    ///
    /// # Errors
    /// If the system does not let the process handle its signals.
    pub fn watch_ctrl_c(&self) -> std::io::Result<()> {
        self.watch(SIGINT)
    }

    fn watch(&self, signal: i32) -> std::io::Result<()> {
        // In this order: the handler that exits looks at the flag before the other sets it.
        flag::register_conditional_shutdown(signal, EXIT_CODE.into(), Arc::clone(&self.0))?;
        flag::register(signal, Arc::clone(&self.0))?;
        Ok(())
    }

    /// Forgets that the end was asked for.
    pub fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Asks for the end, as a signal does.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the end was asked for.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
