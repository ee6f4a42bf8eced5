//! The innermost product: a tile of `ROWS × COLUMNS` numbers, summed over `k` one after another.
//!
//! Every element of a tile is one chain of fused multiply-adds in the order of `k`, whatever the instruction set: the
//! vector lanes run over columns, never over `k`. So an element depends on its own row and column only, and AVX-512
//! and AVX2 give the same bits. Where there is no fused multiply-add, product and sum are rounded one by one.

use super::Isa;
use super::gemm::{Left, Matrix, Right};

/// Rows of a tile.
pub(in crate::ops) const ROWS: usize = 12;
/// Columns of a tile.
pub(in crate::ops) const COLUMNS: usize = 32;

/// The sums of a tile.
pub(in crate::ops) type Tile = [[f32; COLUMNS]; ROWS];

/// What the sides of a product are made of: one entry for each row or column and `k`.
pub(in crate::ops) trait Element: Copy + Default + Send + Sync {
    /// `out[i][j] = Σ_k left[k][i] · panel[k][j]`, over as many `k` as both sides have.
    fn tile(isa: Isa, left: &[[Self; ROWS]], panel: &[[Self; COLUMNS]], out: &mut Tile);

    /// The left side `(M, K)` of a product.
    fn left(isa: Isa, a: Matrix<'_>) -> Left<Self>;

    /// The right side `(K, N)` of a product.
    fn right(isa: Isa, b: Matrix<'_>) -> Right<Self>;

    /// Rows as columns.
    fn transposed(square: Square<Self>) -> Square<Self>;
}

/// Rows and columns of the pieces that are transposed in registers.
pub(in crate::ops) const SQUARE: usize = 4;
pub(in crate::ops) type Square<T> = [[T; SQUARE]; SQUARE];

impl Element for f32 {
    #[inline]
    fn tile(isa: Isa, left: &[[f32; ROWS]], panel: &[[f32; COLUMNS]], out: &mut Tile) {
        match isa {
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "instructions that not every CPU has")]
            // SAFETY: `Isa::Avx512` is made only where the CPU has AVX-512F.
            Isa::Avx512 => unsafe { x86::avx512(left, panel, out) },
            #[cfg(target_arch = "x86_64")]
            #[expect(unsafe_code, reason = "instructions that not every CPU has")]
            // SAFETY: `Isa::Avx2` is made only where the CPU has AVX2 and FMA.
            Isa::Avx2 => unsafe { x86::avx2(left, panel, out) },
            Isa::Portable => portable(left, panel, out),
        }
    }

    fn left(_: Isa, a: Matrix<'_>) -> Left {
        Left::pack(a)
    }

    fn right(_: Isa, b: Matrix<'_>) -> Right {
        Right::pack(b)
    }

    #[inline(always)]
    fn transposed(square: Square<f32>) -> Square<f32> {
        transposed(square)
    }
}

/// The same in plain Rust, in pieces that fit the registers of any CPU.
fn portable(left: &[[f32; ROWS]], panel: &[[f32; COLUMNS]], out: &mut Tile) {
    const PIECE: (usize, usize) = (4, 8);
    for first_row in (0..ROWS).step_by(PIECE.0) {
        for first_column in (0..COLUMNS).step_by(PIECE.1) {
            let mut sums = [[0.0_f32; PIECE.1]; PIECE.0];
            for (rows, columns) in left.iter().zip(panel) {
                for (i, sums) in sums.iter_mut().enumerate() {
                    for (j, sum) in sums.iter_mut().enumerate() {
                        *sum = multiply_add(rows[first_row + i], columns[first_column + j], *sum);
                    }
                }
            }
            for (i, sums) in sums.iter().enumerate() {
                out[first_row + i][first_column..first_column + PIECE.1].copy_from_slice(sums);
            }
        }
    }
}

