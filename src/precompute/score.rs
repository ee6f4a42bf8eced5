//! Token ids to log-probs: a pure function of a model and a list of pairs.

use crate::batch::{MicroBatch, PairIds, PairPlace, Sharing, micro_batches};
use crate::logprob;
use crate::model::{Decoder, Keep, ModelError};
use crate::table::PairTokenLogps;

/// Log-probs of every completion token of `pairs`, in their order.
///
/// They are run in forward passes of at most `max_tokens` rows; `observe` is called after each with the number of pairs
/// done so far. What pairs share changes the time, not the result.
///
/// # Errors
/// If a token id is outside of the vocabulary, or a prompt or completion is empty.
pub fn score(
    model: &Decoder,
    pairs: &[PairIds<'_>],
    max_tokens: usize,
    sharing: Sharing,
    mut observe: impl FnMut(usize),
) -> Result<Vec<PairTokenLogps>, ModelError> {
    let mut scored: Vec<(usize, PairTokenLogps)> = Vec::with_capacity(pairs.len());
    for batch in micro_batches(pairs, max_tokens, sharing) {
        let logps = score_batch(model, &batch)?;
        scored.extend(batch.pairs.iter().map(|place| place.pair).zip(logps));
        observe(scored.len());
    }
    scored.sort_unstable_by_key(|(pair, _)| *pair);
    Ok(scored.into_iter().map(|(_, logps)| logps).collect())
}

/// The same of one micro-batch, in the order of its pairs.
///
/// # Errors
/// As [`score`].
pub(super) fn score_batch(model: &Decoder, batch: &MicroBatch<'_>) -> Result<Vec<PairTokenLogps>, ModelError> {
    let laid_out = batch.lay_out()?;
    let scored = logprob::token_logps(model, &laid_out, Keep::Nothing)?;
    let completion = |sequence: usize| scored.logps[laid_out.scored.sequences[sequence].clone()].to_vec();
    let pair =
        |place: &PairPlace| PairTokenLogps { chosen: completion(place.chosen), rejected: completion(place.rejected) };
    Ok(batch.pairs.iter().map(pair).collect())
}
