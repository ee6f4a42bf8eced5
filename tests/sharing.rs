//! What pairs have in common is encoded once, and that changes no number.

use std::fmt::Write as _;
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use piref::batch::{PairIds, Sharing};
use piref::interrupt::Interrupt;
use piref::logprob;
use piref::loss::{
    Average, BatchObjective, BatchTerm, Beta, Clip, CompletionRule, DrBeta, LabelSmoothing, LdAlpha, LossWeight,
    Objective, RewardDistance, RewardScale, Scope, Term, Weighting,
};
use piref::model::{Decoder, ScoringDtype};
use piref::model_source::ModelSource;
use piref::ops::Backend;
use piref::precompute::{self, Event, Outcome, Pairs, Plan, Start};
use piref::table::{OutsideScores, PairTokenLogps, TokenLogpsPair, TrainingPair};
use piref::train;

use crate::support::assert_close;
use crate::support::stages::{self, files, passes};

/// Stage one over 24 pairs of three prompts, in turns, 8 pairs a part; the chosen completion of a prompt is always the
/// same.
fn plan(folder: &Path, max_tokens: usize) -> Plan {
    let mut text = String::new();
    for i in 0..24 {
        let prompt = i % 3;
        writeln!(
            text,
            "{{\"prompt\": \"Tell me of question {prompt}, at length.\", \"chosen\": \" Yes, {prompt}.\", \"rejected\": \" No, {i}.\"}}"
        )
        .unwrap();
    }
    let data = folder.join("pairs.jsonl");
    fs::write(&data, text).unwrap();
    Plan {
        pairs: Pairs::Files { paths: vec![data], limit: None },
        rows_per_part: NonZeroUsize::new(8).unwrap(),
        max_tokens: NonZeroUsize::new(max_tokens).unwrap(),
        ..stages::precompute_plan(&folder.join("table"))
    }
}

/// Runs a plan, stops it after `stop_after` forward passes, and returns how many there were.
fn count_passes(plan: &Plan, stop_after: usize) -> (usize, Outcome) {
    let interrupt = Interrupt::default();
    let mut n_passes = 0;
    let outcome = precompute::run(plan, &interrupt, &mut |event| {
        n_passes += usize::from(matches!(event, Event::Scored { .. }));
        if n_passes == stop_after {
            interrupt.set();
        }
    });
    (n_passes, outcome.unwrap())
}

#[test]
fn pairs_of_one_prompt_are_scored_together_wherever_they_stand() {
    let folder = tempfile::tempdir().unwrap();
    let shared = plan(folder.path(), 100_000);
    assert_eq!(count_passes(&shared, usize::MAX).0, 1, "the first part asks for all prompts of the table");
    let want = files(&shared.out);
    let apart = Plan { max_tokens: NonZeroUsize::MIN, start: Start::Fresh, ..shared };
    assert_eq!(count_passes(&apart, usize::MAX).0, 24, "no budget, nothing in common");
    assert!(files(&apart.out) == want, "sharing changes the table");
}

#[test]
fn what_was_scored_for_a_later_part_survives_an_interruption() {
    let folder = tempfile::tempdir().unwrap();
    // Some pairs of a prompt a pass.
    let plan = plan(folder.path(), 60);
    let n_all = count_passes(&plan, usize::MAX).0;
    let want = files(&plan.out);
    let fresh = Plan { start: Start::Fresh, ..plan.clone() };
    let mut n_done = 0;
    let mut start = &fresh;
    for stop_after in [1, 2, 1] {
        let (n_passes, outcome) = count_passes(start, stop_after);
        assert!(matches!(outcome, Outcome::Interrupted { .. }), "{outcome:?}");
        n_done += n_passes;
        start = &plan;
    }
    let (n_passes, outcome) = count_passes(&plan, usize::MAX);
    let Outcome::Finished(summary) = outcome else { panic!("{outcome:?}") };
    assert!(n_passes <= n_all - n_done + 3, "{n_passes} more passes after {n_done} of {n_all}");
    assert_eq!(summary.n_scored + summary.n_reused, 24);
    assert!(files(&plan.out) == want, "the interrupted table has other bytes");
}

