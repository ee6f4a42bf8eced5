//! Queries that run elsewhere.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::physical_plan::ExecutionPlan;

/// Another engine that runs the queries of a session; whoever has that engine says how.
pub trait Elsewhere: fmt::Debug + Send + Sync {
    /// Makes of the state of a session one whose queries run there, before its functions and tables are registered.
    ///
    /// # Errors
    /// If the engine cannot take such a session.
    fn upgrade(&self, state: SessionState) -> Result<SessionState, DataFusionError>;

    /// Ends what a plan has begun there: nobody waits for its rows any more. What the engine says to that is of no use.
    fn give_up<'a>(&'a self, plan: &'a Arc<dyn ExecutionPlan>) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}
