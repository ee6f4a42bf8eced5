//! DPO: Rafailov et al. 2023 (arXiv:2305.18290), eq. 7. Label smoothing: Mitchell 2023 (cDPO), eq. 3.

use super::{Beta, LabelSmoothing, PairLogps, PairLoss, sigmoid, softplus};

/// Loss of one pair and its slope in each policy log-prob.
///
/// With `m = β·[(ln π_θ(y_w) − ln π_ref(y_w)) − (ln π_θ(y_l) − ln π_ref(y_l))]`, the margin:
///
/// ```text
/// loss = (1 − ε)·softplus(−m) + ε·softplus(m)          softplus(−m) = −ln σ(m)
/// ∂loss/∂m = −(1 − ε)·σ(−m) + ε·σ(m)
/// ```
///
/// # Units
/// Log-probs in nats, summed over completion tokens. Where policy and reference agree, the loss is ln 2 and its slope
/// in the chosen log-prob is −β/2 (at ε = 0).
pub(super) fn loss(policy: PairLogps, reference: PairLogps, beta: Beta, label_smoothing: LabelSmoothing) -> PairLoss {
    let (beta, eps) = (beta.get(), label_smoothing.get());
    let margin = beta * ((policy.chosen - reference.chosen) - (policy.rejected - reference.rejected));
    let slope = beta * (eps * sigmoid(margin) - (1.0 - eps) * sigmoid(-margin));
    PairLoss { value: (1.0 - eps) * softplus(-margin) + eps * softplus(margin), d_chosen: slope, d_rejected: -slope }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::LN_2;

    use proptest::prelude::*;

    use super::*;

    fn at(chosen: f64, rejected: f64, beta: f64, eps: f64) -> PairLoss {
        let reference = PairLogps { chosen: -40.0, rejected: -50.0 };
        loss(PairLogps { chosen, rejected }, reference, beta.try_into().unwrap(), eps.try_into().unwrap())
    }

    #[test]
    fn at_the_reference_the_loss_is_ln_2_and_the_slope_half_of_beta() {
        let start = at(-40.0, -50.0, 0.1, 0.0);
        assert!((start.value - LN_2).abs() < 1e-15);
        assert!((start.d_chosen + 0.05).abs() < 1e-15);
        assert!((start.d_rejected - 0.05).abs() < 1e-15);
    }

    #[test]
    fn a_hopeless_pair_has_a_finite_loss() {
        let lost = at(-10_000.0, -1.0, 1.0, 0.0);
        assert!((lost.value - 10_009.0).abs() < 1e-9, "{}", lost.value);
        assert!((lost.d_chosen + 1.0).abs() < 1e-15);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn slopes_match_finite_differences(
            chosen in -80.0..0.0, rejected in -80.0..0.0, beta in 0.01..1.0, eps in 0.0..0.49,
        ) {
            const STEP: f64 = 1e-4;
            let here = at(chosen, rejected, beta, eps);
            let d_chosen =
                (at(chosen + STEP, rejected, beta, eps).value - at(chosen - STEP, rejected, beta, eps).value) / (2.0 * STEP);
            let d_rejected =
                (at(chosen, rejected + STEP, beta, eps).value - at(chosen, rejected - STEP, beta, eps).value) / (2.0 * STEP);
            prop_assert!((here.d_chosen - d_chosen).abs() < 1e-8, "{} {}", here.d_chosen, d_chosen);
            prop_assert!((here.d_rejected - d_rejected).abs() < 1e-8);
        }

        #[test]
        fn swapping_the_answers_is_smoothing_the_other_way(chosen in -80.0..0.0_f64, eps in 0.01..0.49) {
            // Invariance of cDPO: the pair swapped under ε is the pair under 1 − ε, so the two values mirror each other.
            let reference = PairLogps { chosen: -40.0, rejected: -40.0 };
            let beta: Beta = 0.1.try_into().unwrap();
            let value = |policy, eps: f64| loss(policy, reference, beta, eps.try_into().unwrap()).value;
            let pair = PairLogps { chosen, rejected: -30.0 };
            let swapped = PairLogps { chosen: -30.0, rejected: chosen };
            let (zero, smooth) = (0.0, eps);
            let mixed = (1.0 - smooth) * value(pair, zero) + smooth * value(swapped, zero);
            prop_assert!((value(pair, smooth) - mixed).abs() < 1e-12);
        }
    }
}
