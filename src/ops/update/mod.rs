//! What an optimiser does to a parameter, in place. Own kernels go over memory once for every tensor that changes and
//! make none; their stock twins make one for every intermediate result.
//!
//! Each number depends on those at its own place alone, so how the work is split does not change the result.

pub mod adamw;
pub mod average;
pub mod rmsprop;
pub mod sgd;

use rayon::prelude::*;

/// Numbers of one task.
const CHUNK: usize = 1 << 16;

/// Applies `f` to every number and its two companions, in parallel.
fn par_zip(out: &mut [f32], a: &[f32], b: &[f32], f: impl Fn(&mut f32, f32, f32) + Sync) {
    out.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK)).zip(b.par_chunks(CHUNK)).for_each(|((out, a), b)| {
        for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
            f(out, a, b);
        }
    });
}

/// The same with three companions.
fn par_zip3(out: &mut [f32], [a, b, c]: [&[f32]; 3], f: impl Fn(&mut f32, [f32; 3]) + Sync) {
    let inputs = a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK)).zip(c.par_chunks(CHUNK));
    out.par_chunks_mut(CHUNK).zip(inputs).for_each(|(out, ((a, b), c))| {
        for (((out, &a), &b), &c) in out.iter_mut().zip(a).zip(b).zip(c) {
            f(out, [a, b, c]);
        }
    });
}

#[expect(clippy::cast_possible_truncation, reason = "the constants of an f32 update, as torch casts them")]
fn f32s<const N: usize>(constants: [f64; N]) -> [f32; N] {
    constants.map(|constant| constant as f32)
}
