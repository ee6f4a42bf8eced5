//! WPO: Zhou et al. 2024 (arXiv:2406.11827): a pair counts as much as the policy would write it today.

use serde::Serialize;

use super::inputs::PairInputs;
use crate::loss::params::LossError;

/// What a pair's loss is multiplied by. To the slopes a weight is a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weighting {
    /// 1.
    #[default]
    None,
    /// `w_w·w_l`, `w = exp(mean_t[ln π(y_t) − ln Σ_v π(v)²])`: eq. 2 with the paper's alignment, as TRL has it. It may be
    /// above 1.
    Wpo,
    /// The same with `w = exp(mean_t ln π(y_t))`, as Open Instruct has it: never above 1.
    WpoMean,
}

impl Weighting {
    /// The weight of each pair.
    pub(super) fn weights(self, pairs: &[PairInputs<'_>]) -> Result<Vec<f64>, LossError> {
        pairs.iter().enumerate().map(|(at, pair)| self.weight(at, pair)).collect()
    }

    fn weight(self, at: usize, pair: &PairInputs<'_>) -> Result<f64, LossError> {
        let (policy, tokens) = (pair.sums.policy, pair.sums.tokens);
        let of_means = |chosen: f64, rejected: f64| {
            (chosen / tokens.chosen.max(1) as f64 + rejected / tokens.rejected.max(1) as f64).exp()
        };
        match self {
            Self::None => Ok(1.0),
            Self::Wpo => {
                let what = "the sums of ln Σ_v π(v)²";
                let own = pair.collisions.ok_or(LossError::Missing { pair: at, what })?;
                Ok(of_means(policy.chosen - own.chosen, policy.rejected - own.rejected))
            }
            Self::WpoMean => Ok(of_means(policy.chosen, policy.rejected).min(1.0)),
        }
    }
}
