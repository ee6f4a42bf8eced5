//! What holds of every objective, and what the papers say of single ones.

use std::f64::consts::LN_2;

use proptest::prelude::*;

use super::*;

fn beta(beta: f64) -> Beta {
    beta.try_into().unwrap()
}

fn smoothing(eps: f64) -> LabelSmoothing {
    eps.try_into().unwrap()
}

fn one(term: Term, of: f64) -> Objective {
    Objective::sum(beta(of), [(LossWeight::ONE, term)])
}

/// Every term, with settings that are not its defaults.
fn terms() -> Vec<Term> {
    let eps = smoothing(0.1);
    vec![
        Term::Sigmoid { label_smoothing: eps },
        Term::Robust { label_smoothing: eps },
        Term::Hinge,
        Term::Ipo,
        Term::IpoSum,
        Term::ExoPair { label_smoothing: 0.01.try_into().unwrap() },
        Term::NcaPair,
        Term::BcoPair,
        Term::SppoHard,
        Term::ApoZero,
        Term::ApoDown,
        Term::Discopop { tau: 0.3.try_into().unwrap() },
        Term::SigmoidNorm,
        Term::Dpop { lambda: 5.0.try_into().unwrap() },
        Term::Sft,
        Term::PreferredFt,
        Term::Unlikelihood { alpha: 0.5.try_into().unwrap() },
        Term::Cpo { label_smoothing: eps },
        Term::Simpo { gamma: 0.7.try_into().unwrap(), label_smoothing: eps },
        Term::Alphapo { alpha: 0.25.try_into().unwrap(), gamma: 0.7.try_into().unwrap(), label_smoothing: eps },
        Term::OddsRatio,
        Term::Slic { delta: 3.0.try_into().unwrap(), lambda: 0.5.try_into().unwrap() },
    ]
}

fn divergences() -> Vec<Divergence> {
    let alpha = |alpha: f64| Divergence::AlphaDivergence(alpha.try_into().unwrap());
    vec![Divergence::ReverseKl, Divergence::ForwardKl, Divergence::JsDivergence, alpha(0.5), alpha(-0.5)]
}

const FACTS: BatchFacts = BatchFacts { mean_chosen_tokens: 12.5 };

fn sums(chosen: f64, rejected: f64, reference: PairLogps) -> PairSums {
    PairSums { policy: PairLogps { chosen, rejected }, reference, tokens: PairTokens { chosen: 10, rejected: 16 } }
}

/// Step of the finer difference quotients.
const STEP: f64 = 2e-3;

/// Difference quotient of fourth order, and a bound on its own error: that of twice the step is sixteen times as large.
fn slope_of(value: impl Fn(f64) -> f64) -> (f64, f64) {
    let quotient =
        |step: f64| (8.0 * (value(step) - value(-step)) - (value(2.0 * step) - value(-2.0 * step))) / (12.0 * step);
    let fine = quotient(STEP);
    (fine, (quotient(2.0 * STEP) - fine).abs() / 10.0)
}

/// Whether a corner of a piecewise term is so near that no difference quotient is its slope.
fn is_near_a_corner(term: Term, of: f64, pair: &PairSums) -> bool {
    let (chosen, rejected) =
        (pair.policy.chosen - pair.reference.chosen, pair.policy.rejected - pair.reference.rejected);
    let distance = match term {
        Term::Hinge => (1.0 - of * (chosen - rejected)) / of,
        Term::Dpop { .. } => chosen,
        Term::Slic { delta, .. } => delta.get() - pair.policy.chosen + pair.policy.rejected,
        _ => return false,
    };
    distance.abs() < 0.01
}

