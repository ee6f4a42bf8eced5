//! What an evaluation amounts to, under TRL's names with the prefix of the Hugging Face Trainer.

use serde::{Deserialize, Serialize};

use super::evaluate::PairResult;
use crate::loss::{self, Beta, PairLogps};

/// Means over the pairs of an evaluation (`schemas/metrics.v1.toml` has units and ranges).
///
/// # KL
/// `eval_kl/chosen` and `eval_kl/rejected` are `Σ(ln π_θ − ln π_ref) / Σ|y|` over the held-out completions: the plain
/// estimator `k1` of Schulman, "Approximating KL Divergence" (2020), a token. Of completions that the policy has written
/// it would be an unbiased estimate of KL(π_θ ‖ π_ref) a token; the held-out completions are somebody else's, so it says
/// how far the policy has moved on these texts, and may be below 0. The estimator `k3 = (r − 1) − ln r` with
/// `r = π_ref/π_θ` is not taken on purpose: its first term has mean 0 only under the policy, and off-policy it grows
/// exponentially with every token the policy has come to find unlikely, which is what DPO does to rejected completions.
/// `k1` needs sums alone, so that imported tables have it too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalMetrics {
    /// Mean of the objective.
    #[serde(rename = "eval_loss")]
    pub loss: f64,
    /// Mean of β·(ln π_θ − ln π_ref) of the chosen completions.
    #[serde(rename = "eval_rewards/chosen")]
    pub rewards_chosen: f64,
    /// The same of the rejected ones.
    #[serde(rename = "eval_rewards/rejected")]
    pub rewards_rejected: f64,
    /// Mean difference of the two.
    #[serde(rename = "eval_rewards/margins")]
    pub rewards_margins: f64,
    /// Share of pairs whose chosen reward is above the rejected one; a tie counts one half, where TRL counts it as below.
    #[serde(rename = "eval_rewards/accuracies")]
    pub rewards_accuracies: f64,
    /// Share of pairs whose rewards are equal.
    #[serde(rename = "eval_rewards/ties")]
    pub rewards_ties: f64,
    /// Mean of ln π_θ(y_w | x), in nats.
    #[serde(rename = "eval_logps/chosen")]
    pub logps_chosen: f64,
    /// Mean of ln π_θ(y_l | x), in nats.
    #[serde(rename = "eval_logps/rejected")]
    pub logps_rejected: f64,
    /// Mean of ln π_θ − ln π_ref over the tokens of all chosen completions, in nats a token.
    #[serde(rename = "eval_kl/chosen")]
    pub kl_chosen: f64,
    /// The same of the rejected ones.
    #[serde(rename = "eval_kl/rejected")]
    pub kl_rejected: f64,
    /// Share of pairs whose chosen log-prob is below the reference's.
    #[serde(rename = "eval_displacement")]
    pub displacement: f64,
    /// Mean of ln π_θ(y_w | x) − ln π_ref(y_w | x), in nats: by how much chosen completions became likelier.
    #[serde(rename = "eval_logps/chosen_change")]
    pub logps_chosen_change: f64,
    /// Pairs evaluated.
    #[serde(rename = "eval_n_pairs")]
    pub n_pairs: usize,
    /// Wall time, in seconds.
    #[serde(rename = "eval_runtime")]
    pub runtime: f64,
    /// Pairs by wall time.
    #[serde(rename = "eval_samples_per_second")]
    pub samples_per_second: f64,
}

/// Sums over the pairs so far, in their order.
#[derive(Debug)]
pub(super) struct Sums {
    beta: Beta,
    loss: f64,
    rewards: PairLogps,
    n_above: usize,
    n_ties: usize,
    logps: PairLogps,
    /// Sums of ln π_θ − ln π_ref.
    ratios: PairLogps,
    n_chosen_tokens: usize,
    n_rejected_tokens: usize,
    n_fallen: usize,
    n_pairs: usize,
}

impl Sums {
    pub(super) fn new(beta: Beta) -> Self {
        let zero = PairLogps { chosen: 0.0, rejected: 0.0 };
        Self {
            beta,
            loss: 0.0,
            rewards: zero,
            n_above: 0,
            n_ties: 0,
            logps: zero,
            ratios: zero,
            n_chosen_tokens: 0,
            n_rejected_tokens: 0,
            n_fallen: 0,
            n_pairs: 0,
        }
    }

