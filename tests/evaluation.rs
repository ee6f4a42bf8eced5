//! Evaluations: alone, on the way of a run, and what follows from them.

use std::collections::HashSet;
use std::fs;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};

use piref::error::Hint;
use piref::eval::{self, BestMetric, EarlyStopping, EvalError, EvalMetrics};
use piref::generate::{Generator, Sampling, Settings};
use piref::interrupt::Interrupt;
use piref::loss::BatchObjective;
use piref::model::{Lora, Modules, ScoringDtype};
use piref::model_source::ModelSource;
use piref::ops::Backend;
use piref::policy::{PolicyError, PolicySource};
use piref::precompute::{self, Pairs};
use piref::query::{self, Format, Session};
use piref::selection::Selection;
use piref::table::{ReferenceTable, StepFiles, TokenLogps};
use piref::tokenize::PromptTokenizer;
use piref::train::{self, EvalPlan, EvaluationMetrics, Event, SamplePlan, StepMetrics, TrainError, Trained};
use serde_json::Value;

use crate::support::stages::{self, copy_dir, files};
use crate::support::{Case, assert_close};

/// A table of these pairs.
fn table_of(pairs: PathBuf, out: PathBuf) -> PathBuf {
    let pairs = Pairs::Files { paths: vec![pairs], limit: None };
    stages::precompute(&precompute::Plan { pairs, ..stages::precompute_plan(&out) });
    out
}

/// Forty pairs to train on, and ten others.
fn tables(folder: &Path) -> (PathBuf, PathBuf) {
    let table = folder.join("table");
    stages::precompute(&stages::precompute_plan(&table));
    (table, table_of("fixtures/pairs/openai.jsonl".into(), folder.join("held-out")))
}

fn evaluations(table: &Path, every: u64) -> EvalPlan {
    EvalPlan {
        table: Some(table.to_owned()),
        steps: NonZeroU64::new(every),
        metric_for_best_model: BestMetric::Loss,
        early_stopping: None,
        load_best_model_at_end: false,
        samples: None,
    }
}

/// Three prompts, eight tokens each.
fn samples() -> SamplePlan {
    let [n_prompts, max_new_tokens] = [3, 8].map(|number| NonZeroUsize::new(number).unwrap());
    SamplePlan { n_prompts, max_new_tokens }
}

/// `piref eval` as the runs of this file evaluate.
fn eval_plan(model: &Path, table: &Path, objective: BatchObjective) -> eval::Plan {
    eval::Plan {
        model: model.display().to_string(),
        adapter: None,
        table: table.to_owned(),
        reference: None,
        objective,
        score_columns: None,
        batch_size: NonZeroUsize::new(8).unwrap(),
        max_tokens: NonZeroUsize::new(256).unwrap(),
        dtype: ScoringDtype::F32,
        backend: Backend::cpu(),
        out: None,
    }
}

fn evaluate(plan: &eval::Plan) -> EvalMetrics {
    match eval::run(plan, &Interrupt::default(), &mut |_| {}).unwrap() {
        eval::Outcome::Finished(summary) => summary.metrics,
        eval::Outcome::Interrupted => panic!("interrupted by nobody"),
    }
}

fn timeless(metrics: &EvalMetrics) -> EvalMetrics {
    EvalMetrics { runtime: 0.0, samples_per_second: 0.0, ..metrics.clone() }
}

/// The lines of a run's metrics, steps and evaluations, without what measures time.
fn metrics(run: &Path) -> (Vec<StepMetrics>, Vec<EvaluationMetrics>) {
    let (mut steps, mut evaluations) = (Vec::new(), Vec::new());
    for line in fs::read_to_string(run.join(train::METRICS)).unwrap().lines() {
        if line.contains("\"eval_loss\"") {
            let found: EvaluationMetrics = serde_json::from_str(line).unwrap();
            evaluations.push(EvaluationMetrics { metrics: timeless(&found.metrics), ..found });
        } else {
            let found: StepMetrics = serde_json::from_str(line).unwrap();
            steps.push(StepMetrics { tokens_per_second: 0.0, step_seconds: 0.0, ..found });
        }
    }
    (steps, evaluations)
}

/// Files of a run but for the metrics, whose timing differs.
fn timeless_files(run: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    files(run).into_iter().filter(|(name, _)| name != Path::new(train::METRICS)).collect()
}

