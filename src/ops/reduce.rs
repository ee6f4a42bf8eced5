//! Reductions that keep their digits: `f64` sums over `f32` tensors.

use candle_core::{DType, Result, Tensor};
use rayon::prelude::*;

use super::cpu::tensors::{Values, path};

/// `Σ x²`, accumulated in `f64`, in pieces of a fixed size.
pub fn sum_of_squares(x: &Tensor) -> Result<f64> {
    const PIECE: usize = 1 << 16;
    let x = x.contiguous()?;
    if path(&x).is_none() {
        return x.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar();
    }
    let pieces: Vec<f64> = Values::of(&x)?.par_chunks(PIECE).map(piece_of_squares).collect();
    Ok(pieces.iter().sum())
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
        let whole: f64 = (0..600).map(|value| f64::from(value * value)).sum();
        assert_eq!(sum_of_squares(&x).unwrap(), whole);
        assert_eq!(sum_of_squares(&x.t().unwrap()).unwrap(), whole);
        let row: f64 = (30..60).map(|value| f64::from(value * value)).sum();
        assert_eq!(sum_of_squares(&x.narrow(0, 1, 1).unwrap()).unwrap(), row);
    }
}
