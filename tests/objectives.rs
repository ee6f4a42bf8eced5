//! Every objective that the settings know is trained with: it starts at the value it has at the reference, and goes down.

use std::f64::consts::LN_2;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};

use piref::batch::{MicroBatch, PairIds};
use piref::checkpoint;
use piref::error::Hint;
use piref::interrupt::Interrupt;
use piref::logprob;
use piref::loss::{
    BatchFacts, ObjectiveState, PairInputs, PairLogps, PairScores, PairSums, PairTokenLogps, PairTokens,
};
use piref::model::{Decoder, Keep};
use piref::model_source::ModelSource;
use piref::ops::Backend;
use piref::pipeline::{LossType, Pipeline, Settings};
use piref::precompute::Pairs;
use piref::table::{ReferenceTable, TokenLogps, TrainingPair, TrainingPairs};
use piref::train::{self, StepMetrics};

use crate::support::stages::{self, files};

/// A table of eight pairs, a batch.
fn table(folder: &Path) -> PathBuf {
    let mut plan = stages::precompute_plan(&folder.join("table"));
    if let Pairs::Files { limit, .. } = &mut plan.pairs {
        *limit = NonZeroU64::new(8);
    }
    stages::precompute(&plan);
    plan.out
}

/// A table of pairs with scores in `score_chosen` and `score_rejected`, and of what else is in `files`.
fn scored_table(folder: &Path, files: &[&str], limit: Option<NonZeroU64>) -> PathBuf {
    let mut plan = stages::precompute_plan(&folder.join("scored"));
    let paths = files.iter().map(|name| Path::new("fixtures/pairs").join(name)).collect();
    plan.pairs = Pairs::Files { paths, limit };
    stages::precompute(&plan);
    plan.out
}

/// A plan from settings as a user writes them: four steps over the same eight pairs.
fn plan(loss: &str, table: &Path, out: &Path) -> train::Plan {
    let mut flags = Settings { model: Some("fixtures/tiny".into()), ..Settings::default() };
    flags.train.loss = toml::from_str(loss).unwrap();
    flags.train.batch_size = NonZeroUsize::new(8);
    flags.train.max_steps = NonZeroU64::new(4);
    flags.train.logging_steps = NonZeroU64::new(1);
    flags.train.learning_rate = Some(1e-5.try_into().unwrap());
    flags.train.shuffle = Some(false);
    Pipeline::from_flags(&flags).unwrap().train_plan(Some(table), Some(out), train::Start::Fresh).unwrap()
}

fn run(plan: &train::Plan) -> (StepMetrics, StepMetrics) {
    let summary = stages::train(plan);
    (summary.first.unwrap(), summary.last.unwrap())
}

fn load(plan: &train::Plan, folder: &Path) -> TrainingPairs {
    let table = ReferenceTable::open(&plan.table).unwrap();
    match &plan.score_columns {
        None => table.load_pairs(TokenLogps::Load, folder).unwrap(),
        Some(columns) => table.load_pairs_with_scores(TokenLogps::Load, columns, folder).unwrap(),
    }
}

/// A pair under a policy that is the reference.
fn at_reference<'a>(pair: &TrainingPair<'a>) -> PairInputs<'a> {
    let logps = PairLogps { chosen: pair.ref_chosen_logps, rejected: pair.ref_rejected_logps };
    let tokens = PairTokens { chosen: pair.chosen_ids.len(), rejected: pair.rejected_ids.len() };
    let terms = pair.ref_token_logps.map(|terms| PairTokenLogps { chosen: terms.chosen, rejected: terms.rejected });
    PairInputs {
        policy_tokens: terms,
        reference_tokens: terms,
        scores: pair.scores.map(|scores| PairScores { chosen: scores.chosen, rejected: scores.rejected }),
        ..PairInputs::of_sums(PairSums { policy: logps, reference: logps, tokens })
    }
}

