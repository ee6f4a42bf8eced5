//! Reward-aware preference optimisation: Sun et al. 2025 (arXiv:2502.00203): the margin is to be the gap of two scores.
//! The three distances are those of NeMo-Aligner, `rpo_sq`, `rpo_bwd_kl` and `rpo_fwd_kl`.

use serde::Serialize;

use crate::loss::numeric::{Curve, log_sigmoid, sigmoid};

/// How far a margin `m` is from the gap `g` it should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RewardDistance {
    /// `(m − g)²`
    Squared,
    /// `KL(σ(g) ‖ σ(m))` of Bernoulli
    BackwardKl,
    /// `KL(σ(m) ‖ σ(g))` of Bernoulli
    ForwardKl,
}

/// The distance and its slope in the margin.
pub(super) fn loss(distance: RewardDistance, margin: f64, gap: f64) -> Curve {
    match distance {
        RewardDistance::Squared => Curve { value: (margin - gap) * (margin - gap), slope: 2.0 * (margin - gap) },
        RewardDistance::BackwardKl => Curve { value: bernoulli_kl(gap, margin), slope: sigmoid(margin) - sigmoid(gap) },
        RewardDistance::ForwardKl => {
            Curve { value: bernoulli_kl(margin, gap), slope: sigmoid(margin) * sigmoid(-margin) * (margin - gap) }
        }
    }
}

/// `KL(σ(a) ‖ σ(b))`.
fn bernoulli_kl(a: f64, b: f64) -> f64 {
    sigmoid(a) * (log_sigmoid(a) - log_sigmoid(b)) + sigmoid(-a) * (log_sigmoid(-a) - log_sigmoid(-b))
}
