//! The rows of a table as stage two needs them: token ids and reference log-probs, by row.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, RecordBatch, StringArray};
use arrow::buffer::{BooleanBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::{concat_batches, filter, filter_record_batch};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Field, Float32Type, Float64Type, Schema, SchemaRef, UInt32Type};

use crate::spool::{Spool, SpoolWriter};
use crate::table::outside_scores::{self, OutsideScores, ScoreColumns};
use crate::table::schema::{Column, reference};
use crate::table::{ReferenceTable, TableError, check};

/// Bytes of a batch of the spool, about: few batches, each small beside a model.
const BATCH_BYTES: usize = 2 << 20;

/// What is kept of a row. Its order is that of the contract.
const KEPT: [&str; 7] =
    ["pair_id", "tokens_id", "prompt_ids", "chosen_ids", "rejected_ids", "ref_chosen_logps", "ref_rejected_logps"];

/// What is kept as well with [`TokenLogps::Load`].
const TERMS: [&str; 2] = ["ref_chosen_token_logps", "ref_rejected_token_logps"];

/// Names of the scores in the spool, whatever the table calls them.
const SCORES: [&str; 2] = ["chosen_score", "rejected_score"];

/// What is read only to check the rest.
const CHECKED: [&str; 3] = ["prompt_tokens", "chosen_tokens", "rejected_tokens"];

/// Whether the log-prob of each token is kept beside the sums: it doubles the spool, and only losses that cut or clamp
/// a completion (LD-DPO, humanline) read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenLogps {
    /// Sums only.
    Skip,
    /// Sums and their terms.
    Load,
}

/// What is loaded of which pairs.
#[derive(Debug, Clone, Copy)]
pub struct Loading<'a> {
    /// Whether the terms of the sums are.
    pub token_logps: TokenLogps,
    /// The columns of outside scores, if those are.
    pub scores: Option<&'a ScoreColumns>,
    /// A bit for each row of the tables, one after the other; `None` loads all of them. A row that is not loaded need
    /// have neither terms nor scores; it is checked all the same.
    pub rows: Option<&'a BooleanBuffer>,
}

/// All pairs of a table, checked, on disk: in memory is what is being read.
///
/// Invariant: every log-prob is finite and at most 0, every completion has a token, no value is missing.
#[derive(Debug)]
pub struct TrainingPairs(Spool<Chunk>);

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
    /// Scores by somebody else, if they were loaded.
    pub scores: Option<OutsideScores>,
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
    /// Streams all pairs once, checks each and puts it aside on the disk of `folder`, without a file that could be left
    /// behind: 4 bytes a token and about 100 a pair. Memory does not grow with the table.
    ///
    /// # Errors
    /// If a part cannot be decoded, at the first row that breaks the invariant of [`TrainingPairs`] or lacks the token
    /// log-probs asked for, or if the disk refuses.
    pub fn load_pairs(&self, token_logps: TokenLogps, folder: &Path) -> Result<TrainingPairs, TableError> {
        let what = Loading { token_logps, scores: None, rows: None };
        TrainingPairs::load(std::slice::from_ref(self), &what, folder)
    }

    /// The same, with the scores in two columns of the source.
    ///
    /// # Errors
    /// As [`load_pairs`](Self::load_pairs), or if there is no such column, or at the first row of it without a number.
    pub fn load_pairs_with_scores(
        &self,
        token_logps: TokenLogps,
        scores: &ScoreColumns,
        folder: &Path,
    ) -> Result<TrainingPairs, TableError> {
        let what = Loading { token_logps, scores: Some(scores), rows: None };
        TrainingPairs::load(std::slice::from_ref(self), &what, folder)
    }
}

/// The loaded rows of a batch, and the scores of them.
fn loaded(
    batch: &RecordBatch,
    scores: Vec<ArrayRef>,
    rows: BooleanBuffer,
) -> Result<(RecordBatch, Vec<ArrayRef>), TableError> {
    if rows.count_set_bits() == rows.len() {
        return Ok((batch.clone(), scores));
    }
    let mask = BooleanArray::new(rows, None);
    let scores = scores.iter().map(|column| filter(column, &mask)).collect::<Result<Vec<_>, _>>();
    Ok((filter_record_batch(batch, &mask).map_err(internal)?, scores.map_err(internal)?))
}

