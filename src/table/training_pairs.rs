//! The rows of a table as stage two needs them: token ids and reference log-probs, in memory.

use arrow::array::{AsArray, RecordBatch, StringArray};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowPrimitiveType, Float32Type, Float64Type, UInt32Type};

use crate::table::{ReferenceTable, TableError, check};

/// Whether the log-prob of each token is loaded beside the sums: it doubles the memory, and only losses that cut or
/// clamp a completion (LD-DPO, humanline) read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenLogps {
    /// Sums only.
    Skip,
    /// Sums and their terms.
    Load,
}

/// All pairs of a table: 4 bytes a token and about 100 a pair.
///
/// Invariant: every log-prob is finite and at most 0, every completion has a token, no value is missing.
#[derive(Debug)]
pub struct TrainingPairs {
    chunks: Vec<Chunk>,
    /// Row where each chunk starts.
    starts: Vec<usize>,
    len: usize,
}

/// One pair of a table, borrowed from [`TrainingPairs`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrainingPair<'a> {
    /// Which text pair it is.
    pub pair_id: &'a str,
    /// Which token ids were scored.
    pub tokens_id: &'a str,
    /// Prompt, chat template included.
    pub prompt_ids: &'a [u32],
    /// Preferred completion, end token included.
    pub chosen_ids: &'a [u32],
    /// The other completion, end token included.
    pub rejected_ids: &'a [u32],
    /// ln π_ref(y_w | x) in nats, summed over `chosen_ids`.
    pub ref_chosen_logps: f64,
    /// ln π_ref(y_l | x) in nats, summed over `rejected_ids`.
    pub ref_rejected_logps: f64,
    /// Terms of the two sums, if they were loaded.
    pub ref_token_logps: Option<TokenLogpsPair<'a>>,
}

/// Log-probs of the tokens of a pair, in nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenLogpsPair<'a> {
    /// One per token of `chosen_ids`.
    pub chosen: &'a [f32],
    /// One per token of `rejected_ids`.
    pub rejected: &'a [f32],
}

impl ReferenceTable {
    /// Loads the first `limit` pairs, or all of them.
    ///
    /// # Errors
    /// If a part cannot be decoded, or at the first row that breaks the invariant of [`TrainingPairs`].
    pub fn load_pairs(&self, limit: Option<usize>, token_logps: TokenLogps) -> Result<TrainingPairs, TableError> {
        let mut columns = vec![
            "pair_id",
            "tokens_id",
            "prompt_ids",
            "chosen_ids",
            "rejected_ids",
            "prompt_tokens",
            "chosen_tokens",
            "rejected_tokens",
            "ref_chosen_logps",
            "ref_rejected_logps",
        ];
        if token_logps == TokenLogps::Load {
            columns.extend(["ref_chosen_token_logps", "ref_rejected_token_logps"]);
        }

        let mut pairs = TrainingPairs { chunks: Vec::new(), starts: Vec::new(), len: 0 };
        let mut left = limit.unwrap_or(usize::MAX);
        let mut batches = self.part_batches(&columns)?;
        while left > 0
            && let Some(item) = batches.next()
        {
            let (place, batch) = item?;
            let batch = batch.slice(0, batch.num_rows().min(left));
            check::rows(&place.path, place.first_row, &batch)?;
            left -= batch.num_rows();
            pairs.push(&batch)?;
        }
        Ok(pairs)
    }
}

impl TrainingPairs {
    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pair in `row` of the table.
    pub fn get(&self, row: usize) -> Option<TrainingPair<'_>> {
        if row >= self.len {
            return None;
        }
        let chunk_idx = self.starts.partition_point(|&start| start <= row) - 1;
        Some(self.chunks[chunk_idx].pair(row - self.starts[chunk_idx]))
    }

    /// All pairs, in table order.
    pub fn iter(&self) -> impl Iterator<Item = TrainingPair<'_>> {
        (0..self.len).filter_map(|row| self.get(row))
    }

    fn push(&mut self, batch: &RecordBatch) -> Result<(), TableError> {
        if batch.num_rows() > 0 {
            self.chunks.push(Chunk::new(batch)?);
            self.starts.push(self.len);
            self.len += batch.num_rows();
        }
        Ok(())
    }
}

