//! One optimiser step up to its gradient: micro-batches, losses, slopes.

use super::error::TrainError;
use super::passes::{Passes, Recompute};
use crate::batch::{MicroBatch, PairIds, Sharing, micro_batches};
use crate::logprob::{self, Slopes};
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

/// The token ids of a pair.
pub(super) fn ids<'a>(pair: &TrainingPair<'a>) -> PairIds<'a> {
    PairIds { prompt: pair.prompt_ids, chosen: pair.chosen_ids, rejected: pair.rejected_ids }
}

/// The reference log-probs of a pair, as the table has them.
pub(super) fn reference(pair: &TrainingPair<'_>) -> PairLogps {
    PairLogps { chosen: pair.ref_chosen_logps, rejected: pair.ref_rejected_logps }
}

/// Runs the pairs of one step in micro-batches.
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
    passes: Passes,
) -> Result<StepGradient, ModelError> {
    let mut step = RunningStep::new(model, pairs, objective, passes);
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
    recompute: Recompute,
    left: std::vec::IntoIter<MicroBatch<'a>>,
    gradients: Gradients,
    /// Policy log-probs and losses of the pairs that were run.
    scored: Vec<Option<(PairLogps, f64)>>,
}

impl<'a> RunningStep<'a> {
    pub(super) fn new(
        model: &'a Decoder,
        pairs: &'a [TrainingPair<'a>],
        objective: &'a Objective,
        passes: Passes,
    ) -> Self {
        let ids: Vec<PairIds<'_>> = pairs.iter().map(ids).collect();
        let left = micro_batches(&ids, passes.max_tokens, Sharing::Prompts).into_iter();
        let (gradients, scored) = (Gradients::new(model.params()), vec![None; pairs.len()]);
        Self { model, pairs, objective, recompute: passes.recompute, left, gradients, scored }
    }

    /// Whether all micro-batches were run.
    pub(super) fn is_done(&self) -> bool {
        self.left.as_slice().is_empty()
    }

    /// Runs the next micro-batch, if one is left.
    pub(super) fn run_next(&mut self) -> Result<(), ModelError> {
        let Some(micro_batch) = self.left.next() else { return Ok(()) };
        let weight = 1.0 / self.pairs.len() as f64;
        let batch = micro_batch.lay_out()?;
        let n_recomputed = self.recompute.n_layers(&self.model.training_memory(), batch.ids.len());
        let scored = logprob::token_logps(self.model, &batch, Keep::Tape { n_recomputed })?;
        let sums = scored.sums(&batch);
        let facts = BatchFacts::of(self.pairs.iter().map(|pair| pair.chosen_ids.len()));
        // Several pairs may have a completion in common: its slope is the sum of theirs.
        let mut slopes = Slopes::none(&batch);
        for place in &micro_batch.pairs {
            let pair = &self.pairs[place.pair];
            let policy = PairLogps { chosen: sums[place.chosen], rejected: sums[place.rejected] };
            let tokens = PairTokens { chosen: pair.chosen_ids.len(), rejected: pair.rejected_ids.len() };
            let pair_loss = self.objective.loss(&PairSums { policy, reference: reference(pair), tokens }, facts);
            slopes.add(place.chosen, |_| weight * pair_loss.d_chosen);
            slopes.add(place.rejected, |_| weight * pair_loss.d_rejected);
            self.scored[place.pair] = Some((policy, pair_loss.value));
        }
        scored.backward(self.model, &batch, &slopes, &mut self.gradients)
    }

    /// What the micro-batches that were run amount to.
    pub(super) fn finish(self) -> StepGradient {
        let n_tokens =
            self.pairs.iter().map(|pair| 2 * pair.prompt_ids.len() + pair.chosen_ids.len() + pair.rejected_ids.len());
        let weight = 1.0 / self.pairs.len() as f64;
        let scored = || self.scored.iter().flatten();
        StepGradient {
            loss: scored().map(|(_, loss)| weight * loss).sum(),
            policy: scored().map(|(logps, _)| *logps).collect(),
            gradients: self.gradients,
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
