//! Ballista's scheduler with the functions of this program.

use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::error::BallistaError;
use ballista_core::serde::protobuf::scheduler_grpc_server::SchedulerGrpcServer;
use ballista_core::utils::{GrpcServerConfig, create_grpc_server};
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::{create_scheduler, start_server};
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use tonic::transport::ServerTlsConfig;

use super::error::ClusterError;
use super::functions::session_state;
use super::tls::Tls;
use super::wait::{runtime, until};
use super::{Event, MESSAGE_BYTES};
use crate::interrupt::Interrupt;

/// How often it looks for executors that are silent, in seconds.
const LOOK_SECONDS: u64 = 2;

/// How long a running job waits for another executor after the last was lost, in seconds.
const GRACE_SECONDS: u64 = 180;

/// How long the rows of a finished job stay on the executors, in seconds: a client fetches them at once.
const ROWS_SECONDS: u64 = 300;

/// How long the scheduler remembers a finished job, in seconds. A job of stage one holds the token ids of its pairs.
const JOB_SECONDS: u64 = 60;

/// A scheduler, checked.
#[derive(Debug, Clone)]
pub struct SchedulerPlan {
    /// Where it listens.
    pub bind: SocketAddr,
    /// The certificate of its cluster; `None` for no TLS.
    pub tls: Option<Tls>,
    /// Whether it may be reached from other machines without TLS, by whomever.
    pub is_insecure: bool,
    /// By which name executors reach it; `None` for the address it listens at.
    pub advertise: Option<String>,
    /// An executor that is silent for so long is given up, and its tasks are run elsewhere.
    pub executor_timeout: Duration,
}

/// Runs a scheduler until somebody stops it.
///
/// # Errors
/// If it cannot listen, or ends by itself.
pub fn serve(plan: &SchedulerPlan, interrupt: &Interrupt, observe: &mut dyn FnMut(Event)) -> Result<(), ClusterError> {
    ClusterError::if_open(plan.bind.ip(), plan.tls.is_some() || plan.is_insecure)?;
    let config = Arc::new(config(plan)?);
    // Before anything else: Ballista's own error does not say where.
    drop(TcpListener::bind(plan.bind).map_err(|source| ClusterError::Bind { at: plan.bind, source })?);
    let stopped = |source| ClusterError::Stopped { server: "scheduler", source };
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let cluster = BallistaCluster::new_from_config(&config).await?;
        observe(Event::Listening { at: plan.bind });
        let server: Pin<Box<dyn Future<Output = Result<(), BallistaError>>>> = match &plan.tls {
            Some(tls) => Box::pin(serve_over(tls.of_server(), cluster, plan.bind, Arc::clone(&config))),
            None => Box::pin(start_server(cluster, plan.bind, Arc::clone(&config))),
        };
        until(server, interrupt, || {}).await.transpose()
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    match ended {
        Ok(None) => {
            observe(Event::Stopping);
            Ok(())
        }
        Ok(Some(())) => Err(stopped(None)),
        Err(error) => Err(stopped(Some(error.into()))),
    }
}

fn config(plan: &SchedulerPlan) -> Result<SchedulerConfig, ClusterError> {
    let host = match &plan.advertise {
        Some(host) => host.clone(),
        None if plan.bind.ip().is_unspecified() => return Err(ClusterError::NoHost { at: plan.bind }),
        None if plan.bind.is_ipv6() => format!("[{}]", plan.bind.ip()),
        None => plan.bind.ip().to_string(),
    };
    let timeout = plan.executor_timeout.as_secs().max(LOOK_SECONDS + 1);
    let plain = SchedulerConfig {
        bind_host: plan.bind.ip().to_string(),
        bind_port: plan.bind.port(),
        external_host: host,
        executor_timeout_seconds: timeout,
        expire_dead_executor_interval_seconds: LOOK_SECONDS,
        no_executors_grace_period_seconds: GRACE_SECONDS.max(timeout),
        finished_job_data_clean_up_interval_seconds: ROWS_SECONDS,
        finished_job_state_clean_up_interval_seconds: JOB_SECONDS,
        override_session_builder: Some(Arc::new(session_state)),
        ..SchedulerConfig::default()
    };
    let Some(tls) = &plan.tls else { return Ok(plain) };
    Ok(SchedulerConfig {
        scheduling_policy: TaskSchedulingPolicy::PullStaged,
        override_create_grpc_client_endpoint: Some(tls.endpoints()),
        use_tls: true,
        ..plain
    })
}

/// Ballista's scheduler for those who show the certificate; its own server knows no TLS.
async fn serve_over(
    tls: ServerTlsConfig,
    cluster: BallistaCluster,
    at: SocketAddr,
    config: Arc<SchedulerConfig>,
) -> Result<(), BallistaError> {
    let scheduler = create_scheduler::<LogicalPlanNode, PhysicalPlanNode>(cluster, config).await?;
    let service = SchedulerGrpcServer::new(scheduler)
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES);
    let mut server =
        create_grpc_server(&GrpcServerConfig::default()).tls_config(tls).map_err(BallistaError::TonicError)?;
    server.add_service(service).serve(at).await.map_err(BallistaError::TonicError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Hint;

    fn plan(bind: &str) -> SchedulerPlan {
        SchedulerPlan {
            bind: bind.parse().unwrap(),
            tls: None,
            is_insecure: false,
            advertise: None,
            executor_timeout: Duration::from_secs(8),
        }
    }

    #[test]
    fn executors_are_told_an_address_they_can_reach() {
        assert_eq!(config(&plan("10.1.2.3:50050")).unwrap().scheduler_endpoint(), "10.1.2.3:50050");
        assert_eq!(config(&plan("[::1]:7")).unwrap().scheduler_endpoint(), "[::1]:7");
        let named = SchedulerPlan { advertise: Some("node-1".into()), ..plan("0.0.0.0:50050") };
        assert_eq!(config(&named).unwrap().scheduler_endpoint(), "node-1:50050");
        let error = config(&plan("0.0.0.0:50050")).err().unwrap();
        assert_eq!(error.hint().unwrap(), "`--advertise HOST` says it");
    }

    #[test]
    fn other_machines_reach_it_only_if_somebody_said_so() {
        let refused = serve(&plan("0.0.0.0:50050"), &Interrupt::default(), &mut |_| {}).unwrap_err();
        assert!(refused.to_string().starts_with("`0.0.0.0` can be reached from other machines"), "{refused}");
        assert!(refused.hint().unwrap().contains("--insecure"));
    }

    #[test]
    fn a_dead_executor_costs_seconds() {
        let config = config(&plan("127.0.0.1:50050")).unwrap();
        config.validate().unwrap();
        assert_eq!((config.executor_timeout_seconds, config.expire_dead_executor_interval_seconds), (8, 2));
    }

    #[test]
    fn an_address_in_use_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = taken.local_addr().unwrap();
        let error = serve(&plan(&at.to_string()), &Interrupt::default(), &mut |_| {}).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot listen at `{at}`"));
    }
}
