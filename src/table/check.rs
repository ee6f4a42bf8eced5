//! What a row of the table must satisfy, whether it is about to be written or has just been read.

use std::path::Path;

use arrow::array::{Array, AsArray, Float64Array, Int32Array, ListArray, RecordBatch};
use arrow::datatypes::Float32Type;

use crate::table::TableError;
use crate::table::schema::reference;

const SUMS: [&str; 2] = ["ref_chosen_logps", "ref_rejected_logps"];

const TERMS: [&str; 2] = ["ref_chosen_token_logps", "ref_rejected_token_logps"];

/// Lists and the columns that hold their lengths.
const COUNTED: [(&str, &str); 5] = [
    ("prompt_ids", "prompt_tokens"),
    ("chosen_ids", "chosen_tokens"),
    ("rejected_ids", "rejected_tokens"),
    ("ref_chosen_token_logps", "chosen_tokens"),
    ("ref_rejected_token_logps", "rejected_tokens"),
];

/// Checks the columns of the contract that `batch` has: no nulls, log-probs finite and at most 0, lists as long as
/// the counts beside them.
///
/// `first_row` is the row of the part at `path` where `batch` starts.
pub(super) fn rows(path: &Path, first_row: usize, batch: &RecordBatch) -> Result<(), TableError> {
    let place = Place { path, first_row, batch };
    for column in reference::COLUMNS.iter().filter(|column| !column.nullable) {
        place.no_null(column.name)?;
    }
    for column in SUMS {
        place.sums(column)?;
    }
    for column in TERMS {
        place.terms(column)?;
    }
    for (column, counted_by) in COUNTED {
        place.counts(column, counted_by)?;
    }
    for column in ["chosen_tokens", "rejected_tokens"] {
        place.not_empty(column)?;
    }
    Ok(())
}

struct Place<'a> {
    path: &'a Path,
    first_row: usize,
    batch: &'a RecordBatch,
}

impl Place<'_> {
    fn no_null(&self, column: &'static str) -> Result<(), TableError> {
        let Some(array) = self.batch.column_by_name(column) else { return Ok(()) };
        let items = array.as_list_opt::<i32>().filter(|list| list.values().null_count() > 0);
        let null = (0..array.len())
            .find(|&row| array.is_null(row) || items.is_some_and(|list| list.value(row).null_count() > 0));
        match null {
            Some(row) => Err(TableError::Null { path: self.path.to_owned(), row: self.first_row + row, column }),
            None => Ok(()),
        }
    }

    fn sums(&self, column: &'static str) -> Result<(), TableError> {
        let Some(array) = self.column::<Float64Array>(column) else { return Ok(()) };
        match array.values().iter().position(|&logps| !is_logp(logps)) {
            Some(row) => Err(self.not_a_logp(row, column, array.value(row))),
            None => Ok(()),
        }
    }

    fn terms(&self, column: &'static str) -> Result<(), TableError> {
        let Some(list) = self.column::<ListArray>(column) else { return Ok(()) };
        for row in (0..list.len()).filter(|&row| list.is_valid(row)) {
            let values = list.value(row);
            let Some(values) = values.as_primitive_opt::<Float32Type>() else { return Ok(()) };
            if let Some(&found) = values.values().iter().find(|&&logp| !is_logp(f64::from(logp))) {
                return Err(self.not_a_logp(row, column, f64::from(found)));
            }
        }
        Ok(())
    }

    fn counts(&self, column: &'static str, counted_by: &'static str) -> Result<(), TableError> {
        let Some(list) = self.column::<ListArray>(column) else { return Ok(()) };
        let Some(counts) = self.column::<Int32Array>(counted_by) else { return Ok(()) };
        for row in (0..list.len()).filter(|&row| list.is_valid(row)) {
            let (expected, found) = (counts.value(row), list.value_length(row));
            if expected != found {
                return Err(TableError::TokenCount {
                    path: self.path.to_owned(),
                    row: self.first_row + row,
                    pair_id: self.pair_id(row),
                    column,
                    counted_by,
                    expected,
                    found: usize::try_from(found).unwrap_or_default(),
                });
            }
        }
        Ok(())
    }

    fn not_empty(&self, column: &'static str) -> Result<(), TableError> {
        let Some(counts) = self.column::<Int32Array>(column) else { return Ok(()) };
        match counts.values().iter().position(|&count| count < 1) {
            Some(row) => Err(TableError::EmptyCompletion {
                path: self.path.to_owned(),
                row: self.first_row + row,
                pair_id: self.pair_id(row),
                column,
                found: counts.value(row),
            }),
            None => Ok(()),
        }
    }

    fn column<A: Array + 'static>(&self, name: &str) -> Option<&A> {
        self.batch.column_by_name(name)?.as_any().downcast_ref()
    }

    fn not_a_logp(&self, row: usize, column: &'static str, found: f64) -> TableError {
        TableError::Logps {
            path: self.path.to_owned(),
            row: self.first_row + row,
            pair_id: self.pair_id(row),
            column,
            found,
        }
    }

    fn pair_id(&self, row: usize) -> String {
        let ids = self.batch.column_by_name("pair_id").and_then(|ids| ids.as_string_opt::<i32>());
        ids.map_or_else(|| "unknown".to_owned(), |ids| ids.value(row).to_owned())
    }
}

fn is_logp(value: f64) -> bool {
    value.is_finite() && value <= 0.0
}
