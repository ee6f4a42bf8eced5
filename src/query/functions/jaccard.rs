//! `jaccard`.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array};
use arrow::datatypes::DataType;
use datafusion::common::utils::take_function_args;
use datafusion::error::DataFusionError;
use datafusion::functions::utils::make_scalar_function;
use datafusion::logical_expr::{ScalarUDF, Volatility, create_udf};

use super::words::words;
use super::{Function, Kind};

pub(super) const FUNCTION: Function = Function {
    call: "jaccard(a, b)",
    kind: Kind::Scalar,
    doc: "Jaccard index |A ∩ B| / |A ∪ B| of the sets of words of two texts, in [0, 1]; 1 where neither has any. A word is \
          a run of letters and digits, whatever their case.",
    example: "SELECT jaccard('The cat sat.', 'the cat, the mat')",
    answer: "0.5",
};

pub(super) fn udf() -> ScalarUDF {
    let of_columns = |columns: &[ArrayRef]| -> Result<ArrayRef, DataFusionError> {
        let [a, b] = take_function_args("jaccard", columns)?;
        let rows = a.as_string_view().iter().zip(b.as_string_view());
        Ok(Arc::new(rows.map(|(a, b)| Some(jaccard(a?, b?))).collect::<Float64Array>()))
    };
    let implementation = Arc::new(make_scalar_function(of_columns, Vec::new()));
    let texts = vec![DataType::Utf8View; 2];
    create_udf("jaccard", texts, DataType::Float64, Volatility::Immutable, implementation)
}

fn jaccard(a: &str, b: &str) -> f64 {
    let (a, b): (BTreeSet<String>, BTreeSet<String>) = (words(a).collect(), words(b).collect());
    let n_both = a.intersection(&b).count();
    let n_either = a.len() + b.len() - n_both;
    if n_either == 0 { 1.0 } else { n_both as f64 / n_either as f64 }
}