fn names(found: &[(PathBuf, Vec<u8>)]) -> Vec<&Path> {
    found.iter().map(|(name, _)| name.as_path()).collect()
}

fn sql(run: &Path, query: &str) -> String {
    let mut session = Session::new().unwrap();
    session.register(run).unwrap();
    let mut rows = Vec::new();
    query::run(&session, query, Format::Csv, &mut rows).unwrap();
    String::from_utf8(rows).unwrap()
}

/// For an objective of pairs and one of the whole batch that has a memory.
#[test]
fn evaluations_do_not_disturb_a_run_and_say_what_piref_eval_says() {
    let folder = tempfile::tempdir().unwrap();
    let (table, held_out) = tables(folder.path());
    for (name, objective) in [("pair", stages::sigmoid()), ("batch", stages::bco_shifted())] {
        let plain = stages::with(stages::train_plan(&table, &folder.path().join(format!("{name}-plain"))), |changed| {
            changed.objective = objective.clone();
        });
        stages::train(&plain);
        let out = folder.path().join(name);
        let eval = EvalPlan { samples: Some(samples()), ..evaluations(&held_out, 2) };
        let watched = stages::with(plain.clone(), |changed| {
            changed.eval = Some(eval);
            changed.course.out = out.clone();
        });
        let summary = stages::train(&watched);

        let (steps, found) = metrics(&out);
        assert_eq!(metrics(&plain.course.out), (steps, Vec::new()), "{name}");
        assert!(files(&plain.course.out.join("policy")) == files(&out.join("policy")), "{name}: another policy");
        for file in ["weights.safetensors", "moments.safetensors"] {
            let read = |run: &Path| fs::read(run.join("train/checkpoints/step-6").join(file)).unwrap();
            assert!(read(&plain.course.out) == read(&out), "{name}: other {file}");
        }

        assert_eq!(found.iter().map(|line| line.step).collect::<Vec<_>>(), [0, 2, 4, 6]);
        let start = &found[0].metrics;
        assert_eq!((start.rewards_accuracies, start.rewards_ties, start.rewards_margins), (0.5, 1.0, 0.0));
        assert_eq!((start.kl_chosen, start.kl_rejected, start.displacement, start.n_pairs), (0.0, 0.0, 0.0, 10));
        let end = &found[3].metrics;
        assert!(end.rewards_margins != 0.0 && end.kl_chosen != 0.0, "{end:?}");
        let eval = summary.eval.unwrap();
        assert_eq!((eval.policy_step, eval.is_stopped_early), (6, false));
        assert_eq!(timeless(&eval.last.unwrap().metrics), *end);

        // The policy that was written, in micro-batches of another size, against the same table.
        let mut alone = timeless(&evaluate(&eval_plan(&out, &held_out, objective)));
        if name == "batch" {
            // Outside of a run there is no memory.
            alone.loss = end.loss;
        } else {
            assert_close!([start.loss], [std::f64::consts::LN_2], abs = 1e-15, "the first loss");
        }
        assert_eq!(alone, *end, "{name}");
    }
}

#[test]
fn evaluated_pairs_are_a_table_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let (table, held_out) = tables(folder.path());
    let out = folder.path().join("run");
    stages::train(&stages::with(stages::train_plan(&table, &out), |changed| {
        changed.eval = Some(evaluations(&held_out, 4));
    }));
    let counts = sql(
        &out,
        "SELECT step, count(*) AS n, count(DISTINCT pair_id) AS pairs FROM evals GROUP BY step ORDER BY step",
    );
    assert_eq!(counts, "step,n,pairs\n0,10,10\n4,10,10\n6,10,10\n");

    // The means of the metrics are those of the rows.
    let (_, found) = metrics(&out);
    let rows = sql(
        &out,
        "SELECT avg(loss), avg(margin), avg(policy_chosen_logps), avg(policy_rejected_logps), \
         avg(CASE WHEN margin > 0 THEN 1.0 WHEN margin = 0 THEN 0.5 ELSE 0.0 END), \
         sum(policy_chosen_logps - ref_chosen_logps) / sum(chosen_tokens), \
         sum(policy_rejected_logps - ref_rejected_logps) / sum(rejected_tokens), \
         avg(CASE WHEN policy_chosen_logps < ref_chosen_logps THEN 1.0 ELSE 0.0 END) \
         FROM evals WHERE step = 6",
    );
    let rows: Vec<f64> = rows.lines().nth(1).unwrap().split(',').map(|number| number.parse().unwrap()).collect();
    let EvalMetrics { loss, rewards_margins, logps_chosen, logps_rejected, rewards_accuracies, .. } = found[2].metrics;
    let EvalMetrics { kl_chosen, kl_rejected, displacement, .. } = found[2].metrics;
    let means =
        [loss, rewards_margins, logps_chosen, logps_rejected, rewards_accuracies, kl_chosen, kl_rejected, displacement];
    assert_close!(rows, means, abs = 1e-9, "means of the rows");
    // Evaluations are lines of the metrics, and the steps are as they were.
    assert_eq!(sql(&out, "SELECT count(loss) AS s, count(eval_loss) AS e FROM metrics"), "s,e\n6,3\n");
}