#[track_caller]
fn check_slopes(objective: &Objective, pair: &PairSums, context: &str) {
    let value = |chosen: f64, rejected: f64| {
        let PairLogps { chosen: at_chosen, rejected: at_rejected } = pair.policy;
        let moved =
            PairSums { policy: PairLogps { chosen: at_chosen + chosen, rejected: at_rejected + rejected }, ..*pair };
        objective.loss(&moved, FACTS).value
    };
    let here = objective.loss(pair, FACTS);
    for (which, got, (want, error)) in [
        ("chosen", here.d_chosen, slope_of(|step| value(step, 0.0))),
        ("rejected", here.d_rejected, slope_of(|step| value(0.0, step))),
    ] {
        // A quotient of values of size v cannot say more than v·ε/step.
        let rounding = here.value.abs() * f64::EPSILON / STEP * 4.0;
        let tolerance = 1e-8 * want.abs().max(1.0) + rounding + error;
        assert!((got - want).abs() <= tolerance, "{context}, {which}: {got} is not {want}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn slopes_match_finite_differences(
        chosen in -60.0..-1.0_f64, rejected in -60.0..-1.0_f64,
        moved_chosen in -8.0..8.0_f64, moved_rejected in -8.0..8.0_f64, of in 0.02..0.5_f64,
    ) {
        let reference = PairLogps { chosen: chosen - moved_chosen, rejected: rejected - moved_rejected };
        let pair = sums(chosen, rejected, reference);
        for term in terms() {
            if !is_near_a_corner(term, of, &pair) {
                check_slopes(&one(term, of), &pair, &format!("{term:?}, β {of}"));
            }
        }
    }

    #[test]
    fn slopes_under_every_divergence_match_finite_differences(
        moved_chosen in -2.0..2.0_f64, moved_rejected in -2.0..2.0_f64, of in 0.02..0.3_f64,
    ) {
        let pair = sums(-20.0, -30.0, PairLogps { chosen: -20.0 - moved_chosen, rejected: -30.0 - moved_rejected });
        for divergence in divergences() {
            for term in terms().into_iter().filter(|term| term.is_of_score_difference() && *term != Term::Hinge) {
                let objective = one(term, of).with_divergence(divergence);
                check_slopes(&objective, &pair, &format!("{term:?}, {divergence:?}, β {of}"));
            }
        }
    }

    #[test]
    fn everything_is_finite_for_log_probs_up_to_a_million(
        chosen in -1e6..0.0_f64, rejected in -1e6..0.0_f64, ref_chosen in -1e6..0.0_f64, ref_rejected in -1e6..0.0_f64,
    ) {
        let reference = PairLogps { chosen: ref_chosen, rejected: ref_rejected };
        for pair in [sums(chosen, rejected, reference), sums(0.0, 0.0, reference), sums(chosen, rejected, PairLogps { chosen: 0.0, rejected: 0.0 })] {
            for term in terms() {
                for divergence in divergences() {
                    let loss = one(term, 1.0).with_divergence(divergence).loss(&pair, FACTS);
                    let is_finite = loss.value.is_finite() && loss.d_chosen.is_finite() && loss.d_rejected.is_finite();
                    prop_assert!(is_finite, "{:?}, {:?}: {:?}", term, divergence, loss);
                }
            }
        }
    }

    #[test]
    fn swapping_the_answers_is_smoothing_the_other_way(chosen in -80.0..0.0_f64, eps in 0.01..0.49) {
        // cDPO under ε is the mixture of DPO on the pair and on the pair swapped; rDPO undoes that mixture.
        let reference = PairLogps { chosen: -40.0, rejected: -40.0 };
        let value = |term, pair: &PairSums| one(term, 0.1).loss(pair, FACTS).value;
        let plain = Term::Sigmoid { label_smoothing: smoothing(0.0) };
        let (pair, swapped) = (sums(chosen, -30.0, reference), sums(-30.0, chosen, reference));
        let mixed = (1.0 - eps) * value(plain, &pair) + eps * value(plain, &swapped);
        let smoothed = Term::Sigmoid { label_smoothing: smoothing(eps) };
        prop_assert!((value(smoothed, &pair) - mixed).abs() < 1e-12);
        let robust = Term::Robust { label_smoothing: smoothing(eps) };
        let seen = (1.0 - eps) * value(robust, &pair) + eps * value(robust, &swapped);
        prop_assert!((seen - value(plain, &pair)).abs() < 1e-10 / (1.0 - 2.0 * eps), "unbiased under flipped labels");
    }
}

#[test]
fn each_objective_starts_at_its_own_value_with_its_own_slopes() {
    let reference = PairLogps { chosen: -40.0, rejected: -50.0 };
    let start = sums(-40.0, -50.0, reference);
    let (b, eps) = (0.1, 0.01);
    let cases = [
        (Term::Sigmoid { label_smoothing: smoothing(0.0) }, LN_2, -b / 2.0, b / 2.0),
        (Term::Sigmoid { label_smoothing: smoothing(0.2) }, LN_2, -0.6 * b / 2.0, 0.6 * b / 2.0),
        (Term::Robust { label_smoothing: smoothing(0.2) }, LN_2, -b / 2.0 / 0.6, b / 2.0 / 0.6),
        (Term::Hinge, 1.0, -b, b),
        (Term::Ipo, 0.25 / (b * b), -1.0 / b / 10.0, 1.0 / b / 16.0),
        (Term::IpoSum, 0.25 / (b * b), -1.0 / b, 1.0 / b),
        (
            Term::ExoPair { label_smoothing: eps.try_into().unwrap() },
            -LN_2 - 0.5 * (eps * (1.0 - eps)).ln(),
            -b / 4.0 * ((1.0 - eps) / eps).ln(),
            b / 4.0 * ((1.0 - eps) / eps).ln(),
        ),
        (Term::Discopop { tau: 0.05.try_into().unwrap() }, 0.5 * LN_2 + 0.5, -b * 0.75 + b / 0.2 * (1.0 - LN_2), 0.0),
        (Term::SigmoidNorm, LN_2, -b / 2.0 / 10.0, b / 2.0 / 16.0),
        (Term::Dpop { lambda: 50.0.try_into().unwrap() }, LN_2, -b / 2.0, b / 2.0),
        (Term::NcaPair, 2.0 * LN_2, -b / 4.0, b / 4.0),
        (Term::BcoPair, 2.0 * LN_2, -b / 2.0, b / 2.0),
        (Term::SppoHard, 0.5 / (b * b), -1.0 / b, 1.0 / b),
        (Term::ApoZero, 1.0, -b / 4.0, b / 4.0),
        (Term::ApoDown, 1.0, 0.0, b / 4.0),
    ];
    for (term, value, d_chosen, d_rejected) in cases {
        let got = one(term, b).loss(&start, FACTS);
        let is_near = |got: f64, want: f64| (got - want).abs() <= 1e-13 * want.abs().max(1.0);
        // DiscoPOP's two slopes mirror each other.
        let d_rejected = if matches!(term, Term::Discopop { .. }) { -d_chosen } else { d_rejected };
        assert!(
            is_near(got.value, value) && is_near(got.d_chosen, d_chosen) && is_near(got.d_rejected, d_rejected),
            "{term:?}: {got:?}, expected {value}, {d_chosen}, {d_rejected}"
        );
    }
}

#[test]
fn a_hopeless_pair_has_a_finite_loss_and_full_slopes() {
    let reference = PairLogps { chosen: -40.0, rejected: -50.0 };
    let lost =
        one(Term::Sigmoid { label_smoothing: smoothing(0.0) }, 1.0).loss(&sums(-10_000.0, -1.0, reference), FACTS);
    assert!((lost.value - 10_009.0).abs() < 1e-9, "{}", lost.value);
    assert!((lost.d_chosen + 1.0).abs() < 1e-15);
    // 0·∞ where the exponential is not one with its weight.
    let discopop = one(Term::Discopop { tau: 0.05.try_into().unwrap() }, 1.0);
    let lost = discopop.loss(&sums(-130.0, -50.0, reference), FACTS);
    assert!((lost.value - 90.0).abs() < 1e-9 && (lost.d_chosen + 1.0).abs() < 1e-9, "{lost:?}");
}

#[test]
fn kin_objectives_meet_where_their_settings_do() {
    let pair = sums(-31.0, -44.0, PairLogps { chosen: -35.0, rejected: -41.0 });
    let loss = |objective: Objective| objective.loss(&pair, FACTS);
    let sigmoid = || one(Term::Sigmoid { label_smoothing: smoothing(0.0) }, 0.3);
    assert_eq!(loss(one(Term::Robust { label_smoothing: smoothing(0.0) }, 0.3)), loss(sigmoid()));
    let free = loss(sigmoid().with_baseline(Baseline::Uniform));
    assert_eq!(loss(one(Term::Cpo { label_smoothing: smoothing(0.0) }, 0.3)), free);
    // A displaced chosen completion is what DPOP punishes; here it gained.
    let dpop = loss(one(Term::Dpop { lambda: 9.0.try_into().unwrap() }, 0.3));
    assert!((dpop.value - loss(sigmoid()).value).abs() < 1e-15);
    let gamma = SimpoGamma::try_from(0.4).unwrap();
    let alphapo = |alpha: f64| {
        let alpha = alpha.try_into().unwrap();
        loss(one(Term::Alphapo { alpha, gamma, label_smoothing: smoothing(0.0) }, 2.0)).value
    };
    let simpo = loss(one(Term::Simpo { gamma, label_smoothing: smoothing(0.0) }, 2.0)).value;
    assert!(alphapo(0.0) == simpo && (alphapo(1e-9) - simpo).abs() < 1e-7);
}

#[test]
fn the_supervised_term_is_the_token_mean_of_the_batch() {
    let reference = PairLogps { chosen: -1.0, rejected: -1.0 };
    let pairs = [(-12.0, 3), (-40.0, 20)].map(|(chosen, tokens)| PairSums {
        tokens: PairTokens { chosen: tokens, rejected: 1 },
        ..sums(chosen, -5.0, reference)
    });
    let facts = BatchFacts::of(pairs.iter().map(|pair| pair.tokens.chosen));
    let values = pairs.map(|pair| one(Term::Sft, 0.1).loss(&pair, facts).value);
    assert!((f64::midpoint(values[0], values[1]) - 52.0 / 23.0).abs() < 1e-14);
}

#[test]
fn a_sum_is_the_sum_of_its_terms() {
    let pair = sums(-31.0, -44.0, PairLogps { chosen: -35.0, rejected: -41.0 });
    let parts = [(0.8, Term::Sigmoid { label_smoothing: smoothing(0.0) }), (0.2, Term::BcoPair), (1.0, Term::Sft)];
    let sum = Objective::sum(beta(0.1), parts.map(|(weight, term)| (weight.try_into().unwrap(), term)));
    let got = sum.loss(&pair, FACTS);
    let want = parts.map(|(weight, term)| one(term, 0.1).loss(&pair, FACTS).times(weight));
    assert_eq!(got, PairLoss::NONE + want[0] + want[1] + want[2]);
}
