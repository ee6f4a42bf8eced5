//! Supervised training as a whole: what it learns, how it stops and goes on, what it leaves.

use std::fs;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::Path;

use piref::batch::SequenceIds;
use piref::error::Hint;
use piref::interrupt::Interrupt;
use piref::model::{DEFAULT_SHARD_BYTES, Decoder, Lora, Modules, SaveDtype, is_adapter};
use piref::model_source::ModelSource;
use piref::ops::Backend;
use piref::sft::{self, Event, Outcome, Plan, SftError, SftMetrics};
use piref::table::TooManyRejects;
use piref::tokenize::Masking;
use piref::train::{self, METRICS, MergePlan, Start, Trained};

use crate::support::stages::{self, files, sft_plan};
use crate::support::{Case, assert_close};

const PAIRS: &[&str] = &["fixtures/pairs/standard.jsonl", "fixtures/pairs/conversational.jsonl"];

/// Metrics of a run, without what measures time.
fn metrics(run: &Path) -> Vec<SftMetrics> {
    let text = fs::read_to_string(run.join(METRICS)).unwrap();
    let row = |line| SftMetrics { tokens_per_second: 0.0, step_seconds: 0.0, ..serde_json::from_str(line).unwrap() };
    text.lines().map(row).collect()
}

/// Runs until `step` steps are made, as Ctrl-C does after that step.
fn sft_until(plan: &Plan, step: u64) {
    let interrupt = Interrupt::default();
    let outcome = sft::run(plan, &interrupt, &mut |event| {
        if matches!(event, Event::Train(train::Event::Step { metrics, .. }) if metrics.step == step) {
            interrupt.set();
        }
    });
    assert!(matches!(outcome.unwrap(), Outcome::Interrupted(Some(at)) if at.step == step));
}

/// What two runs that are the same leave: the policy to the byte, the metrics but for time.
#[track_caller]
fn check_same(one: &Path, other: &Path) {
    assert_eq!(metrics(one), metrics(other));
    assert!(files(&one.join("policy")) == files(&other.join("policy")), "the policies differ");
}

#[test]
fn a_run_that_was_interrupted_ends_like_one_that_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = Trained::NewAdapter(Lora {
        dropout: 0.1,
        ..Lora::new(NonZeroUsize::new(4).unwrap(), 8.0, Modules::named(["q_proj", "down_proj"]))
    });
    for (name, trained) in [("weights", Trained::Weights), ("drawn", Trained::Drawn), ("adapter", adapter)] {
        let (straight, halting) = (folder.path().join(name), folder.path().join(format!("{name}-halting")));
        let mut plan = sft_plan(PAIRS, &straight, 6);
        plan.course.trained = trained;
        stages::sft(&plan);
        plan.course.out.clone_from(&halting);
        sft_until(&plan, 2);
        sft_until(&plan, 4);
        assert_eq!(stages::sft(&plan).n_resumed, 4);
        check_same(&straight, &halting);
        assert_eq!(is_adapter(&halting.join("policy")), name == "adapter");
        // The policy is whole: as a model, or added to the one it belongs to.
        if name == "adapter" {
            let out = folder.path().join("merged");
            train::merge(&MergePlan {
                adapter: halting,
                model: None,
                shard_bytes: DEFAULT_SHARD_BYTES,
                save_dtype: SaveDtype::Auto,
                out: out.clone(),
            })
            .unwrap();
            Decoder::load(&ModelSource::Folder(out), &Backend::cpu()).unwrap();
        } else {
            Decoder::load(&ModelSource::Folder(halting.join("policy")), &Backend::cpu()).unwrap();
        }
    }
}