    pub(super) fn add(&mut self, result: &PairResult<'_>) {
        let PairResult { pair, policy, loss, .. } = *result;
        let chosen = loss::reward(self.beta, policy.chosen, pair.ref_chosen_logps);
        let rejected = loss::reward(self.beta, policy.rejected, pair.ref_rejected_logps);
        self.loss += loss;
        self.rewards.chosen += chosen;
        self.rewards.rejected += rejected;
        match chosen.partial_cmp(&rejected) {
            Some(std::cmp::Ordering::Greater) => self.n_above += 1,
            Some(std::cmp::Ordering::Equal) => self.n_ties += 1,
            _ => {}
        }
        self.logps.chosen += policy.chosen;
        self.logps.rejected += policy.rejected;
        self.ratios.chosen += policy.chosen - pair.ref_chosen_logps;
        self.ratios.rejected += policy.rejected - pair.ref_rejected_logps;
        self.n_chosen_tokens += pair.chosen_ids.len();
        self.n_rejected_tokens += pair.rejected_ids.len();
        self.n_fallen += usize::from(policy.chosen < pair.ref_chosen_logps);
        self.n_pairs += 1;
    }

    /// The means, of one pair at least.
    pub(super) fn finish(self, runtime: f64) -> EvalMetrics {
        let n_pairs = self.n_pairs.max(1) as f64;
        let a_token = |sum: f64, n_tokens: usize| sum / n_tokens.max(1) as f64;
        EvalMetrics {
            loss: self.loss / n_pairs,
            rewards_chosen: self.rewards.chosen / n_pairs,
            rewards_rejected: self.rewards.rejected / n_pairs,
            rewards_margins: (self.rewards.chosen - self.rewards.rejected) / n_pairs,
            rewards_accuracies: (self.n_above as f64 + 0.5 * self.n_ties as f64) / n_pairs,
            rewards_ties: self.n_ties as f64 / n_pairs,
            logps_chosen: self.logps.chosen / n_pairs,
            logps_rejected: self.logps.rejected / n_pairs,
            kl_chosen: a_token(self.ratios.chosen, self.n_chosen_tokens),
            kl_rejected: a_token(self.ratios.rejected, self.n_rejected_tokens),
            displacement: self.n_fallen as f64 / n_pairs,
            logps_chosen_change: self.ratios.chosen / n_pairs,
            n_pairs: self.n_pairs,
            runtime,
            samples_per_second: if runtime > 0.0 { self.n_pairs as f64 / runtime } else { 0.0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::TrainingPair;

    /// One pair of two and four tokens, of a reference that gives −4 and −8 nats.
    fn result(chosen: f64, rejected: f64, loss: f64) -> PairResult<'static> {
        let pair = TrainingPair {
            pair_id: "p",
            tokens_id: "t",
            prompt_ids: &[1],
            chosen_ids: &[2, 3],
            rejected_ids: &[2, 3, 4, 5],
            ref_chosen_logps: -4.0,
            ref_rejected_logps: -8.0,
            ref_token_logps: None,
            scores: None,
        };
        PairResult { pair, policy: PairLogps { chosen, rejected }, margin: 0.0, loss }
    }

    #[test]
    fn means_by_hand() {
        let mut sums = Sums::new(Beta::try_from(0.5).unwrap());
        // Above, below with a chosen log-prob that fell, and a tie away from the reference.
        for (chosen, rejected, loss) in [(-3.0, -9.0, 0.25), (-6.0, -8.0, 1.0), (-3.5, -7.5, 0.75), (-3.0, -8.0, 0.5)] {
            sums.add(&result(chosen, rejected, loss));
        }
        let found = sums.finish(2.0);
        let want = EvalMetrics {
            loss: 0.625,
            // β/4 · (1 − 2 + 0.5 + 1) and β/4 · (−1 + 0 + 0.5 + 0).
            rewards_chosen: 0.0625,
            rewards_rejected: -0.0625,
            rewards_margins: 0.125,
            rewards_accuracies: 0.625,
            rewards_ties: 0.25,
            logps_chosen: -3.875,
            logps_rejected: -8.125,
            kl_chosen: 0.5 / 8.0,
            kl_rejected: -0.5 / 16.0,
            displacement: 0.25,
            logps_chosen_change: 0.125,
            n_pairs: 4,
            runtime: 2.0,
            samples_per_second: 2.0,
        };
        assert_eq!(found, want);
    }

    #[test]
    fn a_policy_that_is_its_reference_is_a_tie_everywhere() {
        let mut sums = Sums::new(Beta::try_from(0.1).unwrap());
        sums.add(&result(-4.0, -8.0, std::f64::consts::LN_2));
        let found = sums.finish(1.0);
        assert_eq!((found.rewards_accuracies, found.rewards_ties, found.displacement), (0.5, 1.0, 0.0));
        assert_eq!((found.kl_chosen, found.kl_rejected, found.logps_chosen_change), (0.0, 0.0, 0.0));
    }
}
