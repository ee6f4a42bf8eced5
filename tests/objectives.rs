//! Every objective that the settings know is trained with: it starts at the value it has at the reference, and goes down.

use std::f64::consts::LN_2;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::Path;

use piref::loss::{BatchFacts, PairLogps, PairSums, PairTokens};
use piref::pipeline::{LossType, Pipeline, Settings};
use piref::table::{ReferenceTable, TokenLogps};
use piref::train::{self, StepMetrics};

use crate::support::stages;

/// A table of eight pairs, a batch.
fn table(folder: &Path) -> std::path::PathBuf {
    let mut plan = stages::precompute_plan(&folder.join("table"));
    if let piref::precompute::Pairs::Files { limit, .. } = &mut plan.pairs {
        *limit = NonZeroU64::new(8);
    }
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

/// Mean loss of the table's pairs for a policy that is the reference.
fn at_the_reference(plan: &train::Plan, folder: &Path) -> f64 {
    let pairs = ReferenceTable::open(&plan.table).unwrap().load_pairs(TokenLogps::Skip, folder).unwrap();
    let facts = BatchFacts::of(pairs.iter().map(|pair| pair.chosen_ids.len()));
    let losses = pairs.iter().map(|pair| {
        let logps = PairLogps { chosen: pair.ref_chosen_logps, rejected: pair.ref_rejected_logps };
        let tokens = PairTokens { chosen: pair.chosen_ids.len(), rejected: pair.rejected_ids.len() };
        plan.objective.loss(&PairSums { policy: logps, reference: logps, tokens }, facts).value
    });
    losses.sum::<f64>() / pairs.len() as f64
}

/// The value at the reference of those that have one whatever the text is, at β = 0.1.
fn start(loss_type: LossType) -> Option<f64> {
    match loss_type {
        LossType::Sigmoid | LossType::Robust | LossType::SigmoidNorm | LossType::Dpop => Some(LN_2),
        LossType::Hinge | LossType::ApoZero | LossType::ApoDown => Some(1.0),
        LossType::Ipo | LossType::IpoSum => Some(25.0),
        LossType::ExoPair => Some(-LN_2 - 0.5 * (1e-3_f64 * (1.0 - 1e-3)).ln()),
        LossType::NcaPair | LossType::BcoPair => Some(2.0 * LN_2),
        LossType::SppoHard => Some(50.0),
        LossType::Discopop => Some(0.5 * LN_2 + 0.5),
        // Values of the text.
        LossType::Sft
        | LossType::Simpo
        | LossType::Cpo
        | LossType::Orpo
        | LossType::Alphapo
        | LossType::Slic
        | LossType::PreferredFt
        | LossType::Unlikelihood => None,
    }
}

const LOSS_TYPES: [&str; 22] = [
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
];

#[test]
fn every_loss_type_starts_at_its_own_value_and_goes_down() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path());
    for word in LOSS_TYPES {
        let smoothing = match word {
            "exo_pair" => "label_smoothing = 0.001",
            "robust" => "label_smoothing = 0.1",
            _ => "",
        };
        let plan = plan(&format!("loss_type = '{word}'\n{smoothing}"), &table, &folder.path().join(word));
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
fn a_sum_with_a_token_mean_does_not_depend_on_the_cut_of_a_batch() {
    let folder = tempfile::tempdir().unwrap();
    let table = table(folder.path());
    let mpo = "loss_type = ['sigmoid', 'bco_pair', 'sft']\nloss_weights = [0.8, 0.2, 1.0]";
    let mut found = Vec::new();
    for (name, max_tokens) in [("cut", 1), ("whole", 100_000)] {
        let mut plan = plan(mpo, &table, &folder.path().join(name));
        plan.max_tokens = NonZeroUsize::new(max_tokens).unwrap();
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
