//! Which evaluation was best, and when there is nothing better to come, by the rules of the Hugging Face Trainer.

use std::fmt;
use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use super::metrics::EvalMetrics;

/// The metric by which evaluations are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BestMetric {
    /// The less the better.
    #[serde(rename = "eval_loss")]
    Loss,
    /// The more the better, as all that follow.
    #[serde(rename = "eval_rewards/accuracies")]
    RewardsAccuracies,
    /// Mean margin.
    #[serde(rename = "eval_rewards/margins")]
    RewardsMargins,
    /// Mean reward of chosen completions.
    #[serde(rename = "eval_rewards/chosen")]
    RewardsChosen,
    /// Mean log-prob of chosen completions.
    #[serde(rename = "eval_logps/chosen")]
    LogpsChosen,
}

impl BestMetric {
    /// Its value in an evaluation.
    pub fn of(self, metrics: &EvalMetrics) -> f64 {
        match self {
            Self::Loss => metrics.loss,
            Self::RewardsAccuracies => metrics.rewards_accuracies,
            Self::RewardsMargins => metrics.rewards_margins,
            Self::RewardsChosen => metrics.rewards_chosen,
            Self::LogpsChosen => metrics.logps_chosen,
        }
    }

    /// Whether the first value is better than the second, and not equal.
    pub fn is_better(self, value: f64, than: f64) -> bool {
        match self {
            Self::Loss => value < than,
            _ => value > than,
        }
    }
}

/// As a pipeline file has it.
impl fmt::Display for BestMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loss => "eval_loss",
            Self::RewardsAccuracies => "eval_rewards/accuracies",
            Self::RewardsMargins => "eval_rewards/margins",
            Self::RewardsChosen => "eval_rewards/chosen",
            Self::LogpsChosen => "eval_logps/chosen",
        })
    }
}

/// When a run ends before its last step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EarlyStopping {
    /// After this many evaluations in a row that were no improvement.
    pub patience: NonZeroU64,
    /// An evaluation is an improvement if it is better than the best before it by more than this; at least 0.
    pub threshold: f64,
}

/// The best evaluation of a run so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Optimiser steps done.
    pub step: u64,
    /// Value of the metric.
    pub value: f64,
}

/// What a run remembers of its evaluations: part of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct EvalState {
    /// Optimiser steps done at the last of them.
    pub last_step: Option<u64>,
    /// The best of them.
    pub best: Option<Best>,
    /// How many in a row were no improvement.
    pub n_without_improvement: u64,
}

impl EvalState {
    /// Whether there was none yet.
    pub fn is_new(&self) -> bool {
        *self == Self::default()
    }

    /// Takes in the evaluation after `step` steps.
    ///
    /// As in transformers, an improvement is judged against the best before it, which moves on with every better value,
    /// however little; and what comes before the first step is no candidate: nothing was trained, and there is no
    /// checkpoint of it.
    pub fn record(&mut self, step: u64, value: f64, metric: BestMetric, threshold: f64) {
        self.last_step = Some(step);
        if step == 0 {
            return;
        }
        let better = self.best.is_none_or(|best| metric.is_better(value, best.value));
        let improves = self.best.is_none_or(|best| better && (value - best.value).abs() > threshold);
        self.n_without_improvement = if improves { 0 } else { self.n_without_improvement + 1 };
        if better {
            self.best = Some(Best { step, value });
        }
    }

    /// Whether a run that stops early has reached its end.
    pub fn is_exhausted(&self, stopping: EarlyStopping) -> bool {
        self.n_without_improvement >= stopping.patience.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// State after evaluations of these losses at steps 0, 10, 20, …
    fn after(losses: &[f64], threshold: f64) -> EvalState {
        let mut state = EvalState::default();
        for (step, &loss) in (0..).step_by(10).zip(losses) {
            state.record(step, loss, BestMetric::Loss, threshold);
        }
        state
    }

    #[test]
    fn a_best_value_moves_on_however_little_and_patience_asks_for_more() {
        let state = after(&[0.1, 0.69, 0.60, 0.59, 0.58], 0.05);
        assert_eq!(state.best, Some(Best { step: 40, value: 0.58 }), "the evaluation of the start is no candidate");
        assert_eq!(state.n_without_improvement, 2);
        let stopping = |patience| EarlyStopping { patience: NonZeroU64::new(patience).unwrap(), threshold: 0.05 };
        assert!(state.is_exhausted(stopping(2)) && !state.is_exhausted(stopping(3)));
        assert_eq!(after(&[0.1, 0.69, 0.60, 0.59, 0.50], 0.05).n_without_improvement, 0);
    }

    #[test]
    fn an_equal_value_is_no_improvement_and_the_first_best_stays() {
        let state = after(&[0.7, 0.6, 0.6, 0.6], 0.0);
        assert_eq!((state.best.unwrap().step, state.n_without_improvement), (10, 2));
    }

    #[test]
    fn all_but_the_loss_are_better_when_greater() {
        assert!(BestMetric::Loss.is_better(0.1, 0.2));
        for metric in [BestMetric::RewardsAccuracies, BestMetric::RewardsMargins, BestMetric::LogpsChosen] {
            assert!(metric.is_better(0.2, 0.1) && !metric.is_better(0.1, 0.1));
        }
        let written = serde_json::to_value(BestMetric::RewardsAccuracies).unwrap();
        assert_eq!(written, BestMetric::RewardsAccuracies.to_string());
    }
}
