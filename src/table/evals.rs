//! `evals`: what a policy says of held-out pairs, one row each (`schemas/evals.v1.toml`).
//!
//! A run has a folder of them, one file an evaluation under a name that tells the step. A file is complete or not there,
//! and an evaluation that is made again replaces its own: no row is there twice.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Builder, Int32Builder, Int64Builder, RecordBatch, StringBuilder};
use serde::Serialize;

use crate::digest::Digest;
use crate::io::{self, IoError};
use crate::table::schema::evals;
use crate::table::{FileRecord, ParquetFile, ParquetInput, TableError, TrainingPair};

/// Rows held in memory before they go to the file.
const BATCH_ROWS: usize = 4096;

/// What names of the files of a run begin with.
const STEP: &str = "step-";

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

/// The file of the evaluation after `step` steps in the folder of a run's evaluations.
pub fn evals_file(folder: &Path, step: u64) -> PathBuf {
    folder.join(format!("{STEP}{step:08}.parquet"))
}

/// The files of evaluations in a folder, by step; none where there is no folder.
pub fn evals_files(folder: &Path) -> Result<Vec<(u64, PathBuf)>, IoError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let step = |path: &Path| path.file_name()?.to_str()?.strip_prefix(STEP)?.strip_suffix(".parquet")?.parse().ok();
    let mut found: Vec<(u64, PathBuf)> =
        io::list(folder)?.into_iter().filter_map(|path| Some((step(&path)?, path))).collect();
    found.sort();
    Ok(found)
}

/// Deletes the evaluations of a run after `step`, the last that counts; all of them where none does.
pub fn drop_evals_after(folder: &Path, step: Option<u64>) -> Result<(), IoError> {
    for (found, path) in evals_files(folder)? {
        if step.is_none_or(|step| found > step) {
            io::remove(&path)?;
        }
    }
    if !folder.is_dir() {
        return Ok(());
    }
    // What a kill left of a file in the making.
    for path in io::list(folder)? {
        if path.is_file() && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            io::remove(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_step_and_those_that_do_not_count_go() {
        let folder = tempfile::tempdir().unwrap();
        for step in [0, 5, 123_456_789, 20] {
            io::write(&evals_file(folder.path(), step), b"").unwrap();
        }
        for other in ["step-x.parquet", "step-3", "notes.parquet", ".step-00000005.parquet.a1.partial"] {
            io::write(&folder.path().join(other), b"").unwrap();
        }
        let steps = || -> Vec<u64> { evals_files(folder.path()).unwrap().into_iter().map(|(step, _)| step).collect() };
        assert_eq!(steps(), [0, 5, 20, 123_456_789]);
        drop_evals_after(folder.path(), Some(5)).unwrap();
        assert_eq!((steps(), io::list(folder.path()).unwrap().len()), (vec![0, 5], 5));
        drop_evals_after(folder.path(), None).unwrap();
        assert!(steps().is_empty());
        drop_evals_after(&folder.path().join("none"), None).unwrap();
    }
}
