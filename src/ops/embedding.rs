//! Token embedding: a row of the table for each id.

use candle_core::{Result, Tensor};

use super::Kernels;
use super::cpu::tensors::InPlace;
use super::profile::{self, Op};

/// One form for all kernels: it copies rows.
///
/// # Shapes
/// `table` `(V, D)`, `ids` `(T)` of `u32`; returns `(T, D)`.
pub fn forward(table: &Tensor, ids: &Tensor) -> Result<Tensor> {
    let _timer = profile::start(Op::Embedding, || 0.0);
    table.index_select(ids, 0)
}

/// Adds the gradient in the table to `d_table`, in place where that is possible. // (V, D)
pub fn backward_into(d_table: &Tensor, dy: &Tensor, ids: &Tensor, kernels: Kernels) -> Result<Tensor> {
    let _timer = profile::start(Op::Embedding, || 0.0);
    if kernels == Kernels::Stock {
        return d_table.index_add(ids, dy, 0);
    }
    let (width, ids) = (d_table.dim(1)?, ids.to_vec1::<u32>()?);
    let add = |d_table: &mut [f32], dy: &[f32]| {
        for (&id, dy) in ids.iter().zip(dy.chunks_exact(width)) {
            let start = id as usize * width;
            for (sum, x) in d_table[start..start + width].iter_mut().zip(dy) {
                *sum += x;
            }
        }
        Ok(())
    };
    d_table.inplace_op2(&dy.contiguous()?, &InPlace(add))?;
    Ok(d_table.clone())
}
