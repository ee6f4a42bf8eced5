//! Which pairs each optimiser step sees: a function of the plan, so that a run can start at any step.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::plan::{Length, Order};
use crate::digest::Digest;
use crate::selection::{self, Stream};

/// A generator for one purpose: the same seed draws different numbers for different purposes.
pub(super) fn rng(seed: u64, purpose: &str) -> ChaCha8Rng {
    let digest = Digest::of_parts([("seed", seed.to_le_bytes().as_slice()), ("purpose", purpose.as_bytes())]);
    ChaCha8Rng::from_seed(*digest.as_bytes())
}

/// The rows of every step.
#[derive(Debug)]
pub(super) struct Batches<'a> {
    order: Order,
    streams: &'a [Stream],
    batch_size: usize,
    /// The epoch whose rows are at hand.
    epoch: Option<u64>,
    /// 4 bytes a pair, as the streams have: all of a run's memory that grows with the table, but for its list of parts.
    rows: Vec<u32>,
}

impl<'a> Batches<'a> {
    pub(super) fn new(order: Order, streams: &'a [Stream], batch_size: usize) -> Self {
        Self { order, streams, batch_size, epoch: None, rows: Vec::new() }
    }

    /// Steps of one epoch; the last may have fewer pairs.
    pub(super) fn steps_per_epoch(&self) -> u64 {
        let n_pairs: usize = self.streams.iter().map(|stream| stream.per_epoch as usize).sum();
        n_pairs.div_ceil(self.batch_size).max(1) as u64
    }

    /// Steps of a run of this length.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "epochs are checked to be positive")]
    pub(super) fn n_steps(&self, length: Length) -> u64 {
        match length {
            Length::Steps(steps) => steps.get(),
            Length::Epochs(epochs) => ((epochs * self.steps_per_epoch() as f64).ceil() as u64).max(1),
        }
    }

    /// Epochs after `step` steps.
    pub(super) fn epoch_after(&self, step: u64) -> f64 {
        step as f64 / self.steps_per_epoch() as f64
    }

    /// Rows of step `step`, from 0.
    pub(super) fn rows(&mut self, step: u64) -> &[u32] {
        let (epoch, in_epoch) = (step / self.steps_per_epoch(), step % self.steps_per_epoch());
        if self.epoch != Some(epoch) {
            self.rows = self.rows_of_epoch(epoch);
            self.epoch = Some(epoch);
        }
        let n_pairs = self.rows.len();
        let start = usize::try_from(in_epoch).unwrap_or(usize::MAX).saturating_mul(self.batch_size).min(n_pairs);
        &self.rows[start..(start + self.batch_size).min(n_pairs)]
    }

    fn rows_of_epoch(&self, epoch: u64) -> Vec<u32> {
        let numbered = self.streams.iter().enumerate();
        let mut parts: Vec<Vec<u32>> = numbered.map(|(at, stream)| self.part(at, stream, epoch)).collect();
        if parts.len() == 1 {
            return parts.swap_remove(0);
        }
        let mut parts: Vec<_> = parts.into_iter().map(Vec::into_iter).collect();
        selection::turns(self.streams).into_iter().filter_map(|at| parts[at].next()).collect()
    }

    /// What an epoch has of a stream: the next rows of its passes.
    fn part(&self, at: usize, stream: &Stream, epoch: u64) -> Vec<u32> {
        let (per_pass, per_epoch) = (stream.rows.len() as u64, u64::from(stream.per_epoch));
        let start = epoch * per_epoch;
        let mut part = Vec::with_capacity(stream.per_epoch as usize);
        let mut pass = start.checked_div(per_pass).unwrap_or_default();
        let mut skipped = usize::try_from(start - pass * per_pass).unwrap_or_default();
        while part.len() < stream.per_epoch as usize && per_pass > 0 {
            let wanted = stream.per_epoch as usize - part.len();
            part.extend(self.pass(at, stream, pass).into_iter().skip(skipped).take(wanted));
            (pass, skipped) = (pass + 1, 0);
        }
        part
    }

