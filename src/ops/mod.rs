//! The differentiable kernels of the decoder: each a forward function and its hand-written backward.
//!
//! Invariant: no autograd. A backward takes the gradient of the loss in the op's result and returns the gradients in
//! its inputs, so memory is what a caller keeps, frozen weights cost nothing, and the rounding of both stages is the
//! same. Each function has two forms: on the CPU kernels of our own, whose rows do not depend on each other to the last
//! bit; elsewhere, and as the oracle of the tests, candle's stock tensor operations. The fused forwards of candle-nn
//! without autograd support are welcome in these for that reason.
//!
//! Shapes: **T** rows (tokens), **D** width, **H** query heads, **G** key/value heads, **V** vocabulary, **N** scored
//! tokens; `f32` throughout.

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

/// Whether the kernels of this machine round a product and the sum it is added to once: the one difference between
/// machines that shows in the bits of a result.
pub fn is_fused() -> bool {
    cpu::Isa::best().is_fused()
}