/// Mean loss of the table's pairs, which are one batch, for a policy that is the reference.
fn at_the_reference(plan: &train::Plan, folder: &Path) -> f64 {
    let pairs = load(plan, folder);
    let facts = BatchFacts::of(pairs.iter().map(|pair| pair.chosen_ids.len()));
    let inputs: Vec<PairInputs<'_>> = pairs.iter().map(|pair| at_reference(&pair)).collect();
    let losses = plan.objective.losses(&inputs, facts, &mut ObjectiveState::default()).unwrap();
    losses.iter().map(|loss| loss.value).sum::<f64>() / losses.len() as f64
}

/// The value at the reference of those that have one whatever the text is, at β = 0.1.
fn start(loss_type: LossType) -> Option<f64> {
    match loss_type {
        LossType::Sigmoid
        | LossType::Robust
        | LossType::SigmoidNorm
        | LossType::Dpop
        | LossType::Aot
        | LossType::AotUnpaired
        | LossType::DrDpo => Some(LN_2),
        LossType::Hinge | LossType::ApoZero | LossType::ApoDown => Some(1.0),
        LossType::Ipo | LossType::IpoSum => Some(25.0),
        LossType::ExoPair => Some(-LN_2 - 0.5 * (1e-3_f64 * (1.0 - 1e-3)).ln()),
        LossType::NcaPair | LossType::BcoPair => Some(2.0 * LN_2),
        LossType::SppoHard => Some(50.0),
        LossType::Discopop => Some(0.5 * LN_2 + 0.5),
        // Values of the text, or of its scores.
        LossType::Sft
        | LossType::Simpo
        | LossType::Cpo
        | LossType::Orpo
        | LossType::Alphapo
        | LossType::Slic
        | LossType::PreferredFt
        | LossType::Unlikelihood
        | LossType::Wpo
        | LossType::RpoSq
        | LossType::RpoBwdKl
        | LossType::RpoFwdKl => None,
    }
}

const LOSS_TYPES: [&str; 29] = [
    "sigmoid",
    "hinge",
    "ipo",
    "ipo_sum",
    "exo_pair",
    "nca_pair",
    "robust",
    "bco_pair",
    "sppo_hard",
    "apo_zero",
    "apo_down",
    "discopop",
    "sft",
    "sigmoid_norm",
    "dpop",
    "simpo",
    "cpo",
    "orpo",
    "alphapo",
    "slic",
    "preferred_ft",
    "unlikelihood",
    "aot",
    "aot_unpaired",
    "dr_dpo",
    "wpo",
    "rpo_sq",
    "rpo_bwd_kl",
    "rpo_fwd_kl",
];

const SCORES: &str = "chosen_score_column = 'score_chosen'\nrejected_score_column = 'score_rejected'";

#[test]
fn every_loss_type_starts_at_its_own_value_and_goes_down() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, scored) =
        (table(folder.path()), scored_table(folder.path(), &["ultrafeedback.jsonl.zst"], NonZeroU64::new(8)));
    for word in LOSS_TYPES {
        let more = match word {
            "exo_pair" => "label_smoothing = 0.001",
            "robust" | "aot" => "label_smoothing = 0.1",
            _ if word.starts_with("rpo_") => SCORES,
            _ => "",
        };
        let table = if word.starts_with("rpo_") { &scored } else { &plain };
        let plan = plan(&format!("loss_type = '{word}'\n{more}"), table, &folder.path().join(word));
        let (first, last) = run(&plan);
        let want = at_the_reference(&plan, folder.path());
        let is_near = |want: f64| (first.loss - want).abs() <= 1e-9 * want.abs().max(1.0);
        assert!(is_near(want), "{word}: starts at {}, expected {want}", first.loss);
        let loss_type: LossType = serde_json::from_value(word.into()).unwrap();
        assert!(start(loss_type).is_none_or(is_near), "{word}: starts at {}", first.loss);
        assert!(last.loss < first.loss, "{word}: from {} to {}", first.loss, last.loss);
        assert_eq!((first.rewards_margins, first.n_pairs), (0.0, 8), "{word}: rewards are against the reference");
    }
}

