//! Log-probs of missing pairs that are somewhere else: in journals, in parts that stay or were moved aside, in the parts
//! of other shards, in other tables.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use super::error::PrecomputeError;
use super::inventory::{Job, Slot};
use super::journals::Journals;
use super::known::{self, Key, Known};
use super::plan::{Event, Signals};
use super::work::missing;
use crate::table::{FileRecord, Journal, ReferenceTable};

impl Job<'_> {
    /// What the journal of an earlier run says of pairs that no part holds: put into `known`, needed now or not. The keys
    /// of those pairs.
    pub(super) fn take_journalled(&self, slots: &[Slot], known: &mut Known) -> Result<BTreeSet<Key>, PrecomputeError> {
        let mut keys = BTreeSet::new();
        for pair in Journal::scored(&self.folder.journal_path())? {
            let pair = pair?;
            if let Some(key) = known::key(&pair.tokens_id) {
                known.insert(key, &pair.scores)?;
                keys.insert(key);
            }
        }
        if !keys.is_empty() {
            for row in slots.iter().filter(|slot| slot.part.is_some()).flat_map(|slot| slot.rows.clone()) {
                keys.remove(&self.key(row)?);
            }
        }
        Ok(keys)
    }

    /// The log-probs of missing pairs that others know: parts that stay, parts that were moved out of the way, journals of
    /// others, and the tables to reuse.
    pub(super) fn gather_known(
        &self,
        slots: &[Slot],
        journals: &Journals,
        known: &mut Known,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), PrecomputeError> {
        let needed: HashSet<Key> = missing(slots).filter_map(|row| known::key(self.store.tokens_id(row))).collect();
        if needed.is_empty() {
            return Ok(());
        }
        let is_needed = |key: Key| needed.contains(&key);
        for slot in slots.iter().filter(|slot| slot.part.is_some()) {
            known.take(&ReferenceTable::open(&self.folder.part_path(slot.part_idx))?, is_needed)?;
        }
        // Before what was moved aside: another shard moves a part from here to there, never back.
        let foreign = self.foreign_parts()?;
        for (_, path) in &foreign {
            let took = ReferenceTable::open(path).map_err(PrecomputeError::from);
            let took = took.and_then(|table| known.take(&table, is_needed));
            pass_by(path, took, observe)?;
        }
        for (path, digest) in self.folder.retired()? {
            if FileRecord::of(&path, 0)?.digest == digest {
                known.take(&ReferenceTable::open(&path)?, is_needed)?;
            } else {
                observe(Event::Note(format!("`{}` is damaged: its pairs are scored again", path.display())));
            }
        }
        for journal in journals.about(self) {
            for pair in Journal::scored(&journal.path)? {
                let pair = pair?;
                if let Some(key) = known::key(&pair.tokens_id).filter(|&key| is_needed(key) && !known.has(key)) {
                    known.insert(key, &pair.scores)?;
                }
            }
        }
        for path in &self.plan.reuse {
            let table = ReferenceTable::open(path)?;
            table.check_digests()?;
            known.take(&table, is_needed)?;
        }
        if self.plan.signals == Signals::Make { self.gather_signals(slots, &foreign, known, observe) } else { Ok(()) }
    }

    /// Parts in the folder that are for another shard to make, and may hold rows of this one: of a table that is being
    /// replaced, or of another number of rows. A whole part of this data has rows of its own shard.
    fn foreign_parts(&self) -> Result<Vec<(usize, PathBuf)>, PrecomputeError> {
        let shard = self.plan.scope.shard();
        let is_whole = |table: &ReferenceTable| {
            *table.provenance() == self.task.provenance && table.n_pairs() == self.task.layout.rows_per_part
        };
        let is_foreign = |(part_idx, path): &(usize, PathBuf)| {
            !shard.owns(*part_idx) && !ReferenceTable::open(path).is_ok_and(|table| is_whole(&table))
        };
        Ok(self.folder.parts()?.into_iter().filter(is_foreign).collect())
    }

    /// The signals of what [`gather_known`](Self::gather_known) has found, from beside where it has found it.
    fn gather_signals(
        &self,
        slots: &[Slot],
        foreign: &[(usize, PathBuf)],
        known: &mut Known,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), PrecomputeError> {
        let of_parts = slots.iter().filter_map(|slot| slot.part.as_ref()?.signals.as_ref());
        for signals in of_parts {
            known.take_signals(&self.folder.path().join(&signals.name))?;
        }
        for path in foreign.iter().map(|(part_idx, _)| self.folder.signals_path(*part_idx)) {
            if path.is_file() {
                let took = known.take_signals(&path);
                pass_by(&path, took, observe)?;
            }
        }
        for (path, digest) in self.folder.retired_signals()? {
            if FileRecord::of(&path, 0)?.digest == digest {
                known.take_signals(&path)?;
            } else {
                observe(Event::Note(format!("`{}` is damaged: its pairs stay without signals", path.display())));
            }
        }
        for path in &self.plan.reuse {
            for signals in ReferenceTable::open(path)?.signals() {
                known.take_signals(&signals)?;
            }
        }
        Ok(())
    }
}

/// A file of another shard that cannot be read is for that shard to complain about; one that is gone has been moved, and
/// is looked for where it is now.
fn pass_by(
    path: &Path,
    took: Result<(), PrecomputeError>,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<(), PrecomputeError> {
    match took {
        Err(PrecomputeError::Table(_)) if !path.exists() => Ok(()),
        Err(PrecomputeError::Table(error)) => {
            observe(Event::Note(format!(
                "nothing is taken from `{}`, a part of another shard: {error}",
                path.display()
            )));
            Ok(())
        }
        took => took,
    }
}
