//! The gradients of attention: for each group and key/value head, its queries some at a time.

use std::ops::Range;

use rayon::prelude::*;

use super::super::gemm::{Left, Matrix, Right, Update, multiply};
use super::super::math::sum_of;
use super::super::tile::ROWS;
use super::super::{Isa, dispatch};
use super::{Block, Shape, head_rows, softmax_row};
use crate::batch::Segment;

/// Queries whose probabilities are in memory at once.
const QUERIES: usize = 4 * ROWS;

/// Queries, keys and values of the forward pass and the gradient in its result.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops) struct Inputs<'a> {
    pub(in crate::ops) d_out: &'a [f32], // (T, H·d)
    pub(in crate::ops) q: &'a [f32],     // (T, H·d)
    pub(in crate::ops) k: &'a [f32],     // (T, G·d)
    pub(in crate::ops) v: &'a [f32],     // (T, G·d)
}

/// Gradients in queries, keys and values, shaped like them.
#[derive(Debug)]
pub(in crate::ops) struct Gradients<'a> {
    pub(in crate::ops) dq: &'a mut [f32],
    pub(in crate::ops) dk: &'a mut [f32],
    pub(in crate::ops) dv: &'a mut [f32],
}

/// Replaces all gradients. One task is a group and a key/value head, so no two tasks add to the same number.
pub(in crate::ops) fn backward(
    isa: Isa,
    segments: &[Segment],
    shape: &Shape,
    inputs: Inputs<'_>,
    gradients: &mut Gradients<'_>,
) {
    let tasks: Vec<(&Segment, usize)> =
        segments.iter().flat_map(|segment| (0..shape.n_kv_heads).map(move |kv_head| (segment, kv_head))).collect();
    let parts: Vec<Part> =
        tasks.into_par_iter().map(|(segment, kv_head)| Part::new(isa, segment, kv_head, shape, inputs)).collect();
    for part in parts {
        part.write(shape, gradients);
    }
}

/// The gradients of one group and key/value head, rows one after another.
struct Part {
    first_row: usize,
    kv_head: usize,
    dq: Vec<f32>, // (rows, H/G·d)
    dk: Vec<f32>, // (rows, d)
    dv: Vec<f32>, // (rows, d)
}

impl Part {
    fn new(isa: Isa, segment: &Segment, kv_head: usize, shape: &Shape, inputs: Inputs<'_>) -> Self {
        let first_row = segment.prompt.start;
        let n_rows = segment.completions.last().map_or(segment.prompt.end, |rows| rows.end) - first_row;
        let zeros = |n_heads: usize| vec![0.0; n_rows * n_heads * shape.width];
        let n_stacked = shape.heads_of(kv_head).len();
        let mut part = Self { first_row, kv_head, dq: zeros(n_stacked), dk: zeros(1), dv: zeros(1) };
        for block in Block::of(std::slice::from_ref(segment), QUERIES) {
            part.add_block(isa, &block, shape, inputs);
        }
        part
    }

