//! Clients of the services, with what the environment says of credentials, regions and endpoints.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig};

use super::error::{Failure, StorageError};
use super::location::{ObjectUrl, Service};

/// Times a request is tried again after an answer of the 5xx kind or a connection that broke: with the waits below, for
/// half a minute about.
const MAX_RETRIES: usize = 8;

/// Time after which a request is not tried again.
const RETRY_TIMEOUT: Duration = Duration::from_mins(2);

/// Wait before the first retry; it grows at random, up to [`MAX_BACKOFF`].
const FIRST_BACKOFF: Duration = Duration::from_millis(500);

/// Longest wait before a retry.
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// Time for one request with its body, unless the environment sets another: a part of a table is tens of megabytes.
const REQUEST_TIMEOUT: &str = "120 seconds";

/// A client of the bucket that the URL names.
///
/// # Errors
/// If settings are missing or contradict each other. Nothing is sent yet.
pub(super) fn connect(url: &ObjectUrl) -> Result<Arc<dyn ObjectStore>, StorageError> {
    let wrap = |error: object_store::Error| StorageError::Connect { url: url.clone(), said: Failure::of(&error).said };
    let has = |variable: &str| std::env::var_os(variable).is_some();
    Ok(match url.service() {
        Service::S3 => {
            let mut builder = AmazonS3Builder::from_env().with_url(url.root()).with_retry(retries());
            if !has("AWS_TIMEOUT") {
                builder = builder.with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT);
            }
            Arc::new(builder.build().map_err(wrap)?)
        }
        Service::Google => {
            let mut builder = GoogleCloudStorageBuilder::from_env().with_url(url.root()).with_retry(retries());
            if !has("GOOGLE_TIMEOUT") {
                builder = builder.with_config(GoogleConfigKey::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT);
            }
            Arc::new(builder.build().map_err(wrap)?)
        }
        Service::Azure => {
            let mut builder = MicrosoftAzureBuilder::from_env().with_url(url.root()).with_retry(retries());
            if !has("AZURE_TIMEOUT") {
                builder = builder.with_config(AzureConfigKey::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT);
            }
            Arc::new(builder.build().map_err(wrap)?)
        }
        #[cfg(test)]
        Service::Memory => Arc::new(object_store::memory::InMemory::new()),
    })
}

fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig { init_backoff: FIRST_BACKOFF, max_backoff: MAX_BACKOFF, base: 3.0 },
        max_retries: MAX_RETRIES,
        retry_timeout: RETRY_TIMEOUT,
    }
}
