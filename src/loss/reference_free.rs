//! Objectives that have no reference: functions of the policy's log-probs, summed (`π`) or a token (`π̄ = π/|y|`).

use super::margin::{hinge, logistic};
use super::numeric::{Curve, EXPONENT_CAP, capped_exp_m1, log1mexp};
use super::pair::{PairLoss, View};

/// The most that a mean log-prob is taken to be where its odds are asked for: one ulp below probability 1.
const SURE: f64 = -f64::EPSILON;

/// CPO's preference term: Xu et al. 2024 (arXiv:2401.08417), eq. 3: `−ln σ(β·(π_w − π_l))`, with label smoothing ε.
pub(super) fn cpo(pair: &View, eps: f64) -> PairLoss {
    let Curve { value, slope } = logistic(pair.beta * (pair.policy.chosen - pair.policy.rejected), eps);
    PairLoss { value, d_chosen: slope * pair.beta, d_rejected: -slope * pair.beta }
}

/// SimPO: Meng et al. 2024 (arXiv:2405.14734): `−ln σ(β·(π̄_w − π̄_l) − γ)`, with label smoothing ε.
pub(super) fn simpo(pair: &View, gamma: f64, eps: f64) -> PairLoss {
    of_rewards(pair, gamma, eps, |mean| Curve { value: mean, slope: 1.0 })
}

/// AlphaPO: Gupta et al. 2025 (arXiv:2501.03884): SimPO with the reward `(1 − p̄⁻ᵅ)/α`, `p̄ = e^π̄`; SimPO for α = 0.
///
/// The exponent `−α·π̄` stays at 88 where it would be more.
pub(super) fn alphapo(pair: &View, alpha: f64, gamma: f64, eps: f64) -> PairLoss {
    of_rewards(pair, gamma, eps, |mean| {
        if alpha == 0.0 {
            return Curve { value: mean, slope: 1.0 };
        }
        let power = capped_exp_m1(-alpha * mean, EXPONENT_CAP);
        Curve { value: -power.value / alpha, slope: power.slope }
    })
}

/// `−ln σ(β·(r_w − r_l) − γ)` with ε, for a reward of the mean log-prob.
fn of_rewards(pair: &View, gamma: f64, eps: f64, reward: impl Fn(f64) -> Curve) -> PairLoss {
    let (n_chosen, n_rejected) = pair.lengths();
    let chosen = reward(pair.policy.chosen / n_chosen);
    let rejected = reward(pair.policy.rejected / n_rejected);
    let Curve { value, slope } = logistic(pair.beta * (chosen.value - rejected.value) - gamma, eps);
    PairLoss {
        value,
        d_chosen: slope * pair.beta * chosen.slope / n_chosen,
        d_rejected: -slope * pair.beta * rejected.slope / n_rejected,
    }
}

/// ORPO's odds ratio: Hong et al. 2024 (arXiv:2403.07691), eqs. 4 and 7.
///
/// ```text
/// −ln σ(o_w − o_l)          o = ln(p̄/(1 − p̄)) = π̄ − ln(1 − e^π̄)
/// ```
///
/// The odds of certainty are infinite; a mean log-prob within an ulp of 0 is taken to be an ulp below.
pub(super) fn odds_ratio(pair: &View) -> PairLoss {
    let (n_chosen, n_rejected) = pair.lengths();
    let chosen = log_odds(pair.policy.chosen / n_chosen);
    let rejected = log_odds(pair.policy.rejected / n_rejected);
    let Curve { value, slope } = logistic(chosen.value - rejected.value, 0.0);
    PairLoss { value, d_chosen: slope * chosen.slope / n_chosen, d_rejected: -slope * rejected.slope / n_rejected }
}

fn log_odds(mean: f64) -> Curve {
    let mean = mean.min(SURE);
    Curve { value: mean - log1mexp(mean), slope: -1.0 / mean.exp_m1() }
}

/// SLiC-HF: Zhao et al. 2023 (arXiv:2305.10425), with the chosen completion as the one to stay likely:
/// `max(0, δ − π_w + π_l) − λ·π_w`.
pub(super) fn slic(pair: &View, delta: f64, lambda: f64) -> PairLoss {
    let rank = hinge(1.0 - delta + pair.policy.chosen - pair.policy.rejected);
    PairLoss { value: rank.value - lambda * pair.policy.chosen, d_chosen: rank.slope - lambda, d_rejected: -rank.slope }
}
