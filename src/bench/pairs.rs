//! The pairs of a measurement, in memory.

use super::{BenchError, Plan};
use crate::batch::PairIds;
use crate::data::{self, NamedFile, Row};
use crate::logprob;
use crate::policy::PolicySource;
use crate::table::{PairTokenLogps, TokenLogpsPair, TrainingPair};
use crate::tokenize::{PairTokenizer, TokenizedPair};

/// The first pairs of the data that can be scored.
pub(super) fn read(plan: &Plan, source: &PolicySource) -> Result<Vec<TokenizedPair>, BenchError> {
    let tokenizer = PairTokenizer::new(source.tokenizer()?.files, plan.rules)?;
    let mut pairs = Vec::new();
    let mut n_rows = 0;
    for name in &plan.data {
        for NamedFile { path, .. } in data::named_files(name)? {
            let reader = data::unless_empty(data::open(&path, &plan.column_map), plan.data.len())?;
            for row in reader.into_iter().flatten() {
                n_rows += 1;
                if let Row::Pair(pair) = row? {
                    pairs.extend(tokenizer.tokenize(&pair)?.ok());
                }
                if pairs.len() as u64 == plan.limit.get() {
                    return Ok(pairs);
                }
            }
        }
    }
    if pairs.is_empty() { Err(BenchError::NoPairs { n_rows }) } else { Ok(pairs) }
}

/// A pair as stage one scores it.
pub(super) fn ids(pair: &TokenizedPair) -> PairIds<'_> {
    PairIds { prompt: &pair.prompt_ids, chosen: &pair.chosen_ids, rejected: &pair.rejected_ids }
}

/// A pair as stage two reads it, with the log-probs that stage one gave.
pub(super) fn training_pair<'a>(pair: &'a TokenizedPair, logps: &'a PairTokenLogps) -> TrainingPair<'a> {
    TrainingPair {
        pair_id: "",
        tokens_id: "",
        prompt_ids: &pair.prompt_ids,
        chosen_ids: &pair.chosen_ids,
        rejected_ids: &pair.rejected_ids,
        ref_chosen_logps: logprob::sum(&logps.chosen),
        ref_rejected_logps: logprob::sum(&logps.rejected),
        ref_token_logps: Some(TokenLogpsPair { chosen: &logps.chosen, rejected: &logps.rejected }),
        scores: None,
    }
}

/// Tokens of a pair, its prompt counted once.
pub(super) fn n_tokens(pair: &TokenizedPair) -> usize {
    pair.prompt_ids.len() + n_scored(pair)
}

/// Tokens of a pair that are scored.
pub(super) fn n_scored(pair: &TokenizedPair) -> usize {
    pair.chosen_ids.len() + pair.rejected_ids.len()
}
