//! Objectives that judge each completion by its own reward `β·r`, `r = ln π_θ − ln π_ref`.
//!
//! Their terms have no difference in which the partition function would cancel, so there is no divergence but reverse KL
//! for them.

use super::numeric::{Curve, sigmoid, softplus};
use super::pair::{PairLoss, View};

/// `−ln σ(β·r)·weight`, as a function of `r`.
fn pull_up(beta: f64, reward: f64, weight: f64) -> Curve {
    Curve { value: weight * softplus(-reward), slope: -weight * beta * sigmoid(-reward) }
}

/// `−ln σ(−β·r)·weight`, as a function of `r`.
fn push_down(beta: f64, reward: f64, weight: f64) -> Curve {
    Curve { value: weight * softplus(reward), slope: weight * beta * sigmoid(reward) }
}

/// `σ(β·r)`, as a function of `r`.
fn share(beta: f64, reward: f64) -> Curve {
    let up = sigmoid(reward);
    Curve { value: up, slope: beta * up * sigmoid(-reward) }
}

/// NCA for pairs: Chen et al. 2024 (arXiv:2402.05369).
///
/// `−ln σ(βr_w) − ½·ln σ(−βr_w) − ½·ln σ(−βr_l)`; `2·ln 2` where policy and reference agree.
pub(super) fn nca(pair: &View) -> PairLoss {
    let (chosen, rejected) = rewards(pair);
    let noise = PairLoss::apart(push_down(pair.beta, chosen, 0.5), push_down(pair.beta, rejected, 0.5));
    let won = pull_up(pair.beta, chosen, 1.0);
    noise + PairLoss { value: won.value, d_chosen: won.slope, d_rejected: 0.0 }
}

/// BCO for pairs: Jung et al. 2024 (arXiv:2404.04656): a classifier of good and bad with rewards as logits.
///
/// `−ln σ(βr_w − δ) − ln σ(−(βr_l − δ))`; `2·ln 2` where policy and reference agree and δ = 0. TRL has dropped the
/// paper's reward shift δ; without one it is 0.
pub(super) fn bco(pair: &View, shift: f64) -> PairLoss {
    let (chosen, rejected) = rewards(pair);
    PairLoss::apart(pull_up(pair.beta, chosen - shift, 1.0), push_down(pair.beta, rejected - shift, 1.0))
}

/// APO-zero: D'Oosterlinck et al. 2024 (arXiv:2408.06266), eq. 7: for chosen completions better than the model's own.
///
/// `1 − σ(βr_w) + σ(βr_l)`; 1 where policy and reference agree, and in (0, 2).
pub(super) fn apo_zero(pair: &View) -> PairLoss {
    let (chosen, rejected) = rewards(pair);
    PairLoss::apart(falling(share(pair.beta, -chosen)), share(pair.beta, rejected))
}

/// APO-down, eq. 8 of the same paper: for chosen completions worse than the model's own.
///
/// `σ(βr_w) + 1 − σ(βr_w − βr_l)`; 1 where policy and reference agree, and in (0, 2).
pub(super) fn apo_down(pair: &View) -> PairLoss {
    let (chosen, rejected) = rewards(pair);
    let down = share(pair.beta, chosen);
    let lost = share(pair.beta, rejected - chosen);
    PairLoss { value: down.value + lost.value, d_chosen: down.slope - lost.slope, d_rejected: lost.slope }
}

/// A curve of `−x` as a function of `x`.
fn falling(curve: Curve) -> Curve {
    Curve { slope: -curve.slope, ..curve }
}

fn rewards(pair: &View) -> (f64, f64) {
    (pair.beta * pair.ratios.chosen, pair.beta * pair.ratios.rejected)
}
