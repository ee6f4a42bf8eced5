//! `y = x·Wᵀ + b`, weights stored as `(out, in)` like everywhere in the field.

use candle_core::{Result, Tensor};

/// # Shapes
/// `x` `(T, in)`, `weight` `(out, in)`, `bias` `(out)`; returns `(T, out)`.
pub fn forward(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let y = x.matmul(&weight.t()?)?;
    match bias {
        Some(bias) => y.broadcast_add(bias),
        None => Ok(y),
    }
}

/// Gradient in `x`: `dy·W`. // (T, in)
pub fn backward_input(dy: &Tensor, weight: &Tensor) -> Result<Tensor> {
    dy.matmul(weight)
}

/// Gradient in the weight: `dyᵀ·x`. // (out, in)
pub fn backward_weight(dy: &Tensor, x: &Tensor) -> Result<Tensor> {
    dy.t()?.matmul(x)
}

/// Gradient in the bias: `dy` summed over rows. // (out)
pub fn backward_bias(dy: &Tensor) -> Result<Tensor> {
    dy.sum(0)
}
