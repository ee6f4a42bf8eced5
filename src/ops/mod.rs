//! The differentiable kernels of the decoder: each a forward function and its hand-written backward.
//!
//! Invariant: no autograd. A backward takes the gradient of the loss in the op's result and returns the gradients in
//! its inputs, so memory is what a caller keeps, frozen weights cost nothing, and the rounding of both stages is the
//! same. Each function has two forms: on the CPU kernels of our own, whose rows do not depend on each other to the last
//! bit; elsewhere, and as the oracle of the tests, candle's stock tensor operations. The fused forwards of candle-nn
//! without autograd support are welcome in these for that reason.
//!
//! Shapes: **T** rows (tokens), **D** width, **H** query heads, **G** key/value heads, **V** vocabulary, **N** scored
//! tokens; `f32` throughout, see [`Precision`].

use candle_core::{DType, Result, Tensor};

pub mod adamw;
pub mod attention;
mod cpu;
pub mod embedding;
pub mod head;
pub mod linear;
pub mod norm;
pub mod reduce;
pub mod rope;
pub mod swiglu;

#[cfg(test)]
mod finite_differences;
#[cfg(test)]
mod twins;

/// What the sides of a product are rounded to before they are multiplied. Sums, and all that is no product of a weight,
/// are `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Nothing.
    F32,
    /// bf16, eight binary digits, as in torch's autocast.
    Bf16,
}

/// How the kernels of this machine round between the terms of a sum: what can differ between machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// After the product and after the sum.
    Twice,
    /// Once, in a fused multiply-add.
    Once,
    /// As the instruction for products of bf16 does.
    Pairs,
}

/// How the products of a precision are rounded here.
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
