//! The differentiable kernels of the decoder: each a forward function and its hand-written backward.
//!
//! Invariant: no autograd. A backward takes the gradient of the loss in the op's result and returns the gradients in
//! its inputs, so memory is what a caller keeps, frozen weights cost nothing, and the rounding of both stages is the
//! same. Each function has two forms, and is told which to take ([`Kernels`]): kernels of our own for the CPU, whose rows
//! do not depend on each other to the last bit; and candle's stock tensor operations, which work on any device and are
//! the oracle of the tests. The fused forwards of candle-nn without autograd support are welcome in these for that
//! reason.
//!
//! Shapes: **T** rows (tokens), **D** width, **H** query heads, **G** key/value heads, **V** vocabulary, **N** scored
//! tokens; `f32` throughout, see [`Precision`].

use candle_core::{DType, Result, Tensor};

pub mod attention;
mod backend;
mod cpu;
mod device;
pub mod dropout;
pub mod embedding;
pub mod head;
pub mod linear;
pub mod norm;
pub mod profile;
pub mod reduce;
pub mod rope;
pub mod swiglu;
pub mod update;

#[cfg(test)]
mod finite_differences;
#[cfg(test)]
mod twins;

pub use backend::{Backend, Compute, Kernels, Precision};
pub use device::{DeviceError, DeviceName};

/// How our own kernels round between the terms of a sum on this machine: what can differ between machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// After the product and after the sum.
    Twice,
    /// Once, in a fused multiply-add.
    Once,
    /// As the instruction for products of bf16 does.
    Pairs,
}

/// How our own kernels round the products of a precision here.
pub fn rounding(precision: Precision) -> Rounding {
    match precision {
        Precision::Bf16 if cpu::pairs::has_instruction() => Rounding::Pairs,
        _ if cpu::Isa::best().is_fused() => Rounding::Once,
        _ => Rounding::Twice,
    }
}

/// A tensor of numbers as the stock twins multiply them.
fn rounded(x: &Tensor, precision: Precision) -> Result<Tensor> {
    match precision {
        Precision::F32 => Ok(x.clone()),
        Precision::Bf16 => x.to_dtype(DType::BF16)?.to_dtype(DType::F32),
    }
}
