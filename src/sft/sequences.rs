//! The sequences of a run, put aside on disk and mapped.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, ListArray, RecordBatch, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, UInt32Type};

use super::error::SftError;
use crate::batch::SequenceIds;
use crate::digest::Digest;
use crate::spool::{Spool, SpoolWriter};

/// Tokens in one batch of the spool, but for a sequence that is longer.
const BATCH_TOKENS: usize = 1 << 20;

static ITEM: LazyLock<FieldRef> = LazyLock::new(|| Arc::new(Field::new("element", DataType::UInt32, false)));

/// `bounds`: start and end of every learnt range, one after another.
static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let list = |name| Field::new(name, DataType::List(Arc::clone(&ITEM)), false);
    Arc::new(Schema::new(vec![list("ids"), list("bounds")]))
});

/// Takes sequences, in order.
pub(super) struct SequenceWriter {
    spool: SpoolWriter,
    ids: Lists,
    bounds: Lists,
    digest: Digest,
    longest: usize,
    n_tokens: u64,
    n_learnt: u64,
}

#[derive(Default)]
struct Lists {
    values: Vec<u32>,
    lengths: Vec<usize>,
}

/// All sequences of a run.
#[derive(Debug)]
pub(super) struct Sequences {
    rows: Spool<Batch>,
    /// Of ids and learnt ranges, in order.
    pub(super) digest: Digest,
    /// Most rows that a sequence takes in a forward pass.
    pub(super) longest: usize,
    /// Tokens of all of them.
    pub(super) n_tokens: u64,
    /// Those that are learnt.
    pub(super) n_learnt: u64,
}

#[derive(Debug)]
struct Batch {
    ids: ListArray,
    bounds: ListArray,
}

impl SequenceWriter {
    /// Starts on the disk of `folder`; no file in it appears.
    pub(super) fn create(folder: &Path) -> Result<Self, SftError> {
        let spool = SpoolWriter::create(folder, Arc::clone(&SCHEMA))?;
        let (ids, bounds) = (Lists::default(), Lists::default());
        Ok(Self { spool, ids, bounds, digest: Digest::of(b"sequences"), longest: 0, n_tokens: 0, n_learnt: 0 })
    }

    /// Adds a sequence.
    pub(super) fn push(&mut self, sequence: &SequenceIds<'_>) -> Result<(), SftError> {
        if self.ids.values.len() + sequence.ids.len() > BATCH_TOKENS {
            self.flush()?;
        }
        let bound = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        self.ids.push(sequence.ids.iter().copied());
        self.bounds.push(sequence.scored.iter().flat_map(|range| [bound(range.start), bound(range.end)]));
        self.longest = self.longest.max(sequence.n_rows());
        self.n_tokens += sequence.ids.len() as u64;
        self.n_learnt += sequence.n_scored() as u64;
        Ok(())
    }

    /// Maps what was written.
    pub(super) fn finish(mut self) -> Result<Sequences, SftError> {
        self.flush()?;
        let Self { spool, digest, longest, n_tokens, n_learnt, .. } = self;
        let rows = spool.finish(|batch| {
            let list = |at: usize| batch.column(at).as_list::<i32>().clone();
            Ok::<_, SftError>(Batch { ids: list(0), bounds: list(1) })
        })?;
        Ok(Sequences { rows, digest, longest, n_tokens, n_learnt })
    }

    fn flush(&mut self) -> Result<(), SftError> {
        if self.ids.lengths.is_empty() {
            return Ok(());
        }
        let lists = [std::mem::take(&mut self.ids), std::mem::take(&mut self.bounds)];
        let bytes = lists.each_ref().map(Lists::bytes);
        self.digest = Digest::of_parts([
            ("before", self.digest.as_bytes().as_slice()),
            ("ids", bytes[0].as_slice()),
            ("bounds", bytes[1].as_slice()),
        ]);
        let columns = lists.map(Lists::into_array).into();
        let batch = RecordBatch::try_new(Arc::clone(&SCHEMA), columns)
            .map_err(|error| SftError::Internal { what: error.to_string() })?;
        Ok(self.spool.push(&batch)?)
    }
}

