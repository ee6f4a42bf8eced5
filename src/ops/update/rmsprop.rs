//! The update of RMSprop.

use candle_core::{Result, Tensor};

use super::{f32s, par_zip, par_zip3};
use crate::ops::Kernels;
use crate::ops::cpu::tensors::{InPlace, Values};
use crate::ops::profile::{self, Op};

/// The constants of one step; see [`crate::optim::RmsProp::step`] for the formula.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Multiplies the gradient (clipping).
    pub factor: f64,
    /// Share of the parameter that is added to its gradient (weight decay).
    pub decay: f64,
    /// Decay of the mean square.
    pub alpha: f64,
    /// Added to the root of the mean square.
    pub eps: f64,
    /// Share of the last change that is made again; read only with a buffer of it.
    pub momentum: f64,
    /// Learning rate.
    pub rate: f64,
}

impl Step {
    /// Changes `theta`, the mean square of its gradient and, if there is one, the `buffer` of its momentum; all have the
    /// shape of the parameter, at least one dimension.
    pub fn apply(
        &self,
        theta: &Tensor,
        square: &Tensor,
        buffer: Option<&Tensor>,
        gradient: &Tensor,
        kernels: Kernels,
    ) -> Result<()> {
        let _timer = profile::start(Op::Update, || 0.0);
        if kernels == Kernels::Stock {
            return self.apply_stock(theta, square, buffer, gradient);
        }
        let gradient = &gradient.contiguous()?;
        let [factor, decay, alpha, rest] = f32s([self.factor, self.decay, self.alpha, 1.0 - self.alpha]);
        let [eps, momentum, rate] = f32s([self.eps, self.momentum, self.rate]);
        let whole = |g: f32, theta: f32| g * factor + theta * decay;
        let change_square = |square: &mut [f32], g: &[f32], theta: &[f32]| {
            par_zip(square, g, theta, |square, g, theta| {
                let g = whole(g, theta);
                *square = *square * alpha + g * g * rest;
            });
            Ok(())
        };
        square.inplace_op3(gradient, theta, &InPlace(change_square))?;
        let Some(buffer) = buffer else {
            let change_theta = |theta: &mut [f32], g: &[f32], square: &[f32]| {
                par_zip(theta, g, square, |theta, g, square| {
                    *theta -= rate * (whole(g, *theta) / (square.sqrt() + eps));
                });
                Ok(())
            };
            return theta.inplace_op3(gradient, square, &InPlace(change_theta));
        };
        let squares = Values::of(square)?;
        let change_buffer = |buffer: &mut [f32], g: &[f32], theta: &[f32]| {
            par_zip3(buffer, [g, theta, &squares], |buffer, [g, theta, square]| {
                *buffer = *buffer * momentum + whole(g, theta) / (square.sqrt() + eps);
            });
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
    fn apply_stock(&self, theta: &Tensor, square: &Tensor, buffer: Option<&Tensor>, gradient: &Tensor) -> Result<()> {
        let gradient = ((gradient * self.factor)? + (theta * self.decay)?)?;
        let new_square = ((square * self.alpha)? + (gradient.sqr()? * (1.0 - self.alpha))?)?;
        let mut change = (gradient / (new_square.sqrt()? + self.eps)?)?;
        if let Some(buffer) = buffer {
            change = ((buffer * self.momentum)? + change)?;
            buffer.slice_set(&change, 0, 0)?;
        }
        let new_theta = (theta - (change * self.rate)?)?;
        square.slice_set(&new_square, 0, 0)?;
        theta.slice_set(&new_theta, 0, 0)
    }
}
