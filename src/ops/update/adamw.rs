//! The update of AdamW, in place: of our own kernels three passes over memory instead of a tensor for every
//! intermediate.

use candle_core::{Result, Tensor};

use super::{f32s, par_zip};
use crate::ops::Kernels;
use crate::ops::cpu::tensors::InPlace;
use crate::ops::profile::{self, Op};

/// The constants of one step; see [`crate::optim::AdamW::step`] for the formula.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Multiplies the gradient (clipping).
    pub factor: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Multiplies the parameter (weight decay).
    pub keep: f64,
    /// Learning rate over the correction of the first moment.
    pub rate: f64,
    /// Root of the correction of the second moment.
    pub root: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
}

impl Step {
    /// Changes `theta` and its moments; all four have the shape of the parameter, at least one dimension.
    pub fn apply(
        &self,
        theta: &Tensor,
        first: &Tensor,
        second: &Tensor,
        gradient: &Tensor,
        kernels: Kernels,
    ) -> Result<()> {
        let _timer = profile::start(Op::Update, || 0.0);
        if kernels == Kernels::Stock {
            return self.apply_stock(theta, first, second, gradient);
        }
        let gradient = gradient.contiguous()?;
        let [factor, first_weight, beta2, second_weight] =
            f32s([self.factor, 1.0 - self.beta1, self.beta2, 1.0 - self.beta2]);
        let [keep, rate, root, eps] = f32s([self.keep, self.rate, self.root, self.eps]);
        let change_first = |m: &mut [f32], g: &[f32]| {
            par_zip(m, g, g, |m, g, _| *m += (g * factor - *m) * first_weight);
            Ok(())
        };
        let change_second = |v: &mut [f32], g: &[f32]| {
            par_zip(v, g, g, |v, g, _| {
                let g = g * factor;
                *v = *v * beta2 + g * g * second_weight;
            });
            Ok(())
        };
        let change_theta = |theta: &mut [f32], m: &[f32], v: &[f32]| {
            par_zip(theta, m, v, |theta, m, v| *theta = *theta * keep - rate * m / (v.sqrt() / root + eps));
            Ok(())
        };
        first.inplace_op2(&gradient, &InPlace(change_first))?;
        second.inplace_op2(&gradient, &InPlace(change_second))?;
        theta.inplace_op3(first, second, &InPlace(change_theta))
    }

    /// The same from stock operations, on any device: new tensors, written over the old ones.
    fn apply_stock(&self, theta: &Tensor, first: &Tensor, second: &Tensor, gradient: &Tensor) -> Result<()> {
        let gradient = (gradient * self.factor)?;
        let m = (first + ((&gradient - first)? * (1.0 - self.beta1))?)?;
        let v = ((second * self.beta2)? + (gradient.sqr()? * (1.0 - self.beta2))?)?;
        let root = ((v.sqrt()? / self.root)? + self.eps)?;
        let changed = ((theta * self.keep)? - ((&m * self.rate)? / root)?)?;
        for (old, new) in [(first, m), (second, v), (theta, changed)] {
            old.slice_set(&new, 0, 0)?;
        }
        Ok(())
    }
}
