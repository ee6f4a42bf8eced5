//! How well a score of suspicion finds swapped labels, where it is known which are swapped.
//!
//! Standard errors take pairs for independent: where many share a prompt they are too small.

use std::cmp::Ordering;

use serde::Serialize;

/// Heads of the ranking whose precision is told.
const HEADS: [usize; 4] = [10, 25, 50, 100];

/// What Agresti and Coull add to successes and to failures.
const ADDED: f64 = 2.0;

/// Name of the score that is drawn by lot.
const RANDOM: &str = "random";

/// Which pairs a score is measured on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MeasuredOn {
    /// Trusted pairs, of which the combination is fitted; each has its score by a fit that has not seen its prompt.
    Trusted,
    /// The other pairs whose truth is known, without those that share a prompt with a trusted one: no fit has seen them.
    Others,
}

/// How well one score finds what is true.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScoreQuality {
    /// Column of `suspects`, or `random` for what chance does.
    pub score: String,
    /// The pairs it is measured on.
    pub measured_on: MeasuredOn,
    /// Pairs that have both a truth and a score.
    pub n_pairs: usize,
    /// Of these, pairs of which it is true.
    pub n_true: usize,
    /// Chance that a true pair scores above another one, ties as ½: ½ is chance.
    pub roc_auc: f64,
    /// Its standard error by Hanley and McNeil 1982; 0 at a value of 0 or 1.
    pub roc_auc_se: f64,
    /// Precision of the heads of the ranking that there are.
    pub precision_at: Vec<Precision>,
}

/// Share of true pairs in a head of the ranking.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Precision {
    /// Pairs in it.
    pub k: usize,
    /// The share.
    pub precision: f64,
    /// Its standard error, binomial with two successes and two failures added (Agresti and Coull 1998), so that a share of
    /// 0 or 1 is not taken for certain. Of `random`, that of draws without replacement.
    pub se: f64,
}

/// Quality of a score by pairs of it and the truth; `None` where all have the same truth, or there are none.
pub(super) fn quality(score: &str, measured_on: MeasuredOn, mut pairs: Vec<(f64, bool)>) -> Option<ScoreQuality> {
    // A stable sort: among equals the order of the table decides, which knows nothing of the truth.
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (n_pairs, n_true) = (pairs.len(), count(&pairs));
    let roc_auc = roc_auc(&pairs)?;
    let head = |k: usize| {
        let n_found = count(&pairs[..k]) as f64;
        let share = (n_found + ADDED) / (k as f64 + 2.0 * ADDED);
        let se = (share * (1.0 - share) / (k as f64 + 2.0 * ADDED)).sqrt();
        Precision { k, precision: n_found / k as f64, se }
    };
    Some(ScoreQuality {
        score: score.to_owned(),
        measured_on,
        n_pairs,
        n_true,
        roc_auc,
        roc_auc_se: auc_error(roc_auc, n_true, n_pairs),
        precision_at: heads(n_pairs).map(head).collect(),
    })
}

/// What a score that knows nothing comes to, and how far chance alone takes it from there.
pub(super) fn random(measured_on: MeasuredOn, n_true: usize, n_pairs: usize) -> ScoreQuality {
    let share = n_true as f64 / n_pairs as f64;
    let head = |k: usize| {
        let left = (n_pairs - k) as f64 / (n_pairs as f64 - 1.0);
        Precision { k, precision: share, se: (share * (1.0 - share) / k as f64 * left).sqrt() }
    };
    ScoreQuality {
        score: RANDOM.to_owned(),
        measured_on,
        n_pairs,
        n_true,
        roc_auc: 0.5,
        roc_auc_se: auc_error(0.5, n_true, n_pairs),
        precision_at: heads(n_pairs).map(head).collect(),
    }
}

fn heads(n_pairs: usize) -> impl Iterator<Item = usize> {
    HEADS.into_iter().filter(move |head| *head <= n_pairs)
}

fn count(pairs: &[(f64, bool)]) -> usize {
    pairs.iter().filter(|(_, is_true)| *is_true).count()
}

