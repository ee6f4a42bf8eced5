//! What an objective sees of a pair, and what it says about it.

use super::numeric::Curve;

/// Log-probabilities of the two completions of a pair under one model, in nats, summed over completion tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairLogps {
    /// ln π(y_w | x)
    pub chosen: f64,
    /// ln π(y_l | x)
    pub rejected: f64,
}

/// Tokens of the two completions, as scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairTokens {
    /// |y_w|
    pub chosen: usize,
    /// |y_l|
    pub rejected: usize,
}

/// A pair as most objectives see it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairSums {
    /// Under the policy.
    pub policy: PairLogps,
    /// Under the reference.
    pub reference: PairLogps,
    /// Lengths.
    pub tokens: PairTokens,
}

/// What is known of an optimiser batch before any of it is scored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchFacts {
    /// Mean number of tokens of the chosen completions: a mean over all their tokens is the sum of a pair by this.
    pub mean_chosen_tokens: f64,
}

impl BatchFacts {
    /// Of the lengths of the chosen completions of the batch.
    pub fn of(chosen_tokens: impl IntoIterator<Item = usize>) -> Self {
        let (mut n_pairs, mut n_tokens) = (0_usize, 0_usize);
        for tokens in chosen_tokens {
            n_pairs += 1;
            n_tokens += tokens;
        }
        Self { mean_chosen_tokens: n_tokens.max(1) as f64 / n_pairs.max(1) as f64 }
    }
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

impl PairLoss {
    /// No loss at all.
    pub(super) const NONE: Self = Self { value: 0.0, d_chosen: 0.0, d_rejected: 0.0 };

    /// One function of the chosen completion and another of the rejected one.
    pub(super) fn apart(chosen: Curve, rejected: Curve) -> Self {
        Self { value: chosen.value + rejected.value, d_chosen: chosen.slope, d_rejected: rejected.slope }
    }

    /// The loss and its slopes times a constant.
    pub(super) fn times(self, factor: f64) -> Self {
        Self { value: factor * self.value, d_chosen: factor * self.d_chosen, d_rejected: factor * self.d_rejected }
    }
}

impl std::ops::Add for PairLoss {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            value: self.value + other.value,
            d_chosen: self.d_chosen + other.d_chosen,
            d_rejected: self.d_rejected + other.d_rejected,
        }
    }
}

/// A pair under one objective: what its terms are functions of.
pub(super) struct View {
    pub(super) beta: f64,
    pub(super) policy: PairLogps,
    /// ln π_θ − ln π_ref
    pub(super) ratios: PairLogps,
    /// The ratios as the divergence sees them, with their slopes in the policy's log-probs.
    pub(super) chosen_score: Curve,
    pub(super) rejected_score: Curve,
    pub(super) tokens: PairTokens,
    pub(super) facts: BatchFacts,
}

impl View {
    /// A function of `β·(s_w − s_l)`, the margin.
    pub(super) fn of_margin(&self, curve: impl FnOnce(f64) -> Curve) -> PairLoss {
        self.of_difference((1.0, 1.0), curve)
    }

    /// A function of `β·(s_w/|y_w| − s_l/|y_l|)`.
    pub(super) fn of_mean_margin(&self, curve: impl FnOnce(f64) -> Curve) -> PairLoss {
        self.of_difference(self.lengths(), curve)
    }

    fn of_difference(&self, (chosen, rejected): (f64, f64), curve: impl FnOnce(f64) -> Curve) -> PairLoss {
        let margin = self.beta * (self.chosen_score.value / chosen - self.rejected_score.value / rejected);
        let Curve { value, slope } = curve(margin);
        PairLoss {
            value,
            d_chosen: slope * self.beta * self.chosen_score.slope / chosen,
            d_rejected: -slope * self.beta * self.rejected_score.slope / rejected,
        }
    }

    /// Tokens of both completions; one at least, so that an empty completion is no division by 0.
    pub(super) fn lengths(&self) -> (f64, f64) {
        (self.tokens.chosen.max(1) as f64, self.tokens.rejected.max(1) as f64)
    }
}
