//! `token_text`.

use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, AsArray, StringBuilder};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::utils::take_function_args;
use datafusion::error::DataFusionError;
use datafusion::functions::utils::make_scalar_function;
use datafusion::logical_expr::{ScalarUDF, Volatility, create_udf};

use super::{Function, Kind};
use crate::query::QueryError;
use crate::tokenize::TokenizerFiles;

pub(super) const FUNCTION: Function = Function {
    call: "token_text(token_id)",
    kind: Kind::Scalar,
    doc: "Text that a token adds to a text, its blank in front included, by the tokenizer of `--model`; the token's name in \
          the vocabulary where it is no whole character, null where there is no such token.",
    example: "SELECT token_text(4294967295) IS NULL",
    answer: "true",
};

pub(super) fn udf(tokenizer: Option<&Arc<TokenizerFiles>>) -> ScalarUDF {
    let vocabulary = tokenizer.map(Vocabulary::new);
    let of_columns = move |columns: &[ArrayRef]| -> Result<ArrayRef, DataFusionError> {
        let [ids] = take_function_args("token_text", columns)?;
        let vocabulary = vocabulary.as_ref().ok_or_else(|| QueryError::no_tokenizer("token_text"))?;
        let mut texts = StringBuilder::new();
        for id in ids.as_primitive::<Int64Type>() {
            texts.append_option(id.and_then(|id| vocabulary.text(id)));
        }
        Ok(Arc::new(texts.finish()))
    };
    let implementation = Arc::new(make_scalar_function(of_columns, Vec::new()));
    create_udf("token_text", vec![DataType::Int64], DataType::Utf8, Volatility::Immutable, implementation)
}

/// The texts of a vocabulary, each made when it is first asked for.
struct Vocabulary {
    tokenizer: Arc<TokenizerFiles>,
    texts: Vec<OnceLock<Option<String>>>,
}

impl Vocabulary {
    fn new(tokenizer: &Arc<TokenizerFiles>) -> Self {
        let texts = std::iter::repeat_with(OnceLock::new).take(tokenizer.vocab_size()).collect();
        Self { tokenizer: Arc::clone(tokenizer), texts }
    }

    fn text(&self, id: i64) -> Option<&str> {
        let slot = self.texts.get(usize::try_from(id).ok()?)?;
        let id = u32::try_from(id).ok()?;
        slot.get_or_init(|| self.tokenizer.token_text(id)).as_deref()
    }
}
