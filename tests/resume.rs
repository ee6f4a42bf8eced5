//! A run that goes on under other settings: the same run, to the bit, or another one, refused by the setting.

use std::fs;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};

use piref::error::Hint;
use piref::eval::{BestMetric, EarlyStopping};
use piref::interrupt::Interrupt;
use piref::model::{Lora, Modules, SaveDtype};
use piref::optim::{Schedule, ScheduleKind, Warmup};
use piref::train::{self, EvalPlan, Length, Plan, RecomputePolicy, Trained};

use crate::support::stages;

const CONSTANT: Schedule = Schedule { kind: ScheduleKind::Constant, warmup: Warmup::Steps(1) };

fn steps(n_steps: u64) -> Length {
    Length::Steps(NonZeroU64::new(n_steps).unwrap())
}

fn table(folder: &Path) -> PathBuf {
    let table = folder.join("table");
    stages::precompute(&stages::precompute_plan(&table));
    table
}

fn policy(plan: &Plan) -> Vec<u8> {
    fs::read(plan.course.policy().join("model.safetensors")).unwrap()
}

/// Trains; returns what was said, or why not.
fn train(plan: &Plan) -> Result<Vec<String>, (String, Option<String>)> {
    let mut notes = Vec::new();
    let outcome = train::run(plan, &Interrupt::default(), &mut |event| {
        if let train::Event::Note(note) = event {
            notes.push(note);
        }
    });
    outcome.map(|_| notes).map_err(|error| (error.to_string(), error.hint()))
}

#[test]
fn a_longer_run_under_a_constant_rate_is_the_run_made_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path());
    let plan = |name: &str, length: Length| {
        stages::with(stages::train_plan(&table, &folder.path().join(name)), |plan| {
            plan.course.schedule = CONSTANT;
            plan.course.length = length;
        })
    };
    let straight = plan("straight", steps(12));
    stages::train(&straight);
    // Two epochs and a half of five steps each, in three goes; the second ends in the midst of an epoch.
    for length in [Length::Epochs(1.0), steps(7), Length::Epochs(2.4)] {
        stages::train(&plan("run", length));
    }
    let run = plan("run", steps(12));
    assert_eq!(stages::train(&run).n_resumed, 12);
    assert!(policy(&run) == policy(&straight));
    let metrics = |plan: &Plan| fs::read_to_string(plan.course.out.join(train::METRICS)).unwrap().lines().count();
    assert_eq!(metrics(&run), metrics(&straight));

    // Shorter than it is already.
    let (error, hint) = train(&plan("run", steps(9))).unwrap_err();
    assert!(error.ends_with("is of step 12: expected one of at most 9, where the run is to end"), "{error}");
    assert!(hint.unwrap().contains("another `--out` keeps both"));
}

#[test]
fn a_longer_run_under_a_rate_that_falls_is_another_run() {
    let folder = tempfile::tempdir().unwrap();
    let plan = stages::train_plan(&table(folder.path()), &folder.path().join("run"));
    stages::train(&plan);
    let longer = stages::with(plan, |plan| plan.course.length = steps(8));
    let (error, hint) = train(&longer).unwrap_err();
    assert!(error.contains("belongs to another run: `n_steps` was `6`, now it is `8`"), "{error}");
    assert!(hint.unwrap().contains("with `--lr-scheduler-type constant` a run can be made longer"));
    // A warm-up that is a share of the steps is as long as they are.
    let constant = |length| {
        let schedule = Schedule { kind: ScheduleKind::Constant, warmup: Warmup::Ratio(0.5) };
        let plan = stages::train_plan(&longer.table, &folder.path().join("share"));
        stages::with(plan, |plan| (plan.course.schedule, plan.course.length) = (schedule, steps(length)))
    };
    stages::train(&constant(2));
    let (error, _) = train(&constant(8)).unwrap_err();
    assert!(error.contains("`warmup_steps` was `1`, now it is `4`"), "{error}");
}

