//! Language-model head and log-softmax, for scored rows only.
//!
//! Logits are made for some rows or some of the vocabulary at a time and never kept: the backward makes them again. Our own
//! kernels sum their exponentials in `f64`: a vocabulary has some 10⁵ entries, and one after another in `f32` they cost
//! about 1e-5 nats a token, always in the same direction, so that a long sequence drifts by 1e-3. The stock form sums in
//! `f32`, since Metal has no `f64`: a GPU adds as a tree, but candle on the CPU loses those digits.

use candle_core::{D, Device, Result, Tensor};

use super::cpu::head as fast;
use super::cpu::tensors::{InPlace, Values, tensor};
use super::profile::{self, Op};
use super::{Compute, Precision, linear};

/// Rows whose logits are in memory at once, in the stock twin.
const CHUNK: usize = 256;

/// Log-probs of the scored tokens, and what a backward reads.
#[derive(Debug)]
pub struct Scores {
    /// `ln softmax(hidden·Wᵀ)[target]` of every row, in nats. // (N)
    pub logps: Tensor,
    /// `ln Σ exp(hidden·Wᵀ)` of every row. // (N)
    pub log_sums: Tensor,
    /// What was asked for beside them.
    pub found: Found,
}

/// What is found beside the log-probs, in the same sweep over the logits. No bit of a log-prob depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extras {
    /// Nothing.
    None,
    /// How likely two draws are the same token.
    Collisions,
    /// How sure the model is, and whether the target is its first choice.
    Entropies,
}

/// What was asked for as [`Extras`].
#[derive(Debug)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// `ln Σ_v softmax(hidden·Wᵀ)[v]²` of every row. // (N)
    Collisions(Tensor),
    /// Of every row.
    Entropies {
        /// `−Σ_v softmax(hidden·Wᵀ)[v]·ln softmax(hidden·Wᵀ)[v]`, in nats. // (N)
        entropies: Tensor,
        /// 1 where no token has a larger logit than the target, else 0: of tokens that are equally likely each is
        /// the first. // (N) of `u8`
        are_top: Tensor,
    },
}

/// # Shapes
/// `hidden` `(N, D)`, `weight` `(V, D)`, `targets` `(N)` of `u32`.
pub fn forward(hidden: &Tensor, weight: &Tensor, targets: &Tensor, compute: Compute, extras: Extras) -> Result<Scores> {
    let _timer = profile::start(Op::HeadForward, || profile::product(hidden, weight));
    let Compute { kernels, precision } = compute;
    let Some(isa) = kernels.isa() else { return forward_stock(hidden, weight, targets, precision, extras) };
    let (hidden, weight) = (hidden.contiguous()?, weight.contiguous()?);
    let (n_rows, width) = hidden.dims2()?;
    let targets = targets.to_vec1()?;
    let (hidden, weight) = (Values::of(&hidden)?, Values::of(&weight)?);
    let inputs = fast::Inputs { hidden: &hidden, weight: &weight, targets: &targets, width };
    let fast::Scores { logps, log_sums, extras: found, are_top } = fast::forward(isa, precision, &inputs, extras);
    Ok(Scores {
        logps: tensor(logps, n_rows)?,
        log_sums: tensor(log_sums, n_rows)?,
        found: match extras {
            Extras::None => Found::Nothing,
            Extras::Collisions => Found::Collisions(tensor(found, n_rows)?),
            Extras::Entropies => Found::Entropies {
                entropies: tensor(found, n_rows)?,
                are_top: Tensor::from_vec(are_top, n_rows, &Device::Cpu)?,
            },
        },
    })
}

/// What a backward reads.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// `(N, D)`
    pub hidden: &'a Tensor,
    /// `(V, D)`
    pub weight: &'a Tensor,
    /// `(N)`
    pub targets: &'a Tensor,
    /// Of the forward pass. // (N)
    pub log_sums: &'a Tensor,
}

