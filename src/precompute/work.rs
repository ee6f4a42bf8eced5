//! What is left to do.

use std::collections::HashSet;

use super::error::PrecomputeError;
use super::inventory::{Job, Slot};
use super::known::{Key, Known};
use super::plan::Event;
use super::prompts::Prompts;
use crate::table::Recovered;

/// The rows of parts that are not there.
pub(super) fn missing(slots: &[Slot]) -> impl Iterator<Item = usize> {
    slots.iter().filter(|slot| slot.part.is_none()).flat_map(|slot| slot.rows.clone())
}

/// What is left to do.
pub(super) struct Work {
    /// Pairs in parts that stay.
    pub(super) n_resumed: u64,
    /// Pairs whose log-probs are known.
    pub(super) n_reused: u64,
    /// Pairs of the same tokens as another one that has to be scored.
    pub(super) n_repeated: u64,
    /// Pairs that have to be scored.
    pub(super) n_scored: u64,
    /// Tokens in those.
    pub(super) n_tokens: u64,
    /// What several pairs are, one of which has to be scored.
    pub(super) repeated: HashSet<Key>,
    /// Which of the pairs to score share a prompt.
    pub(super) prompts: Prompts,
}

impl Work {
    pub(super) fn of(job: &Job<'_>, slots: &[Slot], known: &Known) -> Result<Self, PrecomputeError> {
        let (mut n_reused, mut n_repeated) = (0, 0);
        let (mut seen, mut repeated, mut to_score) = (HashSet::new(), HashSet::new(), Vec::new());
        for row in missing(slots) {
            let key = job.key(row)?;
            if known.has(key) {
                n_reused += 1;
            } else if seen.insert(key) {
                to_score.push(row);
            } else {
                n_repeated += 1;
                repeated.insert(key);
            }
        }
        Ok(Self {
            n_resumed: slots
                .iter()
                .filter_map(|slot| slot.part.as_ref())
                .map(|part| part.file.rows)
                .fold(0, u64::saturating_add),
            n_reused,
            n_repeated,
            n_scored: to_score.len() as u64,
            n_tokens: to_score.iter().map(|&row| job.n_tokens(row)).sum(),
            repeated,
            prompts: Prompts::of(job.store, to_score.into_iter()),
        })
    }

    /// Pairs that need no model.
    pub(super) fn n_known(&self) -> u64 {
        self.n_resumed + self.n_reused
    }

    pub(super) fn announce(&self, recovered: Option<&Recovered>, observe: &mut dyn FnMut(Event<'_>)) {
        let n_damaged = recovered.map_or(0, |recovered| recovered.n_damaged);
        if n_damaged > 0 {
            observe(Event::Note(format!("{n_damaged} entries of the journal are cut short or damaged, and left out")));
        }
        if self.n_resumed > 0 {
            observe(Event::Resumed { n_pairs: self.n_resumed });
        }
        if self.n_reused > 0 {
            observe(Event::Reused { n_pairs: self.n_reused });
        }
    }
}
