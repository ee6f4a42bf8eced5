//! A run that learns nothing, said while it runs: no gradient, or a loss that stays where it began.
//!
//! A number that stops being finite ends the run. These do not: the run goes on to its last step and its policy is the
//! model it began with, which nobody sees in a table of metrics that looks like any other.

use crate::optim::Schedule;

/// Steps after which a loss that has not moved is said to be stuck.
const STUCK_STEPS: u64 = 10;

/// How far a loss may be from its first value, as a share of it, and not have moved. Of a pair whose log-probs change by
/// one bit of `f32` in a hundred nats, DPO's loss moves by about this.
const STILL: f64 = 1e-6;

/// What a step shows of the whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Signs {
    /// The step, from 1.
    pub(crate) step: u64,
    pub(crate) loss: f64,
    pub(crate) grad_norm: f64,
    pub(crate) learning_rate: f64,
}

/// The record of a step, as far as it shows whether a run learns.
pub(crate) trait Progress {
    /// What it shows.
    fn signs(&self) -> Signs;
}

/// What was seen so far, and what was said.
#[derive(Debug, Default)]
pub(super) struct Watch {
    first_loss: Option<f64>,
    n_still: u64,
    highest_rate: f64,
    has_said_flat: bool,
    has_said_stuck: bool,
}

impl Watch {
    /// What is to be said of a step; each thing once a run. `why_flat` says what of its data leaves no gradient.
    pub(super) fn look(&mut self, signs: Signs, why_flat: impl FnOnce() -> Option<String>) -> Vec<String> {
        let Signs { step, loss, grad_norm, learning_rate } = signs;
        let mut notes = Vec::new();
        if grad_norm == 0.0 && !self.has_said_flat {
            self.has_said_flat = true;
            let why = why_flat().unwrap_or_else(|| {
                "the objective is flat where the policy stands, and nothing moves it from there".to_owned()
            });
            notes.push(format!("step {step}: the gradient is 0, so that nothing is learnt: {why}"));
        }
        let first = *self.first_loss.get_or_insert(loss);
        self.highest_rate = self.highest_rate.max(learning_rate);
        let is_still = (loss - first).abs() <= STILL * first.abs();
        self.n_still = if is_still { self.n_still + 1 } else { 0 };
        if self.n_still > STUCK_STEPS && !self.has_said_stuck {
            self.has_said_stuck = true;
            let why = if grad_norm == 0.0 {
                "the gradient is 0".to_owned()
            } else if self.highest_rate == 0.0 {
                "the learning rate was 0 so far (warm-up)".to_owned()
            } else {
                format!(
                    "a gradient of norm {grad_norm:.1e} with a learning rate of {:.1e} at most moves no log-prob",
                    self.highest_rate
                )
            };
            notes.push(format!("step {step}: the loss is still {loss:.4}, as at the first step: {why}"));
        }
        notes
    }
}

/// What is to be said of a schedule before the first step.
pub(super) fn of_schedule(schedule: &Schedule, n_steps: u64) -> Option<String> {
    let warmup = schedule.warmup.steps(n_steps);
    (warmup >= n_steps && warmup > 0).then(|| {
        let highest = schedule.factor(n_steps - 1, n_steps);
        format!(
            "the learning rate rises over {warmup} steps and the run has {n_steps}: it ends at {:.0} % of it",
            100.0 * highest
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::{ScheduleKind, Warmup};

    /// What is said of steps with these losses, gradient norms and learning rates.
    fn said(steps: impl Iterator<Item = (f64, f64, f64)>) -> Vec<String> {
        let mut watch = Watch::default();
        let signs = (1..).zip(steps).map(|(step, (loss, grad_norm, learning_rate))| Signs {
            step,
            loss,
            grad_norm,
            learning_rate,
        });
        signs.flat_map(|signs| watch.look(signs, || Some("equal answers".into()))).collect()
    }

    #[test]
    fn no_gradient_is_said_at_once_and_once() {
        let flat = said([(0.5, 1.0, 1e-6), (0.4, 0.0, 1e-6), (0.3, 0.0, 1e-6)].into_iter());
        assert_eq!(flat, ["step 2: the gradient is 0, so that nothing is learnt: equal answers"]);
    }

    #[test]
    fn a_loss_that_stays_is_said_after_some_steps_with_its_reason() {
        let ln2 = std::f64::consts::LN_2;
        let stuck = said((0..30).map(|_| (ln2, 2.0, 1e-12)));
        let want = "step 11: the loss is still 0.6931, as at the first step: a gradient of norm 2.0e0 with a learning rate of \
                    1.0e-12 at most moves no log-prob";
        assert_eq!(stuck, [want]);
        let warming = said((0..30).map(|_| (ln2, 2.0, 0.0)));
        assert!(warming[0].ends_with("the learning rate was 0 so far (warm-up)"), "{warming:?}");
        assert_eq!(said((0..30).map(|step| (ln2 - 1e-4 * f64::from(step), 2.0, 1e-6))), [""; 0]);
        assert_eq!(said((0..10).map(|_| (ln2, 2.0, 1e-6))), [""; 0], "the first steps of a slow start");
    }

    #[test]
    fn a_warm_up_that_outlasts_the_run_is_said() {
        let schedule = |warmup| Schedule { kind: ScheduleKind::Linear, warmup };
        let note = of_schedule(&schedule(Warmup::Steps(20)), 11).unwrap();
        assert_eq!(note, "the learning rate rises over 20 steps and the run has 11: it ends at 50 % of it");
        assert_eq!(of_schedule(&schedule(Warmup::Steps(3)), 11), None);
        assert_eq!(of_schedule(&schedule(Warmup::Ratio(0.0)), 1), None);
    }
}
