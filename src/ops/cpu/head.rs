//! Language-model head without logits: a block of the vocabulary at a time, seen by all rows.

use std::ops::Range;

use rayon::prelude::*;

use super::gemm::{Format, Left, Matrix, Update, multiply};
use super::math::{exp, max, sum_of_exp, sum_of_squared_exp, sums_of_exp};
use super::pairs::Pair;
use super::tile::Element;
use super::widened::Widened;
use super::{Isa, dispatch, rows};
use crate::ops::Precision;
use crate::ops::head::Extras;

/// Entries of the vocabulary whose logits are made at once.
const BLOCK: usize = 192;
/// Rows whose logits of a block are in memory at once.
const TASK_ROWS: usize = 96;
/// Rows of one round of the backward.
const ROUND_ROWS: usize = 384;
/// Runs of blocks in the backward, each with its own sum of gradients in the hidden states. A constant, so that the
/// order of that sum does not depend on the number of threads.
const RUNS: usize = 16;

/// The scored rows: which hidden states, which tokens.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops) struct Inputs<'a> {
    /// `(N, D)`
    pub(in crate::ops) hidden: &'a [f32],
    /// `(V, D)`
    pub(in crate::ops) weight: &'a [f32],
    /// `(N)`, each below `V`.
    pub(in crate::ops) targets: &'a [u32],
    /// `D`
    pub(in crate::ops) width: usize,
}

/// What a forward pass says of every row. // (N) each
#[derive(Debug, Default)]
pub(in crate::ops) struct Scores {
    /// Log-prob of the target.
    pub(in crate::ops) logps: Vec<f32>,
    /// `ln Σ exp(logit)`
    pub(in crate::ops) log_sums: Vec<f32>,
    /// What was asked for beside them; empty if nothing was.
    pub(in crate::ops) extras: Vec<f32>,
    /// Whether no token is likelier than the target, 1 or 0; empty unless entropies are asked for.
    pub(in crate::ops) are_top: Vec<u8>,
}

/// What one block of the vocabulary says of a row.
#[derive(Debug, Clone, Copy)]
struct Share {
    max: f32,
    /// `Σ exp(logit − max)`
    sum: f64,
    /// `Σ exp(logit − max)²` for collisions, `Σ (logit − max)·exp(logit − max)` for entropies, else 0.
    extra: f64,
    /// The logit of the target, if it is in the block.
    target: Option<f32>,
}

impl<'a> Inputs<'a> {
    fn n_rows(&self) -> usize {
        self.targets.len()
    }

    fn vocabulary(&self) -> usize {
        self.weight.len() / self.width
    }

    /// Rows of the weight. // (len, D)
    fn block(&self, block: &Range<usize>) -> Matrix<'a> {
        let values = &self.weight[block.start * self.width..block.end * self.width];
        Matrix::new(values, block.len(), self.width)
    }

    fn hidden(&self, rows: &Range<usize>) -> Matrix<'a> {
        Matrix::new(&self.hidden[rows.start * self.width..rows.end * self.width], rows.len(), self.width)
    }
}

/// Scores of every row.
pub(in crate::ops) fn forward(isa: Isa, precision: Precision, inputs: &Inputs<'_>, extras: Extras) -> Scores {
    match Format::of(isa, precision) {
        Format::Plain => forward_of::<f32>(isa, inputs, extras),
        Format::Pairs => forward_of::<Pair>(isa, inputs, extras),
        Format::Widened => forward_of::<Widened>(isa, inputs, extras),
    }
}

fn forward_of<T: Element>(isa: Isa, inputs: &Inputs<'_>, extras: Extras) -> Scores {
    let tasks = runs(0..inputs.n_rows(), TASK_ROWS);
    let lefts: Vec<Left<T>> = tasks.par_iter().map(|rows| T::left(isa, inputs.hidden(rows))).collect();
    let shares: Vec<Vec<Share>> = runs(0..inputs.vocabulary(), BLOCK)
        .into_par_iter()
        .map(|block| {
            let right = T::right(isa, inputs.block(&block).transposed());
            let mut logits = vec![0.0; TASK_ROWS * block.len()];
            let mut shares = Vec::with_capacity(inputs.n_rows());
            for (rows, left) in tasks.iter().zip(&lefts) {
                let logits = &mut logits[..rows.len() * block.len()];
                multiply(isa, left, &right, logits, Update::Replace);
                for (logits, &target) in logits.chunks_exact(block.len()).zip(&inputs.targets[rows.clone()]) {
                    let (max, sum, extra) = match extras {
                        Extras::None => dispatch!(isa, plain(logits: &[f32]) -> (f32, f64, f64)),
                        Extras::Collisions => dispatch!(isa, with_squares(logits: &[f32]) -> (f32, f64, f64)),
                        Extras::Entropies => dispatch!(isa, with_weighted(logits: &[f32]) -> (f32, f64, f64)),
                    };
                    let target = (target as usize).checked_sub(block.start).and_then(|at| logits.get(at)).copied();
                    shares.push(Share { max, sum, extra, target });
                }
            }
            shares
        })
        .collect();
    let mut scores = Scores::default();
    for row in 0..inputs.n_rows() {
        scores.push(&shares.iter().map(|block| block[row]), extras);
    }
    scores
}

