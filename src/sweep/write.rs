//! `sweep.parquet`: the comparison as a table.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use toml::Value;

use super::comparison::Comparison;
use super::error::SweepError;
use super::plan::Plan;
use super::ranking::{EVAL, LAST, MEAN, base};
use super::results::Row;
use crate::pipeline::value_text;
use crate::table::ParquetFile;
use crate::table::schema::{metrics, sweep};

/// Writes the runs into the file at `path`, all or nothing.
pub(super) fn write(comparison: &Comparison, plan: &Plan, path: &Path) -> Result<(), SweepError> {
    let mut fields: Vec<Field> = sweep::COLUMNS.iter().map(crate::table::schema::Column::field).collect();
    let mut columns = fixed(comparison);
    for (at, key) in comparison.settings.iter().enumerate() {
        let values: Vec<Option<&Value>> =
            comparison.values.iter().map(|row| row.get(at).and_then(Option::as_ref)).collect();
        let column = setting(&values);
        fields.push(field(key, column.data_type(), "Setting of the run.".into(), None));
        columns.push(column);
    }
    for name in comparison.metrics() {
        let (doc, unit) = meaning(name, plan.last_steps);
        fields.push(field(name, &DataType::Float64, doc, unit));
        columns.push(Arc::new(comparison.rows.iter().map(|row| row.metric(name)).collect::<Float64Array>()));
    }
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(|source| SweepError::Columns { source })?;
    let footer = vec![
        ("piref.schema", sweep::VERSION.to_owned()),
        ("piref.crate_version", env!("CARGO_PKG_VERSION").to_owned()),
        ("piref.table", plan.table.display().to_string()),
        ("piref.rank_by", comparison.ranking.as_ref().map(super::Ranking::describe).unwrap_or_default()),
        ("piref.last_steps", plan.last_steps.to_string()),
    ];
    let mut file = ParquetFile::create(path, schema, footer)?;
    file.write(&batch)?;
    file.finish()?;
    Ok(())
}

/// The columns of the contract, in its order.
fn fixed(comparison: &Comparison) -> Vec<ArrayRef> {
    let rows = &comparison.rows;
    let text = |of: &dyn Fn(&Row) -> String| Arc::new(StringArray::from_iter_values(rows.iter().map(of)));
    let rank = |row_idx| comparison.rank(row_idx).and_then(|rank| i64::try_from(rank).ok());
    vec![
        Arc::new((0..rows.len()).map(rank).collect::<Int64Array>()),
        text(&|row| row.name.clone()),
        text(&|row| row.status.to_string()),
        text(&|row| row.folder.display().to_string()),
        Arc::new(rows.iter().map(|row| row.error.as_deref()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| i64::try_from(row.n_steps).ok()).collect::<Int64Array>()),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.seconds))),
    ]
}

/// A setting in the narrowest type that holds all of its values.
fn setting(values: &[Option<&Value>]) -> ArrayRef {
    let all = |is: fn(&Value) -> bool| values.iter().flatten().all(|value| is(value));
    let number = |value: &Value| value.as_float().or_else(|| value.as_integer().map(|value| value as f64));
    if all(Value::is_bool) {
        Arc::new(values.iter().map(|value| value.and_then(Value::as_bool)).collect::<BooleanArray>())
    } else if all(Value::is_integer) {
        Arc::new(values.iter().map(|value| value.and_then(Value::as_integer)).collect::<Int64Array>())
    } else if all(|value| value.is_integer() || value.is_float()) {
        Arc::new(values.iter().map(|value| value.and_then(number)).collect::<Float64Array>())
    } else {
        Arc::new(values.iter().map(|value| value.map(value_text)).collect::<StringArray>())
    }
}

fn field(name: &str, data_type: &DataType, doc: String, unit: Option<&str>) -> Field {
    let unit = unit.map(|unit| ("unit".to_owned(), unit.to_owned()));
    let metadata: HashMap<String, String> = [("doc".to_owned(), doc)].into_iter().chain(unit).collect();
    Field::new(name, data_type.clone(), true).with_metadata(metadata)
}

/// What a metric says, and its unit.
fn meaning(name: &str, last_steps: NonZeroUsize) -> (String, Option<&'static str>) {
    let column = if name.starts_with(EVAL) {
        metrics::EVAL_COLUMNS.iter().find(|column| column.name == name)
    } else {
        metrics::COLUMNS.iter().find(|column| column.name == base(name))
    };
    let what = column.map_or_else(|| format!("{}.", base(name)), |column| column.doc.to_owned());
    let doc = if name.starts_with(MEAN) {
        format!("Mean over the last {last_steps} steps. {what}")
    } else if name.starts_with(LAST) {
        format!("At the last step. {what}")
    } else {
        format!("At the last evaluation. {what}")
    };
    (doc, column.and_then(|column| column.unit))
}
