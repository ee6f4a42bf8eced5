use super::super::{Pipeline, Settings, known};
use super::*;
use crate::error::Hint;
use crate::loss::Scope;
use crate::train::Start;

fn settings(loss: &str) -> Settings {
    let given = file::parse(&format!("model = 'm'\n[train.loss]\n{loss}")).unwrap();
    file::defaults().unwrap().under(&given).unwrap()
}

fn plan(loss: &str) -> Result<crate::train::Plan, PipelineError> {
    let pipeline = Pipeline { settings: settings(loss), run: Some("runs/test".into()) };
    pipeline.train_plan(None, None, Start::Resume)
}

fn objective(loss: &str) -> Result<BatchObjective, PipelineError> {
    plan(loss).map(|plan| plan.objective)
}

#[track_caller]
fn terms(loss: &str) -> Vec<(f64, Term)> {
    objective(loss).unwrap().of_sums().terms().iter().map(|weighted| (weighted.weight.get(), weighted.term)).collect()
}

/// The error of an objective, and its hint.
#[track_caller]
fn refused(loss: &str) -> (String, Option<String>) {
    let error = objective(loss).unwrap_err();
    (error.to_string(), error.hint())
}

/// What a loss type needs beside its name.
fn with_needs(word: &str) -> String {
    let more = match word {
        "exo_pair" => "label_smoothing = 0.001",
        "rpo_sq" | "rpo_bwd_kl" | "rpo_fwd_kl" => SCORES,
        _ => "",
    };
    format!("loss_type = '{word}'\n{more}")
}

const SCORES: &str = "chosen_score_column = 'score_chosen'\nrejected_score_column = 'score_rejected'";

#[test]
fn every_loss_type_makes_an_objective_and_is_read_as_it_is_named() {
    for word in known::words::<LossType>() {
        let objective = objective(&with_needs(word)).unwrap();
        assert!(!objective.of_sums().terms().is_empty() || !objective.batch_terms().is_empty(), "{word}");
        assert_eq!(LossType::read(word).unwrap().name(), *word);
    }
}

#[test]
fn losses_of_more_than_sums_are_what_their_words_say() {
    let batch_terms = |loss: &str| -> Vec<(f64, BatchTerm)> {
        objective(loss).unwrap().batch_terms().iter().map(|part| (part.weight.get(), part.term)).collect()
    };
    let label_smoothing = LabelSmoothing::try_from(0.1).unwrap();
    let sum = "loss_type = ['aot', 'sft', 'aot_unpaired']\nloss_weights = [1.0, 0.5, 2.0]\nlabel_smoothing = 0.1";
    let want = [(1.0, BatchTerm::Aot { label_smoothing }), (2.0, BatchTerm::AotUnpaired { label_smoothing })];
    assert_eq!((batch_terms(sum), terms(sum)), (want.to_vec(), vec![(0.5, Term::Sft)]));
    assert_eq!(batch_terms("loss_type = 'bco_pair'\nbco_shift = true"), [(1.0, BatchTerm::BcoShifted)]);
    assert_eq!(terms("loss_type = 'bco_pair'"), [(1.0, Term::BcoPair)]);
    let rpo = format!("loss_type = 'rpo_bwd_kl'\ngt_reward_scale = 0.5\n{SCORES}");
    let (distance, scale) = (RewardDistance::BackwardKl, RewardScale::try_from(0.5).unwrap());
    assert_eq!(batch_terms(&rpo), [(1.0, BatchTerm::RewardAware { distance, scale })]);

    let plain = || BatchObjective::new(Objective::sigmoid(Beta::try_from(0.1).unwrap(), LabelSmoothing::default()));
    let robust = Average::DrDpo { beta: DrBeta::try_from(0.4).unwrap() };
    assert_eq!(objective("loss_type = 'dr_dpo'\ndr_beta = 0.4").unwrap(), plain().with_average(robust));
    let ld = CompletionRule::LdDpo { alpha: LdAlpha::try_from(0.25).unwrap() };
    assert_eq!(objective("ld_alpha = 0.25").unwrap(), plain().with_completion(ld));
    let clip = |low, high| CompletionRule::Humanline { clip: Clip::new(low, high).unwrap() };
    assert_eq!(objective("humanline = true").unwrap(), plain().with_completion(clip(-1.0, 1.5)));
    let clipped = "humanline = true\nlog_epsilon_p = -0.5\nlog_epsilon_r = 0.25";
    assert_eq!(objective(clipped).unwrap(), plain().with_completion(clip(-0.5, 0.25)));
    let weighted = |weighting| plain().with_weighting(weighting).unwrap();
    assert_eq!(objective("use_weighting = true").unwrap(), weighted(Weighting::Wpo));
    assert_eq!(objective("loss_type = 'wpo'").unwrap(), weighted(Weighting::WpoMean));
    assert_eq!(objective("loss_type = 'dr_dpo'").unwrap().scope(), Scope::Batch);
    assert_eq!(objective("use_weighting = true\nld_alpha = 0.0").unwrap().scope(), Scope::Pair);
}

