//! Matrix product from tiles: `out = a·b` or `out += a·b`.
//!
//! The right side is packed once into panels of `COLUMNS` columns; chunks of rows are then independent and run in
//! parallel. An element is the sum over blocks of `k` of the sums of a tile, in that order.

use std::ops::Range;

use rayon::prelude::*;

use super::Isa;
use super::pairs::{self, Pair};
use super::tensors::filled;
use super::tile::{COLUMNS, Element, ROWS, SQUARE, Tile};
use super::widened::Widened;
use crate::ops::Precision;

/// Longest run of `k` in one tile: a panel of it and the rows against it stay in the caches next to the core.
const MAX_K: usize = 768;
/// Bytes of packed panels that stay in the second cache while rows pass by.
const PANEL_BYTES: usize = 448 << 10;
/// Rows a task takes at most.
const MAX_TASK_ROWS: usize = 16 * ROWS;

/// A matrix as a slice with strides, one of which is 1: element `(i, j)` is `values[i·row_stride + j·column_stride]`.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops) struct Matrix<'a, T = f32> {
    values: &'a [T],
    n_rows: usize,
    n_columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// Rows one after another.
    pub(in crate::ops) fn new(values: &'a [T], n_rows: usize, n_columns: usize) -> Self {
        assert_eq!(values.len(), n_rows * n_columns, "a matrix of {n_rows} × {n_columns}");
        Self { values, n_rows, n_columns, row_stride: n_columns, column_stride: 1 }
    }

    /// Rows of `n_columns` numbers that lie `row_stride` apart.
    pub(in crate::ops) fn strided(values: &'a [T], n_rows: usize, n_columns: usize, row_stride: usize) -> Self {
        assert!(n_columns <= row_stride && (n_rows == 0 || (n_rows - 1) * row_stride + n_columns <= values.len()));
        Self { values, n_rows, n_columns, row_stride, column_stride: 1 }
    }

    /// Some of its rows.
    pub(in crate::ops) fn rows(self, rows: Range<usize>) -> Self {
        assert!(rows.end <= self.n_rows);
        Self { values: &self.values[rows.start * self.row_stride..], n_rows: rows.len(), ..self }
    }

    pub(in crate::ops) fn n_rows(&self) -> usize {
        self.n_rows
    }

    pub(in crate::ops) fn n_columns(&self) -> usize {
        self.n_columns
    }

    /// Whether the numbers of a row lie beside each other.
    pub(in crate::ops) fn has_rows_together(&self) -> bool {
        self.column_stride == 1
    }

    /// The numbers of a row, where they lie beside each other.
    pub(in crate::ops) fn row(&self, row: usize) -> &'a [T] {
        &self.values[row * self.row_stride..][..self.n_columns]
    }

    /// The same numbers, rows as columns.
    pub(in crate::ops) fn transposed(self) -> Self {
        Self {
            n_rows: self.n_columns,
            n_columns: self.n_rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// What becomes of the numbers that are in the output already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) enum Update {
    /// They are replaced.
    Replace,
    /// The product is added to them.
    Add,
}

/// How many `k` one tile sums: equal blocks of at most [`MAX_K`]. A function of `n_k` alone.
pub(in crate::ops) fn k_block(n_k: usize) -> usize {
    n_k.div_ceil(n_k.div_ceil(MAX_K).max(1)).max(1)
}

/// `out = a·b` or `out += a·b` with `a` `(M, K)`, `b` `(K, N)`, `out` `(M, N)`, rows one after another.
pub(in crate::ops) fn gemm(
    isa: Isa,
    precision: Precision,
    a: Matrix<'_>,
    b: Matrix<'_>,
    out: &mut [f32],
    update: Update,
) {
    match Format::of(isa, precision) {
        Format::Plain => gemm_of::<f32>(isa, a, b, out, update),
        Format::Pairs => gemm_of::<Pair>(isa, a, b, out, update),
        Format::Widened => gemm_of::<Widened>(isa, a, b, out, update),
    }
}

/// What the sides of a product are packed as.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops) enum Format {
    /// Numbers as they are.
    Plain,
    /// Pairs of bf16.
    Pairs,
    /// Numbers of bf16, as wide as before.
    Widened,
}

