//! How well a score of suspicion finds swapped labels, where it is known which are swapped.

use std::cmp::Ordering;

use arrow::array::{AsArray, BooleanArray, Float64Array};
use arrow::datatypes::Float64Type;
use serde::Serialize;

use super::AuditError;
use crate::query::Session;

/// The scores of `suspects`, the baseline of length last.
const SCORES: [&str; 7] =
    ["suspicion", "by_margin", "by_margin_mean", "by_residual", "by_implicit", "by_implicit_mean", "by_length"];

/// Heads of the ranking whose precision is told.
const HEADS: [usize; 4] = [10, 25, 50, 100];

/// How well one score finds what is true.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScoreQuality {
    /// Column of `suspects`.
    pub score: String,
    /// Pairs that have both a truth and a score.
    pub n_pairs: usize,
    /// Of these, pairs of which it is true.
    pub n_true: usize,
    /// Chance that a true pair scores above another one, ties as ½: ½ is chance.
    pub roc_auc: f64,
    /// Length of a head of the ranking, and the share of true pairs in it.
    pub precision_at: Vec<(usize, f64)>,
}

/// The quality of every score of `suspects` that has values.
///
/// # Errors
/// If the truth is the same of all pairs that have one: `column` is its name.
pub(super) fn measure(session: &Session, column: &str) -> Result<Vec<ScoreQuality>, AuditError> {
    let mut truth = Vec::new();
    let mut scores: [Vec<Option<f64>>; SCORES.len()] = Default::default();
    let sql =
        format!("SELECT truth, {} FROM suspects WHERE truth IS NOT NULL ORDER BY source, row_idx", SCORES.join(", "));
    for batch in session.rows(&sql)? {
        let batch = batch?;
        let flags: Option<&BooleanArray> = batch.column(0).as_boolean_opt();
        truth.extend(flags.into_iter().flat_map(|flags| flags.iter().map(Option::unwrap_or_default)));
        for (values, array) in scores.iter_mut().zip(&batch.columns()[1..]) {
            let numbers: Option<&Float64Array> = array.as_primitive_opt::<Float64Type>();
            values.extend(numbers.into_iter().flat_map(Float64Array::iter));
        }
    }
    let n_true = truth.iter().filter(|is_true| **is_true).count();
    if n_true == 0 || n_true == truth.len() {
        let column = column.to_owned();
        return Err(AuditError::Truth { column, n_true: n_true as u64, n_pairs: truth.len() as u64 });
    }
    let of = |(name, values): (&str, &Vec<Option<f64>>)| {
        let pairs = values.iter().zip(&truth).filter_map(|(value, is_true)| Some(((*value)?, *is_true))).collect();
        quality(name, pairs)
    };
    Ok(SCORES.into_iter().zip(&scores).filter_map(of).collect())
}

/// `None` where no pair has the score, or all have the same truth.
fn quality(score: &str, mut pairs: Vec<(f64, bool)>) -> Option<ScoreQuality> {
    // A stable sort: among equals the order of the table decides, which knows nothing of the truth.
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    let n_true = pairs.iter().filter(|(_, is_true)| *is_true).count();
    let heads = HEADS.into_iter().filter(|head| *head <= pairs.len());
    let precision = |head: usize| pairs[..head].iter().filter(|(_, is_true)| *is_true).count() as f64 / head as f64;
    Some(ScoreQuality {
        score: score.to_owned(),
        n_pairs: pairs.len(),
        n_true,
        roc_auc: roc_auc(&pairs)?,
        precision_at: heads.map(|head| (head, precision(head))).collect(),
    })
}

/// Mann and Whitney's U over the number of couples, of pairs sorted by falling score.
fn roc_auc(pairs: &[(f64, bool)]) -> Option<f64> {
    let (mut above, mut couples, mut n_false) = (0.0, 0.0, 0.0);
    for ties in pairs.chunk_by(|a, b| a.0.total_cmp(&b.0) == Ordering::Equal) {
        let n_true = ties.iter().filter(|(_, is_true)| *is_true).count() as f64;
        let others = ties.len() as f64 - n_true;
        // What lies above these false ones: true pairs before, and half of those with the same score.
        above += others * (couples + n_true / 2.0);
        couples += n_true;
        n_false += others;
    }
    let all = couples * n_false;
    (all > 0.0).then(|| above / all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pairs: &[(f64, bool)], want: f64) {
        let found = quality("x", pairs.to_vec()).unwrap().roc_auc;
        assert!((found - want).abs() < 1e-12, "expected {want}, found {found}");
    }

    #[test]
    fn auc_counts_couples_in_the_right_order() {
        check(&[(3.0, true), (2.0, true), (1.0, false)], 1.0);
        check(&[(3.0, false), (2.0, true), (1.0, true)], 0.0);
        // Couples: 4 > 3 and 4 > 1 are right, 2 > 1 is right, 2 > 3 is not.
        check(&[(1.0, false), (4.0, true), (3.0, false), (2.0, true)], 0.75);
        // One right, one a tie: (1 + ½)/2.
        check(&[(1.0, true), (1.0, false), (0.0, false)], 0.75);
        check(&[(0.0, true), (0.0, false)], 0.5);
    }

    #[test]
    fn precision_is_told_of_heads_that_exist() {
        let pairs: Vec<(f64, bool)> = (0..30).map(|at| (-f64::from(at), at % 5 == 0)).collect();
        let quality = quality("x", pairs).unwrap();
        // Of the first 10 the 0th and 5th; of the first 25 the 0th, 5th, 10th, 15th and 20th.
        assert_eq!(quality.precision_at, [(10, 0.2), (25, 0.2)]);
        assert_eq!((quality.n_pairs, quality.n_true), (30, 6));
    }

    #[test]
    fn one_kind_of_truth_has_no_auc() {
        assert_eq!(quality("x", vec![(1.0, true)]), None);
        assert_eq!(quality("x", Vec::new()), None);
    }
}
