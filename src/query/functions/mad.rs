//! `mad`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Float64Type};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Accumulator, AggregateUDF, Volatility, create_udaf};
use datafusion::scalar::ScalarValue;

use super::median::median_and_mad;
use super::{Function, Kind};

pub(super) const FUNCTION: Function = Function {
    call: "mad(x)",
    kind: Kind::Aggregate,
    doc: "Median absolute deviation, median(|x - median(x)|), unscaled as in DuckDB. Null and NaN take no part; memory grows \
          with the group.",
    example: "SELECT mad(x) FROM (VALUES (1.0), (3.0), (4.0), (100.0)) AS t(x)",
    answer: "1.5",
};

pub(super) fn udaf() -> AggregateUDF {
    create_udaf(
        "mad",
        vec![DataType::Float64],
        Arc::new(DataType::Float64),
        Volatility::Immutable,
        Arc::new(|_| Ok(Box::<Values>::default())),
        Arc::new(vec![DataType::new_list(DataType::Float64, true)]),
    )
}

/// The values of a group so far.
#[derive(Debug, Default)]
struct Values(Vec<f64>);

impl Values {
    fn extend(&mut self, column: &dyn Array) {
        self.0.extend(column.as_primitive::<Float64Type>().iter().flatten().filter(|value| !value.is_nan()));
    }
}

impl Accumulator for Values {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<(), DataFusionError> {
        for column in columns {
            self.extend(column);
        }
        Ok(())
    }

    /// Leaves the values as they are: a growing window asks again.
    fn evaluate(&mut self) -> Result<ScalarValue, DataFusionError> {
        Ok(ScalarValue::Float64(median_and_mad(self.0.clone()).map(|(_, mad)| mad)))
    }

    fn size(&self) -> usize {
        // `evaluate` takes as much again.
        size_of_val(self) + 2 * self.0.capacity() * size_of::<f64>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>, DataFusionError> {
        let n_values = i32::try_from(self.0.len())
            .map_err(|_| DataFusionError::ResourcesExhausted("`mad` of more than 2^31 values".into()))?;
        let offsets = OffsetBuffer::new(vec![0, n_values].into());
        let values = Arc::new(Float64Array::from(std::mem::take(&mut self.0)));
        let item = Arc::new(Field::new_list_field(DataType::Float64, true));
        Ok(vec![ScalarValue::List(Arc::new(ListArray::try_new(item, offsets, values, None)?))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<(), DataFusionError> {
        for state in states {
            for values in state.as_list::<i32>().iter().flatten() {
                self.extend(&values);
            }
        }
        Ok(())
    }
}