#[test]
fn settings_of_tokens_and_of_steps_are_trained_with() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path());
    for (name, loss, start) in [
        ("ld", "ld_alpha = 0.25", LN_2),
        ("humanline", "humanline = true\nlog_epsilon_p = -0.5", LN_2),
        ("shift", "loss_type = 'bco_pair'\nbco_shift = true", 2.0 * LN_2),
        ("both", "loss_type = ['aot', 'sigmoid']\nloss_weights = [0.5, 1.0]\nld_alpha = 0.5", 1.5 * LN_2),
    ] {
        let plan = plan(loss, &table, &folder.path().join(name));
        let (first, last) = run(&plan);
        assert!((first.loss - start).abs() < 1e-9, "{name}: starts at {}", first.loss);
        assert!(last.loss < first.loss, "{name}: from {} to {}", first.loss, last.loss);
    }
}

#[test]
fn pairs_are_weighted_by_how_likely_the_policy_is_to_write_them() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path());
    let plan = plan("use_weighting = true", &table, &folder.path().join("run"));
    let (first, _) = run(&plan);

    let model = Decoder::load(&ModelSource::resolve("fixtures/tiny").unwrap(), &Backend::cpu()).unwrap();
    let pairs = load(&plan, folder.path());
    let weights = pairs.iter().map(|pair| {
        let ids = PairIds { prompt: pair.prompt_ids, chosen: pair.chosen_ids, rejected: pair.rejected_ids };
        let batch = MicroBatch::of(ids).lay_out().unwrap();
        let scored = logprob::token_logps_with_collisions(&model, &batch, Keep::Nothing).unwrap();
        let (logps, collisions) = (&scored.logps, scored.collisions.as_ref().unwrap());
        let mean = |tokens: &std::ops::Range<usize>| {
            let aligned = tokens.clone().map(|token| f64::from(logps[token]) - f64::from(collisions[token]));
            aligned.sum::<f64>() / tokens.len() as f64
        };
        batch.scored.sequences.iter().map(mean).sum::<f64>().exp()
    });
    let weights: Vec<f64> = weights.collect();
    let want = LN_2 * weights.iter().sum::<f64>() / weights.len() as f64;
    assert!((first.loss - want).abs() < 1e-9 * want.max(1.0), "{} is not {want}, of weights {weights:?}", first.loss);
    assert!(first.grad_norm > 0.0 && weights.iter().all(|weight| *weight > 0.0 && *weight != 1.0));
}

#[test]
fn a_sum_with_a_token_mean_does_not_depend_on_the_cut_of_a_batch() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path());
    let mpo = "loss_type = ['sigmoid', 'bco_pair', 'sft']\nloss_weights = [0.8, 0.2, 1.0]";
    let mut found = Vec::new();
    for (name, max_tokens) in [("cut", 1), ("whole", 100_000)] {
        let mut plan = plan(mpo, &table, &folder.path().join(name));
        plan.course.max_tokens = NonZeroUsize::new(max_tokens).unwrap();
        found.push(run(&plan).0);
    }
    assert_eq!(found[0].loss, found[1].loss);
    assert!((found[0].grad_norm / found[1].grad_norm - 1.0).abs() < 1e-4, "{found:?}");
}

#[test]
fn divergences_and_a_uniform_baseline_are_trained_with() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path());
    for (name, loss) in [
        ("js", "f_divergence_type = 'js_divergence'"),
        ("alpha", "f_divergence_type = 'alpha_divergence'\nf_alpha_divergence_coef = 0.25"),
        ("free", "reference_free = true"),
    ] {
        let plan = plan(loss, &table, &folder.path().join(name));
        let (first, last) = run(&plan);
        assert!((first.loss - at_the_reference(&plan, folder.path())).abs() < 1e-9, "{name}: {}", first.loss);
        assert!(last.loss < first.loss, "{name}: from {} to {}", first.loss, last.loss);
    }
}

