//! The differentiable kernels of the decoder: each a forward function and its hand-written backward.
//!
//! Invariant: no autograd. A backward takes the gradient of the loss in the op's result and returns the gradients in
//! its inputs, so memory is what a caller keeps, frozen weights cost nothing, and the rounding of both stages is the
//! same. All functions are built from candle's stock tensor operations and run on any device; the fused forwards of
//! candle-nn without autograd support are welcome here for that reason.
//!
//! Shapes: **T** rows (tokens), **D** width, **H** query heads, **G** key/value heads, **V** vocabulary, **N** scored
//! tokens; `f32` throughout.

pub mod adamw;
pub mod attention;
pub mod embedding;
pub mod head;
pub mod linear;
pub mod norm;
pub mod reduce;
pub mod rope;
pub mod swiglu;

#[cfg(test)]
mod finite_differences;
