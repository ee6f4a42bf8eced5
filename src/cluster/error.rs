//! What can go wrong with a cluster.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use datafusion::error::DataFusionError;

use super::address::SchedulerAddress;
use super::tls::NAME;
use crate::error::Hint;
use crate::io::IoError;
use crate::scoring::ScoringError;

/// Whatever a library calls an error.
pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What can go wrong with a cluster.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// Nobody answers where the scheduler should be.
    #[error("no scheduler answers at `{address}`")]
    NoScheduler {
        /// Where it should be.
        address: SchedulerAddress,
        /// What the network says.
        #[source]
        source: Cause,
    },
    /// An address that is in use, or not of this machine.
    #[error("cannot listen at `{at}`")]
    Bind {
        /// The address.
        at: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An address that others reach, and nothing that keeps them out.
    #[error(
        "`{at}` can be reached from other machines, and whoever reaches it can run queries and read what this program can"
    )]
    Open {
        /// The address.
        at: IpAddr,
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
        source: Cause,
    },
    /// A file.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A server that listens at all addresses and cannot know by which one others reach it.
    #[error("`--bind {at}` listens at every address of this machine, and does not say by which one others reach it")]
    NoHost {
        /// The address.
        at: SocketAddr,
    },
    /// A setting that the engine does not have, or not with such a value.
    #[error("cannot set `{key}` to `{value}`")]
    Setting {
        /// Name of the setting.
        key: String,
        /// Its value.
        value: String,
        /// What the engine says.
        #[source]
        source: DataFusionError,
    },
    /// A job that cannot be made.
    #[error("cannot make a job")]
    Plan {
        /// What the engine says.
        #[source]
        source: DataFusionError,
    },
    /// A job that failed, for a reason that another try does not mend or after the last of them.
    #[error("a job of {n_pairs} pairs failed, tried {n_tries} times: {reason}")]
    Job {
        /// Pairs in it.
        n_pairs: usize,
        /// How often it was submitted.
        n_tries: u32,
        /// What the scheduler says.
        reason: String,
    },
    /// A job whose answer is not of its pairs.
    #[error("a job answered other rows than asked: expected those of {expected} pairs, found {found}")]
    OtherRows {
        /// Pairs in it.
        expected: usize,
        /// Rows that are of one of them, each counted once.
        found: usize,
    },
    /// A pair that an executor cannot score.
    #[error("pair {place} of a job cannot be scored: `{code}`")]
    Row {
        /// Its place, from 0.
        place: usize,
        /// The code in the answer.
        code: &'static str,
    },
    /// A server that ended by itself.
    #[error("the {server} has stopped")]
    Stopped {
        /// `scheduler` or `executor`.
        server: &'static str,
        /// Why, if it says so.
        #[source]
        source: Option<Cause>,
    },
    /// The folder of an executor's temporary files.
    #[error("cannot make a folder in `{}`", folder.display())]
    Folder {
        /// Where it should be.
        folder: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The threads of the engine.
    #[error("cannot start the threads of the engine")]
    Runtime {
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The functions, or a model.
    #[error(transparent)]
    Scoring(#[from] ScoringError),
}

impl ClusterError {
    /// Refuses an address that others reach, unless they may: who has no certificate is let in.
    pub(super) fn if_open(at: IpAddr, others_may: bool) -> Result<(), Self> {
        if at.is_loopback() || others_may { Ok(()) } else { Err(Self::Open { at }) }
    }
}

impl Hint for ClusterError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoScheduler { address, .. } => Some(format!(
                "`piref cluster scheduler --bind IP:{}` starts one; a firewall between the two must let that port through",
                address.port()
            )),
            Self::Bind { .. } => Some("`--bind` names another address".into()),
            Self::Open { .. } => Some(
                "`--tls-cert` and `--tls-key` keep others out; `--insecure` says that the network is one you trust"
                    .into(),
            ),
            Self::Certificate { .. } => Some(format!(
                "`openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj /CN={NAME} \
                 -addext subjectAltName=DNS:{NAME} -addext basicConstraints=critical,CA:FALSE -keyout key.pem -out \
                 certificate.pem` makes both"
            )),
            Self::Io(error) => error.hint(),
            Self::NoHost { .. } => Some("`--advertise HOST` says it".into()),
            Self::Job { reason, .. } => job_hint(reason),
            Self::Row { .. } => {
                Some("the model of the executors has another vocabulary than the tokenizer here".into())
            }
            Self::Scoring(error) => error.hint(),
            _ => None,
        }
    }
}

/// What a user can do about a job that failed. The scheduler passes errors of executors on as text, in their debug form.
fn job_hint(reason: &str) -> Option<String> {
    let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if says(&["OtherModel", "NoModel", "NoDigest"]) {
        return Some(
            "every executor needs `--model` of the weights that `precompute` names, and `--dtype` and `--device` that give \
             the same code path; `--cluster-kernel` names that of the executors where it is not this machine's"
                .into(),
        );
    }
    says(&["no executors remain"]).then(|| "`piref cluster executor --scheduler HOST:PORT --model M` starts one".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_executors_come_with_advice() {
        let hint = |reason: &str| {
            ClusterError::Job { n_pairs: 1, n_tries: 1, reason: reason.into() }.hint().unwrap_or_default()
        };
        let other = ScoringError::OtherModel { expected: crate::digest::Digest::of(b"a"), known: Vec::new() };
        let source = DataFusionError::from(other);
        assert!(hint(&format!("Task failed due to runtime execution error: {source:?}")).contains("--model"));
        assert!(hint(&format!("{:?}", DataFusionError::from(ScoringError::NoModel))).contains("--model"));
        assert_eq!(hint("something else"), "");
    }
}
