//! Token embedding: a row of the table for each id.

use candle_core::{Result, Tensor};

/// # Shapes
/// `table` `(V, D)`, `ids` `(T)` of `u32`; returns `(T, D)`.
pub fn forward(table: &Tensor, ids: &Tensor) -> Result<Tensor> {
    table.index_select(ids, 0)
}

/// Adds the gradient in the table to `d_table`. // (V, D)
pub fn backward_into(d_table: &Tensor, dy: &Tensor, ids: &Tensor) -> Result<Tensor> {
    d_table.index_add(ids, dy, 0)
}