    /// With `P` the probabilities: `dV = Pᵀ·dO`, `dP = dO·Vᵀ`, `dS = P·(dP − Σ dP·P)`, `dQ = scale·dS·K`,
    /// `dK = scale·dSᵀ·Q`.
    fn add_block(&mut self, isa: Isa, block: &Block, shape: &Shape, inputs: Inputs<'_>) {
        let (width, queries) = (shape.width, &block.queries);
        let keys = block.keys(shape.window);
        let k = gather(inputs.k, block, &keys, self.kv_head, shape);
        let v = gather(inputs.v, block, &keys, self.kv_head, shape);
        let (k, v) = (Matrix::new(&k, keys.len(), width), Matrix::new(&v, keys.len(), width));
        let (k_beside, v_beside, k_below) = (Right::pack(k.transposed()), Right::pack(v.transposed()), Right::pack(k));

        let mut p = vec![0.0; queries.len() * keys.len()];
        let mut ds = p.clone();
        let (mut dk, mut dv) = (vec![0.0; keys.len() * width], vec![0.0; keys.len() * width]);
        let mut dq = vec![0.0; queries.len() * width];
        for (stacked, head) in shape.heads_of(self.kv_head).enumerate() {
            let q = head_rows(inputs.q, queries, head, shape);
            let d_out = head_rows(inputs.d_out, queries, head, shape);
            multiply(isa, &Left::pack(q), &k_beside, &mut p, Update::Replace);
            multiply(isa, &Left::pack(d_out), &v_beside, &mut ds, Update::Replace);
            let rows = p.chunks_exact_mut(keys.len()).zip(ds.chunks_exact_mut(keys.len()));
            for (query, (p, ds)) in queries.clone().zip(rows) {
                let visible = block.visible(query, shape.window);
                let (start, end, scale) = (visible.start - keys.start, visible.end - keys.start, shape.scale);
                dispatch!(isa, row_slopes(p: &mut [f32], ds: &mut [f32], start: usize, end: usize, scale: f32));
            }
            let (p, ds) = (Matrix::new(&p, queries.len(), keys.len()), Matrix::new(&ds, queries.len(), keys.len()));
            multiply(isa, &Left::pack(ds), &k_below, &mut dq, Update::Replace);
            multiply(isa, &Left::pack(ds.transposed()), &Right::pack(q), &mut dk, Update::Add);
            multiply(isa, &Left::pack(p.transposed()), &Right::pack(d_out), &mut dv, Update::Add);
            let n_stacked = shape.heads_of(self.kv_head).len();
            for (query, dq) in queries.clone().zip(dq.chunks_exact(width)) {
                let start = ((query - self.first_row) * n_stacked + stacked) * width;
                self.dq[start..start + width].copy_from_slice(dq);
            }
        }
        for (key, (dk, dv)) in keys.zip(dk.chunks_exact(width).zip(dv.chunks_exact(width))) {
            let start = (block.row(key) - self.first_row) * width;
            add(&mut self.dk[start..start + width], dk);
            add(&mut self.dv[start..start + width], dv);
        }
    }

    /// Copies the part to its place among the heads.
    fn write(&self, shape: &Shape, gradients: &mut Gradients<'_>) {
        let copy = |part: &[f32], row: usize, first_head: usize, out: &mut [f32], n_heads: usize| {
            let column = first_head * shape.width;
            let n = part.len() / (self.dk.len() / shape.width);
            for (index, part) in part.chunks_exact(n).enumerate() {
                let start = (row + index) * n_heads * shape.width + column;
                out[start..start + n].copy_from_slice(part);
            }
        };
        let first_head = shape.heads_of(self.kv_head).start;
        copy(&self.dq, self.first_row, first_head, gradients.dq, shape.n_heads);
        copy(&self.dk, self.first_row, self.kv_head, gradients.dk, shape.n_kv_heads);
        copy(&self.dv, self.first_row, self.kv_head, gradients.dv, shape.n_kv_heads);
    }
}

/// The keys or values of a block under each other. // (keys, d)
fn gather(x: &[f32], block: &Block, keys: &Range<usize>, kv_head: usize, shape: &Shape) -> Vec<f32> {
    let mut rows = Vec::with_capacity(keys.len() * shape.width);
    for key in keys.clone() {
        let start = block.row(key) * shape.key_row() + kv_head * shape.width;
        rows.extend_from_slice(&x[start..start + shape.width]);
    }
    rows
}

/// From products of a query with keys and of its gradient with values: the probabilities, and the gradient in the
/// products.
#[inline(always)]
fn row_slopes(p: &mut [f32], ds: &mut [f32], start: usize, end: usize, scale: f32) {
    for p in p.iter_mut() {
        *p *= scale;
    }
    let inverse = 1.0 / softmax_row(p, start, end);
    for p in p.iter_mut() {
        *p *= inverse;
    }
    let mean = sum_of(p, ds, |p, dp| p * dp);
    for (ds, &p) in ds.iter_mut().zip(&*p) {
        *ds = p * (*ds - mean) * scale;
    }
}

fn add(out: &mut [f32], x: &[f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out += x;
    }
}
