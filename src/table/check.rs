//! What a row of the table must satisfy, whether it is about to be written, has just been read, or is being verified.

use std::ops::ControlFlow;
use std::path::Path;

use arrow::array::{Array, AsArray, Float64Array, Int32Array, ListArray, RecordBatch};
use arrow::datatypes::Float32Type;

use crate::table::TableError;
use crate::table::schema::reference;

/// Sums and the columns that hold their terms.
const SUMS: [(&str, &str); 2] =
    [("ref_chosen_logps", "ref_chosen_token_logps"), ("ref_rejected_logps", "ref_rejected_token_logps")];

/// Lists and the columns that hold their lengths.
const COUNTED: [(&str, &str); 5] = [
    ("prompt_ids", "prompt_tokens"),
    ("chosen_ids", "chosen_tokens"),
    ("rejected_ids", "rejected_tokens"),
    ("ref_chosen_token_logps", "chosen_tokens"),
    ("ref_rejected_token_logps", "rejected_tokens"),
];

/// Whether to go on after a problem.
pub(crate) type Answer = ControlFlow<()>;

/// Checks the columns of the contract that `batch` has: no nulls, log-probs finite and at most 0, sums equal to their
/// terms, lists as long as the counts beside them.
///
/// `first_row` is the row of the part at `path` where `batch` starts.
///
/// # Errors
/// The first problem.
pub(super) fn rows(path: &Path, first_row: usize, batch: &RecordBatch) -> Result<(), TableError> {
    let mut first = None;
    let answer = problems(path, first_row, batch, &mut |problem| {
        first = Some(problem);
        Answer::Break(())
    });
    match (answer, first) {
        (Answer::Break(()), Some(problem)) => Err(problem),
        _ => Ok(()),
    }
}

/// The same checks; each problem goes to `tell`, column by column, until that says stop.
pub(crate) fn problems(
    path: &Path,
    first_row: usize,
    batch: &RecordBatch,
    tell: &mut dyn FnMut(TableError) -> Answer,
) -> Answer {
    let mut check = Check { path, first_row, batch, tell };
    for column in reference::COLUMNS.iter().filter(|column| !column.nullable) {
        check.no_null(column.name)?;
    }
    for (sum, terms) in SUMS {
        check.logps(sum)?;
        check.terms(terms)?;
        check.sum_of_terms(sum, terms)?;
    }
    for (column, counted_by) in COUNTED {
        check.counts(column, counted_by)?;
    }
    for column in ["chosen_tokens", "rejected_tokens"] {
        check.not_empty(column)?;
    }
    Answer::Continue(())
}

struct Check<'a> {
    path: &'a Path,
    first_row: usize,
    batch: &'a RecordBatch,
    tell: &'a mut dyn FnMut(TableError) -> Answer,
}

impl<'a> Check<'a> {
    fn no_null(&mut self, column: &'static str) -> Answer {
        let Some(array) = self.batch.column_by_name(column) else { return Answer::Continue(()) };
        let items = array.as_list_opt::<i32>().filter(|list| list.values().null_count() > 0);
        if array.null_count() == 0 && items.is_none() {
            return Answer::Continue(());
        }
        for row in 0..array.len() {
            if array.is_null(row) || items.is_some_and(|list| list.value(row).null_count() > 0) {
                let row = self.first_row + row;
                (self.tell)(TableError::Null { path: self.path.to_owned(), row, column })?;
            }
        }
        Answer::Continue(())
    }

    fn logps(&mut self, column: &'static str) -> Answer {
        let Some(array) = self.column::<Float64Array>(column) else { return Answer::Continue(()) };
        for (row, value) in array.iter().enumerate() {
            if let Some(found) = value.filter(|&value| !is_logp(value)) {
                self.not_a_logp(row, column, found)?;
            }
        }
        Answer::Continue(())
    }

