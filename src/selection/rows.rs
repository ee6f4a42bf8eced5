//! Rows of several tables as one list, and the numbers of those that are loaded.

use std::ops::Range;

use arrow::array::{AsArray, RecordBatch};
use arrow::buffer::BooleanBuffer;

use super::error::SelectionError;
use crate::table::{ReferenceTable, TableError};

/// The rows of the tables, counted from 0, one table after the other.
pub(super) struct Rows<'a> {
    pub(super) tables: &'a [ReferenceTable],
    /// How many there are.
    pub(super) len: u32,
    /// The rows of each table.
    of_tables: Vec<Range<u32>>,
}

/// The rows that are loaded, by their numbers among all rows and among themselves.
pub(super) struct LoadedRows {
    /// `None` where all are.
    pub(super) bits: Option<BooleanBuffer>,
    /// Number among the loaded, by row; of a row that is not loaded, of the next that is.
    numbers: Vec<u32>,
    /// The loaded rows of each table.
    pub(super) of_tables: Vec<Range<usize>>,
}

impl<'a> Rows<'a> {
    /// # Errors
    /// If there are more rows than a 32-bit number can name.
    pub(super) fn of(tables: &'a [ReferenceTable]) -> Result<Self, SelectionError> {
        let n_pairs: u64 = tables.iter().map(ReferenceTable::n_pairs).fold(0, u64::saturating_add);
        let len = u32::try_from(n_pairs).map_err(|_| SelectionError::TooManyPairs { n_pairs })?;
        let mut end = 0;
        let of_table = |table: &ReferenceTable| {
            let start = end;
            end += u32::try_from(table.n_pairs()).unwrap_or_default();
            start..end
        };
        Ok(Self { tables, len, of_tables: tables.iter().map(of_table).collect() })
    }

    /// Hands over a text column of all rows, each with its row.
    pub(super) fn each_text(&self, column: &str, mut take: impl FnMut(u32, &str)) -> Result<(), SelectionError> {
        let mut row = 0;
        for table in self.tables {
            for batch in table.batches(&[column])? {
                let batch: RecordBatch = batch?;
                let unchecked = || TableError::Internal { what: format!("column `{column}` is no text") };
                let texts = batch.column_by_name(column).and_then(|array| array.as_string_opt::<i32>());
                for text in texts.ok_or_else(unchecked)? {
                    take(row, text.unwrap_or_default());
                    row += 1;
                }
            }
        }
        Ok(())
    }

    /// These rows, loaded.
    pub(super) fn loaded<'r>(&self, wanted: impl Iterator<Item = &'r u32>) -> LoadedRows {
        let mut is_loaded = vec![false; self.len as usize];
        for &row in wanted {
            is_loaded[row as usize] = true;
        }
        let mut next = 0;
        let number = |&is_loaded: &bool| {
            let number = next;
            next += u32::from(is_loaded);
            number
        };
        let mut numbers: Vec<u32> = is_loaded.iter().map(number).collect();
        numbers.push(next);
        let number = |row: u32| numbers[row as usize] as usize;
        let of_tables = self.of_tables.iter().map(|rows| number(rows.start)..number(rows.end)).collect();
        let bits = (next < self.len).then(|| BooleanBuffer::from(is_loaded));
        LoadedRows { bits, numbers, of_tables }
    }
}

impl LoadedRows {
    /// The numbers of these rows among the loaded.
    pub(super) fn numbered(&self, rows: Vec<u32>) -> Vec<u32> {
        rows.into_iter().map(|row| self.numbers[row as usize]).collect()
    }
}
