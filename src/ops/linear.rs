//! `y = x·Wᵀ + b`, weights stored as `(out, in)` like everywhere in the field.

use candle_core::{Result, Tensor};

use super::cpu::gemm::{Matrix, Update, gemm};
use super::cpu::tensors::{InPlace, Values, copied, filled, tensor};
use super::cpu::{Isa, rows};
use super::profile::{self, Op};
use super::{Compute, Kernels, Precision, rounded};

/// # Shapes
/// `x` `(T, in)`, `weight` `(out, in)`, `bias` `(out)`; returns `(T, out)`.
pub fn forward(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, compute: Compute) -> Result<Tensor> {
    let _timer = profile::start(Op::LinearForward, || profile::product(x, weight));
    match compute.kernels.isa() {
        Some(isa) => {
            let out = filled(0.0, x.dim(0)? * weight.dim(0)?);
            forward_cpu((isa, compute.precision), x, weight, bias, out, Update::Replace)
        }
        None => forward_stock(x, weight, bias, compute.precision),
    }
}

/// `residual + x·Wᵀ + b`. // (T, out)
pub fn forward_onto(
    residual: &Tensor,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    compute: Compute,
) -> Result<Tensor> {
    let _timer = profile::start(Op::LinearForward, || profile::product(x, weight));
    match compute.kernels.isa() {
        Some(isa) => {
            let out = copied(&Values::of(&residual.contiguous()?)?);
            forward_cpu((isa, compute.precision), x, weight, bias, out, Update::Add)
        }
        None => residual + forward_stock(x, weight, bias, compute.precision)?,
    }
}

/// `y + x·Wᵀ`, in the memory of `y` where that is possible: nobody else may read `y`. // (T, out)
pub fn forward_into(y: Tensor, x: &Tensor, weight: &Tensor, compute: Compute) -> Result<Tensor> {
    let _timer = profile::start(Op::LinearForward, || profile::product(x, weight));
    let Compute { kernels, precision } = compute;
    let Some(isa) = kernels.isa() else { return y + forward_stock(x, weight, None, precision)? };
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    let ((n_rows, n_in), n_out) = (x.dims2()?, weight.dim(0)?);
    let add = |y: &mut [f32], x: &[f32], weight: &[f32]| {
        let (x, weight) = (Matrix::new(x, n_rows, n_in), Matrix::new(weight, n_out, n_in));
        gemm(isa, precision, x, weight.transposed(), y, Update::Add);
        Ok(())
    };
    y.inplace_op3(&x, &weight, &InPlace(add))?;
    Ok(y)
}

/// Gradient in `x`: `Σ dyᵢ·Wᵢ` over the maps that read `x`. // (T, in)
pub fn backward_input(maps: &[(&Tensor, &Tensor)], compute: Compute) -> Result<Tensor> {
    let [(dy, weight), ..] = maps else { candle_core::bail!("the gradient in an input that no map reads") };
    let flops = || maps.iter().map(|(dy, weight)| profile::product(dy, weight)).sum();
    let _timer = profile::start(Op::LinearBackwardInput, flops);
    let Compute { kernels, precision } = compute;
    match kernels.isa() {
        Some(isa) => {
            let shape = (dy.dim(0)?, weight.dim(1)?);
            let mut dx = filled(0.0, shape.0 * shape.1);
            for (index, (dy, weight)) in maps.iter().enumerate() {
                let update = if index == 0 { Update::Replace } else { Update::Add };
                let (dy, weight) = (dy.contiguous()?, weight.contiguous()?);
                let (dy_values, weight_values) = (Values::of(&dy)?, Values::of(&weight)?);
                gemm(isa, precision, matrix(&dy_values, &dy)?, matrix(&weight_values, &weight)?, &mut dx, update);
            }
            tensor(dx, shape)
        }
        None => backward_input_stock(maps, precision),
    }
}

/// Adds the gradient in the weight, `dyᵀ·x`, to `d_weight`, in place where that is possible. // (out, in)
pub fn backward_weight_into(d_weight: &Tensor, dy: &Tensor, x: &Tensor, compute: Compute) -> Result<Tensor> {
    let _timer = profile::start(Op::LinearBackwardWeight, || profile::product(x, d_weight));
    let Compute { kernels, precision } = compute;
    let Some(isa) = kernels.isa() else { return d_weight + backward_weight_stock(dy, x, precision)? };
    let (dy, x) = (dy.contiguous()?, x.contiguous()?);
    let ((n_rows, n_out), n_in) = (dy.dims2()?, x.dim(1)?);
    let add = |d_weight: &mut [f32], dy: &[f32], x: &[f32]| {
        let (dy, x) = (Matrix::new(dy, n_rows, n_out), Matrix::new(x, n_rows, n_in));
        gemm(isa, precision, dy.transposed(), x, d_weight, Update::Add);
        Ok(())
    };
    d_weight.inplace_op3(&dy, &x, &InPlace(add))?;
    Ok(d_weight.clone())
}

/// Gradient in the bias: `dy` summed over rows. // (out)
pub fn backward_bias(dy: &Tensor, compute: Compute) -> Result<Tensor> {
    let _timer = profile::start(Op::LinearBackwardWeight, || 0.0);
    if compute.kernels == Kernels::Stock {
        return dy.sum(0);
    }
    let dy = dy.contiguous()?;
    let mut sums = filled(0.0, dy.dim(1)?);
    rows::sum_rows(&Values::of(&dy)?, &mut sums);
    let n = sums.len();
    tensor(sums, n)
}

fn forward_cpu(
    (isa, precision): (Isa, Precision),
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    mut out: Vec<f32>,
    update: Update,
) -> Result<Tensor> {
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    let (x_values, weight_values) = (Values::of(&x)?, Values::of(&weight)?);
    gemm(isa, precision, matrix(&x_values, &x)?, matrix(&weight_values, &weight)?.transposed(), &mut out, update);
    if let Some(bias) = bias {
        rows::add_row(&Values::of(&bias.contiguous()?)?, &mut out);
    }
    tensor(out, (x.dim(0)?, weight.dim(0)?))
}

fn matrix<'a>(values: &'a Values<'_>, like: &Tensor) -> Result<Matrix<'a>> {
    let (n_rows, n_columns) = like.dims2()?;
    Ok(Matrix::new(values, n_rows, n_columns))
}

/// The same from stock operations, on any device.
pub(super) fn forward_stock(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    precision: Precision,
) -> Result<Tensor> {
    let y = rounded(x, precision)?.matmul(&rounded(weight, precision)?.t()?)?;
    match bias {
        Some(bias) => y.broadcast_add(bias),
        None => Ok(y),
    }
}

pub(super) fn backward_input_stock(maps: &[(&Tensor, &Tensor)], precision: Precision) -> Result<Tensor> {
    let mut terms = maps.iter().map(|(dy, weight)| rounded(dy, precision)?.matmul(&rounded(weight, precision)?));
    let Some(first) = terms.next() else { candle_core::bail!("the gradient in an input that no map reads") };
    terms.try_fold(first?, |sum, term| sum + term?)
}

pub(super) fn backward_weight_stock(dy: &Tensor, x: &Tensor, precision: Precision) -> Result<Tensor> {
    rounded(dy, precision)?.t()?.matmul(&rounded(x, precision)?)
}
