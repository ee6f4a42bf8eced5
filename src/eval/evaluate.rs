//! One evaluation: forward passes over held-out pairs, and the objective of what they say.

use std::time::Instant;

use super::error::EvalError;
use super::metrics::{EvalMetrics, Sums};
use super::scores::{self, PolicyScores};
use crate::batch::{PairIds, Sharing, micro_batches};
use crate::interrupt::Interrupt;
use crate::loss::{self, BatchFacts, BatchObjective, ObjectiveState, PairLogps, Scope};
use crate::model::{Decoder, Keep, ModelError};
use crate::table::{EvaluatedPair, TableError, TrainingPair, TrainingPairs};

/// Pairs that are packed and held together where the objective sees each by itself: enough for full micro-batches and
/// shared prompts, and no more in memory however many there are.
const WINDOW: usize = 1024;

/// Pairs to evaluate: rows of a table, in this order.
#[derive(Debug, Clone, Copy)]
pub struct HeldOut<'a> {
    /// The pairs of the table.
    pub pairs: &'a TrainingPairs,
    /// Which of them.
    pub rows: &'a [u32],
}

/// What an evaluation finds of a pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairResult<'a> {
    /// The pair, with what the reference says of it.
    pub pair: TrainingPair<'a>,
    /// What the policy says of it, in nats.
    pub policy: PairLogps,
    /// Chosen reward − rejected reward, β·nats.
    pub margin: f64,
    /// Its loss; of an objective of the whole batch, its share of the batch's.
    pub loss: f64,
}

impl<'a> PairResult<'a> {
    /// The pair as a row of the table `evals`, after so many steps of a run.
    pub fn row(&self, step: Option<u64>) -> EvaluatedPair<'a> {
        EvaluatedPair {
            step,
            pair: self.pair,
            policy_chosen_logps: self.policy.chosen,
            policy_rejected_logps: self.policy.rejected,
            margin: self.margin,
            loss: self.loss,
        }
    }
}

/// An evaluation of a policy.
///
/// The loss is that of training. An objective of pairs sees all of them as one batch; one of the whole optimiser batch
/// sees `batch_size` pairs after another, as they stand, the last of them fewer, and the mean is over pairs. Each batch
/// starts from what the objective remembers now: BCO's shift takes in the batch it is asked about, as in a step, and
/// forgets it again.
#[derive(Debug, Clone, Copy)]
pub struct Evaluation<'a> {
    /// The policy.
    pub model: &'a Decoder,
    /// The pairs.
    pub held_out: HeldOut<'a>,
    /// What is reported as loss; its β is that of the rewards.
    pub objective: &'a BatchObjective,
    /// What the objective remembers.
    pub state: ObjectiveState,
    /// Pairs that an objective of the whole batch sees at once.
    pub batch_size: usize,
    /// Token budget of a micro-batch: speed and memory, never the result.
    pub max_tokens: usize,
}

impl<'a> Evaluation<'a> {
    /// Evaluates. `push` is given the pairs in their order, as they are known; `observe` after each pass the number of
    /// pairs scored. Interrupted between two passes, there is no result.
    ///
    /// # Errors
    /// If there are no pairs, a token id is outside of the vocabulary, a pair lacks what the objective needs, a number is
    /// not finite (the pair is named), or `push` fails.
    pub fn run(
        &self,
        interrupt: &Interrupt,
        observe: &mut dyn FnMut(usize),
        push: &mut dyn FnMut(&PairResult<'_>) -> Result<(), TableError>,
    ) -> Result<Option<EvalMetrics>, EvalError> {
        let started = Instant::now();
        let HeldOut { pairs, rows } = self.held_out;
        let get = |rows: &'a [u32]| rows.iter().filter_map(|&row| pairs.get(row as usize));
        let window = match self.objective.scope() {
            Scope::Pair => WINDOW,
            Scope::Batch => self.batch_size.max(1),
        };
        let of_all = BatchFacts::of(get(rows).map(|pair| pair.chosen_ids.len()));
        let (mut sums, mut n_before) = (Sums::new(self.objective.beta()), 0);
        for rows in rows.chunks(window) {
            let pairs: Vec<TrainingPair<'a>> = get(rows).collect();
            let Some(scores) = self.score(&pairs, interrupt, &mut |n_scored| observe(n_before + n_scored))? else {
                return Ok(None);
            };
            let facts = match self.objective.scope() {
                Scope::Pair => of_all,
                Scope::Batch => BatchFacts::of(pairs.iter().map(|pair| pair.chosen_ids.len())),
            };
            for result in self.results(&pairs, &scores, facts)? {
                check(&result)?;
                sums.add(&result);
                push(&result)?;
            }
            n_before += pairs.len();
        }
        if n_before == 0 {
            return Err(EvalError::NoPairs);
        }
        Ok(Some(sums.finish(started.elapsed().as_secs_f64())))
    }

    /// What the policy says of each of the pairs.
    fn score(
        &self,
        pairs: &[TrainingPair<'_>],
        interrupt: &Interrupt,
        observe: &mut dyn FnMut(usize),
    ) -> Result<Option<Vec<PolicyScores>>, EvalError> {
        let ids: Vec<PairIds<'_>> = pairs.iter().map(scores::ids).collect();
        let mut found: Vec<(usize, PolicyScores)> = Vec::with_capacity(pairs.len());
        for micro_batch in micro_batches(&ids, self.max_tokens, Sharing::Prompts) {
            if interrupt.is_set() {
                return Ok(None);
            }
            let batch = micro_batch.lay_out().map_err(ModelError::from)?;
            let (_, scores) = scores::score(self.model, &micro_batch, &batch, Keep::Nothing, self.objective.needs())?;
            found.extend(micro_batch.pairs.iter().map(|place| place.pair).zip(scores));
            observe(found.len());
        }
        found.sort_unstable_by_key(|(pair, _)| *pair);
        Ok(Some(found.into_iter().map(|(_, scores)| scores).collect()))
    }

    fn results<'b>(
        &self,
        pairs: &[TrainingPair<'b>],
        scores: &[PolicyScores],
        facts: BatchFacts,
    ) -> Result<Vec<PairResult<'b>>, EvalError> {
        let inputs: Vec<_> = pairs.iter().zip(scores).map(|(pair, scores)| scores.inputs(pair)).collect();
        let mut state = self.state;
        let losses = self.objective.losses(&inputs, facts, &mut state)?;
        let beta = self.objective.beta();
        let result = |((pair, scores), loss): ((&TrainingPair<'b>, &PolicyScores), loss::PairSlopes)| PairResult {
            pair: *pair,
            policy: scores.logps,
            margin: loss::reward(beta, scores.logps.chosen, pair.ref_chosen_logps)
                - loss::reward(beta, scores.logps.rejected, pair.ref_rejected_logps),
            loss: loss.value,
        };
        Ok(pairs.iter().zip(scores).zip(losses).map(result).collect())
    }
}

/// Refuses what is no number.
fn check(result: &PairResult<'_>) -> Result<(), EvalError> {
    for (what, found) in [
        ("the chosen log-prob", result.policy.chosen),
        ("the rejected log-prob", result.policy.rejected),
        ("the loss", result.loss),
    ] {
        if !found.is_finite() {
            return Err(EvalError::NotFinite { what, found, pair_id: result.pair.pair_id.to_owned() });
        }
    }
    Ok(())
}