fn tiny() -> Decoder {
    let source = ModelSource::resolve("fixtures/tiny").unwrap();
    Decoder::load(&source, &Backend::cpu()).unwrap()
}

/// Six pairs of two prompts, with completions in common and one pair of two equal ones.
fn pairs(ids: &[u32]) -> Vec<PairIds<'_>> {
    let prompts = [&ids[..31], &ids[5..22]];
    let completions = [&ids[40..60], &ids[50..53], &ids[30..71]];
    let choice = [(0, 0, 1), (1, 0, 2), (0, 1, 2), (0, 0, 2), (1, 2, 2), (0, 2, 0)];
    choice.map(|(p, c, r)| PairIds { prompt: prompts[p], chosen: completions[c], rejected: completions[r] }).to_vec()
}

fn ids(model: &Decoder) -> Vec<u32> {
    let size = u32::try_from(model.config().vocab_size).unwrap();
    (0..100).map(|i: u32| (i * i * 7 + i * 31) % size).collect()
}

#[test]
fn log_probs_are_equal_to_the_bit_shared_or_not() {
    for dtype in [ScoringDtype::F32, ScoringDtype::Bf16] {
        let model = tiny().with_dtype(dtype);
        let ids = ids(&model);
        let score = |max_tokens, sharing| precompute::score(&model, &pairs(&ids), max_tokens, sharing, |_| {}).unwrap();
        let apart = score(1, Sharing::Nothing);
        for max_tokens in [1, 80, 100_000] {
            assert_eq!(score(max_tokens, Sharing::Prompts), apart, "{dtype}, {max_tokens}");
        }
    }
}

/// One of every kind: of sums, of tokens, of outside scores, weighted, of the whole batch.
fn objectives() -> Vec<BatchObjective> {
    let beta = Beta::try_from(0.1).unwrap();
    let label_smoothing = LabelSmoothing::try_from(0.1).unwrap();
    let with = |term| BatchObjective::new(Objective::sum(beta, [])).with_term(LossWeight::ONE, term).unwrap();
    let plain = stages::sigmoid;
    let ld = CompletionRule::LdDpo { alpha: LdAlpha::try_from(0.25).unwrap() };
    let humanline = CompletionRule::Humanline { clip: Clip::new(-0.5, 0.5).unwrap() };
    let robust = Average::DrDpo { beta: DrBeta::try_from(0.5).unwrap() };
    let (distance, scale) = (RewardDistance::Squared, RewardScale::try_from(0.5).unwrap());
    let sum = Objective::sum(beta, [(LossWeight::ONE, Term::NcaPair), (LossWeight::ONE, Term::Sft)]);
    vec![
        plain(),
        sum.into(),
        plain().with_completion(ld),
        plain().with_completion(humanline),
        plain().with_weighting(Weighting::Wpo).unwrap(),
        with(BatchTerm::RewardAware { distance, scale }),
        with(BatchTerm::Aot { label_smoothing }),
        with(BatchTerm::AotUnpaired { label_smoothing }),
        with(BatchTerm::BcoShifted),
        plain().with_average(robust),
        plain().with_completion(ld).with_average(robust).with_weighting(Weighting::Wpo).unwrap(),
    ]
}

