//! Parts of the log-prob table: token-store rows joined with their log-probs, checked, written once.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Float64Array, ListArray, RecordBatch};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, FieldRef, Schema};
use parquet::basic::Encoding;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use serde::{Deserialize, Serialize};

use crate::table::parquet_file::{FileRecord, ParquetFile};
use crate::table::schema::{Column, ColumnType, reference};
use crate::table::{Provenance, TableError, check};

/// Rows of a row group: enough to compress, few enough to read a slice of a part.
const ROW_GROUP_ROWS: usize = 8192;

/// Log-probs of one pair, in nats: one number per token of `chosen_ids` and of `rejected_ids`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PairTokenLogps {
    /// Of the preferred completion.
    pub chosen: Vec<f32>,
    /// Of the other completion.
    pub rejected: Vec<f32>,
}

/// A part of the table, as the manifest lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Name, rows, size and digest.
    #[serde(flatten)]
    pub file: FileRecord,
    /// `pair_id` of its first row.
    pub first_pair: String,
    /// `pair_id` of its last row.
    pub last_pair: String,
    /// The file with the signals of its pairs, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signals: Option<FileRecord>,
}

impl Part {
    /// The part and, where there are any, its signals.
    pub(crate) fn files(&self) -> impl Iterator<Item = &FileRecord> {
        std::iter::once(&self.file).chain(&self.signals)
    }
}

/// Name of part number `part_idx`, from 0.
pub fn part_name(part_idx: usize) -> String {
    format!("part-{part_idx:05}.parquet")
}

