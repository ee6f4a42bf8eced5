//! A running mean of a parameter.

use candle_core::{Result, Tensor};

use super::{f32s, par_zip};
use crate::ops::Kernels;
use crate::ops::cpu::tensors::InPlace;
use crate::ops::profile::{self, Op};

/// Moves `average` towards `theta` by the share `weight` of the distance; both have the shape of the parameter, at least
/// one dimension.
pub fn approach(average: &Tensor, theta: &Tensor, weight: f64, kernels: Kernels) -> Result<()> {
    let _timer = profile::start(Op::Update, || 0.0);
    if kernels == Kernels::Stock {
        let moved = (average + ((theta - average)? * weight)?)?;
        return average.slice_set(&moved, 0, 0);
    }
    let [weight] = f32s([weight]);
    let change = |average: &mut [f32], theta: &[f32]| {
        par_zip(average, theta, theta, |average, theta, _| *average += (theta - *average) * weight);
        Ok(())
    };
    average.inplace_op2(theta, &InPlace(change))
}
