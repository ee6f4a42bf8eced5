//! AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2), in the arithmetic of `torch.optim.AdamW`.

use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

use super::groups::decay;
use crate::model::{Gradients, Params};
use crate::ops::update::adamw;

/// Constants of AdamW. The defaults are torch's, but for a weight decay of 0 as in transformers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdamWParams {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay; not for biases and norms.
    pub weight_decay: f64,
}

impl Default for AdamWParams {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }
}

/// Moments of one parameter, shaped like it.
#[derive(Debug, Clone)]
pub struct Moments {
    /// Running mean of the gradient.
    pub first: Tensor,
    /// Running mean of its square.
    pub second: Tensor,
}

/// The optimiser: its constants, the number of steps made, and the moments of every trained parameter in order.
#[derive(Debug)]
pub struct AdamW {
    constants: AdamWParams,
    n_steps: u64,
    moments: Vec<Moments>,
}

impl AdamW {
    /// An optimiser that has made no step.
    pub fn new(constants: AdamWParams, params: &Params) -> Result<Self> {
        let zeros = |tensor: &Tensor| Ok(Moments { first: tensor.zeros_like()?, second: tensor.zeros_like()? });
        let moments = params.trained().map(|(_, _, tensor)| zeros(tensor)).collect::<Result<_>>()?;
        Ok(Self { constants, n_steps: 0, moments })
    }

    /// An optimiser as a checkpoint left it; `moments` in the order of the trained parameters.
    pub fn resume(constants: AdamWParams, n_steps: u64, moments: Vec<Moments>) -> Self {
        Self { constants, n_steps, moments }
    }

    /// Steps made so far.
    pub fn n_steps(&self) -> u64 {
        self.n_steps
    }

    /// The moments, in the order of the trained parameters.
    pub fn moments(&self) -> &[Moments] {
        &self.moments
    }

    /// Changes the trained parameters in place: one step against `gradients`, each first multiplied by `factor` (clipping).
    ///
    /// With `g` the gradient and `t` the step, from 1:
    ///
    /// ```text
    /// θ ← θ·(1 − lr·λ)
    /// m ← m + (g − m)·(1 − β₁)        v ← β₂·v + (1 − β₂)·g²
    /// θ ← θ − lr/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + eps)
    /// ```
    ///
    /// A parameter without a gradient stays as it is.
    pub fn step(&mut self, params: &Params, gradients: &Gradients, lr: f64, factor: f64) -> Result<()> {
        self.n_steps += 1;
        let AdamWParams { beta1, beta2, eps, weight_decay } = self.constants;
        let corrections = [beta1, beta2].map(|beta| 1.0 - beta.powf(self.n_steps as f64));
        for ((id, name, theta), moments) in params.trained().zip(&self.moments) {
            let Some(gradient) = gradients.get(id) else { continue };
            let step = adamw::Step {
                factor,
                beta1,
                beta2,
                keep: 1.0 - lr * decay(name, weight_decay),
                rate: lr / corrections[0],
                root: corrections[1].sqrt(),
                eps,
            };
            step.apply(theta, &moments.first, &moments.second, gradient, params.kernels())?;
        }
        Ok(())
    }
}