/// The running mean of a resumed run is that of one that was not interrupted.
#[test]
fn what_an_objective_remembers_is_resumed_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path());
    let shift = "loss_type = 'bco_pair'\nbco_shift = true";
    let straight = stages::with(plan(shift, &table, &folder.path().join("straight")), |changed| {
        changed.course.start = train::Start::Resume;
        changed.course.learning_rate = 1e-3;
        changed.course.batch_size = NonZeroUsize::new(3).unwrap();
        // Several passes a step, so that it is stopped between two of them too.
        changed.course.max_tokens = NonZeroUsize::new(64).unwrap();
    });
    stages::train(&straight);
    let plan = stages::with(straight.clone(), |changed| changed.course.out = folder.path().join("resumed"));
    for step in [1, 3] {
        let at = stages::train_until(&plan, step);
        let state = checkpoint::Checkpoint::open(&at.checkpoint.unwrap()).unwrap().state().objective;
        assert_eq!(state.bco_shift.n_batches, step);
    }
    stages::train(&plan);
    for part in ["policy", "train/checkpoints"] {
        assert!(files(&straight.course.out.join(part)) == files(&plan.course.out.join(part)), "`{part}` differs");
    }
    let newest = checkpoint::newest(&plan.course.out.join("train/checkpoints")).unwrap().unwrap();
    let shift = newest.state().objective.bco_shift;
    assert!(shift.n_batches == 4 && shift.mean != 0.0, "{shift:?}");
}

#[track_caller]
fn refused(plan: &train::Plan) -> (String, String) {
    let error = train::run(plan, &Interrupt::default(), &mut |_| {}).unwrap_err();
    assert!(!plan.course.out.join(train::METRICS).exists(), "no step may be made");
    (error.to_string(), error.hint().unwrap_or_default())
}

#[test]
fn a_table_without_log_probs_of_tokens_is_refused_by_an_objective_of_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path());
    // As an imported table is: sums without their terms.
    stages::shift_logps(&table, 0.0);
    for (name, loss) in [("ld", "ld_alpha = 0.5"), ("humanline", "humanline = true")] {
        let (message, hint) = refused(&plan(loss, &table, &folder.path().join(name)));
        let want = "expected the log-prob of every token in `ref_chosen_token_logps`, found null";
        assert!(message.ends_with(want), "{message}");
        assert!(hint.contains("an imported table has only sums"), "{hint}");
    }
    run(&plan("", &table, &folder.path().join("sums")));
}

#[test]
fn scores_that_are_not_there_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let plain = table(folder.path());
    let rpo = format!("loss_type = 'rpo_sq'\n{SCORES}");
    let (message, _) = refused(&plan(&rpo, &plain, &folder.path().join("no column")));
    assert!(message.ends_with("has no column `score_chosen`"), "{message}");

    let mixed = scored_table(folder.path(), &["ultrafeedback.jsonl.zst", "openai.jsonl"], None);
    let (message, hint) = refused(&plan(&rpo, &mixed, &folder.path().join("null")));
    assert!(message.ends_with("expected a finite number in score column `score_chosen`, found null"), "{message}");
    assert!(hint.contains("needs both of every pair"), "{hint}");
    let typo = rpo.replace("'score_rejected'", "'score_rejectd'");
    let (_, hint) = refused(&plan(&typo, &mixed, &folder.path().join("typo")));
    assert_eq!(hint, "did you mean `score_rejected`?");

    let nameless =
        stages::with(plan(&rpo, &mixed, &folder.path().join("nameless")), |changed| changed.score_columns = None);
    let (message, hint) = refused(&nameless);
    assert!(message.contains("no columns of them are named") && hint.contains("--chosen-score-column"), "{message}");
}
