//! Every objective of TRL's DPO trainer, and those of its CPO and ORPO trainers: values and slopes. Numbers by
//! `fixtures/golden/losses.py`.

use std::collections::BTreeMap;

use piref::loss::{
    Baseline, BatchFacts, BatchObjective, BatchTerm, Beta, CompletionRule, Divergence, LabelSmoothing, LossWeight,
    Objective, ObjectiveState, PairInputs, PairLogps, PairSlopes, PairSums, PairTokenLogps, PairTokens, Scope, Slope,
    Term, Weighting,
};
use serde::Deserialize;

use crate::support::golden;

/// TRL in float64: a few roundings.
const F64: Tolerance = Tolerance { relative: 1e-11, absolute: 1e-14 };
/// TRL in float32, a rounding of which is 6e-8: the margin, up to 10 here, takes a handful of them.
const F32: Tolerance = Tolerance { relative: 1e-6, absolute: 1e-6 };

#[derive(Clone, Copy)]
struct Tolerance {
    relative: f64,
    absolute: f64,
}

#[derive(Deserialize)]
pub(super) struct Golden {
    pub(super) inputs: BTreeMap<String, Vec<Pair>>,
    dpo: Vec<DpoCase>,
    reference_free: Vec<ReferenceFreeCase>,
}

#[derive(Deserialize)]
pub(super) struct Pair {
    pub(super) chosen: Sequence,
    pub(super) rejected: Sequence,
}

#[derive(Deserialize)]
pub(super) struct Sequence {
    pub(super) policy: Vec<f32>,
    pub(super) reference: Vec<f32>,
    pub(super) collisions: Vec<f32>,
}

