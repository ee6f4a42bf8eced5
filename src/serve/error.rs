//! Why tables cannot be served.

use std::net::SocketAddr;
use std::path::PathBuf;

use ballista_core::error::BallistaError;
use tokio::task::JoinError;

use crate::error::Hint;
use crate::io::IoError;
use crate::query::QueryError;

/// Why tables cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// An address that cannot be listened at.
    #[error("cannot listen at `{address}`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// An address that others reach, and nothing that keeps them out.
    #[error("`{address}` can be reached from other machines: expected a token and TLS, found {}", match (has_token, has_tls) {
        (true, _) => "a token alone",
        (_, true) => "TLS alone",
        (false, false) => "neither",
    })]
    Open {
        /// The address.
        address: SocketAddr,
        /// Whether there is a token.
        has_token: bool,
        /// Whether there is a certificate.
        has_tls: bool,
    },
    /// A certificate, or its key.
    #[error("`{}` and `{}` are no certificate and its key, in PEM", certificate.display(), key.display())]
    Certificate {
        /// File of the certificate.
        certificate: PathBuf,
        /// File of the key.
        key: PathBuf,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No random numbers for the seals of tickets.
    #[error("the system gives no random numbers")]
    Random {
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The socket between scheduler and executor.
    #[error("cannot listen at socket `{}`", path.display())]
    Socket {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The threads of the server.
    #[error("cannot start the threads of the server")]
    Threads {
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Two tables of one name.
    #[error("table `{table}` exists twice")]
    Name {
        /// The name.
        table: String,
    },
    /// The engine does not start, or does not go on.
    #[error("the engine of the server failed")]
    Engine {
        /// What it says.
        #[source]
        source: Box<BallistaError>,
    },
    /// A part of the engine that ended although nobody asked it to.
    #[error("the engine of the server ended by itself")]
    Ended {
        /// What it says.
        #[source]
        source: Option<JoinError>,
    },
    /// The server does not start, or does not go on.
    #[error("the server failed")]
    Server {
        /// What it says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A table.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A file.
    #[error(transparent)]
    Io(#[from] IoError),
}

impl ServeError {
    /// What is wrong when a task of the engine has come to its end.
    pub(super) fn ended(task: Result<Result<(), BallistaError>, JoinError>) -> Self {
        match task {
            Ok(Ok(())) => Self::Ended { source: None },
            Ok(Err(source)) => Self::Engine { source: Box::new(source) },
            Err(source) => Self::Ended { source: Some(source) },
        }
    }
}

impl Hint for ServeError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
                Some("another program listens there: name another port, or port 0 for a free one".into())
            }
            Self::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrNotAvailable => {
                Some("`127.0.0.1` is this machine alone, `0.0.0.0` all of its addresses".into())
            }
            Self::Open { .. } => Some(
                "`--token-file`, `--tls-cert` and `--tls-key` say them; `--insecure` serves without, on a network you trust"
                    .into(),
            ),
            Self::Socket { .. } => {
                Some("`TMPDIR` says where; the path of a socket has about 100 characters at most".into())
            }
            Self::Name { .. } => Some("`--table NAME=PATH` names a table".into()),
            Self::Query(error) => error.hint(),
            Self::Io(error) => error.hint(),
            _ => None,
        }
    }
}