/// The bits of a batch of `n_rows` rows that starts at row `start` of all tables.
fn rows_of_batch(rows: Option<&BooleanBuffer>, start: usize, n_rows: usize) -> Result<BooleanBuffer, TableError> {
    match rows {
        None => Ok(BooleanBuffer::new_set(n_rows)),
        Some(rows) if start + n_rows <= rows.len() => Ok(rows.slice(start, n_rows)),
        Some(rows) => Err(TableError::Internal { what: format!("{} bits for more rows than that", rows.len()) }),
    }
}

/// The spool of a table's pairs, in batches of [`BATCH_BYTES`] whatever the size of its parts.
struct PairSpool {
    schema: SchemaRef,
    writer: SpoolWriter,
    pending: Vec<RecordBatch>,
}

impl PairSpool {
    fn create(folder: &Path, columns: &[&'static str], scores: &[&'static str]) -> Result<Self, TableError> {
        let fields = columns.iter().map(|name| Ok(Field::new(*name, contract(name)?.data_type.arrow(), false)));
        let scores = scores.iter().map(|name| Ok(Field::new(*name, DataType::Float64, false)));
        let fields = fields.chain(scores).collect::<Result<Vec<_>, TableError>>()?;
        let schema = Arc::new(Schema::new(fields));
        let writer = SpoolWriter::create(folder, Arc::clone(&schema))?;
        Ok(Self { schema, writer, pending: Vec::new() })
    }

    fn push(&mut self, batch: &RecordBatch, scores: &[ArrayRef]) -> Result<(), TableError> {
        let of_contract = self.schema.fields().len() - scores.len();
        let columns = self.schema.fields().iter().take(of_contract).map(|field| {
            let column = batch.column_by_name(field.name()).ok_or_else(|| unchecked(field.name()))?;
            as_contract(column, field)
        });
        let mut columns = columns.collect::<Result<Vec<_>, TableError>>()?;
        columns.extend_from_slice(scores);
        self.pending.push(RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(internal)?);
        let n_bytes: usize = self.pending.iter().map(RecordBatch::get_array_memory_size).sum();
        if n_bytes >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), TableError> {
        let batch = concat_batches(&self.schema, &self.pending).map_err(internal)?;
        self.pending.clear();
        Ok(self.writer.push(&batch)?)
    }

    fn finish(mut self) -> Result<TrainingPairs, TableError> {
        if !self.pending.is_empty() {
            self.flush()?;
        }
        Ok(TrainingPairs(self.writer.finish(|batch| Chunk::new(&batch))?))
    }
}

impl TrainingPairs {
    /// Streams the pairs of these tables once, one table after the other, and puts them aside as
    /// [`ReferenceTable::load_pairs`] does. A pair keeps no trace of its table: its row is its place among the loaded.
    ///
    /// # Errors
    /// As [`ReferenceTable::load_pairs_with_scores`].
    pub fn load(tables: &[ReferenceTable], what: &Loading<'_>, folder: &Path) -> Result<Self, TableError> {
        let mut kept = KEPT.to_vec();
        if what.token_logps == TokenLogps::Load {
            kept.extend(TERMS);
        }
        let score_columns: Vec<&str> =
            what.scores.iter().flat_map(|names| [&*names.chosen, &*names.rejected]).collect();
        let read = [kept.as_slice(), &CHECKED, score_columns.as_slice()].concat();
        let mut pairs = PairSpool::create(folder, &kept, &SCORES[..score_columns.len()])?;
        let mut n_seen = 0;
        for table in tables {
            for item in table.part_batches(&read)? {
                let (place, batch) = item?;
                check::rows(&place.path, place.first_row, &batch)?;
                let rows = rows_of_batch(what.rows, n_seen, batch.num_rows())?;
                n_seen += batch.num_rows();
                for column in kept.iter().filter(|column| TERMS.contains(column)) {
                    let nulls = batch.column_by_name(column).and_then(|array| array.nulls());
                    if let Some(row) = nulls.and_then(|nulls| rows.set_indices().find(|&row| nulls.is_null(row))) {
                        return Err(TableError::NoTokenLogps { path: place.path, row: place.first_row + row, column });
                    }
                }
                let scores = score_columns
                    .iter()
                    .map(|column| outside_scores::read(&place, &batch, column, |row| rows.value(row)))
                    .collect::<Result<Vec<_>, _>>()?;
                let (batch, scores) = loaded(&batch, scores, rows)?;
                pairs.push(&batch, &scores)?;
            }
        }
        pairs.finish()
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pair in `row` of the table.
    pub fn get(&self, row: usize) -> Option<TrainingPair<'_>> {
        (row < self.len()).then(|| {
            let (chunk, row) = self.0.locate(row);
            chunk.pair(row)
        })
    }

