//! SwiGLU gate (Shazeer 2020, arXiv:2002.05202, eq. 6): `silu(gate) · up`, `silu(z) = z·σ(z)`.

use candle_core::{Result, Tensor};

/// # Shapes
/// `gate` and `up` `(T, F)`; returns `(T, F)`.
pub fn forward(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.silu()? * up
}

/// Gradients in `gate` and `up`.
///
/// `d up = dy · silu(gate)`; `d gate = dy · up · σ(gate)·(1 + gate·(1 − σ(gate)))`.
pub fn backward(dy: &Tensor, gate: &Tensor, up: &Tensor) -> Result<(Tensor, Tensor)> {
    let sigmoid = candle_nn::ops::sigmoid(gate)?;
    let silu = (gate * &sigmoid)?;
    let slope = (&sigmoid + (&silu * (1.0 - &sigmoid)?)?)?;
    let d_up = (dy * silu)?;
    let d_gate = ((dy * up)? * slope)?;
    Ok((d_gate, d_up))
}
