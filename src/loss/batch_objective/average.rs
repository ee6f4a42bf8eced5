//! How the losses of a batch become one.

use serde::Serialize;

use crate::loss::pair::PairLoss;
use crate::loss::params::DrBeta;

/// How the losses of a batch become one.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Average {
    /// Their mean.
    #[default]
    Mean,
    /// Dr. DPO: Wu et al. 2024 (arXiv:2407.07880): `−β′·ln mean e^(−ℓ/β′)`. The mean for β′ → ∞, the least loss
    /// for β′ → 0: pairs whose label looks wrong count less.
    DrDpo {
        /// β′
        beta: DrBeta,
    },
}

impl Average {
    /// Turns the two parts of each pair's loss into parts whose mean over the batch is its loss.
    pub(super) fn apply(self, one: &mut [PairLoss], other: &mut [PairLoss]) {
        let Self::DrDpo { beta } = self else { return };
        let beta = beta.get();
        let losses: Vec<f64> = one.iter().zip(&*other).map(|(one, other)| one.value + other.value).collect();
        let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
        let powers: Vec<f64> = losses.iter().map(|loss| ((least - loss) / beta).exp()).collect();
        let mean = powers.iter().sum::<f64>() / powers.len() as f64;
        let value = least - beta * mean.ln();
        for ((one, other), power) in one.iter_mut().zip(other).zip(powers) {
            *one = PairLoss { value, ..one.times(power / mean) };
            *other = PairLoss { value: 0.0, ..other.times(power / mean) };
        }
    }
}
