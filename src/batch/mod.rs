//! Groups with a shared prompt, and their packing into micro-batches: pure functions, no maths.
//!
//! Invariant: a [`GroupBatch`] holds every token that some scored token depends on exactly once. There is no padding
//! and no mask: a prompt is encoded once for all completions that follow it, and a completion sees its prompt and
//! itself, never its sibling.
//!
//! ```text
//! rows       0 … P−1        P … P+C−2            P+C−1 … P+C+R−3
//!            prompt         chosen, but its      rejected, but its
//!                           last token           last token
//! positions  0 … P−1        P … P+C−2            P … P+R−2
//! ```
//!
//! The last token of a completion is only predicted, never read, so it has no row. Row `P − 1` predicts the first
//! token of each completion, so it is listed once per completion in [`Scored::rows`].

mod packing;
mod pairs;
mod sequences;

use std::ops::Range;

pub use packing::pack;
pub use pairs::{MicroBatch, PairIds, PairPlace, Sharing, micro_batches};
pub use sequences::SequenceIds;

/// One prompt and the completions that follow it, as token ids.
#[derive(Debug, Clone)]
pub struct Group<'a> {
    /// The shared prompt; at least one token.
    pub prompt: &'a [u32],
    /// The completions; each at least one token.
    pub completions: Vec<&'a [u32]>,
}

impl Group<'_> {
    /// Rows the group takes in a batch: its cost against the token budget.
    pub fn n_rows(&self) -> usize {
        let completions: usize = self.completions.iter().map(|completion| completion.len().saturating_sub(1)).sum();
        self.prompt.len() + completions
    }
}

/// Where one group lies in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Rows of the prompt.
    pub prompt: Range<usize>,
    /// Rows of each completion, without its last token; they follow the prompt and each other.
    pub completions: Vec<Range<usize>>,
}

/// The tokens to score: which hidden state predicts which token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scored {
    /// Row of the hidden state, one per scored token.
    pub rows: Vec<u32>,
    /// The token it has to predict.
    pub targets: Vec<u32>,
    /// The scored tokens of each completion, in the order of the groups and of the completions in them.
    pub sequences: Vec<Range<usize>>,
}

/// Several groups as one forward pass sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupBatch {
    /// Token ids, one a row. // (T,)
    pub ids: Vec<u32>,
    /// Position of each row in its own sequence. // (T,)
    pub positions: Vec<u32>,
    /// The groups, in row order.
    pub segments: Vec<Segment>,
    /// What is asked of the pass. // (N,)
    pub scored: Scored,
}

/// A group that cannot be scored.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchError {
    /// A prompt without tokens: nothing predicts the first token of its completions.
    #[error("group {group}: expected a prompt of at least one token, found none")]
    EmptyPrompt {
        /// 0-based group of the batch.
        group: usize,
    },
    /// A completion without tokens: there is nothing to score.
    #[error("group {group}, completion {completion}: expected at least one token to score, found none")]
    EmptyCompletion {
        /// 0-based group of the batch.
        group: usize,
        /// 0-based completion of the group.
        completion: usize,
    },
    /// More rows than a 32-bit index can name.
    #[error("a batch of {rows} tokens is too large: expected fewer than 2^32")]
    TooLarge {
        /// Tokens asked for.
        rows: usize,
    },
}

impl GroupBatch {
    /// Lays groups out one after another.
    ///
    /// # Errors
    /// If a prompt or a completion is empty.
    pub fn new(groups: &[Group<'_>]) -> Result<Self, BatchError> {
        let n_rows = groups.iter().map(Group::n_rows).sum();
        if u32::try_from(n_rows).is_err() {
            return Err(BatchError::TooLarge { rows: n_rows });
        }
        let mut batch = Self::default();
        for (index, group) in groups.iter().enumerate() {
            batch.push(index, group)?;
        }
        Ok(batch)
    }

    fn push(&mut self, index: usize, group: &Group<'_>) -> Result<(), BatchError> {
        if group.prompt.is_empty() {
            return Err(BatchError::EmptyPrompt { group: index });
        }
        let prompt = self.push_tokens(group.prompt, 0);
        let mut completions = Vec::with_capacity(group.completions.len());
        for (completion, &ids) in group.completions.iter().enumerate() {
            let Some((_, read)) = ids.split_last() else {
                return Err(BatchError::EmptyCompletion { group: index, completion });
            };
            let rows = self.push_tokens(read, prompt.len());
            let start = self.scored.targets.len();
            self.scored.rows.extend(std::iter::once(prompt.end - 1).chain(rows.clone()).map(row_index));
            self.scored.targets.extend_from_slice(ids);
            self.scored.sequences.push(start..self.scored.targets.len());
            completions.push(rows);
        }
        self.segments.push(Segment { prompt, completions });
        Ok(())
    }

    fn push_tokens(&mut self, ids: &[u32], first_position: usize) -> Range<usize> {
        let start = self.ids.len();
        self.ids.extend_from_slice(ids);
        self.positions.extend((first_position..first_position + ids.len()).map(row_index));
        start..self.ids.len()
    }
}

/// Rows are checked to fit 32 bits when a batch is made.
fn row_index(row: usize) -> u32 {
    u32::try_from(row).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_shares_its_prompt_and_drops_the_last_tokens() {
        let group = Group { prompt: &[10, 11, 12], completions: vec![&[20, 21], &[30, 31, 32]] };
        let batch = GroupBatch::new(std::slice::from_ref(&group)).unwrap();

        assert_eq!(batch.ids, [10, 11, 12, 20, 30, 31]);
        assert_eq!(batch.positions, [0, 1, 2, 3, 3, 4]);
        assert_eq!(batch.segments, [Segment { prompt: 0..3, completions: vec![3..4, 4..6] }]);
        assert_eq!(batch.scored.rows, [2, 3, 2, 4, 5]);
        assert_eq!(batch.scored.targets, [20, 21, 30, 31, 32]);
        assert_eq!(batch.scored.sequences, [0..2, 2..5]);
        assert_eq!(group.n_rows(), 6);
    }

    #[test]
    fn a_completion_of_one_token_takes_no_row() {
        let batch = GroupBatch::new(&[Group { prompt: &[1], completions: vec![&[2], &[3]] }]).unwrap();
        assert_eq!(batch.ids, [1]);
        assert_eq!(batch.scored.rows, [0, 0]);
        assert_eq!(batch.segments[0].completions, [1..1, 1..1]);
    }

    #[test]
    fn what_cannot_be_scored_is_named() {
        let no_prompt = [Group { prompt: &[1], completions: vec![&[1]] }, Group { prompt: &[], completions: vec![] }];
        assert_eq!(GroupBatch::new(&no_prompt), Err(BatchError::EmptyPrompt { group: 1 }));
        let no_completion = [Group { prompt: &[1], completions: vec![&[1], &[]] }];
        assert_eq!(GroupBatch::new(&no_completion), Err(BatchError::EmptyCompletion { group: 0, completion: 1 }));
    }
}
