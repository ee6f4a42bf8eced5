//! Logistic regression with an L2 penalty, for few features.
//!
//! ln(p/(1 − p)) = b + ⟨w, x⟩ (Hosmer and Lemeshow 2000, chapter 2); as a way from scores to probabilities it is that of
//! Platt 1999. The fit minimises
//!
//! ```text
//! Σ softplus(−s·(b + ⟨w, x⟩)) + λ/2·‖w‖²          s = 1 where it is true, −1 where not
//! ```
//!
//! by Newton's method with halved steps, which is iteratively reweighted least squares. The intercept b bears no penalty
//! (le Cessie and van Houwelingen 1992). With λ > 0 and both kinds present there is one minimum, and it is finite: also of
//! examples that a plane separates, where without a penalty the weights go to infinity.

use crate::loss::{sigmoid, softplus};

/// Newton steps at most. From the base rate half a dozen do.
const MOST_STEPS: usize = 100;

/// Halvings of a step at most: after so many nothing is left of it.
const MOST_HALVINGS: usize = 60;

/// Share of the descent a step promises that it must make (Armijo's rule).
const LEAST_DESCENT: f64 = 1e-4;

/// Descent still to be had, relative to the value, at which a fit has arrived.
const TOLERANCE: f64 = 1e-14;

/// A fitted combination of features.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Logistic {
    /// Log-odds where all features are 0.
    pub(super) intercept: f64,
    /// Log-odds a unit of each feature.
    pub(super) weights: Vec<f64>,
}

impl Logistic {
    /// ln(p/(1 − p)) of an example.
    pub(super) fn log_odds(&self, features: &[f64]) -> f64 {
        self.intercept + self.weights.iter().zip(features).map(|(weight, feature)| weight * feature).sum::<f64>()
    }
}

/// The best combination for these examples, all of as many features; `ridge` is λ.
///
/// `None` where all examples are of one kind, or no step of Newton's method could be computed.
pub(super) fn fit(features: &[&[f64]], truth: &[bool], ridge: f64) -> Option<Logistic> {
    let n_true = truth.iter().filter(|is_true| **is_true).count();
    if n_true == 0 || n_true == truth.len() {
        return None;
    }
    let width = features.first().map_or(0, |first| first.len());
    let problem = Problem { features, truth, ridge };
    // The base rate: where the descent of every fold begins, so that none depends on another.
    let base_rate = (n_true as f64 / (truth.len() - n_true) as f64).ln();
    let mut point = Logistic { intercept: base_rate, weights: vec![0.0; width] };
    let mut value = problem.value(&point);
    for _ in 0..MOST_STEPS {
        let Slopes { gradient, hessian } = problem.slopes(&point);
        let step = solve(hessian, gradient.clone())?;
        let promised: f64 = step.iter().zip(&gradient).map(|(step, slope)| step * slope).sum();
        if promised <= TOLERANCE * (1.0 + value) {
            return Some(moved(&point, &step, 1.0));
        }
        (point, value) = problem.descended(&point, value, &step, promised)?;
    }
    None
}

/// What is minimised.
struct Problem<'a> {
    features: &'a [&'a [f64]],
    truth: &'a [bool],
    ridge: f64,
}

/// First and second derivatives, the intercept first; of the second ones, which are symmetric, those up to the diagonal.
struct Slopes {
    gradient: Vec<f64>,
    hessian: Vec<Vec<f64>>,
}

impl Problem<'_> {
    fn value(&self, point: &Logistic) -> f64 {
        let penalty: f64 = point.weights.iter().map(|weight| weight * weight).sum();
        let losses = self.features.iter().zip(self.truth);
        losses.map(|(features, &is_true)| log_loss(point.log_odds(features), is_true)).sum::<f64>()
            + self.ridge / 2.0 * penalty
    }

    fn slopes(&self, point: &Logistic) -> Slopes {
        let n = point.weights.len() + 1;
        let mut gradient = vec![0.0; n];
        let mut hessian = vec![vec![0.0; n]; n];
        for (features, &is_true) in self.features.iter().zip(self.truth) {
            let log_odds = point.log_odds(features);
            let slope = sigmoid(log_odds) - f64::from(is_true);
            let curvature = sigmoid(log_odds) * sigmoid(-log_odds);
            let with_one = || std::iter::once(1.0).chain(features.iter().copied());
            for (at, ((sum, row), feature)) in gradient.iter_mut().zip(&mut hessian).zip(with_one()).enumerate() {
                *sum += slope * feature;
                for (sum, other) in row.iter_mut().zip(with_one()).take(at + 1) {
                    *sum += curvature * feature * other;
                }
            }
        }
        for (at, weight) in (1..n).zip(&point.weights) {
            gradient[at] += self.ridge * weight;
            hessian[at][at] += self.ridge;
        }
        Slopes { gradient, hessian }
    }

    /// The point a step away, or half a step, or a quarter, as soon as the value falls as it should.
    fn descended(&self, from: &Logistic, value: f64, step: &[f64], promised: f64) -> Option<(Logistic, f64)> {
        // Near the minimum a sum of so many terms no longer tells descent from rounding.
        let rounding = f64::EPSILON * self.truth.len() as f64 * (1.0 + value);
        let mut share = 1.0;
        for _ in 0..MOST_HALVINGS {
            let to = moved(from, step, share);
            let found = self.value(&to);
            if found <= value - LEAST_DESCENT * share * promised + rounding {
                return Some((to, found));
            }
            share /= 2.0;
        }
        None
    }
}

/// Loss of a prediction in nats: −ln p where it is true, −ln(1 − p) where not.
pub(super) fn log_loss(log_odds: f64, is_true: bool) -> f64 {
    softplus(if is_true { -log_odds } else { log_odds })
}

