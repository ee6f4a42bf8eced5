//! Causal attention over groups, some queries at a time: scores of a tile of queries, softmax, sum of values.
//!
//! The keys of a query are numbered from the start of its own sequence, prompt first, and every sum over keys runs in
//! that order; keys that a query does not see have probability 0. So a query has the same result whatever else is in
//! the batch.

mod backward;

use std::ops::Range;

use rayon::prelude::*;

use super::gemm::{Matrix, pack_beside, write_tile};
use super::math::{exp, max, sum_of};
use super::tile::{COLUMNS, Element, ROWS, Tile};
use super::{Isa, dispatch};
use crate::batch::Segment;

pub(in crate::ops) use backward::{Gradients, Inputs, backward};

/// Queries of one task.
const TASK_QUERIES: usize = 8 * ROWS;

/// Sizes and constants of an attention.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops) struct Shape {
    pub(in crate::ops) n_heads: usize,
    pub(in crate::ops) n_kv_heads: usize,
    /// Width of a head.
    pub(in crate::ops) width: usize,
    /// Factor of the scores.
    pub(in crate::ops) scale: f32,
    /// A query sees keys fewer than this many positions before it.
    pub(in crate::ops) window: usize,
}

impl Shape {
    fn heads_of(&self, kv_head: usize) -> Range<usize> {
        let n = self.n_heads / self.n_kv_heads;
        kv_head * n..(kv_head + 1) * n
    }

    /// Numbers of a row of queries.
    fn query_row(&self) -> usize {
        self.n_heads * self.width
    }

    /// Numbers of a row of keys or values.
    fn key_row(&self) -> usize {
        self.n_kv_heads * self.width
    }
}

/// Queries of one sequence, and the rows their keys lie in.
#[derive(Debug, Clone)]
struct Block {
    /// Rows of the prompt, where the queries are a completion's; else empty.
    prompt: Range<usize>,
    /// First row of the prompt or completion the queries are of.
    own: usize,
    /// Rows of the queries.
    queries: Range<usize>,
}

impl Block {
    /// All blocks of at most `n_queries`, in the order of their queries, which are all rows.
    fn of(segments: &[Segment], n_queries: usize) -> Vec<Self> {
        let mut blocks = Vec::new();
        for segment in segments {
            let prompt = std::iter::once((0..0, segment.prompt.clone()));
            let completions = segment.completions.iter().map(|rows| (segment.prompt.clone(), rows.clone()));
            for (prompt, rows) in prompt.chain(completions) {
                for start in rows.clone().step_by(n_queries) {
                    let queries = start..rows.end.min(start + n_queries);
                    blocks.push(Self { prompt: prompt.clone(), own: rows.start, queries });
                }
            }
        }
        blocks
    }

    /// Number of the key at the place of query `query`, a row of the batch: the last it sees.
    fn last_key(&self, query: usize) -> usize {
        self.prompt.len() + query - self.own
    }

    /// Keys that query `query` sees.
    fn visible(&self, query: usize, window: usize) -> Range<usize> {
        let end = self.last_key(query) + 1;
        end.saturating_sub(window)..end
    }

    /// Keys that some query sees, from the start of a panel on.
    fn keys(&self, window: usize) -> Range<usize> {
        let first = self.visible(self.queries.start, window).start / COLUMNS * COLUMNS;
        first..self.prompt.len() + self.queries.end - self.own
    }

    /// Row of a key.
    fn row(&self, key: usize) -> usize {
        if key < self.prompt.len() { self.prompt.start + key } else { self.own + key - self.prompt.len() }
    }
}

/// Scratch of a task.
#[derive(Debug)]
struct Scratch {
    sums: Tile,
    left: Vec<[f32; ROWS]>,
}

impl Scratch {
    fn new() -> Self {
        Self { sums: [[0.0; COLUMNS]; ROWS], left: Vec::new() }
    }