    fn terms(&mut self, column: &'static str) -> Answer {
        let Some(list) = self.column::<ListArray>(column) else { return Answer::Continue(()) };
        for row in (0..list.len()).filter(|&row| list.is_valid(row)) {
            let found = terms(list, row).iter().map(|&logp| f64::from(logp)).find(|&logp| !is_logp(logp));
            if let Some(found) = found {
                self.not_a_logp(row, column, found)?;
            }
        }
        Answer::Continue(())
    }

    /// A sum of n terms of one sign, added in whatever order, is off by at most n·ε of itself.
    fn sum_of_terms(&mut self, column: &'static str, terms_column: &'static str) -> Answer {
        let Some(sums) = self.column::<Float64Array>(column) else { return Answer::Continue(()) };
        let Some(list) = self.column::<ListArray>(terms_column) else { return Answer::Continue(()) };
        for row in (0..list.len()).filter(|&row| list.is_valid(row) && sums.is_valid(row)) {
            let terms = terms(list, row);
            let (expected, found) = (terms.iter().map(|&logp| f64::from(logp)).sum::<f64>(), sums.value(row));
            // What is no log-prob has been told already.
            let is_sound = !is_logp(found)
                || !is_logp(expected)
                || (found - expected).abs() <= terms.len() as f64 * f64::EPSILON * expected.abs();
            if !is_sound {
                let (path, row, pair_id) = self.place(row);
                (self.tell)(TableError::Sum { path, row, pair_id, column, terms: terms_column, expected, found })?;
            }
        }
        Answer::Continue(())
    }

    fn counts(&mut self, column: &'static str, counted_by: &'static str) -> Answer {
        let Some(list) = self.column::<ListArray>(column) else { return Answer::Continue(()) };
        let Some(counts) = self.column::<Int32Array>(counted_by) else { return Answer::Continue(()) };
        for row in (0..list.len()).filter(|&row| list.is_valid(row) && counts.is_valid(row)) {
            let (expected, found) = (counts.value(row), list.value_length(row));
            if expected != found {
                let found = usize::try_from(found).unwrap_or_default();
                let (path, row, pair_id) = self.place(row);
                (self.tell)(TableError::TokenCount { path, row, pair_id, column, counted_by, expected, found })?;
            }
        }
        Answer::Continue(())
    }

    fn not_empty(&mut self, column: &'static str) -> Answer {
        let Some(counts) = self.column::<Int32Array>(column) else { return Answer::Continue(()) };
        for (row, count) in counts.iter().enumerate() {
            if let Some(found) = count.filter(|&count| count < 1) {
                let (path, row, pair_id) = self.place(row);
                (self.tell)(TableError::EmptyCompletion { path, row, pair_id, column, found })?;
            }
        }
        Answer::Continue(())
    }

    fn column<A: Array + 'static>(&self, name: &str) -> Option<&'a A> {
        self.batch.column_by_name(name)?.as_any().downcast_ref()
    }

    fn not_a_logp(&mut self, row: usize, column: &'static str, found: f64) -> Answer {
        let (path, row, pair_id) = self.place(row);
        (self.tell)(TableError::Logps { path, row, pair_id, column, found })
    }

    /// File, row in it and pair of a row of the batch.
    fn place(&self, row: usize) -> (std::path::PathBuf, usize, String) {
        let ids = self.batch.column_by_name("pair_id").and_then(|ids| ids.as_string_opt::<i32>());
        let pair_id = ids.map_or_else(|| "unknown".to_owned(), |ids| ids.value(row).to_owned());
        (self.path.to_owned(), self.first_row + row, pair_id)
    }
}

/// The values of a list of log-probs; none where the column is of another type.
fn terms(list: &ListArray, row: usize) -> &[f32] {
    let bound = |row: usize| usize::try_from(list.value_offsets()[row]).unwrap_or_default();
    let values = list.values().as_primitive_opt::<Float32Type>();
    values.map_or(&[], |values| &values.values()[bound(row)..bound(row + 1)])
}

/// Whether a number can be a log-prob: finite and at most 0.
pub fn is_logp(value: f64) -> bool {
    value.is_finite() && value <= 0.0
}
