//! Where pairs are scored and queries run, if that is not this process.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use crate::cluster::{
    ClusterEngine, ClusterError, ClusterPlan, ClusterQueries, Scheduler, SchedulerAddress, Setting, Tls,
};
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
    #[arg(id = "cluster", long = "cluster", value_name = "df://HOST:PORT")]
    address: Option<SchedulerAddress>,

    #[command(flatten)]
    tls: ClusterTls,

    /// Setting of Ballista or DataFusion in the cluster; repeat for more.
    #[arg(id = "cluster_set", long = "cluster-set", value_name = "KEY=VALUE", requires = "cluster")]
    settings: Vec<Setting>,
}

/// The certificate of a cluster.
#[derive(Debug, clap::Args)]
pub(super) struct ClusterTls {
    /// The cluster's certificate, PEM, made for the name `piref`: all of its machines and clients have it, and show it to
    /// each other.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// The private key of the certificate, PEM: who has it belongs to the cluster.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

impl ClusterTls {
    /// The certificate, if one was named.
    pub(super) fn read(&self) -> Result<Option<Tls>, ClusterError> {
        let files = self.tls_cert.as_deref().zip(self.tls_key.as_deref());
        files.map(|(certificate, key)| Tls::read(certificate, key)).transpose()
    }
}

impl ScoringCluster {
    /// What scores the pairs.
    pub(super) fn engine(self) -> Result<Box<dyn Engine>, ClusterError> {
        let Some(scheduler) = self.cluster.scheduler()? else {
            return Ok(Box::new(LocalEngine::default()));
        };
        let settings = self.cluster.settings;
        let plan = ClusterPlan { scheduler, jobs: self.cluster_jobs.get(), kernel: self.cluster_kernel, settings };
        Ok(Box::new(ClusterEngine::new(plan)?))
    }
}

impl Cluster {
    /// Where queries run; `None` for here.
    pub(super) fn elsewhere(&self) -> Result<Option<Arc<dyn Elsewhere>>, ClusterError> {
        let Some(scheduler) = self.scheduler()? else { return Ok(None) };
        Ok(Some(Arc::new(ClusterQueries::new(&scheduler, &self.settings)?)))
    }

    fn scheduler(&self) -> Result<Option<Scheduler>, ClusterError> {
        let Some(address) = self.address.clone() else { return Ok(None) };
        Ok(Some(Scheduler { address, tls: self.tls.read()? }))
    }
}
