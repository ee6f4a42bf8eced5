//! RMSprop (Hinton, Srivastava & Swersky 2012, lecture 6 of "Neural networks for machine learning"), in the arithmetic of
//! `torch.optim.RMSprop`: the optimiser of the DPO paper (arXiv:2305.18290, appendix B).

use candle_core::{Result, Tensor};
use serde::Serialize;

use super::groups::decay;
use crate::model::{Gradients, Params};
use crate::ops::update::rmsprop;

/// Constants of RMSprop. The defaults are torch's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RmsPropParams {
    /// Decay of the mean square.
    pub alpha: f64,
    /// Added to the root of the mean square.
    pub eps: f64,
    /// Share of the last change that is made again; 0 for none.
    pub momentum: f64,
    /// L2 penalty: this share of the parameter is added to its gradient; not for biases and norms.
    pub weight_decay: f64,
}

impl Default for RmsPropParams {
    fn default() -> Self {
        Self { alpha: 0.99, eps: 1e-8, momentum: 0.0, weight_decay: 0.0 }
    }
}

/// What RMSprop keeps of one parameter, shaped like it.
#[derive(Debug, Clone)]
pub struct Squares {
    /// Running mean of the square of the gradient.
    pub square: Tensor,
    /// The last change over the learning rate, if there is momentum.
    pub buffer: Option<Tensor>,
}

/// The optimiser: its constants and what it keeps of every trained parameter in order.
#[derive(Debug)]
pub struct RmsProp {
    constants: RmsPropParams,
    kept: Vec<Squares>,
}

impl RmsProp {
    /// An optimiser that keeps `kept` of the trained parameters, in their order.
    pub(super) fn resume(constants: RmsPropParams, kept: Vec<Squares>) -> Self {
        Self { constants, kept }
    }

    /// What it keeps, in the order of the trained parameters.
    pub fn kept(&self) -> &[Squares] {
        &self.kept
    }

    /// Changes the trained parameters in place: one step against `gradients`, each first multiplied by `factor`
    /// (clipping).
    ///
    /// ```text
    /// g ← g + λ·θ
    /// v ← α·v + (1 − α)·g²
    /// b ← μ·b + g/(√v + eps)
    /// θ ← θ − lr·b
    /// ```
    ///
    /// Without momentum `μ`, `b` is not kept. A parameter without a gradient stays as it is.
    pub fn step(&mut self, params: &Params, gradients: &Gradients, lr: f64, factor: f64) -> Result<()> {
        let RmsPropParams { alpha, eps, momentum, weight_decay } = self.constants;
        for ((id, name, theta), kept) in params.trained().zip(&self.kept) {
            let Some(gradient) = gradients.get(id) else { continue };
            let step = rmsprop::Step { factor, decay: decay(name, weight_decay), alpha, eps, momentum, rate: lr };
            step.apply(theta, &kept.square, kept.buffer.as_ref(), gradient, params.kernels())?;
        }
        Ok(())
    }
}
