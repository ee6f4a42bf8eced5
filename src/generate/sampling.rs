//! How a token is drawn from logits: candle-transformers' `LogitsProcessor`, with top-k cut as transformers cuts it.

use std::num::NonZeroUsize;

use candle_core::{Result as CandleResult, Tensor};
use candle_transformers::generation::{LogitsProcessor, Sampling as Rule};

use super::error::GenerateError;

/// A rule that has been checked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling(Kind);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Greedy,
    Random { temperature: f64, top_k: Option<NonZeroUsize>, top_p: f64 },
}

impl Sampling {
    /// Always the most likely token, the first of equals.
    pub const GREEDY: Self = Self(Kind::Greedy);

    /// A draw from `softmax(logits / temperature)`, cut as transformers' warpers do in this order: to the `top_k` most
    /// likely tokens, then to the fewest of them that hold `top_p` of what is left. A temperature of 0 is greedy.
    ///
    /// # Errors
    /// If the temperature is negative or not finite, or `top_p` is not in (0, 1].
    pub fn random(temperature: f64, top_k: Option<NonZeroUsize>, top_p: f64) -> Result<Self, GenerateError> {
        // Below, logits over the temperature would leave f32; there is nothing left to draw.
        const COLDEST: f64 = 1e-6;
        if !(temperature >= 0.0 && temperature.is_finite()) {
            let expected = "a finite number of at least 0";
            return Err(GenerateError::Sampling { setting: "temperature", expected, found: temperature });
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(GenerateError::Sampling { setting: "top_p", expected: "a number in (0, 1]", found: top_p });
        }
        Ok(if temperature < COLDEST { Self::GREEDY } else { Self(Kind::Random { temperature, top_k, top_p }) })
    }
}

/// A rule with its generator.
pub(super) struct Sampler {
    processor: LogitsProcessor,
    top_k: Option<NonZeroUsize>,
}

impl Sampler {
    pub(super) fn new(sampling: Sampling, seed: u64) -> Self {
        let (rule, top_k) = match sampling.0 {
            Kind::Greedy => (Rule::ArgMax, None),
            Kind::Random { temperature, top_k, top_p } if top_p < 1.0 => (Rule::TopP { p: top_p, temperature }, top_k),
            Kind::Random { temperature, top_k, .. } => (Rule::All { temperature }, top_k),
        };
        Self { processor: LogitsProcessor::from_sampling(seed, rule), top_k }
    }

    /// The next token.
    ///
    /// # Shapes
    /// `logits` `(V)`.
    pub(super) fn draw(&mut self, logits: &Tensor) -> CandleResult<u32> {
        // candle's own `TopKThenTopP` holds `top_p` against the mass before the cut: with both, it would keep more tokens.
        let top_k = self.top_k;
        self.processor.sample_f(logits, |probs| {
            if let Some(k) = top_k {
                keep_most_likely(probs, k);
            }
        })
    }
}

/// Sets all but the `k` largest to 0 and divides those by their sum. Equals of the last one stay, as in transformers.
fn keep_most_likely(probs: &mut [f32], k: NonZeroUsize) {
    if k.get() >= probs.len() {
        return;
    }
    let mut ordered = probs.to_vec();
    let (_, least, _) = ordered.select_nth_unstable_by(k.get() - 1, |a, b| b.total_cmp(a));
    let least = *least;
    let sum: f32 = probs.iter().filter(|prob| **prob >= least).sum();
    for prob in probs {
        *prob = if *prob >= least { *prob / sum } else { 0.0 };
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Probabilities 0.4, 0.3, 0.2, 0.1 at temperature 1.
    fn logits() -> Tensor {
        Tensor::new(&[0.4_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln(), 0.1_f32.ln()], &Device::Cpu).unwrap()
    }

    fn k(k: usize) -> Option<NonZeroUsize> {
        NonZeroUsize::new(k)
    }

    /// Shares of each token in draws with different seeds are within four standard errors of `want`.
    #[track_caller]
    fn check(sampling: Sampling, want: [f64; 4]) {
        const N: u32 = 4000;
        let mut counts = [0_u32; 4];
        for seed in 0..N {
            counts[Sampler::new(sampling, u64::from(seed)).draw(&logits()).unwrap() as usize] += 1;
        }
        for (count, want) in counts.into_iter().zip(want) {
            let (share, error) = (f64::from(count) / f64::from(N), (want * (1.0 - want) / f64::from(N)).sqrt());
            assert!((share - want).abs() <= 4.0 * error, "{counts:?}, expected {want}");
        }
    }

    #[test]
    fn draws_follow_the_distribution_that_the_rule_leaves() {
        check(Sampling::random(1.0, None, 1.0).unwrap(), [0.4, 0.3, 0.2, 0.1]);
        // Squares over their sum, 0.3.
        check(Sampling::random(0.5, None, 1.0).unwrap(), [16.0 / 30.0, 9.0 / 30.0, 4.0 / 30.0, 1.0 / 30.0]);
        check(Sampling::random(1.0, k(2), 1.0).unwrap(), [4.0 / 7.0, 3.0 / 7.0, 0.0, 0.0]);
        check(Sampling::random(1.0, None, 0.6).unwrap(), [4.0 / 7.0, 3.0 / 7.0, 0.0, 0.0]);
        // Of the three that are left, the first holds 4/9 and the first two 7/9: `top_p` is of what top-k leaves.
        check(Sampling::random(1.0, k(3), 0.7).unwrap(), [4.0 / 7.0, 3.0 / 7.0, 0.0, 0.0]);
    }

    #[test]
    fn greedy_is_the_first_of_the_most_likely() {
        let tied = Tensor::new(&[1.0_f32, 3.0, 3.0, 2.0], &Device::Cpu).unwrap();
        assert_eq!(Sampler::new(Sampling::GREEDY, 1).draw(&tied).unwrap(), 1);
        assert_eq!(Sampling::random(0.0, None, 0.5).unwrap(), Sampling::GREEDY);
    }

    #[test]
    fn equals_of_the_last_that_is_kept_stay() {
        let mut probs = [0.1, 0.4, 0.25, 0.25];
        keep_most_likely(&mut probs, k(2).unwrap());
        let want = [0.0, 0.4 / 0.9, 0.25 / 0.9, 0.25 / 0.9];
        assert!(probs.iter().zip(want).all(|(prob, want)| (prob - want).abs() < 1e-6), "{probs:?}");
        let all = probs;
        keep_most_likely(&mut probs, k(9).unwrap());
        assert_eq!(probs, all);
    }

    #[test]
    fn what_cuts_no_distribution_is_refused() {
        for (temperature, top_p) in [(-1.0, 1.0), (f64::NAN, 1.0), (f64::INFINITY, 1.0), (1.0, 0.0), (1.0, 1.1)] {
            assert!(Sampling::random(temperature, None, top_p).is_err(), "{temperature} {top_p}");
        }
    }
}
