//! Objectives that are squared distances to a target margin.

use super::numeric::Curve;
use super::pair::{PairLoss, View};

/// `(x − target)²`.
fn square(x: f64, target: f64) -> Curve {
    let distance = x - target;
    Curve { value: distance * distance, slope: 2.0 * distance }
}

/// IPO: Azar et al. 2023 (arXiv:2310.12036), eq. 17, with β for its τ, on mean log-ratios a token.
///
/// `(s_w/|y_w| − s_l/|y_l| − 1/(2β))²`; `1/(4β²)` where policy and reference agree. The paper leaves open what a
/// log-ratio of a text is; its authors told TRL that their results are with means, and TRL computes so.
pub(super) fn ipo(pair: &View) -> PairLoss {
    let (chosen, rejected) = pair.lengths();
    of_gap(pair, 1.0 / chosen, 1.0 / rejected)
}

/// IPO on summed log-ratios: `(s_w − s_l − 1/(2β))²`, the paper to the letter, as the code of DPO's authors has it.
pub(super) fn ipo_sum(pair: &View) -> PairLoss {
    of_gap(pair, 1.0, 1.0)
}

fn of_gap(pair: &View, chosen: f64, rejected: f64) -> PairLoss {
    let gap = pair.chosen_score.value * chosen - pair.rejected_score.value * rejected;
    let Curve { value, slope } = square(gap, 0.5 / pair.beta);
    PairLoss {
        value,
        d_chosen: slope * pair.chosen_score.slope * chosen,
        d_rejected: -slope * pair.rejected_score.slope * rejected,
    }
}

/// SPPO with certain labels: Wu et al. 2024 (arXiv:2405.00675), eq. 4.7 with P = 1 for the winner and 0 for the loser.
///
/// `(r_w − 1/(2β))² + (r_l + 1/(2β))²`; `1/(2β²)` where policy and reference agree.
pub(super) fn sppo_hard(pair: &View) -> PairLoss {
    let target = 0.5 / pair.beta;
    PairLoss::apart(square(pair.ratios.chosen, target), square(pair.ratios.rejected, -target))
}
