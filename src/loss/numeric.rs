//! Functions of one number that keep their digits in both tails.

/// Largest exponent of an `exp` that a pair's log-ratio drives. Beyond it `f32` has no number any more, so a trainer that
/// computes there has stopped with an infinite loss.
pub(super) const EXPONENT_CAP: f64 = 88.0;

/// Value and slope of a function at one point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Curve {
    pub(super) value: f64,
    pub(super) slope: f64,
}

/// `ln(1 + eˣ)`; finite for every finite input, exact in both tails.
pub fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// `1 / (1 + e⁻ˣ)`, without overflow.
pub fn sigmoid(x: f64) -> f64 {
    let e = (-x.abs()).exp();
    if x >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
}

/// `ln σ(x)`, exact in both tails.
pub fn log_sigmoid(x: f64) -> f64 {
    -softplus(-x)
}

/// `ln(1 − eˣ)` for `x < 0`; from −ln 2 on upwards `1 − eˣ` would cancel, below it `eˣ` is the small one.
pub(super) fn log1mexp(x: f64) -> f64 {
    if x > -std::f64::consts::LN_2 { (-x.exp_m1()).ln() } else { (-x.exp()).ln_1p() }
}

/// `eˣ − 1` up to the exponent `cap`, where it stays; the slope is 0 beyond, as that of a clamp.
pub(super) fn capped_exp_m1(x: f64, cap: f64) -> Curve {
    if x > cap { Curve { value: cap.exp_m1(), slope: 0.0 } } else { Curve { value: x.exp_m1(), slope: x.exp() } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(got: f64, want: f64) {
        assert!((got - want).abs() <= 1e-15 * want.abs().max(1e-300), "{got} is not {want}");
    }

    #[test]
    fn softplus_at_zero_where_every_run_starts() {
        close(softplus(0.0), std::f64::consts::LN_2);
    }

    #[test]
    fn softplus_keeps_its_digits_in_both_tails() {
        close(softplus(800.0), 800.0);
        close(softplus(-40.0), 4.248_354_255_291_589e-18);
        close(log_sigmoid(40.0), -4.248_354_255_291_589e-18);
        close(log_sigmoid(-800.0), -800.0);
    }

    #[test]
    fn sigmoid_neither_overflows_nor_loses_its_small_side() {
        close(sigmoid(0.0), 0.5);
        close(sigmoid(-800.0), 0.0);
        close(sigmoid(800.0), 1.0);
        close(sigmoid(-40.0), 4.248_354_255_291_589e-18);
    }

    #[test]
    fn log1mexp_keeps_its_digits_near_one_and_near_zero() {
        // ln(1 − e^x) = ln(−x) + x/2 − … for small x, and −e^x for very negative x.
        close(log1mexp(-1e-12), (1e-12_f64).ln() - 5e-13);
        close(log1mexp(-40.0), -4.248_354_255_291_589e-18);
        close(log1mexp(-std::f64::consts::LN_2), -std::f64::consts::LN_2);
    }
}
