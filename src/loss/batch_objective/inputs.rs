//! What a batch objective may ask of a pair, and what it says about it.

use crate::loss::pair::{PairLogps, PairSums};

/// Log-probs of the tokens of both completions under one model, in nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairTokenLogps<'a> {
    /// One per token of the chosen completion.
    pub chosen: &'a [f32],
    /// One per token of the rejected completion.
    pub rejected: &'a [f32],
}

/// Scores of both completions by somebody else, e.g. a reward model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairScores {
    /// Of the chosen completion.
    pub chosen: f64,
    /// Of the rejected one.
    pub rejected: f64,
}

/// A pair as a batch objective sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairInputs<'a> {
    /// Sums and token counts: every objective needs them.
    pub sums: PairSums,
    /// Terms of the policy's sums.
    pub policy_tokens: Option<PairTokenLogps<'a>>,
    /// Terms of the reference's sums.
    pub reference_tokens: Option<PairTokenLogps<'a>>,
    /// `Σ_t ln Σ_v π_θ(v | x, y_<t)²` of both completions: how likely two draws from the policy are the same token.
    pub collisions: Option<PairLogps>,
    /// Scores by somebody else.
    pub scores: Option<PairScores>,
}

/// What an objective has to be given of a pair beside its sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Log-probs of tokens, of policy and reference.
    pub tokens: bool,
    /// [`PairInputs::collisions`]
    pub collisions: bool,
    /// Scores by somebody else.
    pub scores: bool,
}

impl PairInputs<'_> {
    /// A pair of which nothing but its sums is known.
    pub fn of_sums(sums: PairSums) -> Self {
        Self { sums, policy_tokens: None, reference_tokens: None, collisions: None, scores: None }
    }
}

/// ∂loss/∂ln π_θ of the tokens of one completion.
#[derive(Debug, Clone, PartialEq)]
pub enum Slope {
    /// The same for all of them: the slope in their sum.
    Sequence(f64),
    /// One a token.
    Tokens(Vec<f64>),
}

impl Slope {
    /// The slope in the log-prob of one token.
    pub fn at(&self, token: usize) -> f64 {
        match self {
            Self::Sequence(slope) => *slope,
            Self::Tokens(slopes) => slopes.get(token).copied().unwrap_or(0.0),
        }
    }
}

/// Loss of one pair and its slopes.
#[derive(Debug, Clone, PartialEq)]
pub struct PairSlopes {
    /// The loss; of a pair by itself only if the scope is that of a pair.
    pub value: f64,
    /// In the tokens of the chosen completion.
    pub chosen: Slope,
    /// In the tokens of the rejected one.
    pub rejected: Slope,
}
