//! Objectives that are functions of one number, the margin `m = β·(s_w − s_l)`.
//!
//! Without a divergence `s = ln π_θ − ln π_ref`, and `m` is the difference of the implicit rewards. Where policy and
//! reference agree, `m = 0`.

use super::numeric::{Curve, log_sigmoid, sigmoid, softplus};
use super::pair::{PairLoss, View};

/// DPO and cDPO: Rafailov et al. 2023 (arXiv:2305.18290), eq. 7; label smoothing: Mitchell 2023 (cDPO), eq. 3.
///
/// ```text
/// f(m) = (1 − ε)·softplus(−m) + ε·softplus(m)          softplus(−m) = −ln σ(m)
/// f′(m) = ε·σ(m) − (1 − ε)·σ(−m)
/// ```
///
/// `f(0) = ln 2`. Swapping the answers is smoothing with `1 − ε`; `f′ = 0` at `m = ln((1 − ε)/ε)`.
pub(super) fn logistic(m: f64, eps: f64) -> Curve {
    Curve { value: (1.0 - eps) * softplus(-m) + eps * softplus(m), slope: eps * sigmoid(m) - (1.0 - eps) * sigmoid(-m) }
}

/// Robust DPO: Ray Chowdhury et al. 2024 (arXiv:2403.00409): unbiased where a share ε of the labels is flipped.
///
/// ```text
/// f(m) = [(1 − ε)·softplus(−m) − ε·softplus(m)] / (1 − 2ε)
/// f′(m) = −[(1 − ε)·σ(−m) + ε·σ(m)] / (1 − 2ε)
/// ```
///
/// `f(0) = ln 2`. Not bounded below for ε > 0.
pub(super) fn robust(m: f64, eps: f64) -> Curve {
    let scale = 1.0 / (1.0 - 2.0 * eps);
    Curve {
        value: scale * ((1.0 - eps) * softplus(-m) - eps * softplus(m)),
        slope: -scale * ((1.0 - eps) * sigmoid(-m) + eps * sigmoid(m)),
    }
}

/// Hinge loss of SLiC on DPO's margin: RSO, Liu et al. 2023 (arXiv:2309.06657).
///
/// `f(m) = max(0, 1 − m)`, so `f(0) = 1`; at the corner, `m = 1`, the slope is 0 as in torch.
pub(super) fn hinge(m: f64) -> Curve {
    let gap = 1.0 - m;
    if gap > 0.0 { Curve { value: gap, slope: -1.0 } } else { Curve { value: 0.0, slope: 0.0 } }
}

/// EXO for pairs: Ji et al. 2024 (arXiv:2402.00856), eq. 16: the reverse KL of `q = σ(m)` to smoothed labels.
///
/// ```text
/// f(m) = q·[ln q − ln(1 − ε)] + (1 − q)·[ln(1 − q) − ln ε]
/// f′(m) = q·(1 − q)·[m − ln((1 − ε)/ε)]
/// ```
///
/// `f(0) = −ln 2 − ½·ln(ε·(1 − ε))`.
pub(super) fn exo(m: f64, eps: f64) -> Curve {
    let (q, rest) = (sigmoid(m), sigmoid(-m));
    let (log_won, log_lost) = ((-eps).ln_1p(), eps.ln());
    Curve {
        value: q * (log_sigmoid(m) - log_won) + rest * (log_sigmoid(-m) - log_lost),
        slope: q * rest * (m - (log_won - log_lost)),
    }
}

/// DiscoPOP: Lu et al. 2024 (arXiv:2406.08414), eq. 5: logistic where the pair is lost, exponential where it is won.
///
/// ```text
/// f(m) = (1 − w)·softplus(−m) + w·e⁻ᵐ          w = σ(m/τ)
/// f′(m) = −(1 − w)·σ(−m) − w·e⁻ᵐ + w·(1 − w)/τ·(e⁻ᵐ − softplus(−m))
/// ```
///
/// `f(0) = ½·ln 2 + ½`. `w·e⁻ᵐ` is one exponential, since the product is `0·∞` for a pair that is lost by far.
pub(super) fn discopop(m: f64, tau: f64) -> Curve {
    let (w, rest) = (sigmoid(m / tau), sigmoid(-m / tau));
    let exponential = (-m - softplus(-m / tau)).exp();
    Curve {
        value: rest * softplus(-m) + exponential,
        slope: rest / tau * (exponential - w * softplus(-m)) - rest * sigmoid(-m) - exponential,
    }
}

/// DPOP (Smaug): Pal et al. 2024 (arXiv:2402.13228): DPO whose margin falls with every nat that the chosen
/// completion loses against the reference.
///
/// ```text
/// f = −ln σ(β·(Δ − λ·max(0, ln π_ref(y_w) − ln π_θ(y_w))))
/// ```
///
/// Where policy and reference agree, `f = ln 2`, and the slope of the penalty, any of a whole range there, is taken as 0.
pub(super) fn dpop(pair: &View, lambda: f64) -> PairLoss {
    let is_displaced = pair.ratios.chosen < 0.0;
    let gain = if is_displaced { 1.0 + lambda } else { 1.0 };
    let margin = pair.beta * (gain * pair.ratios.chosen - pair.ratios.rejected);
    let Curve { value, slope } = logistic(margin, 0.0);
    PairLoss { value, d_chosen: slope * pair.beta * gain, d_rejected: -slope * pair.beta }
}
