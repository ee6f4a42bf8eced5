//! Stochastic gradient descent, with momentum if it is asked for, in the arithmetic of `torch.optim.SGD` without
//! dampening and without Nesterov's look ahead.

use candle_core::{Result, Tensor};
use serde::Serialize;

use super::groups::decay;
use crate::model::{Gradients, Params};
use crate::ops::update::sgd;

/// Constants of SGD. The defaults are torch's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct SgdParams {
    /// Share of the last change that is made again; 0 for none.
    pub momentum: f64,
    /// L2 penalty: this share of the parameter is added to its gradient; not for biases and norms.
    pub weight_decay: f64,
}

/// The optimiser: its constants and, with momentum, the last change of every trained parameter in order.
#[derive(Debug)]
pub struct Sgd {
    constants: SgdParams,
    buffers: Vec<Option<Tensor>>,
}

impl Sgd {
    /// An optimiser that keeps these changes of the trained parameters, in their order.
    pub(super) fn resume(constants: SgdParams, buffers: Vec<Option<Tensor>>) -> Self {
        Self { constants, buffers }
    }

    /// The last change of each trained parameter over the learning rate, in their order; none without momentum.
    pub fn buffers(&self) -> &[Option<Tensor>] {
        &self.buffers
    }

    /// Changes the trained parameters in place: one step against `gradients`, each first multiplied by `factor`
    /// (clipping).
    ///
    /// ```text
    /// g ← g + λ·θ
    /// b ← μ·b + g
    /// θ ← θ − lr·b
    /// ```
    ///
    /// Without momentum `μ`, `b` is not kept. A parameter without a gradient stays as it is.
    pub fn step(&mut self, params: &Params, gradients: &Gradients, lr: f64, factor: f64) -> Result<()> {
        let SgdParams { momentum, weight_decay } = self.constants;
        for ((id, name, theta), buffer) in params.trained().zip(&self.buffers) {
            let Some(gradient) = gradients.get(id) else { continue };
            let step = sgd::Step { factor, decay: decay(name, weight_decay), momentum, rate: lr };
            step.apply(theta, buffer.as_ref(), gradient, params.kernels())?;
        }
        Ok(())
    }
}