#[derive(Deserialize)]
struct DpoCase {
    settings: Settings,
    inputs: String,
    mode: Mode,
    dtype: String,
    values: Vec<f64>,
    d_chosen: Vec<GoldenSlope>,
    d_rejected: Vec<GoldenSlope>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    loss_type: Vec<String>,
    loss_weights: Option<Vec<f64>>,
    beta: Option<f64>,
    #[serde(default)]
    label_smoothing: f64,
    discopop_tau: Option<f64>,
    f_divergence_type: Option<String>,
    f_alpha_divergence_coef: Option<f64>,
    ld_alpha: Option<f64>,
    #[serde(default)]
    use_weighting: bool,
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// Each pair alone.
    Pairs,
    /// All pairs at once.
    Batch,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum GoldenSlope {
    Sequence(f64),
    FirstAndLast(f64, f64),
}

#[derive(Deserialize)]
struct ReferenceFreeCase {
    trainer: String,
    settings: ReferenceFreeSettings,
    inputs: String,
    is_mean: bool,
    dtype: String,
    values: Vec<f64>,
    d_chosen: Vec<f64>,
    d_rejected: Vec<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReferenceFreeSettings {
    loss_type: String,
    beta: f64,
    label_smoothing: f64,
    alpha: f64,
    simpo_gamma: f64,
}

#[track_caller]
fn check(got: f64, want: f64, tolerance: Tolerance, context: &str) {
    let allowed = tolerance.relative * want.abs() + tolerance.absolute;
    assert!((got - want).abs() <= allowed, "{context}: {got:e} is not {want:e}, off by {:e}", (got - want).abs());
}

fn tolerance(dtype: &str) -> Tolerance {
    match dtype {
        "float64" => F64,
        "float32" => F32,
        other => panic!("unknown dtype {other}"),
    }
}

fn sum(logps: &[f32]) -> f64 {
    logps.iter().copied().map(f64::from).sum()
}

pub(super) fn inputs(pair: &Pair) -> PairInputs<'_> {
    let Pair { chosen, rejected } = pair;
    let logps = |of: fn(&Sequence) -> &Vec<f32>| PairLogps { chosen: sum(of(chosen)), rejected: sum(of(rejected)) };
    let tokens = PairTokens { chosen: chosen.policy.len(), rejected: rejected.policy.len() };
    PairInputs {
        sums: PairSums { policy: logps(|side| &side.policy), reference: logps(|side| &side.reference), tokens },
        policy_tokens: Some(PairTokenLogps { chosen: &chosen.policy, rejected: &rejected.policy }),
        reference_tokens: Some(PairTokenLogps { chosen: &chosen.reference, rejected: &rejected.reference }),
        collisions: Some(logps(|side| &side.collisions)),
        scores: None,
    }
}

/// A term, on sums or on the batch.
enum AnyTerm {
    Sums(Term),
    Batch(BatchTerm),
}

fn term(name: &str, settings: &Settings) -> AnyTerm {
    let smoothing = || LabelSmoothing::try_from(settings.label_smoothing).unwrap();
    AnyTerm::Sums(match name {
        "sigmoid" => Term::Sigmoid { label_smoothing: LabelSmoothing::default() },
        "hinge" => Term::Hinge,
        "ipo" => Term::Ipo,
        "exo_pair" => Term::ExoPair { label_smoothing: settings.label_smoothing.try_into().unwrap() },
        "nca_pair" => Term::NcaPair,
        "robust" => Term::Robust { label_smoothing: smoothing() },
        "bco_pair" => Term::BcoPair,
        "sppo_hard" => Term::SppoHard,
        "apo_zero" => Term::ApoZero,
        "apo_down" => Term::ApoDown,
        "discopop" => Term::Discopop { tau: settings.discopop_tau.unwrap_or(0.05).try_into().unwrap() },
        "sft" => Term::Sft,
        "sigmoid_norm" => Term::SigmoidNorm,
        "aot" => return AnyTerm::Batch(BatchTerm::Aot { label_smoothing: smoothing() }),
        "aot_unpaired" => return AnyTerm::Batch(BatchTerm::AotUnpaired { label_smoothing: smoothing() }),
        other => panic!("unknown loss type {other}"),
    })
}

fn objective(settings: &Settings) -> BatchObjective {
    let beta: Beta = settings.beta.unwrap_or(0.1).try_into().unwrap();
    let ones = vec![1.0; settings.loss_type.len()];
    let weights = settings.loss_weights.as_ref().unwrap_or(&ones);
    assert_eq!(weights.len(), settings.loss_type.len());
    let (mut of_sums, mut of_batch) = (Vec::new(), Vec::new());
    for (name, weight) in settings.loss_type.iter().zip(weights) {
        let weight: LossWeight = (*weight).try_into().unwrap();
        match term(name, settings) {
            AnyTerm::Sums(term) => of_sums.push((weight, term)),
            AnyTerm::Batch(term) => of_batch.push((weight, term)),
        }
    }
    let divergence = match settings.f_divergence_type.as_deref() {
        None => Divergence::ReverseKl,
        Some("forward_kl") => Divergence::ForwardKl,
        Some("js_divergence") => Divergence::JsDivergence,
        Some("alpha_divergence") => {
            Divergence::AlphaDivergence(settings.f_alpha_divergence_coef.unwrap_or(0.5).try_into().unwrap())
        }
        Some(other) => panic!("unknown divergence {other}"),
    };
    let mut objective = BatchObjective::new(Objective::sum(beta, of_sums).with_divergence(divergence));
    for (weight, term) in of_batch {
        objective = objective.with_term(weight, term).unwrap();
    }
    if let Some(alpha) = settings.ld_alpha {
        objective = objective.with_completion(CompletionRule::LdDpo { alpha: alpha.try_into().unwrap() });
    }
    objective.with_weighting(if settings.use_weighting { Weighting::Wpo } else { Weighting::None }).unwrap()
}

pub(super) fn losses(objective: &BatchObjective, pairs: &[PairInputs<'_>]) -> Vec<PairSlopes> {
    let facts = BatchFacts::of(pairs.iter().map(|pair| pair.sums.tokens.chosen));
    objective.losses(pairs, facts, &mut ObjectiveState::default()).unwrap()
}

#[track_caller]
fn check_slope(got: &Slope, want: &GoldenSlope, n_tokens: usize, tolerance: Tolerance, context: &str) {
    match (got, want) {
        (Slope::Sequence(got), GoldenSlope::Sequence(want)) => check(*got, *want, tolerance, context),
        (Slope::Tokens(slopes), GoldenSlope::FirstAndLast(first, last)) => {
            assert_eq!(slopes.len(), n_tokens, "{context}");
            check(got.at(0), *first, tolerance, context);
            check(got.at(n_tokens - 1), *last, tolerance, context);
        }
        _ => panic!("{context}: one slope a sequence on one side, one a token on the other"),
    }
}

#[test]
fn every_loss_of_trls_dpo_trainer_has_its_values_and_slopes() {
    let golden: Golden = golden("losses.json");
    let mut seen = std::collections::BTreeSet::new();
    for case in &golden.dpo {
        let context = format!("{:?} on {}", case.settings, case.inputs);
        let objective = objective(&case.settings);
        let pairs: Vec<PairInputs<'_>> = golden.inputs[&case.inputs].iter().map(inputs).collect();
        assert!(pairs.len() >= 64 && case.d_chosen.len() == pairs.len() && case.d_rejected.len() == pairs.len());
        let tolerance = tolerance(&case.dtype);
        let got = match case.mode {
            Mode::Pairs => pairs.iter().flat_map(|pair| losses(&objective, std::slice::from_ref(pair))).collect(),
            Mode::Batch => losses(&objective, &pairs),
        };
        match case.mode {
            Mode::Pairs => {
                assert_eq!(objective.scope(), Scope::Pair, "{context}");
                for (got, want) in got.iter().zip(&case.values) {
                    check(got.value, *want, tolerance, &context);
                }
            }
            Mode::Batch => {
                let mean = got.iter().map(|pair| pair.value).sum::<f64>() / got.len() as f64;
                check(mean, case.values[0], tolerance, &context);
            }
        }
        for (at, (got, pair)) in got.iter().zip(&pairs).enumerate() {
            let context = format!("{context}, pair {at}");
            check_slope(&got.chosen, &case.d_chosen[at], pair.sums.tokens.chosen, tolerance, &context);
            check_slope(&got.rejected, &case.d_rejected[at], pair.sums.tokens.rejected, tolerance, &context);
        }
        seen.extend(case.settings.loss_type.iter().cloned());
    }
    assert_eq!(seen.len(), 15, "TRL 1.16 has 15 loss types: {seen:?}");
}

#[test]
fn losses_of_trls_cpo_and_orpo_trainers_have_their_values_and_slopes() {
    let golden: Golden = golden("losses.json");
    assert!(golden.reference_free.len() >= 9);
    for case in &golden.reference_free {
        let settings = &case.settings;
        let context = format!("{} with {settings:?}", case.trainer);
        let label_smoothing = LabelSmoothing::try_from(settings.label_smoothing).unwrap();
        let gamma = settings.simpo_gamma.try_into().unwrap();
        let beta: Beta = settings.beta.try_into().unwrap();
        // ORPO's β is the weight of its odds ratio.
        let (term, weight) = match (case.trainer.as_str(), settings.loss_type.as_str()) {
            ("cpo", "sigmoid") => (Term::Cpo { label_smoothing }, 1.0),
            ("cpo", "hinge") => (Term::Hinge, 1.0),
            ("cpo", "ipo") => (Term::Ipo, 1.0),
            ("cpo", "simpo") if settings.alpha == 0.0 => (Term::Simpo { gamma, label_smoothing }, 1.0),
            ("cpo", "simpo") => {
                (Term::Alphapo { alpha: settings.alpha.try_into().unwrap(), gamma, label_smoothing }, 1.0)
            }
            ("orpo", _) => (Term::OddsRatio, settings.beta),
            other => panic!("unknown loss {other:?}"),
        };
        let objective = Objective::sum(beta, [(weight.try_into().unwrap(), term)]).with_baseline(Baseline::Uniform);
        let tolerance = tolerance(&case.dtype);
        for (at, pair) in golden.inputs[&case.inputs].iter().enumerate() {
            let context = format!("{context}, pair {at}");
            let sums = inputs(pair).sums;
            let got = objective.loss(&sums, BatchFacts::of([sums.tokens.chosen]));
            check(got.value, case.values[at], tolerance, &context);
            let scale = |tokens: usize| if case.is_mean { tokens as f64 } else { 1.0 };
            check(got.d_chosen * scale(sums.tokens.chosen), case.d_chosen[at], tolerance, &context);
            check(got.d_rejected * scale(sums.tokens.rejected), case.d_rejected[at], tolerance, &context);
        }
    }
}
