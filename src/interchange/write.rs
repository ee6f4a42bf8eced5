//! Foreign log-probs into parts of a table.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, ListBuilder, PrimitiveBuilder, RecordBatch};
use arrow::datatypes::{Field, FieldRef, Float32Type};

use crate::table::schema::reference;
use crate::table::{PairTokenLogps, TableError};

/// Log-probs of a pair as the table has them, in nats.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PairLogps {
    /// Sums over the tokens, chosen first.
    pub(super) sums: [f64; 2],
    /// Their terms, where the source has them.
    pub(super) terms: Option<PairTokenLogps>,
}

/// Joins rows of the token store with foreign log-probs: a batch in the schema of the table.
///
/// # Errors
/// If a pass-through column has a name of the table's, or if the columns do not fit the schema.
pub(super) fn assemble(
    store: &RecordBatch,
    pass_through: &[(FieldRef, ArrayRef)],
    logps: &[PairLogps],
) -> Result<RecordBatch, TableError> {
    let internal = |what: String| TableError::Internal { what: format!("a batch of the import: {what}") };
    let fields: Vec<FieldRef> = pass_through.iter().map(|(field, _)| Arc::clone(field)).collect();
    let schema = reference::schema(&fields)?;

    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for column in &reference::COLUMNS[..reference::STORE_COLUMNS] {
        let array = store.column_by_name(column.name).ok_or_else(|| internal(format!("no `{}`", column.name)))?;
        columns.push(Arc::clone(array));
    }
    for side in 0..2 {
        columns.push(Arc::new(Float64Array::from_iter_values(logps.iter().map(|pair| pair.sums[side]))));
    }
    columns.push(terms(logps.iter().map(|pair| pair.terms.as_ref().map(|terms| terms.chosen.as_slice()))));
    columns.push(terms(logps.iter().map(|pair| pair.terms.as_ref().map(|terms| terms.rejected.as_slice()))));
    columns.extend(pass_through.iter().map(|(_, array)| Arc::clone(array)));
    RecordBatch::try_new(schema, columns).map_err(|error| internal(error.to_string()))
}

/// One list a row; null where the source has only the sum.
fn terms<'a>(lists: impl Iterator<Item = Option<&'a [f32]>>) -> ArrayRef {
    let item = Field::new("element", arrow::datatypes::DataType::Float32, false);
    let mut builder = ListBuilder::new(PrimitiveBuilder::<Float32Type>::new()).with_field(item);
    for list in lists {
        if let Some(list) = list {
            builder.values().append_slice(list);
        }
        builder.append(list.is_some());
    }
    Arc::new(builder.finish())
}
