//! What can go wrong with an object.

use std::time::Duration;

use super::location::ObjectUrl;
use super::variables::Variables;
use crate::error::Hint;
use crate::io::IoError;

/// What can go wrong with an object, or with its local copy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// A URL that no object has.
    #[error("cannot use URL `{url}`: expected {expected}")]
    Url {
        /// As given, without what may be a credential.
        url: String,
        /// What it has to be.
        expected: &'static str,
    },
    /// A URL of another kind.
    #[error("cannot use URL `{url}`: unknown scheme `{scheme}`, expected `s3`, `gs`, `az`, `abfs`, `abfss` or `file`")]
    Scheme {
        /// As given, without what may be a credential.
        url: String,
        /// What it begins with.
        scheme: String,
    },
    /// Settings in the environment that make no connection.
    #[error("cannot connect to `{}`: {said}", url.root())]
    Connect {
        /// An object of the bucket.
        url: ObjectUrl,
        /// What the client says.
        said: String,
    },
    /// An endpoint at which nobody listens.
    #[error("cannot reach `{}` at `{endpoint}`: {source}", url.root())]
    Unreachable {
        /// An object of the bucket.
        url: ObjectUrl,
        /// Host and port.
        endpoint: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Credentials that are nowhere.
    #[error("there are no credentials for `{}`", url.root())]
    NoCredentials {
        /// An object of the bucket.
        url: ObjectUrl,
    },
    /// An object that was named and is not there.
    #[error("`{url}` does not exist")]
    Missing {
        /// The object.
        url: ObjectUrl,
    },
    /// An object larger than anything of its kind.
    #[error("`{url}` is too large: expected at most {limit} bytes")]
    TooLarge {
        /// The object.
        url: ObjectUrl,
        /// Bytes that are read of such an object.
        limit: u64,
    },
    /// A request that failed, for good or as often as it was tried.
    #[error("cannot {action} `{url}`: {failure}")]
    Request {
        /// What was tried: `read`, `write`, …
        action: &'static str,
        /// On which object.
        url: ObjectUrl,
        /// What came of it.
        failure: Failure,
    },
    /// An object that is not what it was when this run began, or that was not there and now is.
    #[error("`{url}` was changed by somebody else: expected it {expected}, and it is not overwritten")]
    Changed {
        /// The object.
        url: ObjectUrl,
        /// `absent` or `as it was`.
        expected: &'static str,
    },
    /// Another run writes the same table.
    #[error("another run writes there: {holder}, last heard of {} ago, says `{url}`", ago(*heard))]
    Leased {
        /// The object that says so.
        url: ObjectUrl,
        /// Who, as that object says.
        holder: String,
        /// Time since the holder renewed it.
        heard: Duration,
    },
    /// A lease that somebody else has taken over.
    #[error("another run writes there now: {holder}, says `{url}`")]
    LeaseLost {
        /// The object that says so.
        url: ObjectUrl,
        /// Who has it now.
        holder: String,
    },
    /// No folder for local copies.
    #[error("there is no folder for copies of objects: none of `PIREF_CACHE_DIR`, `XDG_CACHE_HOME` and `HOME` is set")]
    NoCache,
    /// A size that is none.
    #[error("cannot use `PIREF_CACHE_SIZE`: expected a size such as `200GB`, found `{found}`")]
    CacheSize {
        /// As set.
        found: String,
    },
    /// The threads that wait for answers.
    #[error("cannot start the threads that wait for `{bucket}`")]
    Runtime {
        /// Scheme and bucket.
        bucket: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A text of ours that cannot be written.
    #[error("internal error: a lease cannot be written; please report it")]
    Internal {
        /// What serde says.
        #[source]
        source: serde_json::Error,
    },
    /// A local file.
    #[error(transparent)]
    Io(#[from] IoError),
}

/// Bytes that are shown of what a server says.
const SAID_BYTES: usize = 300;

/// What came of a request, in few words and without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Status of the last answer, with its name: `503 Service Unavailable`.
    pub status: Option<String>,
    /// Times it was tried, where the client tells.
    pub attempts: Option<u64>,
    /// What the server or the client says.
    pub said: String,
}

impl Failure {
    /// Reads the text of the client's error, which is all it shows of the request.
    pub(super) fn of(error: &object_store::Error) -> Self {
        let mut text = error.to_string();
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        // The client does not spell out why a connection failed.
        let root = cause.to_string();
        if !text.contains(&root) {
            text = format!("{text}: {root}");
        }
        Self::of_text(&text, &secrets())
    }

    fn of_text(text: &str, secrets: &[String]) -> Self {
        let between = |start: &str, end: &str| {
            let (_, rest) = text.split_once(start)?;
            Some(rest.split_once(end)?.0)
        };
        let retries = between("after ", " retries").and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        // Of a body that broke it does not tell.
        let attempts = text.contains("Error performing ").then_some(retries + 1);
        let status = text.split_once("status code: ").map(|(_, rest)| {
            let status = rest.split([':', '\n']).next().unwrap_or_default();
            status.trim().to_owned()
        });
        // Of a body only what it says the error is: others of its parts repeat what was sent, tokens included.
        let of_body = between("<Code>", "</Code>").map(|code| match between("<Message>", "</Message>") {
            Some(message) => format!("{code}: {message}"),
            None => code.to_owned(),
        });
        let said = match (of_body, &status) {
            (Some(said), _) => said,
            (None, Some(_)) => String::new(),
            (None, None) => {
                let cause = text.rsplit_once(" - ").map_or(text, |(_, cause)| cause);
                let of_service = cause.strip_prefix("Generic ").and_then(|rest| rest.split_once(" error: "));
                of_service.map_or(cause, |(_, cause)| cause).to_owned()
            }
        };
        let mut said = said.lines().next().unwrap_or_default().to_owned();
        for secret in secrets {
            said = said.replace(secret.as_str(), "…");
        }
        if said.len() > SAID_BYTES {
            said.truncate(said.floor_char_boundary(SAID_BYTES));
            said.push('…');
        }
        Self { status, attempts, said }
    }

    /// Whether its status begins with one of these, or its text has one of them.
    fn has(&self, words: &[&str]) -> bool {
        let status = self.status.as_deref().unwrap_or_default();
        words.iter().any(|word| self.said.contains(word) || status.starts_with(word))
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.status, self.said.as_str()) {
            (Some(status), "") => write!(f, "status {status}")?,
            (Some(status), said) => write!(f, "status {status}: {said}")?,
            (None, said) => f.write_str(said)?,
        }
        match self.attempts {
            None => Ok(()),
            Some(1) => f.write_str(", tried once"),
            Some(n) => write!(f, ", tried {n} times"),
        }
    }
}