impl Scores {
    /// Adds a row, from what the blocks of the vocabulary say of it, in their order.
    #[expect(clippy::cast_possible_truncation, reason = "the results are f32, only the sums are not")]
    fn push(&mut self, shares: &(impl Iterator<Item = Share> + Clone), extras: Extras) {
        let shares = || shares.clone();
        let max = shares().map(|share| share.max).fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = shares().map(|share| share.sum * f64::from(share.max - max).exp()).sum();
        let log_sum = f64::from(max) + sum.ln();
        let target = shares().find_map(|share| share.target);
        self.logps.push((target.map_or(f64::NAN, f64::from) - log_sum) as f32);
        self.log_sums.push(log_sum as f32);
        match extras {
            Extras::None => {}
            Extras::Collisions => {
                // The largest logit cancels: Σ π² = Σ e²⁽ˣ⁻ᵐ⁾ / (Σ eˣ⁻ᵐ)².
                let squares: f64 = shares().map(|share| share.extra * (2.0 * f64::from(share.max - max)).exp()).sum();
                self.extras.push((squares.ln() - 2.0 * sum.ln()) as f32);
            }
            Extras::Entropies => {
                // −Σ π ln π = ln Σ eˣ⁻ᵐ − Σ (x − m)·eˣ⁻ᵐ / Σ eˣ⁻ᵐ: two terms that are not negative, so no digit cancels.
                let weighted: f64 = shares()
                    .map(|share| {
                        let shift = f64::from(share.max - max);
                        shift.exp() * (share.extra + shift * share.sum)
                    })
                    .sum();
                self.extras.push((sum.ln() - weighted / sum) as f32);
                self.are_top.push(u8::from(target == Some(max)));
            }
        }
    }
}

/// Largest logit, `Σ exp(logit − max)`, and nothing.
#[inline(always)]
fn plain(logits: &[f32]) -> (f32, f64, f64) {
    let max = max(logits);
    (max, sum_of_exp(logits, max), 0.0)
}

#[inline(always)]
fn with_squares(logits: &[f32]) -> (f32, f64, f64) {
    let max = max(logits);
    (max, sum_of_exp(logits, max), sum_of_squared_exp(logits, max))
}

#[inline(always)]
fn with_weighted(logits: &[f32]) -> (f32, f64, f64) {
    let max = max(logits);
    let (sum, weighted) = sums_of_exp(logits, max);
    (max, sum, weighted)
}

/// Gradients in the hidden states `(N, D)`; adds those in the weight to `d_weight` `(V, D)`.
///
/// `slopes` and `log_sums` `(N)`.
pub(in crate::ops) fn backward(
    isa: Isa,
    precision: Precision,
    inputs: &Inputs<'_>,
    slopes: &[f32],
    log_sums: &[f32],
    d_weight: &mut [f32],
) -> Vec<f32> {
    match Format::of(isa, precision) {
        Format::Plain => backward_of::<f32>(isa, inputs, slopes, log_sums, d_weight),
        Format::Pairs => backward_of::<Pair>(isa, inputs, slopes, log_sums, d_weight),
        Format::Widened => backward_of::<Widened>(isa, inputs, slopes, log_sums, d_weight),
    }
}

fn backward_of<T: Element>(
    isa: Isa,
    inputs: &Inputs<'_>,
    slopes: &[f32],
    log_sums: &[f32],
    d_weight: &mut [f32],
) -> Vec<f32> {
    let width = inputs.width;
    let mut d_hidden = vec![0.0; inputs.n_rows() * width];
    let n_run = inputs.vocabulary().div_ceil(RUNS).next_multiple_of(BLOCK);
    for rows in runs(0..inputs.n_rows(), ROUND_ROWS) {
        let right = T::right(isa, inputs.hidden(&rows));
        let round = Round::<T>::new(isa, inputs, rows, slopes, log_sums);
        let parts: Vec<Vec<f32>> = d_weight
            .par_chunks_mut(n_run * width)
            .enumerate()
            .map(|(run, d_weight)| {
                let mut part = vec![0.0; round.targets.len() * width];
                let first = run * n_run;
                let blocks = runs(first..first + d_weight.len() / width, BLOCK);
                for (block, d_weight) in blocks.into_iter().zip(d_weight.chunks_mut(BLOCK * width)) {
                    let d_logits = round.block(isa, inputs.block(&block), block.start, &mut part);
                    let d_logits = Matrix::new(&d_logits, round.targets.len(), block.len());
                    multiply(isa, &T::left(isa, d_logits.transposed()), &right, d_weight, Update::Add);
                }
                part
            })
            .collect();
        round.add_parts(&parts, width, &mut d_hidden);
    }
    d_hidden
}