/// What a run answers is what `piref generate` makes of the ids of its table: here by a generator of the policy it wrote.
#[test]
fn samples_are_greedy_answers_to_the_first_held_out_prompts() {
    let folder = tempfile::tempdir().unwrap();
    let (table, held_out) = tables(folder.path());
    let out = folder.path().join("run");
    let eval = EvalPlan { samples: Some(samples()), ..evaluations(&held_out, 4) };
    let plan = stages::with(stages::train_plan(&table, &out), |changed| changed.eval = Some(eval));
    let summary = stages::train(&plan);
    assert_eq!(summary.eval.unwrap().samples, Some(out.join(train::SAMPLES)));
    let counts =
        sql(&out, "SELECT step, count(*) AS n, count(DISTINCT prompt) AS p FROM samples GROUP BY step ORDER BY step");
    assert_eq!(counts, "step,n,p\n0,3,3\n4,3,3\n6,3,3\n");

    let pairs = ReferenceTable::open(&held_out).unwrap().load_pairs(TokenLogps::Skip, folder.path()).unwrap();
    let mut known = HashSet::new();
    let mut wanted = pairs.iter().filter(|pair| known.insert(pair.prompt_ids)).take(3);
    let source = ModelSource::resolve("fixtures/tiny").unwrap();
    let tokenizer = PromptTokenizer::load(&source, "2024-07-26".parse().unwrap()).unwrap();
    let policy = PolicySource::resolve(&out.display().to_string(), None).unwrap();
    let mut generator = Generator::load(&policy, tokenizer.ends().clone(), &Backend::cpu()).unwrap();
    let max_new_tokens = NonZeroUsize::new(8).unwrap();
    let settings = Settings { sampling: Sampling::GREEDY, max_new_tokens, seed: 1 };
    let text = fs::read_to_string(StepFiles::Samples.path(&out.join(train::SAMPLES), 6)).unwrap();
    for line in text.lines() {
        let pair = wanted.next().unwrap();
        let want = generator.complete(pair.prompt_ids, &settings).unwrap();
        let found: Value = serde_json::from_str(line).unwrap();
        assert_eq!((found["pair_id"].as_str(), found["step"].as_u64()), (Some(pair.pair_id), Some(6)));
        assert_eq!(found["prompt"], tokenizer.files().decode(pair.prompt_ids).unwrap());
        assert_eq!(found["completion"], tokenizer.answer(pair.prompt_ids, want.answer()).unwrap());
        assert_eq!(found["n_tokens"].as_u64(), Some(want.ids.len() as u64));
        assert_eq!(found["finish_reason"], serde_json::to_value(want.finish_reason).unwrap());
    }
    assert!(wanted.next().is_none());

    // A run that samples is another run than one that does not.
    let other = EvalPlan { samples: None, ..plan.eval.clone().unwrap() };
    let error =
        train::run(&stages::with(plan, |changed| changed.eval = Some(other)), &Interrupt::default(), &mut |_| {});
    assert!(error.unwrap_err().to_string().contains("belongs to another run: `eval` was"));
}

