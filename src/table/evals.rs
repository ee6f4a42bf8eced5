//! `evals`: what a policy says of held-out pairs, one row each (`schemas/evals.v1.toml`).
//!
//! A run has a folder of them, one file an evaluation: [`StepFiles::Evals`](super::StepFiles::Evals).

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Builder, Int32Builder, Int64Builder, RecordBatch, StringBuilder};
use serde::Serialize;

use crate::digest::Digest;
use crate::table::schema::evals;
use crate::table::{FileRecord, ParquetFile, ParquetInput, TableError, TrainingPair};

/// Rows held in memory before they go to the file.
const BATCH_ROWS: usize = 4096;

/// What an evaluation finds of a pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EvaluatedPair<'a> {
    /// Optimiser steps done, in a run.
    pub step: Option<u64>,
    /// The pair.
    pub pair: TrainingPair<'a>,
    /// ln π_θ(y_w | x), in nats.
    pub policy_chosen_logps: f64,
    /// ln π_θ(y_l | x), in nats.
    pub policy_rejected_logps: f64,
    /// Chosen reward − rejected reward.
    pub margin: f64,
    /// Its loss.
    pub loss: f64,
}

/// Writes evaluated pairs as they come; the file appears with [`finish`](Self::finish), dropped before it does not.
pub struct EvalsWriter {
    file: ParquetFile,
    pending: Columns,
    n_pending: usize,
}

#[derive(Default)]
struct Columns {
    step: Int64Builder,
    pair_id: StringBuilder,
    tokens_id: StringBuilder,
    chosen_tokens: Int32Builder,
    rejected_tokens: Int32Builder,
    /// From `policy_chosen_logps` on, in file order.
    numbers: [Float64Builder; 6],
}

impl EvalsWriter {
    /// Starts the file that will be called `path`: of the pairs of a table with this digest, under this objective.
    pub fn create(path: &Path, table: &Digest, objective: &impl Serialize) -> Result<Self, TableError> {
        let objective = serde_json::to_string(objective)
            .map_err(|error| TableError::Internal { what: format!("an objective that is no JSON: {error}") })?;
        let footer = vec![
            ("piref.schema", evals::VERSION.to_owned()),
            ("piref.table_digest", table.to_string()),
            ("piref.objective", objective),
        ];
        let file = ParquetFile::create(path, evals::schema(), footer)?;
        Ok(Self { file, pending: Columns::default(), n_pending: 0 })
    }

    /// Adds a pair.
    ///
    /// # Errors
    /// If a count is beyond its column, or the disk refuses.
    pub fn push(&mut self, row: &EvaluatedPair<'_>) -> Result<(), TableError> {
        let EvaluatedPair { step, pair, .. } = row;
        let beyond = |what: &dyn std::fmt::Display| TableError::Internal { what: format!("{what} in an evaluation") };
        let step = step.map(|step| i64::try_from(step).map_err(|_| beyond(&format_args!("step {step}"))));
        let tokens = |ids: &[u32]| i32::try_from(ids.len()).map_err(|_| beyond(&format_args!("{} tokens", ids.len())));
        let columns = &mut self.pending;
        columns.step.append_option(step.transpose()?);
        columns.pair_id.append_value(pair.pair_id);
        columns.tokens_id.append_value(pair.tokens_id);
        columns.chosen_tokens.append_value(tokens(pair.chosen_ids)?);
        columns.rejected_tokens.append_value(tokens(pair.rejected_ids)?);
        let numbers = [
            row.policy_chosen_logps,
            row.policy_rejected_logps,
            pair.ref_chosen_logps,
            pair.ref_rejected_logps,
            row.margin,
            row.loss,
        ];
        for (column, number) in columns.numbers.iter_mut().zip(numbers) {
            column.append_value(number);
        }
        self.n_pending += 1;
        if self.n_pending == BATCH_ROWS { self.flush() } else { Ok(()) }
    }

    /// Gives the file its name.
    pub fn finish(mut self) -> Result<FileRecord, TableError> {
        self.flush()?;
        self.file.finish()
    }

    fn flush(&mut self) -> Result<(), TableError> {
        let mut columns = std::mem::take(&mut self.pending);
        self.n_pending = 0;
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(columns.step.finish()),
            Arc::new(columns.pair_id.finish()),
            Arc::new(columns.tokens_id.finish()),
            Arc::new(columns.chosen_tokens.finish()),
            Arc::new(columns.rejected_tokens.finish()),
        ];
        arrays.extend(columns.numbers.iter_mut().map(|column| -> ArrayRef { Arc::new(column.finish()) }));
        let batch = RecordBatch::try_new(evals::schema(), arrays)
            .map_err(|error| TableError::Internal { what: format!("a batch of an evaluation: {error}") })?;
        self.file.write(&batch)
    }
}

/// Refuses a file that is no evaluation.
///
/// # Errors
/// If it cannot be read, follows another contract, or lacks a column of this one.
pub(crate) fn check_evals(path: &Path) -> Result<(), TableError> {
    let input = ParquetInput::open(path)?;
    input.check_version(evals::VERSION)?;
    input.check_columns(evals::COLUMNS)
}