/// The columns of a batch of the table that come before any log-prob, and its pass-through columns: what
/// [`assemble`] makes of the same rows has them under the same names.
///
/// # Errors
/// As [`assemble`].
pub fn unscored(store: &RecordBatch, pass_through: &[(FieldRef, ArrayRef)]) -> Result<RecordBatch, TableError> {
    let mut fields: Vec<FieldRef> = Vec::new();
    let mut columns = Vec::new();
    for column in &reference::COLUMNS[..reference::STORE_COLUMNS] {
        fields.push(Arc::new(column.field()));
        columns.push(store_column(store, column)?);
    }
    for (field, array) in pass_through {
        fields.push(Arc::clone(field));
        columns.push(Arc::clone(array));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(internal)
}

/// Joins rows of the token store with their log-probs: a batch in the schema of the table.
///
/// `store` has the first [`reference::STORE_COLUMNS`] columns of the contract, found by name; a further column of it
/// takes part only as one of `pass_through`. The sums are Σ of the f32 terms, added in f64 in token order.
///
/// # Errors
/// If a column of the store is missing, of another type or null where it must not be, if a pass-through column has a
/// name of ours, or if there are not as many log-probs as rows. The values are checked by [`write_part`].
pub fn assemble(
    store: &RecordBatch,
    pass_through: &[(FieldRef, ArrayRef)],
    logps: &[PairTokenLogps],
) -> Result<RecordBatch, TableError> {
    if logps.len() != store.num_rows() {
        let what = format!("{} log-prob lists for {} rows of the token store", logps.len(), store.num_rows());
        return Err(TableError::Internal { what });
    }
    let fields: Vec<FieldRef> = pass_through.iter().map(|(field, _)| Arc::clone(field)).collect();
    let schema = reference::schema(&fields)?;

    let mut columns = Vec::with_capacity(schema.fields().len());
    for column in &reference::COLUMNS[..reference::STORE_COLUMNS] {
        columns.push(store_column(store, column)?);
    }
    columns.push(sums(logps.iter().map(|pair| pair.chosen.as_slice())));
    columns.push(sums(logps.iter().map(|pair| pair.rejected.as_slice())));
    columns.push(terms(logps.iter().map(|pair| pair.chosen.as_slice()))?);
    columns.push(terms(logps.iter().map(|pair| pair.rejected.as_slice()))?);
    columns.extend(pass_through.iter().map(|(_, array)| Arc::clone(array)));

    RecordBatch::try_new(schema, columns).map_err(internal)
}

/// Checks a batch made by [`assemble`] and writes it as one part: all of it under its name, or nothing.
///
/// The same batch and provenance give the same bytes.
///
/// # Errors
/// If a log-prob is not finite and at most 0, or a list not as long as its token count says; nothing is written then.
pub fn write_part(path: &Path, batch: &RecordBatch, provenance: &Provenance) -> Result<Part, TableError> {
    check::rows(path, 0, batch)?;
    let pair_ids = batch.column_by_name("pair_id").and_then(|ids| ids.as_string_opt::<i32>());
    let (Some(pair_ids), Some(last_row)) = (pair_ids, batch.num_rows().checked_sub(1)) else {
        return Err(TableError::Internal { what: format!("a part without pairs for `{}`", path.display()) });
    };

    let mut file =
        ParquetFile::create_with(path, batch.schema(), provenance.to_footer(), properties(reference::COLUMNS))?;
    file.write(batch)?;
    Ok(Part {
        file: file.finish()?,
        first_pair: pair_ids.value(0).to_owned(),
        last_pair: pair_ids.value(last_row).to_owned(),
        signals: None,
    })
}

/// How each of these columns is encoded.
///
/// A dictionary pays where values repeat (`source`, `split`, pass-through), not for ids, texts and log-probs; minima
/// and maxima pay where a query may filter, not for texts and lists. Neighbouring floats share their high bytes, so
/// they compress better by byte planes.
pub(super) fn properties(columns: &[Column]) -> WriterPropertiesBuilder {
    let mut properties = WriterProperties::builder().set_max_row_group_row_count(Some(ROW_GROUP_ROWS));
    for column in columns {
        let is_list =
            matches!(column.data_type, ColumnType::ListUInt32 | ColumnType::ListFloat32 | ColumnType::ListBoolean);
        let path = if is_list {
            ColumnPath::new(vec![column.name.to_owned(), "list".to_owned(), "element".to_owned()])
        } else {
            ColumnPath::from(column.name)
        };
        let repeats = matches!(column.name, "source" | "split");
        let is_text = matches!(column.name, "prompt" | "chosen" | "rejected" | "conversation");
        properties = properties.set_column_dictionary_enabled(path.clone(), repeats);
        if is_list || is_text {
            properties = properties.set_column_statistics_enabled(path.clone(), EnabledStatistics::None);
        }
        match column.data_type {
            ColumnType::Float64 | ColumnType::ListFloat32 => {
                properties = properties.set_column_encoding(path, Encoding::BYTE_STREAM_SPLIT);
            }
            ColumnType::Int32 | ColumnType::Int64 => {
                properties = properties.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
            }
            ColumnType::Utf8 | ColumnType::ListUInt32 | ColumnType::ListBoolean => {}
        }
    }
    properties
}

pub(super) fn store_column(store: &RecordBatch, column: &Column) -> Result<ArrayRef, TableError> {
    let wrong =
        |found: String| TableError::Store { column: column.name, expected: column.data_type.to_string(), found };
    let array = store.column_by_name(column.name).ok_or_else(|| wrong("no such column".into()))?;
    if !reference::fits(column, array.data_type()) {
        return Err(wrong(array.data_type().to_string()));
    }
    if !column.nullable && array.null_count() > 0 {
        return Err(wrong("null".into()));
    }
    match (column.data_type.arrow(), array.as_list_opt::<i32>()) {
        (DataType::List(item), Some(list)) => {
            if list.values().null_count() > 0 {
                return Err(wrong("null".into()));
            }
            let list = ListArray::try_new(item, list.offsets().clone(), Arc::clone(list.values()), None);
            Ok(Arc::new(list.map_err(internal)?))
        }
        _ => Ok(Arc::clone(array)),
    }
}

fn sums<'a>(lists: impl Iterator<Item = &'a [f32]>) -> ArrayRef {
    let sum = |list: &[f32]| list.iter().map(|&logp| f64::from(logp)).sum::<f64>();
    Arc::new(Float64Array::from_iter_values(lists.map(sum)))
}

fn terms<'a>(lists: impl Iterator<Item = &'a [f32]>) -> Result<ArrayRef, TableError> {
    let mut offsets = vec![0_i32];
    let mut values = Vec::new();
    for list in lists {
        values.extend_from_slice(list);
        offsets.push(
            i32::try_from(values.len())
                .map_err(|_| TableError::Internal { what: format!("a part of more than {} tokens", i32::MAX) })?,
        );
    }
    let DataType::List(item) = ColumnType::ListFloat32.arrow() else {
        return Err(TableError::Internal { what: "a list type that is none".into() });
    };
    let list = ListArray::try_new(item, OffsetBuffer::new(offsets.into()), Arc::new(Float32Array::from(values)), None);
    Ok(Arc::new(list.map_err(internal)?))
}

pub(super) fn internal(error: impl std::fmt::Display) -> TableError {
    TableError::Internal { what: format!("the batch of a part does not fit its schema: {error}") }
}
