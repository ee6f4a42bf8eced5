//! Labels that may be swapped: how well each kind of evidence in the view `suspects` finds those that are known to be, and
//! what trusted pairs make of all of it together.
//!
//! Scores that came with the data are no evidence here: a label against its own score is a finding of `F1` by itself.

use std::array::from_fn;
use std::collections::BTreeSet;

use arrow::array::{Array, AsArray, Float64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};

use super::calibration::{self, Calibration, Combination, CrossValidated, Example, Fitted};
use super::logistic::Logistic;
use super::quality::{MeasuredOn, ScoreQuality, quality, random};
use super::views::Views;
use super::{AuditError, Plan};
use crate::digest::Digest;
use crate::query::Session;

/// Evidence by name: `by_…` of `suspects` is its score, `rank_…` its rank.
const EVIDENCE: [&str; 9] =
    ["length", "margin", "margin_mean", "residual", "accuracy", "entropy", "min_token", "implicit", "implicit_mean"];

/// The order of pairs without trusted ones, and the probability with them.
const SUSPICION: &str = "suspicion";
const PROBABILITY: &str = "p_flipped";

/// What is known of the quality of the evidence.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) scores: Vec<ScoreQuality>,
    pub(super) calibration: Option<Calibration>,
}

/// Measures every score of `suspects` on pairs whose truth is known, and combines them by those that are trusted. Where
/// the combination is better than chance, `suspects` has its probability from now on.
///
/// # Errors
/// If the truth is the same of all pairs that have one.
pub(super) fn measure(views: &Views, plan: &Plan) -> Result<Measured, AuditError> {
    let pairs = read(&views.session)?;
    let n_true = pairs.iter().filter(|pair| pair.is_true).count();
    if n_true == 0 || n_true == pairs.len() {
        let (n_true, n_pairs) = (n_true as u64, pairs.len() as u64);
        return Err(AuditError::Truth { origin: origin(plan), n_true, n_pairs });
    }
    let (trusted, others): (Vec<&Pair>, Vec<&Pair>) = pairs.iter().partition(|pair| pair.is_trusted);
    let seen: BTreeSet<Digest> = trusted.iter().map(|pair| pair.prompt).collect();
    let others: Vec<&Pair> = others.into_iter().filter(|pair| !seen.contains(&pair.prompt)).collect();
    let evidence = telling(&trusted);
    let features = |pairs: &[&Pair]| -> Vec<Vec<f64>> { pairs.iter().map(|pair| pair.features(&evidence)).collect() };
    let of_trusted = features(&trusted);
    let examples: Vec<Example<'_>> = trusted
        .iter()
        .zip(&of_trusted)
        .map(|(pair, features)| Example { features, is_true: pair.is_true, prompt: pair.prompt })
        .collect();
    let found = calibration::cross_validated(&examples);
    let validated = found.as_ref().ok();

    let out_of_fold = validated.map(|found| found.out_of_fold.as_slice());
    let mut scores = qualities(MeasuredOn::Trusted, &trusted, out_of_fold);
    let of_others = validated.map(|found| log_odds(&found.model, &features(&others)));
    let combination = match &found {
        Err(lack) => Combination::Lacking(lack.clone()),
        Ok(found) => Combination::Fitted(fitted(found, &evidence, &scores)?),
    };
    if let Combination::Fitted(Fitted { is_better_than_chance: true, sql, .. }) = &combination {
        views.calibrate(sql)?;
    }
    scores.extend(qualities(MeasuredOn::Others, &others, of_others.as_deref()));
    let calibration = Calibration {
        n_pairs: trusted.len(),
        n_true: trusted.iter().filter(|pair| pair.is_true).count(),
        n_prompts: seen.len(),
        n_absent: views.trusted.map_or(0, |trusted| trusted.n_absent),
        combination,
    };
    Ok(Measured { scores, calibration: Some(calibration) })
}

/// Where the truth is from, for an error.
fn origin(plan: &Plan) -> String {
    let file = plan.trusted.as_ref().map(|path| format!("trusted pairs `{}`", path.display()));
    let column = plan.truth.as_ref().map(|column| format!("column `{column}`"));
    file.into_iter().chain(column).collect::<Vec<_>>().join(" and ")
}

