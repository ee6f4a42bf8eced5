//! Dropout (Srivastava et al. 2014, JMLR 15): each number is 0 with a probability, the others grow by `1/(1 − rate)`.
//!
//! Nothing is kept for a backward: the draws are a function of where they are made ([`Stream`]), so the same call is
//! made again on the gradient, and a pass that is run again drops the same numbers, on any machine and by any thread.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::Kernels;
use super::cpu::tensors::{Values, filled, tensor};
use super::profile::{self, Op};

/// Step of SplitMix64: 2⁶⁴ over the golden ratio, odd.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// Numbers of one task.
const TASK: usize = 1 << 14;

/// Draws at one place of a run. SplitMix64 (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195): its n-th output is
/// a function of the seed and n alone, so any of them can be made at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream(u64);

/// Whether a pass drops anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropout {
    /// Scoring, checks, and training without dropout.
    Off,
    /// Training: by these draws.
    On(Stream),
}

impl Dropout {
    /// The draws of a place within those of this one.
    #[must_use]
    pub fn at(self, place: u64) -> Self {
        match self {
            Self::Off => Self::Off,
            Self::On(stream) => Self::On(stream.at(place)),
        }
    }
}

impl Stream {
    /// The draws of a seed.
    pub fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// The draws of a place within this one: a step of a run, a pass of a step, a map of a pass.
    #[must_use]
    pub fn at(self, place: u64) -> Self {
        Self(self.draw(place))
    }

    fn draw(self, index: u64) -> u64 {
        mix(self.0.wrapping_add(index.wrapping_add(1).wrapping_mul(GAMMA)))
    }

    /// Whether number `index` stays, where a share of `limit / 2³²` is dropped.
    fn keeps(self, index: usize, limit: u64) -> bool {
        self.draw(index as u64) >> 32 >= limit
    }
}

/// The finalizer of SplitMix64.
fn mix(state: u64) -> u64 {
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// `x` with a share `rate`, in [0, 1), of its numbers dropped; given the gradient in the result, the one in `x`.
///
/// # Shapes
/// Any; returns the same.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of 2³² fits, and x is f32")]
pub fn apply(x: &Tensor, rate: f64, stream: Stream, kernels: Kernels) -> Result<Tensor> {
    let _timer = profile::start(Op::Dropout, || 0.0);
    let limit = (rate * 2.0_f64.powi(32)).round() as u64;
    let growth = (1.0 - rate).recip();
    if kernels == Kernels::Stock {
        return apply_stock(x, limit, growth, stream);
    }
    let (x, growth) = (x.contiguous()?, growth as f32);
    let mut out = filled(0.0, x.elem_count());
    let values = Values::of(&x)?;
    out.par_chunks_mut(TASK).zip(values.par_chunks(TASK)).enumerate().for_each(|(task, (out, x))| {
        for (index, (out, &x)) in out.iter_mut().zip(x).enumerate() {
            // Selected, not multiplied: 0 × NaN is NaN.
            *out = if stream.keeps(task * TASK + index, limit) { x * growth } else { 0.0 };
        }
    });
    tensor(out, x.shape())
}

/// The same from stock operations, on any device; drawn on the CPU.
fn apply_stock(x: &Tensor, limit: u64, growth: f64, stream: Stream) -> Result<Tensor> {
    let kept: Vec<u8> = (0..x.elem_count()).map(|index| u8::from(stream.keeps(index, limit))).collect();
    let kept = Tensor::from_vec(kept, x.shape(), x.device())?;
    kept.where_cond(&(x * growth)?, &x.zeros_like()?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn dropped(stream: Stream, rate: f64, kernels: Kernels) -> Vec<f32> {
        let x = Tensor::ones((50, 1000), candle_core::DType::F32, &Device::Cpu).unwrap();
        apply(&x, rate, stream, kernels).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Published outputs of SplitMix64 with seed 0: its state steps by γ before each.
    #[test]
    fn draws_are_those_of_splitmix64() {
        let stream = Stream(0);
        assert_eq!([0, 1].map(|index| stream.draw(index)), [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }

    /// A share of 50 000 draws is within 5 standard deviations, √(p·(1 − p)/n), of its probability.
    #[test]
    fn a_share_is_dropped_and_the_mean_stays() {
        for rate in [0.05, 0.5, 0.9] {
            let found = dropped(Stream::new(7).at(1), rate, Kernels::Own);
            let share = found.iter().filter(|x| **x == 0.0).count() as f64 / found.len() as f64;
            let deviation = (rate * (1.0 - rate) / found.len() as f64).sqrt();
            assert!((share - rate).abs() < 5.0 * deviation, "{rate}: {share}");
            let mean = found.iter().map(|x| f64::from(*x)).sum::<f64>() / found.len() as f64;
            assert!((mean - 1.0).abs() < 5.0 * deviation / (1.0 - rate), "{rate}: {mean}");
        }
    }

    #[test]
    fn places_draw_for_themselves_and_kernels_agree() {
        let stream = Stream::new(7);
        let [one, other] = [1, 2].map(|place| dropped(stream.at(place), 0.5, Kernels::Own));
        assert_ne!(one, other);
        assert_eq!(one, dropped(stream.at(1), 0.5, Kernels::Stock));
        let both = one.iter().zip(&other).filter(|(one, other)| **one == 0.0 && **other == 0.0).count() as f64;
        assert!((both / one.len() as f64 - 0.25).abs() < 0.01, "draws of two places depend on each other");
        assert!(dropped(stream, 0.0, Kernels::Own).iter().all(|x| *x == 1.0));
    }

    /// What is dropped is gone, be it no number.
    #[test]
    fn a_dropped_nan_is_zero() {
        let x = Tensor::full(f32::NAN, (1, 1000), &Device::Cpu).unwrap();
        for kernels in [Kernels::Own, Kernels::Stock] {
            let found: Vec<f32> =
                apply(&x, 0.5, Stream::new(1), kernels).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            assert!(found.iter().all(|x| x.is_nan() || *x == 0.0) && found.contains(&0.0));
        }
    }
}