impl Format {
    pub(in crate::ops) fn of(isa: Isa, precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::Plain,
            Precision::Bf16 if pairs::is_for(isa) => Self::Pairs,
            Precision::Bf16 => Self::Widened,
        }
    }
}

fn gemm_of<T: Element>(isa: Isa, a: Matrix<'_>, b: Matrix<'_>, out: &mut [f32], update: Update) {
    let n_columns = b.n_columns;
    assert_eq!(out.len(), a.n_rows * n_columns, "the output");
    if out.is_empty() {
        return;
    }
    let right = T::right(isa, b);
    let n_task_rows = task_rows(a.n_rows);
    out.par_chunks_mut(n_task_rows * n_columns).enumerate().for_each(|(task, out)| {
        let first_row = task * n_task_rows;
        let left = T::left(isa, a.rows(first_row..first_row + out.len() / n_columns));
        multiply(isa, &left, &right, out, update);
    });
}

/// Rows of a task: several tasks a thread, so that a slow thread does not hold up the others.
fn task_rows(n_rows: usize) -> usize {
    let n_tiles = n_rows.div_ceil(ROWS);
    (n_tiles.div_ceil(4 * rayon::current_num_threads()) * ROWS).min(MAX_TASK_ROWS)
}

/// The left side of a product: blocks of `k`, in each the tiles of rows, in each the rows beside each other.
#[derive(Debug)]
pub(in crate::ops) struct Left<T = f32> {
    values: Vec<[T; ROWS]>,
    n_rows: usize,
    n_k: usize,
}

impl<T: Element> Left<T> {
    pub(in crate::ops) fn pack(a: Matrix<'_, T>) -> Self {
        let (n_tiles, block) = (a.n_rows.div_ceil(ROWS), k_block(a.n_columns));
        let mut values = vec![[T::default(); ROWS]; n_tiles * a.n_columns];
        for (index, tiles) in values.chunks_mut((n_tiles * block).max(1)).enumerate() {
            let len = tiles.len() / n_tiles;
            for (tile, out) in tiles.chunks_exact_mut(len).enumerate() {
                pack_beside(a, tile * ROWS, index * block, out);
            }
        }
        Self { values, n_rows: a.n_rows, n_k: a.n_columns }
    }
}

/// The right side of a product: blocks of `k`, in each the panels of columns, in each the columns beside each other.
#[derive(Debug)]
pub(in crate::ops) struct Right<T = f32> {
    values: Vec<[T; COLUMNS]>,
    n_columns: usize,
    n_k: usize,
}

impl<T: Element> Right<T> {
    /// Packs on all threads if there is enough to do.
    pub(in crate::ops) fn pack(b: Matrix<'_, T>) -> Self {
        const MIN_PANELS: usize = 8;
        let (n_panels, block) = (b.n_columns.div_ceil(COLUMNS), k_block(b.n_rows));
        let mut values = filled([T::default(); COLUMNS], n_panels * b.n_rows);
        for (index, panels) in values.chunks_mut((n_panels * block).max(1)).enumerate() {
            let len = panels.len() / n_panels;
            let panels = panels.par_chunks_exact_mut(len).with_min_len(MIN_PANELS).enumerate();
            panels.for_each(|(panel, out)| pack_beside(b.transposed(), panel * COLUMNS, index * block, out));
        }
        Self { values, n_columns: b.n_columns, n_k: b.n_rows }
    }
}

