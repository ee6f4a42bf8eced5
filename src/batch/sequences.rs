//! Sequences of which any tokens may be scored: conversations with several answers, blocks of a text.

use std::ops::Range;

use super::{BatchError, GroupBatch, Segment, row_index};

/// A sequence as token ids, and the tokens of it that are scored.
#[derive(Debug, Clone)]
pub struct SequenceIds<'a> {
    /// Its tokens.
    pub ids: &'a [u32],
    /// The scored ones: ascending ranges that do not overlap and do not begin at 0, since nothing predicts a first token.
    pub scored: Vec<Range<usize>>,
}

impl SequenceIds<'_> {
    /// Rows the sequence takes in a batch: what comes after its last scored token is not read, nor is that token.
    pub fn n_rows(&self) -> usize {
        self.scored.last().map_or(0, |range| range.end.saturating_sub(1))
    }

    /// Scored tokens.
    pub fn n_scored(&self) -> usize {
        self.scored.iter().map(Range::len).sum()
    }
}

impl GroupBatch {
    /// Lays sequences out one after another; each is one entry of `scored.sequences`.
    ///
    /// # Errors
    /// If the first token of a sequence is to be scored, or none.
    pub fn of_sequences(sequences: &[SequenceIds<'_>]) -> Result<Self, BatchError> {
        let n_rows = sequences.iter().map(SequenceIds::n_rows).sum();
        if u32::try_from(n_rows).is_err() {
            return Err(BatchError::TooLarge { rows: n_rows });
        }
        let mut batch = Self::default();
        for (group, sequence) in sequences.iter().enumerate() {
            let Some(first) = sequence.scored.first().filter(|range| !range.is_empty()).map(|range| range.start) else {
                return Err(BatchError::EmptyCompletion { group, completion: 0 });
            };
            if first == 0 {
                return Err(BatchError::EmptyPrompt { group });
            }
            let prompt = batch.push_tokens(&sequence.ids[..first], 0);
            let rows = batch.push_tokens(&sequence.ids[first..sequence.n_rows()], first);
            let start = batch.scored.targets.len();
            for range in &sequence.scored {
                let predicting = range.clone().map(|token| row_index(prompt.start + token - 1));
                batch.scored.rows.extend(predicting);
                batch.scored.targets.extend_from_slice(&sequence.ids[range.clone()]);
            }
            batch.scored.sequences.push(start..batch.scored.targets.len());
            batch.segments.push(Segment { prompt, completions: std::iter::once(rows).collect() });
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Group;

    fn one(range: Range<usize>) -> Vec<Range<usize>> {
        std::iter::once(range).collect()
    }

    #[test]
    fn one_answer_is_a_group_of_one_completion() {
        let sequences =
            [SequenceIds { ids: &[1, 2, 3, 4, 5], scored: one(2..5) }, SequenceIds { ids: &[6, 7], scored: one(1..2) }];
        let groups =
            [Group { prompt: &[1, 2], completions: vec![&[3, 4, 5]] }, Group { prompt: &[6], completions: vec![&[7]] }];
        let batch = GroupBatch::of_sequences(&sequences).unwrap();
        assert_eq!(batch, GroupBatch::new(&groups).unwrap());
        assert_eq!(batch.ids.len(), sequences.iter().map(SequenceIds::n_rows).sum::<usize>());
    }

    #[test]
    fn what_is_not_scored_has_no_hidden_state_and_what_follows_no_row() {
        let sequence = SequenceIds { ids: &[1, 2, 3, 4, 5, 6, 7], scored: vec![1..2, 4..6] };
        let batch = GroupBatch::of_sequences(&[sequence.clone(), sequence]).unwrap();
        assert_eq!(batch.ids, [1, 2, 3, 4, 5, 1, 2, 3, 4, 5]);
        assert_eq!(batch.positions, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
        assert_eq!(batch.scored.rows, [0, 3, 4, 5, 8, 9]);
        assert_eq!(batch.scored.targets, [2, 5, 6, 2, 5, 6]);
        assert_eq!(batch.scored.sequences, [0..3, 3..6]);
        assert_eq!(batch.segments[1], Segment { prompt: 5..6, completions: one(6..10) });
    }

    #[test]
    fn a_first_token_and_nothing_at_all_cannot_be_scored() {
        let of = |scored| GroupBatch::of_sequences(&[SequenceIds { ids: &[1, 2], scored }]);
        assert_eq!(of(one(0..2)), Err(BatchError::EmptyPrompt { group: 0 }));
        assert_eq!(of(Vec::new()), Err(BatchError::EmptyCompletion { group: 0, completion: 0 }));
    }
}
