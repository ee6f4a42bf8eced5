//! Ten steps on the tiny model with other losses than the sigmoid, against TRL's own trainer: alone in a pair, over its
//! tokens, weighted, and sorting a whole batch. Numbers by `fixtures/golden/tiny_trl.py`.

use std::collections::BTreeMap;

use piref::batch::{Group, GroupBatch};
use piref::logprob;
use piref::loss::{
    BatchObjective, BatchTerm, CompletionRule, LabelSmoothing, LossWeight, Objective, PairLogps, Term, Weighting,
};
use piref::model::Keep;
use piref::ops::Kernels;
use piref::ops::reduce::sum_of_squares;
use piref::optim::{Optimizer, OptimizerParams, Schedule, ScheduleKind, Warmup, clip_factor};
use piref::table::{TokenLogpsPair, TrainingPair};
use piref::train;
use serde::Deserialize;

use super::dpo_tiny::{Golden, pair, tiny};
use crate::support::stages::passes;
use crate::support::{assert_close, golden};

#[derive(Deserialize)]
struct Others {
    runs: BTreeMap<String, Run>,
}

#[derive(Deserialize)]
struct Run {
    settings: Changed,
    steps: Vec<Step>,
    final_weights: BTreeMap<String, Weight>,
}

/// What a run changes in the settings of the first.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Changed {
    loss_type: Option<Vec<String>>,
    #[serde(default)]
    use_weighting: bool,
    ld_alpha: Option<f64>,
}

#[derive(Deserialize)]
struct Step {
    rows: Vec<usize>,
    loss: f64,
    grad_norm: f64,
    #[serde(rename = "logps/chosen")]
    logps_chosen: f64,
    #[serde(rename = "logps/rejected")]
    logps_rejected: f64,
    grad_norms: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Weight {
    norm: f64,
}

fn objective(changed: &Changed, beta: f64) -> BatchObjective {
    let label_smoothing = LabelSmoothing::default();
    let names: Vec<&str> = changed.loss_type.iter().flatten().map(String::as_str).collect();
    let of = |term| Objective::sum(beta.try_into().unwrap(), [(LossWeight::ONE, term)]).into();
    let objective: BatchObjective = match names.as_slice() {
        [] => of(Term::Sigmoid { label_smoothing }),
        ["ipo"] => of(Term::Ipo),
        ["apo_zero"] => of(Term::ApoZero),
        ["aot"] => BatchObjective::new(Objective::sum(beta.try_into().unwrap(), []))
            .with_term(LossWeight::ONE, BatchTerm::Aot { label_smoothing })
            .unwrap(),
        other => panic!("unknown loss {other:?}"),
    };
    let objective = match changed.ld_alpha {
        Some(alpha) => objective.with_completion(CompletionRule::LdDpo { alpha: alpha.try_into().unwrap() }),
        None => objective,
    };
    objective.with_weighting(if changed.use_weighting { Weighting::Wpo } else { Weighting::None }).unwrap()
}

/// Log-probs of the tokens of each pair under the reference, which TRL keeps only as sums.
fn reference_terms(pairs: &[super::dpo_tiny::Pair]) -> Vec<[Vec<f32>; 2]> {
    let model = tiny();
    let terms = |pair: &super::dpo_tiny::Pair| {
        let group = Group { prompt: &pair.prompt_ids, completions: vec![&pair.chosen_ids, &pair.rejected_ids] };
        let batch = GroupBatch::new(&[group]).unwrap();
        let logps = logprob::token_logps(&model, &batch, Keep::Nothing).unwrap().logps;
        let (chosen, rejected) = logps.split_at(pair.chosen_ids.len());
        assert_eq!(rejected.len(), pair.rejected_ids.len());
        [chosen.to_vec(), rejected.to_vec()]
    };
    pairs.iter().map(terms).collect()
}

/// The tolerances of the sigmoid's trajectory, relative to what is small here: weights of pairs make gradients small.
#[track_caller]
fn check(name: &str, run: &Run, first: &Golden, terms: &[[Vec<f32>; 2]]) {
    let model = tiny();
    let settings = &first.settings;
    let objective = objective(&run.settings, settings.beta);
    let schedule = Schedule { kind: ScheduleKind::Linear, warmup: Warmup::Steps(settings.warmup_steps) };
    let mut optimizer = Optimizer::new(OptimizerParams::default(), model.params()).unwrap();
    let small = run.steps[0].grad_norm.min(1.0);
    assert_eq!(run.steps.len(), 10, "{name}");
    for (index, want) in run.steps.iter().enumerate() {
        let training = |&row: &usize| TrainingPair {
            ref_token_logps: Some(TokenLogpsPair { chosen: &terms[row][0], rejected: &terms[row][1] }),
            ..pair(&first.pairs[row])
        };
        let pairs: Vec<TrainingPair<'_>> = want.rows.iter().map(training).collect();
        // A budget that cuts the step into several micro-batches, also where the loss is of the whole batch.
        let got = train::gradient(&model, &pairs, &objective, passes(500)).unwrap();
        // TRL logs the log-probs that LD-DPO has shortened.
        if run.settings.ld_alpha.is_none() {
            let mean = |of: fn(&PairLogps) -> f64| got.policy.iter().map(of).sum::<f64>() / 4.0;
            assert_close!([mean(|pair| pair.chosen)], [want.logps_chosen], abs = 2e-3, "{name}, step {index}, chosen");
            assert_close!([mean(|pair| pair.rejected)], [want.logps_rejected], abs = 2e-3, "{name}, step {index}");
        }
        assert_close!([got.loss], [want.loss], abs = 1e-4 * want.loss.max(small), "{name}, step {index}, loss");
        for (id, parameter, _) in model.params().iter() {
            let norm = sum_of_squares(got.gradients.get(id).unwrap(), Kernels::Own).unwrap().sqrt();
            let want = want.grad_norms[parameter];
            assert_close!([norm], [want], abs = 1e-3 * want.max(1e-3 * small), "{name}, step {index}, `{parameter}`");
        }
        let norm = got.gradients.norm().unwrap();
        assert_close!([norm], [want.grad_norm], abs = 1e-3 * want.grad_norm, "{name}, step {index}, grad_norm");
        let lr = settings.learning_rate * schedule.factor(index as u64, run.steps.len() as u64);
        let factor = clip_factor(norm, settings.max_grad_norm);
        optimizer.step(model.params(), &got.gradients, lr, factor).unwrap();
    }
    for (_, parameter, tensor) in model.params().iter() {
        let want = run.final_weights[parameter].norm;
        let norm = sum_of_squares(tensor, Kernels::Own).unwrap().sqrt();
        assert_close!([norm], [want], abs = 1e-4 * want, "{name}, weights after ten steps, `{parameter}`");
    }
}

#[test]
fn ten_steps_of_other_losses_match_trl() {
    let others: Others = golden("tiny_trl_losses.json");
    let first: Golden = golden("tiny_trl.json");
    let terms = reference_terms(&first.pairs);
    let names: Vec<&str> = others.runs.keys().map(String::as_str).collect();
    assert_eq!(names, ["aot", "apo_zero", "ipo", "ld", "weighted"]);
    for (name, run) in &others.runs {
        check(name, run, &first, &terms);
    }
}
