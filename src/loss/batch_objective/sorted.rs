//! AOT: Melnyk et al. 2024 (arXiv:2406.05882): one distribution over the batch is to dominate another at every quantile,
//! so both are sorted, and what has the same rank is compared.

use crate::loss::margin::logistic;
use crate::loss::numeric::Curve;
use crate::loss::pair::{PairLoss, View};

/// Paired: `f(β·(↑(π_w − π_l) − ↑(ρ_w − ρ_l)))` with DPO's `f`; ln 2 where policy and reference agree.
///
/// The loss of a rank goes to the pair whose policy gap has it.
pub(super) fn aot(pairs: &[View], eps: f64) -> Vec<PairLoss> {
    let policy: Vec<f64> = pairs.iter().map(|pair| pair.policy.chosen - pair.policy.rejected).collect();
    // ρ_w − ρ_l, of what stands for the reference.
    let reference: Vec<f64> =
        pairs.iter().zip(&policy).map(|(pair, gap)| gap - (pair.ratios.chosen - pair.ratios.rejected)).collect();
    let mut losses = vec![PairLoss::NONE; pairs.len()];
    for (of_policy, of_reference) in ranks(&policy).into_iter().zip(ranks(&reference)) {
        let beta = pairs[of_policy].beta;
        let Curve { value, slope } = logistic(beta * (policy[of_policy] - reference[of_reference]), eps);
        losses[of_policy] = PairLoss { value, d_chosen: slope * beta, d_rejected: -slope * beta };
    }
    losses
}

/// Unpaired: `f(β·(↑r_w − ↑r_l))` with DPO's `f`; ln 2 where policy and reference agree.
///
/// The value of a rank goes to the pair whose chosen completion has it.
pub(super) fn aot_unpaired(pairs: &[View], eps: f64) -> Vec<PairLoss> {
    let chosen: Vec<f64> = pairs.iter().map(|pair| pair.ratios.chosen).collect();
    let rejected: Vec<f64> = pairs.iter().map(|pair| pair.ratios.rejected).collect();
    let mut losses = vec![PairLoss::NONE; pairs.len()];
    for (of_chosen, of_rejected) in ranks(&chosen).into_iter().zip(ranks(&rejected)) {
        let beta = pairs[of_chosen].beta;
        let Curve { value, slope } = logistic(beta * (chosen[of_chosen] - rejected[of_rejected]), eps);
        losses[of_chosen].value = value;
        losses[of_chosen].d_chosen = slope * beta;
        losses[of_rejected].d_rejected = -slope * beta;
    }
    losses
}

/// The places of the numbers in ascending order; equal ones stay in theirs.
fn ranks(numbers: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_by(|one, other| numbers[*one].total_cmp(&numbers[*other]));
    order
}
