//! Whole batches: slopes against finite differences, and what the papers say.

use std::f64::consts::LN_2;

use proptest::prelude::*;

use super::*;
use crate::loss::pair::{PairLogps, PairTokens};
use crate::loss::{Beta, DrBeta, LossWeight};

/// A batch whose log-probs of tokens are owned here.
#[derive(Debug, Clone)]
struct Batch {
    policy: Vec<[Vec<f32>; 2]>,
    reference: Vec<[Vec<f32>; 2]>,
    /// Added to the policy's log-probs in `f64`: what a finite difference moves.
    moved: Vec<[Vec<f64>; 2]>,
}

/// Log-probs in multiples of 1/64, so that adding them up rounds nothing.
fn logps() -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec((-300_i16..-1).prop_map(|step| f32::from(step) / 64.0), 1..6)
}

fn batch() -> impl Strategy<Value = Batch> {
    let side = || {
        logps().prop_flat_map(|policy| {
            let ratio = prop::collection::vec((-100_i16..100).prop_map(|step| f32::from(step) / 64.0), policy.len());
            (Just(policy), ratio)
        })
    };
    prop::collection::vec((side(), side()), 1..6).prop_map(|pairs| {
        let reference = |(policy, ratio): &(Vec<f32>, Vec<f32>)| -> Vec<f32> {
            policy.iter().zip(ratio).map(|(logp, ratio)| logp - ratio).collect()
        };
        Batch {
            reference: pairs.iter().map(|(chosen, rejected)| [reference(chosen), reference(rejected)]).collect(),
            moved: pairs.iter().map(|(one, other)| [vec![0.0; one.0.len()], vec![0.0; other.0.len()]]).collect(),
            policy: pairs.into_iter().map(|(chosen, rejected)| [chosen.0, rejected.0]).collect(),
        }
    })
}

fn sum(logps: &[f32]) -> f64 {
    logps.iter().copied().map(f64::from).sum()
}

impl Batch {
    fn inputs(&self) -> Vec<PairInputs<'_>> {
        let sums = |pair: &[Vec<f32>; 2]| PairLogps { chosen: sum(&pair[0]), rejected: sum(&pair[1]) };
        let tokens = |pair| -> PairTokenLogps<'_> {
            let [chosen, rejected]: &[Vec<f32>; 2] = pair;
            PairTokenLogps { chosen, rejected }
        };
        let pairs = self.policy.iter().zip(&self.reference).zip(&self.moved);
        pairs
            .enumerate()
            .map(|(at, ((policy, reference), moved))| {
                let mut own = sums(policy);
                own.chosen += moved[0].iter().sum::<f64>();
                own.rejected += moved[1].iter().sum::<f64>();
                PairInputs {
                    sums: PairSums {
                        policy: own,
                        reference: sums(reference),
                        tokens: PairTokens { chosen: policy[0].len(), rejected: policy[1].len() },
                    },
                    policy_tokens: Some(tokens(policy)),
                    reference_tokens: Some(tokens(reference)),
                    collisions: Some(PairLogps { chosen: -1.5, rejected: -2.5 }),
                    scores: Some(PairScores { chosen: at as f64, rejected: -0.5 }),
                }
            })
            .collect()
    }
}