/// Gradient in `hidden`, for `slopes = ∂loss/∂logp` of every row; the one in the weight is added to `d_weight`, in
/// place where that is possible, and returned after it.
///
/// `∂loss/∂logits = slope · (onehot(target) − softmax(logits))`.
///
/// # Shapes
/// `slopes` `(N)`; returns `(N, D)` and `(V, D)`.
pub fn backward_into(
    d_weight: &Tensor,
    slopes: &Tensor,
    inputs: Inputs<'_>,
    compute: Compute,
) -> Result<(Tensor, Tensor)> {
    // The logits once more, and the two gradients.
    let _timer = profile::start(Op::HeadBackward, || 3.0 * profile::product(inputs.hidden, inputs.weight));
    let Compute { kernels, precision } = compute;
    let Some(isa) = kernels.isa() else { return backward_stock(d_weight, slopes, inputs, precision) };
    let (hidden, weight) = (inputs.hidden.contiguous()?, inputs.weight.contiguous()?);
    let targets = inputs.targets.to_vec1()?;
    let (slopes, log_sums) = (slopes.to_vec1()?, inputs.log_sums.to_vec1()?);
    let width = hidden.dim(1)?;
    let d_hidden = std::cell::RefCell::new(Vec::new());
    let add = |d_weight: &mut [f32], hidden: &[f32], weight: &[f32]| {
        let inputs = fast::Inputs { hidden, weight, targets: &targets, width };
        d_hidden.replace(fast::backward(isa, precision, &inputs, &slopes, &log_sums, d_weight));
        Ok(())
    };
    d_weight.inplace_op3(&hidden, &weight, &InPlace(add))?;
    Ok((tensor(d_hidden.into_inner(), hidden.shape())?, d_weight.clone()))
}

/// The gradient in `hidden` alone, for a frozen weight: the bits of [`backward_into`]. // (N, D)
///
/// # Shapes
/// `slopes` `(N)`.
pub fn backward_input(slopes: &Tensor, inputs: Inputs<'_>, compute: Compute) -> Result<Tensor> {
    // The logits once more, and the gradient.
    let _timer = profile::start(Op::HeadBackward, || 2.0 * profile::product(inputs.hidden, inputs.weight));
    let Compute { kernels, precision } = compute;
    let Some(isa) = kernels.isa() else { return backward_input_stock(slopes, inputs, precision) };
    let (hidden, weight) = (inputs.hidden.contiguous()?, inputs.weight.contiguous()?);
    let targets = inputs.targets.to_vec1()?;
    let (slopes, log_sums) = (slopes.to_vec1()?, inputs.log_sums.to_vec1()?);
    let (shape, width) = (hidden.shape().clone(), hidden.dim(1)?);
    let (hidden, weight) = (Values::of(&hidden)?, Values::of(&weight)?);
    let inputs = fast::Inputs { hidden: &hidden, weight: &weight, targets: &targets, width };
    tensor(fast::backward_input(isa, precision, &inputs, &slopes, &log_sums), shape)
}

/// The same from stock operations, on any device.
fn forward_stock(
    hidden: &Tensor,
    weight: &Tensor,
    targets: &Tensor,
    precision: Precision,
    extras: Extras,
) -> Result<Scores> {
    let (mut logps, mut log_sums, mut found, mut are_top) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (start, n) in chunks(hidden.dim(0)?) {
        let logits = linear::forward_stock(&hidden.narrow(0, start, n)?, weight, None, precision)?; // (n, V)
        let target = logits.gather(&targets.narrow(0, start, n)?.unsqueeze(1)?, 1)?.squeeze(1)?; // (n)
        let max = logits.max_keepdim(D::Minus1)?;
        let shifted = logits.broadcast_sub(&max)?; // (n, V)
        let powers = shifted.exp()?; // (n, V)
        let sum = powers.sum_keepdim(D::Minus1)?; // (n, 1)
        let log_power = sum.log()?; // (n, 1)
        match extras {
            Extras::None => {}
            Extras::Collisions => {
                let log_squares = powers.sqr()?.sum_keepdim(D::Minus1)?.log()?; // (n, 1)
                found.push((log_squares - (&log_power * 2.0)?)?.squeeze(1)?);
            }
            Extras::Entropies => {
                // As in our own kernel, which see; what is −∞ has no weight.
                let weighted = (powers * shifted.maximum(-87.0)?)?.sum_keepdim(D::Minus1)?; // (n, 1)
                found.push((&log_power - (weighted / sum)?)?.squeeze(1)?);
                are_top.push(target.ge(&max.squeeze(1)?)?);
            }
        }
        let log_sum = (log_power + max)?.squeeze(1)?; // (n)
        logps.push((target - &log_sum)?);
        log_sums.push(log_sum);
    }
    Ok(Scores {
        logps: Tensor::cat(&logps, 0)?,
        log_sums: Tensor::cat(&log_sums, 0)?,
        found: match extras {
            Extras::None => Found::Nothing,
            Extras::Collisions => Found::Collisions(Tensor::cat(&found, 0)?),
            Extras::Entropies => {
                Found::Entropies { entropies: Tensor::cat(&found, 0)?, are_top: Tensor::cat(&are_top, 0)? }
            }
        },
    })
}

