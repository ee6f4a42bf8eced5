//! Two tables held against each other, row by row.
//!
//! Rows meet by `pair_id`, as often as it occurs: first those that are equal, then those with the same tokens, then
//! those with other tokens. What is left is in one table only. Memory: about 64 bytes a row of the first table and one
//! bit a row of the second, which is read once a round.

use arrow::array::{AsArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{Float64Type, Int32Type};
use serde::Serialize;

use crate::digest::Id;
use crate::table::{Difference, ReferenceTable, TableError};

/// What a comparison of two tables found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableDiff {
    /// Rows of the first table.
    pub n_pairs_a: u64,
    /// Rows of the second table.
    pub n_pairs_b: u64,
    /// Same pair, same tokens, same log-probs to the bit.
    pub unchanged: u64,
    /// Same pair, same tokens, other log-probs.
    pub rescored: Rows,
    /// Same pair, other tokens.
    pub retokenised: Rows,
    /// In the second table only.
    pub added: Rows,
    /// In the first table only.
    pub removed: Rows,
    /// How far apart the log-probs of equal tokens are, over the unchanged rows too; `None` where no tokens are equal.
    pub logps: Option<Deltas>,
    /// Conditions in which the tables differ: `expected` is the first table's, `found` the second's.
    pub provenance: Vec<Difference>,
}

impl TableDiff {
    /// Whether the tables differ in their pairs, their numbers or what these hold under; not in the names of the files
    /// that the pairs came from.
    pub fn is_any(&self) -> bool {
        let rows = [&self.rescored, &self.retokenised, &self.added, &self.removed];
        let is_condition = |difference: &Difference| difference.field != "sources";
        rows.iter().any(|rows| rows.count > 0) || self.provenance.iter().any(is_condition)
    }
}

/// Rows of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Rows {
    /// How many.
    pub count: u64,
    /// `pair_id` of the first of them, in the order of the second table (of the first, where they are in that only).
    pub first_pairs: Vec<String>,
}

/// Absolute differences of log-probs, in nats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Deltas {
    /// Sequences compared: two a row.
    pub n_sequences: u64,
    /// Largest difference of a sequence.
    pub max_sequence: f64,
    /// Mean difference of a sequence.
    pub mean_sequence: f64,
    /// Largest difference of a sequence by its tokens.
    pub max_token: f64,
    /// Mean of the same over all tokens: the sum of all differences by the number of all tokens.
    pub mean_token: f64,
}

/// Compares two tables; lists the first `limit` pairs of each kind.
///
/// # Errors
/// If a part of one cannot be read.
pub fn diff(a: &ReferenceTable, b: &ReferenceTable, limit: usize) -> Result<TableDiff, TableError> {
    let mut rows = IndexedRows::load(a)?;
    let mut matched_b: Vec<u64> = Vec::new();
    let mut found = TableDiff {
        n_pairs_a: rows.rows.len() as u64,
        n_pairs_b: b.n_pairs(),
        unchanged: 0,
        rescored: Rows::default(),
        retokenised: Rows::default(),
        added: Rows::default(),
        removed: Rows::default(),
        logps: None,
        provenance: a.provenance().differences(b.provenance()),
    };
    let mut deltas = Sums::default();
    for round in [Round::Equal, Round::SameTokens, Round::SamePair] {
        let mut n_left = 0;
        for_each_row(b, |index, row| {
            let (word, bit) = (index / 64, 1_u64 << (index % 64));
            if matched_b.len() == word {
                matched_b.push(0);
            }
            if matched_b[word] & bit != 0 {
                return;
            }
            let Some(other) = rows.take(&row, round) else {
                n_left += 1;
                if round == Round::SamePair {
                    found.added.push(row.pair_id, limit);
                }
                return;
            };
            matched_b[word] |= bit;
            match round {
                Round::Equal => found.unchanged += 1,
                Round::SameTokens => found.rescored.push(row.pair_id, limit),
                Round::SamePair => found.retokenised.push(row.pair_id, limit),
            }
            if round != Round::SamePair {
                deltas.add(&other, &row);
            }
        })?;
        if n_left == 0 {
            break;
        }
    }
    found.removed.count = rows.n_left();
    found.removed.first_pairs = rows.first_left(a, limit)?;
    found.logps = deltas.finish();
    Ok(found)
}

/// How alike two rows must be to meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    Equal,
    SameTokens,
    SamePair,
}

/// A row as it is read.
struct Row<'a> {
    pair_id: &'a str,
    tokens_id: &'a str,
    logps: [f64; 2],
    n_tokens: [i32; 2],
}

/// A row as it is kept. Ids are hashed once more, so that ids that are not 32 hex digits are kept as short.
#[derive(Debug, Clone, Copy)]
struct Kept {
    pair: Id,
    tokens: Id,
    logps: [f64; 2],
    row: u32,
    is_taken: bool,
}

/// The rows of the first table, sorted by pair.
struct IndexedRows {
    rows: Vec<Kept>,
}

impl IndexedRows {
    fn load(table: &ReferenceTable) -> Result<Self, TableError> {
        let mut rows = Vec::with_capacity(usize::try_from(table.n_pairs()).unwrap_or_default().min(1 << 24));
        let mut too_many = None;
        for_each_row(table, |index, row| match u32::try_from(index) {
            Ok(index) => rows.push(Kept {
                pair: key(row.pair_id),
                tokens: key(row.tokens_id),
                logps: row.logps,
                row: index,
                is_taken: false,
            }),
            Err(_) => too_many = Some(index),
        })?;
        if let Some(row) = too_many {
            return Err(TableError::Internal { what: format!("row {row} of a table to compare") });
        }
        rows.sort_unstable_by_key(|kept| (kept.pair, kept.tokens, kept.row));
        Ok(Self { rows })
    }

