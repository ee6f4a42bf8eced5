//! Ten DPO steps on the tiny model against TRL's own trainer. Numbers by `fixtures/golden/tiny_trl.py`.

use std::collections::BTreeMap;

use candle_core::Tensor;
use piref::batch::{Group, GroupBatch};
use piref::logprob;
use piref::loss::{BatchObjective, Beta, LabelSmoothing, Objective};
use piref::model::{Decoder, Keep, ScoringDtype};
use piref::model_source::ModelSource;
use piref::ops::reduce::sum_of_squares;
use piref::ops::{Backend, Kernels};
use piref::optim::{Optimizer, OptimizerParams, Schedule, ScheduleKind, Warmup, clip_factor};
use piref::table::TrainingPair;
use piref::train;
use serde::Deserialize;

use crate::support::stages::passes;
use crate::support::{assert_close, golden};

#[derive(Deserialize)]
pub(super) struct Golden {
    pub(super) settings: Settings,
    pub(super) pairs: Vec<Pair>,
    steps: Vec<Step>,
    final_weights: BTreeMap<String, Weight>,
}

#[derive(Deserialize)]
pub(super) struct Settings {
    pub(super) beta: f64,
    pub(super) learning_rate: f64,
    pub(super) warmup_steps: u64,
    pub(super) max_grad_norm: f64,
}

#[derive(Deserialize)]
pub(super) struct Pair {
    pub(super) prompt_ids: Vec<u32>,
    pub(super) chosen_ids: Vec<u32>,
    pub(super) rejected_ids: Vec<u32>,
    pub(super) ref_chosen_logps: f64,
    pub(super) ref_rejected_logps: f64,
}

#[derive(Deserialize)]
struct Step {
    rows: Vec<usize>,
    loss: f64,
    grad_norm: f64,
    learning_rate: f64,
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

/// Up to 300 f32 terms of up to 15 nats in a sequence: 300 · 15 · 2⁻²⁴ ≈ 3e-4.
const SEQUENCE: f64 = 5e-4;

pub(super) fn tiny() -> Decoder {
    Decoder::load(&ModelSource::resolve("fixtures/tiny").unwrap(), &Backend::cpu()).unwrap()
}

pub(super) fn pair(pair: &Pair) -> TrainingPair<'_> {
    TrainingPair {
        pair_id: "",
        tokens_id: "",
        prompt_ids: &pair.prompt_ids,
        chosen_ids: &pair.chosen_ids,
        rejected_ids: &pair.rejected_ids,
        ref_chosen_logps: pair.ref_chosen_logps,
        ref_rejected_logps: pair.ref_rejected_logps,
        ref_token_logps: None,
        scores: None,
    }
}

fn sigmoid(beta: f64) -> BatchObjective {
    Objective::sigmoid(Beta::try_from(beta).unwrap(), LabelSmoothing::default()).into()
}

#[test]
fn reference_log_probs_match_trl() {
    let golden: Golden = golden("tiny_trl.json");
    let groups: Vec<Group<'_>> = golden
        .pairs
        .iter()
        .map(|pair| Group { prompt: &pair.prompt_ids, completions: vec![&pair.chosen_ids, &pair.rejected_ids] })
        .collect();
    let batch = GroupBatch::new(&groups).unwrap();
    let sums = logprob::token_logps(&tiny(), &batch, Keep::Nothing).unwrap().sums(&batch);
    let want: Vec<f64> =
        golden.pairs.iter().flat_map(|pair| [pair.ref_chosen_logps, pair.ref_rejected_logps]).collect();
    assert_close!(sums, want, abs = SEQUENCE);
}