    /// `left` packed from rows of `a`, with zeros where there are none.
    fn pack(&mut self, a: Matrix<'_>, first_row: usize, n_k: usize) {
        self.left.clear();
        self.left.resize(n_k, [0.0; ROWS]);
        pack_beside(a, first_row, 0, &mut self.left);
    }
}

/// Attention of all rows. // (T, H·d)
pub(in crate::ops) fn forward(
    isa: Isa,
    segments: &[Segment],
    shape: &Shape,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &mut [f32],
) {
    let row = shape.query_row();
    let mut rest = out;
    let mut tasks = Vec::new();
    for block in Block::of(segments, TASK_QUERIES) {
        let (out, after) = rest.split_at_mut(block.queries.len() * row);
        tasks.push((block, out));
        rest = after;
    }
    tasks.into_par_iter().for_each(|(block, out)| forward_block(isa, &block, shape, [q, k, v], out));
}

/// The queries of one block; `out` are their rows.
fn forward_block(isa: Isa, block: &Block, shape: &Shape, [q, k, v]: [&[f32]; 3], out: &mut [f32]) {
    let (width, row) = (shape.width, shape.query_row());
    let keys = block.keys(shape.window);
    let (mut packed_k, mut packed_v) = (Vec::new(), Vec::new());
    let mut scores = Scores::new(&keys);
    let mut scratch = Scratch::new();
    for kv_head in 0..shape.n_kv_heads {
        let column = kv_head * width;
        pack_keys_beside(k, block, &keys, column, shape, &mut packed_k);
        pack_keys_below(v, block, &keys, column, shape, &mut packed_v);
        for head in shape.heads_of(kv_head) {
            for first in block.queries.clone().step_by(ROWS) {
                let queries = first..block.queries.end.min(first + ROWS);
                let matrix = head_rows(q, &queries, head, shape);
                let n_panels = scores.make(isa, matrix, block, &queries, &packed_k, shape, &mut scratch);
                let sums = scores.softmax(isa, block, &queries, n_panels, shape.window);
                // out = P·V / Σ
                scratch.pack(scores.matrix(queries.len(), n_panels), 0, n_panels * COLUMNS);
                let out = &mut out[(first - block.queries.start) * row + head * width..];
                for (index, panel) in packed_v.chunks_exact(scores.n_padded).enumerate() {
                    f32::tile(isa, &scratch.left, &panel[..n_panels * COLUMNS], &mut scratch.sums);
                    for (row, sum) in scratch.sums.iter_mut().zip(sums) {
                        for value in row {
                            *value /= sum;
                        }
                    }
                    let size = (queries.len(), COLUMNS.min(width - index * COLUMNS));
                    write_tile(&scratch.sums, size, &mut out[index * COLUMNS..], row, false);
                }
            }
        }
    }
}

/// The rows `queries` of one head.
fn head_rows<'a>(x: &'a [f32], queries: &Range<usize>, head: usize, shape: &Shape) -> Matrix<'a> {
    let row = shape.query_row();
    let start = queries.start * row + head * shape.width;
    Matrix::strided(&x[start..], queries.len(), shape.width, row)
}

/// Panels of keys: a row for each number of a key. `column` is where a key starts in its row.
fn pack_keys_beside(
    x: &[f32],
    block: &Block,
    keys: &Range<usize>,
    column: usize,
    shape: &Shape,
    out: &mut Vec<[f32; COLUMNS]>,
) {
    out.clear();
    out.resize(keys.len().div_ceil(COLUMNS) * shape.width, [0.0; COLUMNS]);
    for (panel, out) in out.chunks_exact_mut(shape.width).enumerate() {
        let first = keys.start + panel * COLUMNS;
        for (at, key) in (first..keys.end.min(first + COLUMNS)).enumerate() {
            let start = block.row(key) * shape.key_row() + column;
            for (out, &value) in out.iter_mut().zip(&x[start..start + shape.width]) {
                out[at] = value;
            }
        }
    }
}

