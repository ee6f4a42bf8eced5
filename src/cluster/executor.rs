//! Ballista's executor with models in it.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow_flight::flight_service_server::FlightServiceServer;
use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::error::BallistaError;
use ballista_core::extension::SessionConfigExt;
use ballista_core::utils::{GrpcServerConfig, create_grpc_server};
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_executor::flight_service::BallistaFlightService;
use ballista_executor::shutdown::Shutdown;
use datafusion::prelude::SessionConfig;
use tonic::transport::ServerTlsConfig;

use super::address::{Bind, Scheduler};
use super::client::{answer, reach};
use super::error::ClusterError;
use super::functions::registry;
use super::wait::{runtime, until};
use super::{Event, MESSAGE_BYTES};
use crate::digest::Digest;
use crate::interrupt::Interrupt;
use crate::scoring::{ModelFile, ModelFiles, Models, Scorer, ScoringError};

/// How long it waits for its scheduler, which may be started after it.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long an executor that stops waits for its scheduler to answer.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// How often it tells the scheduler that it is alive, in seconds.
const HEARTBEAT_SECONDS: u64 = 2;

/// How often it says at most how much it has scored.
const SAY: Duration = Duration::from_millis(500);

/// How often rows of jobs that nobody has cleaned up are looked for, and how long they stay, in seconds.
const CLEAN_UP_SECONDS: u64 = 600;

/// An executor, checked.
#[derive(Debug, Clone)]
pub struct ExecutorPlan {
    /// Its scheduler.
    pub scheduler: Scheduler,
    /// Where it listens.
    pub bind: Bind,
    /// Whether it may be reached from other machines without TLS, by whomever.
    pub is_insecure: bool,
    /// By which name the others reach it; `None` for the address its scheduler sees.
    pub advertise: Option<String>,
    /// What it scores with.
    pub models: Vec<ModelFile>,
    /// Tasks at once. A task of scoring waits for the one before it: a forward pass has the whole device.
    pub vcores: usize,
    /// Bytes that sorts, groups and joins may hold together.
    pub memory_limit: u64,
}

/// Runs an executor until a signal stops it: the first lets it finish the tasks at hand. Ballista's own handler sees the
/// same signals.
///
/// # Errors
/// If there is no scheduler, it cannot listen, or it ends by itself.
pub fn execute(plan: &ExecutorPlan, interrupt: &Interrupt, observe: &mut dyn FnMut(Event)) -> Result<(), ClusterError> {
    ClusterError::if_open(plan.bind.ip, plan.scheduler.tls.is_some() || plan.is_insecure)?;
    let stopped = |source| ClusterError::Stopped { server: "executor", source };
    let temporary = std::env::temp_dir();
    let folder = tempfile::Builder::new().prefix("piref-executor-").tempdir_in(&temporary);
    let folder = folder.map_err(|source| ClusterError::Folder { folder: temporary, source })?;
    // The threads of tensors first: Ballista runs tasks at a low priority, which threads started in one would inherit.
    rayon::current_num_threads();
    let models = Arc::new(CountedModels { files: ModelFiles::new(plan.models.clone()), asked: Mutex::default() });
    let at = listening(plan.bind)?;
    let config = Arc::new(config(plan, at, &models, folder.path())?);
    let runtime = runtime()?;
    reach(&runtime, &plan.scheduler, PATIENCE)?;
    observe(Event::Listening { at });
    observe(Event::Joining { scheduler: plan.scheduler.address.clone() });

    let mut counter = Counter { n_said: 0, said: Instant::now(), is_stopping: false };
    // Asked to stop by us only where nobody could learn of its tasks: dropped on its way, it leaves them half done.
    let unheard = Interrupt::default();
    runtime.spawn(watch_for_silence(plan.scheduler.clone(), interrupt.clone(), unheard.clone()));
    let ended = runtime.block_on(until(start_executor_process(config), &unheard, || {
        counter.say(models.n_scored(), interrupt, observe);
    }));
    runtime.shutdown_timeout(Duration::from_secs(1));
    counter.flush(models.n_scored(), observe);
    match ended {
        Some(Err(error)) => Err(stopped(Some(error.into()))),
        Some(Ok(())) if interrupt.is_set() => Ok(()),
        Some(Ok(())) => Err(stopped(None)),
        None => {
            observe(Event::Unheard { scheduler: plan.scheduler.address.clone() });
            Ok(())
        }
    }
}

