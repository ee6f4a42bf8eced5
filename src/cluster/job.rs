//! One job: pairs as token ids in a plan, their scores in the answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::array::{AsArray, ListArray, RecordBatch, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, UInt32Type};
use ballista_core::execution_plans::DistributedQueryExec;
use ballista_core::extension::SessionConfigExt;
use ballista_core::serde::BallistaLogicalExtensionCodec;
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, ScalarUDF, col, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::common::collect;
use datafusion::prelude::{Expr, SessionConfig};
use datafusion_proto::protobuf::LogicalPlanNode;

use super::address::Scheduler;
use super::client::{cancel, of_submission};
use super::error::ClusterError;
use crate::batch::PairIds;
use crate::digest::Digest;
use crate::scoring::{RowFault, read_rows};
use crate::table::TokenScores;

/// How often a job is submitted at most: after an executor or the scheduler was lost with it, another try may go better.
const TRIES: u32 = 5;

/// What the scheduler says of an error that is no input/output error: another try would end alike.
const FINAL: &str = "runtime execution error";

/// Name of a column of [`plan`].
const PLACE: &str = "place";

/// The other.
const SCORES: &str = "scores";

/// A plan as the engine sends it.
pub(super) type Submitted = DistributedQueryExec<LogicalPlanNode>;

/// Pairs that are scored together.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// Which job of the run it is.
    pub(super) number: u64,
    /// Where its pairs stand in the list that is scored.
    pub(super) places: Vec<usize>,
    /// What is sent.
    pub(super) plan: LogicalPlan,
}

/// Those that wait for jobs of one scheduler.
#[derive(Debug)]
pub(super) struct Jobs {
    /// Where the scheduler is.
    scheduler: Scheduler,
    /// What is set for each.
    config: SessionConfig,
    /// Under which name the scheduler keeps the settings.
    session_id: String,
    /// Those that are under way.
    running: Mutex<BTreeMap<u64, Submitted>>,
    /// Tries beyond the first of each, and why there was the last of them.
    retried: Mutex<(u64, String)>,
}

