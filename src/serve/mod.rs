//! SQL over tables for clients of Arrow Flight SQL: ADBC, JDBC, ODBC, notebooks and dashboards.
//!
//! ```text
//! client ── Flight SQL, TCP ──→ door ─→ service ─→ scheduler ─ private socket ─ executor
//!        ←─────── rows ─────────────────────────────── private socket ─────────┘
//! ```
//!
//! The protocol, the planning of distributed queries and their execution are Ballista's. All of it runs in this process; its
//! scheduler, which does what it is told by whoever reaches it, listens at a socket in a folder that only the owner of the
//! process may enter, and what is reached over the network is the service of Flight SQL alone.
//!
//! Invariant: a client reads the tables that were given and nothing else. The catalogue of a client cannot be changed,
//! there is nothing in it that opens a file by its name, a statement that does anything but read is refused before it is
//! planned, and the only tickets that are redeemed are those this process has given out. Beyond this machine a token and TLS
//! are asked for, unless the caller says that the network is trusted. No query ends the server: its text passes through the
//! same gate as that of `piref sql`, there is no recursion in it, and it is cancelled when its client goes or its hour is over.
//!
//! # Not supported
//! Parameters of prepared statements, transactions, `do_put`, and an action that cancels a query, which the service of Ballista does not have.
//! One token for all clients. `SET`, whose settings would be those of all who do not log in.

mod backend;
mod catalog;
mod door;
mod engine;
mod error;
mod token;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use ballista_core::extension::BallistaConfigGrpcEndpoint;
use ballista_core::flight_proxy_service::BallistaFlightProxyService;
use ballista_core::utils::{GrpcServerConfig, create_grpc_server};
use ballista_flight_sql::BallistaFlightSqlService;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity, Server, ServerTlsConfig};

pub use error::ServeError;
pub use token::{Token, TokenError};

use self::backend::Backend;
use self::door::Door;
use crate::guard;
use crate::interrupt::Interrupt;
use crate::io;
use crate::query::{PLANNING_STACK, Session};

/// How often the wish to stop is looked at.
const TICK: Duration = Duration::from_millis(50);

/// How long clients may go on reading after that.
const GRACE: Duration = Duration::from_secs(2);

/// Longest a query may take before its first row, in seconds: the protocol of Ballista waits for its end. After that it is
/// cancelled, as is one whose client has gone.
const QUERY_SECONDS: u64 = 60 * 60;

/// Most bytes of a message.
const MESSAGE_BYTES: usize = 64 << 20;

/// Calls of one connection at once; rows that nobody reads wait at the client's side of each.
const MAX_STREAMS: u32 = 64;

/// Where a server listens, and whom it lets in.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where.
    pub address: SocketAddr,
    /// What clients have to say; `None` lets everybody in.
    pub token: Option<Token>,
    /// What makes the connection private; `None` for none.
    pub tls: Option<TlsFiles>,
    /// Whether it may be reached from other machines without a token and TLS.
    pub is_insecure: bool,
}

/// Files of a server's certificate, as PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate, and those it is signed by.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The rows of these tables are those of this moment: they are not in Parquet files, and were copied.
    Copied {
        /// Their names.
        tables: Vec<String>,
    },
    /// Clients can come.
    Listening {
        /// Where.
        at: SocketAddr,
        /// The names they can query.
        tables: Vec<String>,
    },
}

/// Serves the tables and functions of a session until `interrupt` is set.
///
/// # Errors
/// If a table cannot be served, the address is taken or not of this machine, it can be reached from others without a token
/// and TLS although nobody said so, or the engine ends by itself.
pub fn run(
    plan: &Plan,
    session: &Session,
    interrupt: &Interrupt,
    observe: &mut dyn FnMut(Event),
) -> Result<(), ServeError> {
    let address = plan.address;
    if !address.ip().is_loopback() && !plan.is_insecure && (plan.token.is_none() || plan.tls.is_none()) {
        return Err(ServeError::Open { address, has_token: plan.token.is_some(), has_tls: plan.tls.is_some() });
    }
    let config = GrpcServerConfig { timeout_seconds: QUERY_SECONDS, ..GrpcServerConfig::default() };
    let server = with_tls(create_grpc_server(&config), plan.tls.as_ref())?;
    let folder = io::temporary_folder()?;
    let shipped = session.shipped(&folder.path().join("tables"))?;
    let names = |only_copies: bool| -> Vec<String> {
        let tables = shipped.iter().filter(|table| table.is_copy || !only_copies);
        tables.map(|table| table.name.clone()).collect()
    };
    let (tables, copied) = (names(false), names(true));
    if !copied.is_empty() {
        observe(Event::Copied { tables: copied });
    }
    let state = catalog::state_over(session.state(), shipped)?;
    // Queries are planned on its threads.
    let runtime = guard::runtime(None, PLANNING_STACK);
    let runtime = runtime.map_err(|source| ServeError::Threads { source })?;
    let served = runtime.block_on(async {
        let failed = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let at = listener.local_addr().map_err(failed)?;
        let engine = engine::start(state, folder.path()).await?;
        let to_executor = Arc::new(BallistaConfigGrpcEndpoint::new(engine.to_executor));
        let proxy = BallistaFlightProxyService::new(MESSAGE_BYTES, MESSAGE_BYTES, false, Some(to_executor));
        let service =
            BallistaFlightSqlService::new(Arc::new(Backend::new(engine.scheduler, engine.state.clone())), proxy);
        let door =
            Door::new(service, engine.state, plan.token.clone()).map_err(|source| ServeError::Random { source })?;
        let service = FlightServiceServer::new(door)
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES);
        let server = server
            .max_concurrent_streams(MAX_STREAMS)
            .add_service(service)
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), asked(interrupt));
        observe(Event::Listening { at, tables });
        tokio::select! {
            ended = server => ended.map_err(|source| ServeError::Server { source: Box::new(source) }),
            ended = engine.ended => Err(ServeError::ended(ended)),
            () = async { asked(interrupt).await; tokio::time::sleep(GRACE).await } => Ok(()),
        }
    });
    runtime.shutdown_timeout(GRACE);
    served
}

fn with_tls(server: Server, tls: Option<&TlsFiles>) -> Result<Server, ServeError> {
    let Some(files) = tls else { return Ok(server) };
    let identity = Identity::from_pem(io::read(&files.certificate)?, io::read(&files.key)?);
    server.tls_config(ServerTlsConfig::new().identity(identity)).map_err(|source| ServeError::Certificate {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        source: Box::new(source),
    })
}

/// Until somebody wants the end.
async fn asked(interrupt: &Interrupt) {
    while !interrupt.is_set() {
        tokio::time::sleep(TICK).await;
    }
}

#[cfg(test)]
mod tests;