/// After running out of memory: smaller micro-batches, more made again, less memory; and what only says what is written.
#[test]
fn what_does_not_decide_the_result_may_change_on_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let plan = stages::train_plan(&table(folder.path()), &folder.path().join("run"));
    stages::train_until(&plan, 2);
    let changed = stages::with(plan, |plan| {
        let course = &mut plan.course;
        course.max_tokens = NonZeroUsize::new(256).unwrap();
        course.recompute = RecomputePolicy::Layer;
        course.memory_budget = Some(1 << 30);
        course.logging_steps = NonZeroU64::new(3).unwrap();
        course.save_steps = NonZeroU64::new(1);
        course.save_total_limit = NonZeroUsize::new(2);
        course.save_dtype = SaveDtype::Bf16;
    });
    let notes = train(&changed).unwrap();
    let want = "`max_tokens` was `1024` when the checkpoint was written, now it is `256`: the rest may differ in the last bits";
    assert!(notes.iter().any(|note| note == want), "{notes:?}");
    assert_eq!(stages::train(&changed).n_resumed, 6);
    // Dropout is drawn in the order of the micro-batches.
    let lora = Lora { dropout: 0.1, ..Lora::new(NonZeroUsize::new(2).unwrap(), 4.0, Modules::named(["q_proj"])) };
    let dropped = |max_tokens| {
        let plan = stages::train_plan(&changed.table, &folder.path().join("lora"));
        stages::with(plan, |plan| {
            plan.course.trained = Trained::NewAdapter(lora.clone());
            plan.course.max_tokens = NonZeroUsize::new(max_tokens).unwrap();
        })
    };
    stages::train(&dropped(1024));
    let (error, _) = train(&dropped(256)).unwrap_err();
    assert!(error.contains("`max_tokens` was `1024`, now it is `256`"), "{error}");
}

#[test]
fn what_decides_the_result_is_refused_by_its_name() {
    type Change = fn(&mut Plan);
    let folder = tempfile::tempdir().unwrap();
    let plan = stages::train_plan(&table(folder.path()), &folder.path().join("run"));
    stages::train(&plan);
    let changes: [(&str, Change); 5] = [
        ("batch_size", |plan| plan.course.batch_size = NonZeroUsize::new(4).unwrap()),
        ("order", |plan| plan.course.order = train::Order::Shuffled { seed: 8 }),
        ("max_grad_norm", |plan| plan.course.max_grad_norm = None),
        ("lr_scheduler_type", |plan| {
            plan.course.schedule = CONSTANT;
            plan.course.length = steps(9);
        }),
        ("objective", |plan| plan.objective = stages::bco_shifted()),
    ];
    for (key, change) in changes {
        let (error, _) = train(&stages::with(plan.clone(), change)).unwrap_err();
        assert!(error.contains(&format!("belongs to another run: `{key}` was")), "{key}: {error}");
    }
}

/// The evaluation at the end of the shorter run is none of the longer one, and would be one more to choose the policy from.
#[test]
fn a_longer_run_whose_shorter_end_chose_the_policy_is_another_run() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path());
    let plan = |name: &str, n_steps: u64, stopping: bool| {
        stages::with(stages::train_plan(&table, &folder.path().join(name)), |plan| {
            plan.course.schedule = CONSTANT;
            plan.course.length = steps(n_steps);
            plan.eval = Some(EvalPlan {
                table: Some(table.clone()),
                steps: NonZeroU64::new(2),
                metric_for_best_model: BestMetric::Loss,
                early_stopping: stopping
                    .then(|| EarlyStopping { patience: NonZeroU64::new(9).unwrap(), threshold: 0.0 }),
                load_best_model_at_end: false,
                samples: None,
            });
        })
    };
    stages::train(&plan("odd", 3, true));
    let (error, _) = train(&plan("odd", 5, true)).unwrap_err();
    assert!(error.contains("`n_steps` was `3`, now it is `5`"), "{error}");
    stages::train(&plan("even", 2, true));
    stages::train(&plan("even", 5, true));
    stages::train(&plan("free", 3, false));
    stages::train(&plan("free", 5, false));
}
