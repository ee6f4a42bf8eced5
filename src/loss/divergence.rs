//! f-DPO: Wang et al. 2023 (arXiv:2309.16240): another divergence than reverse KL holds policy and reference together.
//!
//! DPO's log-ratio `r` becomes `f′(eʳ)`, up to a constant that cancels in the difference of two; here it is chosen so that
//! a score is 0 where policy and reference agree, as in TRL. A divergence is for objectives of that difference only: in
//! others its partition function would not cancel.

use std::f64::consts::LN_2;

use serde::Serialize;

use super::numeric::{Curve, EXPONENT_CAP, capped_exp_m1, sigmoid, softplus};
use super::params::DivergenceAlpha;

/// Where TRL caps the exponent of the α-divergence.
const ALPHA_CAP: f64 = 80.0;

/// Closer to 1 than this, α is taken for 1, as in TRL.
const NEARLY_ONE: f64 = 1e-6;

/// What holds the policy to the reference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Divergence {
    /// KL(π_θ ‖ π_ref), DPO's own: `s = r`.
    ReverseKl,
    /// KL(π_ref ‖ π_θ): `s = 1 − e⁻ʳ`. A completion that the policy has left by 88 nats has no slope any more.
    ForwardKl,
    /// Jensen–Shannon: `s = ln 2 + ln σ(r)`.
    JsDivergence,
    /// α-divergence: `s = (e^((α−1)·r) − 1)/(α − 1)`, its exponent at most 80; reverse KL for α = 1, forward KL for α = 0.
    AlphaDivergence(DivergenceAlpha),
}

impl Divergence {
    /// The score of a log-ratio, with its slope.
    pub(super) fn score(self, ratio: f64) -> Curve {
        match self {
            Self::ReverseKl => Curve { value: ratio, slope: 1.0 },
            Self::ForwardKl => {
                let power = capped_exp_m1(-ratio, EXPONENT_CAP);
                Curve { value: -power.value, slope: power.slope }
            }
            Self::JsDivergence => Curve { value: LN_2 - softplus(-ratio), slope: sigmoid(-ratio) },
            Self::AlphaDivergence(alpha) => {
                let order = alpha.get() - 1.0;
                if order.abs() < NEARLY_ONE {
                    return Curve { value: ratio, slope: 1.0 };
                }
                let power = capped_exp_m1(order * ratio, ALPHA_CAP);
                Curve { value: power.value / order, slope: power.slope }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_score_is_zero_with_slope_one_at_the_reference() {
        let alpha = |alpha: f64| Divergence::AlphaDivergence(alpha.try_into().unwrap());
        for (divergence, slope) in [
            (Divergence::ReverseKl, 1.0),
            (Divergence::ForwardKl, 1.0),
            (Divergence::JsDivergence, 0.5),
            (alpha(0.5), 1.0),
            (alpha(-2.0), 1.0),
        ] {
            let score = divergence.score(0.0);
            assert!(score.value.abs() < 1e-15 && score.slope == slope, "{divergence:?}: {score:?}");
        }
    }

    #[test]
    fn the_alpha_divergence_meets_both_kl_divergences() {
        let alpha = |alpha: f64| Divergence::AlphaDivergence(alpha.try_into().unwrap());
        for ratio in [-20.0, -0.3, 0.0, 5.0] {
            assert_eq!(alpha(1.0).score(ratio), Divergence::ReverseKl.score(ratio));
            assert_eq!(alpha(0.0).score(ratio), Divergence::ForwardKl.score(ratio));
            let near = alpha(1.0 + 2e-6).score(ratio);
            assert!((near.value - ratio).abs() < 1e-3, "{near:?}");
        }
    }
}