    /// All pairs, in table order.
    pub fn iter(&self) -> impl Iterator<Item = TrainingPair<'_>> {
        (0..self.len()).filter_map(|row| self.get(row))
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
    scores: Option<(ScalarBuffer<f64>, ScalarBuffer<f64>)>,
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
            scores: match batch.column_by_name(SCORES[0]) {
                None => None,
                Some(_) => Some((numbers(batch, SCORES[0])?, numbers(batch, SCORES[1])?)),
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
            scores: self
                .scores
                .as_ref()
                .map(|(chosen, rejected)| OutsideScores { chosen: chosen[row], rejected: rejected[row] }),
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

fn contract(name: &str) -> Result<&'static Column, TableError> {
    reference::COLUMNS.iter().find(|column| column.name == name).ok_or_else(|| unchecked(name))
}

/// A checked column under the name and the type of the contract: parts may call the items of a list otherwise.
fn as_contract(column: &ArrayRef, field: &Field) -> Result<ArrayRef, TableError> {
    match (field.data_type(), column.as_list_opt::<i32>()) {
        (DataType::List(item), Some(list)) => {
            let values = Arc::clone(list.values());
            let list = ListArray::try_new(Arc::clone(item), list.offsets().clone(), values, None);
            Ok(Arc::new(list.map_err(internal)?))
        }
        _ => Ok(Arc::clone(column)),
    }
}

fn unchecked(column: &str) -> TableError {
    TableError::Internal { what: format!("column `{column}` passed the schema check with another type") }
}

fn internal(error: impl std::fmt::Display) -> TableError {
    TableError::Internal { what: format!("checked rows make no batch: {error}") }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, new_null_array};

    use super::*;
    use crate::error::Hint;
    use crate::table::tests::{batch, provenance};
    use crate::table::write_part;