/// A completion of several pairs has the sum of their slopes, and what is known of the whole batch only does not depend on
/// how it is cut.
#[test]
fn gradients_are_those_of_the_pairs_one_by_one() {
    let model = tiny();
    let ids = ids(&model);
    let pairs = pairs(&ids);
    let scored = precompute::score(&model, &pairs, 1, Sharing::Nothing, |_| {}).unwrap();
    // A reference some nats off, so that the slopes of the pairs differ.
    let moved =
        |logps: &[f32], by: f32| -> Vec<f32> { logps.iter().map(|logp| logp - by / logps.len() as f32).collect() };
    let reference: Vec<PairTokenLogps> = scored
        .iter()
        .zip([0.0, 3.0, -9.0, 1.0, 5.0, 20.0])
        .map(|(logps, off)| PairTokenLogps { chosen: moved(&logps.chosen, off), rejected: moved(&logps.rejected, 1.0) })
        .collect();
    let pairs: Vec<TrainingPair<'_>> = pairs
        .iter()
        .zip(&reference)
        .zip([2.0, -1.0, 0.0, 4.0, 1.0, 3.0])
        .map(|((pair, logps), score)| TrainingPair {
            pair_id: "",
            tokens_id: "",
            prompt_ids: pair.prompt,
            chosen_ids: pair.chosen,
            rejected_ids: pair.rejected,
            ref_chosen_logps: logprob::sum(&logps.chosen),
            ref_rejected_logps: logprob::sum(&logps.rejected),
            ref_token_logps: Some(TokenLogpsPair { chosen: &logps.chosen, rejected: &logps.rejected }),
            scores: Some(OutsideScores { chosen: score, rejected: 0.5 }),
        })
        .collect();
    let objectives = objectives();
    assert_eq!(objectives.iter().filter(|objective| objective.scope() == Scope::Batch).count(), 5);
    for objective in &objectives {
        let apart = train::gradient(&model, &pairs, objective, passes(1)).unwrap();
        for max_tokens in [100, 100_000] {
            let shared = train::gradient(&model, &pairs, objective, passes(max_tokens)).unwrap();
            assert_eq!((&shared.policy, shared.state), (&apart.policy, apart.state), "{objective:?}");
            assert_eq!(shared.loss.to_bits(), apart.loss.to_bits(), "{objective:?}");
            for (id, name, _) in model.params().iter() {
                let values = |gradients: &train::StepGradient| {
                    let gradient = gradients.gradients.get(id).unwrap().flatten_all().unwrap();
                    gradient.to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect::<Vec<_>>()
                };
                let (shared, apart) = (values(&shared), values(&apart));
                let norm = apart.iter().map(|g| g * g).sum::<f64>().sqrt();
                assert!(norm > 0.0, "{objective:?}, {name}");
                assert_close!(shared, apart, abs = 1e-4 * norm, "{objective:?}, {max_tokens} tokens, {name}");
            }
        }
    }
}

/// With α = 0 a loss of tokens is the loss of completions cut to the shorter of the two: the slopes have to be of the
/// tokens they are said to be of.
#[test]
fn slopes_of_tokens_reach_their_tokens() {
    let model = tiny();
    let ids = ids(&model);
    let (prompt, chosen, rejected) = (&ids[..31], &ids[40..60], &ids[50..54]);
    let (ours, theirs) = (vec![-4.0_f32; chosen.len()], vec![-4.25_f32; rejected.len()]);
    let pair = |n_chosen: usize| TrainingPair {
        pair_id: "",
        tokens_id: "",
        prompt_ids: prompt,
        chosen_ids: &chosen[..n_chosen],
        rejected_ids: rejected,
        ref_chosen_logps: logprob::sum(&ours[..n_chosen]),
        ref_rejected_logps: logprob::sum(&theirs),
        ref_token_logps: Some(TokenLogpsPair { chosen: &ours[..n_chosen], rejected: &theirs }),
        scores: None,
    };
    let ld = CompletionRule::LdDpo { alpha: LdAlpha::try_from(0.0).unwrap() };
    let by_length = stages::sigmoid().with_completion(ld);
    let got = train::gradient(&model, &[pair(chosen.len())], &by_length, passes(1000)).unwrap();
    let want = train::gradient(&model, &[pair(rejected.len())], &stages::sigmoid(), passes(1000)).unwrap();
    assert_close!([got.loss], [want.loss], abs = 1e-12, "loss");
    for (id, name, _) in model.params().iter() {
        let values = |step: &train::StepGradient| {
            let gradient = step.gradients.get(id).unwrap().flatten_all().unwrap();
            gradient.to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect::<Vec<_>>()
        };
        let (got, want) = (values(&got), values(&want));
        let norm = want.iter().map(|g| g * g).sum::<f64>().sqrt();
        assert!(norm > 0.0, "{name}");
        assert_close!(got, want, abs = 1e-4 * norm, "{name}");
    }
}
