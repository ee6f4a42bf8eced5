//! A model in memory, and what it says of pairs.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::error::ScoringError;
use super::rows::{RowFault, ScoredRow};
use crate::batch::{PairIds, Sharing, micro_batches};
use crate::model::Decoder;
use crate::precompute::{Signals, score_batch};
use crate::table::{PairTokenLogps, TokenScores, is_logp};

/// A model in memory, and what it says of pairs.
pub struct Scorer {
    name: String,
    model: Decoder,
    max_tokens: NonZeroUsize,
    /// Held during a pass: a pass has all cores, and two of them at once would have twice the memory.
    turn: Mutex<()>,
    n_scored: AtomicU64,
}

impl Scorer {
    /// A model under the name that errors call it by; its passes have at most `max_tokens` rows, whatever is asked at once.
    pub fn new(name: &str, model: Decoder, max_tokens: NonZeroUsize) -> Self {
        Self { name: name.to_owned(), model, max_tokens, turn: Mutex::new(()), n_scored: AtomicU64::new(0) }
    }

    /// Log-probs of every completion token of `pairs`, in their order, and what is wrong with those that have none.
    ///
    /// Pairs that share a prompt are scored together. `is_stopped` is asked before each forward pass.
    ///
    /// # Errors
    /// If a pass fails, or somebody has stopped it: then nothing is returned.
    pub fn score(
        &self,
        pairs: &[PairIds<'_>],
        signals: Signals,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<Vec<ScoredRow>, ScoringError> {
        let mut rows: Vec<ScoredRow> = pairs.iter().map(|pair| ScoredRow::failed(self.fault(pair))).collect();
        let whole: Vec<usize> = (0..pairs.len()).filter(|&row| rows[row].fault.is_none()).collect();
        let whole_pairs: Vec<PairIds<'_>> = whole.iter().map(|&row| pairs[row]).collect();
        for batch in micro_batches(&whole_pairs, self.max_tokens.get(), Sharing::Prompts) {
            if is_stopped() {
                return Err(ScoringError::Stopped);
            }
            let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            let scores = score_batch(&self.model, &batch, signals)
                .map_err(|source| ScoringError::Model { model: self.name.clone(), source })?;
            drop(turn);
            self.n_scored.fetch_add(batch.pairs.len() as u64, Ordering::Relaxed);
            for (place, scores) in batch.pairs.iter().zip(scores) {
                rows[whole[place.pair]] = checked(scores);
            }
        }
        Ok(rows)
    }

    /// Pairs it has scored so far, each as often as it was.
    pub fn n_scored(&self) -> u64 {
        self.n_scored.load(Ordering::Relaxed)
    }

    /// What keeps a pair from being scored.
    fn fault(&self, pair: &PairIds<'_>) -> Option<RowFault> {
        let vocab_size = self.model.config().vocab_size;
        let is_known = |ids: &[u32]| ids.iter().all(|&id| (id as usize) < vocab_size);
        if pair.prompt.is_empty() {
            Some(RowFault::EmptyPrompt)
        } else if pair.chosen.is_empty() || pair.rejected.is_empty() {
            Some(RowFault::EmptyCompletion)
        } else if ![pair.prompt, pair.chosen, pair.rejected].into_iter().all(is_known) {
            Some(RowFault::UnknownToken)
        } else {
            None
        }
    }
}

impl fmt::Debug for Scorer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scorer").field("name", &self.name).field("max_tokens", &self.max_tokens).finish_non_exhaustive()
    }
}

/// What a pass says of a pair; numbers that are no log-probs stay, so that whoever reads them can say which they are.
fn checked(scores: TokenScores) -> ScoredRow {
    let PairTokenLogps { chosen, rejected } = &scores.logps;
    let are_logps = chosen.iter().chain(rejected).all(|&logp| is_logp(logp.into()));
    ScoredRow { fault: (!are_logps).then_some(RowFault::NotALogp), scores: Some(scores) }
}