/// A checked batch, its columns typed.
#[derive(Debug)]
struct Chunk {
    pair_id: StringArray,
    tokens_id: StringArray,
    prompt_ids: Lists<u32>,
    chosen_ids: Lists<u32>,
    rejected_ids: Lists<u32>,
    ref_chosen_logps: ScalarBuffer<f64>,
    ref_rejected_logps: ScalarBuffer<f64>,
    ref_token_logps: Option<(Lists<f32>, Lists<f32>)>,
}

impl Chunk {
    fn new(batch: &RecordBatch) -> Result<Self, TableError> {
        let chosen_terms = batch.column_by_name("ref_chosen_token_logps");
        Ok(Self {
            pair_id: strings(batch, "pair_id")?,
            tokens_id: strings(batch, "tokens_id")?,
            prompt_ids: Lists::new::<UInt32Type>(batch, "prompt_ids")?,
            chosen_ids: Lists::new::<UInt32Type>(batch, "chosen_ids")?,
            rejected_ids: Lists::new::<UInt32Type>(batch, "rejected_ids")?,
            ref_chosen_logps: numbers(batch, "ref_chosen_logps")?,
            ref_rejected_logps: numbers(batch, "ref_rejected_logps")?,
            ref_token_logps: match chosen_terms {
                None => None,
                Some(_) => Some((
                    Lists::new::<Float32Type>(batch, "ref_chosen_token_logps")?,
                    Lists::new::<Float32Type>(batch, "ref_rejected_token_logps")?,
                )),
            },
        })
    }

    fn pair(&self, row: usize) -> TrainingPair<'_> {
        TrainingPair {
            pair_id: self.pair_id.value(row),
            tokens_id: self.tokens_id.value(row),
            prompt_ids: self.prompt_ids.get(row),
            chosen_ids: self.chosen_ids.get(row),
            rejected_ids: self.rejected_ids.get(row),
            ref_chosen_logps: self.ref_chosen_logps[row],
            ref_rejected_logps: self.ref_rejected_logps[row],
            ref_token_logps: self
                .ref_token_logps
                .as_ref()
                .map(|(chosen, rejected)| TokenLogpsPair { chosen: chosen.get(row), rejected: rejected.get(row) }),
        }
    }
}

/// A list column without its Arrow type.
#[derive(Debug)]
struct Lists<T: arrow::datatypes::ArrowNativeType> {
    offsets: OffsetBuffer<i32>,
    values: ScalarBuffer<T>,
}

impl<T: arrow::datatypes::ArrowNativeType> Lists<T> {
    fn new<A: ArrowPrimitiveType<Native = T>>(batch: &RecordBatch, column: &'static str) -> Result<Self, TableError> {
        let list = batch.column_by_name(column).and_then(|array| array.as_list_opt::<i32>());
        let values = list.and_then(|list| list.values().as_primitive_opt::<A>());
        match (list, values) {
            (Some(list), Some(values)) => Ok(Self { offsets: list.offsets().clone(), values: values.values().clone() }),
            _ => Err(unchecked(column)),
        }
    }

    fn get(&self, row: usize) -> &[T] {
        let bound = |row: usize| usize::try_from(self.offsets[row]).unwrap_or_default();
        &self.values[bound(row)..bound(row + 1)]
    }
}

fn strings(batch: &RecordBatch, column: &'static str) -> Result<StringArray, TableError> {
    let array = batch.column_by_name(column).and_then(|array| array.as_string_opt::<i32>());
    array.cloned().ok_or_else(|| unchecked(column))
}

fn numbers(batch: &RecordBatch, column: &'static str) -> Result<ScalarBuffer<f64>, TableError> {
    let array = batch.column_by_name(column).and_then(|array| array.as_primitive_opt::<Float64Type>());
    array.map(|array| array.values().clone()).ok_or_else(|| unchecked(column))
}

fn unchecked(column: &str) -> TableError {
    TableError::Internal { what: format!("column `{column}` passed the schema check with another type") }
}
