//! Root-mean-square norm (Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4) over the last dimension.

use candle_core::{D, Result, Tensor};

/// `x / rms(x) · w`, with `rms(x) = √(mean(x²) + eps)`.
///
/// # Shapes
/// `x` `(…, D)`, `weight` `(D)`; returns `(…, D)`.
#[expect(clippy::cast_possible_truncation, reason = "eps is a small constant of the configuration")]
pub fn forward(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    candle_nn::ops::rms_norm(&x.contiguous()?, weight, eps as f32)
}

/// Gradients in `x` and in the weight.
///
/// With `n = x / rms(x)` and `g = dy · w`: `dx = (g − n · mean(g · n)) / rms(x)`, `dw = Σ_rows dy · n`.
pub fn backward(dy: &Tensor, x: &Tensor, weight: &Tensor, eps: f64) -> Result<(Tensor, Tensor)> {
    let width = x.dim(D::Minus1)?;
    let inverse_rms = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?.recip()?; // (…, 1)
    let normed = x.broadcast_mul(&inverse_rms)?;
    let scaled = dy.broadcast_mul(weight)?;
    let projection = (&scaled * &normed)?.mean_keepdim(D::Minus1)?; // (…, 1)
    let dx = (scaled - normed.broadcast_mul(&projection)?)?.broadcast_mul(&inverse_rms)?;
    let dw = (dy * normed)?.reshape(((), width))?.sum(0)?; // (D)
    Ok((dx, dw))
}
