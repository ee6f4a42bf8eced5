//! The keys of `[train]` that say how gradients become steps: optimiser, schedule, running mean. A setting that nothing
//! reads is refused, unless it has its default.

use serde::{Deserialize, Serialize};

use super::error::PipelineError;
use super::file;
use super::plans::need;
use super::settings::TrainSettings;
use crate::error::Hint;
use crate::optim::{AdamWParams, OptimizerParams, RmsPropParams, Schedule, ScheduleKind, SgdParams, Warmup};

/// Name of an optimiser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerName {
    /// Adam with decoupled weight decay.
    AdamW,
    /// The optimiser of the DPO paper.
    RmsProp,
    /// Stochastic gradient descent.
    Sgd,
}

/// Name of a schedule, as transformers has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LrSchedulerType {
    /// The learning rate as it is, after the warm-up if there is one.
    Constant,
    /// The same.
    ConstantWithWarmup,
    /// Down to 0 along a line.
    Linear,
    /// Down to 0 along half a cosine.
    Cosine,
    /// Down to a floor along half a cosine.
    CosineWithMinLr,
    /// Down with the root of the steps.
    InverseSqrt,
}

/// Settings that make no optimiser or no schedule.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptimSettingsError {
    /// A setting that the chosen optimiser does not read.
    #[error("`train.{setting}` is set, and optimiser `{optim}` does not read it")]
    NotOfOptimizer {
        /// The setting.
        setting: &'static str,
        /// What was chosen.
        optim: &'static str,
        /// Whose setting it is.
        readers: &'static str,
    },
    /// A floor under a schedule that has none.
    #[error("`train.{setting}` is set, and only the schedule `cosine_with_min_lr` reads it")]
    NotOfSchedule {
        /// The setting.
        setting: &'static str,
    },
    /// A warm-up in steps and one as a share of them.
    #[error("`train.warmup_steps` and `train.warmup_ratio` are both set: found {steps} and {ratio}")]
    TwoWarmups {
        /// Steps.
        steps: u64,
        /// Share.
        ratio: f64,
    },
    /// A schedule with a floor needs exactly one setting that says where it is.
    #[error("schedule `cosine_with_min_lr`: expected either `train.min_lr` or `train.min_lr_rate`, found {found}")]
    Floor {
        /// How many of them.
        found: &'static str,
    },
    /// A floor above the rate the schedule comes down from.
    #[error("expected `train.min_lr` of at most the learning rate, {learning_rate:e}, found {min_lr:e}")]
    FloorAbove {
        /// The floor.
        min_lr: f64,
        /// The learning rate.
        learning_rate: f64,
    },
}

impl Hint for OptimSettingsError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NotOfOptimizer { readers, .. } => Some(format!("it is a setting of {readers}")),
            Self::NotOfSchedule { .. } => Some("choose it with `--lr-scheduler-type cosine_with_min_lr`".into()),
            Self::TwoWarmups { .. } => Some("`--warmup-steps 0` leaves it to the ratio".into()),
            Self::Floor { .. } => {
                Some("`--min-lr-rate 0.1` is a tenth of the learning rate, `--min-lr` a rate itself".into())
            }
            Self::FloorAbove { .. } => None,
        }
    }
}

impl TrainSettings {
    /// The optimiser these settings, with the defaults in them, make.
    pub(super) fn optimizer(&self) -> Result<OptimizerParams, PipelineError> {
        let weight_decay = need(self.weight_decay, "train.weight_decay", "--weight-decay")?.get();
        let momentum = need(self.momentum, "train.momentum", "--momentum")?.get();
        let params: OptimizerParams = match need(self.optim, "train.optim", "--optim")? {
            OptimizerName::AdamW => AdamWParams {
                beta1: need(self.adam_beta1, "train.adam_beta1", "--adam-beta1")?.get(),
                beta2: need(self.adam_beta2, "train.adam_beta2", "--adam-beta2")?.get(),
                eps: need(self.adam_epsilon, "train.adam_epsilon", "--adam-epsilon")?.get(),
                weight_decay,
            }
            .into(),
            OptimizerName::RmsProp => RmsPropParams {
                alpha: need(self.rmsprop_alpha, "train.rmsprop_alpha", "--rmsprop-alpha")?.get(),
                eps: need(self.rmsprop_epsilon, "train.rmsprop_epsilon", "--rmsprop-epsilon")?.get(),
                momentum,
                weight_decay,
            }
            .into(),
            OptimizerName::Sgd => SgdParams { momentum, weight_decay }.into(),
        };
        self.refuse_unread(params.name())?;
        Ok(params)
    }

