//! What Ballista's service of Flight SQL asks: sessions, and answers to plans.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use ballista_core::error::BallistaError;
use ballista_flight_sql::backend::{QueryBackend, QueryResult};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SQLOptions, SessionContext};

use tokio::runtime::Handle;

use super::engine::Scheduler;
use crate::query::check_plan;

/// Plans of clients, checked and handed to the scheduler.
pub(super) struct Backend {
    scheduler: Scheduler,
    /// What each session starts with.
    state: SessionState,
    /// Jobs so far, so that each has a name of its own.
    n_jobs: AtomicU64,
}

/// A job that is cancelled when nobody waits for it any more: its client has gone, or its time is over.
struct Job {
    scheduler: Scheduler,
    /// `None` once it has ended by itself.
    name: Option<String>,
}

impl Drop for Job {
    fn drop(&mut self) {
        let (Some(name), scheduler) = (self.name.take(), self.scheduler.clone()) else { return };
        // Without a runtime the server has ended, and the job with it.
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move {
            let jobs = scheduler.state.task_manager.get_running_jobs().await.unwrap_or_default();
            for job in jobs.into_iter().filter(|job| job.job_name == name) {
                // What cannot be cancelled ends by itself.
                _ = scheduler.cancel_job(job.job_id).await;
            }
        });
    }
}

impl Backend {
    pub(super) fn new(scheduler: Scheduler, state: SessionState) -> Self {
        Self { scheduler, state, n_jobs: AtomicU64::new(0) }
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
        check_plan(&plan)?;
        // Ballista (55) takes the schema of some stage that no other reads from, which may be one that grouped only in part.
        let schema = ctx.state().create_physical_plan(&plan).await?.schema();
        let job_name = format!("{job_name} {}", self.n_jobs.fetch_add(1, Ordering::Relaxed));
        let mut job = Job { scheduler: self.scheduler.clone(), name: Some(job_name.clone()) };
        let result = QueryBackend::execute(&self.scheduler, &job_name, ctx, plan).await;
        job.name = None;
        Ok(QueryResult { schema, ..result? })
    }
}
