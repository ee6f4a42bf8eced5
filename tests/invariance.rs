//! What must not change a result: interruption, the cut into micro-batches, the neighbours of a pair.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use piref::batch::{Group, GroupBatch};
use piref::interrupt::Interrupt;
use piref::logprob;
use piref::model::{Decoder, Keep, ScoringDtype};
use piref::model_source::ModelSource;
use piref::ops::Backend;
use piref::table::{MANIFEST, Manifest, ReferenceTable, TokenLogps};
use piref::train::{Event, StepMetrics};
use piref::{precompute, train};

use crate::support::assert_close;
use crate::support::stages::{self, files};

/// The metrics of a run, without the two that measure time.
fn metrics(run: &Path) -> Vec<StepMetrics> {
    let text = fs::read_to_string(run.join(train::METRICS)).unwrap();
    let timeless = |metrics: StepMetrics| StepMetrics { tokens_per_second: 0.0, step_seconds: 0.0, ..metrics };
    text.lines().map(|line| timeless(serde_json::from_str(line).unwrap())).collect()
}

#[test]
fn an_interrupted_table_ends_with_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let plan = stages::precompute_plan(&folder.path().join("table"));
    let straight = stages::precompute(&plan);
    assert_eq!((straight.n_pairs, straight.n_scored, straight.n_resumed), (40, 40, 0));
    let want = files(&plan.out);

    // As a kill after the first part leaves it: no manifest, the other parts not there.
    for name in [MANIFEST, "part-00001.parquet", "part-00002.parquet"] {
        fs::remove_file(plan.out.join(name)).unwrap();
    }
    let resumed = stages::precompute(&plan);
    assert_eq!((resumed.n_scored, resumed.n_resumed), (24, 16));
    assert!(files(&plan.out) == want, "the resumed table has other bytes");

    let again = stages::precompute(&plan);
    assert_eq!((again.n_scored, again.n_resumed), (0, 40));
    assert!(files(&plan.out) == want, "a finished table was changed");
}

#[test]
fn other_data_in_the_same_folder_is_scored_again() {
    let folder = tempfile::tempdir().unwrap();
    let plan = stages::precompute_plan(&folder.path().join("table"));
    stages::precompute(&plan);
    let pairs = precompute::Pairs::Files { paths: vec!["fixtures/pairs/openai.jsonl".into()], limit: None };
    let other = precompute::Plan { pairs, ..plan.clone() };
    let summary = stages::precompute(&other);
    assert_eq!((summary.n_scored, summary.n_pairs), (10, 10));
    assert_eq!(Manifest::load(&plan.out).unwrap().parts.len(), 1);
    assert_eq!(files(&plan.out).iter().filter(|(name, _)| name.starts_with("part-00001.parquet")).count(), 0);
}

#[test]
fn resume_after_kill_matches_straight_run() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    stages::precompute(&stages::precompute_plan(&table));
    let straight = stages::train_plan(&table, &folder.path().join("straight"));
    stages::train(&straight);

    // As a kill after step 5 leaves it: a checkpoint of step 3, metrics up to step 5, the last line cut short.
    let resumed = stages::with(straight.clone(), |changed| changed.course.out = folder.path().join("resumed"));
    stages::train(&resumed);
    fs::remove_dir_all(resumed.course.out.join("train/checkpoints/step-6")).unwrap();
    fs::remove_dir_all(resumed.course.out.join("policy")).unwrap();
    let path = resumed.course.out.join(train::METRICS);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, &text[..text.len() - 20]).unwrap();
    let summary = stages::train(&resumed);

    assert_eq!((summary.n_resumed, summary.n_steps), (3, 6));
    assert_eq!(metrics(&straight.course.out), metrics(&resumed.course.out));
    for part in ["policy", "train/checkpoints"] {
        assert!(files(&straight.course.out.join(part)) == files(&resumed.course.out.join(part)), "`{part}` differs");
    }
}

/// Files of a run but for the metrics, whose timing differs.
fn timeless(run: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    files(run).into_iter().filter(|(name, _)| name != Path::new(train::METRICS)).collect()
}

#[test]
fn interrupted_runs_end_as_one_that_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    stages::precompute(&stages::precompute_plan(&table));
    let straight = stages::train_plan(&table, &folder.path().join("straight"));
    stages::train(&straight);

    let plan = stages::with(straight.clone(), |changed| changed.course.out = folder.path().join("interrupted"));
    for step in [1, 2, 3, 5] {
        let at = stages::train_until(&plan, step);
        assert_eq!((at.step, at.n_steps), (step, 6));
        assert_eq!(at.checkpoint, Some(plan.course.out.join(format!("train/checkpoints/step-{step}"))));
        assert!(!plan.course.out.join("policy").exists());
    }
    let summary = stages::train(&plan);
    assert_eq!((summary.n_resumed, summary.n_steps), (5, 6));
    assert_eq!(metrics(&straight.course.out), metrics(&plan.course.out));
    assert!(
        timeless(&straight.course.out) == timeless(&plan.course.out),
        "the runs differ: {:?}",
        names(&plan.course.out)
    );
}