    /// The rows of a stream in the order of a pass.
    fn pass(&self, at: usize, stream: &Stream, pass: u64) -> Vec<u32> {
        let mut rows = stream.rows.clone();
        if let Order::Shuffled { seed } = self.order {
            // Of the first stream, which most runs have alone, a pass is an epoch.
            let of_stream = if at == 0 { String::new() } else { format!(" of stream {at}") };
            rows.shuffle(&mut rng(seed, &format!("order of epoch {pass}{of_stream}")));
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream(rows: std::ops::Range<u32>, per_epoch: u32) -> Stream {
        Stream { rows: rows.collect(), per_epoch }
    }

    fn one(n_pairs: u32) -> Vec<Stream> {
        vec![stream(0..n_pairs, n_pairs)]
    }

    #[test]
    fn table_order_starts_again_in_every_epoch() {
        let streams = one(5);
        let mut batches = Batches::new(Order::Table, &streams, 2);
        let rows: Vec<Vec<u32>> = (0..4).map(|step| batches.rows(step).to_vec()).collect();
        assert_eq!(rows, [vec![0, 1], vec![2, 3], vec![4], vec![0, 1]]);
        assert_eq!(batches.n_steps(Length::Epochs(1.5)), 5);
        assert_eq!(batches.epoch_after(3), 1.0);
    }

    #[test]
    fn the_shuffle_is_pinned() {
        // Checkpoints name a seed and a step: another shuffle under the same seed would go on with other pairs.
        let streams = one(8);
        let mut batches = Batches::new(Order::Shuffled { seed: 7 }, &streams, 8);
        let mut expected: Vec<u32> = (0..8).collect();
        expected.shuffle(&mut rng(7, "order of epoch 1"));
        assert_eq!(batches.rows(1), expected);
    }

    #[test]
    fn a_curriculum_keeps_its_order_and_its_repetitions() {
        let streams = [Stream { rows: vec![3, 0, 3, 1], per_epoch: 4 }];
        let mut batches = Batches::new(Order::Table, &streams, 3);
        assert_eq!(batches.rows(0), [3, 0, 3]);
        assert_eq!(batches.rows(1), [1]);
        assert_eq!(batches.rows(2), [3, 0, 3]);
    }

    #[test]
    fn a_mixed_table_goes_on_where_the_epoch_before_stopped() {
        let streams = [stream(0..6, 6), stream(10..12, 3)];
        let mut batches = Batches::new(Order::Table, &streams, 9);
        assert_eq!(batches.rows(0), [0, 10, 1, 2, 11, 3, 4, 10, 5]);
        assert_eq!(batches.rows(1), [0, 11, 1, 2, 10, 3, 4, 11, 5]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_epoch_sees_every_pair_once_and_any_step_can_be_first(
            n_pairs in 1..60_u32, batch_size in 1..20_usize, seed in 0..3_u64,
        ) {
            let streams = one(n_pairs);
            let mut straight = Batches::new(Order::Shuffled { seed }, &streams, batch_size);
            let per_epoch = straight.steps_per_epoch();
            for epoch in 0..2 {
                let mut seen = Vec::new();
                for step in epoch * per_epoch..(epoch + 1) * per_epoch {
                    let rows = straight.rows(step).to_vec();
                    let mut resumed = Batches::new(Order::Shuffled { seed }, &streams, batch_size);
                    prop_assert_eq!(resumed.rows(step), &rows);
                    seen.extend(rows);
                }
                seen.sort_unstable();
                prop_assert_eq!(seen, (0..n_pairs).collect::<Vec<_>>());
            }
        }

        #[test]
        fn mixed_streams_see_each_pair_equally_often_and_any_step_can_be_first(
            sizes in prop::collection::vec((1..9_u32, 0..9_u32), 2..4), batch_size in 1..9_usize, seed in 0..3_u64,
        ) {
            let mut streams = Vec::new();
            let mut start = 0;
            for (n_pairs, n_more) in sizes {
                streams.push(stream(start..start + n_pairs, n_pairs + n_more));
                start += n_pairs;
            }
            let mut straight = Batches::new(Order::Shuffled { seed }, &streams, batch_size);
            let mut seen = vec![0_u32; start as usize];
            for step in 0..3 * straight.steps_per_epoch() {
                let rows = straight.rows(step).to_vec();
                let mut resumed = Batches::new(Order::Shuffled { seed }, &streams, batch_size);
                prop_assert_eq!(resumed.rows(step), &rows);
                for row in rows {
                    seen[row as usize] += 1;
                }
            }
            for stream in &streams {
                let counts: Vec<u32> = stream.rows.iter().map(|&row| seen[row as usize]).collect();
                prop_assert_eq!(counts.iter().sum::<u32>(), 3 * stream.per_epoch);
                prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{:?}", counts);
            }
        }
    }
}