/// Panels of the width: a row for each key.
fn pack_keys_below(
    x: &[f32],
    block: &Block,
    keys: &Range<usize>,
    column: usize,
    shape: &Shape,
    out: &mut Vec<[f32; COLUMNS]>,
) {
    let n_padded = keys.len().next_multiple_of(COLUMNS);
    out.clear();
    out.resize(shape.width.div_ceil(COLUMNS) * n_padded, [0.0; COLUMNS]);
    for (panel, out) in out.chunks_exact_mut(n_padded).enumerate() {
        let first = panel * COLUMNS;
        let n = COLUMNS.min(shape.width - first);
        for (out, key) in out.iter_mut().zip(keys.clone()) {
            let start = block.row(key) * shape.key_row() + column + first;
            out[..n].copy_from_slice(&x[start..start + n]);
        }
    }
}

/// Scores, later probabilities, of a tile of queries against the keys of a block.
#[derive(Debug)]
struct Scores {
    /// Number of the first key.
    first_key: usize,
    /// Keys, whole panels.
    n_padded: usize,
    values: Vec<f32>, // (ROWS, n_padded)
}

impl Scores {
    fn new(keys: &Range<usize>) -> Self {
        let n_padded = keys.len().next_multiple_of(COLUMNS);
        Self { first_key: keys.start, n_padded, values: vec![0.0; ROWS * n_padded] }
    }

    /// Scaled products of `rows` with the packed keys; returns how many panels the last query sees.
    #[expect(clippy::too_many_arguments, reason = "one call site in each direction")]
    fn make(
        &mut self,
        isa: Isa,
        rows: Matrix<'_>,
        block: &Block,
        queries: &Range<usize>,
        packed: &[[f32; COLUMNS]],
        shape: &Shape,
        scratch: &mut Scratch,
    ) -> usize {
        let n_panels = (block.last_key(queries.end - 1) + 1 - self.first_key).div_ceil(COLUMNS);
        scratch.pack(rows, 0, shape.width);
        for (index, panel) in packed.chunks_exact(shape.width).take(n_panels).enumerate() {
            f32::tile(isa, &scratch.left, panel, &mut scratch.sums);
            for row in &mut scratch.sums {
                for value in row {
                    *value *= shape.scale;
                }
            }
            write_tile(&scratch.sums, (ROWS, COLUMNS), &mut self.values[index * COLUMNS..], self.n_padded, false);
        }
        n_panels
    }

    /// Turns scores into `exp(score − max)`, 0 where a query does not see the key; returns the sum of each row.
    fn softmax(
        &mut self,
        isa: Isa,
        block: &Block,
        queries: &Range<usize>,
        n_panels: usize,
        window: usize,
    ) -> [f32; ROWS] {
        let mut sums = [1.0; ROWS];
        for ((query, row), sum) in queries.clone().zip(self.values.chunks_exact_mut(self.n_padded)).zip(&mut sums) {
            let row = &mut row[..n_panels * COLUMNS];
            let visible = block.visible(query, window);
            let (start, end) = (visible.start - self.first_key, visible.end - self.first_key);
            *sum = dispatch!(isa, softmax_row(row: &mut [f32], start: usize, end: usize) -> f32);
        }
        sums
    }

    fn matrix(&self, n_rows: usize, n_panels: usize) -> Matrix<'_> {
        Matrix::strided(&self.values, n_rows, n_panels * COLUMNS, self.n_padded)
    }
}

#[inline(always)]
fn softmax_row(row: &mut [f32], start: usize, end: usize) -> f32 {
    let max = max(&row[start..end]);
    for value in row.iter_mut() {
        *value = exp(*value - max);
    }
    row[..start].fill(0.0);
    row[end..].fill(0.0);
    sum_of(row, row, |x, _| x)
}
