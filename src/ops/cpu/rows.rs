//! Kernels that work on one row at a time: norm, rotation, gate. Rows in parallel, sums over rows in fixed pieces.

use rayon::prelude::*;

use super::math::{sigmoid, sum_of};
use super::{Isa, dispatch};

/// Rows of one task.
const TASK_ROWS: usize = 32;

/// `out = x / √(mean(x²) + eps) · weight`, for rows as wide as the weight.
pub(in crate::ops) fn norm(isa: Isa, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let task = TASK_ROWS * weight.len();
    out.par_chunks_mut(task).zip(x.par_chunks(task)).for_each(|(out, x)| {
        dispatch!(isa, norm_rows(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]));
    });
}

#[inline(always)]
fn norm_rows(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let width = weight.len();
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let scale = inverse_rms(x, eps);
        for ((out, &x), &weight) in out.iter_mut().zip(x).zip(weight) {
            *out = x * scale * weight;
        }
    }
}

#[inline(always)]
fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    1.0 / (sum_of(x, x, |x, y| x * y) / x.len() as f32 + eps).sqrt()
}

/// Gradients of [`norm`]: writes `dx`, adds to `d_weight`.
pub(in crate::ops) fn norm_backward(
    isa: Isa,
    dy: &[f32],
    x: &[f32],
    weight: &[f32],
    eps: f32,
    dx: &mut [f32],
    d_weight: &mut [f32],
) {
    let width = weight.len();
    let task = TASK_ROWS * width;
    let tasks = dx.par_chunks_mut(task).zip(x.par_chunks(task)).zip(dy.par_chunks(task));
    let parts: Vec<Vec<f32>> = tasks
        .map(|((dx, x), dy)| {
            let mut part = vec![0.0; width];
            let d_weight = &mut part[..];
            dispatch!(isa, norm_backward_rows(
                dy: &[f32], x: &[f32], weight: &[f32], eps: f32, dx: &mut [f32], d_weight: &mut [f32],
            ));
            part
        })
        .collect();
    for part in parts {
        for (sum, part) in d_weight.iter_mut().zip(part) {
            *sum += part;
        }
    }
}

#[inline(always)]
fn norm_backward_rows(dy: &[f32], x: &[f32], weight: &[f32], eps: f32, dx: &mut [f32], d_weight: &mut [f32]) {
    let width = weight.len();
    let rows = dy.chunks_exact(width).zip(x.chunks_exact(width)).zip(dx.chunks_exact_mut(width));
    for ((dy, x), dx) in rows {
        let scale = inverse_rms(x, eps);
        norm_backward_row(dy, x, weight, scale, dx);
        for ((d_weight, &dy), &x) in d_weight.iter_mut().zip(dy).zip(x) {
            *d_weight += dy * x * scale;
        }
    }
}

/// The gradient of [`norm`] in `x` alone: the bits of [`norm_backward`].
pub(in crate::ops) fn norm_backward_input(isa: Isa, dy: &[f32], x: &[f32], weight: &[f32], eps: f32, dx: &mut [f32]) {
    let task = TASK_ROWS * weight.len();
    let tasks = dx.par_chunks_mut(task).zip(x.par_chunks(task)).zip(dy.par_chunks(task));
    tasks.for_each(|((dx, x), dy)| {
        dispatch!(isa, norm_backward_input_rows(dy: &[f32], x: &[f32], weight: &[f32], eps: f32, dx: &mut [f32]));
    });
}

#[inline(always)]
fn norm_backward_input_rows(dy: &[f32], x: &[f32], weight: &[f32], eps: f32, dx: &mut [f32]) {
    let width = weight.len();
    let rows = dy.chunks_exact(width).zip(x.chunks_exact(width)).zip(dx.chunks_exact_mut(width));
    for ((dy, x), dx) in rows {
        norm_backward_row(dy, x, weight, inverse_rms(x, eps), dx);
    }
}

/// `scale` is the inverse rms of the row.
#[inline(always)]
fn norm_backward_row(dy: &[f32], x: &[f32], weight: &[f32], scale: f32, dx: &mut [f32]) {
    for ((dx, &dy), &weight) in dx.iter_mut().zip(dy).zip(weight) {
        *dx = dy * weight;
    }
    let projection = sum_of(dx, x, |g, x| g * x) * scale * scale / weight.len() as f32;
    for (dx, &x) in dx.iter_mut().zip(x) {
        *dx = (*dx - x * projection) * scale;
    }
}

