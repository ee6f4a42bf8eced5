//! `tokenize`.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, ListBuilder, UInt32Builder};
use arrow::datatypes::{DataType, Field};
use datafusion::common::utils::take_function_args;
use datafusion::error::DataFusionError;
use datafusion::functions::utils::make_scalar_function;
use datafusion::logical_expr::{ScalarUDF, Volatility, create_udf};

use super::{Function, Kind};
use crate::query::QueryError;
use crate::tokenize::TokenizerFiles;

pub(super) const FUNCTION: Function = Function {
    call: "tokenize(text)",
    kind: Kind::Scalar,
    doc: "Token ids of a text by itself, without chat template, begin and end token, by the tokenizer of `--model`. The ids \
          of a table, `prompt_ids` and its like, come with all three.",
    example: "SELECT cardinality(tokenize('Is it?')) = n_tokens('Is it?')",
    answer: "true",
};

pub(super) fn udf(tokenizer: Option<&Arc<TokenizerFiles>>) -> ScalarUDF {
    let tokenizer = tokenizer.map(Arc::clone);
    let of_columns = move |columns: &[ArrayRef]| -> Result<ArrayRef, DataFusionError> {
        let [texts] = take_function_args("tokenize", columns)?;
        let tokenizer = tokenizer.as_ref().ok_or_else(|| QueryError::no_tokenizer("tokenize"))?;
        let mut lists = ListBuilder::new(UInt32Builder::new()).with_field(item());
        for text in texts.as_string_view() {
            if let Some(text) = text {
                let ids = tokenizer.encode(text).map_err(|error| DataFusionError::External(Box::new(error)))?;
                lists.values().append_slice(&ids);
            }
            lists.append(text.is_some());
        }
        Ok(Arc::new(lists.finish()))
    };
    let implementation = Arc::new(make_scalar_function(of_columns, Vec::new()));
    let list = DataType::List(Arc::new(item()));
    create_udf("tokenize", vec![DataType::Utf8View], list, Volatility::Immutable, implementation)
}

/// An id, as the lists of a log-prob table have it.
fn item() -> Field {
    Field::new("element", DataType::UInt32, false)
}
