//! The queries of a session, in a cluster.

use std::pin::Pin;
use std::sync::Arc;

use ballista_core::JobId;
use ballista_core::extension::{SessionConfigExt, SessionStateExt};
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::physical_plan::ExecutionPlan;

use super::address::Scheduler;
use super::client::{PATIENCE, Setting, cancel, config, of_client, reach};
use super::error::ClusterError;
use super::job::Submitted;
use super::wait::runtime;
use crate::query::Elsewhere;

/// Parts that a query is cut into at most: Ballista's own default, whatever this machine is.
const PARTITIONS: usize = 16;

/// What makes the queries of a session run in a cluster, and ends them there when nobody waits for them any more.
///
/// The tables of the session must be Parquet files that the scheduler and the executors find under the paths they have
/// here: a file system that all share.
#[derive(Debug)]
pub struct ClusterQueries {
    scheduler: Scheduler,
    settings: Vec<Setting>,
}

impl ClusterQueries {
    /// Those of the cluster of a scheduler that answers.
    ///
    /// # Errors
    /// If it does not answer, or a setting is none of the engine.
    pub fn new(scheduler: &Scheduler, settings: &[Setting]) -> Result<Self, ClusterError> {
        reach(&runtime()?, scheduler, PATIENCE)?;
        config(settings)?;
        Ok(Self { scheduler: scheduler.clone(), settings: settings.to_vec() })
    }
}

impl Elsewhere for ClusterQueries {
    fn upgrade(&self, mut state: SessionState) -> Result<SessionState, DataFusionError> {
        // Once it has what Ballista asks for, `upgrade_for_ballista` of the state leaves the configuration as it is.
        let config = state.config().clone().upgrade_for_ballista().with_target_partitions(PARTITIONS);
        let config = of_client(config, &self.settings).map_err(|error| DataFusionError::External(error.into()))?;
        *state.config_mut() = self.scheduler.over(config);
        state.upgrade_for_ballista(self.scheduler.url())
    }

    fn give_up<'a>(&'a self, plan: &'a Arc<dyn ExecutionPlan>) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        let mut jobs = Vec::new();
        find_jobs(plan.as_ref(), &mut jobs);
        Box::pin(cancel(&self.scheduler, jobs))
    }
}

/// The jobs that a plan has submitted.
fn find_jobs(plan: &dyn ExecutionPlan, jobs: &mut Vec<JobId>) {
    jobs.extend(plan.downcast_ref::<Submitted>().and_then(Submitted::job_id));
    for child in plan.children() {
        find_jobs(child.as_ref(), jobs);
    }
}