/// A loss that is averaged over micro-batches would be another with each budget: they hold unlike numbers of tokens.
#[test]
fn the_loss_is_a_mean_over_tokens_however_a_step_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let run = |max_tokens: usize| {
        let out = folder.path().join(max_tokens.to_string());
        let mut plan = sft_plan(PAIRS, &out, 3);
        plan.course.max_tokens = NonZeroUsize::new(max_tokens).unwrap();
        stages::sft(&plan);
        metrics(&out)
    };
    let (apart, together) = (run(1), run(4096));
    for (apart, together) in apart.iter().zip(&together) {
        assert_close!([apart.loss], [together.loss], abs = 1e-5, "step {}, loss", apart.step);
        assert_close!([apart.grad_norm], [together.grad_norm], abs = 1e-4, "step {}, norm", apart.step);
        assert_eq!((apart.num_tokens, apart.n_learnt_tokens), (together.num_tokens, together.n_learnt_tokens));
    }
}

#[test]
fn the_gradient_is_that_of_the_loss() {
    let model = Decoder::load(&ModelSource::resolve("fixtures/tiny").unwrap(), &Backend::cpu()).unwrap();
    let ids: Vec<u32> = (0..40).map(|at| 300 + 7 * at).collect();
    let sequences = [
        SequenceIds { ids: &ids, scored: vec![3..9, 20..31] },
        SequenceIds { ids: &ids[5..], scored: std::iter::once(1..2).collect() },
    ];
    let loss = || sft::gradient(&model, &sequences, stages::passes(64)).unwrap();
    let found = loss();
    assert_eq!((found.n_learnt, found.n_tokens), (18, 75));
    // Along the gradient of one matrix, the slope is its squared norm.
    for name in
        ["model.embed_tokens.weight", "model.layers.1.mlp.up_proj.weight", "model.layers.2.self_attn.v_proj.weight"]
    {
        let id = model.params().id(name).unwrap();
        let gradient = found.gradients.get(id).unwrap();
        let squared = f64::from(gradient.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap());
        let theta = model.params().get(id).copy().unwrap();
        let at = |step: f64| {
            let moved = (&theta + (gradient * step).unwrap()).unwrap();
            let moved = moved.flatten_all().unwrap();
            let place = model.params().get(id).flatten_all().unwrap();
            place.slice_set(&moved, 0, 0).unwrap();
            loss().loss
        };
        let step = 2e-3 / squared.sqrt();
        let slope = (at(step) - at(-step)) / (2.0 * step);
        at(0.0);
        assert_close!([slope / squared], [1.0], abs = 0.02, "{name}");
    }
}

#[test]
fn a_text_is_learnt_from_nothing_and_its_blocks_have_one_length() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("seasons.txt");
    fs::write(&text, "Spring, summer, autumn, winter. ".repeat(200)).unwrap();
    let mut plan = sft_plan(&[text.to_str().unwrap()], &folder.path().join("run"), 30);
    plan.course.trained = Trained::Drawn;
    plan.course.learning_rate = 5e-3;
    plan.rules.max_length = 64;
    let summary = stages::sft(&plan);
    let steps = metrics(&plan.course.out);
    // All but the last block are full.
    for step in &steps {
        let n_full = step.n_learnt_tokens.div_ceil(63);
        assert_eq!(n_full, step.n_sequences, "{step:?}");
    }
    // Before it knows anything, every token of 1200 is about as likely.
    assert_close!([steps[0].loss], [1200_f64.ln()], abs = 0.2);
    assert!(steps[29].loss < 2.0, "loss {} of a text that repeats itself", steps[29].loss);
    assert_eq!(summary.n_learnt_tokens, summary.n_tokens - summary.n_sequences as u64);
}

#[test]
fn prompts_are_learnt_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let run = |masking| {
        let mut plan = sft_plan(PAIRS, &folder.path().join(format!("{masking:?}")), 1);
        plan.masking = masking;
        stages::sft(&plan)
    };
    let (answers, all) = (run(Masking::Prompts), run(Masking::Nothing));
    assert_eq!((answers.n_tokens, answers.n_sequences), (all.n_tokens, all.n_sequences));
    assert_eq!(all.n_learnt_tokens, all.n_tokens - all.n_sequences as u64);
    assert!(answers.n_learnt_tokens < all.n_learnt_tokens);
}

