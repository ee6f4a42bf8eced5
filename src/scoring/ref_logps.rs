//! `ref_logps` and `ref_logps_with_signals`.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;
use datafusion::common::utils::take_function_args;
use datafusion::common::{exec_err, plan_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use super::error::ScoringError;
use super::ids::{IdLists, list_type};
use super::models::Models;
use super::rows::{ScoredRow, fields, structs};
use crate::batch::PairIds;
use crate::digest::Digest;
use crate::precompute::Signals;
use crate::query::Stop;

/// The scalar function `ref_logps(model_digest, prompt_ids, chosen_ids, rejected_ids)`.
///
/// Returns a struct of `ref_chosen_logps` and `ref_rejected_logps` (nats, summed in `f64` over the tokens of a completion),
/// `chosen_tokens` and `rejected_tokens`, their terms `ref_chosen_token_logps` and `ref_rejected_token_logps`, and `error`:
/// null, or why the pair has no numbers, the [code](super::RowFault::code) of a fault. With signals it has those that stage
/// one writes beside a table, under their names there, before `error`. It is null where one of the lists is.
///
/// The digest is what [`model_digest`](super::model_digest()) says of the model; null or empty, it stands for the only model
/// there is. The rows of one call are scored together, so what they share is computed once.
///
/// Volatile, although the same arguments give the same answer: the engine then computes no call while it plans, and one
/// call for all fields that an outer query reads of it.
///
/// # Errors
/// A call fails if its model cannot be had, see [`Models`], or a pass over it fails.
pub struct RefLogps {
    models: Arc<dyn Models>,
    signals: Signals,
    signature: Signature,
}

impl RefLogps {
    /// `ref_logps` by these models.
    pub fn new(models: Arc<dyn Models>) -> Self {
        Self::of(models, Signals::Skip)
    }

    /// `ref_logps_with_signals` by these models.
    pub fn with_signals(models: Arc<dyn Models>) -> Self {
        Self::of(models, Signals::Make)
    }

    fn of(models: Arc<dyn Models>, signals: Signals) -> Self {
        Self { models, signals, signature: Signature::user_defined(Volatility::Volatile) }
    }

    /// What came of these pairs, of which each has its row and the digest of its model.
    fn score(
        &self,
        pairs: &[(usize, PairIds<'_>)],
        digest: Option<Digest>,
        stop: Option<&Stop>,
        rows: &mut [Option<ScoredRow>],
    ) -> Result<(), ScoringError> {
        let scorer = self.models.scorer(digest)?;
        let ids: Vec<PairIds<'_>> = pairs.iter().map(|&(_, ids)| ids).collect();
        let scored =
            scorer.score(&ids, self.signals, &|| self.models.are_stopped() || stop.is_some_and(Stop::is_asked))?;
        for (&(row, _), scored) in pairs.iter().zip(scored) {
            rows[row] = Some(scored);
        }
        Ok(())
    }
}

impl ScalarUDFImpl for RefLogps {
    fn name(&self) -> &'static str {
        match self.signals {
            Signals::Skip => "ref_logps",
            Signals::Make => "ref_logps_with_signals",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, found: &[DataType]) -> Result<Vec<DataType>, DataFusionError> {
        let [digest, prompt, chosen, rejected] = take_function_args(self.name(), found)?;
        if !digest.is_null() && !digest.is_string() {
            return plan_err!("`{}`: expected the digest of a model as text, found {digest}", self.name());
        }
        Ok(vec![DataType::Utf8, list_type(prompt)?, list_type(chosen)?, list_type(rejected)?])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType, DataFusionError> {
        Ok(DataType::Struct(fields(self.signals)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let n_rows = args.number_rows;
        let mut columns = Vec::with_capacity(args.args.len());
        for argument in args.args {
            columns.push(argument.into_array(n_rows)?);
        }
        let [digests, prompts, chosen, rejected] = take_function_args(self.name(), columns)?;
        let Some(digests) = digests.as_string_opt::<i32>() else {
            return exec_err!("`{}`: expected a digest as text, found {}", self.name(), digests.data_type());
        };
        let (prompts, chosen, rejected) = (IdLists::of(&prompts)?, IdLists::of(&chosen)?, IdLists::of(&rejected)?);
        let mut by_digest: BTreeMap<&str, Vec<(usize, PairIds<'_>)>> = BTreeMap::new();
        for row in 0..n_rows {
            let lists = (prompts.row(row), chosen.row(row), rejected.row(row));
            let (Some(prompt), Some(chosen), Some(rejected)) = lists else { continue };
            let digest = if digests.is_null(row) { "" } else { digests.value(row) };
            by_digest.entry(digest).or_default().push((row, PairIds { prompt, chosen, rejected }));
        }
        let mut rows = vec![None; n_rows];
        let stop = args.config_options.extensions.get::<Stop>();
        for (digest, pairs) in by_digest {
            let digest = match digest {
                "" => None,
                text => Some(text.parse().map_err(|source| ScoringError::NotADigest { source })?),
            };
            self.score(&pairs, digest, stop, &mut rows)?;
        }
        Ok(ColumnarValue::Array(Arc::new(structs(&rows, self.signals)?)))
    }
}

impl fmt::Debug for RefLogps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefLogps").field("signals", &self.signals).finish_non_exhaustive()
    }
}

/// Two functions are the same if they ask the same models for the same.
impl PartialEq for RefLogps {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.models, &other.models) && self.signals == other.signals
    }
}

impl Eq for RefLogps {}

impl Hash for RefLogps {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}
