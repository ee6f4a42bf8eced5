//! Objectives of the policy's likelihood alone, and the baselines of the DPO paper.

use super::pair::{PairLoss, View};

/// Supervised term: `−Σ ln π_θ(y_w) / Σ|y_w|`, both sums over the optimiser batch, so each of its tokens counts the same.
///
/// A pair's value is its own sum by the mean length of the batch, which is known before anything is scored; the mean of
/// these is the token mean. It is the NLL of RPO (Pang et al. 2024, arXiv:2404.19733) and of MPO (Wang et al. 2024,
/// arXiv:2411.10442) as TRL has it, and the likelihood term of CPO and ORPO.
pub(super) fn sft(pair: &View) -> PairLoss {
    preferred_ft(pair).times(1.0 / pair.facts.mean_chosen_tokens)
}

/// Preferred-FT, a baseline of Rafailov et al. 2023, section 6: `−ln π_θ(y_w)`, summed over tokens.
pub(super) fn preferred_ft(pair: &View) -> PairLoss {
    PairLoss { value: -pair.policy.chosen, d_chosen: -1.0, d_rejected: 0.0 }
}

/// Unlikelihood, a baseline of the same section: `−ln π_θ(y_w) + α·ln π_θ(y_l)`.
///
/// DPO's gradient without its weight (section 4), so the paper's table of degenerate samples is of this. Not bounded
/// below for α > 0. It is not the token-wise unlikelihood of Welleck et al. 2019, which is `−Σ ln(1 − π(y_t))`.
pub(super) fn unlikelihood(pair: &View, alpha: f64) -> PairLoss {
    preferred_ft(pair) + PairLoss { value: alpha * pair.policy.rejected, d_chosen: 0.0, d_rejected: alpha }
}
