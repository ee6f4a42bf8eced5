//! How much the evidence says, by pairs whose labels somebody knows: P(swapped) as a logistic combination.
//!
//! Features are ranks, so that equal weights make the same order as `suspicion`, the default without trusted pairs. All
//! that is told of the quality of a combination comes from pairs it has not seen: [`N_FOLDS`]-fold cross-validation over
//! prompts, in which the strength of the penalty is chosen anew within each training part (Varma and Simon 2006 on the
//! bias of choosing it outside).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::logistic::{self, Logistic};
use super::quality::{ScoreQuality, auc_error};
use crate::digest::Digest;

/// Parts of the trusted prompts, each predicted by a fit to the others.
const N_FOLDS: usize = 5;

/// Fewest prompts with a swapped label, and with one that is not: in each fold one of each.
const LEAST_PROMPTS: usize = N_FOLDS;

/// Penalties to choose from, the strongest first: weights have a standard deviation of 0.1, 0.3 or 1 a priori.
const RIDGES: [f64; 3] = [100.0, 10.0, 1.0];

/// Examples from which on the data outweigh every penalty, and the weakest is taken.
const MANY: usize = 10_000;

/// Half the width of a 95 % interval, in standard errors.
const Z: f64 = 1.96;

/// A trusted pair.
#[derive(Debug, Clone, Copy)]
pub(super) struct Example<'a> {
    /// One number for each kind of evidence.
    pub(super) features: &'a [f64],
    /// Whether its label is swapped.
    pub(super) is_true: bool,
    /// Its prompt: pairs that share one are never on both sides of a fold.
    pub(super) prompt: Digest,
}

/// What trusted pairs make of the evidence.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    /// Trusted pairs.
    pub n_pairs: usize,
    /// Of these, pairs whose label is swapped.
    pub n_true: usize,
    /// Different prompts of the trusted pairs.
    pub n_prompts: usize,
    /// Pairs of the file of trusted ones that the table does not have.
    pub n_absent: u64,
    /// The combination, or why there is none.
    pub combination: Combination,
}

/// A combination of the evidence, or why there is none.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Combination {
    /// Fitted to all trusted pairs.
    Fitted(Fitted),
    /// Not fitted, and why.
    Lacking(String),
}

/// A logistic combination of the evidence.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fitted {
    /// Log-odds of a swap where all evidence is in the middle of its ranks.
    pub intercept: f64,
    /// Log-odds a standard deviation of the rank, by name of the evidence.
    pub coefficients: Vec<(String, f64)>,
    /// Strength of the L2 penalty on the coefficients, chosen by cross-validated log loss.
    pub ridge: f64,
    /// Folds of the cross-validation.
    pub n_folds: usize,
    /// Chance that a swapped pair is given a higher probability than another one, by fits that saw neither.
    pub roc_auc: f64,
    /// Its standard error.
    pub roc_auc_se: f64,
    /// Mean log loss of pairs under fits that did not see them, in nats.
    pub log_loss: f64,
    /// The same of the share of swapped pairs alone, without any evidence.
    pub log_loss_chance: f64,
    /// Whether it is better than chance: the log loss is below that of the share alone, and the ROC AUC is above ½ by more
    /// than the 95 % interval of chance. Only then it is `p_flipped` of `suspects`.
    pub is_better_than_chance: bool,
    /// P(swapped) in SQL over the columns `rank_…` of `suspects`.
    pub sql: String,
}

/// The combination for all examples, and predictions of each by one that has not seen its prompt.
#[derive(Debug)]
pub(super) struct CrossValidated {
    pub(super) model: Logistic,
    pub(super) ridge: f64,
    /// Log-odds, an example each.
    pub(super) out_of_fold: Vec<f64>,
    /// Mean log loss of these.
    pub(super) log_loss: f64,
    /// Mean log loss of the share of true ones among the other folds.
    pub(super) log_loss_chance: f64,
}

