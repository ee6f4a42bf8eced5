//! Products of numbers rounded to bf16, for CPUs without an instruction for them: what is rounded is kept, multiplied and
//! summed in `f32`.

use rayon::prelude::*;

use super::gemm::{Left, Matrix, Right};
use super::pairs::nearest;
use super::tile::{COLUMNS, Element, ROWS, Square, Tile};
use super::{Isa, dispatch};

/// Rows a thread rounds at least.
const MIN_ROWS: usize = 128;

/// A number that bf16 has.
#[derive(Debug, Clone, Copy, Default)]
#[repr(transparent)]
pub(in crate::ops) struct Widened(f32);

impl Element for Widened {
    #[inline]
    fn tile(isa: Isa, left: &[[Self; ROWS]], panel: &[[Self; COLUMNS]], out: &mut Tile) {
        f32::tile(isa, numbers(left), numbers(panel), out);
    }

    fn left(isa: Isa, a: Matrix<'_>) -> Left<Self> {
        Left::pack(Rounded::new(isa, a).matrix())
    }

    fn right(isa: Isa, b: Matrix<'_>) -> Right<Self> {
        Right::pack(Rounded::new(isa, b).matrix())
    }

    #[inline(always)]
    fn transposed(square: Square<Self>) -> Square<Self> {
        f32::transposed(square.map(|row| row.map(|number| number.0))).map(|row| row.map(Self))
    }
}

/// The same as plain numbers.
#[inline]
#[expect(unsafe_code, reason = "packed numbers are looked at as what they are, not copied")]
fn numbers<const N: usize>(values: &[[Widened; N]]) -> &[[f32; N]] {
    // SAFETY: a `Widened` is an `f32` and nothing else, so both are the same bytes in the same places.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), values.len()) }
}

/// A matrix with every number rounded.
struct Rounded {
    values: Vec<Widened>,
    n_rows: usize,
    n_columns: usize,
    is_along_rows: bool,
}

impl Rounded {
    fn new(isa: Isa, a: Matrix<'_>) -> Self {
        let is_along_rows = a.has_rows_together();
        let lines = if is_along_rows { a } else { a.transposed() };
        let (n_rows, n_columns) = (lines.n_rows(), lines.n_columns());
        let mut values = vec![Widened::default(); n_rows * n_columns];
        if n_columns > 0 {
            values.par_chunks_mut(n_columns).with_min_len(MIN_ROWS).enumerate().for_each(|(row, out)| {
                let x = lines.row(row);
                dispatch!(isa, round(x: &[f32], out: &mut [Widened]));
            });
        }
        Self { values, n_rows, n_columns, is_along_rows }
    }

    fn matrix(&self) -> Matrix<'_, Widened> {
        let lines = Matrix::new(&self.values, self.n_rows, self.n_columns);
        if self.is_along_rows { lines } else { lines.transposed() }
    }
}

#[inline(always)]
fn round(x: &[f32], out: &mut [Widened]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = Widened(f32::from_bits(nearest(x) & 0xffff_0000));
    }
}
