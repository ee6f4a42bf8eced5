//! What the policy says of the pairs of a micro-batch; training and evaluation both ask this.

use crate::batch::{GroupBatch, MicroBatch, PairIds, PairPlace};
use crate::logprob::{self, Scored};
use crate::loss::{Needs, PairInputs, PairLogps, PairScores, PairSums, PairTokenLogps, PairTokens};
use crate::model::{Decoder, Keep, ModelError};
use crate::table::{self, TrainingPair};

/// The token ids of a pair.
pub(crate) fn ids<'a>(pair: &TrainingPair<'a>) -> PairIds<'a> {
    PairIds { prompt: pair.prompt_ids, chosen: pair.chosen_ids, rejected: pair.rejected_ids }
}

/// The reference log-probs of a pair, as the table has them.
pub(crate) fn reference(pair: &TrainingPair<'_>) -> PairLogps {
    PairLogps { chosen: pair.ref_chosen_logps, rejected: pair.ref_rejected_logps }
}

/// What the policy says of a pair.
#[derive(Debug)]
pub(crate) struct PolicyScores {
    /// Sums over the tokens of the completions, in nats.
    pub(crate) logps: PairLogps,
    tokens: Option<table::PairTokenLogps>,
    collisions: Option<PairLogps>,
}

impl PolicyScores {
    /// The pair as an objective sees it.
    pub(crate) fn inputs<'b>(&'b self, pair: &TrainingPair<'b>) -> PairInputs<'b> {
        let tokens = PairTokens { chosen: pair.chosen_ids.len(), rejected: pair.rejected_ids.len() };
        let of_tokens = |chosen: &'b [f32], rejected: &'b [f32]| PairTokenLogps { chosen, rejected };
        PairInputs {
            sums: PairSums { policy: self.logps, reference: reference(pair), tokens },
            policy_tokens: self.tokens.as_ref().map(|logps| of_tokens(&logps.chosen, &logps.rejected)),
            reference_tokens: pair.ref_token_logps.map(|logps| of_tokens(logps.chosen, logps.rejected)),
            collisions: self.collisions,
            scores: pair.scores.map(|scores| PairScores { chosen: scores.chosen, rejected: scores.rejected }),
        }
    }
}

/// Runs a micro-batch forward; beside the pass it returns what the policy says of its pairs, in the order of their
/// places.
///
/// # Errors
/// If a token id is outside of the vocabulary.
pub(crate) fn score(
    model: &Decoder,
    micro_batch: &MicroBatch<'_>,
    batch: &GroupBatch,
    keep: Keep,
    needs: Needs,
) -> Result<(Scored, Vec<PolicyScores>), ModelError> {
    let scored = if needs.collisions {
        logprob::token_logps_with_collisions(model, batch, keep)?
    } else {
        logprob::token_logps(model, batch, keep)?
    };
    let of_pair = |place: &PairPlace| PolicyScores {
        logps: sums(&scored.logps, batch, place),
        tokens: needs.tokens.then(|| tokens(&scored.logps, batch, place)),
        collisions: scored.collisions.as_deref().map(|found| sums(found, batch, place)),
    };
    let scores = micro_batch.pairs.iter().map(of_pair).collect();
    Ok((scored, scores))
}

/// Sums of what each token of a pair has.
fn sums(tokens: &[f32], batch: &GroupBatch, place: &PairPlace) -> PairLogps {
    let sum = |sequence: usize| logprob::sum(&tokens[batch.scored.sequences[sequence].clone()]);
    PairLogps { chosen: sum(place.chosen), rejected: sum(place.rejected) }
}

/// Log-probs of the tokens of a pair.
fn tokens(logps: &[f32], batch: &GroupBatch, place: &PairPlace) -> table::PairTokenLogps {
    let completion = |sequence: usize| logps[batch.scored.sequences[sequence].clone()].to_vec();
    table::PairTokenLogps { chosen: completion(place.chosen), rejected: completion(place.rejected) }
}
