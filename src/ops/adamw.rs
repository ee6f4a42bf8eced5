//! The update of AdamW, in place: three passes over memory instead of a tensor for every intermediate.

use candle_core::{CpuStorage, Error, InplaceOp2, InplaceOp3, Layout, Result, Tensor};
use rayon::prelude::*;

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
    /// Changes `theta` and its moments; all four have the shape of the parameter.
    ///
    /// # Not supported
    /// Devices other than the CPU.
    pub fn apply(&self, theta: &Tensor, first: &Tensor, second: &Tensor, gradient: &Tensor) -> Result<()> {
        let gradient = gradient.contiguous()?;
        first.inplace_op2(&gradient, &FirstMoment(*self))?;
        second.inplace_op2(&gradient, &SecondMoment(*self))?;
        theta.inplace_op3(first, second, &Parameter(*self))
    }
}

struct FirstMoment(Step);
struct SecondMoment(Step);
struct Parameter(Step);

impl InplaceOp2 for FirstMoment {
    fn name(&self) -> &'static str {
        "adamw-first-moment"
    }

    fn cpu_fwd(&self, m: &mut CpuStorage, m_at: &Layout, g: &CpuStorage, g_at: &Layout) -> Result<()> {
        let [factor, weight] = f32s([self.0.factor, 1.0 - self.0.beta1]);
        let g = values(g, g_at)?;
        par_zip(values_mut(m, m_at)?, g, g, |m, g, _| *m += (g * factor - *m) * weight);
        Ok(())
    }
}

impl InplaceOp2 for SecondMoment {
    fn name(&self) -> &'static str {
        "adamw-second-moment"
    }

    fn cpu_fwd(&self, v: &mut CpuStorage, v_at: &Layout, g: &CpuStorage, g_at: &Layout) -> Result<()> {
        let [factor, beta, weight] = f32s([self.0.factor, self.0.beta2, 1.0 - self.0.beta2]);
        let g = values(g, g_at)?;
        par_zip(values_mut(v, v_at)?, g, g, |v, g, _| {
            let g = g * factor;
            *v = *v * beta + g * g * weight;
        });
        Ok(())
    }
}

impl InplaceOp3 for Parameter {
    fn name(&self) -> &'static str {
        "adamw-parameter"
    }

    fn cpu_fwd(
        &self,
        theta: &mut CpuStorage,
        theta_at: &Layout,
        m: &CpuStorage,
        m_at: &Layout,
        v: &CpuStorage,
        v_at: &Layout,
    ) -> Result<()> {
        let [keep, rate, root, eps] = f32s([self.0.keep, self.0.rate, self.0.root, self.0.eps]);
        par_zip(values_mut(theta, theta_at)?, values(m, m_at)?, values(v, v_at)?, |theta, m, v| {
            *theta = *theta * keep - rate * m / (v.sqrt() / root + eps);
        });
        Ok(())
    }
}

/// Applies `f` to every element and its two companions, in parallel; each element is independent, so the split does
/// not change the result.
fn par_zip(out: &mut [f32], a: &[f32], b: &[f32], f: impl Fn(&mut f32, f32, f32) + Sync) {
    const CHUNK: usize = 1 << 16;
    out.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK)).zip(b.par_chunks(CHUNK)).for_each(|((out, a), b)| {
        for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
            f(out, a, b);
        }
    });
}

#[expect(clippy::cast_possible_truncation, reason = "the constants of an f32 update, as torch casts them")]
fn f32s<const N: usize>(constants: [f64; N]) -> [f32; N] {
    constants.map(|constant| constant as f32)
}

fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => Err(unexpected()),
    }
}

fn values_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => Err(unexpected()),
    }
}

fn unexpected() -> Error {
    Error::Msg("expected a contiguous f32 tensor on the CPU".into()).bt()
}
