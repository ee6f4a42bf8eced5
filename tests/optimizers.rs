//! Optimisers, schedules and running means in runs: what is kept, what is resumed, what is refused.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use piref::interrupt::Interrupt;
use piref::model::{LORA_MODULES, Lora, Modules};
use piref::optim::{OptimizerParams, RmsPropParams, Schedule, ScheduleKind, SgdParams, Warmup};
use piref::train::{self, Plan, StepMetrics, Trained};
use tempfile::TempDir;

use crate::support::Case;
use crate::support::assert_close;
use crate::support::stages::{self, copy_dir, files};

/// A folder with a table in it.
fn table() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    stages::precompute(&stages::precompute_plan(&table));
    (folder, table)
}

/// The metrics of a run, without the two that measure time.
fn metrics(run: &Path) -> Vec<StepMetrics> {
    let text = fs::read_to_string(run.join(train::METRICS)).unwrap();
    let timeless = |metrics: StepMetrics| StepMetrics { tokens_per_second: 0.0, step_seconds: 0.0, ..metrics };
    text.lines().map(|line| timeless(serde_json::from_str(line).unwrap())).collect()
}

fn checkpoint(run: &Path, step: u64) -> PathBuf {
    run.join(format!("train/checkpoints/step-{step}"))
}

/// Names of the files of a folder.
fn names(folder: &Path) -> Vec<String> {
    files(folder).into_iter().map(|(path, _)| path.to_str().unwrap().to_owned()).collect()
}

fn adapter() -> Trained {
    Trained::NewAdapter(Lora::new(4.try_into().unwrap(), 8.0, Modules::named(LORA_MODULES)))
}

