//! What a session is given: the functions, with what a user reads about them.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Signature, SimpleScalarUDF, Volatility};

use super::models::Models;
use super::ref_logps::RefLogps;
use crate::query::{Extra, Function, Kind};

const MODEL_DIGEST: Function = Function {
    call: "model_digest()",
    kind: Kind::Scalar,
    doc: "Digest of the model of `--model` as `ref_logps` computes with it: its weights and configuration, the number \
          format and the code path of this machine. Two models of one digest give the same bits.",
    example: "SELECT character_length(model_digest())",
    answer: "64",
};

const REF_LOGPS: Function = Function {
    call: "ref_logps(model_digest, prompt_ids, chosen_ids, rejected_ids)",
    kind: Kind::Scalar,
    doc: "Log-probs of the tokens of two completions after their prompt under the model of `--model`, to the bit those of a \
          table that `piref precompute` makes here: a struct of `ref_chosen_logps` and `ref_rejected_logps` (sums, in nats), \
          `chosen_tokens`, `rejected_tokens`, the terms `ref_chosen_token_logps` and `ref_rejected_token_logps`, and `error`: \
          null, or `empty_prompt`, `empty_completion`, `unknown_token`, `not_a_logp`. A digest refuses any other model; NULL \
          takes the one there is. Null where a list is.",
    example: "SELECT ref_logps(NULL, tokenize('Is it?'), tokenize(' Yes.'), tokenize(''))['error']",
    answer: "empty_completion",
};

const REF_LOGPS_WITH_SIGNALS: Function = Function {
    call: "ref_logps_with_signals(model_digest, prompt_ids, chosen_ids, rejected_ids)",
    kind: Kind::Scalar,
    doc: "The same with what the passes show besides, as in the signals of a table: `ref_ches`, `ref_ches_mean` \
          (arXiv:2410.08847), and of each token its entropy and whether it was the first choice.",
    example: "SELECT ref_logps_with_signals(NULL, tokenize('Is it?'), tokenize(' No.'), tokenize(' No.'))['ref_ches']",
    answer: "0.0",
};

/// The scoring functions by these models, for a session that has none of them.
pub fn functions(models: &Arc<dyn Models>) -> Vec<Extra> {
    vec![
        Extra { function: MODEL_DIGEST, udf: model_digest(models) },
        Extra { function: REF_LOGPS, udf: ScalarUDF::new_from_impl(RefLogps::new(Arc::clone(models))) },
        Extra {
            function: REF_LOGPS_WITH_SIGNALS,
            udf: ScalarUDF::new_from_impl(RefLogps::with_signals(Arc::clone(models))),
        },
    ]
}

/// The same for as long as a query takes: the files of a model are digested once.
fn model_digest(models: &Arc<dyn Models>) -> ScalarUDF {
    let models = Arc::clone(models);
    let digest = move |_: &[ColumnarValue]| {
        let digest = models.digest()?;
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some(digest.to_string()))))
    };
    let signature = Signature::nullary(Volatility::Stable);
    SimpleScalarUDF::new_with_signature(MODEL_DIGEST.name(), signature, DataType::Utf8, Arc::new(digest)).into()
}
