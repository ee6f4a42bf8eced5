//! Products of numbers rounded to bf16, summed in `f32`: two `k` at a time, which is what the instruction takes.

use rayon::prelude::*;

use super::gemm::{Left, Matrix, Right};
use super::tile::{COLUMNS, Element, ROWS, Square, Tile};
use super::{Isa, dispatch};

/// Rows a thread rounds at least.
const MIN_ROWS: usize = 256;

/// Two numbers of a row, beside each other along `k`: the first in the low half.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(in crate::ops) struct Pair(u32);

/// Whether the CPU multiplies pairs itself.
pub(in crate::ops) fn has_instruction() -> bool {
    is_for(Isa::best())
}

/// Whether there is an instruction for pairs among those of `isa`.
pub(in crate::ops) fn is_for(isa: Isa) -> bool {
    #[cfg(target_arch = "x86_64")]
    return isa == Isa::Avx512 && is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

impl Element for Pair {
    #[inline]
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "no other CPU has the instruction"))]
    fn tile(isa: Isa, left: &[[Self; ROWS]], panel: &[[Self; COLUMNS]], out: &mut Tile) {
        assert!(is_for(isa), "pairs are packed only where there is an instruction for them");
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "instructions that not every CPU has")]
        // SAFETY: the CPU has both features.
        unsafe {
            x86::tile(left, panel, out);
        }
    }

    fn left(isa: Isa, a: Matrix<'_>) -> Left<Self> {
        Left::pack(Paired::new(isa, a).matrix())
    }

    fn right(isa: Isa, b: Matrix<'_>) -> Right<Self> {
        Right::pack(Paired::new(isa, b.transposed()).matrix().transposed())
    }

    #[inline(always)]
    fn transposed(square: Square<Self>) -> Square<Self> {
        let bits = |number: f32| Self(number.to_bits());
        f32::transposed(square.map(|row| row.map(|pair| f32::from_bits(pair.0)))).map(|row| row.map(bits))
    }
}

impl Pair {
    #[inline(always)]
    fn of(first: f32, second: f32) -> Self {
        Self((nearest(first) >> 16) | (nearest(second) & 0xffff_0000))
    }
}

/// Bits of a number whose upper half is the nearest bf16, the even one of two; what is no number stays none.
#[inline(always)]
pub(super) fn nearest(x: f32) -> u32 {
    let bits = x.to_bits();
    if x.is_nan() { bits | 0x0040_0000 } else { bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) }
}

/// A matrix of which two numbers along `k`, its columns, are one; a zero beside the last of an odd number.
#[derive(Debug)]
struct Paired {
    values: Vec<Pair>,
    n_rows: usize,
    n_pairs: usize,
    is_along_rows: bool,
}

impl Paired {
    fn new(isa: Isa, a: Matrix<'_>) -> Self {
        let (n_rows, n_k) = (a.n_rows(), a.n_columns());
        let n_pairs = n_k.div_ceil(2);
        let mut values = vec![Pair::default(); n_rows * n_pairs];
        let is_along_rows = a.has_rows_together();
        if values.is_empty() {
            return Self { values, n_rows, n_pairs, is_along_rows };
        }
        if is_along_rows {
            values.par_chunks_mut(n_pairs).with_min_len(MIN_ROWS).enumerate().for_each(|(row, out)| {
                let x = a.row(row);
                dispatch!(isa, pair_neighbours(x: &[f32], out: &mut [Pair]));
            });
        } else {
            let a = a.transposed();
            values.par_chunks_mut(n_rows).with_min_len(MIN_ROWS).enumerate().for_each(|(pair, out)| {
                let x = a.row(2 * pair);
                if 2 * pair + 1 < n_k {
                    let y = a.row(2 * pair + 1);
                    dispatch!(isa, pair_rows(x: &[f32], y: &[f32], out: &mut [Pair]));
                } else {
                    out.iter_mut().zip(x).for_each(|(out, &x)| *out = Pair::of(x, 0.0));
                }
            });
        }
        Self { values, n_rows, n_pairs, is_along_rows }
    }

    fn matrix(&self) -> Matrix<'_, Pair> {
        if self.is_along_rows {
            Matrix::new(&self.values, self.n_rows, self.n_pairs)
        } else {
            Matrix::new(&self.values, self.n_pairs, self.n_rows).transposed()
        }
    }
}

#[inline(always)]
fn pair_neighbours(x: &[f32], out: &mut [Pair]) {
    let (pairs, rest) = x.as_chunks::<2>();
    for (out, x) in out.iter_mut().zip(pairs) {
        *out = Pair::of(x[0], x[1]);
    }
    if let (Some(out), [x]) = (out.last_mut(), rest) {
        *out = Pair::of(*x, 0.0);
    }
}

#[inline(always)]
fn pair_rows(x: &[f32], y: &[f32], out: &mut [Pair]) {
    for ((out, &x), &y) in out.iter_mut().zip(x).zip(y) {
        *out = Pair::of(x, y);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{__m512, __m512bh, _mm512_dpbf16_ps, _mm512_set1_epi32, _mm512_setzero_ps};

    use super::{COLUMNS, Pair, ROWS, Tile};

    /// 24 sums of 16 lanes in registers.
    #[target_feature(enable = "avx512f,avx512bf16")]
    #[expect(unsafe_code, reason = "loads and stores without the checks that a pointer would have")]
    pub(super) fn tile(left: &[[Pair; ROWS]], panel: &[[Pair; COLUMNS]], out: &mut Tile) {
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        for (rows, columns) in left.iter().zip(panel) {
            // SAFETY: both are 32 pairs, and every bit pattern is two numbers.
            let [a, b] = unsafe { std::mem::transmute::<[Pair; COLUMNS], [__m512bh; 2]>(*columns) };
            for (sums, &x) in sums.iter_mut().zip(rows) {
                // SAFETY: vectors of the same size, and every bit pattern is 32 numbers.
                let x: __m512bh = unsafe { std::mem::transmute(_mm512_set1_epi32(x.0.cast_signed())) };
                *sums = [_mm512_dpbf16_ps(sums[0], x, a), _mm512_dpbf16_ps(sums[1], x, b)];
            }
        }
        for (out, sums) in out.iter_mut().zip(sums) {
            // SAFETY: both are 32 numbers.
            *out = unsafe { std::mem::transmute::<[__m512; 2], [f32; COLUMNS]>(sums) };
        }
    }
}
