//! Ten DPO steps of a LoRA adapter on the tiny model against TRL and PEFT. Numbers by `fixtures/golden/lora.py`.

use std::collections::BTreeMap;
use std::path::Path;

use piref::loss::{BatchObjective, Beta, LabelSmoothing, Objective};
use piref::model::{Adapter, Decoder, Digests};
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
struct Golden {
    settings: Settings,
    pairs: Vec<Pair>,
    steps: Vec<Step>,
    final_weights: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Settings {
    beta: f64,
    learning_rate: f64,
    warmup_steps: u64,
    max_grad_norm: f64,
}

#[derive(Deserialize)]
struct Pair {
    prompt_ids: Vec<u32>,
    chosen_ids: Vec<u32>,
    rejected_ids: Vec<u32>,
    ref_chosen_logps: f64,
    ref_rejected_logps: f64,
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

/// The tiny model with the adapter TRL started from, as PEFT wrote it.
fn adapted() -> Decoder {
    let source = ModelSource::resolve("fixtures/tiny").unwrap();
    let model = Decoder::load(&source, &Backend::cpu()).unwrap();
    let digests = Digests::of(&source).unwrap();
    let folder = Path::new("fixtures/golden/lora");
    let adapter = Adapter::read(folder, &model, &digests).unwrap();
    model.with_adapter(adapter).unwrap()
}

fn pair(pair: &Pair) -> TrainingPair<'_> {
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

/// The tolerances are those of the whole model; while `B` is 0, `A` has no gradient on either side.
#[test]
fn ten_steps_of_an_adapter_match_trl() {
    let golden: Golden = golden("lora.json");
    let model = adapted();
    let settings = &golden.settings;
    let objective =
        BatchObjective::new(Objective::sigmoid(Beta::try_from(settings.beta).unwrap(), LabelSmoothing::default()));
    let schedule = Schedule { kind: ScheduleKind::Linear, warmup: Warmup::Steps(settings.warmup_steps) };
    let mut optimizer = Optimizer::new(OptimizerParams::default(), model.params()).unwrap();
    assert_eq!(golden.steps.len(), 10);
    for (index, want) in golden.steps.iter().enumerate() {
        let pairs: Vec<TrainingPair<'_>> = want.rows.iter().map(|&row| pair(&golden.pairs[row])).collect();
        let got = train::gradient(&model, &pairs, &objective, passes(500)).unwrap();
        let mean = |of: fn(&piref::loss::PairLogps) -> f64| got.policy.iter().map(of).sum::<f64>() / 4.0;
        assert_close!([mean(|pair| pair.chosen)], [want.logps_chosen], abs = 2e-3, "step {index}, logps/chosen");
        assert_close!([mean(|pair| pair.rejected)], [want.logps_rejected], abs = 2e-3, "step {index}, logps/rejected");
        assert_close!([got.loss], [want.loss], abs = 1e-4, "step {index}, loss");

        assert_eq!(want.grad_norms.len(), model.params().trained().count());
        for (id, name, _) in model.params().trained() {
            let norm = sum_of_squares(got.gradients.get(id).unwrap(), Kernels::Own).unwrap().sqrt();
            let want = want.grad_norms[name];
            assert_close!([norm], [want], abs = 1e-3 * want.max(1e-3), "step {index}, gradient of `{name}`");
        }
        let norm = got.gradients.norm().unwrap();
        assert_close!([norm], [want.grad_norm], abs = 1e-3 * want.grad_norm, "step {index}, grad_norm");

        let lr = settings.learning_rate * schedule.factor(index as u64, golden.steps.len() as u64);
        let factor = clip_factor(norm, settings.max_grad_norm);
        optimizer.step(model.params(), &got.gradients, lr, factor).unwrap();
    }
    for (_, name, tensor) in model.params().trained() {
        let want = golden.final_weights[name];
        let norm = sum_of_squares(tensor, Kernels::Own).unwrap().sqrt();
        assert_close!([norm], [want], abs = 1e-3 * want, "weights after ten steps, `{name}`");
    }
}
