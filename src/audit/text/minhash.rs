//! MinHash signatures and the bands they are cut into.
//!
//! MinHash: Broder 1997, On the resemblance and containment of documents: under a random permutation the minima of two
//! sets are equal with a probability that is their Jaccard similarity. Bands: Leskovec, Rajaraman and Ullman, Mining of
//! Massive Datasets, §3.4: with b bands of r minima, two sets of similarity s meet in at least one band with probability
//! 1 − (1 − sʳ)ᵇ, an S-curve that is steep near (1/b)^(1/r).

use rand::RngCore;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::words::gram;

/// Minima of a signature.
pub const N_PERMUTATIONS: usize = 128;

/// How often two sets just as similar as asked for are to meet in a band, at least.
const LEAST_RECALL: f64 = 0.99;

/// Stands for the permutations: another number draws others.
const SEED: u64 = 128;

/// A signature cut into bands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bands {
    /// Bands.
    pub n: usize,
    /// Minima of a band.
    pub rows: usize,
}

impl Bands {
    /// The most selective bands in which sets of this similarity meet with probability 0.99.
    ///
    /// For 0.8 these are 21 bands of 6, two minima left over: of pairs at 0.8 they miss 0.2 %, at 0.9 fewer than
    /// 1 in 10⁶, and they bring up 28 % of pairs at 0.5 and 1.5 % at 0.3, which exact comparison then drops. (16 bands of 8
    /// would use all minima and miss 5 % at 0.8.)
    pub fn for_similarity(least: f64) -> Self {
        let bands = |rows| Self { n: N_PERMUTATIONS / rows, rows };
        let fits = |bands: &Self| bands.recall(least) >= LEAST_RECALL;
        (1..=N_PERMUTATIONS).rev().map(bands).find(fits).unwrap_or(bands(1))
    }

    /// Probability that two sets of this Jaccard similarity meet in a band.
    pub fn recall(self, similarity: f64) -> f64 {
        1.0 - (1.0 - similarity.powf(self.rows as f64)).powf(self.n as f64)
    }
}

/// The permutations of 2⁶⁴ that signatures are made with: x ↦ a·x + b, a odd, of which the upper half counts.
pub struct MinHash(Vec<(u64, u64)>);

impl Default for MinHash {
    /// The same permutations each time.
    fn default() -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        Self((0..N_PERMUTATIONS).map(|_| (rng.next_u64() | 1, rng.next_u64())).collect())
    }
}

impl MinHash {
    /// The least image of the set under each permutation; `None` of the empty set.
    pub fn signature(&self, set: &[u64]) -> Option<Vec<u64>> {
        let (&first, rest) = set.split_first()?;
        let image = |&(a, b): &(u64, u64), x: u64| a.wrapping_mul(x).wrapping_add(b) >> 32;
        let mut minima: Vec<u64> = self.0.iter().map(|permutation| image(permutation, first)).collect();
        for &x in rest {
            for (least, permutation) in minima.iter_mut().zip(&self.0) {
                *least = (*least).min(image(permutation, x));
            }
        }
        Some(minima)
    }
}

/// One key a band: sets that agree in all minima of a band have the same there.
pub(super) fn band_keys(signature: &[u64], bands: Bands) -> impl Iterator<Item = u64> {
    signature.chunks_exact(bands.rows).take(bands.n).map(gram)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::text::words::jaccard;

    #[test]
    fn bands_are_the_most_selective_that_find_nearly_all() {
        // 1 − (1 − 0.8⁶)²¹ = 0.99831, 1 − (1 − 0.8⁷)¹⁸ = 0.98554.
        assert_eq!(Bands::for_similarity(0.8), Bands { n: 21, rows: 6 });
        // 1 − (1 − 0.9¹⁰)¹² = 0.99418, 1 − (1 − 0.9¹¹)¹¹ = 0.98412.
        assert_eq!(Bands::for_similarity(0.9), Bands { n: 12, rows: 10 });
        // 1 − (1 − 0.5³)⁴² = 0.99633, 1 − (1 − 0.5⁴)³² = 0.87321.
        assert_eq!(Bands::for_similarity(0.5), Bands { n: 42, rows: 3 });
        assert_eq!(Bands::for_similarity(1.0), Bands { n: 1, rows: 128 });
    }

    #[test]
    fn the_curve_is_that_of_its_formula() {
        let bands = Bands { n: 21, rows: 6 };
        for (similarity, want) in [(0.3, 0.015_198), (0.5, 0.281_590), (0.8, 0.998_312), (1.0, 1.0)] {
            assert!((bands.recall(similarity) - want).abs() < 1e-6, "{similarity}: {}", bands.recall(similarity));
        }
    }

    #[test]
    fn the_share_of_equal_minima_is_the_similarity() {
        // 300 shared of 400 + 400 − 300: 0.6. 128 draws of that have a standard deviation of 0.043.
        let mix = |i: u64| gram(&[i]);
        let set = |range: std::ops::Range<u64>| {
            let mut set: Vec<u64> = range.map(mix).collect();
            set.sort_unstable();
            set
        };
        let (a, b) = (set(0..400), set(100..500));
        assert_eq!(jaccard(&a, &b), 0.6);
        let minhash = MinHash::default();
        let (x, y) = (minhash.signature(&a).unwrap(), minhash.signature(&b).unwrap());
        let equal = x.iter().zip(&y).filter(|(x, y)| x == y).count() as f64 / N_PERMUTATIONS as f64;
        assert!((equal - 0.6).abs() < 4.0 * 0.0433, "{equal}");
    }

    #[test]
    fn the_same_set_has_the_same_keys_and_the_empty_one_none() {
        let (minhash, bands) = (MinHash::default(), Bands { n: 21, rows: 6 });
        let keys = |set: &[u64]| band_keys(&minhash.signature(set).unwrap(), bands).collect::<Vec<_>>();
        assert_eq!(keys(&[5, 9]), keys(&[5, 9]));
        assert_eq!(keys(&[5, 9]).len(), 21);
        assert_eq!(MinHash::default().signature(&[]), None);
    }
}