#[test]
fn other_data_or_another_start_is_another_run() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut plan = sft_plan(PAIRS, &out, 2);
    plan.course.trained = Trained::Drawn;
    stages::sft(&plan);
    let refused = |plan: &Plan| match sft::run(plan, &Interrupt::default(), &mut |_| {}) {
        Err(error) => error.to_string(),
        Ok(outcome) => panic!("{outcome:?}"),
    };
    let other = Plan { masking: Masking::Nothing, ..plan.clone() };
    assert!(refused(&other).contains("data_digest"), "{}", refused(&other));
    let mut other = plan.clone();
    other.course.seed += 1;
    assert!(refused(&other).contains("model_identity"), "{}", refused(&other));
    other.course.start = Start::Fresh;
    assert_eq!(stages::sft(&other).n_resumed, 0);
    assert_ne!(metrics(&out)[0].loss, 0.0);
}

#[test]
fn rejected_rows_are_counted_kept_and_too_many_of_them_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("a.jsonl");
    let good = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#;
    let unanswered = r#"{"messages": [{"role": "user", "content": "a"}]}"#;
    fs::write(&data, [good, unanswered, "{\"messages\": 3}", good].join("\n")).unwrap();
    let mut plan = sft_plan(&[data.to_str().unwrap()], &folder.path().join("run"), 1);
    plan.limit = NonZeroU64::new(3);
    let error = sft::run(&plan, &Interrupt::default(), &mut |_| {}).unwrap_err();
    let SftError::TooManyRejects(TooManyRejects::Malformed {
        n_rejected: 2, n_rows: 3, place, reason, rejects, ..
    }) = &error
    else {
        panic!("{error}")
    };
    assert!(place.ends_with("a.jsonl`, row 1 (line 2)"), "{place}");
    assert_eq!(reason, "it has no token to learn: no answer of the assistant");
    assert!(rejects.is_file() && error.hint().unwrap().contains("rejects.parquet"));
    plan.max_reject_rate = 0.7;
    let summary = stages::sft(&plan);
    assert_eq!((summary.n_rejected, summary.n_sequences), (2, 1));
    // Without a reject there is no file of them.
    fs::write(&data, good).unwrap();
    plan.course.start = Start::Fresh;
    assert_eq!(stages::sft(&plan).rejects, None);
    assert!(!plan.course.out.join("train/rejects.parquet").exists());
}

#[test]
fn the_command_trains_from_nothing_and_its_run_can_be_looked_at() {
    let case = Case::new();
    for name in ["tiny", "pairs"] {
        stages::copy_dir(&Path::new("fixtures").join(name), &case.path().join(name));
    }
    fs::remove_file(case.path().join("tiny/model.safetensors")).unwrap();
    let flags = ["--max-steps", "2", "--batch-size", "2", "--max-length", "256"];
    let data = ["--data", "tiny/corpus.txt", "--data", "pairs/conversational.jsonl"];
    let start = ["sft", "--init", "tiny", "--out", "run"];
    let said = case.run(start.into_iter().chain(data).chain(flags)).success().stderr;
    assert!(said.contains("read `tiny/corpus.txt` as one document"), "{said}");
    assert!(said.contains("step 2/2: loss ") && said.contains("policy: run/policy"), "{said}");

    let plan = fs::read_to_string(case.path().join("run/plan.toml")).unwrap();
    assert!(plan.contains("init = \"tiny\"") && plan.contains("learning_rate = 0.00002"), "{plan}");
    assert!(!plan.contains("rows_per_part"), "{plan}");
    let shown = case.run(["inspect", "run", "--output-format", "json"]).success().stdout;
    assert!(shown.contains("sft_metrics.v1") && shown.contains("cross_entropy"), "{shown}");
    let query = "SELECT step, n_sequences FROM metrics ORDER BY step";
    let rows = case.run(["sql", "run", "-c", query, "--format", "csv"]).success().stdout;
    assert_eq!(rows, "step,n_sequences\n1,2\n2,2\n");
    // What only training on pairs has is refused, not ignored.
    let refused = case.run(start.into_iter().chain(data).chain(["--beta", "0.2"]));
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("`train.loss` is set"), "{refused}");
    // The policy is a model: the next stage takes it.
    case.run(["precompute", "--model", "run/policy", "--data", "pairs/standard.jsonl", "--out", "table"]).success();
}
