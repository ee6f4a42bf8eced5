//! Reductions that keep their digits: `f64` sums over `f32` tensors.

use candle_core::{CpuStorage, CustomOp1, D, DType, Device, Layout, Result, Shape, Tensor};
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

/// `ln Σ exp(x)` over the last dimension.
///
/// A vocabulary has some 10⁵ entries: summed one after another in `f32` they cost about 1e-5 nats a token, always in
/// the same direction, so that a long sequence drifts by 1e-3. On the CPU the sum is made in `f64`.
///
/// # Shapes
/// `x` `(N, V)`; returns `(N, 1)`.
pub fn log_sum_exp(x: &Tensor) -> Result<Tensor> {
    match x.device() {
        Device::Cpu => x.contiguous()?.apply_op1_no_bwd(&LogSumExp),
        _ => log_sum_exp_stock(x),
    }
}

/// The same from stock operations, on any device.
fn log_sum_exp_stock(x: &Tensor) -> Result<Tensor> {
    let max = x.max_keepdim(D::Minus1)?;
    x.broadcast_sub(&max)?.exp()?.sum_keepdim(D::Minus1)?.log()? + max
}

struct LogSumExp;

impl CustomOp1 for LogSumExp {
    fn name(&self) -> &'static str {
        "log-sum-exp"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n_rows, width) = layout.shape().dims2()?;
        let (CpuStorage::F32(values), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
            candle_core::bail!("log-sum-exp: expected a contiguous f32 tensor");
        };
        let rows: Vec<f32> = values[start..end].par_chunks_exact(width.max(1)).map(row_log_sum_exp).collect();
        Ok((CpuStorage::F32(rows), Shape::from((n_rows, 1))))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the result is f32, only the sum is not")]
fn row_log_sum_exp(row: &[f32]) -> f32 {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = row.iter().map(|&x| f64::from((x - max).exp())).sum();
    (f64::from(max) + sum.ln()) as f32
}

#[cfg(test)]
mod tests {
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

    /// 10⁵ equal entries: `ln Σ exp(x) = x + ln 10⁵`, to the last digit of f32.
    #[test]
    fn a_large_vocabulary_costs_no_digits() {
        let n = 100_000;
        let x = Tensor::full(3.1_f32, (2, n), &Device::Cpu).unwrap();
        let want = 3.1_f32 + (n as f32).ln();
        for row in log_sum_exp(&x).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap() {
            assert!((row - want).abs() <= f32::EPSILON * want, "{row} is not {want}");
        }
    }

    #[test]
    fn the_stock_twin_agrees() {
        let x: Vec<f32> = (0..300_u16).map(|i| (f32::from(i) * 0.37).sin() * 20.0).collect();
        let x = Tensor::from_vec(x, (3, 100), &Device::Cpu).unwrap();
        let rows = |x: Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (fast, stock) = (rows(log_sum_exp(&x).unwrap()), rows(log_sum_exp_stock(&x).unwrap()));
        assert!(fast.iter().zip(&stock).all(|(a, b)| (a - b).abs() < 1e-5), "{fast:?} {stock:?}");
    }
}
