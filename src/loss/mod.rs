//! Objectives: value and slopes per pair, closed form, in `f64`; no tensors, no files.
//!
//! Invariant: the slopes a run follows are the slopes of the value it reports. The backward pass starts from them, so
//! no autograd ever sees a softplus.

mod dpo;
mod params;

use serde::{Deserialize, Serialize};

pub use params::{Beta, LabelSmoothing, LossError};

/// Log-probabilities of the two completions of a pair under one model, in nats, summed over completion tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairLogps {
    /// ln π(y_w | x)
    pub chosen: f64,
    /// ln π(y_l | x)
    pub rejected: f64,
}

/// Loss of one pair and its slopes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairLoss {
    /// The loss, in nats for the logistic objectives.
    pub value: f64,
    /// ∂loss/∂ln π_θ(y_w | x)
    pub d_chosen: f64,
    /// ∂loss/∂ln π_θ(y_l | x)
    pub d_rejected: f64,
}

/// What a run minimises.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "loss_type", rename_all = "snake_case")]
pub enum Objective {
    /// DPO: `−ln σ(margin)`, with label smoothing cDPO.
    Sigmoid {
        /// Strength of the pull towards the reference.
        beta: Beta,
        /// Share of labels expected to be wrong.
        label_smoothing: LabelSmoothing,
    },
}

impl Objective {
    /// Loss of one pair.
    pub fn loss(&self, policy: PairLogps, reference: PairLogps) -> PairLoss {
        match *self {
            Self::Sigmoid { beta, label_smoothing } => dpo::loss(policy, reference, beta, label_smoothing),
        }
    }

    /// The β that rewards are reported with.
    pub fn beta(&self) -> Beta {
        match *self {
            Self::Sigmoid { beta, .. } => beta,
        }
    }
}

/// Implicit reward `β·(ln π_θ − ln π_ref)`, in β·nats (eq. 5 without its partition term, which cancels in a pair).
pub fn reward(beta: Beta, policy_logps: f64, reference_logps: f64) -> f64 {
    beta.get() * (policy_logps - reference_logps)
}

/// `ln(1 + eˣ)`; finite for every finite input, exact in both tails.
pub fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// `1 / (1 + e⁻ˣ)`, without overflow.
pub fn sigmoid(x: f64) -> f64 {
    let e = (-x.abs()).exp();
    if x >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(got: f64, want: f64) {
        assert!((got - want).abs() <= 1e-15 * want.abs().max(1e-300), "{got} is not {want}");
    }

    #[test]
    fn softplus_at_zero_where_every_run_starts() {
        close(softplus(0.0), std::f64::consts::LN_2);
    }

    #[test]
    fn softplus_keeps_its_digits_in_both_tails() {
        close(softplus(800.0), 800.0);
        close(softplus(-40.0), 4.248_354_255_291_589e-18);
    }

    #[test]
    fn sigmoid_neither_overflows_nor_loses_its_small_side() {
        close(sigmoid(0.0), 0.5);
        close(sigmoid(-800.0), 0.0);
        close(sigmoid(800.0), 1.0);
        close(sigmoid(-40.0), 4.248_354_255_291_589e-18);
    }
}
