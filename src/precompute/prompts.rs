//! Which pairs share a prompt: scored together, they have it encoded once.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::tokenize::TokenStore;

/// The rows to score by a hash of their prompt; a prompt of one row is not in it, so that memory is for what is shared.
///
/// Two prompts of one hash do no harm: rows are grouped by their ids afterwards.
pub(super) struct Prompts {
    /// Sorted.
    rows: Vec<(u64, usize)>,
}

impl Prompts {
    /// Of `rows`.
    pub(super) fn of(store: &TokenStore, rows: impl Iterator<Item = usize>) -> Self {
        let mut rows: Vec<(u64, usize)> = rows.map(|row| (hash(store, row), row)).collect();
        rows.sort_unstable();
        let mut shared = Vec::new();
        for family in rows.chunk_by(|a, b| a.0 == b.0).filter(|family| family.len() > 1) {
            shared.extend_from_slice(family);
        }
        Self { rows: shared }
    }

    /// Hash and rows of those that may have the prompt of `row`, if there is more than one.
    pub(super) fn family(&self, store: &TokenStore, row: usize) -> Option<(u64, impl Iterator<Item = usize>)> {
        if self.rows.is_empty() {
            return None;
        }
        let prompt = hash(store, row);
        let first = self.rows.partition_point(|entry| entry.0 < prompt);
        let family = self.rows[first..].iter().take_while(move |entry| entry.0 == prompt).map(|entry| entry.1);
        (self.rows.get(first)?.0 == prompt).then_some((prompt, family))
    }
}

fn hash(store: &TokenStore, row: usize) -> u64 {
    let mut hasher = DefaultHasher::new();
    store.ids(row).0.hash(&mut hasher);
    hasher.finish()
}
