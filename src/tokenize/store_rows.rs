//! Rows of the token store on their way into a batch.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, ListArray, StringBuilder, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::error::ArrowError;

use super::pair_tokenizer::TokenizedPair;
use super::store::ids_field;
use crate::data::PreferencePair;

/// A pair with its texts written out.
pub(super) struct StoreRow<'a> {
    pair: &'a PreferencePair,
    tokens: &'a TokenizedPair,
    source: String,
    prompt: String,
    chosen: String,
    rejected: String,
    conversation: Option<String>,
    extra: String,
}

/// The columns of a batch, growing.
#[derive(Default)]
pub(super) struct StoreRows {
    n_rows: usize,
    n_bytes: usize,
    pair_id: StringBuilder,
    tokens_id: StringBuilder,
    row_idx: Vec<i64>,
    source: StringBuilder,
    split: StringBuilder,
    prompt: StringBuilder,
    chosen: StringBuilder,
    rejected: StringBuilder,
    conversation: StringBuilder,
    prompt_ids: IdLists,
    chosen_ids: IdLists,
    rejected_ids: IdLists,
    prompt_cut: Vec<i32>,
    chosen_cut: Vec<i32>,
    rejected_cut: Vec<i32>,
    boundary_moved: Vec<i32>,
    extra: StringBuilder,
}

#[derive(Default)]
struct IdLists {
    ids: Vec<u32>,
    lengths: Vec<usize>,
}

impl<'a> StoreRow<'a> {
    pub(super) fn new(pair: &'a PreferencePair, tokens: &'a TokenizedPair) -> Self {
        Self {
            pair,
            tokens,
            source: pair.source.path.display().to_string(),
            prompt: pair.text.prompt_text(),
            chosen: pair.text.chosen_text(),
            rejected: pair.text.rejected_text(),
            conversation: pair.text.conversation_json(),
            extra: serde_json::Value::Object(pair.extra.clone()).to_string(),
        }
    }

    /// Bytes of what varies in length.
    pub(super) fn n_bytes(&self) -> usize {
        let conversation = self.conversation.as_ref().map_or(0, String::len);
        let texts = self.source.len() + self.prompt.len() + self.chosen.len() + self.rejected.len() + self.extra.len();
        let TokenizedPair { prompt_ids, chosen_ids, rejected_ids, .. } = self.tokens;
        conversation + texts + 4 * (prompt_ids.len() + chosen_ids.len() + rejected_ids.len())
    }
}

impl StoreRows {
    pub(super) fn len(&self) -> usize {
        self.n_rows
    }

    pub(super) fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    pub(super) fn push(&mut self, row: &StoreRow<'_>) {
        self.n_rows += 1;
        self.n_bytes += row.n_bytes();
        let StoreRow { pair, tokens, .. } = row;
        self.pair_id.append_value(pair.id.to_string());
        self.tokens_id.append_value(tokens.tokens_id.to_string());
        self.row_idx.push(i64::try_from(pair.row_idx).unwrap_or(i64::MAX));
        self.source.append_value(&row.source);
        self.split.append_value(&pair.source.split);
        self.prompt.append_value(&row.prompt);
        self.chosen.append_value(&row.chosen);
        self.rejected.append_value(&row.rejected);
        self.conversation.append_option(row.conversation.as_ref());
        self.prompt_ids.push(&tokens.prompt_ids);
        self.chosen_ids.push(&tokens.chosen_ids);
        self.rejected_ids.push(&tokens.rejected_ids);
        let count = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
        self.prompt_cut.push(count(tokens.prompt_cut));
        self.chosen_cut.push(count(tokens.chosen_cut));
        self.rejected_cut.push(count(tokens.rejected_cut));
        self.boundary_moved.push(count(tokens.boundary_moved));
        self.extra.append_value(&row.extra);
    }

    /// The arrays, in the order of the store's schema.
    pub(super) fn into_columns(mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        let lengths = [&self.prompt_ids, &self.chosen_ids, &self.rejected_ids].map(IdLists::length_column);
        let [prompt_tokens, chosen_tokens, rejected_tokens] = lengths;
        let counts = |counts: Vec<i32>| -> ArrayRef { Arc::new(Int32Array::from(counts)) };
        Ok(vec![
            Arc::new(self.pair_id.finish()),
            Arc::new(self.tokens_id.finish()),
            Arc::new(Int64Array::from(self.row_idx)),
            Arc::new(self.source.finish()),
            Arc::new(self.split.finish()),
            Arc::new(self.prompt.finish()),
            Arc::new(self.chosen.finish()),
            Arc::new(self.rejected.finish()),
            Arc::new(self.conversation.finish()),
            self.prompt_ids.into_column()?,
            self.chosen_ids.into_column()?,
            self.rejected_ids.into_column()?,
            prompt_tokens,
            chosen_tokens,
            rejected_tokens,
            counts(self.prompt_cut),
            counts(self.chosen_cut),
            counts(self.rejected_cut),
            counts(self.boundary_moved),
            Arc::new(self.extra.finish()),
        ])
    }
}

impl IdLists {
    fn push(&mut self, ids: &[u32]) {
        self.ids.extend_from_slice(ids);
        self.lengths.push(ids.len());
    }

    fn length_column(&self) -> ArrayRef {
        let lengths = self.lengths.iter().map(|length| i32::try_from(*length).unwrap_or(i32::MAX));
        Arc::new(Int32Array::from_iter_values(lengths))
    }

    fn into_column(self) -> Result<ArrayRef, ArrowError> {
        let offsets = OffsetBuffer::from_lengths(self.lengths);
        Ok(Arc::new(ListArray::try_new(ids_field(), offsets, Arc::new(UInt32Array::from(self.ids)), None)?))
    }
}
