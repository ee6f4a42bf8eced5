//! SQL over tables for clients of Arrow Flight SQL: ADBC, JDBC, ODBC, notebooks and dashboards.
//!
//! ```text
//! client ── Flight SQL, TCP ──→ server ─→ scheduler ─ private socket ─ executor
//!        ←─────── rows ────────────────────────────────────────────────┘
//! ```
//!
//! The protocol, the planning of distributed queries and their execution are Ballista's. All of it runs in this process; its
//! scheduler, which does what it is told by whoever reaches it, listens at a socket in a folder that only the owner of the
//! process may enter, and what is reached over the network is the service of Flight SQL alone.
//!
//! Invariant: a client reads the tables that were given and nothing else. The catalogue of a client cannot be changed,
//! there is nothing in it that opens a file by its name, and a plan that does anything but read is refused.
//!
//! # Not supported
//! Authentication and encryption: whoever reaches the port may read the tables. Parameters of prepared statements,
//! transactions, and cancelling a query, which the service of Ballista does not have. `SET` changes the settings of the
//! session it is sent in; clients without a user name share one. A client that forges the ticket of a result can make the
//! server connect to another host, or read a file `N/M/data.arrow` (as Ballista calls its results) in another folder: tickets
//! of Ballista carry address and job as they are.

mod backend;
mod catalog;
mod engine;
mod error;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use ballista_core::flight_proxy_service::BallistaFlightProxyService;
use ballista_core::utils::{GrpcServerConfig, create_grpc_server};
use ballista_flight_sql::BallistaFlightSqlService;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;

pub use error::ServeError;

use self::backend::Backend;
use crate::guard;
use crate::interrupt::Interrupt;
use crate::io;
use crate::query::Session;

/// How often the wish to stop is looked at.
const TICK: Duration = Duration::from_millis(50);

/// How long clients may go on reading after that.
const GRACE: Duration = Duration::from_secs(2);

/// Longest a query may take before its first row, in seconds: the protocol of Ballista waits for its end.
const QUERY_SECONDS: u64 = 7 * 24 * 60 * 60;

/// Most bytes of a message.
const MESSAGE_BYTES: usize = 64 << 20;

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
/// If a table cannot be served, the address is taken or not of this machine, or the engine ends by itself.
pub fn run(
    address: SocketAddr,
    session: &Session,
    interrupt: &Interrupt,
    observe: &mut dyn FnMut(Event),
) -> Result<(), ServeError> {
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
    let runtime = guard::runtime(None, guard::STACK);
    let runtime = runtime.map_err(|source| ServeError::Threads { source })?;
    let served = runtime.block_on(async {
        let failed = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let at = listener.local_addr().map_err(failed)?;
        let engine = engine::start(&state, folder.path()).await?;
        let proxy = BallistaFlightProxyService::new(MESSAGE_BYTES, MESSAGE_BYTES, false, None);
        let service = BallistaFlightSqlService::new(Arc::new(Backend::new(engine.scheduler, state)), proxy);
        let service = FlightServiceServer::new(service)
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES);
        let config = GrpcServerConfig { timeout_seconds: QUERY_SECONDS, ..GrpcServerConfig::default() };
        let server = create_grpc_server(&config)
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

/// Until somebody wants the end.
async fn asked(interrupt: &Interrupt) {
    while !interrupt.is_set() {
        tokio::time::sleep(TICK).await;
    }
}

#[cfg(test)]
mod tests;
