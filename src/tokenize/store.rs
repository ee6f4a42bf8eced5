//! The token store: a whole data set as token ids, in a [`Spool`].
//!
//! Columns are those of the log-prob table up to the log-probs, and `extra`: the row's other columns as a JSON object.
//! Reading copies nothing: ids are slices of the mapped file, so a data set may be larger than memory.
//!
//! Invariant: a [`TokenStore`] is what its [`StoreWriter`] has just finished. There is no way to open one that an
//! earlier process left behind: a run makes its own from the data, so what is scored is what the data says now.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, ListArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, UInt32Type};
use arrow::error::ArrowError;

use super::error::TokenizeError;
use super::pair_tokenizer::TokenizedPair;
use super::pass_through::{self, PassThrough, PassThroughTypes};
use super::store_rows::{StoreRow, StoreRows};
use crate::data::PreferencePair;
use crate::spool::{Spool, SpoolWriter};

/// Rows of a batch, at most.
const BATCH_ROWS: usize = 1024;

/// Bytes of text and ids of a batch, but for one row that is larger. Arrow's offsets hold 2³¹.
const BATCH_BYTES: usize = 16 << 20;

/// Bytes of text and ids of one row.
const ROW_BYTES: usize = 1 << 30;

/// Columns of the log-prob table that the store does not have.
const LATER_COLUMNS: [&str; 4] =
    ["ref_chosen_logps", "ref_rejected_logps", "ref_chosen_token_logps", "ref_rejected_token_logps"];

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let ids = DataType::List(ids_field());
    let columns = [
        (&["pair_id", "tokens_id"][..], DataType::Utf8),
        (&["row_idx"], DataType::Int64),
        (&["source", "split", "prompt", "chosen", "rejected", "conversation"], DataType::Utf8),
        (&["prompt_ids", "chosen_ids", "rejected_ids"], ids),
        (&["prompt_tokens", "chosen_tokens", "rejected_tokens"], DataType::Int32),
        (&["prompt_cut", "chosen_cut", "rejected_cut", "boundary_moved"], DataType::Int32),
        (&["extra"], DataType::Utf8),
    ];
    let fields = columns.into_iter().flat_map(|(names, data_type)| {
        names.iter().map(move |name| Field::new(*name, data_type.clone(), *name == "conversation"))
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
});

/// The field of one id in a list of them, named as in Parquet.
pub(super) fn ids_field() -> FieldRef {
    Arc::new(Field::new("element", DataType::UInt32, false))
}

/// Writes a token store, batch by batch.
pub struct StoreWriter {
    writer: SpoolWriter,
    rows: StoreRows,
    types: PassThroughTypes,
}

impl StoreWriter {
    /// Starts a store on the disk of `folder`; no file in it appears.
    pub fn create(folder: &Path) -> Result<Self, TokenizeError> {
        let writer = SpoolWriter::create(folder, Arc::clone(&SCHEMA))?;
        Ok(Self { writer, rows: StoreRows::default(), types: PassThroughTypes::default() })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// If the disk refuses, or if one row is larger than a gigabyte.
    pub fn push(&mut self, pair: &PreferencePair, tokens: &TokenizedPair) -> Result<(), TokenizeError> {
        let row = StoreRow::new(pair, tokens);
        let n_bytes = row.n_bytes();
        if n_bytes > ROW_BYTES {
            return Err(TokenizeError::RowTooLarge { path: pair.source.path.clone(), row_idx: pair.row_idx, n_bytes });
        }
        if self.rows.len() == BATCH_ROWS || self.rows.n_bytes() + n_bytes > BATCH_BYTES {
            self.flush()?;
        }
        self.types.observe(&pair.extra);
        self.rows.push(&row);
        Ok(())
    }

    /// Takes note of the further columns of a pair, whether it is added or not: order and types of all columns are known
    /// from the pairs in the order they are noted in. [`push`](Self::push) notes those of a pair that is new to it.
    pub fn observe(&mut self, pair: &PreferencePair) {
        self.types.observe(&pair.extra);
    }

    /// Maps what was written.
    pub fn finish(mut self) -> Result<TokenStore, TokenizeError> {
        self.flush()?;
        let reserved = SCHEMA.fields().iter().map(|field| field.name().as_str());
        let reserved: Vec<&str> = reserved.chain(LATER_COLUMNS).collect();
        let rows = self.writer.finish(|rows| Batch::new(rows).map_err(in_store))?;
        Ok(TokenStore { rows, pass_through: self.types.finish(&reserved) })
    }

    fn flush(&mut self) -> Result<(), TokenizeError> {
        if self.rows.len() == 0 {
            return Ok(());
        }
        let columns = std::mem::take(&mut self.rows).into_columns();
        let batch = columns.and_then(|columns| RecordBatch::try_new(Arc::clone(&SCHEMA), columns)).map_err(in_store)?;
        Ok(self.writer.push(&batch)?)
    }
}

/// A data set as token ids, mapped into memory.
#[derive(Debug)]
pub struct TokenStore {
    rows: Spool<Batch>,
    pass_through: Vec<PassThrough>,
}

/// A batch, and those of its columns that are read row by row.
#[derive(Debug)]
struct Batch {
    rows: RecordBatch,
    pair_ids: StringArray,
    tokens_ids: StringArray,
    ids: [ListArray; 3],
}

impl TokenStore {
    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The columns of the source that the rows carry along.
    pub fn pass_through(&self) -> &[PassThrough] {
        &self.pass_through
    }

