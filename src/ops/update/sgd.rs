//! The update of stochastic gradient descent.

use candle_core::{Result, Tensor};

use super::{f32s, par_zip};
use crate::ops::Kernels;
use crate::ops::cpu::tensors::InPlace;
use crate::ops::profile::{self, Op};

/// The constants of one step; see [`crate::optim::Sgd::step`] for the formula.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Multiplies the gradient (clipping).
    pub factor: f64,
    /// Share of the parameter that is added to its gradient (weight decay).
    pub decay: f64,
    /// Share of the last change that is made again; read only with a buffer of it.
    pub momentum: f64,
    /// Learning rate.
    pub rate: f64,
}

impl Step {
    /// Changes `theta` and, if there is one, the `buffer` of its momentum; all have the shape of the parameter, at least
    /// one dimension.
    pub fn apply(&self, theta: &Tensor, buffer: Option<&Tensor>, gradient: &Tensor, kernels: Kernels) -> Result<()> {
        let _timer = profile::start(Op::Update, || 0.0);
        if kernels == Kernels::Stock {
            return self.apply_stock(theta, buffer, gradient);
        }
        let gradient = &gradient.contiguous()?;
        let [factor, decay, momentum, rate] = f32s([self.factor, self.decay, self.momentum, self.rate]);
        let whole = |g: f32, theta: f32| g * factor + theta * decay;
        let Some(buffer) = buffer else {
            let change_theta = |theta: &mut [f32], g: &[f32]| {
                par_zip(theta, g, g, |theta, g, _| *theta -= rate * whole(g, *theta));
                Ok(())
            };
            return theta.inplace_op2(gradient, &InPlace(change_theta));
        };
        let change_buffer = |buffer: &mut [f32], g: &[f32], theta: &[f32]| {
            par_zip(buffer, g, theta, |buffer, g, theta| *buffer = *buffer * momentum + whole(g, theta));
            Ok(())
        };
        buffer.inplace_op3(gradient, theta, &InPlace(change_buffer))?;
        let change_theta = |theta: &mut [f32], buffer: &[f32]| {
            par_zip(theta, buffer, buffer, |theta, buffer, _| *theta -= rate * buffer);
            Ok(())
        };
        theta.inplace_op2(buffer, &InPlace(change_theta))
    }

    /// The same from stock operations, on any device.
    fn apply_stock(&self, theta: &Tensor, buffer: Option<&Tensor>, gradient: &Tensor) -> Result<()> {
        let mut change = ((gradient * self.factor)? + (theta * self.decay)?)?;
        if let Some(buffer) = buffer {
            change = ((buffer * self.momentum)? + change)?;
            buffer.slice_set(&change, 0, 0)?;
        }
        theta.slice_set(&(theta - (change * self.rate)?)?, 0, 0)
    }
}