/// Whether [`portable`] rounds once, like the vector kernels: where the target has the instruction.
pub(in crate::ops) const PORTABLE_IS_FUSED: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// `x·y + sum`, rounded once where that is one instruction; elsewhere `mul_add` would be a call into software.
#[inline(always)]
fn multiply_add(x: f32, y: f32, sum: f32) -> f32 {
    if PORTABLE_IS_FUSED { x.mul_add(y, sum) } else { x * y + sum }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[expect(unsafe_code, reason = "a compiler does not see that a transposition is eight shuffles")]
fn transposed(square: Square<f32>) -> Square<f32> {
    use std::arch::x86_64::{__m128, _mm_movehl_ps, _mm_movelh_ps, _mm_unpackhi_ps, _mm_unpacklo_ps};
    // SAFETY: an array of numbers and a vector of as many are the same bytes; the shuffles are SSE, which every CPU of
    // the target has.
    unsafe {
        let [a, b, c, d] = std::mem::transmute::<Square<f32>, [__m128; SQUARE]>(square);
        let (ab, cd) = (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d));
        let (ab_high, cd_high) = (_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d));
        std::mem::transmute::<[__m128; SQUARE], Square<f32>>([
            _mm_movelh_ps(ab, cd),
            _mm_movehl_ps(cd, ab),
            _mm_movelh_ps(ab_high, cd_high),
            _mm_movehl_ps(cd_high, ab_high),
        ])
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn transposed(square: Square<f32>) -> Square<f32> {
    std::array::from_fn(|i| std::array::from_fn(|j| square[j][i]))
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, __m512, _mm256_fmadd_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm512_fmadd_ps, _mm512_set1_ps,
        _mm512_setzero_ps,
    };

    use super::{COLUMNS, ROWS, Tile};

    /// 24 sums of 16 lanes in registers.
    #[target_feature(enable = "avx512f")]
    pub(super) fn avx512(left: &[[f32; ROWS]], panel: &[[f32; COLUMNS]], out: &mut Tile) {
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        for (rows, columns) in left.iter().zip(panel) {
            let [a, b] = vectors512(*columns);
            for (sums, &x) in sums.iter_mut().zip(rows) {
                let x = _mm512_set1_ps(x);
                *sums = [_mm512_fmadd_ps(x, a, sums[0]), _mm512_fmadd_ps(x, b, sums[1])];
            }
        }
        for (out, sums) in out.iter_mut().zip(sums) {
            *out = numbers512(sums);
        }
    }

    /// Four times 12 sums of 8 lanes in registers.
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2(left: &[[f32; ROWS]], panel: &[[f32; COLUMNS]], out: &mut Tile) {
        const PIECE: usize = 6;
        for (half, first_row) in [(0, 0), (0, PIECE), (2, 0), (2, PIECE)] {
            let mut sums = [[_mm256_setzero_ps(); 2]; PIECE];
            for (rows, columns) in left.iter().zip(panel) {
                let columns = vectors256(*columns);
                for (i, sums) in sums.iter_mut().enumerate() {
                    let x = _mm256_set1_ps(rows[first_row + i]);
                    *sums =
                        [_mm256_fmadd_ps(x, columns[half], sums[0]), _mm256_fmadd_ps(x, columns[half + 1], sums[1])];
                }
            }
            for (i, sums) in sums.into_iter().enumerate() {
                out[first_row + i][8 * half..8 * half + 16].copy_from_slice(&numbers256(sums));
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    #[expect(unsafe_code, reason = "a load without the checks that a pointer would have in the innermost loop")]
    fn vectors512(numbers: [f32; COLUMNS]) -> [__m512; 2] {
        // SAFETY: both are 32 numbers, and every bit pattern is one.
        unsafe { std::mem::transmute(numbers) }
    }

    #[target_feature(enable = "avx512f")]
    #[expect(unsafe_code, reason = "a store without the checks that a pointer would have")]
    fn numbers512(vectors: [__m512; 2]) -> [f32; COLUMNS] {
        // SAFETY: both are 32 numbers, and every bit pattern is one.
        unsafe { std::mem::transmute(vectors) }
    }

    #[target_feature(enable = "avx2")]
    #[expect(unsafe_code, reason = "a load without the checks that a pointer would have in the innermost loop")]
    fn vectors256(numbers: [f32; COLUMNS]) -> [__m256; 4] {
        // SAFETY: both are 32 numbers, and every bit pattern is one.
        unsafe { std::mem::transmute(numbers) }
    }

    #[target_feature(enable = "avx2")]
    #[expect(unsafe_code, reason = "a store without the checks that a pointer would have")]
    fn numbers256(vectors: [__m256; 2]) -> [f32; 16] {
        // SAFETY: both are 16 numbers, and every bit pattern is one.
        unsafe { std::mem::transmute(vectors) }
    }
}
