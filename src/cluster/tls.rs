//! Mutual TLS within a cluster: one certificate that all of its machines and clients have.
//!
//! It is its own authority, and each side shows it to the other: who has its key belongs to the cluster, nobody else gets an
//! answer, and nobody on the way reads one. Machines come and go and their addresses change, so that it is the name
//! [`NAME`] that the certificate is for, whatever the address.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use ballista_core::extension::{EndpointOverrideFn, SessionConfigExt};
use ballista_core::utils::{GrpcClientConfig, create_grpc_client_endpoint};
use datafusion::prelude::SessionConfig;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, ServerTlsConfig};

use super::error::{Cause, ClusterError};
use crate::io;

/// The name in a cluster's certificate.
pub const NAME: &str = "piref";

/// The certificate of a cluster, and its key.
#[derive(Clone)]
pub struct Tls {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// Reads both, as PEM, and tries them.
    ///
    /// # Errors
    /// If a file cannot be read, or they are no certificate and its key.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, ClusterError> {
        let tls = Self { certificate: io::read(certificate)?, key: io::read(key)? };
        let wrong = |source| ClusterError::Certificate {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            source: Box::new(source),
        };
        tonic::transport::Server::builder().tls_config(tls.of_server()).map_err(wrong)?;
        Endpoint::from_static("https://localhost").tls_config(tls.of_client()).map_err(wrong)?;
        Ok(tls)
    }

    fn identity(&self) -> Identity {
        Identity::from_pem(&self.certificate, &self.key)
    }

    fn authority(&self) -> Certificate {
        Certificate::from_pem(&self.certificate)
    }

    /// A server that asks its clients for the certificate.
    pub(super) fn of_server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new().identity(self.identity()).client_ca_root(self.authority())
    }

    fn of_client(&self) -> ClientTlsConfig {
        ClientTlsConfig::new().identity(self.identity()).ca_certificate(self.authority()).domain_name(NAME)
    }

    /// What turns an endpoint of the engine's into one of this cluster: it makes some of them without TLS in mind.
    pub(super) fn endpoints(&self) -> EndpointOverrideFn {
        let tls = self.of_client();
        Arc::new(move |endpoint: Endpoint| {
            let url = format!("https://{}", endpoint.uri().authority().map_or("", |authority| authority.as_str()));
            let endpoint = create_grpc_client_endpoint(url, Some(&GrpcClientConfig::default()))?;
            Ok(endpoint.tls_config(tls.clone())?)
        })
    }

    /// A configuration of the engine whose connections are of this cluster.
    pub(super) fn over(&self, config: SessionConfig) -> SessionConfig {
        config.with_ballista_use_tls(true).with_ballista_override_create_grpc_client_endpoint(self.endpoints())
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(…)")
    }
}

/// A connection to this URL, with or without TLS.
pub(super) async fn connect(url: &str, tls: Option<&Tls>) -> Result<Channel, Cause> {
    let endpoint = create_grpc_client_endpoint(url.to_owned(), Some(&GrpcClientConfig::default()))?;
    let endpoint = match tls {
        Some(tls) => tls.endpoints()(endpoint)?,
        None => endpoint,
    };
    Ok(endpoint.connect().await?)
}