impl Lists {
    fn push(&mut self, values: impl Iterator<Item = u32>) {
        let start = self.values.len();
        self.values.extend(values);
        self.lengths.push(self.values.len() - start);
    }

    /// Values and lengths, so that lists never run together.
    fn bytes(&self) -> Vec<u8> {
        let lengths = self.lengths.iter().flat_map(|&length| (length as u64).to_le_bytes());
        self.values.iter().flat_map(|value| value.to_le_bytes()).chain(lengths).collect()
    }

    fn into_array(self) -> ArrayRef {
        let offsets = OffsetBuffer::from_lengths(self.lengths);
        Arc::new(ListArray::new(Arc::clone(&ITEM), offsets, Arc::new(UInt32Array::from(self.values)), None))
    }
}

impl Sequences {
    /// Number of sequences.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// A sequence, if there are so many.
    pub(super) fn get(&self, row: usize) -> Option<SequenceIds<'_>> {
        if row >= self.len() {
            return None;
        }
        let (batch, at) = self.rows.locate(row);
        let bounds = values(&batch.bounds, at).chunks_exact(2);
        let scored = bounds.map(|bounds| bounds[0] as usize..bounds[1] as usize).collect();
        Some(SequenceIds { ids: values(&batch.ids, at), scored })
    }
}

fn values(lists: &ListArray, at: usize) -> &[u32] {
    let place = |at: usize| usize::try_from(lists.value_offsets()[at]).unwrap_or_default();
    &lists.values().as_primitive::<UInt32Type>().values()[place(at)..place(at + 1)]
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    /// Ids and learnt ranges.
    type Case = (Vec<u32>, Vec<(usize, usize)>);

    fn scored(bounds: &[(usize, usize)]) -> Vec<Range<usize>> {
        bounds.iter().map(|&(start, end)| start..end).collect()
    }

    fn sequences(all: &[Case]) -> Sequences {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = SequenceWriter::create(folder.path()).unwrap();
        for (ids, bounds) in all {
            writer.push(&SequenceIds { ids, scored: scored(bounds) }).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn sequences_come_back_as_they_were_across_batches() {
        let long: Vec<u32> = (0..600_000).collect();
        let all: [Case; 4] = [
            (vec![1, 2, 3], vec![(1, 2), (2, 3)]),
            (long.clone(), vec![(5, 600_000)]),
            (long, vec![(1, 4), (599_999, 600_000)]),
            (vec![7, 8], vec![(1, 2)]),
        ];
        let found = sequences(&all);
        assert_eq!((found.len(), found.longest, found.rows.batches().len()), (4, 599_999, 2));
        assert_eq!((found.n_tokens, found.n_learnt), (1_200_005, 2 + 599_995 + 4 + 1));
        for (row, (ids, bounds)) in all.iter().enumerate() {
            let sequence = found.get(row).unwrap();
            assert_eq!((sequence.ids, sequence.scored), (ids.as_slice(), scored(bounds)));
        }
        assert!(found.get(4).is_none());
    }

    #[test]
    fn the_digest_sees_ids_ranges_and_where_a_sequence_ends() {
        let digest = |all: &[Case]| sequences(all).digest;
        let one: Case = (vec![1, 2, 3, 4], vec![(1, 4)]);
        let same = digest(std::slice::from_ref(&one));
        assert_eq!(same, digest(std::slice::from_ref(&one)));
        let others: [Vec<Case>; 4] = [
            vec![(vec![1, 2, 3, 5], vec![(1, 4)])],
            vec![(vec![1, 2, 3, 4], vec![(2, 4)])],
            vec![(vec![1, 2], vec![(1, 2)]), (vec![3, 4], vec![(1, 2)])],
            vec![one.clone(), one],
        ];
        for other in others {
            assert_ne!(digest(&other), same, "{other:?}");
        }
    }
}
