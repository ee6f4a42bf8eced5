//! A table as TRL's collator takes it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use parquet::file::properties::WriterProperties;
use serde::Serialize;

use super::error::InterchangeError;
use crate::table::schema::{Column, reference};
use crate::table::{ParquetFile, Provenance, ReferenceTable, TableError, check_outside};

/// What `piref.schema` says in the footer of an exported file: it is no part of a table.
const VERSION: &str = "trl.v1";

/// Columns of the file. The last five are those that `DataCollatorForPreference` of TRL 1.16 reads; it leaves out
/// `pair_id`, which joins the file with its table.
const COLUMNS: [&str; 6] =
    ["pair_id", "prompt_ids", "chosen_ids", "rejected_ids", "ref_chosen_logps", "ref_rejected_logps"];

/// Columns read to check the others.
const COUNTS: [&str; 3] = ["prompt_tokens", "chosen_tokens", "rejected_tokens"];

/// Rows of a row group: what is in memory at a time, here and in a reader.
const ROW_GROUP_ROWS: usize = 8192;

/// What was exported.
#[derive(Debug, Clone, Serialize)]
pub struct ExportSummary {
    /// Pairs in the file.
    pub n_pairs: u64,
    /// The file.
    pub out: PathBuf,
    /// Its columns.
    pub columns: [&'static str; 6],
}

/// Writes the pairs of a table, in table order, into the Parquet file `out`, which is replaced if it is there.
///
/// Rows are streamed; the same table gives the same bytes. The footer has the provenance of the table.
///
/// # Errors
/// If the table cannot be read, a row breaks its contract, `out` lies in a table, a run or a model, or the disk refuses; there
/// is no file then.
pub fn export_trl(table: &Path, out: &Path) -> Result<ExportSummary, InterchangeError> {
    let table = ReferenceTable::open(table)?;
    check_outside(out)?;
    let schema = schema();
    let provenance = Provenance { schema: VERSION.into(), ..table.provenance().clone() };
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(ROW_GROUP_ROWS));
    let mut file = ParquetFile::create_with(out, Arc::clone(&schema), provenance.to_footer(), properties)?;
    for batch in table.checked_batches(&[COLUMNS.as_slice(), &COUNTS].concat())? {
        file.write(&select(&batch?, &schema)?)?;
    }
    let record = file.finish()?;
    Ok(ExportSummary { n_pairs: record.rows, out: out.to_owned(), columns: COLUMNS })
}

fn schema() -> SchemaRef {
    let columns = reference::COLUMNS.iter().filter(|column| COLUMNS.contains(&column.name));
    Arc::new(Schema::new(columns.map(Column::field).collect::<Vec<_>>()))
}

/// The columns of `schema`; a list may name its items otherwise in the table.
fn select(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, TableError> {
    let internal = |what: String| TableError::Internal { what: format!("a batch of the export: {what}") };
    let column = |field: &FieldRef| -> Result<ArrayRef, TableError> {
        let array = batch.column_by_name(field.name()).ok_or_else(|| internal(format!("no `{}`", field.name())))?;
        cast(array, field.data_type()).map_err(|error| internal(error.to_string()))
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(|error| internal(error.to_string()))
}