fn backward_stock(
    d_weight: &Tensor,
    slopes: &Tensor,
    inputs: Inputs<'_>,
    precision: Precision,
) -> Result<(Tensor, Tensor)> {
    let mut d_hidden = Vec::new();
    let mut sum = d_weight.clone();
    for (start, n) in chunks(inputs.hidden.dim(0)?) {
        let d_logits = d_logits_stock(slopes, inputs, (start, n), precision)?; // (n, V)
        d_hidden.push(linear::backward_input_stock(&[(&d_logits, inputs.weight)], precision)?);
        let rows = inputs.hidden.narrow(0, start, n)?;
        sum = (sum + linear::backward_weight_stock(&d_logits, &rows, precision)?)?;
    }
    Ok((Tensor::cat(&d_hidden, 0)?, sum))
}

fn backward_input_stock(slopes: &Tensor, inputs: Inputs<'_>, precision: Precision) -> Result<Tensor> {
    let mut d_hidden = Vec::new();
    for chunk in chunks(inputs.hidden.dim(0)?) {
        let d_logits = d_logits_stock(slopes, inputs, chunk, precision)?; // (n, V)
        d_hidden.push(linear::backward_input_stock(&[(&d_logits, inputs.weight)], precision)?);
    }
    Tensor::cat(&d_hidden, 0)
}

/// The gradient in the logits of `n` rows from `start` on. // (n, V)
fn d_logits_stock(
    slopes: &Tensor,
    Inputs { hidden, weight, targets, log_sums }: Inputs<'_>,
    (start, n): (usize, usize),
    precision: Precision,
) -> Result<Tensor> {
    let column = |x: &Tensor| x.narrow(0, start, n)?.unsqueeze(1); // (n, 1)
    let slopes = column(slopes)?;
    let logits = linear::forward_stock(&hidden.narrow(0, start, n)?, weight, None, precision)?;
    let softmax = logits.broadcast_sub(&column(log_sums)?)?.exp()?;
    let d_logits = softmax.broadcast_mul(&slopes.neg()?)?;
    d_logits.scatter_add_set(&column(targets)?, &slopes, 1)?;
    Ok(d_logits)
}

fn chunks(n_rows: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n_rows).step_by(CHUNK).map(move |start| (start, CHUNK.min(n_rows - start)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Kernels;

    /// 10⁵ equal logits: `ln Σ exp(x) = x + ln 10⁵`, to the last digit of f32.
    #[test]
    fn a_large_vocabulary_costs_no_digits() {
        let n = 100_000_u32;
        let (hidden, weight) = (Tensor::ones((2, 1), candle_core::DType::F32, &Device::Cpu), (n as usize, 1));
        let weight = Tensor::full(3.1_f32, weight, &Device::Cpu).unwrap();
        let targets = Tensor::new(&[0, n - 1], &Device::Cpu).unwrap();
        let compute = Compute { kernels: Kernels::Own, precision: Precision::F32 };
        let scores = forward(&hidden.unwrap(), &weight, &targets, compute, Extras::Entropies).unwrap();
        let want = 3.1_f32 + (n as f32).ln();
        for log_sum in scores.log_sums.to_vec1::<f32>().unwrap() {
            assert!((log_sum - want).abs() <= f32::EPSILON * want, "{log_sum} is not {want}");
        }
        // Equal logits: every token is the likeliest, and the entropy is ln 10⁵.
        let Found::Entropies { entropies, are_top } = scores.found else { panic!("no entropies") };
        for entropy in entropies.to_vec1::<f32>().unwrap() {
            assert!((entropy - (n as f32).ln()).abs() <= f32::EPSILON * entropy, "{entropy}");
        }
        assert_eq!(are_top.to_vec1::<u8>().unwrap(), [1, 1]);
    }
}
