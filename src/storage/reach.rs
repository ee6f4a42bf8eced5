//! Whether a service can be reached at all, found out before the first request.
//!
//! Requests are tried again for half a minute, which is right for a service that is busy and wrong for an address at which
//! nobody listens, or for credentials that nobody has: a user would wait in silence for what can be said at once.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use super::error::StorageError;
use super::location::{ObjectUrl, Service};

/// Time for one connection.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Connections that are tried, with a pause before each but the first: a service may just be starting.
const TRIES: u32 = 2;

/// Pause before another one.
const PAUSE: Duration = Duration::from_millis(500);

/// Where machines of AWS ask for the credentials of their role, unless `AWS_METADATA_ENDPOINT` says another place.
const METADATA: &str = "http://169.254.169.254";

/// Where machines of Google Cloud do, unless `GCE_METADATA_HOST` says another place.
const GOOGLE_METADATA: &str = "http://metadata.google.internal";

/// Variables that each say where credentials are; see the builders of `object_store`.
const S3_CREDENTIALS: [&str; 5] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
];

/// The same of Google, beside the file that `gcloud auth application-default login` writes.
const GOOGLE_CREDENTIALS: [&str; 6] = [
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "SERVICE_ACCOUNT",
    "GOOGLE_SKIP_SIGNATURE",
];

/// Refuses a service that cannot be reached from here, or whose credentials are nowhere. What cannot be told without a
/// request, as behind a proxy, is left to the requests.
///
/// # Errors
/// [`StorageError::NoCredentials`] or [`StorageError::Unreachable`].
pub(super) fn check(url: &ObjectUrl) -> Result<(), StorageError> {
    check_with(url, &|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

fn check_with(url: &ObjectUrl, variable: &dyn Fn(&str) -> Option<String>) -> Result<(), StorageError> {
    let has = |name: &str| variable(name).is_some() || variable(&name.to_lowercase()).is_some();
    let has_proxy = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "AWS_PROXY_URL"].into_iter().any(has);
    let is_reached = |endpoint: &str| (has_proxy && !is_loopback(endpoint)) || connect(endpoint).is_ok();
    let is_without = match url.service() {
        Service::S3 if !S3_CREDENTIALS.into_iter().any(has) => {
            let is_off = variable("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
            is_off || !is_reached(&variable("AWS_METADATA_ENDPOINT").unwrap_or_else(|| METADATA.to_owned()))
        }
        Service::Google if !GOOGLE_CREDENTIALS.into_iter().any(has) && !has_gcloud_file(variable) => !is_reached(
            &variable("GCE_METADATA_HOST").map_or_else(|| GOOGLE_METADATA.to_owned(), |host| format!("http://{host}")),
        ),
        _ => false,
    };
    if is_without {
        return Err(StorageError::NoCredentials { url: url.clone() });
    }
    let Some(endpoint) = variable(url.service().variables().endpoint) else { return Ok(()) };
    if has_proxy && !is_loopback(&endpoint) {
        return Ok(());
    }
    connect(&endpoint).map_err(|source| StorageError::Unreachable {
        url: url.clone(),
        endpoint: authority(&endpoint),
        source,
    })
}

/// Whether an address is of this machine, to which no proxy leads.
fn is_loopback(endpoint: &str) -> bool {
    let authority = authority(endpoint);
    ["127.", "localhost", "[::1]"].iter().any(|start| authority.starts_with(start))
}

fn has_gcloud_file(variable: &dyn Fn(&str) -> Option<String>) -> bool {
    let home = variable("HOME").map(PathBuf::from).unwrap_or_default();
    home.join(".config/gcloud/application_default_credentials.json").is_file()
}

/// Opens a connection to the host of a URL and closes it again.
fn connect(endpoint: &str) -> io::Result<()> {
    let authority = authority(endpoint);
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let default = if endpoint.starts_with("http://") { 80 } else { 443 };
    let address = if has_port { authority } else { format!("{authority}:{default}") };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for n_before in 0..TRIES {
        if n_before > 0 {
            std::thread::sleep(PAUSE);
        }
        match address.to_socket_addrs() {
            Err(error) => last = error,
            Ok(addresses) => {
                for address in addresses {
                    match TcpStream::connect_timeout(&address, TIMEOUT) {
                        Ok(_) => return Ok(()),
                        Err(error) => last = error,
                    }
                }
            }
        }
    }
    Err(last)
}

/// `host:port` of a URL, without what may be a credential.
fn authority(endpoint: &str) -> String {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_owned()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Instant;

    use super::super::Location;
    use super::*;

    fn url() -> ObjectUrl {
        match Location::of("s3://b/k".as_ref()).unwrap() {
            Location::Object(url) => url,
            Location::Local(path) => panic!("{}", path.display()),
        }
    }

    fn check(variables: &[(&str, &str)]) -> Result<(), StorageError> {
        let find =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        check_with(&url(), &find)
    }

    #[test]
    fn an_address_at_which_nobody_listens_is_said_at_once() {
        let start = Instant::now();
        // A port that was free a moment ago.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let endpoint = format!("http://user:secret@127.0.0.1:{port}/path");
        let error = check(&[("AWS_ACCESS_KEY_ID", "a"), ("AWS_ENDPOINT_URL", &endpoint)]).unwrap_err();
        assert!(matches!(error, StorageError::Unreachable { .. }) && !error.to_string().contains("secret"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(8));
    }

    #[test]
    fn a_service_that_listens_is_reached_and_a_proxy_is_not_judged() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        check(&[("AWS_ACCESS_KEY_ID", "a"), ("AWS_ENDPOINT_URL", &endpoint)]).unwrap();
        check(&[("AWS_METADATA_ENDPOINT", &endpoint)]).unwrap();
        check(&[("https_proxy", "http://proxy:3128")]).unwrap();
    }

    #[test]
    fn credentials_that_are_nowhere_are_missed_before_a_request() {
        let error = check(&[("AWS_EC2_METADATA_DISABLED", "true")]).unwrap_err();
        assert!(matches!(error, StorageError::NoCredentials { .. }), "{error}");
        check(&[("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_SKIP_SIGNATURE", "true")]).unwrap();
    }
}
