//! `n_tokens`.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::DataType;
use datafusion::common::utils::take_function_args;
use datafusion::error::DataFusionError;
use datafusion::functions::utils::make_scalar_function;
use datafusion::logical_expr::{ScalarUDF, Volatility, create_udf};

use super::{Function, Kind};
use crate::query::QueryError;
use crate::tokenize::TokenizerFiles;

pub(super) const FUNCTION: Function = Function {
    call: "n_tokens(text)",
    kind: Kind::Scalar,
    doc: "Tokens of a text by itself, without chat template, begin and end token, by the tokenizer of `--model`.",
    example: "SELECT n_tokens('')",
    answer: "0",
};

pub(super) fn udf(tokenizer: Option<&Arc<TokenizerFiles>>) -> ScalarUDF {
    let tokenizer = tokenizer.map(Arc::clone);
    let of_columns = move |columns: &[ArrayRef]| -> Result<ArrayRef, DataFusionError> {
        let [texts] = take_function_args("n_tokens", columns)?;
        let tokenizer = tokenizer.as_ref().ok_or_else(|| QueryError::no_tokenizer("n_tokens"))?;
        let mut counts = Int64Array::builder(texts.len());
        for text in texts.as_string_view() {
            let count = text.map(|text| tokenizer.count(text)).transpose();
            let count = count.map_err(|error| DataFusionError::External(Box::new(error)))?;
            counts.append_option(count.map(|count| i64::try_from(count).unwrap_or(i64::MAX)));
        }
        Ok(Arc::new(counts.finish()))
    };
    let implementation = Arc::new(make_scalar_function(of_columns, Vec::new()));
    create_udf("n_tokens", vec![DataType::Utf8View], DataType::Int64, Volatility::Immutable, implementation)
}
