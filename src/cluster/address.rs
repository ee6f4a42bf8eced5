//! Where the servers of a cluster are.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use datafusion::prelude::SessionConfig;
use tonic::transport::Channel;

use super::error::Cause;
use super::tls::{Tls, connect};

/// Port of a scheduler that is named without one: Ballista's own.
const SCHEDULER_PORT: u16 = 50050;

/// Scheme of a scheduler's address, which may be left out.
const SCHEME: &str = "df://";

/// Where a scheduler is: `df://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchedulerAddress {
    host: String,
    port: u16,
}

/// A scheduler, and what its cluster shows to it.
#[derive(Debug, Clone)]
pub struct Scheduler {
    /// Where it is.
    pub address: SchedulerAddress,
    /// The certificate of its cluster; `None` where there is none.
    pub tls: Option<Tls>,
}

impl Scheduler {
    /// As gRPC wants it.
    pub(super) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address.host_and_port())
    }

    /// A configuration of the engine that reaches this cluster.
    pub(super) fn over(&self, config: SessionConfig) -> SessionConfig {
        match &self.tls {
            Some(tls) => tls.over(config),
            None => config,
        }
    }

    /// A connection to it.
    pub(super) async fn connect(&self) -> Result<SchedulerGrpcClient<Channel>, Cause> {
        Ok(SchedulerGrpcClient::new(connect(&self.url(), self.tls.as_ref()).await?))
    }
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// Where an executor listens: an address, and two ports or any two that are free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bind {
    /// The address.
    pub ip: IpAddr,
    /// The first port, for rows; the next one is for tasks. `None` for any two that are free.
    pub port: Option<u16>,
}

/// Text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseAddressError {
    /// No scheduler's address.
    #[error("expected `df://HOST:PORT`, found `{found}`")]
    Scheduler {
        /// As given.
        found: String,
    },
    /// No address to listen at.
    #[error("expected an address of this machine, `IP` or `IP:PORT`, found `{found}`")]
    Bind {
        /// As given.
        found: String,
    },
}

impl SchedulerAddress {
    /// The scheduler at this socket.
    pub fn of(at: SocketAddr) -> Self {
        Self { host: at.ip().to_string(), port: at.port() }
    }

    /// The host as it stands before a port.
    pub(super) fn url_host(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }

    /// The port.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    fn host_and_port(&self) -> String {
        format!("{}:{}", self.url_host(), self.port)
    }
}

impl FromStr for SchedulerAddress {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        let wrong = || ParseAddressError::Scheduler { found: text.to_owned() };
        let rest = text.strip_prefix(SCHEME).unwrap_or(text).trim_end_matches('/');
        let bracketed = rest.strip_prefix('[').map(|rest| rest.split_once(']').ok_or_else(wrong)).transpose()?;
        let (host, port) = match bracketed {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or_else(wrong)?)),
            None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        let is_host = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c) || (bracketed.is_some() && c == ':');
        if host.is_empty() || !host.chars().all(is_host) {
            return Err(wrong());
        }
        let port = port.map_or(Ok(SCHEDULER_PORT), |port| port.parse().map_err(|_| wrong()))?;
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for SchedulerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.host_and_port())
    }
}

impl Default for Bind {
    /// This machine alone, at any two ports that are free.
    fn default() -> Self {
        Self { ip: Ipv4Addr::LOCALHOST.into(), port: None }
    }
}

impl FromStr for Bind {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        if let Ok(ip) = text.parse() {
            return Ok(Self { ip, port: None });
        }
        let wrong = || ParseAddressError::Bind { found: text.to_owned() };
        let at: SocketAddr = text.parse().map_err(|_| wrong())?;
        // The port after it is needed too.
        if at.port() == 0 || at.port() == u16::MAX {
            Err(wrong())
        } else {
            Ok(Self { ip: at.ip(), port: Some(at.port()) })
        }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            None => self.ip.fmt(f),
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_schedulers_are_read_and_written() {
        for (text, want, url) in [
            ("df://node-7.cluster:5005", "df://node-7.cluster:5005", "http://node-7.cluster:5005"),
            ("10.0.0.7", "df://10.0.0.7:50050", "http://10.0.0.7:50050"),
            ("df://localhost/", "df://localhost:50050", "http://localhost:50050"),
            ("[::1]:7", "df://[::1]:7", "http://[::1]:7"),
            ("df://[fe80::1]", "df://[fe80::1]:50050", "http://[fe80::1]:50050"),
        ] {
            let address: SchedulerAddress = text.parse().unwrap();
            assert_eq!(want.parse().as_ref(), Ok(&address));
            let scheduler = Scheduler { address, tls: None };
            assert_eq!((scheduler.to_string().as_str(), scheduler.url().as_str()), (want, url), "{text}");
        }
        for text in ["", "df://", ":50050", "http://node:1", "a:b", "node:65536", "[::1", "[::1]7", "a b", "::1"] {
            assert!(text.parse::<SchedulerAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_executor_needs_two_ports() {
        assert_eq!("127.0.0.1".parse(), Ok(Bind::default()));
        for text in ["0.0.0.0:50051", "[::1]:7", "::1"] {
            assert_eq!(text.parse::<Bind>().unwrap().to_string(), text);
        }
        for text in ["", "localhost", "127.0.0.1:0", "127.0.0.1:65535", "127.0.0.1:"] {
            assert!(text.parse::<Bind>().is_err(), "{text}");
        }
    }
}
