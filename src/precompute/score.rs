//! Token ids to log-probs: a pure function of a model and a list of pairs.

use std::ops::Range;

use crate::batch::{Group, GroupBatch, pack};
use crate::logprob;
use crate::model::{Decoder, Keep, ModelError};
use crate::table::PairTokenLogps;

/// Log-probs of every completion token of `pairs`, each a group of a prompt, the chosen and the rejected completion.
///
/// Pairs are run in their order, in forward passes of at most `max_tokens` rows; `observe` is called after each with
/// the pairs done so far.
///
/// # Errors
/// If a token id is outside of the vocabulary, or a prompt or completion is empty.
pub fn score(
    model: &Decoder,
    pairs: &[Group<'_>],
    max_tokens: usize,
    mut observe: impl FnMut(usize),
) -> Result<Vec<PairTokenLogps>, ModelError> {
    let mut logps = Vec::with_capacity(pairs.len());
    for run in pack(pairs.iter().map(Group::n_rows), max_tokens) {
        logps.extend(score_batch(model, &pairs[run])?);
        observe(logps.len());
    }
    Ok(logps)
}

/// The same in one forward pass.
///
/// # Errors
/// As [`score`].
pub(super) fn score_batch(model: &Decoder, pairs: &[Group<'_>]) -> Result<Vec<PairTokenLogps>, ModelError> {
    let batch = GroupBatch::new(pairs)?;
    let scored = logprob::token_logps(model, &batch, Keep::Nothing)?;
    let completion = |tokens: &Range<usize>| scored.logps[tokens.clone()].to_vec();
    let sequences = batch.scored.sequences.chunks_exact(2);
    Ok(sequences.map(|pair| PairTokenLogps { chosen: completion(&pair[0]), rejected: completion(&pair[1]) }).collect())
}