/// Sets `unheard` when somebody wants the end and the scheduler does not answer: Ballista would wait for it for minutes.
async fn watch_for_silence(scheduler: Scheduler, interrupt: Interrupt, unheard: Interrupt) {
    while !(interrupt.is_set() && answer(&scheduler, LAST_PATIENCE).await.is_err()) {
        tokio::time::sleep(SAY).await;
    }
    unheard.set();
}

/// Models that remember which of them were asked for.
#[derive(Debug)]
struct CountedModels {
    files: ModelFiles,
    asked: Mutex<Vec<Arc<Scorer>>>,
}

impl CountedModels {
    /// Pairs scored so far, each as often as it was.
    fn n_scored(&self) -> u64 {
        self.asked().iter().map(|scorer| scorer.n_scored()).sum()
    }

    fn asked(&self) -> MutexGuard<'_, Vec<Arc<Scorer>>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Models for CountedModels {
    fn scorer(&self, digest: Option<Digest>) -> Result<Arc<Scorer>, ScoringError> {
        let scorer = self.files.scorer(digest)?;
        let mut asked = self.asked();
        if !asked.iter().any(|known| Arc::ptr_eq(known, &scorer)) {
            asked.push(Arc::clone(&scorer));
        }
        Ok(scorer)
    }

    fn digest(&self) -> Result<Digest, ScoringError> {
        self.files.digest()
    }
}

/// How much an executor has said of its work.
struct Counter {
    n_said: u64,
    said: Instant,
    is_stopping: bool,
}

impl Counter {
    fn say(&mut self, n_pairs: u64, interrupt: &Interrupt, observe: &mut dyn FnMut(Event)) {
        if self.said.elapsed() >= SAY {
            self.flush(n_pairs, observe);
        }
        if interrupt.is_set() && !self.is_stopping {
            self.is_stopping = true;
            observe(Event::Stopping);
        }
    }

    fn flush(&mut self, n_pairs: u64, observe: &mut dyn FnMut(Event)) {
        if n_pairs != self.n_said {
            (self.n_said, self.said) = (n_pairs, Instant::now());
            observe(Event::Scored { n_pairs });
        }
    }
}

/// The first of two ports: those that were named, or two that are free now.
fn listening(bind: Bind) -> Result<SocketAddr, ClusterError> {
    let try_both = |port: u16| -> Result<SocketAddr, ClusterError> {
        let first = TcpListener::bind((bind.ip, port));
        let wrap = |port: u16| move |source| ClusterError::Bind { at: SocketAddr::new(bind.ip, port), source };
        let first = first.and_then(|first| Ok((first.local_addr()?, first))).map_err(wrap(port))?;
        let next = first.0.port().saturating_add(1);
        TcpListener::bind((bind.ip, next)).map_err(wrap(next))?;
        Ok(first.0)
    };
    match bind.port {
        Some(port) => try_both(port),
        // The port after a free one is free nearly always; a few tries are enough.
        None => (0..16).map(|_| try_both(0)).find(Result::is_ok).unwrap_or_else(|| try_both(0)),
    }
}