/// Runs of every optimiser, with and without momentum, a mean and an adapter, by name.
fn runs(folder: &Path, table: &Path) -> Vec<(&'static str, Plan, &'static [&'static str])> {
    let rmsprop = |momentum| RmsPropParams { momentum, weight_decay: 0.1, ..RmsPropParams::default() }.into();
    let sgd = |momentum| SgdParams { momentum, weight_decay: 0.1 }.into();
    let plan = |name: &str, optimizer: OptimizerParams, learning_rate| {
        stages::with(stages::train_plan(table, &folder.join(name)), |changed| {
            changed.course.optimizer = optimizer;
            changed.course.learning_rate = learning_rate;
        })
    };
    let schedule = |kind| Schedule { kind, warmup: Warmup::Ratio(0.3) };
    let of_adapter = |plan| {
        stages::with(plan, |changed| {
            changed.course.trained = adapter();
            changed.course.ema_decay = Some(0.5);
        })
    };
    vec![
        ("rmsprop", plan("rmsprop", rmsprop(0.0), 1e-4), &["moments.safetensors"]),
        (
            "rmsprop, momentum, mean",
            stages::with(plan("rmsprop-m", rmsprop(0.9), 1e-4), |changed| {
                changed.course.ema_decay = Some(0.9);
                changed.course.schedule = schedule(ScheduleKind::InverseSqrt);
            }),
            &["ema.safetensors", "moments.safetensors"],
        ),
        ("sgd", plan("sgd", sgd(0.0), 0.1), &[]),
        (
            "sgd, momentum",
            stages::with(plan("sgd-m", sgd(0.9), 0.1), |changed| {
                changed.course.schedule = schedule(ScheduleKind::CosineWithMinLr { min_lr_rate: 0.1 });
            }),
            &["moments.safetensors"],
        ),
        (
            "adamw, adapter, mean",
            of_adapter(plan("adapter", OptimizerParams::default(), 1e-3)),
            &["ema.safetensors", "moments.safetensors"],
        ),
        ("sgd, adapter, mean", of_adapter(plan("adapter-sgd", sgd(0.0), 0.1)), &["ema.safetensors"]),
    ]
}

#[test]
fn every_optimiser_is_resumed_to_the_bit_from_what_it_keeps() {
    let (folder, table) = table();
    for (name, straight, kept) in runs(folder.path(), &table) {
        stages::train(&straight);
        let mut want: Vec<&str> = kept.iter().copied().chain(["state.json", "weights.safetensors"]).collect();
        want.sort_unstable();
        assert_eq!(names(&checkpoint(&straight.course.out, 6)), want, "{name}");

        let plan =
            stages::with(straight.clone(), |changed| changed.course.out = folder.path().join("interrupted").join(name));
        fs::create_dir_all(plan.course.out.parent().unwrap()).unwrap();
        for step in [2, 4] {
            stages::train_until(&plan, step);
        }
        assert_eq!(stages::train(&plan).n_resumed, 4, "{name}");
        assert_eq!(metrics(&straight.course.out), metrics(&plan.course.out), "{name}");
        for part in ["policy", "train/checkpoints"] {
            assert!(
                files(&straight.course.out.join(part)) == files(&plan.course.out.join(part)),
                "{name}: `{part}` differs"
            );
        }
        // Each step with a learning rate moves the policy.
        let weights = |step| fs::read(checkpoint(&straight.course.out, step).join("weights.safetensors")).unwrap();
        assert!(weights(3) != weights(6), "{name}: the weights have not moved");
    }
}

fn tensors(path: &Path) -> Vec<(String, Vec<f64>)> {
    let numbers = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let mut found: Vec<_> = candle_core::safetensors::load(path, &Device::Cpu)
        .unwrap()
        .into_iter()
        .map(|(name, tensor)| (name, numbers(tensor).into_iter().map(f64::from).collect()))
        .collect();
    found.sort_by(|(a, _), (b, _)| str::cmp(a, b));
    found
}

/// Recomputed in f64 from the raw weights of every step; training itself does not know of it.
#[test]
fn the_policy_of_a_run_with_a_mean_is_the_mean_of_the_weights_of_all_steps() {
    const DECAY: f64 = 0.8;
    let (folder, table) = table();
    let plain = stages::with(stages::train_plan(&table, &folder.path().join("plain")), |changed| {
        changed.course.save_steps = 1.try_into().ok();
    });
    let averaged = stages::with(plain.clone(), |changed| {
        changed.course.out = folder.path().join("mean");
        changed.course.ema_decay = Some(DECAY);
    });
    stages::train(&plain);
    stages::train(&averaged);
    assert_eq!(metrics(&plain.course.out), metrics(&averaged.course.out));

    let mut means = tensors(Path::new("fixtures/tiny/model.safetensors"));
    for step in 1..=6 {
        for name in ["weights.safetensors", "moments.safetensors"] {
            let [plain, averaged] =
                [&plain, &averaged].map(|plan| fs::read(checkpoint(&plan.course.out, step).join(name)).unwrap());
            assert!(plain == averaged, "step {step}, `{name}`");
        }
        let weights = tensors(&checkpoint(&averaged.course.out, step).join("weights.safetensors"));
        for ((name, mean), (of_step, weights)) in means.iter_mut().zip(&weights) {
            assert_eq!(name, of_step);
            mean.iter_mut().zip(weights).for_each(|(mean, weight)| *mean = DECAY * *mean + (1.0 - DECAY) * weight);
        }
    }
    let policy = tensors(&averaged.course.out.join("policy/model.safetensors"));
    let last = tensors(&checkpoint(&averaged.course.out, 6).join("weights.safetensors"));
    assert_eq!(policy.len(), means.len());
    for (((name, found), (_, want)), (_, last)) in policy.iter().zip(&means).zip(&last) {
        assert_close!(found, want, abs = 1e-6, "`{name}`");
        let moved = found.iter().zip(last).map(|(mean, weight)| (mean - weight).abs()).fold(0.0, f64::max);
        assert!(moved > 1e-4, "`{name}`: the policy is the raw weights, but for {moved:e}");
    }
    assert_eq!(tensors(&plain.course.out.join("policy/model.safetensors")), last);
}

fn refused(plan: &Plan) -> String {
    train::run(plan, &Interrupt::default(), &mut |_| {}).unwrap_err().to_string()
}

#[test]
fn another_optimiser_or_mean_on_resume_is_refused_by_name() {
    let (folder, table) = table();
    let adamw = stages::train_plan(&table, &folder.path().join("adamw"));
    let rmsprop = stages::with(adamw.clone(), |changed| {
        changed.course.optimizer = RmsPropParams::default().into();
        changed.course.out = folder.path().join("rmsprop");
    });
    stages::train(&adamw);
    stages::train(&rmsprop);
    let with = |plan: &Plan, optimizer: OptimizerParams| {
        stages::with(plan.clone(), |changed| changed.course.optimizer = optimizer)
    };
    for (plan, want) in [
        (with(&adamw, rmsprop.course.optimizer), "`optim` was `\"adamw\"`, now it is `\"rmsprop\"`"),
        (with(&rmsprop, adamw.course.optimizer), "`optim` was `\"rmsprop\"`, now it is `\"adamw\"`"),
        (with(&rmsprop, SgdParams::default().into()), "`optim` was `\"rmsprop\"`, now it is `\"sgd\"`"),
        (
            stages::with(adamw.clone(), |changed| changed.course.ema_decay = Some(0.9)),
            "`ema_decay` was not set, now it is `0.9`",
        ),
    ] {
        let message = refused(&plan);
        assert!(message.ends_with(want), "{message}");
    }
    let momentum = RmsPropParams { momentum: 0.9, ..RmsPropParams::default() }.into();
    assert!(refused(&with(&rmsprop, momentum)).contains("`optimizer` was "));
}

/// A checkpoint of a run of AdamW without a mean says what it said before there was another optimiser, so that those of
/// earlier versions are resumed; a warm-up given as a share is recorded as the steps it is.
#[test]
fn a_run_of_defaults_has_the_trajectory_it_always_had() {
    let (folder, table) = table();
    let plan = stages::train_plan(&table, &folder.path().join("run"));
    stages::train(&plan);
    let text = fs::read_to_string(checkpoint(&plan.course.out, 6).join("state.json")).unwrap();
    let state: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
    let keys = |map: &serde_json::Map<String, serde_json::Value>| -> Vec<String> { map.keys().cloned().collect() };
    let want =
        ["crate_version", "occasion", "step", "n_tokens", "trajectory", "weights_digest", "moments_digest", "digest"];
    assert_eq!(keys(&state), want);
    let trajectory = state["trajectory"].as_object().unwrap();
    let want = [
        "table_digest",
        "objective",
        "model_digest",
        "config_digest",
        "model_identity",
        "config_identity",
        "optimizer",
        "learning_rate",
        "lr_scheduler_type",
        "warmup_steps",
        "max_grad_norm",
        "batch_size",
        "n_steps",
        "order",
        "max_tokens",
        "dtype",
        "kernel",
    ];
    assert_eq!(keys(trajectory), want);
    let adamw = serde_json::json!({"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0});
    assert_eq!(trajectory["optimizer"], adamw);
    assert_eq!((&trajectory["lr_scheduler_type"], &trajectory["warmup_steps"]), (&"cosine".into(), &1.into()));

    let schedule = Schedule { warmup: Warmup::Ratio(0.1), ..plan.course.schedule };
    assert_eq!(stages::train(&stages::with(plan, |changed| changed.course.schedule = schedule)).n_resumed, 6);
}

#[test]
fn flags_reach_the_run_and_the_record() {
    let case = Case::new();
    for name in ["tiny", "pairs"] {
        copy_dir(&Path::new("fixtures").join(name), &case.path().join(name));
    }
    case.run(["precompute", "--model", "tiny", "--data", "pairs/standard.jsonl", "--out", "table"]).success();
    let train = ["train", "--model", "tiny", "--table", "table", "--max-steps", "6", "--batch-size", "4"];
    let settings = [
        ["--out", "run"],
        ["--optim", "rmsprop"],
        ["--momentum", "0.5"],
        ["--learning-rate", "1e-4"],
        ["--lr-scheduler-type", "cosine_with_min_lr"],
        ["--min-lr", "1e-5"],
        ["--warmup-ratio", "0.5"],
        ["--ema-decay", "0.9"],
    ];
    case.run(train.into_iter().chain(settings.into_iter().flatten())).success();
    let rates: Vec<f64> = metrics(&case.path().join("run")).iter().map(|metrics| metrics.learning_rate).collect();
    // ceil(0.5 · 6) steps up, then 0.9·(1 + cos)/2 + 0.1 at no, one and two thirds of the way.
    assert_close!(rates, [0.0, 1.0 / 3e4, 2.0 / 3e4, 1e-4, 7.75e-5, 3.25e-5], abs = 1e-18);
    let record: toml::Table = fs::read_to_string(case.path().join("run/plan.toml")).unwrap().parse().unwrap();
    assert_eq!(record["train"]["optim"].as_str(), Some("rmsprop"));
    for (key, want) in [("momentum", 0.5), ("ema_decay", 0.9), ("warmup_ratio", 0.5), ("min_lr", 1e-5)] {
        assert_eq!(record["train"][key].as_float(), Some(want), "{key}");
    }
    assert!(checkpoint(&case.path().join("run"), 6).join("ema.safetensors").exists());

    let refused = case.run(train.into_iter().chain(["--out", "other", "--momentum", "0.5"]));
    assert_eq!(refused.code, Some(2), "{refused}");
    assert!(refused.stderr.contains("`train.momentum` is set, and optimiser `adamw` does not read it"), "{refused}");
    assert!(refused.stderr.contains("hint: it is a setting of `rmsprop` and `sgd`"), "{refused}");
    assert!(!case.path().join("other").exists());
}