/// Interrupted between the passes of an evaluation, after it and after a step, and killed: every row and line is there
/// once, with the same bytes.
#[test]
fn interrupted_evaluations_end_as_those_of_a_run_that_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let (table, held_out) = tables(folder.path());
    let eval = EvalPlan { load_best_model_at_end: true, samples: Some(samples()), ..evaluations(&held_out, 2) };
    let straight = stages::with(stages::train_plan(&table, &folder.path().join("straight")), |changed| {
        changed.eval = Some(eval);
        // Many passes an evaluation.
        changed.course.max_tokens = NonZeroUsize::new(64).unwrap();
        changed.course.save_total_limit = NonZeroUsize::new(2);
    });
    stages::train(&straight);

    let plan = stages::with(straight.clone(), |changed| changed.course.out = folder.path().join("interrupted"));
    let stop_at = |is_it: &dyn Fn(&Event<'_>) -> bool| {
        let interrupt = Interrupt::default();
        let outcome = train::run(&plan, &interrupt, &mut |event| {
            if is_it(&event) {
                interrupt.set();
            }
        });
        match outcome.unwrap() {
            train::Outcome::Interrupted(at) => at.step,
            train::Outcome::Finished(summary) => panic!("not interrupted: {summary:?}"),
        }
    };
    let in_evaluation = |at: u64| move |event: &Event<'_>| matches!(event, Event::Evaluating { step, n_scored, n_pairs } if *step == at && n_scored < n_pairs);
    let after_evaluation =
        |at: u64| move |event: &Event<'_>| matches!(event, Event::Evaluated { metrics, .. } if metrics.step == at);
    let after_step =
        |at: u64| move |event: &Event<'_>| matches!(event, Event::Step { metrics, .. } if metrics.step == at);
    let in_samples =
        |at: u64| move |event: &Event<'_>| matches!(event, Event::Sampling { step, n_completed: 1, .. } if *step == at);
    assert_eq!(stop_at(&in_evaluation(0)), 0);
    assert_eq!(stop_at(&in_samples(0)), 0);
    assert!(!plan.course.out.join(train::SAMPLES).exists() && files(&plan.course.out.join(train::EVALS)).is_empty());
    assert_eq!(stop_at(&after_evaluation(0)), 0);
    assert_eq!(stop_at(&in_evaluation(2)), 2);
    assert_eq!(stop_at(&after_evaluation(2)), 2);
    assert_eq!(stop_at(&after_step(3)), 3);
    // As a kill after the evaluation of step 4 leaves it, which no checkpoint knows of.
    assert_eq!(stop_at(&after_step(4)), 4);
    assert_eq!(stop_at(&in_evaluation(6)), 6);
    assert_eq!(stop_at(&in_samples(6)), 6);
    let summary = stages::train(&plan);
    assert_eq!((summary.n_resumed, summary.n_steps), (6, 6));

    assert_eq!(metrics(&straight.course.out), metrics(&plan.course.out));
    let (want, found) = (timeless_files(&straight.course.out), timeless_files(&plan.course.out));
    assert!(want == found, "the runs differ: {:?} and {:?}", names(&want), names(&found));

    // Killed after the evaluation of the end: its checkpoint, its line and the policy are not there, its rows are.
    let checkpoint = plan.course.out.join("train/checkpoints/step-6");
    let before = stages::with(plan, |changed| {
        changed.course.save_total_limit = None;
        changed.course.out = folder.path().join("killed");
    });
    stages::train(&before);
    fs::remove_dir_all(before.course.out.join(checkpoint.strip_prefix(folder.path().join("interrupted")).unwrap()))
        .unwrap();
    fs::remove_dir_all(before.course.out.join("policy")).unwrap();
    let rows_before = files(&before.course.out.join(train::EVALS));
    let resumed = stages::train(&before);
    assert!(resumed.n_resumed < 6, "{}", resumed.n_resumed);
    assert_eq!(metrics(&straight.course.out), metrics(&before.course.out));
    assert!(
        files(&before.course.out.join(train::EVALS)) == rows_before
            && files(&straight.course.out.join(train::EVALS)) == rows_before
    );
}

/// The same pairs the other way round: what is learnt of one makes the other worse.
fn swapped(folder: &Path) -> (PathBuf, PathBuf) {
    let text = fs::read_to_string("fixtures/pairs/standard.jsonl").unwrap();
    let mut other = String::new();
    for line in text.lines() {
        let mut row: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
        let (chosen, rejected) = (row["chosen"].clone(), row["rejected"].clone());
        row.insert("chosen".into(), rejected);
        row.insert("rejected".into(), chosen);
        other += &(Value::Object(row).to_string() + "\n");
    }
    let path = folder.join("swapped.jsonl");
    fs::write(&path, other).unwrap();
    (table_of("fixtures/pairs/standard.jsonl".into(), folder.join("table")), table_of(path, folder.join("held-out")))
}