#[test]
fn columns_of_scores_are_named_or_the_run_is_refused() {
    let found = plan(&with_needs("rpo_sq")).unwrap().score_columns;
    let want = ScoreColumns { chosen: "score_chosen".into(), rejected: "score_rejected".into() };
    assert_eq!((found, plan("").unwrap().score_columns), (Some(want), None));
    let (message, hint) = refused("loss_type = 'rpo_sq'\nchosen_score_column = 'score_chosen'");
    assert_eq!(message, "`train.loss.rejected_score_column` is not set");
    assert!(hint.unwrap().ends_with("`--rejected-score-column`"));
}

#[test]
fn what_cannot_be_had_together_is_refused_with_the_reason() {
    for (loss, want) in [
        ("loss_type = ['dr_dpo', 'sft']", "`dr_dpo` cannot be combined with `sft`: it says how"),
        ("loss_type = ['sigmoid', 'wpo']", "`wpo` cannot be combined with `sigmoid`: it says how"),
        ("loss_type = 'wpo'\nuse_weighting = true", "`use_weighting` cannot be combined with `wpo`: "),
        ("loss_type = 'aot'\nuse_weighting = true", "`use_weighting` cannot be combined with `aot`: a sorted gap"),
        ("loss_type = ['sigmoid', 'sft']\nuse_weighting = true", "`use_weighting` cannot be combined with `sft`: "),
        ("humanline = true\nld_alpha = 0.5", "`humanline` cannot be combined with `ld_alpha`: each is a rule"),
        ("humanline = true\nreference_free = true", "`humanline` cannot be combined with `reference_free`: it clips"),
        ("humanline = true\nloss_type = ['sigmoid', 'simpo']", "`humanline` cannot be combined with loss type `simpo`"),
        ("loss_type = 'aot'\nreference_free = true", "`reference_free` cannot be combined with loss type `aot`"),
        ("humanline = true\nlog_epsilon_p = 0.5", "expected `log_epsilon_p` finite and at most 0, found 0.5"),
        ("ld_alpha = 0.5\nloss_type = 'sft'", "`ld_alpha` is set, and loss type `sft` does not read it"),
        ("humanline = true\nloss_type = 'sft'", "`humanline` is set, and loss type `sft` does not read it"),
    ] {
        let (message, _) = refused(loss);
        assert!(message.starts_with(want), "{loss}: {message}");
    }
}

#[test]
fn several_losses_are_a_weighted_sum() {
    let label_smoothing = LabelSmoothing::default();
    let mpo = "loss_type = ['sigmoid', 'bco_pair', 'sft']\nloss_weights = [0.8, 0.2, 1.0]";
    assert_eq!(terms(mpo), [(0.8, Term::Sigmoid { label_smoothing }), (0.2, Term::BcoPair), (1.0, Term::Sft)]);
    assert_eq!(terms("loss_type = 'orpo'\nbeta = 0.25"), [(1.0, Term::Sft), (0.25, Term::OddsRatio)]);
    let cpo = "loss_type = ['cpo']\nloss_weights = [2.0]\ncpo_alpha = 0.5";
    assert_eq!(terms(cpo), [(2.0, Term::Cpo { label_smoothing }), (1.0, Term::Sft)]);
    let (message, _) = refused("loss_type = ['sigmoid', 'sft']\nloss_weights = [1.0]");
    assert_eq!(message, "expected 2 of `loss_weights`, one a loss type, found 1");
}

