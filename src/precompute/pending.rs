//! The journal of a run, kept as long as its pairs are in no part.

use std::collections::BTreeSet;
use std::ops::Range;

use super::error::PrecomputeError;
use super::inventory::Job;
use super::known::{self, Key, Known};
use crate::table::{Journal, Part, ScoredPair, TableError, TokenScores};

/// Entries of finished parts that a journal may hold before it is written anew.
const MAX_DONE: usize = 4096;

/// The journal, and the keys of those of its pairs that no part holds yet; their log-probs are in [`Known`] or in the
/// part being made.
pub(super) struct Pending<'a> {
    job: &'a Job<'a>,
    journal: Journal,
    keys: BTreeSet<Key>,
}

impl<'a> Pending<'a> {
    /// Starts a journal with `parts`, and with what an earlier one has left: `keys`.
    pub(super) fn begin<'p>(
        job: &'a Job<'a>,
        parts: impl IntoIterator<Item = &'p Part>,
        keys: BTreeSet<Key>,
        known: &mut Known,
    ) -> Result<Self, PrecomputeError> {
        let journal = begin(job, parts, &keys, known)?;
        Ok(Self { job, journal, keys })
    }

    /// Writes pairs down; they are on disk when this returns.
    pub(super) fn push(&mut self, pairs: &[(usize, Key)], scores: &[TokenScores]) -> Result<(), PrecomputeError> {
        let ids = pairs.iter().map(|&(row, _)| self.job.store.tokens_id(row));
        self.journal.push(ids.zip(scores))?;
        self.keys.extend(pairs.iter().map(|&(_, key)| key));
        Ok(())
    }

    /// Writes down that `part`, one of `parts`, is finished: it holds the pairs of `rows`.
    pub(super) fn finish<'p>(
        &mut self,
        parts: impl IntoIterator<Item = &'p Part>,
        part: &Part,
        rows: Range<usize>,
        known: &mut Known,
    ) -> Result<(), PrecomputeError> {
        self.journal.push_part(part)?;
        for row in rows {
            self.keys.remove(&self.job.key(row)?);
        }
        // Written anew only when most of it is done with: its bytes are written twice at most, on average.
        if self.journal.n_scored() > 2 * self.keys.len() + MAX_DONE {
            self.journal = begin(self.job, parts, &self.keys, known)?;
        }
        Ok(())
    }

    /// Leaves of the journal what a finished shard vouches for: its `parts`, and pairs that are in none of them.
    pub(super) fn end<'p>(
        self,
        parts: impl IntoIterator<Item = &'p Part>,
        known: &mut Known,
    ) -> Result<(), PrecomputeError> {
        if self.journal.n_scored() > self.keys.len() {
            begin(self.job, parts, &self.keys, known)?;
        }
        Ok(())
    }
}

fn begin<'p>(
    job: &Job<'_>,
    parts: impl IntoIterator<Item = &'p Part>,
    keys: &BTreeSet<Key>,
    known: &mut Known,
) -> Result<Journal, PrecomputeError> {
    let pairs = keys.iter().map(|&key| {
        let tokens_id = known::tokens_id(key);
        let scores = known.get(key)?;
        let scores =
            scores.ok_or_else(|| TableError::Internal { what: format!("`{tokens_id}` is journalled only") })?;
        Ok::<_, PrecomputeError>(ScoredPair { tokens_id, scores })
    });
    Journal::begin(&job.folder.journal_path(), job.task, parts, pairs)
}