/// A pair whose truth is known.
#[derive(Debug, Clone)]
struct Pair {
    is_true: bool,
    is_trusted: bool,
    prompt: Digest,
    suspicion: Option<f64>,
    /// By [`EVIDENCE`], `None` where the pair has none.
    scores: [Option<f64>; EVIDENCE.len()],
    ranks: [Option<f64>; EVIDENCE.len()],
}

impl Pair {
    /// Ranks as features of mean 0 and standard deviation 1, as far as they are even; 0 where the pair has no evidence.
    fn features(&self, evidence: &[usize]) -> Vec<f64> {
        evidence.iter().map(|&at| self.ranks[at].map_or(0.0, |rank| 12.0_f64.sqrt() * (rank - 0.5))).collect()
    }
}

/// The same in SQL.
fn probability(model: &Logistic, evidence: &[usize]) -> String {
    let terms = evidence.iter().zip(&model.weights);
    let terms =
        terms.map(|(&at, weight)| format!(" + ({weight}) * coalesce(sqrt(12.0) * (rank_{} - 0.5), 0.0)", EVIDENCE[at]));
    format!("sigmoid(({}){})", model.intercept, terms.collect::<String>())
}

/// Evidence, by its place, that is not the same of all these pairs: what a table has not drops out.
fn telling(pairs: &[&Pair]) -> Vec<usize> {
    let differs = |at: &usize| {
        let mut ranks = pairs.iter().filter_map(|pair| pair.ranks[*at]);
        let first = ranks.next();
        ranks.any(|rank| Some(rank) != first)
    };
    (0..EVIDENCE.len()).filter(differs).collect()
}

fn fitted(found: &CrossValidated, evidence: &[usize], scores: &[ScoreQuality]) -> Result<Fitted, AuditError> {
    let names: Vec<&str> = evidence.iter().map(|&at| EVIDENCE[at]).collect();
    let own = scores.iter().find(|score| score.score == PROBABILITY);
    let own = own.ok_or_else(|| AuditError::Internal { what: "a fit without a quality".into() })?;
    Ok(found.told(&names, own, probability(&found.model, evidence)))
}

fn log_odds(model: &Logistic, features: &[Vec<f64>]) -> Vec<f64> {
    features.iter().map(|features| model.log_odds(features)).collect()
}

/// The quality of chance, of length and of all the other scores that have values; `combined` are log-odds of the pairs.
fn qualities(on: MeasuredOn, pairs: &[&Pair], combined: Option<&[f64]>) -> Vec<ScoreQuality> {
    let n_true = pairs.iter().filter(|pair| pair.is_true).count();
    if n_true == 0 || n_true == pairs.len() {
        return Vec::new();
    }
    let of = |name: &str, score: &dyn Fn(usize, &Pair) -> Option<f64>| {
        let scored = pairs.iter().enumerate().filter_map(|(at, pair)| Some((score(at, pair)?, pair.is_true)));
        quality(name, on, scored.collect())
    };
    let evidence = EVIDENCE.iter().enumerate();
    let mut found = vec![random(on, n_true, pairs.len())];
    found.extend(evidence.filter_map(|(kind, name)| of(&format!("by_{name}"), &|_, pair| pair.scores[kind])));
    found.extend(of(SUSPICION, &|_, pair| pair.suspicion));
    found.extend(combined.and_then(|log_odds| of(PROBABILITY, &|at, _| log_odds.get(at).copied())));
    found
}

/// Pairs whose truth is known, in the order of the table.
fn read(session: &Session) -> Result<Vec<Pair>, AuditError> {
    let columns = |prefix: &str| EVIDENCE.map(|name| format!("{prefix}_{name}")).join(", ");
    let sql = format!(
        "SELECT truth, is_trusted, prompt, {SUSPICION}, {}, {} FROM suspects WHERE truth IS NOT NULL ORDER BY source, row_idx",
        columns("by"),
        columns("rank")
    );
    let mut pairs = Vec::new();
    for batch in session.rows(&sql)? {
        let batch = batch?;
        let read = pairs_of(&batch);
        pairs.extend(
            read.ok_or_else(|| AuditError::Internal { what: "columns of `suspects` have other types".into() })?,
        );
    }
    Ok(pairs)
}