    /// Refuses what the optimiser does not read and has not its default.
    fn refuse_unread(&self, optim: &'static str) -> Result<(), PipelineError> {
        let defaults = file::defaults()?.train;
        let (adamw, rmsprop, both) = ("`adamw`", "`rmsprop`", "`rmsprop` and `sgd`");
        let settings = [
            ("adam_beta1", self.adam_beta1 != defaults.adam_beta1, adamw),
            ("adam_beta2", self.adam_beta2 != defaults.adam_beta2, adamw),
            ("adam_epsilon", self.adam_epsilon != defaults.adam_epsilon, adamw),
            ("rmsprop_alpha", self.rmsprop_alpha != defaults.rmsprop_alpha, rmsprop),
            ("rmsprop_epsilon", self.rmsprop_epsilon != defaults.rmsprop_epsilon, rmsprop),
            ("momentum", self.momentum != defaults.momentum, both),
        ];
        let name = format!("`{optim}`");
        match settings.into_iter().find(|(_, is_set, readers)| *is_set && !readers.contains(&name)) {
            None => Ok(()),
            Some((setting, _, readers)) => Err(OptimSettingsError::NotOfOptimizer { setting, optim, readers }.into()),
        }
    }

    /// The schedule these settings, with the defaults in them, make.
    pub(super) fn schedule(&self) -> Result<Schedule, PipelineError> {
        let name = need(self.lr_scheduler_type, "train.lr_scheduler_type", "--lr-scheduler-type")?;
        let floors = [("min_lr", self.min_lr.is_some()), ("min_lr_rate", self.min_lr_rate.is_some())];
        if name != LrSchedulerType::CosineWithMinLr
            && let Some((setting, _)) = floors.into_iter().find(|(_, is_set)| *is_set)
        {
            return Err(OptimSettingsError::NotOfSchedule { setting }.into());
        }
        let kind = match name {
            LrSchedulerType::Constant | LrSchedulerType::ConstantWithWarmup => ScheduleKind::Constant,
            LrSchedulerType::Linear => ScheduleKind::Linear,
            LrSchedulerType::Cosine => ScheduleKind::Cosine,
            LrSchedulerType::CosineWithMinLr => ScheduleKind::CosineWithMinLr { min_lr_rate: self.floor()? },
            LrSchedulerType::InverseSqrt => ScheduleKind::InverseSqrt,
        };
        Ok(Schedule { kind, warmup: self.warmup()? })
    }

    /// The floor of a schedule, as a share of the learning rate.
    fn floor(&self) -> Result<f64, PipelineError> {
        let learning_rate = need(self.learning_rate, "train.learning_rate", "--learning-rate")?.get();
        match (self.min_lr.map(f64::from), self.min_lr_rate) {
            (Some(min_lr), None) if min_lr > learning_rate => {
                Err(OptimSettingsError::FloorAbove { min_lr, learning_rate }.into())
            }
            (Some(min_lr), None) => Ok(min_lr / learning_rate),
            (None, Some(rate)) => Ok(rate.get()),
            (None, None) => Err(OptimSettingsError::Floor { found: "neither" }.into()),
            (Some(_), Some(_)) => Err(OptimSettingsError::Floor { found: "both" }.into()),
        }
    }

    fn warmup(&self) -> Result<Warmup, PipelineError> {
        let steps = need(self.warmup_steps, "train.warmup_steps", "--warmup-steps")?;
        match self.warmup_ratio.map(f64::from) {
            None => Ok(Warmup::Steps(steps)),
            Some(ratio) if steps == 0 => Ok(Warmup::Ratio(ratio)),
            Some(ratio) => Err(OptimSettingsError::TwoWarmups { steps, ratio }.into()),
        }
    }
}

#[cfg(test)]
mod tests;