    #[test]
    fn small_parts_become_few_batches_and_rows_stay_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = PairSpool::create(folder.path(), &KEPT, &[]).unwrap();
        for row in 0..40 {
            spool.push(&batch(row..row + 1), &[]).unwrap();
        }
        let pairs = spool.finish().unwrap();
        assert_eq!((pairs.len(), pairs.0.batches().len()), (40, 1));
        assert!((0..40).all(|row| pairs.get(row).unwrap().pair_id == format!("pair-{row}")));
    }

    #[test]
    fn rows_of_several_tables_are_numbered_among_the_loaded_and_the_others_need_no_scores() {
        let folder = tempfile::tempdir().unwrap();
        let at = batch(0..4).schema().index_of("score_chosen").unwrap();
        let tables = [0..4, 10..13].map(|rows| {
            let path = folder.path().join(format!("part-{:05}.parquet", rows.start));
            let mut columns = batch(rows.clone()).columns().to_vec();
            // The first row of each has no score.
            let scores = rows.clone().map(|row| (row != rows.start).then_some(f64::from(row)));
            columns[at] = Arc::new(scores.collect::<Float64Array>());
            let batch = RecordBatch::try_new(batch(rows).schema(), columns).unwrap();
            write_part(&path, &batch, &provenance()).unwrap();
            ReferenceTable::open(&path).unwrap()
        });
        let columns = ScoreColumns { chosen: "score_chosen".into(), rejected: "chosen_tokens".into() };
        let load = |rows: &[usize]| {
            let rows: BooleanBuffer = (0..7).map(|row| rows.contains(&row)).collect();
            let what = Loading { token_logps: TokenLogps::Load, scores: Some(&columns), rows: Some(&rows) };
            TrainingPairs::load(&tables, &what, folder.path())
        };
        let pairs = load(&[1, 3, 5]).unwrap();
        let found: Vec<_> = pairs.iter().map(|pair| (pair.pair_id, pair.scores.unwrap().chosen)).collect();
        assert_eq!(found, [("pair-1", 1.0), ("pair-3", 3.0), ("pair-11", 11.0)]);
        let error = load(&[1, 4]).unwrap_err();
        assert!(error.to_string().contains("part-00010.parquet`, row 0, pair `pair-10`"), "{error}");
    }

    #[test]
    fn an_imported_table_trains_without_token_log_probs_and_says_who_needs_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part-00000.parquet");
        let mut columns = batch(0..3).columns().to_vec();
        for column in TERMS {
            let at = batch(0..3).schema().index_of(column).unwrap();
            columns[at] = new_null_array(columns[at].data_type(), 3);
        }
        let sums_only = RecordBatch::try_new(batch(0..3).schema(), columns).unwrap();
        write_part(&path, &sums_only, &provenance()).unwrap();

        let table = ReferenceTable::open(&path).unwrap();
        assert_eq!(table.load_pairs(TokenLogps::Skip, folder.path()).unwrap().len(), 3);
        let error = table.load_pairs(TokenLogps::Load, folder.path()).unwrap_err();
        assert!(
            error.to_string().contains("part-00000.parquet`, row 0: expected the log-prob of every token"),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("humanline"));
    }

    #[test]
    fn scores_are_a_number_of_every_pair_or_an_error_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part-00000.parquet");
        let load = |chosen: &str, rejected: &str| {
            let columns = ScoreColumns { chosen: chosen.into(), rejected: rejected.into() };
            ReferenceTable::open(&path).unwrap().load_pairs_with_scores(TokenLogps::Skip, &columns, folder.path())
        };
        write_part(&path, &batch(0..3), &provenance()).unwrap();
        // A column of doubles, and one of integers that is read anyway.
        let pairs = load("score_chosen", "chosen_tokens").unwrap();
        let scores: Vec<_> = pairs.iter().map(|pair| pair.scores.unwrap()).collect();
        let want = [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)];
        assert_eq!(scores, want.map(|(chosen, rejected)| OutsideScores { chosen, rejected }));

        let error = load("score_chosen", "score_rejcted").unwrap_err();
        assert!(error.to_string().ends_with("has no column `score_rejcted`"), "{error}");
        let error = load("source", "score_chosen").unwrap_err();
        let want = "expected column `source` of type Float64 or Int64, found Utf8";
        assert!(error.to_string().ends_with(want), "{error}");

        let at = batch(0..3).schema().index_of("score_chosen").unwrap();
        for (bad, found) in [(None, "null"), (Some(f64::NAN), "NaN")] {
            let mut columns = batch(0..3).columns().to_vec();
            columns[at] = Arc::new(Float64Array::from(vec![Some(1.0), bad, Some(3.0)]));
            write_part(&path, &RecordBatch::try_new(batch(0..3).schema(), columns).unwrap(), &provenance()).unwrap();
            let error = load("score_chosen", "chosen_tokens").unwrap_err();
            let want =
                format!("row 1, pair `pair-1`: expected a finite number in score column `score_chosen`, found {found}");
            assert!(error.to_string().ends_with(&want), "{error}");
            assert!(error.hint().unwrap().contains("needs both of every pair"));
        }
    }
}