/// Values of the environment that are credentials.
fn secrets() -> Vec<String> {
    const SHORTEST: usize = 8;
    let is_of_service = |name: &str| ["AWS_", "AZURE_", "GOOGLE_"].iter().any(|prefix| name.starts_with(prefix));
    let is_secret = |name: &str| ["SECRET", "TOKEN", "KEY", "SAS", "PASSWORD"].iter().any(|word| name.contains(word));
    let variables =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    variables
        .filter(|(name, value)| is_of_service(name) && is_secret(name) && value.len() >= SHORTEST)
        .map(|(_, value)| value)
        .collect()
}

fn ago(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}

impl Hint for StorageError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Scheme { scheme, .. } if scheme.starts_with("http") => {
                Some("fetch it to a local file first, or name the object as `s3://BUCKET/KEY`".into())
            }
            Self::Request { failure, url, .. } => Some(request_hint(failure, &url.service().variables())),
            Self::Unreachable { url, .. } => {
                let Variables { endpoint, .. } = url.service().variables();
                Some(format!("is the endpoint (`{endpoint}`) right, and reachable from here?"))
            }
            Self::Connect { url, .. } | Self::NoCredentials { url } => Some(credentials(&url.service().variables())),
            Self::Missing { url } => {
                let Variables { endpoint, .. } = url.service().variables();
                Some(format!("check bucket and key, and `{endpoint}` where the service has another address"))
            }
            Self::Changed { .. } => Some(
                "another run writes there too, or something else does: run the same command again when it is done"
                    .into(),
            ),
            Self::Leased { url, .. } => Some(format!(
                "wait for it, or write to another URL; a run that was killed elsewhere is given up after 20 minutes, or at \
                 once if `{url}` is deleted"
            )),
            Self::LeaseLost { .. } => {
                Some("what was scored is kept: run the same command again when that run is done".into())
            }
            Self::NoCache => Some("set `PIREF_CACHE_DIR` to a folder".into()),
            Self::Io(error) => error.hint(),
            _ => None,
        }
    }
}