    /// The first row that is alike and not taken yet; it is taken then.
    fn take(&mut self, row: &Row<'_>, round: Round) -> Option<Kept> {
        let (pair, tokens) = (key(row.pair_id), key(row.tokens_id));
        let start = self.rows.partition_point(|kept| kept.pair < pair);
        let bits = |logps: [f64; 2]| logps.map(f64::to_bits);
        let is_alike = |kept: &Kept| match round {
            Round::Equal => kept.tokens == tokens && bits(kept.logps) == bits(row.logps),
            Round::SameTokens => kept.tokens == tokens,
            Round::SamePair => true,
        };
        let mut same_pair = self.rows[start..].iter_mut().take_while(|kept| kept.pair == pair);
        let kept = same_pair.find(|kept| !kept.is_taken && is_alike(kept))?;
        kept.is_taken = true;
        Some(*kept)
    }

    fn n_left(&self) -> u64 {
        self.rows.iter().filter(|kept| !kept.is_taken).count() as u64
    }

    /// `pair_id` of the first rows of `table` that were not taken.
    fn first_left(&self, table: &ReferenceTable, limit: usize) -> Result<Vec<String>, TableError> {
        let mut left: Vec<u32> = self.rows.iter().filter(|kept| !kept.is_taken).map(|kept| kept.row).collect();
        left.sort_unstable();
        left.truncate(limit);
        let mut wanted = left.into_iter().peekable();
        let mut ids = Vec::new();
        let mut first_row = 0_usize;
        for batch in table.batches(&["pair_id"])? {
            if wanted.peek().is_none() {
                break;
            }
            let batch = batch?;
            let pair_ids = strings(&batch, "pair_id")?;
            while let Some(row) = wanted.next_if(|&row| (row as usize) < first_row + batch.num_rows()) {
                ids.push(pair_ids.value(row as usize - first_row).to_owned());
            }
            first_row += batch.num_rows();
        }
        Ok(ids)
    }
}

impl Rows {
    fn push(&mut self, pair_id: &str, limit: usize) {
        self.count += 1;
        if self.first_pairs.len() < limit {
            self.first_pairs.push(pair_id.to_owned());
        }
    }
}

#[derive(Default)]
struct Sums {
    n_sequences: u64,
    n_tokens: u64,
    max_sequence: f64,
    max_token: f64,
    sum: f64,
}

impl Sums {
    fn add(&mut self, a: &Kept, b: &Row<'_>) {
        for ((ours, theirs), n_tokens) in a.logps.iter().zip(&b.logps).zip(b.n_tokens) {
            let (delta, n_tokens) = ((ours - theirs).abs(), n_tokens.max(1));
            self.n_sequences += 1;
            self.n_tokens += u64::from(n_tokens.unsigned_abs());
            self.max_sequence = self.max_sequence.max(delta);
            self.max_token = self.max_token.max(delta / f64::from(n_tokens));
            self.sum += delta;
        }
    }

    fn finish(&self) -> Option<Deltas> {
        (self.n_sequences > 0).then(|| Deltas {
            n_sequences: self.n_sequences,
            max_sequence: self.max_sequence,
            mean_sequence: self.sum / self.n_sequences as f64,
            max_token: self.max_token,
            mean_token: self.sum / self.n_tokens as f64,
        })
    }
}

fn key(text: &str) -> Id {
    Id::of_parts("diff", [text.as_bytes()])
}

/// Calls `see` with every row of a table and its index. A null is an empty text, a missing number 0.
fn for_each_row(table: &ReferenceTable, mut see: impl FnMut(usize, Row<'_>)) -> Result<(), TableError> {
    let columns =
        ["pair_id", "tokens_id", "chosen_tokens", "rejected_tokens", "ref_chosen_logps", "ref_rejected_logps"];
    let mut index = 0;
    for batch in table.batches(&columns)? {
        let batch = batch?;
        let (pair_ids, tokens_ids) = (strings(&batch, "pair_id")?, strings(&batch, "tokens_id")?);
        let [chosen, rejected] = [doubles(&batch, "ref_chosen_logps")?, doubles(&batch, "ref_rejected_logps")?];
        let [n_chosen, n_rejected] = [counts(&batch, "chosen_tokens")?, counts(&batch, "rejected_tokens")?];
        for row in 0..batch.num_rows() {
            see(
                index,
                Row {
                    pair_id: pair_ids.value(row),
                    tokens_id: tokens_ids.value(row),
                    logps: [chosen.value(row), rejected.value(row)],
                    n_tokens: [n_chosen.value(row), n_rejected.value(row)],
                },
            );
            index += 1;
        }
    }
    Ok(())
}

fn strings<'a>(batch: &'a RecordBatch, column: &str) -> Result<&'a StringArray, TableError> {
    batch.column_by_name(column).and_then(|array| array.as_string_opt()).ok_or_else(|| unchecked(column))
}

fn doubles<'a>(batch: &'a RecordBatch, column: &str) -> Result<&'a arrow::array::Float64Array, TableError> {
    let array = batch.column_by_name(column).and_then(|array| array.as_primitive_opt::<Float64Type>());
    array.ok_or_else(|| unchecked(column))
}

fn counts<'a>(batch: &'a RecordBatch, column: &str) -> Result<&'a Int32Array, TableError> {
    let array = batch.column_by_name(column).and_then(|array| array.as_primitive_opt::<Int32Type>());
    array.ok_or_else(|| unchecked(column))
}

fn unchecked(column: &str) -> TableError {
    TableError::Internal { what: format!("column `{column}` passed the schema check with another type") }
}

#[cfg(test)]
mod tests;
