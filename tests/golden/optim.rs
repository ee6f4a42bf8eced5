//! AdamW against torch, schedules against transformers. Numbers by `fixtures/golden/tiny_optim.py`.

use candle_core::{Device, Tensor};
use piref::model::{Gradients, Params};
use piref::ops::Kernels;
use piref::optim::{AdamW, AdamWParams, Schedule, ScheduleKind};
use serde::Deserialize;

use crate::support::{assert_close, golden};

#[derive(Deserialize)]
struct Golden {
    schedules: Vec<GoldenSchedule>,
    adamw: GoldenAdamW,
}

#[derive(Deserialize)]
struct GoldenSchedule {
    name: String,
    warmup_steps: u64,
    steps: u64,
    multipliers: Vec<f64>,
}

#[derive(Deserialize)]
struct GoldenAdamW {
    learning_rate: f64,
    cases: Vec<GoldenCase>,
}

#[derive(Deserialize)]
struct GoldenCase {
    weight_decay: f64,
    start: Vec<f32>,
    steps: Vec<GoldenStep>,
}

#[derive(Deserialize)]
struct GoldenStep {
    gradient: Vec<f32>,
    parameter: Vec<f64>,
    exp_avg: Vec<f64>,
    exp_avg_sq: Vec<f64>,
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.to_vec1::<f32>().unwrap().into_iter().map(f64::from).collect()
}

#[test]
fn schedules_are_those_of_transformers() {
    let golden: Golden = golden("tiny_optim.json");
    assert_eq!(golden.schedules.len(), 8);
    for case in golden.schedules {
        let kind = match case.name.as_str() {
            // transformers' plain `constant` ignores the warm-up; ours with a warm-up is its `constant_with_warmup`.
            "constant" if case.warmup_steps > 0 => continue,
            "constant" | "constant_with_warmup" => ScheduleKind::Constant,
            "linear" => ScheduleKind::Linear,
            "cosine" => ScheduleKind::Cosine,
            other => panic!("unknown schedule {other}"),
        };
        let schedule = Schedule { kind, warmup_steps: case.warmup_steps };
        let factors: Vec<f64> =
            (0..case.multipliers.len() as u64).map(|step| schedule.factor(step, case.steps)).collect();
        assert_close!(factors, case.multipliers, abs = 1e-12, "{}, warm-up {}", case.name, case.warmup_steps);
    }
}

#[test]
fn five_steps_of_adamw_are_torchs() {
    let golden: Golden = golden("tiny_optim.json");
    assert!(golden.adamw.cases.len() > 1, "with and without weight decay");
    let all_kernels = [Kernels::Own, Kernels::Stock];
    for (case, kernels) in golden.adamw.cases.iter().flat_map(|case| all_kernels.map(|kernels| (case, kernels))) {
        let mut params = Params::new(kernels);
        params.push("model.matrix.weight".into(), Tensor::new(case.start.as_slice(), &Device::Cpu).unwrap());
        let constants = AdamWParams { weight_decay: case.weight_decay, ..AdamWParams::default() };
        let mut optimizer = AdamW::new(constants, &params).unwrap();
        let id = params.id("model.matrix.weight").unwrap();
        for (step, want) in case.steps.iter().enumerate() {
            let mut gradients = Gradients::new(&params);
            gradients.add(id, Tensor::new(want.gradient.as_slice(), &Device::Cpu).unwrap()).unwrap();
            optimizer.step(&params, &gradients, golden.adamw.learning_rate, 1.0).unwrap();

            let moments = &optimizer.moments()[0];
            assert_close!(numbers(params.get(id)), want.parameter, abs = 2e-7, "{kernels:?}, step {step}, parameter");
            assert_close!(numbers(&moments.first), want.exp_avg, abs = 1e-6, "{kernels:?}, step {step}, first moment");
            assert_close!(
                numbers(&moments.second),
                want.exp_avg_sq,
                abs = 1e-6,
                "{kernels:?}, step {step}, second moment"
            );
        }
    }
}
