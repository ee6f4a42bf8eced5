//! The pairs of stage one, scored in a cluster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::ScalarUDF;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::address::SchedulerAddress;
use super::client::{PATIENCE, Setting, config, reach};
use super::error::{Cause, ClusterError};
use super::functions::no_models;
use super::job::{self, Job, Jobs};
use super::wait::{TICK, runtime};
use crate::batch::{PairIds, Sharing, micro_batches};
use crate::digest::Digest;
use crate::interrupt::Interrupt;
use crate::logprob;
use crate::precompute::{Ended, Engine, Event, Listen, Plan, PrecomputeError, Said, Signals};
use crate::scoring::{RefLogps, model_digest};
use crate::table::{Provenance, TableError, TokenScores};

/// Forward passes of a job. Its way through the scheduler takes at most a tenth of a second, and what is lost with an
/// executor, or waited for at the end, are whole jobs.
const PASSES: usize = 2;

/// Token ids in a job at most: what a message of the engine may hold (16 MB), several times over.
const JOB_IDS: usize = 1 << 20;

/// Pairs between two parts of a table that are written: many, since executors wait for the last of them.
const PAIRS_AT_ONCE: usize = 1 << 14;

/// How long nothing may come before a user is told.
const SILENCE: Duration = Duration::from_secs(30);

/// A cluster as stage one uses it.
#[derive(Debug, Clone)]
pub struct ClusterPlan {
    /// Its scheduler.
    pub scheduler: SchedulerAddress,
    /// Jobs under way: each is one task, so at least two for each executor's core.
    pub jobs: usize,
    /// Name of the code path of the executors; `None` for that of this machine.
    pub kernel: Option<String>,
    /// Settings of Ballista and DataFusion.
    pub settings: Vec<Setting>,
}

/// Scores the pairs of stage one in a cluster.
///
/// Each job is a few forward passes of pairs, sent as token ids in its plan and answered with their scores. What several
/// pairs share is sent together, by the same rule that makes forward passes here.
#[derive(Debug)]
pub struct ClusterEngine {
    plan: ClusterPlan,
    connected: Option<Connected>,
}

/// What there is once there is something to score.
#[derive(Debug)]
struct Connected {
    runtime: Runtime,
    jobs: Arc<Jobs>,
    function: ScalarUDF,
    digest: Digest,
    /// Jobs submitted so far.
    n_jobs: u64,
}

/// What has come back of a job.
type Answer = (Job, Result<Vec<TokenScores>, ClusterError>);

impl ClusterEngine {
    /// The cluster of a scheduler that answers.
    ///
    /// # Errors
    /// If it does not answer, or a setting is none of the engine.
    pub fn new(plan: ClusterPlan) -> Result<Self, ClusterError> {
        config(&plan.settings)?;
        reach(&runtime()?, &plan.scheduler, PATIENCE)?;
        Ok(Self { plan, connected: None })
    }

    fn connect(&self, conditions: &Provenance, signals: Signals) -> Result<Connected, ClusterError> {
        let config = config(&self.plan.settings)?;
        // A name that no other client has.
        let session_id = SessionStateBuilder::new().build().session_id().to_owned();
        let function = match signals {
            Signals::Skip => RefLogps::new(no_models()),
            Signals::Make => RefLogps::with_signals(no_models()),
        };
        Ok(Connected {
            runtime: runtime()?,
            jobs: Arc::new(Jobs::new(self.plan.scheduler.url(), config, session_id)),
            function: ScalarUDF::new_from_impl(function),
            digest: model_digest(&conditions.model.meaning(), conditions.model.adapter_digest, &conditions.kernel),
            n_jobs: 0,
        })
    }

    fn failed(&self, source: impl Into<Cause>) -> PrecomputeError {
        PrecomputeError::Elsewhere { place: self.place(), source: source.into() }
    }

    fn place(&self) -> String {
        format!("the cluster of `{}`", self.plan.scheduler)
    }
}

impl Engine for ClusterEngine {
    fn kernel(&self, plan: &Plan) -> String {
        self.plan.kernel.clone().unwrap_or_else(|| logprob::kernel(&plan.backend, plan.dtype))
    }

    fn begin(
        &mut self,
        plan: &Plan,
        conditions: &Provenance,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), PrecomputeError> {
        self.connected = Some(self.connect(conditions, plan.signals).map_err(|error| self.failed(error))?);
        observe(Event::Connected { place: self.place() });
        Ok(())
    }

    fn n_pairs_at_once(&self) -> usize {
        PAIRS_AT_ONCE
    }