/// Standard error of a ROC AUC: Hanley and McNeil 1982. At ½ it is that of Mann and Whitney's U, √((n + 1)/(12·n₁·n₀)).
///
/// Q₁ is the chance that two true pairs both score above another one, Q₂ that a true pair scores above two others, for
/// scores that are exponentially distributed.
pub(super) fn auc_error(auc: f64, n_true: usize, n_pairs: usize) -> f64 {
    let (n_true, n_others) = (n_true as f64, (n_pairs - n_true) as f64);
    let q1 = auc / (2.0 - auc);
    let q2 = 2.0 * auc * auc / (1.0 + auc);
    let of_true = (n_true - 1.0) * (q1 - auc * auc);
    let of_others = (n_others - 1.0) * (q2 - auc * auc);
    ((auc * (1.0 - auc) + of_true + of_others) / (n_true * n_others)).sqrt()
}

/// Mann and Whitney's U over the number of couples, of pairs sorted by falling score.
fn roc_auc(pairs: &[(f64, bool)]) -> Option<f64> {
    let (mut above, mut couples, mut n_false) = (0.0, 0.0, 0.0);
    for ties in pairs.chunk_by(|a, b| a.0.total_cmp(&b.0) == Ordering::Equal) {
        let n_true = count(ties) as f64;
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

    fn measured(pairs: &[(f64, bool)]) -> Option<ScoreQuality> {
        quality("x", MeasuredOn::Trusted, pairs.to_vec())
    }

    #[track_caller]
    fn check(pairs: &[(f64, bool)], want: f64) {
        let found = measured(pairs).unwrap().roc_auc;
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
        // Two true and two others all tied, one other above: couples 6, of which 4 are halves: 2/6.
        check(&[(1.0, true), (1.0, true), (1.0, false), (1.0, false), (2.0, false)], 1.0 / 3.0);
    }

    #[test]
    fn errors_of_the_auc_are_those_of_the_paper() {
        // A = ¾ of 2 and 2: Q₁ = 0.6, Q₂ = 9/14, so (0.1875 + 0.0375 + 0.080357…)/4 under the root.
        let found = measured(&[(1.0, false), (4.0, true), (3.0, false), (2.0, true)]).unwrap();
        assert!((found.roc_auc_se - 0.276_295_649_104_877_75).abs() < 1e-12, "{found:?}");
        // At ½ the variance is (n + 1)/(12·n₁·n₀): 101/(12·10·90).
        assert!((auc_error(0.5, 10, 100) - (101.0_f64 / 10_800.0).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn precision_is_told_of_heads_that_exist() {
        let pairs: Vec<(f64, bool)> = (0..30).map(|at| (-f64::from(at), at % 5 == 0)).collect();
        let quality = measured(&pairs).unwrap();
        // Of the first 10 the 0th and 5th; of the first 25 the 0th, 5th, 10th, 15th and 20th.
        let heads: Vec<(usize, f64)> = quality.precision_at.iter().map(|head| (head.k, head.precision)).collect();
        assert_eq!(heads, [(10, 0.2), (25, 0.2)]);
        assert_eq!((quality.n_pairs, quality.n_true), (30, 6));
        // (2 + 2)/(10 + 4) = 2/7: √(2/7·5/7/14).
        assert!((quality.precision_at[0].se - (10.0_f64 / 49.0 / 14.0).sqrt()).abs() < 1e-15, "{quality:?}");
    }

    #[test]
    fn chance_finds_the_share_and_a_head_that_is_everything_is_certain() {
        let found = random(MeasuredOn::Others, 5, 25);
        let heads: Vec<(usize, f64)> = found.precision_at.iter().map(|head| (head.k, head.precision)).collect();
        assert_eq!(heads, [(10, 0.2), (25, 0.2)]);
        // √(0.16/10·15/24) = 0.1.
        assert!((found.precision_at[0].se - 0.1).abs() < 1e-15, "{found:?}");
        assert!(found.precision_at[1].se.abs() < 1e-15, "{found:?}");
    }

    #[test]
    fn one_kind_of_truth_has_no_auc() {
        assert_eq!(measured(&[(1.0, true)]), None);
        assert_eq!(measured(&[]), None);
    }
}
