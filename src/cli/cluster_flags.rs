//! Where pairs are scored and queries run, if that is not this process.

use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::cluster::{ClusterEngine, ClusterError, ClusterPlan, ClusterQueries, SchedulerAddress, Setting};
use crate::precompute::{Engine, LocalEngine};
use crate::query::Elsewhere;

/// The cluster of stage one.
#[derive(Debug, clap::Args)]
pub(super) struct ScoringCluster {
    #[command(flatten)]
    cluster: Cluster,

    /// Jobs under way in the cluster, each a few forward passes: at least twice the cores of all executors.
    #[arg(long, value_name = "N", requires = "cluster", default_value = "64")]
    cluster_jobs: NonZeroUsize,

    /// Name of the code path of the executors, where they have other processors or devices than this machine: its last bits
    /// are part of the table. An executor with another one is refused, and says which it has.
    #[arg(long, value_name = "NAME", requires = "cluster")]
    cluster_kernel: Option<String>,
}

/// A cluster.
#[derive(Debug, clap::Args)]
pub(super) struct Cluster {
    /// Let the executors of this scheduler do the work: see `piref cluster`.
    #[arg(long, value_name = "df://HOST:PORT")]
    cluster: Option<SchedulerAddress>,

    /// Setting of Ballista or DataFusion in the cluster; repeat for more.
    #[arg(long, value_name = "KEY=VALUE", requires = "cluster")]
    cluster_set: Vec<Setting>,
}

impl ScoringCluster {
    /// What scores the pairs.
    pub(super) fn engine(self) -> Result<Box<dyn Engine>, ClusterError> {
        let Cluster { cluster: Some(scheduler), cluster_set: settings } = self.cluster else {
            return Ok(Box::new(LocalEngine::default()));
        };
        let plan = ClusterPlan { scheduler, jobs: self.cluster_jobs.get(), kernel: self.cluster_kernel, settings };
        Ok(Box::new(ClusterEngine::new(plan)?))
    }
}

impl Cluster {
    /// Where queries run; `None` for here.
    pub(super) fn elsewhere(&self) -> Result<Option<Arc<dyn Elsewhere>>, ClusterError> {
        let Some(scheduler) = &self.cluster else { return Ok(None) };
        Ok(Some(Arc::new(ClusterQueries::new(scheduler, &self.cluster_set)?)))
    }
}
