//! A running mean of the trained weights: `θ̄ ← d·θ̄ + (1 − d)·θ` after every step, from the weights before the first, as
//! `torch.optim.swa_utils.AveragedModel` with `get_ema_multi_avg_fn` has it.

use candle_core::{Result, Tensor};

use crate::model::Params;
use crate::ops::update::average;

/// The running mean of every trained parameter in order, which training itself does not read.
///
/// In `f32`: a distance `θ − θ̄` that is below 2⁻²⁴/(1 − d) of the number itself does not move it.
#[derive(Debug)]
pub struct Ema {
    decay: f64,
    tensors: Vec<Tensor>,
}

impl Ema {
    /// A mean of the parameters as they are.
    pub fn new(decay: f64, params: &Params) -> Result<Self> {
        let tensors = params.trained().map(|(_, _, tensor)| tensor.copy()).collect::<Result<_>>()?;
        Ok(Self { decay, tensors })
    }

    /// A mean as a checkpoint left it, in the order of the trained parameters.
    pub fn resume(decay: f64, tensors: Vec<Tensor>) -> Self {
        Self { decay, tensors }
    }

    /// The means, in the order of the trained parameters.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Takes the parameters after a step into the mean.
    pub fn update(&mut self, params: &Params) -> Result<()> {
        for ((_, _, theta), mean) in params.trained().zip(&self.tensors) {
            average::approach(mean, theta, 1.0 - self.decay, params.kernels())?;
        }
        Ok(())
    }

    /// Changes places with the trained parameters: they are the means then, and these the parameters, until it is called
    /// again.
    pub(crate) fn swap(&mut self, params: &mut Params) {
        params.swap_trained(&mut self.tensors);
    }
}
