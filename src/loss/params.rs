//! Checked settings of objectives.

use serde::{Deserialize, Serialize};

use crate::error::Hint;

/// What can be wrong with an objective or with what it is given.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum LossError {
    /// A setting outside of its range.
    #[error("expected `{setting}` {expected}, found {found}")]
    OutOfRange {
        /// The setting.
        setting: &'static str,
        /// Its range.
        expected: &'static str,
        /// What was given.
        found: f64,
    },
    /// Two settings that cannot be had together.
    #[error("`{one}` cannot be combined with `{other}`: {reason}")]
    Combination {
        /// A setting or a term.
        one: &'static str,
        /// Another one.
        other: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// The objective needs a number of each pair that was not given.
    #[error("pair {pair} of the batch: expected {what}, found none")]
    Missing {
        /// 0-based pair of the batch.
        pair: usize,
        /// What is missing.
        what: &'static str,
    },
    /// A list of token log-probs of another length than the completion.
    #[error("pair {pair} of the batch: expected {expected} log-probs of {what} tokens, found {found}")]
    TokenCount {
        /// 0-based pair of the batch.
        pair: usize,
        /// Whose tokens.
        what: &'static str,
        /// Tokens of the completion.
        expected: usize,
        /// Length of the list.
        found: usize,
    },
}

impl Hint for LossError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::OutOfRange { setting: Beta::SETTING, .. } => {
                Some("0.1 is a usual value, 0.01 to 0.5 a usual range".into())
            }
            Self::OutOfRange { expected: ExoSmoothing::EXPECTED, .. } => {
                Some("the EXO paper takes 0.001: `--label-smoothing 0.001`".into())
            }
            Self::OutOfRange { .. } | Self::Combination { .. } | Self::Missing { .. } | Self::TokenCount { .. } => None,
        }
    }
}

macro_rules! setting {
    ($(#[$doc:meta])* $name:ident, $setting:literal, $expected:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
        #[serde(try_from = "f64", into = "f64")]
        pub struct $name(f64);

        impl $name {
            /// Name of the setting.
            pub const SETTING: &str = $setting;
            /// Its range, in words.
            pub const EXPECTED: &str = $expected;

            /// The number.
            pub fn get(self) -> f64 {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = LossError;

            fn try_from(found: f64) -> Result<Self, LossError> {
                let check: fn(f64) -> bool = $check;
                // Every range is closed against NaN: comparisons with it are false.
                if check(found) && found.is_finite() {
                    Ok(Self(found))
                } else {
                    Err(LossError::OutOfRange { setting: Self::SETTING, expected: Self::EXPECTED, found })
                }
            }
        }

        impl From<$name> for f64 {
            fn from(setting: $name) -> Self {
                setting.0
            }
        }
    };
}

setting!(
    /// β, the strength of the pull towards the reference: finite and above 0, in 1/nat.
    Beta,
    "beta",
    "finite and above 0",
    |x| x > 0.0
);
setting!(
    /// ε, the share of labels expected to be wrong: at least 0 and below ½, where half of all labels is no signal at all.
    LabelSmoothing,
    "label_smoothing",
    "at least 0 and below 0.5",
    |x| (0.0..0.5).contains(&x)
);
setting!(
    /// ε of EXO, whose target distribution must not be 0 anywhere: above 0 and below ½.
    ExoSmoothing,
    "label_smoothing",
    "above 0 and below 0.5 for `exo_pair`",
    |x| x > 0.0 && x < 0.5
);
setting!(
    /// τ of DiscoPOP. Above 1 its value would grow exponentially with a lost margin.
    DiscopopTau,
    "discopop_tau",
    "above 0 and at most 1",
    |x| x > 0.0 && x <= 1.0
);
setting!(
    /// α of the α-divergence; 0 is forward KL, 1 reverse KL.
    DivergenceAlpha,
    "f_alpha_divergence_coef",
    "finite",
    |_| true
);
setting!(
    /// γ of SimPO: the margin aimed at, in units of β times mean log-probs.
    SimpoGamma,
    "simpo_gamma",
    "finite",
    |_| true
);
setting!(
    /// α of AlphaPO, the curvature of its reward; 0 is SimPO.
    AlphapoAlpha,
    "alphapo_alpha",
    "finite",
    |_| true
);
setting!(
    /// Weight of CPO's likelihood term.
    CpoAlpha,
    "cpo_alpha",
    "finite and at least 0",
    |x| x >= 0.0
);
setting!(
    /// λ of DPOP: how much a loss of likelihood of the chosen completion counts against the margin.
    DpopLambda,
    "dpop_lambda",
    "finite and at least 0",
    |x| x >= 0.0
);
setting!(
    /// δ of SLiC-HF: the gap of log-probs aimed at, in nats.
    SlicDelta,
    "slic_delta",
    "finite and at least 0",
    |x| x >= 0.0
);
setting!(
    /// λ of SLiC-HF: weight of its likelihood term.
    SlicLambda,
    "slic_lambda",
    "finite and at least 0",
    |x| x >= 0.0
);
setting!(
    /// α of unlikelihood training: weight of the rejected completion.
    UnlikelihoodAlpha,
    "unlikelihood_alpha",
    "at least 0 and at most 1",
    |x| (0.0..=1.0).contains(&x)
);
setting!(
    /// Weight of a term in a sum of several.
    LossWeight,
    "loss_weights",
    "finite",
    |_| true
);
setting!(
    /// α of LD-DPO: weight of the tokens beyond the length both completions have.
    LdAlpha,
    "ld_alpha",
    "at least 0 and at most 1",
    |x| (0.0..=1.0).contains(&x)
);
setting!(
    /// β′ of Dr. DPO: the smaller, the less a pair of great loss counts.
    DrBeta,
    "dr_beta",
    "finite and above 0",
    |x| x > 0.0
);
setting!(
    /// η of reward-aware preference optimisation: nats of margin per unit of score.
    RewardScale,
    "gt_reward_scale",
    "finite",
    |_| true
);

impl Default for LabelSmoothing {
    fn default() -> Self {
        Self(0.0)
    }
}

impl LossWeight {
    /// The weight of a term alone.
    pub const ONE: Self = Self(1.0);

    /// This weight times a factor of the same objective.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self(self.0 * factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_closed_against_what_is_no_number() {
        for found in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(Beta::try_from(found).is_err() && SimpoGamma::try_from(found).is_err());
            assert!(LabelSmoothing::try_from(found).is_err() && DiscopopTau::try_from(found).is_err());
        }
        assert!(ExoSmoothing::try_from(0.0).is_err() && LabelSmoothing::try_from(0.0).is_ok());
        assert!(DiscopopTau::try_from(1.0).is_ok() && DiscopopTau::try_from(1.1).is_err());
    }

    #[test]
    fn an_error_names_setting_range_and_value() {
        let error = Beta::try_from(0.0).unwrap_err();
        assert_eq!(error.to_string(), "expected `beta` finite and above 0, found 0");
        assert!(error.hint().unwrap().starts_with("0.1 is a usual value"));
        assert!(ExoSmoothing::try_from(0.0).unwrap_err().hint().unwrap().contains("0.001"));
    }
}
