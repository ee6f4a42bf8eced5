//! Rotary position embedding (Su et al. 2021, arXiv:2104.09864, eq. 34) at explicit positions, in the half-split
//! layout of the Hugging Face checkpoints: dimension `i` is rotated with dimension `i + d/2`.

use candle_core::{Device, Result, Tensor};

use super::Kernels;
use super::cpu::rows;
use super::cpu::tensors::{Values, filled, tensor};
use super::profile::{self, Op};

/// Cosines and sines of every row's position.
#[derive(Debug, Clone)]
pub struct Rotation {
    cos: Tensor, // (T, d/2)
    sin: Tensor, // (T, d/2)
    minus_sin: Tensor,
}

impl Rotation {
    /// Angles `position · frequency`, multiplied in `f32` as the reference implementations do.
    ///
    /// # Shapes
    /// `positions` `(T)`, `frequencies` `(d/2)`.
    pub fn new(positions: &[u32], frequencies: &[f32], device: &Device) -> Result<Self> {
        let mut cos = Vec::with_capacity(positions.len() * frequencies.len());
        let mut sin = Vec::with_capacity(positions.len() * frequencies.len());
        for &position in positions {
            for &frequency in frequencies {
                let (s, c) = (position as f32 * frequency).sin_cos();
                cos.push(c);
                sin.push(s);
            }
        }
        let shape = (positions.len(), frequencies.len());
        let sin = Tensor::from_vec(sin, shape, device)?;
        Ok(Self { cos: Tensor::from_vec(cos, shape, device)?, minus_sin: sin.neg()?, sin })
    }
}

/// Rotates every head of every row.
///
/// # Shapes
/// `x` `(T, H, d)`; returns the same.
pub fn forward(x: &Tensor, rotation: &Rotation, kernels: Kernels) -> Result<Tensor> {
    rotate(x, rotation, Direction::Forth, kernels)
}

/// Gradient in `x`: the rotation by the opposite angle.
pub fn backward(dy: &Tensor, rotation: &Rotation, kernels: Kernels) -> Result<Tensor> {
    rotate(dy, rotation, Direction::Back, kernels)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forth,
    Back,
}

fn rotate(x: &Tensor, rotation: &Rotation, direction: Direction, kernels: Kernels) -> Result<Tensor> {
    let _timer = profile::start(Op::Rope, || 0.0);
    let x = x.contiguous()?;
    let Some(isa) = kernels.isa() else { return rotate_stock(&x, rotation, direction) };
    let mut out = filled(0.0, x.elem_count());
    let sign = if direction == Direction::Forth { 1.0 } else { -1.0 };
    let (cos, sin) = (Values::of(&rotation.cos)?, Values::of(&rotation.sin)?);
    rows::rotate(isa, &Values::of(&x)?, &cos, &sin, rotation.cos.dim(1)?, sign, &mut out);
    tensor(out, x.shape())
}

/// The same from stock operations, on any device.
fn rotate_stock(x: &Tensor, rotation: &Rotation, direction: Direction) -> Result<Tensor> {
    let sin = if direction == Direction::Forth { &rotation.sin } else { &rotation.minus_sin };
    candle_nn::rotary_emb::rope_thd(&x.unsqueeze(0)?.contiguous()?, &rotation.cos, sin)?.squeeze(0)
}
