//! Queries that run elsewhere.

use std::fmt;

use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;

/// What makes of a session one whose queries another engine runs; whoever has that engine makes it.
pub struct Upgrade(Box<dyn FnOnce(SessionState) -> Result<SessionState, DataFusionError> + Send>);

impl Upgrade {
    /// One that does this to the state of a session, before its functions and tables are registered.
    pub fn new(upgrade: impl FnOnce(SessionState) -> Result<SessionState, DataFusionError> + Send + 'static) -> Self {
        Self(Box::new(upgrade))
    }

    pub(super) fn apply(self, state: SessionState) -> Result<SessionState, DataFusionError> {
        (self.0)(state)
    }
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrade").finish_non_exhaustive()
    }
}