/// Gradients in the hidden states alone, for a frozen weight: the bits of [`backward`]. // (N, D)
pub(in crate::ops) fn backward_input(
    isa: Isa,
    precision: Precision,
    inputs: &Inputs<'_>,
    slopes: &[f32],
    log_sums: &[f32],
) -> Vec<f32> {
    match precision {
        Precision::F32 => backward_input_of::<f32>(isa, inputs, slopes, log_sums),
        Precision::Bf16 => backward_input_of::<Pair>(isa, inputs, slopes, log_sums),
    }
}

fn backward_input_of<T: Element>(isa: Isa, inputs: &Inputs<'_>, slopes: &[f32], log_sums: &[f32]) -> Vec<f32> {
    let width = inputs.width;
    let mut d_hidden = vec![0.0; inputs.n_rows() * width];
    let n_run = inputs.vocabulary().div_ceil(RUNS).next_multiple_of(BLOCK);
    for rows in runs(0..inputs.n_rows(), ROUND_ROWS) {
        let round = Round::<T>::new(isa, inputs, rows, slopes, log_sums);
        let parts: Vec<Vec<f32>> = runs(0..inputs.vocabulary(), n_run)
            .into_par_iter()
            .map(|run| {
                let mut part = vec![0.0; round.targets.len() * width];
                for block in runs(run, BLOCK) {
                    round.block(isa, inputs.block(&block), block.start, &mut part);
                }
                part
            })
            .collect();
        round.add_parts(&parts, width, &mut d_hidden);
    }
    d_hidden
}

/// Some rows of the backward.
struct Round<'a, T> {
    rows: Range<usize>,
    left: Left<T>,
    targets: &'a [u32],
    slopes: &'a [f32],
    log_sums: &'a [f32],
}

impl<'a, T: Element> Round<'a, T> {
    fn new(isa: Isa, inputs: &Inputs<'a>, rows: Range<usize>, slopes: &'a [f32], log_sums: &'a [f32]) -> Self {
        Self {
            left: T::left(isa, inputs.hidden(&rows)),
            targets: &inputs.targets[rows.clone()],
            slopes: &slopes[rows.clone()],
            log_sums: &log_sums[rows.clone()],
            rows,
        }
    }

    /// The part of a block of the weight, whose first row is `first`: adds to the gradient of the rows, returns the one
    /// in the logits. // (rows, block)
    fn block(&self, isa: Isa, weight: Matrix<'_>, first: usize, d_hidden: &mut [f32]) -> Vec<f32> {
        let (n_rows, n_block) = (self.targets.len(), weight.n_rows());
        let mut d_logits = vec![0.0; n_rows * n_block];
        multiply(isa, &self.left, &T::right(isa, weight.transposed()), &mut d_logits, Update::Replace);
        let rows = self.targets.iter().zip(self.slopes).zip(self.log_sums);
        for (logits, ((&target, &slope), &log_sum)) in d_logits.chunks_exact_mut(n_block).zip(rows) {
            dispatch!(isa, softmax_slopes(logits: &mut [f32], slope: f32, log_sum: f32));
            if let Some(logit) = (target as usize).checked_sub(first).and_then(|at| logits.get_mut(at)) {
                *logit += slope;
            }
        }
        let left = T::left(isa, Matrix::new(&d_logits, n_rows, n_block));
        multiply(isa, &left, &T::right(isa, weight), d_hidden, Update::Add);
        d_logits
    }

    /// Adds what each run of blocks has found of the rows to theirs, in the order of the runs.
    fn add_parts(&self, parts: &[Vec<f32>], width: usize, d_hidden: &mut [f32]) {
        let d_hidden = &mut d_hidden[self.rows.start * width..self.rows.end * width];
        for part in parts {
            rows::add(part, d_hidden);
        }
    }
}

#[inline(always)]
fn softmax_slopes(logits: &mut [f32], slope: f32, log_sum: f32) {
    for logit in logits {
        *logit = -slope * exp(*logit - log_sum);
    }
}

/// A range in runs of `n`.
fn runs(range: Range<usize>, n: usize) -> Vec<Range<usize>> {
    range.clone().step_by(n).map(|start| start..range.end.min(start + n)).collect()
}