#[test]
fn a_list_survives_its_own_toml() {
    for loss in ["loss_type = 'ipo'", "loss_type = ['sigmoid', 'sft']\nloss_weights = [1.0, 0.5]"] {
        let settings = settings(loss);
        assert_eq!(file::parse(&toml::to_string(&settings).unwrap()).unwrap(), settings, "{loss}");
    }
}

#[test]
fn a_setting_that_is_not_read_is_refused_and_sent_to_its_readers() {
    assert_eq!(
        refused("loss_type = 'ipo'\nlabel_smoothing = 0.1"),
        (
            "`label_smoothing` is set, and loss type `ipo` does not read it".into(),
            Some(
                "it is a setting of sigmoid, robust, exo_pair, cpo, simpo, alphapo, aot, aot_unpaired, dr_dpo, wpo"
                    .into()
            )
        )
    );
    for setting in [
        "discopop_tau = 0.1",
        "dpop_lambda = 1.0",
        "simpo_gamma = 1.0",
        "alphapo_alpha = 0.5",
        "cpo_alpha = 0.5",
        "slic_delta = 2.0",
        "slic_lambda = 1.0",
        "unlikelihood_alpha = 0.5",
        "f_alpha_divergence_coef = 0.1",
        "dr_beta = 0.5",
        "bco_shift = true",
        "gt_reward_scale = 2.0",
        "chosen_score_column = 'a'",
        "rejected_score_column = 'b'",
        "log_epsilon_p = -2.0",
        "log_epsilon_r = 2.0",
    ] {
        let (message, _) = refused(setting);
        let name = setting.split(' ').next().unwrap();
        assert!(message.starts_with(&format!("`{name}` is set, and ")), "{message}");
    }
    // What every default says is no choice.
    assert!(objective("loss_type = 'ipo'\nlabel_smoothing = 0.0\ndiscopop_tau = 0.05").is_ok());
}

#[test]
fn a_divergence_and_no_reference_are_for_losses_of_a_difference() {
    let (message, hint) = refused("loss_type = ['sigmoid', 'bco_pair']\nf_divergence_type = 'js_divergence'");
    assert_eq!(message, "`f_divergence_type` cannot be combined with loss type `bco_pair`");
    assert!(hint.unwrap().starts_with("it can be combined with sigmoid, sigmoid_norm"));
    assert!(refused("loss_type = 'simpo'\nreference_free = true").0.contains("`simpo`"));
    assert!(refused("reference_free = true\nf_divergence_type = 'forward_kl'").0.contains("reverse_kl"));
    let alpha = "loss_type = ['hinge', 'sft']\nf_divergence_type = 'alpha_divergence'\nf_alpha_divergence_coef = 0.25";
    assert!(objective(alpha).is_ok());
    assert!(objective("loss_type = 'ipo_sum'\nreference_free = true").is_ok());
}

#[test]
fn exo_needs_label_smoothing() {
    let (message, hint) = refused("loss_type = 'exo_pair'");
    assert_eq!(message, "expected `label_smoothing` above 0 and below 0.5 for `exo_pair`, found 0");
    assert!(hint.unwrap().contains("0.001"));
}

#[test]
fn what_a_table_cannot_serve_is_refused_with_the_reason() {
    let cases = [("tdpo2", "next-token distribution"), ("tpo", "third completion"), ("kto", "pairs")];
    for (word, reason) in cases {
        for value in [format!("'{word}'"), format!("['sigmoid', '{word}']")] {
            let text = format!("[train.loss]\nloss_type = {value}");
            let message = file::parse(&text).unwrap_err().to_string();
            let start = format!("line 2: `loss_type` in `[train.loss]`: `{word}` cannot be trained with: ");
            assert!(message.starts_with(&start) && message.contains(reason), "{message}");
        }
    }
    let message = file::parse("[train.loss]\nloss_type = 'sigmod'").unwrap_err().to_string();
    assert!(message.contains("unknown variant `sigmod`, expected one of `sigmoid`"), "{message}");
    assert!(file::parse("[train.loss]\nloss_type = []").unwrap_err().to_string().contains("empty list"));
    assert!(file::parse("[train.loss]\nloss_type = 1").unwrap_err().to_string().contains("a loss type or a list"));
}
