//! Scores of the two completions by somebody else, e.g. a reward model: numbers in columns of the source.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use serde::Serialize;

use crate::table::TableError;
use crate::table::reader::BatchPlace;

/// The columns of a table that hold the scores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScoreColumns {
    /// Of the preferred completion.
    pub chosen: String,
    /// Of the other one.
    pub rejected: String,
}

/// Scores of a pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OutsideScores {
    /// Of the preferred completion.
    pub chosen: f64,
    /// Of the other one.
    pub rejected: f64,
}

/// The scores in a column of a batch, as `Float64`; of rows that are not loaded (see `is_loaded`, by row of the batch)
/// anything.
///
/// # Errors
/// If the column holds no numbers, or at the first loaded row without one.
pub(super) fn read(
    place: &BatchPlace,
    batch: &RecordBatch,
    column: &str,
    is_loaded: impl Fn(usize) -> bool,
) -> Result<ArrayRef, TableError> {
    let missing = || TableError::Internal { what: format!("column `{column}` was asked for and is not there") };
    let array = batch.column_by_name(column).ok_or_else(missing)?;
    if !array.data_type().is_numeric() {
        return Err(TableError::Schema {
            path: place.path.clone(),
            column: column.to_owned(),
            expected: "Float64 or Int64".into(),
            found: array.data_type().to_string(),
        });
    }
    let scores =
        cast(array, &DataType::Float64).map_err(|source| TableError::Decode { path: place.path.clone(), source })?;
    for (row, score) in scores.as_primitive::<Float64Type>().iter().enumerate() {
        if is_loaded(row) && !score.is_some_and(f64::is_finite) {
            let ids = batch.column_by_name("pair_id").and_then(|ids| ids.as_string_opt::<i32>());
            return Err(TableError::Score {
                path: place.path.clone(),
                row: place.first_row + row,
                pair_id: ids.map_or_else(|| "unknown".to_owned(), |ids| ids.value(row).to_owned()),
                column: column.to_owned(),
                found: score.map_or_else(|| "null".to_owned(), |score| score.to_string()),
            });
        }
    }
    Ok(scores)
}
