//! Functions of numbers, one row at a time.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::error::DataFusionError;
use datafusion::functions::utils::make_scalar_function;
use datafusion::logical_expr::{ScalarUDF, Volatility, create_udf};

/// `function` as SQL: in 64-bit floats whatever number types it is given, null where an argument is.
pub(super) fn numeric<const N: usize>(name: &str, function: fn([f64; N]) -> f64) -> ScalarUDF {
    let of_columns = move |columns: &[ArrayRef]| -> Result<ArrayRef, DataFusionError> {
        let columns: Vec<&Float64Array> = columns.iter().map(AsArray::as_primitive::<Float64Type>).collect();
        let n_rows = columns.first().map_or(0, Array::len);
        let value = |row: usize| {
            let mut arguments = [0.0; N];
            for (argument, column) in arguments.iter_mut().zip(&columns) {
                if column.is_null(row) {
                    return None;
                }
                *argument = column.value(row);
            }
            Some(function(arguments))
        };
        Ok(Arc::new((0..n_rows).map(value).collect::<Float64Array>()))
    };
    let implementation = Arc::new(make_scalar_function(of_columns, Vec::new()));
    create_udf(name, vec![DataType::Float64; N], DataType::Float64, Volatility::Immutable, implementation)
}
