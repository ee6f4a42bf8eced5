//! How the log-probs of the tokens of a completion become one number.

use serde::Serialize;

use super::inputs::{PairInputs, PairTokenLogps};
use super::{Counted, TokenCounts};
use crate::loss::pair::{PairLogps, PairSums, PairTokens};
use crate::loss::params::{LdAlpha, LossError};

/// How the log-probs of the tokens of a completion become one number.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CompletionRule {
    /// Their sum.
    #[default]
    Sum,
    /// LD-DPO: Liu et al. 2024 (arXiv:2409.06411): the first `min(|y_w|, |y_l|)` tokens count once, those beyond count
    /// α, under policy and reference alike. The sum for α = 1.
    LdDpo {
        /// α
        alpha: LdAlpha,
    },
    /// Humanline: Liu et al. 2025 (arXiv:2509.24207): the log-ratio of each token is clipped before they add up; a token
    /// that is clipped has no slope.
    Humanline {
        /// To where.
        clip: Clip,
    },
}

/// The range of a token's log-ratio, in nats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Clip {
    low: f64,
    high: f64,
}

impl Clip {
    /// A range around 0.
    ///
    /// # Errors
    /// If a bound is not finite, or 0 is not between them.
    pub fn new(low: f64, high: f64) -> Result<Self, LossError> {
        if !(low.is_finite() && low <= 0.0) {
            return Err(LossError::OutOfRange {
                setting: "log_epsilon_p",
                expected: "finite and at most 0",
                found: low,
            });
        }
        if !(high.is_finite() && high >= 0.0) {
            return Err(LossError::OutOfRange {
                setting: "log_epsilon_r",
                expected: "finite and at least 0",
                found: high,
            });
        }
        Ok(Self { low, high })
    }
}

impl CompletionRule {
    /// Counts the tokens of pair `at` of the batch.
    pub(super) fn count(self, at: usize, pair: &PairInputs<'_>) -> Result<Counted, LossError> {
        match self {
            Self::Sum => Ok(Counted { sums: pair.sums, counts: None }),
            Self::LdDpo { alpha } => {
                let (policy, reference) = token_logps(at, pair)?;
                let shared = pair.sums.tokens.chosen.min(pair.sums.tokens.rejected);
                let count = |logps: &[f32]| by_length(logps, shared, alpha.get());
                Ok(Counted {
                    sums: PairSums {
                        policy: PairLogps { chosen: count(policy.chosen), rejected: count(policy.rejected) },
                        reference: PairLogps { chosen: count(reference.chosen), rejected: count(reference.rejected) },
                        tokens: pair.sums.tokens,
                    },
                    counts: Some(TokenCounts {
                        chosen: length_counts(policy.chosen.len(), shared, alpha.get()),
                        rejected: length_counts(policy.rejected.len(), shared, alpha.get()),
                    }),
                })
            }
            Self::Humanline { clip } => {
                let (policy, reference) = token_logps(at, pair)?;
                let (chosen, chosen_counts) = clipped(policy.chosen, reference.chosen, clip);
                let (rejected, rejected_counts) = clipped(policy.rejected, reference.rejected, clip);
                let PairLogps { chosen: base_chosen, rejected: base_rejected } = pair.sums.reference;
                Ok(Counted {
                    sums: PairSums {
                        policy: PairLogps { chosen: base_chosen + chosen, rejected: base_rejected + rejected },
                        ..pair.sums
                    },
                    counts: Some(TokenCounts { chosen: chosen_counts, rejected: rejected_counts }),
                })
            }
        }
    }
}

/// Log-probs of the tokens under policy and reference, one for each token of the completions.
fn token_logps<'a>(at: usize, pair: &PairInputs<'a>) -> Result<(PairTokenLogps<'a>, PairTokenLogps<'a>), LossError> {
    let missing = |what| LossError::Missing { pair: at, what };
    let policy = pair.policy_tokens.ok_or_else(|| missing("the policy's log-probs of tokens"))?;
    let reference = pair.reference_tokens.ok_or_else(|| missing("the reference's log-probs of tokens"))?;
    let PairTokens { chosen, rejected } = pair.sums.tokens;
    for (what, expected, found) in [
        ("the policy's chosen", chosen, policy.chosen.len()),
        ("the policy's rejected", rejected, policy.rejected.len()),
        ("the reference's chosen", chosen, reference.chosen.len()),
        ("the reference's rejected", rejected, reference.rejected.len()),
    ] {
        if found != expected {
            return Err(LossError::TokenCount { pair: at, what, expected, found });
        }
    }
    Ok((policy, reference))
}

fn by_length(logps: &[f32], shared: usize, alpha: f64) -> f64 {
    let (head, tail) = logps.split_at(shared.min(logps.len()));
    let sum = |logps: &[f32]| logps.iter().copied().map(f64::from).sum::<f64>();
    sum(head) + alpha * sum(tail)
}

fn length_counts(n_tokens: usize, shared: usize, alpha: f64) -> Vec<f64> {
    (0..n_tokens).map(|token| if token < shared { 1.0 } else { alpha }).collect()
}

/// Sum of the clipped log-ratios, and 1 for each token that was not clipped.
fn clipped(policy: &[f32], reference: &[f32], clip: Clip) -> (f64, Vec<f64>) {
    let ratios = policy.iter().zip(reference).map(|(policy, reference)| f64::from(*policy) - f64::from(*reference));
    let mut sum = 0.0;
    let counts = ratios
        .map(|ratio| {
            sum += ratio.clamp(clip.low, clip.high);
            if (clip.low..=clip.high).contains(&ratio) { 1.0 } else { 0.0 }
        })
        .collect();
    (sum, counts)
}
