//! One optimiser step up to its gradient: micro-batches, losses, slopes.
//!
//! An objective of pairs is known as soon as they are scored, so a micro-batch is run forward and backward at once. One of
//! the whole batch is known when all pairs are scored: the micro-batches are then run forward twice, first for their
//! log-probs and again for the tape of the backward. The one that is scored last is run once, since its tape can wait for
//! the slopes; a step of one micro-batch costs the same under every objective.

use super::error::{StepError, TrainError};
use super::passes::{Passes, Recompute};
use crate::batch::{GroupBatch, MicroBatch, PairIds, Sharing, micro_batches};
use crate::eval::{self, PolicyScores};
use crate::logprob::{self, Scored, Slopes};
use crate::loss::{BatchFacts, BatchObjective, ObjectiveState, PairLogps, PairSlopes, Scope};
use crate::model::{Decoder, Gradients, Keep, ModelError};
use crate::ops::dropout::Dropout;
use crate::table::TrainingPair;

pub(super) use crate::eval::{ids, reference};

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
    /// What the objective remembers after the step.
    pub state: ObjectiveState,
}

/// What is minimised.
#[derive(Debug, Clone, Copy)]
pub(super) struct Aim<'a> {
    pub(super) objective: &'a BatchObjective,
    /// What it remembers of the steps before.
    pub(super) state: ObjectiveState,
}

