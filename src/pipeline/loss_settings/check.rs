//! What would be ignored, or cannot be had together, is refused by name.

use super::{DivergenceName, LossSettings};
use crate::error::Hint;
use crate::loss::LossError;
use crate::pipeline::loss_type::LossType;

/// Loss types that are functions of a difference of scores, and `sft`, which no divergence touches.
const OF_DIFFERENCE: &[LossType] = &[
    LossType::Sigmoid,
    LossType::SigmoidNorm,
    LossType::Hinge,
    LossType::Ipo,
    LossType::IpoSum,
    LossType::ExoPair,
    LossType::Robust,
    LossType::Discopop,
    LossType::DrDpo,
    LossType::Wpo,
    LossType::Sft,
];

/// Loss types that never ask for the reference, but for `sft`, which no rule of tokens touches.
const WITHOUT_REFERENCE: &[LossType] = &[
    LossType::Simpo,
    LossType::Cpo,
    LossType::Orpo,
    LossType::Alphapo,
    LossType::Slic,
    LossType::PreferredFt,
    LossType::Unlikelihood,
];

/// Loss types that ask for outside scores.
const REWARD_AWARE: &[LossType] = &[LossType::RpoSq, LossType::RpoBwdKl, LossType::RpoFwdKl];

/// Settings that make no objective.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LossSettingsError {
    /// A setting that none of the chosen losses reads.
    #[error("`{setting}` is set, and loss type `{loss_types}` does not read it")]
    NotRead {
        /// The setting.
        setting: &'static str,
        /// What was chosen.
        loss_types: String,
        /// Whose setting it is.
        readers: String,
    },
    /// A setting that one of the chosen losses cannot have.
    #[error("`{setting}` cannot be combined with loss type `{loss_type}`")]
    NotWith {
        /// The setting.
        setting: &'static str,
        /// The loss.
        loss_type: &'static str,
        /// What it can be combined with.
        with: String,
    },
    /// A setting without the one it belongs to.
    #[error("`{setting}` is set, and it is read only with {with}")]
    Without {
        /// The setting.
        setting: &'static str,
        /// What it needs.
        with: &'static str,
    },
    /// Another number of weights than of losses.
    #[error("expected {expected} of `loss_weights`, one a loss type, found {found}")]
    Weights {
        /// Loss types.
        expected: usize,
        /// Weights.
        found: usize,
    },
    /// A value that the chosen loss cannot have, or two settings that exclude each other.
    #[error(transparent)]
    Value(LossError),
}

impl Hint for LossSettingsError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NotRead { readers, .. } => Some(format!("it is a setting of {readers}")),
            Self::NotWith { with, .. } => Some(format!("it can be combined with {with}")),
            Self::Without { .. } | Self::Weights { .. } => None,
            Self::Value(error) => error.hint(),
        }
    }
}

impl LossSettings {
    /// Refuses what would be ignored.
    pub(super) fn check(&self, loss_types: &[LossType], defaults: &Self) -> Result<(), LossSettingsError> {
        let not_read =
            |setting, readers| Err(LossSettingsError::NotRead { setting, loss_types: names(loss_types), readers });
        for (setting, is_changed, readers) in self.readers(defaults) {
            if is_changed && !loss_types.iter().any(|loss_type| readers.contains(loss_type)) {
                return not_read(setting, names(readers));
            }
        }
        let is_all_sft = loss_types.iter().all(|loss_type| *loss_type == LossType::Sft);
        for (setting, is_set) in [("ld_alpha", self.ld_alpha.is_some()), ("humanline", self.humanline == Some(true))] {
            if is_set && is_all_sft {
                return not_read(setting, "every loss type but sft".into());
            }
        }
        if let Some(weights) = &self.loss_weights
            && weights.len() != loss_types.len()
        {
            return Err(LossSettingsError::Weights { expected: loss_types.len(), found: weights.len() });
        }
        self.check_reference(loss_types, defaults)?;
        self.check_whole(loss_types).map_err(LossSettingsError::Value)
    }