    /// Number of tokens of prompt, chosen and rejected of a row below [`len`](Self::len).
    pub fn lengths(&self, row: usize) -> (usize, usize, usize) {
        let (prompt, chosen, rejected) = self.ids(row);
        (prompt.len(), chosen.len(), rejected.len())
    }

    /// Ids of prompt, chosen and rejected of a row below [`len`](Self::len).
    pub fn ids(&self, row: usize) -> (&[u32], &[u32], &[u32]) {
        let (batch, row) = self.rows.locate(row);
        let [prompt, chosen, rejected] = &batch.ids;
        (ids(prompt, row), ids(chosen, row), ids(rejected, row))
    }

    /// `pair_id` of a row below [`len`](Self::len).
    pub fn pair_id(&self, row: usize) -> &str {
        let (batch, row) = self.rows.locate(row);
        batch.pair_ids.value(row)
    }

    /// `tokens_id` of a row below [`len`](Self::len).
    pub fn tokens_id(&self, row: usize) -> &str {
        let (batch, row) = self.rows.locate(row);
        batch.tokens_ids.value(row)
    }

    /// All columns of some rows as one batch, copied only where the rows span several.
    pub fn slice(&self, rows: Range<usize>) -> Result<RecordBatch, TokenizeError> {
        let mut parts = Vec::new();
        for (start, batch) in self.rows.batches() {
            let first = rows.start.max(start);
            let end = rows.end.min(start + batch.rows.num_rows());
            if first < end {
                parts.push(batch.rows.slice(first - start, end - first));
            }
        }
        match parts.as_slice() {
            [part] => Ok(part.clone()),
            parts => arrow::compute::concat_batches(&SCHEMA, parts).map_err(in_store),
        }
    }

    /// The pass-through columns of a [`slice`](Self::slice), typed.
    pub fn pass_through_columns(&self, slice: &RecordBatch) -> Result<Vec<(FieldRef, ArrayRef)>, TokenizeError> {
        let rows = slice.column_by_name("extra").and_then(|extra| extra.as_string_opt());
        rows.and_then(|rows| pass_through::columns(&self.pass_through, rows))
            .ok_or_else(|| in_store(damaged("a row's `extra` is not a JSON object")))
    }
}

fn ids(list: &ListArray, row: usize) -> &[u32] {
    let offsets = list.offsets();
    let bound = |at: usize| usize::try_from(offsets[at]).unwrap_or(0);
    &list.values().as_primitive::<UInt32Type>().values()[bound(row)..bound(row + 1)]
}

fn in_store(source: ArrowError) -> TokenizeError {
    TokenizeError::Store { source }
}

fn damaged(what: &str) -> ArrowError {
    ArrowError::IpcError(what.to_owned())
}

impl Batch {
    fn new(rows: RecordBatch) -> Result<Self, ArrowError> {
        let column = |name: &str| rows.column_by_name(name).ok_or_else(|| damaged("a column is missing"));
        let text = |name: &str| Ok::<_, ArrowError>(column(name)?.as_string::<i32>().clone());
        let list = |name: &str| Ok::<_, ArrowError>(column(name)?.as_list::<i32>().clone());
        Ok(Self {
            pair_ids: text("pair_id")?,
            tokens_ids: text("tokens_id")?,
            ids: [list("prompt_ids")?, list("chosen_ids")?, list("rejected_ids")?],
            rows,
        })
    }
}

#[cfg(test)]
mod tests;