/// Fits and cross-validates.
///
/// # Errors
/// Why there is no combination, in words.
pub(super) fn cross_validated(examples: &[Example<'_>]) -> Result<CrossValidated, String> {
    for (kind, words) in [(true, "swapped"), (false, "right")] {
        let n_prompts = n_prompts(examples.iter().filter(|example| example.is_true == kind));
        if n_prompts < LEAST_PROMPTS {
            return Err(format!(
                "expected trusted pairs of at least {LEAST_PROMPTS} prompts whose label is {words}, found {n_prompts}"
            ));
        }
    }
    let one_sided = || "all trusted pairs of one kind are in one fold: trust more of them".to_owned();
    let (ridge, model) = train(examples).ok_or_else(one_sided)?;
    let trained = |others: &[Example<'_>]| train(others).map(|(_, model)| model);
    let out_of_fold = out_of_fold(examples, trained).ok_or_else(one_sided)?;
    let chance = self::out_of_fold(examples, base_rate).ok_or_else(one_sided)?;
    Ok(CrossValidated {
        model,
        ridge,
        log_loss: mean_log_loss(examples, &out_of_fold),
        log_loss_chance: mean_log_loss(examples, &chance),
        out_of_fold,
    })
}

impl CrossValidated {
    /// For the summary: `names` of the features, in their order, and the quality of the predictions.
    pub(super) fn told(&self, names: &[&str], quality: &ScoreQuality, sql: String) -> Fitted {
        let is_ordered = quality.roc_auc - 0.5 > Z * auc_error(0.5, quality.n_true, quality.n_pairs);
        Fitted {
            intercept: self.model.intercept,
            coefficients: names.iter().map(|&name| name.to_owned()).zip(self.model.weights.iter().copied()).collect(),
            ridge: self.ridge,
            n_folds: N_FOLDS,
            roc_auc: quality.roc_auc,
            roc_auc_se: quality.roc_auc_se,
            log_loss: self.log_loss,
            log_loss_chance: self.log_loss_chance,
            is_better_than_chance: is_ordered && self.log_loss < self.log_loss_chance,
            sql,
        }
    }
}

/// The combination under the penalty that serves these examples best.
fn train(examples: &[Example<'_>]) -> Option<(f64, Logistic)> {
    let ridge = best_ridge(examples)?;
    Some((ridge, fit(examples, ridge)?))
}

fn fit(examples: &[Example<'_>], ridge: f64) -> Option<Logistic> {
    let features: Vec<&[f64]> = examples.iter().map(|example| example.features).collect();
    let truth: Vec<bool> = examples.iter().map(|example| example.is_true).collect();
    logistic::fit(&features, &truth, ridge)
}

/// The share of true examples as a combination of nothing.
fn base_rate(examples: &[Example<'_>]) -> Option<Logistic> {
    let nothing: Vec<Example<'_>> = examples.iter().map(|example| Example { features: &[], ..*example }).collect();
    fit(&nothing, 0.0)
}

/// The penalty with the least cross-validated log loss; of equal ones the strongest.
fn best_ridge(examples: &[Example<'_>]) -> Option<f64> {
    if examples.len() > MANY {
        return RIDGES.last().copied();
    }
    let mut best: Option<(f64, f64)> = None;
    for ridge in RIDGES {
        let loss = mean_log_loss(examples, &out_of_fold(examples, |others| fit(others, ridge))?);
        if best.is_none_or(|(_, least)| loss < least) {
            best = Some((ridge, loss));
        }
    }
    best.map(|(ridge, _)| ridge)
}

/// Log-odds of every example by a model that is trained on the other folds.
fn out_of_fold<'a>(examples: &[Example<'a>], train: impl Fn(&[Example<'a>]) -> Option<Logistic>) -> Option<Vec<f64>> {
    let folds = folds(examples);
    let mut log_odds = vec![0.0; examples.len()];
    for fold in 0..N_FOLDS {
        let others = examples.iter().zip(&folds).filter(|(_, of)| **of != fold).map(|(example, _)| *example);
        let others: Vec<Example<'a>> = others.collect();
        if others.len() == examples.len() {
            continue;
        }
        let model = train(&others)?;
        for ((log_odds, example), _) in log_odds.iter_mut().zip(examples).zip(&folds).filter(|(_, of)| **of == fold) {
            *log_odds = model.log_odds(example.features);
        }
    }
    Some(log_odds)
}

/// The fold of every example: one for all pairs of a prompt, and prompts that have a true pair spread evenly.
fn folds(examples: &[Example<'_>]) -> Vec<usize> {
    let mut has_true: BTreeMap<Digest, bool> = BTreeMap::new();
    for example in examples {
        *has_true.entry(example.prompt).or_default() |= example.is_true;
    }
    // In the order of digests, which means nothing and is the same whatever the order of the table.
    let (with, without): (Vec<_>, Vec<_>) = has_true.into_iter().partition(|(_, has_true)| *has_true);
    let prompts = with.into_iter().chain(without).enumerate();
    let fold_of: BTreeMap<Digest, usize> = prompts.map(|(at, (prompt, _))| (prompt, at % N_FOLDS)).collect();
    examples.iter().map(|example| fold_of.get(&example.prompt).copied().unwrap_or_default()).collect()
}

/// Different prompts.
fn n_prompts<'a>(examples: impl IntoIterator<Item = &'a Example<'a>>) -> usize {
    examples.into_iter().map(|example| example.prompt).collect::<BTreeSet<Digest>>().len()
}

fn mean_log_loss(examples: &[Example<'_>], log_odds: &[f64]) -> f64 {
    let losses =
        examples.iter().zip(log_odds).map(|(example, log_odds)| logistic::log_loss(*log_odds, example.is_true));
    losses.sum::<f64>() / examples.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::quality::{MeasuredOn, random};

    /// Evidence, truth and number of the prompt.
    fn examples(rows: &[(Vec<f64>, bool, usize)]) -> Vec<Example<'_>> {
        rows.iter()
            .map(|(features, is_true, prompt)| Example {
                features,
                is_true: *is_true,
                prompt: Digest::of(&prompt.to_le_bytes()),
            })
            .collect()
    }

    /// 60 pairs, two a prompt; every third prompt has a swapped pair, which the first feature tells and the second not.
    fn informative() -> Vec<(Vec<f64>, bool, usize)> {
        (0..60_u32)
            .map(|at| {
                let (is_true, prompt) = (at % 6 == 0, at / 2);
                let noise = f64::from(at * 7 % 11) / 5.0 - 1.0;
                (vec![if is_true { 1.0 } else { -1.0 } + noise, f64::from(at * 5 % 7) - 3.0], is_true, prompt as usize)
            })
            .collect()
    }

    #[test]
    fn folds_never_split_a_prompt_and_share_out_the_true_ones() {
        let rows = informative();
        let examples = examples(&rows);
        let folds = folds(&examples);
        let mut of_prompt: BTreeMap<Digest, usize> = BTreeMap::new();
        let mut n_true = [0; N_FOLDS];
        for (example, &fold) in examples.iter().zip(&folds) {
            assert_eq!(*of_prompt.entry(example.prompt).or_insert(fold), fold);
            n_true[fold] += usize::from(example.is_true);
        }
        // 10 prompts with a true pair over 5 folds.
        assert_eq!((of_prompt.len(), n_true), (30, [2; N_FOLDS]));
    }

    #[test]
    fn folds_do_not_depend_on_the_order_of_the_pairs() {
        let mut rows = informative();
        let before = folds(&examples(&rows));
        rows.reverse();
        let mut after = folds(&examples(&rows));
        after.reverse();
        assert_eq!(before, after);
    }

    #[test]
    fn a_prediction_comes_from_a_fit_without_its_prompt() {
        let rows = informative();
        let examples = examples(&rows);
        // A model that knows by heart how many prompts it was shown, as log-odds.
        let shown = |others: &[Example<'_>]| Some(Logistic { intercept: n_prompts(others) as f64, weights: vec![] });
        let log_odds = out_of_fold(&examples, shown).unwrap();
        // 30 prompts, 6 of them in each fold.
        assert!(log_odds.iter().all(|shown| (shown - 24.0).abs() < 1e-12), "{log_odds:?}");
    }

    #[test]
    fn evidence_that_tells_beats_the_share_and_noise_does_not() {
        let rows = informative();
        let found = cross_validated(&examples(&rows)).unwrap();
        assert!(found.log_loss < found.log_loss_chance, "{found:?}");
        assert!(found.model.weights[0] > found.model.weights[1].abs(), "{found:?}");

        let noise: Vec<_> = rows.iter().map(|(features, is_true, at)| (vec![features[1]], *is_true, *at)).collect();
        let found = cross_validated(&examples(&noise)).unwrap();
        assert!(found.log_loss > found.log_loss_chance - 0.02, "{found:?}");
    }

    #[test]
    fn separable_evidence_stays_finite() {
        let rows: Vec<_> = informative()
            .into_iter()
            .map(|(_, is_true, prompt)| (vec![f64::from(is_true), -f64::from(is_true)], is_true, prompt))
            .collect();
        let found = cross_validated(&examples(&rows)).unwrap();
        assert!(found.model.weights.iter().chain(&found.out_of_fold).all(|number| number.is_finite()), "{found:?}");
    }

    #[test]
    fn better_than_chance_is_more_than_luck_in_both_measures() {
        let model = Logistic { intercept: 0.0, weights: vec![1.0] };
        let found = |log_loss| CrossValidated {
            model: model.clone(),
            ridge: 1.0,
            out_of_fold: Vec::new(),
            log_loss,
            log_loss_chance: 0.325,
        };
        let of = |roc_auc: f64, log_loss: f64| {
            // The error of chance is √(51/(12·5·45)) = 0.137: ½ and 1.96 of these are 0.769.
            let random = random(MeasuredOn::Trusted, 5, 50);
            found(log_loss).told(&["margin"], &ScoreQuality { roc_auc, ..random }, String::new()).is_better_than_chance
        };
        assert!(of(0.78, 0.3));
        assert!(!of(0.76, 0.3));
        assert!(!of(0.78, 0.33));
    }

    #[test]
    fn too_few_prompts_of_a_kind_are_told() {
        // 4 prompts with a swapped pair each: rows 0, 6, 12 and 18.
        let rows = informative()[..24].to_vec();
        let error = cross_validated(&examples(&rows)).unwrap_err();
        assert_eq!(error, "expected trusted pairs of at least 5 prompts whose label is swapped, found 4");
    }

    #[test]
    fn the_share_alone_is_its_own_entropy() {
        // Each fold has 2 true of 12, so the others have 8 of 48: 1/6 everywhere.
        let rows = informative();
        let found = cross_validated(&examples(&rows)).unwrap();
        let share: f64 = 1.0 / 6.0;
        let want = -share * share.ln() - (1.0 - share) * (1.0 - share).ln();
        assert!((found.log_loss_chance - want).abs() < 1e-12, "{found:?}");
    }
}