    /// Settings of what holds the policy to its reference.
    fn check_reference(&self, loss_types: &[LossType], defaults: &Self) -> Result<(), LossSettingsError> {
        let has_divergence = self.f_divergence_type != Some(DivergenceName::ReverseKl);
        let is_free = self.reference_free == Some(true);
        for (setting, is_set) in [("f_divergence_type", has_divergence), ("reference_free", is_free)] {
            if is_set && let Some(other) = loss_types.iter().find(|loss_type| !OF_DIFFERENCE.contains(loss_type)) {
                let with = names(OF_DIFFERENCE);
                return Err(LossSettingsError::NotWith { setting, loss_type: other.name(), with });
            }
        }
        if has_divergence && is_free {
            let with = "`f_divergence_type = \"reverse_kl\"`: a divergence is from a reference";
            return Err(LossSettingsError::Without { setting: "reference_free", with });
        }
        let is_alpha = self.f_divergence_type == Some(DivergenceName::AlphaDivergence);
        if self.f_alpha_divergence_coef != defaults.f_alpha_divergence_coef && !is_alpha {
            let with = "`f_divergence_type = \"alpha_divergence\"`";
            return Err(LossSettingsError::Without { setting: "f_alpha_divergence_coef", with });
        }
        if self.humanline == Some(true) {
            if let Some(other) = loss_types.iter().find(|loss_type| WITHOUT_REFERENCE.contains(loss_type)) {
                let with = "loss types that ask for the reference".into();
                return Err(LossSettingsError::NotWith { setting: "humanline", loss_type: other.name(), with });
            }
            if is_free {
                return Err(LossSettingsError::Value(LossError::Combination {
                    one: "humanline",
                    other: "reference_free",
                    reason: "it clips ratios to the reference",
                }));
            }
            return Ok(());
        }
        for (setting, is_changed) in [
            ("log_epsilon_p", self.log_epsilon_p != defaults.log_epsilon_p),
            ("log_epsilon_r", self.log_epsilon_r != defaults.log_epsilon_r),
        ] {
            if is_changed {
                return Err(LossSettingsError::Without { setting, with: "`humanline = true`" });
            }
        }
        Ok(())
    }

    /// Settings of the whole objective, of which there can be one.
    fn check_whole(&self, loss_types: &[LossType]) -> Result<(), LossError> {
        for whole in [LossType::DrDpo, LossType::Wpo] {
            if loss_types.contains(&whole)
                && let Some(other) = loss_types.iter().find(|loss_type| **loss_type != whole)
            {
                let reason = "it says how a whole objective is averaged or weighted, so it is no term of a sum";
                return Err(LossError::Combination { one: whole.name(), other: other.name(), reason });
            }
        }
        if self.use_weighting == Some(true) && loss_types.contains(&LossType::Wpo) {
            let reason = "it is a weighting of its own";
            return Err(LossError::Combination { one: "use_weighting", other: "wpo", reason });
        }
        if self.humanline == Some(true) && self.ld_alpha.is_some() {
            let reason = "each is a rule by which the log-probs of tokens add up";
            return Err(LossError::Combination { one: "humanline", other: "ld_alpha", reason });
        }
        Ok(())
    }

    /// The settings that only some loss types read: whether each differs from its default, and who reads it.
    fn readers(&self, defaults: &Self) -> [(&'static str, bool, &'static [LossType]); 14] {
        use LossType::{
            Alphapo, Aot, AotUnpaired, BcoPair, Cpo, Discopop, Dpop, DrDpo, ExoPair, Robust, Sigmoid, Simpo, Slic,
            Unlikelihood, Wpo,
        };
        [
            (
                "label_smoothing",
                self.label_smoothing != defaults.label_smoothing,
                &[Sigmoid, Robust, ExoPair, Cpo, Simpo, Alphapo, Aot, AotUnpaired, DrDpo, Wpo],
            ),
            ("discopop_tau", self.discopop_tau != defaults.discopop_tau, &[Discopop]),
            ("dpop_lambda", self.dpop_lambda != defaults.dpop_lambda, &[Dpop]),
            ("simpo_gamma", self.simpo_gamma != defaults.simpo_gamma, &[Simpo, Alphapo]),
            ("alphapo_alpha", self.alphapo_alpha != defaults.alphapo_alpha, &[Alphapo]),
            ("cpo_alpha", self.cpo_alpha != defaults.cpo_alpha, &[Cpo]),
            ("slic_delta", self.slic_delta != defaults.slic_delta, &[Slic]),
            ("slic_lambda", self.slic_lambda != defaults.slic_lambda, &[Slic]),
            ("unlikelihood_alpha", self.unlikelihood_alpha != defaults.unlikelihood_alpha, &[Unlikelihood]),
            ("dr_beta", self.dr_beta != defaults.dr_beta, &[DrDpo]),
            ("bco_shift", self.bco_shift != defaults.bco_shift, &[BcoPair]),
            ("gt_reward_scale", self.gt_reward_scale != defaults.gt_reward_scale, REWARD_AWARE),
            ("chosen_score_column", self.chosen_score_column.is_some(), REWARD_AWARE),
            ("rejected_score_column", self.rejected_score_column.is_some(), REWARD_AWARE),
        ]
    }
}

fn names(loss_types: &[LossType]) -> String {
    loss_types.iter().map(|loss_type| loss_type.name()).collect::<Vec<_>>().join(", ")
}
