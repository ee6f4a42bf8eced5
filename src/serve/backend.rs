//! What Ballista's service of Flight SQL asks: sessions, and answers to plans.

use std::sync::Arc;

use async_trait::async_trait;
use ballista_core::error::BallistaError;
use ballista_flight_sql::backend::{QueryBackend, QueryResult};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SQLOptions, SessionContext};

use super::engine::Scheduler;

/// Plans of clients, checked and handed to the scheduler.
pub(super) struct Backend {
    scheduler: Scheduler,
    /// What each session starts with.
    state: SessionState,
}

impl Backend {
    pub(super) fn new(scheduler: Scheduler, state: SessionState) -> Self {
        Self { scheduler, state }
    }
}

#[async_trait]
impl QueryBackend for Backend {
    async fn session(&self, session_id: &str) -> Result<Arc<SessionContext>, BallistaError> {
        let builder = SessionStateBuilder::new_from_existing(self.state.clone());
        let state = builder.with_session_id(session_id.to_owned()).build();
        Ok(Arc::new(SessionContext::new_with_state(state)))
    }

    /// The service drops the session itself, and nothing of it is kept here.
    async fn close_session(&self, _: &str) -> Result<(), BallistaError> {
        Ok(())
    }

    async fn execute(
        &self,
        job_name: &str,
        ctx: Arc<SessionContext>,
        plan: LogicalPlan,
    ) -> Result<QueryResult, BallistaError> {
        let only_reads = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        only_reads.verify_plan(&plan)?;
        // Ballista (55) takes the schema of some stage that no other reads from, which may be one that grouped only in part.
        let schema = ctx.state().create_physical_plan(&plan).await?.schema();
        Ok(QueryResult { schema, ..QueryBackend::execute(&self.scheduler, job_name, ctx, plan).await? })
    }
}