fn credentials(variables: &Variables) -> String {
    format!("credentials are read from the environment: {}", variables.credentials)
}

fn request_hint(failure: &Failure, variables: &Variables) -> String {
    let has = |words: &[&str]| failure.has(words);
    let Variables { endpoint, allow_http, region, .. } = variables;
    match region {
        _ if has(&["169.254.169.254", "metadata.google", "401", "403"]) => credentials(variables),
        Some(region) if has(&["301", "307", "400", "region", "LOCATION"]) => {
            format!("is `{region}` the region of the bucket?")
        }
        _ if has(&["scheme is not allowed", "builder error", "URL scheme"]) => {
            format!("an endpoint without TLS needs `{allow_http}=true`")
        }
        _ if has(&["412", "not implemented", "501"]) => {
            "the service has to know conditional writes (`If-Match`, `If-None-Match`)".into()
        }
        _ if has(&["404"]) => format!("does the bucket exist, and at this endpoint (`{endpoint}`)?"),
        _ if failure.status.is_none() => format!("is the endpoint (`{endpoint}`) right, and reachable from here?"),
        _ => "what is committed is kept: run the same command again".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(text: &str) -> Failure {
        Failure::of_text(text, &["hunter2hunter2".to_owned()])
    }

    #[test]
    fn a_failure_says_status_and_attempts_and_no_secret() {
        let text = "Generic S3 error: Error performing PUT http://127.0.0.1:5000/b/k in 3.1s, after 8 retries, max_retries: \
                    8, retry_timeout: 120s  - Server returned non-2xx status code: 503 Service Unavailable: <?xml?><Error>\
                    <Code>SlowDown</Code><Message>Reduce your rate.</Message><Token-0>hunter2hunter2</Token-0></Error>";
        assert_eq!(
            failure(text).to_string(),
            "status 503 Service Unavailable: SlowDown: Reduce your rate., tried 9 times"
        );
        let denied = "The operation lacked the necessary privileges to complete for path k: Error performing GET http://h/b/k \
                      in 1ms - Server returned non-2xx status code: 403 Forbidden: ";
        assert_eq!(failure(denied).to_string(), "status 403 Forbidden, tried once");
        let lost =
            "Generic S3 error: Error performing GET http://h/k in 1ms - HTTP error: error sending hunter2hunter2";
        assert_eq!(failure(lost).to_string(), "HTTP error: error sending …, tried once");
        assert_eq!(failure("Generic S3 error: HTTP error: end of file").to_string(), "HTTP error: end of file");
    }

    #[test]
    fn hints_follow_the_cause() {
        let hint_at = |url: &str, text: &str| {
            let url = match super::super::Location::of(url.as_ref()).unwrap() {
                super::super::Location::Object(url) => url,
                super::super::Location::Local(path) => panic!("{}", path.display()),
            };
            StorageError::Request { action: "read", url, failure: failure(text) }.hint().unwrap()
        };
        let hint = |text: &str| hint_at("s3://b/k", text);
        assert!(hint("x - Server returned non-2xx status code: 403 Forbidden: ").contains("AWS_ACCESS_KEY_ID"));
        assert!(hint("Error performing PUT http://169.254.169.254/latest/api/token in 1s - HTTP error: PUT http://169.254.169.254")
            .contains("AWS_ACCESS_KEY_ID"));
        assert!(hint("x - Received redirect without LOCATION, this normally").contains("AWS_REGION"));
        assert!(hint("x - HTTP error: builder error").contains("AWS_ALLOW_HTTP"));
        assert!(hint("x - HTTP error: error sending request").contains("AWS_ENDPOINT_URL"));
        assert!(
            hint("x - Server returned non-2xx status code: 503 Service Unavailable: ").contains("run the same command")
        );
        let denied = "x - Server returned non-2xx status code: 403 Forbidden: ";
        assert!(hint_at("az://c/k", denied).contains("AZURE_STORAGE_ACCOUNT_KEY"));
        assert!(hint_at("gs://b/k", denied).contains("GOOGLE_APPLICATION_CREDENTIALS"));
        let wrong = "x - Server returned non-2xx status code: 400 Bad Request: ";
        assert!(!hint_at("az://c/k", wrong).contains("region"), "requests to it have none");
    }
}