/// `SELECT place, ref_logps(digest, prompt, chosen, rejected) AS scores FROM (VALUES …)`: token ids travel in the plan,
/// one partition, so one task.
///
/// # Errors
/// If the engine cannot make such a plan.
pub(super) fn plan(
    function: &ScalarUDF,
    digest: &Digest,
    pairs: &[PairIds<'_>],
) -> Result<LogicalPlan, DataFusionError> {
    let mut rows = Vec::with_capacity(pairs.len());
    for (place, pair) in (0_u32..).zip(pairs) {
        rows.push(vec![lit(place), ids(pair.prompt)?, ids(pair.chosen)?, ids(pair.rejected)?]);
    }
    let column = |number: usize| col(format!("column{number}"));
    let scores = function.call(vec![lit(digest.to_string()), column(2), column(3), column(4)]);
    LogicalPlanBuilder::values(rows)?.project([column(1).alias(PLACE), scores.alias(SCORES)])?.build()
}

fn ids(ids: &[u32]) -> Result<Expr, DataFusionError> {
    let item = Arc::new(Field::new_list_field(DataType::UInt32, true));
    let values = Arc::new(UInt32Array::from(ids.to_vec()));
    let list = ListArray::try_new(item, OffsetBuffer::from_lengths([ids.len()]), values, None)?;
    Ok(lit(ScalarValue::List(Arc::new(list))))
}

/// The scores in an answer, in the order of the pairs of the job.
///
/// # Errors
/// If it is no answer to this job, or a pair in it has no scores.
pub(super) fn scores(answer: &[RecordBatch], n_pairs: usize) -> Result<Vec<TokenScores>, ClusterError> {
    let mut found: Vec<Option<TokenScores>> = vec![None; n_pairs];
    let mut n_rows = 0;
    for batch in answer {
        n_rows += batch.num_rows();
        let (Some(places), Some(rows)) = (batch.column_by_name(PLACE), batch.column_by_name(SCORES)) else { continue };
        let Some(places) = places.as_primitive_opt::<UInt32Type>() else { continue };
        for (place, row) in places.iter().zip(read_rows(rows)?) {
            let (Some(place), Some(row)) = (place.map(|place| place as usize), row) else { continue };
            let Some(slot) = found.get_mut(place) else { continue };
            match (row.fault, row.scores) {
                // Numbers that are none go on to whoever can say of which pair they are.
                (None | Some(RowFault::NotALogp), Some(scores)) => *slot = Some(scores),
                (Some(fault), _) => return Err(ClusterError::Row { place, code: fault.code() }),
                (None, None) => {}
            }
        }
    }
    let scores: Vec<TokenScores> = found.into_iter().flatten().collect();
    if scores.len() == n_pairs && n_rows == n_pairs {
        Ok(scores)
    } else {
        Err(ClusterError::OtherRows { expected: n_pairs, found: scores.len() })
    }
}

impl Jobs {
    /// Jobs for this scheduler.
    pub(super) fn new(scheduler: Scheduler, config: SessionConfig, session_id: String) -> Self {
        let config = scheduler.over(config);
        Self { scheduler, config, session_id, running: Mutex::default(), retried: Mutex::default() }
    }

    /// The scores of the pairs of a job.
    ///
    /// # Errors
    /// If it fails for good, or too often.
    pub(super) async fn run(&self, job: &Job) -> Result<Vec<TokenScores>, ClusterError> {
        let (mut pause, mut n_tries) = (Duration::from_secs(1), 0);
        loop {
            n_tries += 1;
            let number = job.number * u64::from(TRIES) + u64::from(n_tries);
            let config = of_submission(self.config.clone(), number)?;
            let reason = match self.submit(job, config).await {
                Ok(answer) => return scores(&answer, job.places.len()),
                Err(error) => error.to_string(),
            };
            if n_tries >= TRIES || reason.contains(FINAL) {
                return Err(ClusterError::Job { n_pairs: job.places.len(), n_tries, reason });
            }
            self.retry(reason);
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    async fn submit(&self, job: &Job, config: SessionConfig) -> Result<Vec<RecordBatch>, DataFusionError> {
        let codec = Arc::new(BallistaLogicalExtensionCodec::default());
        let (url, plan) = (self.scheduler.url(), job.plan.clone());
        let submitted = Submitted::with_extension(url, config.ballista_config(), plan, codec, self.session_id.clone());
        self.running().insert(job.number, submitted.clone());
        let context = Arc::new(TaskContext::default().with_session_config(config));
        let answer = match submitted.execute(0, context) {
            Ok(rows) => collect(rows).await,
            Err(error) => Err(error),
        };
        self.running().remove(&job.number);
        answer
    }

    /// Tells the scheduler that nobody waits for the jobs under way any more.
    ///
    /// The last first: a job that computes is the first of them, and where it leaves an executor the next one would begin.
    pub(super) async fn cancel(&self) {
        let ids: Vec<_> = self.running().values().rev().filter_map(Submitted::job_id).collect();
        cancel(&self.scheduler, ids).await;
    }

    /// How many tries there were beyond the first of each job, and why there was the last of them.
    pub(super) fn retried(&self) -> (u64, String) {
        self.retried.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn retry(&self, reason: String) {
        let mut retried = self.retried.lock().unwrap_or_else(PoisonError::into_inner);
        *retried = (retried.0 + 1, reason);
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<u64, Submitted>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, UInt32Array};
    use datafusion::prelude::SessionContext;

    use super::*;
    use crate::cluster::functions::no_models;
    use crate::scoring::RefLogps;

    #[test]
    fn a_plan_holds_the_ids_and_survives_the_engine() {
        let function = ScalarUDF::new_from_impl(RefLogps::new(no_models()));
        let digest = Digest::of(b"model");
        let pairs = [
            PairIds { prompt: &[1, 2], chosen: &[3], rejected: &[4, 5, 6] },
            PairIds { prompt: &[7], chosen: &[8, 9], rejected: &[] },
        ];
        let plan = plan(&function, &digest, &pairs).unwrap();
        let ctx = SessionContext::new();
        ctx.register_udf(function);
        let bytes = datafusion_proto::bytes::logical_plan_to_bytes(&plan).unwrap();
        let again = datafusion_proto::bytes::logical_plan_from_bytes(&bytes, &ctx.task_ctx()).unwrap();
        assert_eq!(format!("{}", again.display_indent_schema()), format!("{}", plan.display_indent_schema()));
        let text = plan.display_indent().to_string();
        for part in ["ref_logps(", &digest.to_string(), "[4, 5, 6]", "[]"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn rows_that_are_not_asked_for_are_no_answer() {
        let answer = |places: &[u32]| {
            let places: ArrayRef = Arc::new(UInt32Array::from(places.to_vec()));
            RecordBatch::try_from_iter([(PLACE, places)]).unwrap()
        };
        for (places, n_pairs) in [(&[][..], 1), (&[0][..], 0), (&[0, 0][..], 1)] {
            let error = scores(&[answer(places)], n_pairs).unwrap_err();
            assert!(matches!(error, ClusterError::OtherRows { .. }), "{places:?} {n_pairs}: {error}");
        }
        assert!(scores(&[], 0).unwrap().is_empty());
    }
}
