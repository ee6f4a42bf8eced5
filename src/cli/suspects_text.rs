//! What an audit knows of its suspects, in lines for people: how good each score is, and what trusted pairs make of them.

use crate::audit::{Calibration, Combination, Fitted, MeasuredOn, ScoreQuality};

/// A paragraph for each kind of pairs the scores were measured on, and one about the combination; nothing without truth.
pub(super) fn lines(scores: &[ScoreQuality], calibration: Option<&Calibration>) -> Vec<String> {
    let Some(calibration) = calibration else { return Vec::new() };
    let mut lines = Vec::new();
    for (on, whose) in [
        (MeasuredOn::Trusted, "trusted pairs, of which each is scored by a fit that has not seen its prompt"),
        (MeasuredOn::Others, "other pairs of known truth, of prompts that no fit has seen"),
    ] {
        let scores: Vec<&ScoreQuality> = scores.iter().filter(|score| score.measured_on == on).collect();
        if let Some(first) = scores.first() {
            lines.push(String::new());
            lines.push(format!("swapped labels: {} of {} {whose}", first.n_true, first.n_pairs));
            lines.extend(scores.into_iter().map(score_line));
        }
    }
    lines.push(String::new());
    lines.extend(calibration_lines(calibration));
    lines
}

fn score_line(score: &ScoreQuality) -> String {
    let heads = score.precision_at.iter().map(|head| format!("at {} {:.2} ± {:.2}", head.k, head.precision, head.se));
    let heads: Vec<String> = heads.collect();
    let precision = if heads.is_empty() { String::new() } else { format!(", precision {}", heads.join(", ")) };
    format!("  {:<18} ROC AUC {:.3} ± {:.3}{precision}", score.score, score.roc_auc, score.roc_auc_se)
}

fn calibration_lines(calibration: &Calibration) -> Vec<String> {
    let Calibration { n_pairs, n_true, n_prompts, n_absent, combination } = calibration;
    let mut lines =
        vec![format!("combination by {n_pairs} trusted pairs of {n_prompts} prompts, {n_true} of them swapped")];
    if *n_absent > 0 {
        lines.push(format!("  pairs of the file that the table does not have: {n_absent}"));
    }
    match combination {
        Combination::Lacking(lack) => lines.push(format!("  none: {lack}")),
        Combination::Fitted(fitted) => lines.extend(fitted_lines(fitted)),
    }
    lines
}

fn fitted_lines(fitted: &Fitted) -> Vec<String> {
    let weights: Vec<String> =
        fitted.coefficients.iter().map(|(name, weight)| format!("{name} {weight:+.3}")).collect();
    let verdict = if fitted.is_better_than_chance {
        "better than chance: it is `p_flipped` of `suspects`"
    } else {
        "no better than chance, as far as these pairs tell: `p_flipped` stays null, and `suspicion` ranks the pairs"
    };
    vec![
        format!(
            "  log-odds of a swap {:+.3}, and for each standard deviation of a rank {}",
            fitted.intercept,
            weights.join(", ")
        ),
        format!("  under an L2 penalty of {}, chosen by log loss", fitted.ridge),
        format!(
            "  {} folds by prompt: ROC AUC {:.3} ± {:.3}, log loss {:.4} nats, {:.4} by the share of swapped labels alone",
            fitted.n_folds, fitted.roc_auc, fitted.roc_auc_se, fitted.log_loss, fitted.log_loss_chance
        ),
        format!("  {verdict}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calibration(combination: Combination) -> Calibration {
        Calibration { n_pairs: 50, n_true: 5, n_prompts: 49, n_absent: 1, combination }
    }

    #[test]
    fn a_combination_that_is_no_better_than_chance_says_so() {
        let fitted = Fitted {
            intercept: -2.2,
            coefficients: vec![("length".into(), 0.25), ("margin".into(), -0.5)],
            ridge: 10.0,
            n_folds: 5,
            roc_auc: 0.516,
            roc_auc_se: 0.14,
            log_loss: 0.34,
            log_loss_chance: 0.325,
            is_better_than_chance: false,
            sql: String::new(),
        };
        assert_eq!(
            lines(&[], Some(&calibration(Combination::Fitted(fitted)))),
            [
                "",
                "combination by 50 trusted pairs of 49 prompts, 5 of them swapped",
                "  pairs of the file that the table does not have: 1",
                "  log-odds of a swap -2.200, and for each standard deviation of a rank length +0.250, margin -0.500",
                "  under an L2 penalty of 10, chosen by log loss",
                "  5 folds by prompt: ROC AUC 0.516 ± 0.140, log loss 0.3400 nats, 0.3250 by the share of swapped labels alone",
                "  no better than chance, as far as these pairs tell: `p_flipped` stays null, and `suspicion` ranks the pairs",
            ]
        );
    }

    #[test]
    fn without_truth_there_is_nothing_to_say() {
        assert_eq!(lines(&[], None), Vec::<String>::new());
        let lines = lines(&[], Some(&calibration(Combination::Lacking("too few".into()))));
        assert_eq!(lines.last().map(String::as_str), Some("  none: too few"));
    }
}
