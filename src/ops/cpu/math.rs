//! Functions and sums over rows, written so that a compiler turns them into vectors without changing a bit: no fused
//! operations, no branches, sums in a fixed number of lanes.

/// Lanes of a sum: entry `i` is added to lane `i mod LANES`, the lanes in a fixed tree at the end.
pub(in crate::ops) const LANES: usize = 16;

/// `eˣ` to about two units in the last place, for results that are no subnormals: below −87 and above 88 it is the
/// value there. A NaN stays one.
///
/// Cody & Waite's reduction to `|r| ≤ ½·ln 2` and the polynomial of Cephes (`expf.c`, Moshier).
#[inline(always)]
pub(in crate::ops) fn exp(x: f32) -> f32 {
    /// Added and taken away, it rounds to an integer, which then is in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts; the first has so few digits that its products with the integer are exact.
    const LN_2: (f32, f32) = (355.0 / 512.0, -2.121_944_4e-4);
    const EXPONENT_OF_ONE: u32 = 127 << 23;

    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2.0 - n * LN_2.1;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5e-1;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(EXPONENT_OF_ONE));
    (p * r * r + r + 1.0) * power
}

/// `σ(x) = 1/(1 + e⁻ˣ)`.
#[inline(always)]
pub(in crate::ops) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `Σ f(x, y)` over two rows of equal length.
#[inline(always)]
pub(in crate::ops) fn sum_of(x: &[f32], y: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    for (x, y) in x.iter().zip(y) {
        for ((lane, &x), &y) in lanes.iter_mut().zip(x).zip(y) {
            *lane += f(x, y);
        }
    }
    for ((lane, &x), &y) in lanes.iter_mut().zip(x_rest).zip(y_rest) {
        *lane += f(x, y);
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
    }
    lanes[0]
}

/// The largest entry, −∞ of none. What is no number is passed over: the sums after it are none.
#[inline(always)]
pub(in crate::ops) fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}

/// `Σ eˣ⁻ᵐ` in `f64`: summed in `f32`, the many terms of a vocabulary lose about 1e-5 nats a token, always in the same
/// direction.
#[inline(always)]
pub(in crate::ops) fn sum_of_exp(x: &[f32], max: f32) -> f64 {
    sum_in_f64(x, |x| f64::from(exp(x - max)))
}

/// `Σ eˣ⁻ᵐ` and `Σ (x − m)·eˣ⁻ᵐ` in one sweep; the first is the bits of [`sum_of_exp`]. Like it, the second takes an
/// exponent below −87 for −87: what is so unlikely adds nothing, and −∞ is a number then.
#[inline(always)]
pub(in crate::ops) fn sums_of_exp(x: &[f32], max: f32) -> (f64, f64) {
    let (mut sum, mut weighted) = ([0.0_f64; LANES], [0.0_f64; LANES]);
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in chunk.iter().enumerate() {
            let (power, product) = weighted_exp(x - max);
            sum[lane] += f64::from(power);
            weighted[lane] += f64::from(product);
        }
    }
    for (lane, &x) in rest.iter().enumerate() {
        let (power, product) = weighted_exp(x - max);
        sum[lane] += f64::from(power);
        weighted[lane] += f64::from(product);
    }
    (tree(sum), tree(weighted))
}

/// `eˣ` and `x·eˣ`.
#[inline(always)]
fn weighted_exp(x: f32) -> (f32, f32) {
    let power = exp(x);
    let x = if x < -87.0 { -87.0 } else { x };
    (power, x * power)
}

/// `Σ (eˣ⁻ᵐ)²` in `f64`.
#[inline(always)]
pub(in crate::ops) fn sum_of_squared_exp(x: &[f32], max: f32) -> f64 {
    sum_in_f64(x, |x| {
        let power = f64::from(exp(x - max));
        power * power
    })
}

/// `Σ f(x)` in `f64`.
#[inline(always)]
fn sum_in_f64(x: &[f32], f: impl Fn(f32) -> f64) -> f64 {
    let mut lanes = [0.0_f64; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            *lane += f(x);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane += f(x);
    }
    tree(lanes)
}

/// The sum of the lanes.
#[inline(always)]
fn tree(mut lanes: [f64; LANES]) -> f64 {
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_exp() {
        let mut worst = 0.0_f64;
        for i in -870_000..880_000 {
            let x = i as f32 * 1e-4;
            let want = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - want).abs() / want);
        }
        assert!(worst < 2.5 * f64::from(f32::EPSILON), "{worst:e}");
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 1.7e-38);
        assert!(exp(f32::INFINITY) > 1e38);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn sums_cover_whole_and_broken_rows_of_lanes() {
        for n in [0_u16, 1, 15, 16, 17, 100] {
            let x: Vec<f32> = (0..n).map(f32::from).collect();
            assert_eq!(sum_of(&x, &x, |x, _| x), x.iter().sum::<f32>());
            assert_eq!(max(&x), x.last().copied().unwrap_or(f32::NEG_INFINITY));
            let sum: f64 = x.iter().map(|&x| f64::from(x - 40.0).exp()).sum();
            assert!((sum_of_exp(&x, 40.0) - sum).abs() <= 1e-6 * sum);
            let squares: f64 = x.iter().map(|&x| (2.0 * f64::from(x - 40.0)).exp()).sum();
            assert!((sum_of_squared_exp(&x, 40.0) - squares).abs() <= 1e-6 * squares);
            let (alone, weighted) = sums_of_exp(&x, 40.0);
            assert_eq!(alone.to_bits(), sum_of_exp(&x, 40.0).to_bits(), "one sweep or two");
            let terms: Vec<f64> = x.iter().map(|&x| f64::from(x - 40.0) * f64::from(x - 40.0).exp()).collect();
            let (want, size) = (terms.iter().sum::<f64>(), terms.iter().map(|term| term.abs()).sum::<f64>());
            assert!((weighted - want).abs() <= 1e-6 * size, "{weighted} is not {want}");
        }
    }

    #[test]
    fn what_is_impossible_has_no_weight() {
        let (sum, weighted) = sums_of_exp(&[0.0, f32::NEG_INFINITY, -1e30], 0.0);
        assert!((sum - 1.0).abs() < 1e-30 && weighted.abs() < 1e-30, "{sum} {weighted}");
    }
}