/// Runs the pairs of a first step, before which the objective has seen nothing, in micro-batches and without dropout.
///
/// The slopes are those of the mean over all pairs of the step, so that cutting it differently changes nothing but the
/// rounding of sums.
///
/// # Errors
/// If a token id is outside of the vocabulary, or a pair lacks what the objective needs of it.
pub fn gradient(
    model: &Decoder,
    pairs: &[TrainingPair<'_>],
    objective: &BatchObjective,
    passes: Passes,
) -> Result<StepGradient, StepError> {
    let mut step = RunningStep::new(model, pairs, Aim { objective, state: ObjectiveState::default() }, passes);
    while !step.is_done() {
        step.run_next()?;
    }
    Ok(step.finish())
}

/// A step between two of its passes.
pub(super) struct RunningStep<'a> {
    model: &'a Decoder,
    pairs: &'a [TrainingPair<'a>],
    aim: Aim<'a>,
    facts: BatchFacts,
    recompute: Recompute,
    dropout: Dropout,
    /// What is left to score before the losses are known, with its place among the micro-batches of the step.
    to_score: std::vec::IntoIter<(u64, MicroBatch<'a>)>,
    /// What is left to run backward, likewise.
    to_run: std::vec::IntoIter<(u64, MicroBatch<'a>)>,
    gradients: Gradients,
    /// The pairs that were scored.
    policy: Vec<Option<PolicyScores>>,
    /// The pairs whose loss is known.
    losses: Vec<Option<PairSlopes>>,
}

impl<'a> RunningStep<'a> {
    pub(super) fn new(model: &'a Decoder, pairs: &'a [TrainingPair<'a>], aim: Aim<'a>, passes: Passes) -> Self {
        let ids: Vec<PairIds<'_>> = pairs.iter().map(ids).collect();
        let micro_batches = micro_batches(&ids, passes.max_tokens, Sharing::Prompts);
        let mut to_run: Vec<_> = (0..).zip(micro_batches).collect();
        let to_score = match aim.objective.scope() {
            Scope::Pair => Vec::new(),
            Scope::Batch => {
                // What is scored last is run first, in the same pass.
                let n_others = to_run.len().saturating_sub(1);
                let others = to_run[..n_others].to_vec();
                to_run.rotate_left(n_others);
                others
            }
        };
        Self {
            model,
            pairs,
            aim,
            facts: BatchFacts::of(pairs.iter().map(|pair| pair.chosen_ids.len())),
            recompute: passes.recompute,
            dropout: Dropout::Off,
            to_score: to_score.into_iter(),
            to_run: to_run.into_iter(),
            gradients: Gradients::new(model.params()),
            policy: pairs.iter().map(|_| None).collect(),
            losses: pairs.iter().map(|_| None).collect(),
        }
    }

    /// The same with dropout before an adapter, drawn anew for each micro-batch.
    pub(super) fn with_dropout(self, dropout: Dropout) -> Self {
        Self { dropout, ..self }
    }

    /// Whether all micro-batches were run.
    pub(super) fn is_done(&self) -> bool {
        self.to_run.as_slice().is_empty()
    }

    /// Makes the next pass, if one is left.
    pub(super) fn run_next(&mut self) -> Result<(), StepError> {
        if let Some((index, micro_batch)) = self.to_score.next() {
            let batch = micro_batch.lay_out().map_err(ModelError::from)?;
            let keep = match self.dropout {
                Dropout::Off => Keep::Nothing,
                // Of all layers the input alone, and not for long: the draws have to be those of the backward to come.
                Dropout::On(_) => Keep::Tape { n_recomputed: usize::MAX, dropout: self.dropout.at(index) },
            };
            self.score(&micro_batch, &batch, keep)?;
            return Ok(());
        }
        let Some((index, micro_batch)) = self.to_run.next() else { return Ok(()) };
        let batch = micro_batch.lay_out().map_err(ModelError::from)?;
        let n_recomputed = self.recompute.n_layers(&self.model.training_memory(), batch.ids.len());
        let keep = Keep::Tape { n_recomputed, dropout: self.dropout.at(index) };
        let is_scored = micro_batch.pairs.iter().all(|place| self.policy[place.pair].is_some());
        let scored = if is_scored {
            logprob::token_logps(self.model, &batch, keep)?
        } else {
            let scored = self.score(&micro_batch, &batch, keep)?;
            self.evaluate()?;
            scored
        };
        let slopes = self.slopes(&micro_batch, &batch);
        scored.backward(self.model, &batch, &slopes, &mut self.gradients)?;
        Ok(())
    }

    /// Runs a micro-batch forward and puts aside what the policy says of its pairs.
    fn score(&mut self, micro_batch: &MicroBatch<'_>, batch: &GroupBatch, keep: Keep) -> Result<Scored, ModelError> {
        let (scored, policy) = eval::score(self.model, micro_batch, batch, keep, self.aim.objective.needs())?;
        for (place, policy) in micro_batch.pairs.iter().zip(policy) {
            self.policy[place.pair] = Some(policy);
        }
        Ok(scored)
    }

    /// Losses of all pairs that were scored and have none yet: those of one micro-batch, or of the whole step.
    fn evaluate(&mut self) -> Result<(), StepError> {
        let mut places = Vec::new();
        let mut inputs = Vec::new();
        for (at, policy) in self.policy.iter().enumerate() {
            if let (Some(policy), None) = (policy, &self.losses[at]) {
                places.push(at);
                inputs.push(policy.inputs(&self.pairs[at]));
            }
        }
        let losses = self.aim.objective.losses(&inputs, self.facts, &mut self.aim.state)?;
        for (at, loss) in places.into_iter().zip(losses) {
            self.losses[at] = Some(loss);
        }
        Ok(())
    }

    /// Slopes of the mean loss in the tokens of a micro-batch. Several pairs may have a completion in common: its slopes
    /// are the sums of theirs.
    fn slopes(&self, micro_batch: &MicroBatch<'_>, batch: &GroupBatch) -> Slopes {
        let weight = 1.0 / self.pairs.len() as f64;
        let mut slopes = Slopes::none(batch);
        for place in &micro_batch.pairs {
            if let Some(loss) = &self.losses[place.pair] {
                slopes.add(place.chosen, |token| weight * loss.chosen.at(token));
                slopes.add(place.rejected, |token| weight * loss.rejected.at(token));
            }
        }
        slopes
    }

    /// What the micro-batches that were run amount to.
    pub(super) fn finish(self) -> StepGradient {
        let n_tokens =
            self.pairs.iter().map(|pair| 2 * pair.prompt_ids.len() + pair.chosen_ids.len() + pair.rejected_ids.len());
        let weight = 1.0 / self.pairs.len() as f64;
        StepGradient {
            loss: self.losses.iter().flatten().map(|loss| weight * loss.value).sum(),
            policy: self.policy.iter().flatten().map(|policy| policy.logps).collect(),
            gradients: self.gradients,
            n_tokens: n_tokens.sum::<usize>() as u64,
            state: self.aim.state,
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