fn names(folder: &Path) -> Vec<std::path::PathBuf> {
    files(folder).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn a_run_that_is_asked_to_stop_before_its_first_step_has_made_none() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    stages::precompute(&stages::precompute_plan(&table));
    let plan = stages::train_plan(&table, &folder.path().join("run"));
    let interrupt = Interrupt::default();
    interrupt.set();
    let outcome = train::run(&plan, &interrupt, &mut |_| {}).unwrap();
    assert!(matches!(outcome, train::Outcome::Interrupted(train::Interruption { step: 0, checkpoint: None, .. })));
    assert_eq!(stages::train(&plan).n_resumed, 0);
}

/// Between two passes the step is given up: what is saved is the step before it, and what the objective remembers of it.
#[test]
fn a_step_that_is_given_up_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    stages::precompute(&stages::precompute_plan(&table));
    for (name, objective) in [("of pairs", stages::sigmoid()), ("of the batch", stages::bco_shifted())] {
        let mut straight = stages::train_plan(&table, &folder.path().join(format!("straight, {name}")));
        straight.course.max_tokens = NonZeroUsize::new(64).unwrap();
        straight.objective = objective;
        stages::train(&straight);
        let plan = stages::with(straight.clone(), |changed| changed.course.out = folder.path().join(name));

        let interrupt = Interrupt::default();
        let outcome = std::thread::scope(|scope| {
            scope.spawn(|| {
                // Some moment of the run, which is another each time: the result may not depend on it.
                while !plan.course.out.join(train::METRICS).exists() {
                    std::thread::yield_now();
                }
                interrupt.set();
            });
            train::run(&plan, &interrupt, &mut |_| {}).unwrap()
        });
        if let train::Outcome::Interrupted(at) = outcome {
            assert!(at.step < 6);
            assert_eq!(metrics(&plan.course.out).len() as u64, at.step);
            stages::train(&plan);
        }
        assert_eq!(metrics(&straight.course.out), metrics(&plan.course.out));
        assert!(
            timeless(&straight.course.out) == timeless(&plan.course.out),
            "the runs differ: {:?}",
            names(&plan.course.out)
        );
    }
}

/// As kills in the midst of a replacement leave it: the policy gone or half there, a checkpoint half written.
#[test]
fn a_finished_run_writes_its_policy_again_and_clears_what_kills_left() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    stages::precompute(&stages::precompute_plan(&table));
    let plan = stages::train_plan(&table, &folder.path().join("run"));
    stages::train(&plan);
    let want = files(&plan.course.out);

    fs::rename(plan.course.out.join("policy"), plan.course.out.join(".policy.removed")).unwrap();
    fs::create_dir(plan.course.out.join(".policy.partial")).unwrap();
    fs::create_dir_all(plan.course.out.join("train/checkpoints/.step-9.partial")).unwrap();
    fs::write(plan.course.out.join("train/.piref.lock"), "process 1\n").unwrap();
    let summary = stages::train(&plan);
    assert_eq!((summary.n_resumed, summary.last), (6, None));
    assert!(files(&plan.course.out) == want, "the run differs: {:?}", names(&plan.course.out));
    let mut entries: Vec<_> = fs::read_dir(&plan.course.out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    entries.sort();
    assert_eq!(entries, ["policy", "train"]);
}

#[test]
fn a_changed_setting_is_not_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    stages::precompute(&stages::precompute_plan(&table));
    let plan = stages::train_plan(&table, &folder.path().join("run"));
    stages::train(&plan);
    let changed = stages::with(plan, |changed| changed.course.learning_rate = 2e-3);
    let error = train::run(&changed, &Interrupt::default(), &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("`learning_rate` was `0.001`, now it is `0.002`"), "{error}");
    stages::train(&stages::with(changed, |changed| changed.course.start = train::Start::Fresh));
}

#[test]
fn the_token_budget_changes_neither_stage() {
    let folder = tempfile::tempdir().unwrap();
    let mut tables = Vec::new();
    for (name, max_tokens) in [("small", 64), ("large", 100_000)] {
        let mut plan = stages::precompute_plan(&folder.path().join(name));
        plan.max_tokens = NonZeroUsize::new(max_tokens).unwrap();
        stages::precompute(&plan);
        let pairs = ReferenceTable::open(&plan.out).unwrap().load_pairs(TokenLogps::Skip, folder.path()).unwrap();
        tables.push(pairs.iter().flat_map(|pair| [pair.ref_chosen_logps, pair.ref_rejected_logps]).collect::<Vec<_>>());
    }
    assert_eq!(tables[0], tables[1], "log-probs of the table");

    let table = folder.path().join("large");
    let mut runs = Vec::new();
    for (name, max_tokens) in [("cut", 64), ("whole", 100_000)] {
        let mut plan = stages::train_plan(&table, &folder.path().join("run").join(name));
        plan.course.max_tokens = NonZeroUsize::new(max_tokens).unwrap();
        stages::train(&plan);
        runs.push(metrics(&plan.course.out));
    }
    let column = |run: &[StepMetrics], of: fn(&StepMetrics) -> f64| run.iter().map(of).collect::<Vec<_>>();
    // Before the first update both policies are the same. Gradients are sums over pairs, in the order of the cut.
    assert_eq!(runs[0][0].loss, runs[1][0].loss);
    assert_close!(column(&runs[0], |step| step.loss), column(&runs[1], |step| step.loss), abs = 1e-4, "loss");
    let norms = runs.iter().map(|run| column(run, |step| step.grad_norm.ln())).collect::<Vec<_>>();
    assert_close!(norms[0], norms[1], abs = 1e-3, "logarithm of grad_norm");
}