fn losses(objective: &BatchObjective, pairs: &[PairInputs<'_>]) -> Vec<PairSlopes> {
    let facts = BatchFacts::of(pairs.iter().map(|pair| pair.sums.tokens.chosen));
    objective.losses(pairs, facts, &mut ObjectiveState::default()).unwrap()
}

fn mean(losses: &[PairSlopes]) -> f64 {
    losses.iter().map(|loss| loss.value).sum::<f64>() / losses.len() as f64
}

fn beta(beta: f64) -> Beta {
    beta.try_into().unwrap()
}

fn sigmoid() -> Objective {
    Objective::sigmoid(beta(0.3), LabelSmoothing::default())
}

fn nothing() -> Objective {
    Objective::sum(beta(0.3), [])
}

fn with(term: BatchTerm) -> BatchObjective {
    BatchObjective::new(nothing()).with_term(LossWeight::ONE, term).unwrap()
}

fn dr_dpo(beta: f64) -> BatchObjective {
    BatchObjective::new(sigmoid()).with_average(Average::DrDpo { beta: DrBeta::try_from(beta).unwrap() })
}

fn reward_aware(distance: RewardDistance) -> BatchObjective {
    with(BatchTerm::RewardAware { distance, scale: 0.7.try_into().unwrap() })
}

/// Objectives whose slopes are those of the mean over the batch, in sums.
fn of_sums() -> Vec<BatchObjective> {
    let label_smoothing = LabelSmoothing::try_from(0.1).unwrap();
    let mixed = Objective::sum(beta(0.3), [(LossWeight::ONE, Term::NcaPair), (0.5.try_into().unwrap(), Term::Sft)]);
    vec![
        BatchObjective::new(mixed.clone()),
        BatchObjective::new(mixed).with_term(0.25.try_into().unwrap(), BatchTerm::Aot { label_smoothing }).unwrap(),
        with(BatchTerm::Aot { label_smoothing }),
        with(BatchTerm::AotUnpaired { label_smoothing }),
        dr_dpo(0.4),
        reward_aware(RewardDistance::Squared),
        reward_aware(RewardDistance::BackwardKl),
        reward_aware(RewardDistance::ForwardKl),
    ]
}

/// Difference quotient of fourth order of the batch's mean loss in one sum.
fn slope_of(objective: &BatchObjective, batch: &Batch, pair: usize, side: usize) -> f64 {
    const STEP: f64 = 2e-3;
    let value = |step: f64| {
        let mut batch = batch.clone();
        batch.moved[pair][side][0] = step;
        mean(&losses(objective, &batch.inputs()))
    };
    (8.0 * (value(STEP) - value(-STEP)) - (value(2.0 * STEP) - value(-2.0 * STEP))) / (12.0 * STEP)
}

/// Whether two numbers that are sorted are so near that a step swaps them: at a tie the mean has a corner.
fn has_a_tie(batch: &Batch) -> bool {
    let inputs = batch.inputs();
    let of = |number: fn(&PairSums) -> f64| {
        let mut numbers: Vec<f64> = inputs.iter().map(|pair| number(&pair.sums)).collect();
        numbers.sort_by(f64::total_cmp);
        numbers.windows(2).any(|pair| pair[1] - pair[0] < 0.01)
    };
    of(|pair| pair.policy.chosen - pair.policy.rejected)
        || of(|pair| pair.policy.chosen - pair.reference.chosen)
        || of(|pair| pair.policy.rejected - pair.reference.rejected)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn slopes_of_a_batch_match_finite_differences(batch in batch()) {
        prop_assume!(!has_a_tie(&batch));
        for objective in of_sums() {
            let got = losses(&objective, &batch.inputs());
            for (at, pair) in got.iter().enumerate() {
                for (side, slope) in [&pair.chosen, &pair.rejected].into_iter().enumerate() {
                    let want = slope_of(&objective, &batch, at, side);
                    let got = slope.at(0) / got.len() as f64;
                    let is_near = (got - want).abs() <= 1e-8 * want.abs().max(1.0);
                    prop_assert!(is_near, "{objective:?}, pair {at}, side {side}: {got} is not {want}");
                }
            }
        }
    }

    #[test]
    fn a_pair_by_itself_is_what_it_is_among_others_where_the_scope_says_so(batch in batch()) {
        let inputs = batch.inputs();
        let facts = BatchFacts::of(inputs.iter().map(|pair| pair.sums.tokens.chosen));
        for objective in of_sums() {
            let whole = losses(&objective, &inputs);
            let apart: Vec<PairSlopes> = inputs
                .iter()
                .flat_map(|pair| {
                    objective.losses(std::slice::from_ref(pair), facts, &mut ObjectiveState::default()).unwrap()
                })
                .collect();
            match objective.scope() {
                Scope::Pair => prop_assert_eq!(whole, apart),
                Scope::Batch => prop_assert_eq!(whole.len(), apart.len()),
            }
        }
    }

    #[test]
    fn sorting_one_pair_is_cdpo(batch in batch()) {
        let inputs = batch.inputs();
        let label_smoothing = LabelSmoothing::try_from(0.2).unwrap();
        let plain = BatchObjective::new(Objective::sigmoid(beta(0.3), label_smoothing));
        for pair in &inputs {
            let want = losses(&plain, std::slice::from_ref(pair));
            for term in [BatchTerm::Aot { label_smoothing }, BatchTerm::AotUnpaired { label_smoothing }] {
                let got = losses(&with(term), std::slice::from_ref(pair));
                prop_assert!((got[0].value - want[0].value).abs() < 1e-14, "{got:?} is not {want:?}");
            }
        }
    }

    #[test]
    fn dr_dpo_lies_between_the_mean_and_the_least(batch in batch()) {
        let inputs = batch.inputs();
        let plain = losses(&BatchObjective::new(sigmoid()), &inputs);
        let least = plain.iter().map(|loss| loss.value).fold(f64::INFINITY, f64::min);
        prop_assert!((mean(&losses(&dr_dpo(1e6), &inputs)) - mean(&plain)).abs() < 1e-5);
        prop_assert!((mean(&losses(&dr_dpo(1e-4), &inputs)) - least).abs() < 1e-3);
        // However great the others are, their weights add up to the batch.
        let slopes = losses(&dr_dpo(0.4), &inputs);
        prop_assert!(slopes.iter().all(|pair| pair.value.is_finite() && pair.chosen.at(0).is_finite()));
    }

    #[test]
    fn tokens_that_all_count_are_a_plain_sum(batch in batch()) {
        let inputs = batch.inputs();
        let plain = losses(&BatchObjective::new(sigmoid()), &inputs);
        let clip = Clip::new(-10.0, 10.0).unwrap();
        for rule in [CompletionRule::LdDpo { alpha: 1.0.try_into().unwrap() }, CompletionRule::Humanline { clip }] {
            let got = losses(&BatchObjective::new(sigmoid()).with_completion(rule), &inputs);
            for (got, want) in got.iter().zip(&plain) {
                prop_assert!((got.value - want.value).abs() < 1e-13);
                let Slope::Tokens(slopes) = &got.chosen else { panic!("one slope a token is expected") };
                prop_assert!(slopes.iter().all(|slope| (slope - want.chosen.at(0)).abs() < 1e-13));
            }
        }
    }
}

fn inputs<'a>(policy: [&'a [f32]; 2], reference: [&'a [f32]; 2]) -> PairInputs<'a> {
    let sums = |side: [&[f32]; 2]| PairLogps { chosen: sum(side[0]), rejected: sum(side[1]) };
    let tokens = |side: [&'a [f32]; 2]| Some(PairTokenLogps { chosen: side[0], rejected: side[1] });
    PairInputs {
        policy_tokens: tokens(policy),
        reference_tokens: tokens(reference),
        ..PairInputs::of_sums(PairSums {
            policy: sums(policy),
            reference: sums(reference),
            tokens: PairTokens { chosen: policy[0].len(), rejected: policy[1].len() },
        })
    }
}

#[test]
fn every_batch_objective_starts_at_its_own_value() {
    let logps: [&[f32]; 2] = [&[-1.0, -2.0, -0.5], &[-3.0]];
    let batch = [inputs(logps, logps), inputs([&[-0.25], &[-4.0]], [&[-0.25], &[-4.0]])];
    let batch = batch.map(|pair| PairInputs { scores: Some(PairScores { chosen: 2.0, rejected: 2.0 }), ..pair });
    let label_smoothing = LabelSmoothing::try_from(0.2).unwrap();
    let ld = CompletionRule::LdDpo { alpha: 0.5.try_into().unwrap() };
    let cases = [
        (with(BatchTerm::Aot { label_smoothing }), LN_2),
        (with(BatchTerm::AotUnpaired { label_smoothing }), LN_2),
        (with(BatchTerm::BcoShifted), 2.0 * LN_2),
        (dr_dpo(0.4), LN_2),
        (BatchObjective::new(sigmoid()).with_completion(ld), LN_2),
        (reward_aware(RewardDistance::Squared), 0.0),
        (reward_aware(RewardDistance::ForwardKl), 0.0),
    ];
    for (objective, want) in cases {
        let got = mean(&losses(&objective, &batch));
        assert!((got - want).abs() < 1e-14, "{objective:?}: {got} is not {want}");
    }
}

#[test]
fn humanline_clips_the_ratio_of_a_token_and_its_slope() {
    let clip = Clip::new(-1.0, 1.5).unwrap();
    let objective = BatchObjective::new(sigmoid()).with_completion(CompletionRule::Humanline { clip });
    // Log-ratios 2, −0.5 and −3 of the chosen tokens add up to 1.5 − 0.5 − 1; the rejected one's is 0.
    let pair = inputs([&[-1.0, -2.5, -5.0], &[-1.0]], [&[-3.0, -2.0, -2.0], &[-1.0]]);
    let got = &losses(&objective, &[pair])[0];
    assert!((got.value - LN_2).abs() < 1e-15, "{got:?}");
    assert_eq!(got.chosen, Slope::Tokens(vec![0.0, -0.15, 0.0]));
    assert_eq!(got.rejected, Slope::Tokens(vec![0.15]));
    assert!(Clip::new(0.5, 1.0).is_err() && Clip::new(-1.0, f64::NAN).is_err());
}

#[test]
fn a_mean_weight_is_the_likelihood_of_a_token() {
    let pair = inputs([&[-1.0, -2.0], &[-0.5]], [&[-1.0, -2.0], &[-0.5]]);
    let weighted = BatchObjective::new(sigmoid()).with_weighting(Weighting::WpoMean).unwrap();
    let got = &losses(&weighted, &[pair])[0];
    assert!((got.value - LN_2 * (-2.0_f64).exp()).abs() < 1e-15);
    // The weight is a constant to the slope.
    assert!((got.chosen.at(0) + 0.15 * (-2.0_f64).exp()).abs() < 1e-15);
}

#[test]
fn the_shift_of_bco_is_the_mean_of_the_means_of_batches_and_survives_a_checkpoint() {
    let objective = with(BatchTerm::BcoShifted);
    let pair = |ratio: f32| [[-1.0], [-2.0 - ratio]];
    let (first, second) = (pair(4.0), pair(8.0));
    let mut state = ObjectiveState::default();
    let mut values = Vec::new();
    for reference in [first, second] {
        let inputs = [inputs([&[-1.0], &[-2.0]], [&reference[0], &reference[1]])];
        values.push(objective.losses(&inputs, BatchFacts::of([1]), &mut state).unwrap()[0].value);
        let text = serde_json::to_string(&state).unwrap();
        state = serde_json::from_str(&text).unwrap();
    }
    // Rewards 0 and 1.2, then 0 and 2.4: means 0.6 and 1.2, of which the running mean is 0.6 and 0.9.
    assert!((state.bco_shift.mean - 0.9).abs() < 1e-12 && state.bco_shift.n_batches == 2, "{state:?}");
    let softplus = crate::loss::softplus;
    assert!((values[0] - (softplus(0.6) + softplus(0.6))).abs() < 1e-12, "{values:?}");
    assert!((values[1] - (softplus(0.9) + softplus(1.5))).abs() < 1e-12, "{values:?}");
}

#[test]
fn what_an_objective_needs_and_is_not_given_is_named() {
    let bare = PairInputs::of_sums(inputs([&[-1.0], &[-2.0]], [&[-1.0], &[-2.0]]).sums);
    let clip = Clip::new(-1.0, 1.5).unwrap();
    let humanline = BatchObjective::new(sigmoid()).with_completion(CompletionRule::Humanline { clip });
    let cases = [
        (humanline.clone(), "the policy's log-probs of tokens"),
        (reward_aware(RewardDistance::Squared), "outside scores"),
        (BatchObjective::new(sigmoid()).with_weighting(Weighting::Wpo).unwrap(), "Σ_v π(v)²"),
    ];
    for (objective, what) in cases {
        let error = objective.losses(&[bare], BatchFacts::of([1]), &mut ObjectiveState::default()).unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with("pair 0 of the batch: expected ") && message.contains(what), "{message}");
    }
    let short = PairInputs {
        policy_tokens: Some(PairTokenLogps { chosen: &[], rejected: &[-1.0] }),
        ..inputs([&[-1.0], &[-2.0]], [&[-1.0], &[-2.0]])
    };
    let error = humanline.losses(&[short], BatchFacts::of([1]), &mut ObjectiveState::default()).unwrap_err();
    assert_eq!(error.to_string(), "pair 0 of the batch: expected 1 log-probs of the policy's chosen tokens, found 0");
}

#[test]
fn a_weighted_sum_of_what_is_of_no_one_pair_is_refused() {
    let label_smoothing = LabelSmoothing::default();
    let aot = with(BatchTerm::Aot { label_smoothing }).with_weighting(Weighting::Wpo).unwrap_err();
    assert!(aot.to_string().starts_with("`use_weighting` cannot be combined with `aot`: "), "{aot}");
    let sft = BatchObjective::new(Objective::sum(beta(0.1), [(LossWeight::ONE, Term::Sft)]));
    assert!(sft.with_weighting(Weighting::WpoMean).unwrap_err().to_string().contains("`sft`"));
}

#[test]
fn what_an_objective_needs_is_what_it_asks_for() {
    let none = Needs { tokens: false, collisions: false, scores: false };
    for objective in [BatchObjective::from(sigmoid()), dr_dpo(1.0), with(BatchTerm::BcoShifted)] {
        assert_eq!(objective.needs(), none, "{objective:?}");
    }
    let ld = CompletionRule::LdDpo { alpha: 0.5.try_into().unwrap() };
    let by_length = BatchObjective::new(sigmoid()).with_completion(ld);
    assert_eq!(by_length.needs(), Needs { tokens: true, ..none });
    let weighted = |weighting| BatchObjective::new(sigmoid()).with_weighting(weighting).unwrap();
    assert_eq!(weighted(Weighting::Wpo).needs(), Needs { collisions: true, ..none });
    assert_eq!(weighted(Weighting::WpoMean).needs(), none);
    assert_eq!(reward_aware(RewardDistance::Squared).needs(), Needs { scores: true, ..none });
}

/// A run of an earlier version, whose record has only that, goes on.
#[test]
fn in_a_record_an_objective_of_sums_is_that_objective() {
    let record = |objective: &BatchObjective| serde_json::to_value(objective).unwrap();
    assert_eq!(record(&sigmoid().into()), serde_json::to_value(sigmoid()).unwrap());
    let others = [dr_dpo(0.4), dr_dpo(0.5), with(BatchTerm::BcoShifted), reward_aware(RewardDistance::Squared)];
    for (at, objective) in others.iter().enumerate() {
        assert!(others[..at].iter().all(|other| record(other) != record(objective)), "{objective:?}");
        assert!(record(objective) != record(&sigmoid().into()), "{objective:?}");
    }
}
