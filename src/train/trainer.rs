//! The run in memory: one optimiser step after another.

use std::time::Instant;

use super::course::Course;
use super::error::{StepError, TrainError};
use super::metrics::StepMetrics;
use super::passes::Passes;
use super::step::{Aim, RunningStep, StepGradient};
use crate::checkpoint::{Occasion, Snapshot, State};
use crate::interrupt::Interrupt;
use crate::loss::{self, BatchObjective};
use crate::model::{Decoder, Gradients};
use crate::ops::dropout::{Dropout, Stream};
use crate::optim::{Ema, Optimizer, clip_factor};
use crate::table::TrainingPair;

/// The run in memory.
pub(crate) struct Trainer<'a> {
    pub(crate) course: &'a Course,
    pub(crate) model: Decoder,
    pub(crate) optimizer: Optimizer,
    /// Running means of the trained weights, if the run keeps them.
    pub(crate) ema: Option<Ema>,
    pub(crate) state: State,
    pub(crate) n_steps: u64,
    pub(crate) passes: Passes,
}

impl Trainer<'_> {
    /// Gradient, clipping, update; `epoch` is where the step ends. Interrupted between two passes, the step is given up:
    /// the run stands where it stood.
    pub(super) fn step(
        &mut self,
        objective: &BatchObjective,
        pairs: &[TrainingPair<'_>],
        epoch: f64,
        interrupt: &Interrupt,
    ) -> Result<Option<StepMetrics>, TrainError> {
        let started = Instant::now();
        let step = self.state.step + 1;
        let aim = Aim { objective, state: self.state.objective };
        let mut running = RunningStep::new(&self.model, pairs, aim, self.passes).with_dropout(self.dropout());
        while !running.is_done() {
            if interrupt.is_set() {
                return Ok(None);
            }
            running.run_next().map_err(|error| match error {
                StepError::Model(source) => TrainError::Model { model: self.course.model.clone(), source },
                StepError::Loss(source) => TrainError::Objective { step, source },
            })?;
        }
        let result = running.finish();
        let grad_norm = result.gradients.norm().map_err(|source| TrainError::Update { step, source })?;
        result.check(step, pairs, grad_norm)?;
        let learning_rate = self.update(&result.gradients, grad_norm, result.n_tokens)?;
        self.state.objective = result.state;
        let means = Means::of(&result, pairs, objective);
        let step_seconds = started.elapsed().as_secs_f64();
        Ok(Some(StepMetrics {
            step,
            epoch,
            loss: result.loss,
            grad_norm,
            learning_rate,
            rewards_chosen: means.rewards_chosen,
            rewards_rejected: means.rewards_rejected,
            rewards_margins: means.rewards_chosen - means.rewards_rejected,
            rewards_accuracies: means.accuracy,
            logps_chosen: means.logps_chosen,
            logps_rejected: means.logps_rejected,
            num_tokens: self.state.n_tokens,
            n_pairs: pairs.len(),
            displacement: means.displacement,
            tokens_per_second: result.n_tokens as f64 / step_seconds,
            step_seconds,
        }))
    }

    /// Does some work with the policy the run would end with now: its weights, or their running means if it keeps them.
    pub(super) fn with_policy<R>(&mut self, work: impl FnOnce(&Decoder) -> R) -> R {
        let Some(ema) = &mut self.ema else { return work(&self.model) };
        ema.swap(self.model.params_mut());
        let result = work(&self.model);
        ema.swap(self.model.params_mut());
        result
    }

    /// What is dropped in the step to come.
    pub(crate) fn dropout(&self) -> Dropout {
        match self.model.lora() {
            Some(lora) if lora.dropout > 0.0 => Dropout::On(Stream::new(self.course.seed).at(self.state.step + 1)),
            _ => Dropout::Off,
        }
    }

    /// Ends a step over `n_tokens` tokens: clips its gradients, whose norm was found finite, and moves the parameters
    /// against them. Returns the learning rate it did that with.
    pub(crate) fn update(&mut self, gradients: &Gradients, grad_norm: f64, n_tokens: u64) -> Result<f64, TrainError> {
        let (course, step) = (self.course, self.state.step + 1);
        let factor = course.max_grad_norm.map_or(1.0, |max_norm| clip_factor(grad_norm, max_norm));
        let learning_rate = course.learning_rate * course.schedule.factor(self.state.step, self.n_steps);
        let failed = |source| TrainError::Update { step, source };
        self.optimizer.step(self.model.params(), gradients, learning_rate, factor).map_err(failed)?;
        if let Some(ema) = &mut self.ema {
            ema.update(self.model.params()).map_err(failed)?;
        }
        self.state.step = step;
        self.state.n_tokens += n_tokens;
        Ok(learning_rate)
    }

    /// What a checkpoint has to hold now.
    pub(super) fn snapshot(&self, occasion: Occasion) -> Snapshot<'_> {
        let Self { optimizer, ema, state, .. } = self;
        Snapshot { params: self.model.params(), optimizer, ema: ema.as_ref(), state, occasion }
    }
}

/// Means over the pairs of a step.
#[derive(Default)]
struct Means {
    rewards_chosen: f64,
    rewards_rejected: f64,
    accuracy: f64,
    logps_chosen: f64,
    logps_rejected: f64,
    displacement: f64,
}

impl Means {
    fn of(result: &StepGradient, pairs: &[TrainingPair<'_>], objective: &BatchObjective) -> Self {
        let weight = 1.0 / pairs.len() as f64;
        let share = |holds: bool| if holds { weight } else { 0.0 };
        let mut means = Self::default();
        for (policy, pair) in result.policy.iter().zip(pairs) {
            let chosen = loss::reward(objective.beta(), policy.chosen, pair.ref_chosen_logps);
            let rejected = loss::reward(objective.beta(), policy.rejected, pair.ref_rejected_logps);
            means.rewards_chosen += weight * chosen;
            means.rewards_rejected += weight * rejected;
            means.accuracy += share(chosen > rejected);
            means.logps_chosen += weight * policy.chosen;
            means.logps_rejected += weight * policy.rejected;
            means.displacement += share(policy.chosen < pair.ref_chosen_logps);
        }
        means
    }
}