/// Policy and reference share one log-prob function: at the start they agree to the bit, whatever the budgets of the two
/// stages, and the loss is ln 2.
#[test]
fn a_run_that_starts_at_its_reference_has_margin_zero() {
    for dtype in [ScoringDtype::F32, ScoringDtype::Bf16] {
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("table");
        stages::precompute(&precompute::Plan { dtype, ..stages::precompute_plan(&table) });
        let mut plan = stages::train_plan(&table, &folder.path().join("run"));
        (plan.course.dtype, plan.course.max_tokens) = (dtype, NonZeroUsize::new(1).unwrap());
        let mut checked = None;
        train::run(&plan, &Interrupt::default(), &mut |event| {
            if let Event::Checked { n_pairs, max_delta, .. } = event {
                checked = Some((n_pairs, max_delta));
            }
        })
        .unwrap();
        assert_eq!(checked, Some((8, 0.0)), "{dtype}");
        let first = &metrics(&plan.course.out)[0];
        assert_eq!((first.rewards_margins, first.displacement, first.learning_rate), (0.0, 0.0, 0.0), "{dtype}");
        assert_close!([first.loss], [std::f64::consts::LN_2], abs = 1e-15);
    }
}

/// A pair as numbers of tokens: prompt, chosen, rejected.
type Lengths = (usize, usize, usize);

/// Around the sizes of tiles, panels and tasks of the kernels, and far from them.
const LENGTHS: &[Lengths] =
    &[(1, 1, 1), (5, 1, 40), (31, 33, 2), (97, 12, 13), (32, 100, 96), (11, 1, 1), (64, 7, 130), (3, 20, 20)];

/// Log-probs of all completion tokens of some pairs in one forward pass.
fn score(model: &Decoder, pairs: &[Group<'_>]) -> Vec<Vec<f32>> {
    let batch = GroupBatch::new(pairs).unwrap();
    let scored = logprob::token_logps(model, &batch, Keep::Nothing).unwrap();
    batch.scored.sequences.iter().map(|tokens| scored.logps[tokens.clone()].to_vec()).collect()
}

fn on_threads<R: Send>(n_threads: usize, f: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap().install(f)
}

/// Bit for bit, in every decoder family and precision: alone, among others, last, with one completion only, on 1, 2 and 3 threads.
#[test]
fn a_pair_scores_the_same_in_any_company() {
    let folders = fs::read_dir("fixtures/architectures").unwrap().map(|entry| entry.unwrap().path());
    let models: Vec<_> = folders.filter(|path| path.is_dir()).chain(["fixtures/tiny".into()]).collect();
    assert!(models.len() > 5, "{models:?}");
    let dtypes = [ScoringDtype::F32, ScoringDtype::Bf16];
    for (folder, dtype) in models.iter().flat_map(|folder| dtypes.map(|dtype| (folder, dtype))) {
        let source = ModelSource::resolve(folder.to_str().unwrap()).unwrap();
        let model = Decoder::load(&source, &Backend::cpu()).unwrap().with_dtype(dtype);
        let name = format!("{}, {dtype}", folder.display());
        let size = u32::try_from(model.config().vocab_size).unwrap();
        let ids: Vec<u32> = (0..600).map(|i: u32| (i * i * 7 + i * 31) % size).collect();
        let pairs: Vec<Group<'_>> = LENGTHS
            .iter()
            .enumerate()
            .map(|(index, &(prompt, chosen, rejected))| {
                let ids = &ids[index * 29..];
                Group { prompt: &ids[..prompt], completions: vec![&ids[7..7 + chosen], &ids[50..50 + rejected]] }
            })
            .collect();
        let together = on_threads(1, || score(&model, &pairs));
        for n_threads in [2, 3] {
            assert!(on_threads(n_threads, || score(&model, &pairs)) == together, "{name}, {n_threads} threads");
        }
        let reversed: Vec<Group<'_>> = pairs.iter().rev().cloned().collect();
        let mut reversed = score(&model, &reversed);
        for (index, pair) in pairs.iter().enumerate() {
            let want = &together[2 * index..2 * index + 2];
            assert!(score(&model, std::slice::from_ref(pair)) == want, "{name}, pair {index} alone");
            let rejected = reversed.pop().unwrap();
            assert!([reversed.pop().unwrap(), rejected] == want, "{name}, pair {index} at another place");
            for (completion, want) in pair.completions.iter().zip(want) {
                let group = Group { prompt: pair.prompt, completions: vec![completion] };
                assert!(score(&model, &[group]) == [want.clone()], "{name}, pair {index}, one completion");
            }
        }
    }
}
