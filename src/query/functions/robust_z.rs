//! `robust_z`.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{PartitionEvaluator, Volatility, WindowUDF, create_udwf};

use super::median::median_and_mad;
use super::{Function, Kind};

/// Φ⁻¹(3/4) to the four digits of the definition: with it the score of a normal variable has a standard deviation of 1.
const SCALE: f64 = 0.6745;

pub(super) const FUNCTION: Function = Function {
    call: "robust_z(x)",
    kind: Kind::Window,
    doc: "Modified z-score 0.6745·(x - median)/MAD of x within the rows of its window (Iglewicz and Hoaglin 1993); beyond \
          3.5 is their bound for an outlier. Null where x is, or where MAD is 0: more than half of the rows are equal. \
          Null and NaN take no part in median and MAD. A window without ORDER BY is meant; frames have no effect.",
    example: "SELECT max(z) FROM (SELECT robust_z(x) OVER () AS z FROM (VALUES (1.0), (3.0), (4.0), (100.0)) AS t(x))",
    answer: "43.39283333333333",
};

pub(super) fn udwf() -> WindowUDF {
    create_udwf(
        "robust_z",
        DataType::Float64,
        Arc::new(DataType::Float64),
        Volatility::Immutable,
        Arc::new(|| Ok(Box::new(RobustZ))),
    )
}

#[derive(Debug)]
struct RobustZ;

impl PartitionEvaluator for RobustZ {
    fn evaluate_all(&mut self, columns: &[ArrayRef], n_rows: usize) -> Result<ArrayRef, DataFusionError> {
        let Some(column) = columns.first() else { return Ok(Arc::new(Float64Array::new_null(n_rows))) };
        let column = column.as_primitive::<Float64Type>();
        let known = column.iter().flatten().filter(|value| !value.is_nan()).collect();
        let Some((median, mad)) = median_and_mad(known).filter(|(_, mad)| *mad > 0.0) else {
            return Ok(Arc::new(Float64Array::new_null(n_rows)));
        };
        let scores: Float64Array = column.iter().map(|value| value.map(|x| SCALE * (x - median) / mad)).collect();
        Ok(Arc::new(scores))
    }
}
