//! One optimiser step up to its gradient: micro-batches, losses, slopes.

use std::ops::Range;

use super::error::TrainError;
use crate::batch::{Group, GroupBatch, pack};
use crate::logprob;
use crate::loss::{BatchFacts, Objective, PairLogps, PairSums, PairTokens};
use crate::model::{Decoder, Gradients, Keep, ModelError};
use crate::table::TrainingPair;

/// What the pairs of a step amount to, with the gradient of their mean loss.
#[derive(Debug)]
pub struct StepGradient {
    /// Gradient of the mean loss.
    pub gradients: Gradients,
    /// Mean loss of the pairs.
    pub loss: f64,
    /// Policy log-probs, in the order of the pairs.
    pub policy: Vec<PairLogps>,
    /// Tokens of the step, each prompt counted once per completion.
    pub n_tokens: u64,
}

/// The group of a pair: its prompt once, its completions after it.
pub(super) fn group<'a>(pair: &TrainingPair<'a>) -> Group<'a> {
    Group { prompt: pair.prompt_ids, completions: vec![pair.chosen_ids, pair.rejected_ids] }
}

/// The reference log-probs of a pair, as the table has them.
pub(super) fn reference(pair: &TrainingPair<'_>) -> PairLogps {
    PairLogps { chosen: pair.ref_chosen_logps, rejected: pair.ref_rejected_logps }
}

/// Policy log-probs of scored pairs: the sums come chosen first.
pub(super) fn pair_logps(sums: &[f64]) -> impl Iterator<Item = PairLogps> {
    sums.chunks_exact(2).map(|pair| PairLogps { chosen: pair[0], rejected: pair[1] })
}

/// Runs the pairs of one step in micro-batches of at most `max_tokens` rows.
///
/// The slopes are those of the mean over all pairs of the step, so that cutting it differently changes nothing but the
/// rounding of sums.
///
/// # Errors
/// If a token id is outside of the vocabulary.
pub fn gradient(
    model: &Decoder,
    pairs: &[TrainingPair<'_>],
    objective: &Objective,
    max_tokens: usize,
) -> Result<StepGradient, ModelError> {
    let mut step = RunningStep::new(model, pairs, objective, max_tokens);
    while !step.is_done() {
        step.run_next()?;
    }
    Ok(step.finish())
}

/// A step between two of its micro-batches.
pub(super) struct RunningStep<'a> {
    model: &'a Decoder,
    pairs: &'a [TrainingPair<'a>],
    objective: &'a Objective,
    groups: Vec<Group<'a>>,
    left: std::vec::IntoIter<Range<usize>>,
    gradients: Gradients,
    loss: f64,
    policy: Vec<PairLogps>,
}

impl<'a> RunningStep<'a> {
    pub(super) fn new(
        model: &'a Decoder,
        pairs: &'a [TrainingPair<'a>],
        objective: &'a Objective,
        max_tokens: usize,
    ) -> Self {
        let groups: Vec<Group<'_>> = pairs.iter().map(group).collect();
        let left = pack(groups.iter().map(Group::n_rows), max_tokens).into_iter();
        let gradients = Gradients::new(model.params());
        Self { model, pairs, objective, groups, left, gradients, loss: 0.0, policy: Vec::with_capacity(pairs.len()) }
    }

    /// Whether all micro-batches were run.
    pub(super) fn is_done(&self) -> bool {
        self.left.as_slice().is_empty()
    }

    /// Runs the next micro-batch, if one is left.
    pub(super) fn run_next(&mut self) -> Result<(), ModelError> {
        let Some(run) = self.left.next() else { return Ok(()) };
        let weight = 1.0 / self.pairs.len() as f64;
        let batch = GroupBatch::new(&self.groups[run.clone()])?;
        let scored = logprob::token_logps(self.model, &batch, Keep::Tape)?;
        let sums = scored.sums(&batch);
        let facts = BatchFacts::of(self.pairs.iter().map(|pair| pair.chosen_ids.len()));
        let mut slopes = Vec::with_capacity(sums.len());
        for (logps, pair) in pair_logps(&sums).zip(&self.pairs[run]) {
            let tokens = PairTokens { chosen: pair.chosen_ids.len(), rejected: pair.rejected_ids.len() };
            let pair_loss = self.objective.loss(&PairSums { policy: logps, reference: reference(pair), tokens }, facts);
            self.loss += weight * pair_loss.value;
            slopes.extend([weight * pair_loss.d_chosen, weight * pair_loss.d_rejected]);
            self.policy.push(logps);
        }
        scored.backward(self.model, &batch, &slopes, &mut self.gradients)
    }

    /// What the micro-batches that were run amount to.
    pub(super) fn finish(self) -> StepGradient {
        let n_tokens =
            self.pairs.iter().map(|pair| 2 * pair.prompt_ids.len() + pair.chosen_ids.len() + pair.rejected_ids.len());
        StepGradient {
            gradients: self.gradients,
            loss: self.loss,
            policy: self.policy,
            n_tokens: n_tokens.sum::<usize>() as u64,
        }
    }
}

impl StepGradient {
    /// Stops a run whose numbers are none, naming the pairs.
    pub(super) fn check(&self, step: u64, pairs: &[TrainingPair<'_>], norm: f64) -> Result<(), TrainError> {
        let error = |what, found, pairs: &[TrainingPair<'_>]| {
            let ids: Vec<&str> = pairs.iter().map(|pair| pair.pair_id).collect();
            Err(TrainError::NotFinite { step, what, found, pair_ids: ids.join(", ") })
        };
        for (logps, pair) in self.policy.iter().zip(pairs) {
            for (what, found) in [("a chosen log-prob", logps.chosen), ("a rejected log-prob", logps.rejected)] {
                if !found.is_finite() {
                    return error(what, found, std::slice::from_ref(pair));
                }
            }
        }
        match (self.loss, norm) {
            (loss, _) if !loss.is_finite() => error("the loss", loss, pairs),
            (_, norm) if !norm.is_finite() => error("the gradient norm", norm, pairs),
            _ => Ok(()),
        }
    }
}