/// For each `k` of `out`, from `first_k` on: the rows of `a` from `first_row` on beside each other, as many as there
/// are; what is beyond them stays as it is.
pub(in crate::ops) fn pack_beside<T: Element, const N: usize>(
    a: Matrix<'_, T>,
    first_row: usize,
    first_k: usize,
    out: &mut [[T; N]],
) {
    const STEP: usize = 32;
    let n_rows = N.min(a.n_rows - first_row);
    let start = first_row * a.row_stride + first_k * a.column_stride;
    if a.row_stride == 1 {
        for (k, out) in out.iter_mut().enumerate() {
            let at = start + k * a.column_stride;
            if n_rows == N {
                out.copy_from_slice(&a.values[at..at + N]);
            } else {
                out[..n_rows].copy_from_slice(&a.values[at..at + n_rows]);
            }
        }
        return;
    }
    // Some `k` at a time, so that the lines written stay in the cache while the rows are read.
    for (step, out) in out.chunks_mut(STEP).enumerate() {
        let n_k = out.len();
        let rows = |row: usize| &a.values[start + row * a.row_stride + step * STEP..][..n_k];
        let mut row = 0;
        while row + SQUARE <= n_rows {
            transpose_rows(std::array::from_fn(|i| rows(row + i)), row, out);
            row += SQUARE;
        }
        for row in row..n_rows {
            let values = rows(row);
            for (out, value) in out.iter_mut().zip(values) {
                out[row] = *value;
            }
        }
    }
}

/// Writes rows into columns `column…` of `out`.
#[inline(always)]
fn transpose_rows<T: Element, const N: usize>(rows: [&[T]; SQUARE], column: usize, out: &mut [[T; N]]) {
    let (squares, rest) = out.as_chunks_mut::<SQUARE>();
    let n_whole = squares.len() * SQUARE;
    let [a, b, c, d] = rows.map(|row| row.as_chunks::<SQUARE>().0);
    for ((((out, a), b), c), d) in squares.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        for (out, line) in out.iter_mut().zip(T::transposed([*a, *b, *c, *d])) {
            if let Some(out) = out.as_chunks_mut::<SQUARE>().0.get_mut(column / SQUARE) {
                *out = line;
            }
        }
    }
    for (i, row) in rows.into_iter().enumerate() {
        for (out, value) in rest.iter_mut().zip(&row[n_whole..]) {
            out[column + i] = *value;
        }
    }
}

/// `out = left·right` or `out += left·right`, on this thread.
pub(in crate::ops) fn multiply<T: Element>(
    isa: Isa,
    left: &Left<T>,
    right: &Right<T>,
    out: &mut [f32],
    update: Update,
) {
    let (n_rows, n_columns, n_k) = (left.n_rows, right.n_columns, left.n_k);
    assert!(n_k == right.n_k && out.len() == n_rows * n_columns, "sides and output of a product fit");
    if n_k == 0 && update == Update::Replace {
        out.fill(0.0);
    }
    let (n_tiles, n_panels, block) = (n_rows.div_ceil(ROWS), n_columns.div_ceil(COLUMNS), k_block(n_k));
    let mut sums: Tile = [[0.0; COLUMNS]; ROWS];
    for first_k in (0..n_k).step_by(block) {
        let len = block.min(n_k - first_k);
        let adds = update == Update::Add || first_k > 0;
        let tiles = &left.values[first_k * n_tiles..][..len * n_tiles];
        let panels = &right.values[first_k * n_panels..][..len * n_panels];
        let n_group = (PANEL_BYTES / (len * size_of::<[T; COLUMNS]>())).max(1);
        for (group, panels) in panels.chunks(n_group * len).enumerate() {
            for (row, left) in (0..n_rows).step_by(ROWS).zip(tiles.chunks_exact(len)) {
                for (index, panel) in panels.chunks_exact(len).enumerate() {
                    T::tile(isa, left, panel, &mut sums);
                    let column = (group * n_group + index) * COLUMNS;
                    let size = (ROWS.min(n_rows - row), COLUMNS.min(n_columns - column));
                    write_tile(&sums, size, &mut out[row * n_columns + column..], n_columns, adds);
                }
            }
        }
    }
}

/// Stores or adds the first rows and columns of a tile; the rows of `out` lie `stride` apart.
#[inline]
pub(in crate::ops) fn write_tile(
    sums: &Tile,
    (n_rows, n_columns): (usize, usize),
    out: &mut [f32],
    stride: usize,
    adds: bool,
) {
    for (sums, out) in sums[..n_rows].iter().zip(out.chunks_mut(stride)) {
        let (out, sums) = (&mut out[..n_columns], &sums[..n_columns]);
        if adds {
            for (out, sum) in out.iter_mut().zip(sums) {
                *out += sum;
            }
        } else {
            out.copy_from_slice(sums);
        }
    }
}