#[test]
fn a_run_ends_when_nothing_gets_better_and_writes_its_best_policy() {
    let folder = tempfile::tempdir().unwrap();
    let (table, held_out) = swapped(folder.path());
    let stopping = EarlyStopping { patience: NonZeroU64::new(2).unwrap(), threshold: 0.0 };
    let eval = EvalPlan { early_stopping: Some(stopping), load_best_model_at_end: true, ..evaluations(&held_out, 1) };
    let plan = stages::with(stages::train_plan(&table, &folder.path().join("run")), |changed| {
        changed.eval = Some(eval);
        changed.course.save_steps = NonZeroU64::new(2);
        changed.course.save_total_limit = NonZeroUsize::new(1);
        changed.course.batch_size = NonZeroUsize::new(64).unwrap();
    });
    let mut notes = Vec::new();
    let outcome = train::run(&plan, &Interrupt::default(), &mut |event| {
        if let Event::Note(note) = event {
            notes.push(note);
        }
    });
    let train::Outcome::Finished(summary) = outcome.unwrap() else { panic!("interrupted by nobody") };
    assert!(notes.iter().any(|note| note.ends_with("held-out pairs are trained on")), "{notes:?}");

    // The first step has learning rate 0: it is still the reference, and better than all that follow.
    let (steps, found) = metrics(&plan.course.out);
    let losses: Vec<f64> = found.iter().map(|line| line.metrics.loss).collect();
    assert!(losses.len() == 4 && losses[1] < losses[2] && losses[2] < losses[3], "{losses:?}");
    assert_eq!((summary.n_steps, steps.len()), (3, 3));
    let eval = summary.eval.unwrap();
    let best = eval.best.unwrap();
    assert!(eval.is_stopped_early);
    assert_eq!((best.step, best.value, eval.policy_step), (1, losses[1], 1));
    let checkpoints = plan.course.out.join("train/checkpoints");
    assert_eq!(best.checkpoint, Some(checkpoints.join("step-1")));
    let left: Vec<_> = fs::read_dir(&checkpoints).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.len() == 2 && left.contains(&"step-1".into()) && left.contains(&"step-3".into()), "{left:?}");
    assert_eq!(evaluate(&eval_plan(&plan.course.out, &held_out, stages::sigmoid())).loss, best.value);

    // Run again, it finds itself at its end.
    let want = files(&plan.course.out);
    let again = stages::train(&plan);
    assert_eq!((again.n_resumed, again.n_steps), (3, 3));
    assert!(again.eval.unwrap().is_stopped_early && files(&plan.course.out) == want);

    // Other evaluations are another run.
    let other = EvalPlan { early_stopping: None, ..plan.eval.clone().unwrap() };
    let error = train::run(
        &stages::with(plan.clone(), |changed| changed.eval = Some(other)),
        &Interrupt::default(),
        &mut |_| {},
    );
    assert!(error.unwrap_err().to_string().contains("belongs to another run: `eval` was"));
    // And without any, what was evaluated before goes with the rest of the earlier run.
    stages::train(&stages::with(plan.clone(), |changed| {
        changed.eval = None;
        changed.course.start = train::Start::Fresh;
    }));
    assert!(files(&plan.course.out.join(train::EVALS)).is_empty());
}

#[test]
fn an_adapter_is_evaluated_on_its_base_model() {
    let folder = tempfile::tempdir().unwrap();
    let (table, held_out) = tables(folder.path());
    let lora =
        Lora { dropout: 0.1, ..Lora::new(NonZeroUsize::new(4).unwrap(), 8.0, Modules::named(["q_proj", "down_proj"])) };
    let plan = stages::with(stages::train_plan(&table, &folder.path().join("run")), |changed| {
        changed.course.trained = Trained::NewAdapter(lora);
        changed.course.learning_rate = 1e-2;
        changed.eval = Some(evaluations(&held_out, 3));
    });
    stages::train(&plan);
    let (_, found) = metrics(&plan.course.out);
    let last = &found.last().unwrap().metrics;
    assert!(last.loss != found[0].metrics.loss);
    // Named as the run, as the adapter, and with another name of its base.
    let of_run = eval_plan(&plan.course.out, &held_out, stages::sigmoid());
    assert_eq!(timeless(&evaluate(&of_run)), *last);
    let of_adapter = eval::Plan { model: plan.course.out.join("policy").display().to_string(), ..of_run.clone() };
    assert_eq!(timeless(&evaluate(&of_adapter)), *last);
    let over_base =
        eval::Plan { model: "./fixtures/tiny".into(), adapter: Some(plan.course.out.clone()), ..of_adapter };
    assert_eq!(timeless(&evaluate(&over_base)), *last);

    let no_adapter = eval::Plan { adapter: Some("fixtures/tiny".into()), ..over_base };
    let error = eval::run(&no_adapter, &Interrupt::default(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, EvalError::Policy(PolicyError::NoAdapter { .. })), "{error}");
}

