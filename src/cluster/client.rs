//! What a client of a cluster sets, and what it says to a scheduler beside its jobs.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use ballista_core::JobId;
use ballista_core::config::{BALLISTA_CHAOS_EXECUTION_SEED, BALLISTA_CLIENT_PULL};
use ballista_core::extension::SessionConfigExt;
use ballista_core::serde::protobuf::CancelJobParams;
use datafusion::prelude::SessionConfig;
use tokio::runtime::Runtime;

use super::address::Scheduler;
use super::error::{Cause, ClusterError};

/// How long a client waits for a scheduler to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// A setting of the engine: `ballista.…` or `datafusion.…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self { key: key.trim().into(), value: value.trim().into() }),
            _ => Err(format!("expected `KEY=VALUE`, found `{text}`")),
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

/// A configuration of the engine with these settings.
///
/// # Errors
/// At the first setting that the engine does not have, or not with that value.
pub(super) fn config(settings: &[Setting]) -> Result<SessionConfig, ClusterError> {
    of_client(SessionConfig::new_with_ballista(), settings)
}

/// The same configuration for a client with these settings.
///
/// A client asks how its jobs are: the other way round it would know none by name, and could cancel none, before it runs.
///
/// # Errors
/// As [`config`].
pub(super) fn of_client(config: SessionConfig, settings: &[Setting]) -> Result<SessionConfig, ClusterError> {
    let ours = Setting { key: BALLISTA_CLIENT_PULL.into(), value: "true".into() };
    with_settings(with_settings(config, &[ours])?, settings)
}

fn with_settings(mut config: SessionConfig, settings: &[Setting]) -> Result<SessionConfig, ClusterError> {
    for Setting { key, value } in settings {
        config.options_mut().set(key, value).map_err(|source| ClusterError::Setting {
            key: key.clone(),
            value: value.clone(),
            source,
        })?;
    }
    Ok(config)
}

/// The same configuration for submission number `number` of a run: the engine's injection of faults, where somebody has
/// turned it on with a seed, decides by the seed alone, so that with one seed all jobs would fare alike for ever.
pub(super) fn of_submission(config: SessionConfig, number: u64) -> Result<SessionConfig, ClusterError> {
    let ballista = config.ballista_config();
    match ballista.chaos_execution_seed() {
        Some(seed) if ballista.chaos_execution_enabled() => {
            let value = seed.wrapping_add(number).to_string();
            with_settings(config, &[Setting { key: BALLISTA_CHAOS_EXECUTION_SEED.into(), value }])
        }
        _ => Ok(config),
    }
}

/// Waits until a scheduler answers.
///
/// # Errors
/// If it does not for so long: with what it came to last.
pub(super) fn reach(runtime: &Runtime, scheduler: &Scheduler, patience: Duration) -> Result<(), ClusterError> {
    runtime
        .block_on(answer(scheduler, patience))
        .map_err(|source| ClusterError::NoScheduler { address: scheduler.address.clone(), source })
}

/// As [`reach`], for who waits for something else besides.
pub(super) async fn answer(scheduler: &Scheduler, patience: Duration) -> Result<(), Cause> {
    const PAUSE: Duration = Duration::from_millis(200);
    let began = Instant::now();
    loop {
        let left = patience.saturating_sub(began.elapsed());
        let source: Cause = match tokio::time::timeout(left, scheduler.connect()).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => format!("nothing came back in {} s", patience.as_secs()).into(),
        };
        if began.elapsed() + PAUSE >= patience {
            return Err(source);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Tells a scheduler that nobody waits for these jobs any more; what it says to that is of no use.
pub(super) async fn cancel(scheduler: &Scheduler, jobs: impl IntoIterator<Item = JobId>) {
    let mut jobs = jobs.into_iter().peekable();
    if jobs.peek().is_none() {
        return;
    }
    let told = async {
        let Ok(mut scheduler) = scheduler.connect().await else { return };
        for job in jobs {
            let _ = scheduler.cancel_job(CancelJobParams { job_id: job.into() }).await;
        }
    };
    let _ = tokio::time::timeout(PATIENCE, told).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Hint;

    fn settings(texts: &[&str]) -> Vec<Setting> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn settings_are_those_of_the_engine() {
        assert_eq!("a.b = c=d".parse(), Ok(Setting { key: "a.b".into(), value: "c=d".into() }));
        assert!("a.b".parse::<Setting>().is_err());
        assert!(config(&[]).unwrap().ballista_config().client_pull());
        let config = config(&settings(&["datafusion.execution.batch_size=7", "ballista.client.pull=false"])).unwrap();
        assert_eq!(config.batch_size(), 7);
        assert!(!config.ballista_config().client_pull());
        let error = super::config(&settings(&["ballista.nothing=1"])).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.hint()), ("cannot set `ballista.nothing` to `1`", None));
    }

    #[test]
    fn injected_faults_differ_between_submissions_and_not_between_runs() {
        let chaos = ["ballista.testing.chaos_execution.enabled=true", "ballista.testing.chaos_execution.seed=40"];
        let seed = |texts: &[&str], number: u64| {
            of_submission(config(&settings(texts)).unwrap(), number).unwrap().ballista_config().chaos_execution_seed()
        };
        assert_eq!([seed(&chaos, 0), seed(&chaos, 2), seed(&chaos, 2)], [Some(40), Some(42), Some(42)]);
        assert_eq!(seed(&chaos[1..], 2), Some(40), "nothing is injected");
        assert_eq!(seed(&chaos[..1], 2), None, "without a seed the engine draws one");
    }
}