/// Rotates all heads of a row by the angles of the row; `sign` −1 rotates back.
pub(in crate::ops) fn rotate(isa: Isa, x: &[f32], cos: &[f32], sin: &[f32], n_half: usize, sign: f32, out: &mut [f32]) {
    let n_rows = (cos.len() / n_half.max(1)).max(1);
    let width = x.len() / n_rows;
    let rows = x.par_chunks(TASK_ROWS * width).zip(cos.par_chunks(TASK_ROWS * n_half));
    let rows = rows.zip(sin.par_chunks(TASK_ROWS * n_half)).zip(out.par_chunks_mut(TASK_ROWS * width));
    rows.for_each(|(((x, cos), sin), out)| {
        dispatch!(isa, rotate_rows(
            x: &[f32], cos: &[f32], sin: &[f32], n_half: usize, width: usize, sign: f32, out: &mut [f32],
        ));
    });
}

#[inline(always)]
fn rotate_rows(x: &[f32], cos: &[f32], sin: &[f32], n_half: usize, width: usize, sign: f32, out: &mut [f32]) {
    let angles = cos.chunks_exact(n_half).zip(sin.chunks_exact(n_half));
    for ((x, out), (cos, sin)) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)).zip(angles) {
        for (x, out) in x.chunks_exact(2 * n_half).zip(out.chunks_exact_mut(2 * n_half)) {
            let (x, y) = x.split_at(n_half);
            let (x_out, y_out) = out.split_at_mut(n_half);
            for i in 0..n_half {
                let sin = sin[i] * sign;
                x_out[i] = x[i] * cos[i] - y[i] * sin;
                y_out[i] = x[i] * sin + y[i] * cos[i];
            }
        }
    }
}

/// Numbers of one task of a kernel without rows.
const TASK: usize = 1 << 14;

/// `out = gate·σ(gate)·up`.
pub(in crate::ops) fn swiglu(isa: Isa, gate: &[f32], up: &[f32], out: &mut [f32]) {
    out.par_chunks_mut(TASK).zip(gate.par_chunks(TASK)).zip(up.par_chunks(TASK)).for_each(|((out, gate), up)| {
        dispatch!(isa, swiglu_part(gate: &[f32], up: &[f32], out: &mut [f32]));
    });
}

#[inline(always)]
fn swiglu_part(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, &gate), &up) in out.iter_mut().zip(gate).zip(up) {
        *out = gate * sigmoid(gate) * up;
    }
}

/// Gradients of [`swiglu`].
pub(in crate::ops) fn swiglu_backward(
    isa: Isa,
    dy: &[f32],
    gate: &[f32],
    up: &[f32],
    d_gate: &mut [f32],
    d_up: &mut [f32],
) {
    let outs = d_gate.par_chunks_mut(TASK).zip(d_up.par_chunks_mut(TASK));
    let ins = dy.par_chunks(TASK).zip(gate.par_chunks(TASK)).zip(up.par_chunks(TASK));
    outs.zip(ins).for_each(|((d_gate, d_up), ((dy, gate), up))| {
        dispatch!(isa, swiglu_backward_part(
            dy: &[f32], gate: &[f32], up: &[f32], d_gate: &mut [f32], d_up: &mut [f32],
        ));
    });
}

#[inline(always)]
fn swiglu_backward_part(dy: &[f32], gate: &[f32], up: &[f32], d_gate: &mut [f32], d_up: &mut [f32]) {
    let outs = d_gate.iter_mut().zip(d_up);
    for ((d_gate, d_up), ((&dy, &gate), &up)) in outs.zip(dy.iter().zip(gate).zip(up)) {
        let sigmoid = sigmoid(gate);
        let silu = gate * sigmoid;
        *d_up = dy * silu;
        *d_gate = dy * up * (sigmoid + silu * (1.0 - sigmoid));
    }
}

/// `out += x`.
pub(in crate::ops) fn add(x: &[f32], out: &mut [f32]) {
    out.par_chunks_mut(TASK).zip(x.par_chunks(TASK)).for_each(|(out, x)| {
        for (out, x) in out.iter_mut().zip(x) {
            *out += x;
        }
    });
}

/// Adds the same row to every row.
pub(in crate::ops) fn add_row(row: &[f32], out: &mut [f32]) {
    out.par_chunks_mut(TASK_ROWS * row.len()).for_each(|out| {
        for out in out.chunks_exact_mut(row.len()) {
            for (out, x) in out.iter_mut().zip(row) {
                *out += x;
            }
        }
    });
}

/// `out += Σ_rows x`, for rows as wide as `out`.
pub(in crate::ops) fn sum_rows(x: &[f32], out: &mut [f32]) {
    let width = out.len();
    let parts: Vec<Vec<f32>> = x
        .par_chunks(TASK_ROWS * width)
        .map(|x| {
            let mut part = vec![0.0; width];
            for x in x.chunks_exact(width) {
                for (sum, x) in part.iter_mut().zip(x) {
                    *sum += x;
                }
            }
            part
        })
        .collect();
    for part in parts {
        for (sum, x) in out.iter_mut().zip(part) {
            *sum += x;
        }
    }
}