/// Eight binary digits in the sides of products: a relative 2⁻⁹ in each, so up to 3e-2 nats in the mean over a few tokens of
/// a model whose logits go up to 20.
#[test]
fn bf16_is_near_trl_in_f32() {
    let golden: Golden = golden("tiny_trl.json");
    let (model, rounded) = (tiny(), tiny().with_dtype(ScoringDtype::Bf16));
    let objective = sigmoid(golden.settings.beta);
    let pairs: Vec<TrainingPair<'_>> = golden.steps[0].rows.iter().map(|&row| pair(&golden.pairs[row])).collect();
    let want = train::gradient(&model, &pairs, &objective, passes(500)).unwrap();
    let got = train::gradient(&rounded, &pairs, &objective, passes(500)).unwrap();
    for (got, pair) in got.policy.iter().zip(&pairs) {
        for (got, want, n) in [
            (got.chosen, pair.ref_chosen_logps, pair.chosen_ids.len()),
            (got.rejected, pair.ref_rejected_logps, pair.rejected_ids.len()),
        ] {
            assert!(got != want, "nothing was rounded");
            assert_close!([got / n as f64], [want / n as f64], abs = 3e-2, "nats a token");
        }
    }
    for (id, name, _) in model.params().iter() {
        let (got, want) = (got.gradients.get(id).unwrap(), want.gradients.get(id).unwrap());
        let norm = |x: &Tensor| sum_of_squares(x, Kernels::Own).unwrap().sqrt();
        let (delta, want) = (norm(&(got - want).unwrap()), norm(want));
        assert!(delta <= 0.05 * want, "`{name}`: a difference of {delta:e} in a gradient of {want:e}");
    }
}

#[test]
fn ten_steps_match_trl() {
    let golden: Golden = golden("tiny_trl.json");
    let model = tiny();
    let settings = &golden.settings;
    let objective = sigmoid(settings.beta);
    let schedule = Schedule { kind: ScheduleKind::Linear, warmup: Warmup::Steps(settings.warmup_steps) };
    let mut optimizer = Optimizer::new(OptimizerParams::default(), model.params()).unwrap();
    assert_eq!(golden.steps.len(), 10);
    for (index, want) in golden.steps.iter().enumerate() {
        let pairs: Vec<TrainingPair<'_>> = want.rows.iter().map(|&row| pair(&golden.pairs[row])).collect();
        // A budget that cuts the step into several micro-batches, as TRL's accumulation does.
        let got = train::gradient(&model, &pairs, &objective, passes(500)).unwrap();
        let mean = |of: fn(&piref::loss::PairLogps) -> f64| got.policy.iter().map(of).sum::<f64>() / 4.0;
        assert_close!([mean(|pair| pair.chosen)], [want.logps_chosen], abs = 2e-3, "step {index}, logps/chosen");
        assert_close!([mean(|pair| pair.rejected)], [want.logps_rejected], abs = 2e-3, "step {index}, logps/rejected");
        assert_close!([got.loss], [want.loss], abs = 1e-4, "step {index}, loss");

        assert_eq!(want.grad_norms.len(), model.params().len());
        for (id, name, _) in model.params().iter() {
            let norm = sum_of_squares(got.gradients.get(id).unwrap(), Kernels::Own).unwrap().sqrt();
            let want = want.grad_norms[name];
            assert_close!([norm], [want], abs = 1e-3 * want.max(1e-3), "step {index}, gradient of `{name}`");
        }
        let norm = got.gradients.norm().unwrap();
        assert_close!([norm], [want.grad_norm], abs = 1e-3 * want.grad_norm, "step {index}, grad_norm");

        let lr = settings.learning_rate * schedule.factor(index as u64, golden.steps.len() as u64);
        assert_close!([lr], [want.learning_rate], abs = 1e-12, "step {index}, learning rate");
        let factor = clip_factor(norm, settings.max_grad_norm);
        optimizer.step(model.params(), &got.gradients, lr, factor).unwrap();
    }
    for (_, name, tensor) in model.params().iter() {
        let want = golden.final_weights[name].norm;
        let norm = sum_of_squares(tensor, Kernels::Own).unwrap().sqrt();
        assert_close!([norm], [want], abs = 1e-4 * want, "weights after ten steps, `{name}`");
    }
}
