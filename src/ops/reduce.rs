//! Reductions that keep their digits: `f64` sums over `f32` tensors.

use candle_core::{D, Result, Tensor};
use rayon::prelude::*;

use super::Kernels;
use super::cpu::tensors::Values;
use super::profile::{self, Op};

/// `Σ x²`, accumulated in `f64`, in pieces of a fixed size.
pub fn sum_of_squares(x: &Tensor, kernels: Kernels) -> Result<f64> {
    const PIECE: usize = 1 << 16;
    let _timer = profile::start(Op::GradientNorm, || 0.0);
    if kernels == Kernels::Stock {
        return sum_of_squares_stock(x);
    }
    let x = x.contiguous()?;
    let pieces: Vec<f64> = Values::of(&x)?.par_chunks(PIECE).map(piece_of_squares).collect();
    Ok(pieces.iter().sum())
}

/// The same from stock operations, on any device: a row is summed there, in `f32` since Metal has no `f64`, and the rows
/// here in `f64`.
fn sum_of_squares_stock(x: &Tensor) -> Result<f64> {
    let rows: Vec<f32> = x.sqr()?.sum(D::Minus1)?.flatten_all()?.to_vec1()?;
    Ok(rows.into_iter().map(f64::from).sum())
}

fn piece_of_squares(x: &[f32]) -> f64 {
    let mut lanes = [0.0; 8];
    for x in x.chunks(8) {
        for (lane, &x) in lanes.iter_mut().zip(x) {
            *lane += f64::from(x) * f64::from(x);
        }
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn views_and_wholes_agree_with_plain_sums() {
        let x = Tensor::arange(0_f32, 600., &Device::Cpu).unwrap().reshape((20, 30)).unwrap();
        // Whole numbers below 2²⁴, which f32 has all.
        let whole: f64 = (0..600).map(|value| f64::from(value * value)).sum();
        let row: f64 = (30..60).map(|value| f64::from(value * value)).sum();
        for kernels in [Kernels::Own, Kernels::Stock] {
            assert_eq!(sum_of_squares(&x, kernels).unwrap(), whole);
            assert_eq!(sum_of_squares(&x.t().unwrap(), kernels).unwrap(), whole);
            assert_eq!(sum_of_squares(&x.narrow(0, 1, 1).unwrap(), kernels).unwrap(), row);
            assert_eq!(sum_of_squares(&x.get(1).unwrap(), kernels).unwrap(), row);
        }
    }
}