fn pairs_of(batch: &RecordBatch) -> Option<Vec<Pair>> {
    let [truth, is_trusted, prompt, numbers @ ..] = batch.columns() else { return None };
    let (truth, is_trusted) = (truth.as_boolean_opt()?, is_trusted.as_boolean_opt()?);
    let prompt = cast(prompt, &DataType::Utf8).ok()?;
    let prompt = prompt.as_string_opt::<i32>()?;
    let numbers: Vec<&Float64Array> =
        numbers.iter().map(|column| column.as_primitive_opt::<Float64Type>()).collect::<Option<_>>()?;
    let number = |at: usize, row: usize| {
        let column = numbers.get(at).filter(|column| column.is_valid(row))?;
        Some(column.value(row)).filter(|value| value.is_finite())
    };
    let pair = |row: usize| Pair {
        is_true: truth.value(row),
        is_trusted: is_trusted.value(row),
        prompt: Digest::of(prompt.value(row).as_bytes()),
        suspicion: number(0, row),
        scores: from_fn(|kind| number(1 + kind, row)),
        ranks: from_fn(|kind| number(1 + EVIDENCE.len() + kind, row)),
    };
    Some((0..batch.num_rows()).map(pair).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::views::STATIC;

    fn pair(is_true: bool, ranks: [Option<f64>; EVIDENCE.len()]) -> Pair {
        let prompt = Digest::of(b"prompt");
        Pair { is_true, is_trusted: true, prompt, suspicion: Some(0.5), scores: ranks, ranks }
    }

    #[test]
    fn every_kind_of_evidence_is_in_the_view() {
        let (_, view) = STATIC.iter().find(|(name, _)| *name == "suspects").unwrap();
        for name in EVIDENCE {
            assert!(view.contains(&format!("AS rank_{name}")), "rank_{name}");
            assert!(view.contains(&format!("by_{name}")), "by_{name}");
        }
    }

    #[test]
    fn evidence_that_a_table_has_not_or_that_never_differs_drops_out() {
        let ranks = |first: f64| from_fn(|kind| [Some(first), Some(0.25), None].get(kind).copied().flatten());
        let pairs = [pair(true, ranks(0.0)), pair(false, ranks(1.0)), pair(false, [None; EVIDENCE.len()])];
        let pairs: Vec<&Pair> = pairs.iter().collect();
        assert_eq!(telling(&pairs), [0]);
        // √12·(1 − ½) = √3, and the middle where there is no rank.
        assert!((pairs[1].features(&[0])[0] - 3.0_f64.sqrt()).abs() < 1e-15);
        assert!(pairs[2].features(&[0])[0].abs() < 1e-15);
    }

    #[test]
    fn the_probability_in_sql_is_that_of_the_model() {
        let model = Logistic { intercept: -2.25, weights: vec![0.5, -0.125] };
        let ranks = from_fn(|kind| match kind {
            0 => Some(0.75),
            1 => Some(0.125),
            _ => None,
        });
        let want = model.log_odds(&pair(true, ranks).features(&[0, 1]));
        let sql = format!(
            "SELECT {} FROM (VALUES (0.75, 0.125)) AS t(rank_length, rank_margin)",
            probability(&model, &[0, 1])
        );
        let batches = Session::new().unwrap().query(&sql).unwrap();
        let found = batches[0].column(0).as_primitive::<Float64Type>().value(0);
        assert!((found - crate::loss::sigmoid(want)).abs() < 1e-15, "{sql}: {found}");
    }

    #[test]
    fn chance_comes_first_and_scores_without_values_not_at_all() {
        let ranks = |first: f64| from_fn(|kind| (kind == 1).then_some(first));
        let pairs = [pair(true, ranks(1.0)), pair(false, ranks(0.0))];
        let pairs: Vec<&Pair> = pairs.iter().collect();
        let found = qualities(MeasuredOn::Others, &pairs, Some(&[-1.0, 1.0]));
        let found: Vec<(&str, f64)> = found.iter().map(|score| (score.score.as_str(), score.roc_auc)).collect();
        // The combination ranks them the wrong way round, and all suspicion is a tie.
        assert_eq!(found, [("random", 0.5), ("by_margin", 1.0), ("suspicion", 0.5), ("p_flipped", 0.0)]);
        assert_eq!(qualities(MeasuredOn::Others, &pairs[..1], None), []);
    }
}
