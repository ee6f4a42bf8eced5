//! Language-model head and log-softmax, for scored rows only.
//!
//! Logits are made for `CHUNK` rows at a time and never kept: the backward makes them again. Memory is
//! `CHUNK · V` numbers whatever the batch holds.

use candle_core::{Result, Tensor};

use super::linear;
use super::reduce::log_sum_exp;

/// Rows whose logits are in memory at once.
const CHUNK: usize = 256;

/// `ln softmax(hidden·Wᵀ)[target]` of every row, in nats.
///
/// # Shapes
/// `hidden` `(N, D)`, `weight` `(V, D)`, `targets` `(N)` of `u32`; returns `(N)`.
pub fn forward(hidden: &Tensor, weight: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let mut logps = Vec::new();
    for (start, n) in chunks(hidden.dim(0)?) {
        let logits = linear::forward(&hidden.narrow(0, start, n)?, weight, None)?; // (n, V)
        let target = logits.gather(&targets.narrow(0, start, n)?.unsqueeze(1)?, 1)?.squeeze(1)?; // (n)
        logps.push((target - log_sum_exp(&logits)?.squeeze(1)?)?);
    }
    Tensor::cat(&logps, 0)
}

/// Gradients in `hidden` and in the weight, for `slopes = ∂loss/∂logp` of every row.
///
/// `∂loss/∂logits = slope · (onehot(target) − softmax(logits))`.
///
/// # Shapes
/// `slopes` `(N)`; returns `(N, D)` and `(V, D)`.
pub fn backward(slopes: &Tensor, hidden: &Tensor, weight: &Tensor, targets: &Tensor) -> Result<(Tensor, Tensor)> {
    let mut d_hidden = Vec::new();
    let mut d_weight: Option<Tensor> = None;
    for (start, n) in chunks(hidden.dim(0)?) {
        let rows = hidden.narrow(0, start, n)?;
        let slopes = slopes.narrow(0, start, n)?.unsqueeze(1)?; // (n, 1)
        let logits = linear::forward(&rows, weight, None)?; // (n, V)
        let softmax = logits.broadcast_sub(&log_sum_exp(&logits)?)?.exp()?;
        let d_logits = softmax.broadcast_mul(&slopes.neg()?)?;
        d_logits.scatter_add_set(&targets.narrow(0, start, n)?.unsqueeze(1)?, &slopes, 1)?;
        d_hidden.push(linear::backward_input(&d_logits, weight)?);
        let update = linear::backward_weight(&d_logits, &rows)?;
        d_weight = Some(match d_weight {
            Some(sum) => (sum + update)?,
            None => update,
        });
    }
    let d_weight = match d_weight {
        Some(sum) => sum,
        None => weight.zeros_like()?,
    };
    Ok((Tensor::cat(&d_hidden, 0)?, d_weight))
}

fn chunks(n_rows: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n_rows).step_by(CHUNK).map(move |start| (start, CHUNK.min(n_rows - start)))
}
