//! Optimisers and running means against torch, schedules and groups of weight decay against transformers. Numbers by
//! `fixtures/golden/tiny_optim.py`.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use piref::model::{Gradients, Params, shapes};
use piref::model_source::ModelSource;
use piref::ops::Kernels;
use piref::optim::{
    AdamWParams, Ema, Optimizer, OptimizerParams, RmsPropParams, Schedule, ScheduleKind, SgdParams, Warmup, decays,
};
use serde::Deserialize;

use crate::support::{assert_close, golden};

#[derive(Deserialize)]
struct Golden {
    schedules: Vec<GoldenSchedule>,
    min_lr_rate: f64,
    warmups: Vec<GoldenWarmup>,
    adamw: GoldenOptimizer,
    rmsprop: GoldenOptimizer,
    sgd: GoldenOptimizer,
    ema: GoldenEma,
    not_decayed: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct GoldenSchedule {
    name: String,
    warmup_steps: u64,
    steps: u64,
    multipliers: Vec<f64>,
}

#[derive(Deserialize)]
struct GoldenWarmup {
    ratio: f64,
    steps: u64,
    warmup_steps: u64,
}

#[derive(Deserialize)]
struct GoldenOptimizer {
    learning_rate: f64,
    cases: Vec<GoldenCase>,
}

#[derive(Deserialize)]
struct GoldenCase {
    weight_decay: f64,
    #[serde(default)]
    momentum: f64,
    start: Vec<f32>,
    steps: Vec<GoldenStep>,
}

#[derive(Deserialize)]
struct GoldenStep {
    gradient: Vec<f32>,
    parameter: Vec<f64>,
    /// What torch keeps, under its names.
    #[serde(flatten)]
    kept: BTreeMap<String, Vec<f64>>,
}

#[derive(Deserialize)]
struct GoldenEma {
    decay: f64,
    start: Vec<f32>,
    steps: Vec<GoldenMean>,
}

#[derive(Deserialize)]
struct GoldenMean {
    parameter: Vec<f32>,
    mean: Vec<f64>,
}

const KERNELS: [Kernels; 2] = [Kernels::Own, Kernels::Stock];

const NAME: &str = "model.matrix.weight";

fn params(kernels: Kernels, start: &[f32]) -> Params {
    let mut params = Params::new(kernels);
    params.push(NAME.into(), Tensor::new(start, &Device::Cpu).unwrap());
    params
}

/// A few roundings to f32 of the largest number.
#[track_caller]
fn check(found: &Tensor, want: &[f64], context: &str) {
    let found: Vec<f64> = found.to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect();
    let scale = want.iter().fold(1.0_f64, |max, number| max.max(number.abs()));
    assert_close!(found, want, abs = 4e-7 * scale, "{context}");
}

#[test]
fn schedules_are_those_of_transformers() {
    let golden: Golden = golden("tiny_optim.json");
    assert_eq!(golden.schedules.len(), 12);
    for case in golden.schedules {
        let kind = match case.name.as_str() {
            // transformers' plain `constant` ignores the warm-up; ours with a warm-up is its `constant_with_warmup`.
            "constant" if case.warmup_steps > 0 => continue,
            "constant" | "constant_with_warmup" => ScheduleKind::Constant,
            "linear" => ScheduleKind::Linear,
            "cosine" => ScheduleKind::Cosine,
            "cosine_with_min_lr" => ScheduleKind::CosineWithMinLr { min_lr_rate: golden.min_lr_rate },
            "inverse_sqrt" => ScheduleKind::InverseSqrt,
            other => panic!("unknown schedule {other}"),
        };
        let schedule = Schedule { kind, warmup: Warmup::Steps(case.warmup_steps) };
        let factors: Vec<f64> =
            (0..case.multipliers.len() as u64).map(|step| schedule.factor(step, case.steps)).collect();
        assert_close!(factors, case.multipliers, abs = 1e-12, "{}, warm-up {}", case.name, case.warmup_steps);
    }
    assert_eq!(golden.warmups.len(), 20);
    for case in golden.warmups {
        let steps = Warmup::Ratio(case.ratio).steps(case.steps);
        assert_eq!(steps, case.warmup_steps, "{} of {}", case.ratio, case.steps);
    }
}

/// Five steps of each case by both kernels: the parameter and all that is kept of it.
fn check_optimizer(golden: &GoldenOptimizer, constants: impl Fn(&GoldenCase) -> OptimizerParams) {
    assert!(golden.cases.len() > 1, "with and without weight decay");
    for (case, kernels) in golden.cases.iter().flat_map(|case| KERNELS.map(|kernels| (case, kernels))) {
        let params = params(kernels, &case.start);
        let constants = constants(case);
        let mut optimizer = Optimizer::new(constants, &params).unwrap();
        let id = params.id(NAME).unwrap();
        assert_eq!(case.steps.len(), 5);
        for (step, want) in case.steps.iter().enumerate() {
            let context = format!("{constants:?}, {kernels:?}, step {step}");
            let mut gradients = Gradients::new(&params);
            gradients.add(id, Tensor::new(want.gradient.as_slice(), &Device::Cpu).unwrap()).unwrap();
            optimizer.step(&params, &gradients, golden.learning_rate, 1.0).unwrap();

            check(params.get(id), &want.parameter, &context);
            let kept = optimizer.named(&params);
            assert_eq!(kept.len(), want.kept.len(), "{context}");
            for (name, found) in kept {
                let theirs = match name.strip_suffix(&format!(".{NAME}")).unwrap() {
                    "first" => "exp_avg",
                    "second" => "exp_avg_sq",
                    slot => slot,
                };
                check(found, &want.kept[theirs], &format!("{context}, {theirs}"));
            }
        }
    }
}

#[test]
fn five_steps_of_adamw_are_torchs() {
    let golden: Golden = golden("tiny_optim.json");
    check_optimizer(&golden.adamw, |case| {
        AdamWParams { weight_decay: case.weight_decay, ..AdamWParams::default() }.into()
    });
}

#[test]
fn five_steps_of_rmsprop_are_torchs() {
    let golden: Golden = golden("tiny_optim.json");
    check_optimizer(&golden.rmsprop, |case| {
        let (weight_decay, momentum) = (case.weight_decay, case.momentum);
        RmsPropParams { weight_decay, momentum, ..RmsPropParams::default() }.into()
    });
}

#[test]
fn five_steps_of_sgd_are_torchs() {
    let golden: Golden = golden("tiny_optim.json");
    check_optimizer(&golden.sgd, |case| SgdParams { weight_decay: case.weight_decay, momentum: case.momentum }.into());
}

#[test]
fn running_means_are_torchs() {
    let Golden { ema: golden, .. } = golden("tiny_optim.json");
    for kernels in KERNELS {
        let params = params(kernels, &golden.start);
        let mut ema = Ema::new(golden.decay, &params).unwrap();
        assert_eq!(golden.steps.len(), 5);
        for (step, want) in golden.steps.iter().enumerate() {
            let moved = Tensor::new(want.parameter.as_slice(), &Device::Cpu).unwrap();
            params.get(params.id(NAME).unwrap()).slice_set(&moved, 0, 0).unwrap();
            ema.update(&params).unwrap();
            check(&ema.tensors()[0], &want.mean, &format!("{kernels:?}, step {step}"));
        }
    }
}

#[test]
fn the_group_without_weight_decay_is_that_of_transformers() {
    let Golden { not_decayed, .. } = golden("tiny_optim.json");
    assert_eq!(not_decayed.len(), 8);
    for (folder, want) in not_decayed {
        let source = ModelSource::resolve(&format!("fixtures/architectures/{folder}")).unwrap();
        let (_, shapes) = shapes(&source).unwrap();
        let mut found: Vec<String> = shapes.into_iter().map(|(name, _)| name).filter(|name| !decays(name)).collect();
        found.sort();
        assert_eq!(found, want, "{folder}");
    }
}
