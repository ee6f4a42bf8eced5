//! BCO's reward shift: a running mean over steps, the one thing an objective remembers.

use serde::{Deserialize, Serialize};

use crate::loss::apart;
use crate::loss::pair::{PairLoss, View};

/// What an objective remembers from step to step: part of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ObjectiveState {
    /// Mean reward of all completions so far.
    pub bco_shift: RunningMean,
}

impl ObjectiveState {
    /// Whether nothing has been remembered yet.
    pub fn is_new(&self) -> bool {
        *self == Self::default()
    }
}

/// Mean of the means of batches, each counted once.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct RunningMean {
    /// The mean; 0 before the first batch.
    pub mean: f64,
    /// Batches seen.
    pub n_batches: u64,
}

impl RunningMean {
    /// Takes in the mean of one more batch.
    fn add(&mut self, mean: f64) {
        self.n_batches += 1;
        self.mean += (mean - self.mean) / self.n_batches as f64;
    }
}

/// BCO with its shift δ, the mean reward of all batches up to this one, as TRL had it until 0.28; to the slopes δ is a
/// constant.
pub(super) fn bco(pairs: &[View], shift: &mut RunningMean) -> Vec<PairLoss> {
    if pairs.is_empty() {
        return Vec::new();
    }
    let sum: f64 = pairs.iter().map(|pair| pair.beta * (pair.ratios.chosen + pair.ratios.rejected)).sum();
    shift.add(sum / (2 * pairs.len()) as f64);
    pairs.iter().map(|pair| apart::bco(pair, shift.mean)).collect()
}
