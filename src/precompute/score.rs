//! Token ids to log-probs and signals: a pure function of a model and a list of pairs.

use super::plan::Signals;
use crate::batch::{GroupBatch, MicroBatch, PairIds, PairPlace, Sharing, micro_batches};
use crate::logprob;
use crate::model::{Decoder, Keep, ModelError};
use crate::table::{CompletionSignals, PairSignals, PairTokenLogps, TokenScores};

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
    observe: impl FnMut(usize),
) -> Result<Vec<PairTokenLogps>, ModelError> {
    let scored = score_with(model, pairs, max_tokens, sharing, Signals::Skip, observe)?;
    Ok(scored.into_iter().map(|scores| scores.logps).collect())
}

/// The same with the signals of each pair; the log-probs are the same to the bit.
///
/// # Errors
/// As [`score`].
pub fn score_with_signals(
    model: &Decoder,
    pairs: &[PairIds<'_>],
    max_tokens: usize,
    sharing: Sharing,
    observe: impl FnMut(usize),
) -> Result<Vec<TokenScores>, ModelError> {
    score_with(model, pairs, max_tokens, sharing, Signals::Make, observe)
}

fn score_with(
    model: &Decoder,
    pairs: &[PairIds<'_>],
    max_tokens: usize,
    sharing: Sharing,
    signals: Signals,
    mut observe: impl FnMut(usize),
) -> Result<Vec<TokenScores>, ModelError> {
    let mut scored: Vec<(usize, TokenScores)> = Vec::with_capacity(pairs.len());
    for batch in micro_batches(pairs, max_tokens, sharing) {
        let scores = score_batch(model, &batch, signals)?;
        scored.extend(batch.pairs.iter().map(|place| place.pair).zip(scores));
        observe(scored.len());
    }
    scored.sort_unstable_by_key(|(pair, _)| *pair);
    Ok(scored.into_iter().map(|(_, scores)| scores).collect())
}

/// The same of one micro-batch, in the order of its pairs.
///
/// # Errors
/// As [`score`].
pub fn score_batch(model: &Decoder, batch: &MicroBatch<'_>, signals: Signals) -> Result<Vec<TokenScores>, ModelError> {
    let laid_out = batch.lay_out()?;
    let (scored, found) = match signals {
        Signals::Skip => (logprob::token_logps(model, &laid_out, Keep::Nothing)?, None),
        Signals::Make => {
            let (scored, found) = logprob::token_logps_with_signals(model, &laid_out)?;
            (scored, Some(found))
        }
    };
    let completion = |sequence: usize| scored.logps[laid_out.scored.sequences[sequence].clone()].to_vec();
    let pair = |place: &PairPlace| {
        let logps = PairTokenLogps { chosen: completion(place.chosen), rejected: completion(place.rejected) };
        let signals = found.as_ref().map(|found| of_pair(found, &laid_out, place));
        // Where the model yields what is no number, the log-probs say so.
        TokenScores { signals: signals.filter(|signals| signals.fit(&logps)), logps }
    };
    Ok(batch.pairs.iter().map(pair).collect())
}

fn of_pair(found: &logprob::Signals, batch: &GroupBatch, place: &PairPlace) -> PairSignals {
    let tokens = |sequence: usize| batch.scored.sequences[sequence].clone();
    let completion = |sequence: usize| CompletionSignals {
        entropies: found.entropies[tokens(sequence)].to_vec(),
        are_top: found.are_top[tokens(sequence)].to_vec(),
    };
    let sum = |sequence: usize| Sum { of: &found.hidden_sums[sequence], n: tokens(sequence).len() };
    let (ches, ches_mean) = ches(sum(place.chosen), sum(place.rejected));
    PairSignals { chosen: completion(place.chosen), rejected: completion(place.rejected), ches, ches_mean }
}

/// Sum of the hidden states that predict the tokens of a completion.
#[derive(Clone, Copy)]
struct Sum<'a> {
    of: &'a [f64], // (D)
    n: usize,
}

/// Centered hidden embedding similarity of a pair, of sums and of means: Razin et al. 2024 (arXiv:2410.08847), definition
/// 2, and its length-normalised form as in the authors' code.
///
/// ```text
/// ches      = ⟨S⁺, S⁻⟩ − ‖S⁺‖²
/// ches_mean = ⟨S⁺, S⁻⟩/(n⁺·n⁻) − ‖S⁺‖²/n⁺²
/// ```
///
/// Both are one product with the difference of two vectors: two completions that are equal have 0 to the last bit.
fn ches(chosen: Sum<'_>, rejected: Sum<'_>) -> (f64, f64) {
    let (n_chosen, n_rejected) = (chosen.n as f64, rejected.n as f64);
    chosen.of.iter().zip(rejected.of).fold((0.0, 0.0), |(of_sums, of_means), (x, y)| {
        let (mean_x, mean_y) = (x / n_chosen, y / n_rejected);
        (of_sums + x * (y - x), of_means + mean_x * (mean_y - mean_x))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similarities_are_those_of_the_paper() {
        // S⁺ = (3, 1) of two tokens, S⁻ = (2, −4) of four: ⟨S⁺, S⁻⟩ = 2, ‖S⁺‖² = 10, 2 − 10 and 2/8 − 10/4.
        let (chosen, rejected) = (Sum { of: &[3.0, 1.0], n: 2 }, Sum { of: &[2.0, -4.0], n: 4 });
        assert_eq!(ches(chosen, rejected), (-8.0, -2.25));
        assert_eq!(ches(chosen, chosen), (0.0, 0.0));
    }
}