#[test]
fn a_held_out_table_of_another_reference_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (table, _) = tables(folder.path());
    let out = folder.path().join("bf16");
    stages::precompute(&precompute::Plan { dtype: ScoringDtype::Bf16, ..stages::precompute_plan(&out) });
    let plan = stages::with(stages::train_plan(&table, &folder.path().join("run")), |changed| {
        changed.eval = Some(evaluations(&out, 3));
    });
    let error = train::run(&plan, &Interrupt::default(), &mut |_| {}).unwrap_err();
    let TrainError::HeldOut(EvalError::OtherReference { difference, .. }) = &error else { panic!("{error}") };
    assert_eq!((difference.field, &*difference.expected, &*difference.found), ("dtype", "f32", "bf16"));
    assert!(error.hint().unwrap().contains("--allow-dtype-drift"));
    stages::train(&stages::with(plan, |changed| changed.other_dtype = train::Mismatch::Allow));
}

/// The held-out side of a split is what the policy is evaluated on, and not trained on.
#[test]
fn a_run_is_evaluated_on_the_pairs_it_holds_out() {
    let folder = tempfile::tempdir().unwrap();
    let (table, _) = tables(folder.path());
    let held_out = Selection { held_out: Some(0.4), ..Selection::default() };
    let eval = EvalPlan { table: None, ..evaluations(&table, 3) };
    let out = folder.path().join("run");
    let plan = stages::with(stages::train_plan(&table, &out), |changed| {
        changed.selection = held_out;
        changed.eval = Some(eval);
    });
    let summary = stages::train(&plan);
    assert!(summary.n_held_out > 0 && summary.n_held_out + summary.n_pairs == 40, "{summary:?}");
    let (_, found) = metrics(&out);
    assert!(found.len() == 3 && found.iter().all(|line| line.metrics.n_pairs == summary.n_held_out));
    // The same pairs in the same order as the record of the split.
    let ids = sql(&out, "SELECT pair_id FROM evals WHERE step = 6");
    assert_eq!(ids, fs::read_to_string(out.join(train::HELD_OUT)).unwrap());
}

#[test]
fn the_command_prints_means_and_writes_pairs() {
    let case = Case::new();
    for name in ["tiny", "pairs"] {
        copy_dir(&Path::new("fixtures").join(name), &case.path().join(name));
    }
    case.run(["precompute", "--model", "tiny", "--data", "pairs/standard.jsonl", "--out", "table"]).success();
    let evaluate = ["eval", "--model", "tiny", "--table", "table", "--out", "pairs.parquet"];
    let said = case.run(evaluate.into_iter().chain(["--quiet"])).success();
    for line in
        ["eval_loss: 0.6931", "eval_rewards/accuracies: 50.00 %", "eval_rewards/ties: 100.00 %", "pairs: pairs.parquet"]
    {
        assert!(said.stdout.lines().any(|found| found == line), "{said}");
    }
    let json = case.run(evaluate.into_iter().chain(["--output-format", "json", "--loss-type", "ipo"])).success();
    let summary: serde_json::Map<String, Value> = serde_json::from_str(&json.stdout).unwrap();
    // 1/(4β²) at the reference.
    assert_close!([summary["eval_loss"].as_f64().unwrap()], [25.0], abs = 1e-9, "{json}");
    let rows = case.run(["sql", "pairs.parquet", "-c", "SELECT count(*) AS n, count(step) AS s FROM pairs"]).success();
    let n_pairs = summary["eval_n_pairs"].as_u64().unwrap();
    assert!(rows.stdout.contains(&format!("{n_pairs}")), "{rows}");

    let missing = case.run(["eval", "--model", "tiny", "--table", "nowhere"]);
    assert_eq!(missing.code, Some(2), "{missing}");
    assert!(missing.stderr.contains("log-prob table `nowhere` does not exist"), "{missing}");
}
