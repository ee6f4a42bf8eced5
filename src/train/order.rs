//! Which pairs each optimiser step sees: a function of the plan, so that a run can start at any step.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::plan::{Length, Order};
use crate::digest::Digest;

/// A generator for one purpose: the same seed draws different numbers for different purposes.
pub(super) fn rng(seed: u64, purpose: &str) -> ChaCha8Rng {
    let digest = Digest::of_parts([("seed", seed.to_le_bytes().as_slice()), ("purpose", purpose.as_bytes())]);
    ChaCha8Rng::from_seed(*digest.as_bytes())
}

/// The rows of every step.
#[derive(Debug)]
pub(super) struct Batches {
    order: Order,
    n_pairs: u32,
    batch_size: usize,
    /// The epoch whose permutation is at hand.
    epoch: Option<u64>,
    /// 4 bytes a pair: all of a run's memory that grows with the table, but for its list of parts.
    rows: Vec<u32>,
}

impl Batches {
    pub(super) fn new(order: Order, n_pairs: u32, batch_size: usize) -> Self {
        Self { order, n_pairs, batch_size, epoch: None, rows: Vec::new() }
    }

    /// Steps of one pass over the table; the last may have fewer pairs.
    pub(super) fn steps_per_epoch(&self) -> u64 {
        (self.n_pairs as usize).div_ceil(self.batch_size).max(1) as u64
    }

    /// Steps of a run of this length.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "epochs are checked to be positive")]
    pub(super) fn n_steps(&self, length: Length) -> u64 {
        match length {
            Length::Steps(steps) => steps.get(),
            Length::Epochs(epochs) => ((epochs * self.steps_per_epoch() as f64).ceil() as u64).max(1),
        }
    }

    /// Passes over the table after `step` steps.
    pub(super) fn epoch_after(&self, step: u64) -> f64 {
        step as f64 / self.steps_per_epoch() as f64
    }

    /// Rows of step `step`, from 0.
    pub(super) fn rows(&mut self, step: u64) -> &[u32] {
        let (epoch, in_epoch) = (step / self.steps_per_epoch(), step % self.steps_per_epoch());
        if self.epoch != Some(epoch) {
            self.rows = (0..self.n_pairs).collect();
            if let Order::Shuffled { seed } = self.order {
                self.rows.shuffle(&mut rng(seed, &format!("order of epoch {epoch}")));
            }
            self.epoch = Some(epoch);
        }
        let n_pairs = self.rows.len();
        let start = usize::try_from(in_epoch).unwrap_or(usize::MAX).saturating_mul(self.batch_size).min(n_pairs);
        &self.rows[start..(start + self.batch_size).min(n_pairs)]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn table_order_starts_again_in_every_epoch() {
        let mut batches = Batches::new(Order::Table, 5, 2);
        let rows: Vec<Vec<u32>> = (0..4).map(|step| batches.rows(step).to_vec()).collect();
        assert_eq!(rows, [vec![0, 1], vec![2, 3], vec![4], vec![0, 1]]);
        assert_eq!(batches.n_steps(Length::Epochs(1.5)), 5);
        assert_eq!(batches.epoch_after(3), 1.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_epoch_sees_every_pair_once_and_any_step_can_be_first(
            n_pairs in 1..60_u32, batch_size in 1..20_usize, seed in 0..3_u64,
        ) {
            let mut straight = Batches::new(Order::Shuffled { seed }, n_pairs, batch_size);
            let per_epoch = straight.steps_per_epoch();
            for epoch in 0..2 {
                let mut seen = Vec::new();
                for step in epoch * per_epoch..(epoch + 1) * per_epoch {
                    let rows = straight.rows(step).to_vec();
                    let mut resumed = Batches::new(Order::Shuffled { seed }, n_pairs, batch_size);
                    prop_assert_eq!(resumed.rows(step), &rows);
                    seen.extend(rows);
                }
                seen.sort_unstable();
                prop_assert_eq!(seen, (0..n_pairs).collect::<Vec<_>>());
            }
        }
    }
}