fn moved(from: &Logistic, step: &[f64], share: f64) -> Logistic {
    let (intercept, weights) = step.split_first().map_or((0.0, step), |(first, rest)| (*first, rest));
    Logistic {
        intercept: from.intercept - share * intercept,
        weights: from.weights.iter().zip(weights).map(|(weight, step)| weight - share * step).collect(),
    }
}

/// x of A·x = b by Cholesky's decomposition, which reads A up to its diagonal; `None` where A is not positive definite to the last digit.
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Option<Vec<f64>> {
    let dot = |left: &[f64], right: &[f64]| left.iter().zip(right).map(|(left, right)| left * right).sum::<f64>();
    let n = b.len();
    for column in 0..n {
        let pivot = a[column][column] - dot(&a[column][..column], &a[column][..column]);
        if pivot.is_nan() || pivot <= 0.0 {
            return None;
        }
        let root = pivot.sqrt();
        a[column][column] = root;
        for row in column + 1..n {
            a[row][column] = (a[row][column] - dot(&a[row][..column], &a[column][..column])) / root;
        }
    }
    for row in 0..n {
        b[row] = (b[row] - dot(&a[row][..row], &b[..row])) / a[row][row];
    }
    for row in (0..n).rev() {
        let below: f64 = (row + 1..n).map(|lower| a[lower][row] * b[lower]).sum();
        b[row] = (b[row] - below) / a[row][row];
    }
    Some(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares intercept and weights.
    #[track_caller]
    fn check(rows: &[&[f64]], truth: &[bool], ridge: f64, want: &[f64]) {
        let found = fit(rows, truth, ridge).unwrap();
        let found: Vec<f64> = std::iter::once(found.intercept).chain(found.weights).collect();
        assert_eq!(found.len(), want.len());
        assert!(found.iter().zip(want).all(|(found, want)| (found - want).abs() < 1e-9), "{found:?} is not {want:?}");
    }

    const ROWS: [&[f64]; 7] =
        [&[0.5, -1.0], &[1.5, 0.0], &[-1.0, 2.0], &[0.0, 1.0], &[2.0, -0.5], &[-0.5, -1.5], &[1.0, 1.0]];
    const TRUTH: [bool; 7] = [true, true, false, false, true, false, true];

    #[test]
    fn without_a_penalty_one_yes_or_no_question_has_the_log_odds_of_its_answers() {
        // True of 3 in 10 where it is 0 and of 6 in 8 where it is 1: ln(3/7), and ln(6/2) − ln(3/7) = ln 7.
        let rows: Vec<&[f64]> = std::iter::repeat_n(&[0.0][..], 10).chain(std::iter::repeat_n(&[1.0][..], 8)).collect();
        let truth: Vec<bool> = (0..10).map(|at| at < 3).chain((0..8).map(|at| at < 6)).collect();
        check(&rows, &truth, 0.0, &[(3.0_f64 / 7.0).ln(), 7.0_f64.ln()]);
    }

    #[test]
    fn a_penalty_gives_the_numbers_of_another_program() {
        // Newton's method in plain Python with Gaussian elimination, 100 steps from 0.
        check(&ROWS, &TRUTH, 2.0, &[-0.057_881_319_296_978_52, 0.827_863_536_415_952_1, -0.165_893_028_490_010_67]);
        check(&ROWS, &TRUTH, 0.5, &[-0.376_763_196_400_881_8, 1.719_881_569_534_273_5, -0.255_213_667_117_497_8]);
    }

    #[test]
    fn at_the_minimum_all_slopes_are_zero() {
        for ridge in [0.5, 1.0, 100.0] {
            let problem = Problem { features: &ROWS, truth: &TRUTH, ridge };
            let Slopes { gradient, .. } = problem.slopes(&fit(&ROWS, &TRUTH, ridge).unwrap());
            assert!(gradient.iter().all(|slope| slope.abs() < 1e-9), "λ {ridge}: {gradient:?}");
        }
    }

    #[test]
    fn what_a_plane_separates_stays_finite() {
        // By symmetry b = 0, and the slope is −2·σ(−w) + w: its root is 0.674 831 614 342 399 4.
        check(&[&[1.0], &[-1.0]], &[true, false], 1.0, &[0.0, 0.674_831_614_342_399_4]);
        // Of large numbers too, where the first steps of Newton's method go much too far.
        let found = fit(&[&[1e6], &[-1e6], &[2e6], &[-3e6]], &[true, false, true, false], 1.0).unwrap();
        assert!(found.weights[0] > 0.0 && found.weights[0] < 1e-3, "{found:?}");
    }

    #[test]
    fn two_equal_features_share_the_weight_evenly() {
        // The matrix is singular but for the penalty.
        let rows: Vec<[f64; 2]> = ROWS.iter().map(|row| [row[0], row[0]]).collect();
        let rows: Vec<&[f64]> = rows.iter().map(<[f64; 2]>::as_slice).collect();
        let found = fit(&rows, &TRUTH, 1.0).unwrap();
        assert!((found.weights[0] - found.weights[1]).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn without_features_the_base_rate_is_left_and_of_one_kind_nothing() {
        let rows: [&[f64]; 4] = [&[]; 4];
        check(&rows, &[true, false, false, false], 1.0, &[(1.0_f64 / 3.0).ln()]);
        assert_eq!(fit(&rows, &[false; 4], 1.0), None);
        assert_eq!(fit(&[], &[], 1.0), None);
    }

    #[test]
    fn log_loss_is_that_of_the_probability() {
        assert!((log_loss(3.0_f64.ln(), true) + 0.75_f64.ln()).abs() < 1e-15);
        assert!((log_loss(3.0_f64.ln(), false) + 0.25_f64.ln()).abs() < 1e-15);
    }
}
