//! Tables mixed by weights: how many pairs of each an epoch has, and in which order they take turns.
//!
//! As `datasets.interleave_datasets(probabilities, stopping_strategy="all_exhausted")` of Hugging Face, an epoch goes on
//! until the last table has been read once, and the others start again meanwhile. Other than there, nothing is drawn: the
//! tables take turns in proportion to their weights, so that every step has the mix and every epoch the same length.

use std::ops::Range;

use super::error::SelectionError;
use crate::table::ReferenceTable;

/// Pairs that are read pass after pass, and how many of them one epoch takes.
///
/// An epoch goes on where the one before stopped, so that over a run no pair of a stream is seen twice more often than
/// another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Rows, in the order of one pass where it is not shuffled.
    pub rows: Vec<u32>,
    /// Pairs of one epoch: at least one pass.
    pub per_epoch: u32,
}

impl Stream {
    /// A stream whose epoch is one pass.
    ///
    /// # Errors
    /// If the rows are more than a 32-bit number can count, as a curriculum may have them.
    pub(super) fn whole(rows: Vec<u32>) -> Result<Self, SelectionError> {
        let per_epoch = u32::try_from(rows.len()).map_err(|_| too_long(rows.len() as f64))?;
        Ok(Self { rows, per_epoch })
    }
}

/// A stream a table. Where table i has nᵢ pairs and the weight wᵢ, in sum 1, an epoch has max(nᵢ/wᵢ) pairs, and wᵢ times as
/// many of table i.
///
/// # Errors
/// If a table has no pair, or an epoch has more than a 32-bit number can count.
pub(super) fn mixed(
    train: Vec<u32>,
    of_tables: &[Range<usize>],
    weights: &[f64],
) -> Result<Vec<Stream>, SelectionError> {
    let mut streams: Vec<Stream> = of_tables.iter().map(|_| Stream { rows: Vec::new(), per_epoch: 0 }).collect();
    for row in train {
        let table = of_tables.partition_point(|rows| rows.end <= row as usize);
        if let Some(stream) = streams.get_mut(table) {
            stream.rows.push(row);
        }
    }
    if let Some(table) = streams.iter().position(|stream| stream.rows.is_empty()) {
        return Err(SelectionError::EmptyOfMix { table: table + 1 });
    }
    let length = streams.iter().zip(weights).map(|(stream, weight)| stream.rows.len() as f64 / weight);
    let length = length.fold(0.0, f64::max);
    let shares = weights.iter().map(|weight| (weight * length).round());
    let total: f64 = shares.clone().sum();
    if total.is_nan() || total > f64::from(u32::MAX) {
        return Err(too_long(total));
    }
    for (stream, share) in streams.iter_mut().zip(shares) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a total that fits")]
        let share = share as u32;
        // Rounding of the division may take one pair of the table that decides the length.
        stream.per_epoch = share.max(u32::try_from(stream.rows.len()).unwrap_or(u32::MAX));
    }
    Ok(streams)
}

fn too_long(n_pairs: f64) -> SelectionError {
    SelectionError::EpochTooLong { n_pairs }
}

/// What an epoch has of each table, in words.
pub(super) fn note(streams: &[Stream], tables: &[ReferenceTable]) -> String {
    let n_pairs: u64 = streams.iter().map(|stream| u64::from(stream.per_epoch)).sum();
    let of_table = |(stream, table): (&Stream, &ReferenceTable)| {
        let passes = f64::from(stream.per_epoch) / stream.rows.len() as f64;
        format!("{} of `{}` ({passes:.2} passes)", stream.per_epoch, table.path().display())
    };
    let parts: Vec<String> = streams.iter().zip(tables).map(of_table).collect();
    format!("an epoch has {n_pairs} pairs: {}", parts.join(", "))
}

/// Which stream has each turn of an epoch: each as often as its `per_epoch` says, as evenly as can be.
///
/// Smooth weighted round-robin: every stream saves up its share each turn, and the richest, the first of equals, pays
/// for the turn with the whole. Nobody is ever in debt after an epoch, so the counts are exact.
pub fn turns(streams: &[Stream]) -> Vec<usize> {
    let n_turns: i64 = streams.iter().map(|stream| i64::from(stream.per_epoch)).sum();
    let mut saved = vec![0_i64; streams.len()];
    let mut turns = Vec::new();
    for _ in 0..n_turns {
        for (saved, stream) in saved.iter_mut().zip(streams) {
            *saved += i64::from(stream.per_epoch);
        }
        let richest = (0..saved.len()).rev().max_by_key(|&at| saved[at]);
        let Some(richest) = richest else { break };
        saved[richest] -= n_turns;
        turns.push(richest);
    }
    turns
}
