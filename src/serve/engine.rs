//! A scheduler and an executor of Ballista in this process.

use std::path::Path;
use std::sync::Arc;

use arrow_flight::flight_service_server::FlightServiceServer;
use ballista_core::BALLISTA_PROTOCOL_VERSION;
use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::error::BallistaError;
use ballista_core::extension::{EndpointOverrideFn, SessionConfigExt};
use ballista_core::ids::new_instance_id;
use ballista_core::registry::BallistaFunctionRegistry;
use ballista_core::serde::BallistaCodec;
use ballista_core::serde::protobuf::ExecutorRegistration;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::scheduler_grpc_server::SchedulerGrpcServer;
use ballista_core::serde::scheduler::{ExecutorOperatingSystemSpecification, ExecutorSpecification};
use ballista_core::utils::{
    GrpcClientConfig, GrpcServerConfig, create_grpc_client_connection, create_grpc_client_endpoint, create_grpc_server,
};
use ballista_executor::execution_loop::poll_loop;
use ballista_executor::executor::Executor;
use ballista_executor::flight_service::BallistaFlightService;
use ballista_executor::health::ExecutorHealth;
use ballista_executor::metrics::LoggingMetricsCollector;
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::create_scheduler;
use ballista_scheduler::scheduler_server::SchedulerServer;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::prelude::SessionConfig;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;

use super::{MESSAGE_BYTES, ServeError};
use crate::io;

pub(super) type Scheduler = SchedulerServer<LogicalPlanNode, PhysicalPlanNode>;

/// A scheduler with its executor.
pub(super) struct Engine {
    pub(super) scheduler: Scheduler,
    /// The state it was started over, which knows the way to the executor.
    pub(super) state: SessionState,
    /// The way to the executor, whatever address a ticket names.
    pub(super) to_executor: EndpointOverrideFn,
    /// The executor's loop, which has no end of its own.
    pub(super) ended: JoinHandle<Result<(), BallistaError>>,
}

/// Starts both over a state that says which functions there are, how much memory, and how many tasks at once.
///
/// Sockets and intermediate results are in `folder`. Both live as long as the runtime they are started on.
///
/// # Errors
/// If a socket cannot be made, or one does not find the other.
pub(super) async fn start(state: SessionState, folder: &Path) -> Result<Engine, ServeError> {
    let failed = |source| ServeError::Engine { source: Box::new(source) };
    let rows = folder.join("rows.sock");
    let to_executor = way_to(&rows);
    let config = state.config().clone().with_ballista_override_create_grpc_client_endpoint(Arc::clone(&to_executor));
    let state = SessionStateBuilder::new_from_existing(state).with_config(config).build();
    let scheduler = scheduler(&state).await.map_err(failed)?;
    let socket = folder.join("scheduler.sock");
    listen(scheduler.clone(), &socket)?;

    let (place, config) = (format!("unix://{}", socket.display()), GrpcClientConfig::default());
    let connection = create_grpc_client_connection(place, &config);
    let client = SchedulerGrpcClient::new(connection.await.map_err(|source| failed(source.into()))?)
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES);
    let results = folder.join("results");
    io::create_dir(&results)?;
    let executor = executor(&state, &results, &rows)?;
    let codec: BallistaCodec<LogicalPlanNode, PhysicalPlanNode> = BallistaCodec::default();
    // Not to be woken by the scheduler: the loop would then sleep for a second between two looks of its own, and it is there
    // that it tells of a task that has ended. Without, it looks every 50 ms.
    let ended = tokio::spawn(poll_loop(client, Arc::new(executor), codec, None, None, ExecutorHealth::new()));
    Ok(Engine { scheduler, state, to_executor, ended })
}

/// Whoever fetches rows is led to this socket: what a location of Ballista's names is a host and a port, and these are
/// reached by nobody.
fn way_to(socket: &Path) -> EndpointOverrideFn {
    let place = format!("unix://{}", socket.display());
    Arc::new(move |_| {
        let endpoint = create_grpc_client_endpoint(place.clone(), Some(&GrpcClientConfig::default()))?;
        Ok(endpoint)
    })
}

/// A scheduler that its executor asks for work.
async fn scheduler(state: &SessionState) -> Result<Scheduler, BallistaError> {
    let (template, config) = (state.clone(), state.config().clone());
    let sessions = move |config: SessionConfig| {
        Ok(SessionStateBuilder::new_from_existing(template.clone()).with_config(config).build())
    };
    let cluster = BallistaCluster::new_memory("piref", Arc::new(sessions), Arc::new(move || config.clone()));
    let settings = SchedulerConfig::default().with_scheduler_policy(TaskSchedulingPolicy::PullStaged);
    create_scheduler(cluster, Arc::new(settings)).await
}

/// Lets the executor reach the scheduler, and nobody else: who may enter the folder of the socket is its owner.
fn listen(scheduler: Scheduler, socket: &Path) -> Result<(), ServeError> {
    let listener = bind(socket)?;
    let service = SchedulerGrpcServer::new(scheduler)
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES);
    let server = create_grpc_server(&GrpcServerConfig::default()).add_service(service);
    // If it fails, so does the executor's loop, which says so.
    tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
    Ok(())
}

fn bind(socket: &Path) -> Result<UnixListener, ServeError> {
    UnixListener::bind(socket).map_err(|source| ServeError::Socket { path: socket.to_owned(), source })
}

/// An executor whose results are fetched from a socket beside that of the scheduler.
fn executor(state: &SessionState, folder: &Path, socket: &Path) -> Result<Executor, ServeError> {
    let listener = bind(socket)?;
    let folder = folder.display().to_string();
    let service = FlightServiceServer::new(BallistaFlightService::new(folder.clone()))
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES);
    let server = create_grpc_server(&GrpcServerConfig::default()).add_service(service);
    tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));

    let n_tasks = state.config().target_partitions().max(1);
    let registration = ExecutorRegistration {
        id: new_instance_id(),
        host: Some("127.0.0.1".into()),
        // Nobody listens there, see `way_to`.
        port: 1,
        // Of a scheduler that pushes work; this one is asked for it.
        grpc_port: 0,
        specification: Some(ExecutorSpecification::default().with_vcores(u32::try_from(n_tasks).unwrap_or(1)).into()),
        os_info: Some(ExecutorOperatingSystemSpecification::default().into()),
        ballista_protocol_version: BALLISTA_PROTOCOL_VERSION,
    };
    let (environment, config) = (Arc::clone(state.runtime_env()), state.config().clone());
    Ok(Executor::with_default_execution_engine(
        registration,
        &folder,
        Arc::new(move |_| Ok(Arc::clone(&environment))),
        Arc::new(move || config.clone()),
        Arc::new(BallistaFunctionRegistry::from(state)),
        Arc::new(LoggingMetricsCollector::default()),
        n_tasks,
    ))
}
