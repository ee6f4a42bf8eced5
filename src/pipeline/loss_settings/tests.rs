use super::super::{Pipeline, Settings, known};
use super::*;
use crate::train::Start;

fn settings(loss: &str) -> Settings {
    let given = file::parse(&format!("model = 'm'\n[train.loss]\n{loss}")).unwrap();
    file::defaults().unwrap().under(&given).unwrap()
}

fn objective(loss: &str) -> Result<Objective, PipelineError> {
    let pipeline = Pipeline { settings: settings(loss), run: Some("runs/test".into()) };
    pipeline.train_plan(None, None, Start::Resume).map(|plan| plan.objective)
}

#[track_caller]
fn terms(loss: &str) -> Vec<(f64, Term)> {
    objective(loss).unwrap().terms().iter().map(|weighted| (weighted.weight.get(), weighted.term)).collect()
}

/// The error of an objective, and its hint.
#[track_caller]
fn refused(loss: &str) -> (String, Option<String>) {
    let error = objective(loss).unwrap_err();
    (error.to_string(), error.hint())
}

#[test]
fn every_loss_type_makes_an_objective_and_is_read_as_it_is_named() {
    for word in known::words::<LossType>() {
        let smoothing = if *word == "exo_pair" { "label_smoothing = 0.001" } else { "" };
        assert!(!terms(&format!("loss_type = '{word}'\n{smoothing}")).is_empty(), "{word}");
        assert_eq!(LossType::read(word).unwrap().name(), *word);
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
            Some("it is a setting of sigmoid, robust, exo_pair, cpo, simpo, alphapo".into())
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
    let cases = [("tdpo2", "next-token distribution"), ("aot", "micro-batch"), ("rpo_sq", "scores"), ("kto", "pairs")];
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