    fn score(
        &mut self,
        plan: &Plan,
        pairs: &[PairIds<'_>],
        interrupt: &Interrupt,
        listen: &mut Listen<'_>,
    ) -> Result<Ended, PrecomputeError> {
        let (n_at_once, place) = (self.plan.jobs.max(1), self.place());
        let Some(connected) = &mut self.connected else {
            let what = format!("{} pairs to score and no cluster", pairs.len());
            return Err(TableError::Internal { what }.into());
        };
        let Connected { runtime, jobs, function, digest, n_jobs } = connected;
        let mut chunks = chunks(pairs, plan.max_tokens.get()).into_iter();
        let next = || -> Option<Result<Job, ClusterError>> {
            let places = chunks.next()?;
            let ids: Vec<PairIds<'_>> = places.iter().map(|&place| pairs[place]).collect();
            let number = *n_jobs;
            *n_jobs += 1;
            let plan = job::plan(function, digest, &ids).map_err(|source| ClusterError::Plan { source });
            Some(plan.map(|plan| Job { number, places, plan }))
        };
        let mut gathering = Gathering { jobs, n_at_once, running: JoinSet::new(), heard: Instant::now(), n_retried: 0 };
        runtime
            .block_on(async {
                let ended = gathering.gather(next, interrupt, listen).await;
                gathering.give_up().await;
                ended
            })
            .map_err(|stopped| match stopped {
                Stopped::Listener(error) => error,
                Stopped::Cluster(source) => PrecomputeError::Elsewhere { place, source: source.into() },
            })
    }
}

/// Jobs under way, and when something was heard of one.
struct Gathering<'a> {
    jobs: &'a Arc<Jobs>,
    n_at_once: usize,
    running: JoinSet<Answer>,
    heard: Instant,
    /// Tries beyond the first that a user knows of.
    n_retried: u64,
}

/// Why the gathering of answers stops.
enum Stopped {
    Cluster(ClusterError),
    Listener(PrecomputeError),
}

impl Gathering<'_> {
    /// Submits jobs and hands on what comes back until there is neither, or somebody wants to stop.
    async fn gather(
        &mut self,
        mut next: impl FnMut() -> Option<Result<Job, ClusterError>>,
        interrupt: &Interrupt,
        listen: &mut Listen<'_>,
    ) -> Result<Ended, Stopped> {
        loop {
            if interrupt.is_set() {
                return Ok(Ended::Interrupted);
            }
            while self.running.len() < self.n_at_once
                && let Some(job) = next().transpose().map_err(Stopped::Cluster)?
            {
                let jobs = Arc::clone(self.jobs);
                self.running.spawn(async move {
                    let answer = jobs.run(&job).await;
                    (job, answer)
                });
            }
            let waited = tokio::time::timeout(TICK, self.running.join_next()).await;
            for line in self.news(waited.is_ok()) {
                listen(Said::Note(line)).map_err(Stopped::Listener)?;
            }
            match waited {
                Err(_) => {}
                Ok(None) => return Ok(Ended::Done),
                Ok(Some(Err(source))) => {
                    let source = Some(Box::new(source) as Cause);
                    return Err(Stopped::Cluster(ClusterError::Stopped { server: "client", source }));
                }
                Ok(Some(Ok((job, answer)))) => {
                    let scores = answer.map_err(Stopped::Cluster)?;
                    listen(Said::Scores { places: &job.places, scores }).map_err(Stopped::Listener)?;
                }
            }
        }
    }

    /// What a user should know of the waiting.
    fn news(&mut self, has_answer: bool) -> Vec<String> {
        let mut news = Vec::new();
        let (n_retried, reason) = self.jobs.retried();
        if n_retried > self.n_retried {
            self.n_retried = n_retried;
            news.push(format!("jobs submitted again so far: {n_retried}; the last because of: {reason}"));
        }
        if has_answer {
            self.heard = Instant::now();
        } else if self.heard.elapsed() >= SILENCE {
            self.heard = Instant::now();
            news.push(format!(
                "nothing came back for {} s: `piref cluster executor` says on its side what it does, if there is one",
                SILENCE.as_secs()
            ));
        }
        news
    }

    /// What is still running has nobody who waits for it.
    async fn give_up(&mut self) {
        if !self.running.is_empty() {
            self.running.abort_all();
            self.jobs.cancel().await;
        }
    }
}

/// The places of the pairs of each job: those of a few forward passes, one after another.
fn chunks(pairs: &[PairIds<'_>], max_tokens: usize) -> Vec<Vec<usize>> {
    let (mut chunks, mut open, mut n_ids) = (Vec::new(), Vec::new(), 0);
    for passes in micro_batches(pairs, max_tokens, Sharing::Prompts).chunks(PASSES) {
        for place in passes.iter().flat_map(|pass| &pass.pairs).map(|place| place.pair) {
            let PairIds { prompt, chosen, rejected } = pairs[place];
            n_ids += prompt.len() + chosen.len() + rejected.len();
            if n_ids > JOB_IDS && !open.is_empty() {
                chunks.push(std::mem::take(&mut open));
                n_ids = prompt.len() + chosen.len() + rejected.len();
            }
            open.push(place);
        }
        chunks.push(std::mem::take(&mut open));
        n_ids = 0;
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_two_forward_passes_of_what_belongs_together() {
        // Of 10 tokens each and with prompts of their own, two fit into a pass of 16: 7 + 7 rows, no last tokens.
        let ids: Vec<[u32; 3]> = (0..40).map(|pair| [pair, 1, 2]).collect();
        let pairs: Vec<PairIds<'_>> =
            ids.iter().map(|ids| PairIds { prompt: ids, chosen: &[3, 4, 5], rejected: &[6, 7, 8] }).collect();
        let found = chunks(&pairs, 16);
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [4; 10]);
        assert_eq!(found.concat(), (0..40).collect::<Vec<_>>());
        assert!(chunks(&[], 16).is_empty());
    }

    #[test]
    fn no_job_is_larger_than_a_message() {
        // Completions of one token take no row of a pass, so that all pairs of the prompt fit into one.
        let prompt = vec![1; 1 << 18];
        let pair = PairIds { prompt: &prompt, chosen: &[2], rejected: &[3] };
        let found = chunks(&[pair; 9], 1 << 18);
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3]);
    }
}
