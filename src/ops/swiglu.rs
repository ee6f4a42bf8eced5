//! SwiGLU gate (Shazeer 2020, arXiv:2002.05202, eq. 6): `silu(gate) · up`, `silu(z) = z·σ(z)`.

use candle_core::{Result, Tensor};

use super::Kernels;
use super::cpu::rows;
use super::cpu::tensors::{Values, filled, tensor};
use super::profile::{self, Op};

/// # Shapes
/// `gate` and `up` `(T, F)`; returns `(T, F)`.
pub fn forward(gate: &Tensor, up: &Tensor, kernels: Kernels) -> Result<Tensor> {
    let _timer = profile::start(Op::Swiglu, || 0.0);
    let (gate, up) = (gate.contiguous()?, up.contiguous()?);
    let Some(isa) = kernels.isa() else { return forward_stock(&gate, &up) };
    let mut out = filled(0.0, gate.elem_count());
    rows::swiglu(isa, &Values::of(&gate)?, &Values::of(&up)?, &mut out);
    tensor(out, gate.shape())
}

/// Gradients in `gate` and `up`.
///
/// `d up = dy · silu(gate)`; `d gate = dy · up · σ(gate)·(1 + gate·(1 − σ(gate)))`.
pub fn backward(dy: &Tensor, gate: &Tensor, up: &Tensor, kernels: Kernels) -> Result<(Tensor, Tensor)> {
    let _timer = profile::start(Op::Swiglu, || 0.0);
    let (dy, gate, up) = (dy.contiguous()?, gate.contiguous()?, up.contiguous()?);
    let Some(isa) = kernels.isa() else { return backward_stock(&dy, &gate, &up) };
    let (mut d_gate, mut d_up) = (filled(0.0, gate.elem_count()), filled(0.0, gate.elem_count()));
    rows::swiglu_backward(isa, &Values::of(&dy)?, &Values::of(&gate)?, &Values::of(&up)?, &mut d_gate, &mut d_up);
    Ok((tensor(d_gate, gate.shape())?, tensor(d_up, gate.shape())?))
}

/// The same from stock operations, on any device.
fn forward_stock(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.silu()? * up
}

fn backward_stock(dy: &Tensor, gate: &Tensor, up: &Tensor) -> Result<(Tensor, Tensor)> {
    let sigmoid = candle_nn::ops::sigmoid(gate)?;
    let silu = (gate * &sigmoid)?;
    let slope = (&sigmoid + (&silu * (1.0 - &sigmoid)?)?)?;
    let d_up = (dy * silu)?;
    let d_gate = ((dy * up)? * slope)?;
    Ok((d_gate, d_up))
}