fn config(
    plan: &ExecutorPlan,
    at: SocketAddr,
    models: &Arc<CountedModels>,
    folder: &Path,
) -> Result<ExecutorProcessConfig, ClusterError> {
    // Functions that ask a tokenizer have one where it cannot be another.
    let tokenizer = match plan.models.as_slice() {
        [model] => model.source.tokenizer().ok().map(|tokenizer| Arc::new(tokenizer.files)),
        _ => None,
    };
    let models: Arc<dyn Models> = Arc::clone(models) as _;
    let functions = registry(&models, tokenizer.as_ref()).map_err(|source| ClusterError::Plan { source })?;
    let plain = ExecutorProcessConfig {
        bind_host: host(at.ip()),
        external_host: plan.advertise.clone().or_else(|| known_host(at.ip())),
        port: at.port(),
        grpc_port: at.port().saturating_add(1),
        scheduler_host: plan.scheduler.address.url_host(),
        scheduler_port: plan.scheduler.address.port(),
        scheduler_connect_timeout_seconds: u16::try_from(PATIENCE.as_secs()).unwrap_or(u16::MAX),
        vcores: plan.vcores.max(1),
        work_dir: folder.to_str().map(ToOwned::to_owned),
        job_data_ttl_seconds: CLEAN_UP_SECONDS,
        job_data_clean_up_interval_seconds: CLEAN_UP_SECONDS,
        executor_heartbeat_interval_seconds: HEARTBEAT_SECONDS,
        memory_pool_size: Some(plan.memory_limit),
        override_function_registry: Some(Arc::new(functions)),
        ..ExecutorProcessConfig::default()
    };
    let Some(tls) = plan.scheduler.tls.clone() else { return Ok(plain) };
    // Nobody comes to an executor that asks for its work: all it serves are rows, by a server of ours.
    let (endpoints, of_server) = (tls.endpoints(), tls.of_server());
    Ok(ExecutorProcessConfig {
        task_scheduling_policy: TaskSchedulingPolicy::PullStaged,
        override_create_grpc_client_endpoint: Some(endpoints),
        override_config_producer: Some(Arc::new(move || tls.over(SessionConfig::new_with_ballista()))),
        override_arrow_flight_service: Some(Arc::new(move |folder, at, shutdown, config| {
            tokio::spawn(serve_rows(folder, at, shutdown, config, of_server.clone()))
        })),
        ..plain
    })
}

/// Rows for those who show the certificate.
async fn serve_rows(
    folder: String,
    at: SocketAddr,
    mut shutdown: Shutdown,
    config: GrpcServerConfig,
    tls: ServerTlsConfig,
) -> Result<(), BallistaError> {
    let service = FlightServiceServer::new(BallistaFlightService::new(folder))
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES);
    let mut server = create_grpc_server(&config).tls_config(tls).map_err(BallistaError::TonicError)?;
    let served = server.add_service(service).serve_with_shutdown(at, shutdown.recv());
    served.await.map_err(BallistaError::TonicError)
}

/// An address as it stands before a port.
fn host(ip: IpAddr) -> String {
    if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() }
}

/// The address that others reach it by, where it is that it listens at.
fn known_host(ip: IpAddr) -> Option<String> {
    (!ip.is_unspecified()).then(|| host(ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ports_are_found_or_refused_by_name() {
        let at = listening(Bind::default()).unwrap();
        let both: Vec<_> = [at.port(), at.port() + 1].map(|port| TcpListener::bind((at.ip(), port))).into();
        assert!(both.iter().all(Result::is_ok), "{at}");
        let error = listening(Bind { ip: at.ip(), port: Some(at.port()) }).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot listen at `{at}`"));
    }

    #[test]
    fn work_is_said_when_there_is_more_of_it() {
        let mut said = Vec::new();
        let interrupt = Interrupt::default();
        let mut counter = Counter { n_said: 0, said: Instant::now(), is_stopping: false };
        counter.say(3, &interrupt, &mut |event| said.push(event));
        assert!(said.is_empty(), "too early: {said:?}");
        counter.flush(3, &mut |event| said.push(event));
        counter.flush(3, &mut |event| said.push(event));
        interrupt.set();
        counter.say(3, &interrupt, &mut |event| said.push(event));
        counter.say(3, &interrupt, &mut |event| said.push(event));
        assert_eq!(said, [Event::Scored { n_pairs: 3 }, Event::Stopping]);
    }
}
