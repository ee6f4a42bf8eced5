//! Root-mean-square norm (Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4) over the last dimension.

use candle_core::{D, Result, Tensor};

use super::Kernels;
use super::cpu::tensors::{Values, filled, tensor};
use super::cpu::{Isa, rows};
use super::profile::{self, Op};

/// `x / rms(x) · w`, with `rms(x) = √(mean(x²) + eps)`.
///
/// # Shapes
/// `x` `(…, D)`, `weight` `(D)`; returns `(…, D)`.
pub fn forward(x: &Tensor, weight: &Tensor, eps: f64, kernels: Kernels) -> Result<Tensor> {
    let _timer = profile::start(Op::Norm, || 0.0);
    let x = x.contiguous()?;
    let Some(isa) = kernels.isa() else { return forward_stock(&x, weight, eps) };
    let mut out = filled(0.0, x.elem_count());
    rows::norm(isa, &Values::of(&x)?, &Values::of(weight)?, small(eps), &mut out);
    tensor(out, x.shape())
}

/// Gradients in `x` and in the weight.
///
/// With `n = x / rms(x)` and `g = dy · w`: `dx = (g − n · mean(g · n)) / rms(x)`, `dw = Σ_rows dy · n`.
pub fn backward(dy: &Tensor, x: &Tensor, weight: &Tensor, eps: f64, kernels: Kernels) -> Result<(Tensor, Tensor)> {
    let _timer = profile::start(Op::Norm, || 0.0);
    let (dy, x) = (dy.contiguous()?, x.contiguous()?);
    let Some(isa) = kernels.isa() else { return backward_stock(&dy, &x, weight, eps) };
    let (dx, dw) = backward_cpu(isa, &dy, &x, weight, eps)?;
    Ok((tensor(dx, x.shape())?, tensor(dw, weight.shape())?))
}

/// The same for an `x` that also reaches the loss past the norm: `residual` is added to its gradient.
pub fn backward_onto(
    residual: &Tensor,
    dy: &Tensor,
    x: &Tensor,
    weight: &Tensor,
    eps: f64,
    kernels: Kernels,
) -> Result<(Tensor, Tensor)> {
    let _timer = profile::start(Op::Norm, || 0.0);
    let (dy, x) = (dy.contiguous()?, x.contiguous()?);
    let Some(isa) = kernels.isa() else {
        let (dx, dw) = backward_stock(&dy, &x, weight, eps)?;
        return Ok(((residual + dx)?, dw));
    };
    let (mut dx, dw) = backward_cpu(isa, &dy, &x, weight, eps)?;
    rows::add(&Values::of(&residual.contiguous()?)?, &mut dx);
    Ok((tensor(dx, x.shape())?, tensor(dw, weight.shape())?))
}

/// The gradient in `x` alone, for a frozen weight: the bits of [`backward`].
pub fn backward_input(dy: &Tensor, x: &Tensor, weight: &Tensor, eps: f64, kernels: Kernels) -> Result<Tensor> {
    let _timer = profile::start(Op::Norm, || 0.0);
    let (dy, x) = (dy.contiguous()?, x.contiguous()?);
    let Some(isa) = kernels.isa() else { return backward_input_stock(&dy, &x, weight, eps) };
    tensor(backward_input_cpu(isa, &dy, &x, weight, eps)?, x.shape())
}

/// The same for an `x` that also reaches the loss past the norm: the bits of [`backward_onto`].
pub fn backward_input_onto(
    residual: &Tensor,
    dy: &Tensor,
    x: &Tensor,
    weight: &Tensor,
    eps: f64,
    kernels: Kernels,
) -> Result<Tensor> {
    let _timer = profile::start(Op::Norm, || 0.0);
    let (dy, x) = (dy.contiguous()?, x.contiguous()?);
    let Some(isa) = kernels.isa() else { return residual + backward_input_stock(&dy, &x, weight, eps)? };
    let mut dx = backward_input_cpu(isa, &dy, &x, weight, eps)?;
    rows::add(&Values::of(&residual.contiguous()?)?, &mut dx);
    tensor(dx, x.shape())
}

fn backward_input_cpu(isa: Isa, dy: &Tensor, x: &Tensor, weight: &Tensor, eps: f64) -> Result<Vec<f32>> {
    let mut dx = filled(0.0, x.elem_count());
    rows::norm_backward_input(isa, &Values::of(dy)?, &Values::of(x)?, &Values::of(weight)?, small(eps), &mut dx);
    Ok(dx)
}

fn backward_cpu(isa: Isa, dy: &Tensor, x: &Tensor, weight: &Tensor, eps: f64) -> Result<(Vec<f32>, Vec<f32>)> {
    let (mut dx, mut dw) = (filled(0.0, x.elem_count()), filled(0.0, weight.elem_count()));
    let (dy, x, weight) = (Values::of(dy)?, Values::of(x)?, Values::of(weight)?);
    rows::norm_backward(isa, &dy, &x, &weight, small(eps), &mut dx, &mut dw);
    Ok((dx, dw))
}

#[expect(clippy::cast_possible_truncation, reason = "eps is a small constant of the configuration")]
fn small(eps: f64) -> f32 {
    eps as f32
}

/// The same from stock operations, on any device.
fn forward_stock(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    candle_nn::ops::rms_norm(&x.contiguous()?, weight, small(eps))
}

fn backward_stock(dy: &Tensor, x: &Tensor, weight: &Tensor, eps: f64) -> Result<(Tensor, Tensor)> {
    let normed = x.broadcast_mul(&inverse_rms_stock(x, eps)?)?;
    let dw = (dy * normed)?.reshape(((), x.dim(D::Minus1)?))?.sum(0)?; // (D)
    Ok((backward_input_stock(dy, x, weight, eps)?, dw))
}

fn backward_input_stock(dy: &Tensor, x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let inverse_rms = inverse_rms_stock(x, eps)?; // (…, 1)
    let normed = x.broadcast_mul(&inverse_rms)?;
    let scaled = dy.broadcast_mul(weight)?;
    let projection = (&scaled * &normed)?.mean_keepdim(D::Minus1)?; // (…, 1)
    (scaled - normed.broadcast_mul(&projection)?)?.broadcast_mul(&inverse_rms)
}

fn inverse_rms_stock(x: &Tensor, eps: f64) -> Result<Tensor> {
    (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?.recip()
}
