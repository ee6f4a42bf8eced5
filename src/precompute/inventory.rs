//! What is there before anything is scored: which parts are already what they have to be.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use super::error::PrecomputeError;
use super::journals::Journals;
use super::known::{self, Key};
use super::plan::{Event, Missing, Plan, Scope};
use super::tokens::PartLength;
use super::work;
use crate::batch::PairIds;
use crate::digest::Digest;
use crate::table::{
    FileRecord, Journal, Manifest, Part, PartReader, Provenance, ReferenceTable, Shard, TableError, TableFolder, Task,
    part_name, signals_problems, unscored,
};
use crate::tokenize::TokenStore;

/// The log-prob columns of a table, which a part that is not listed anywhere is checked for.
const LOGPS: [&str; 4] =
    ["ref_chosen_logps", "ref_rejected_logps", "ref_chosen_token_logps", "ref_rejected_token_logps"];

/// The table to be, or the shard of it, and the folder it is made in.
pub(super) struct Job<'a> {
    pub(super) plan: &'a Plan,
    pub(super) folder: &'a TableFolder,
    /// The rows that this run makes parts of.
    pub(super) store: &'a TokenStore,
    /// Those parts.
    pub(super) parts: &'a [PartLength],
    pub(super) task: &'a Task,
}

/// The rows of one part, by their place in the store, and the part if it is there.
pub(super) struct Slot {
    /// Its number in the table.
    pub(super) part_idx: usize,
    pub(super) rows: Range<usize>,
    pub(super) part: Option<Part>,
}

/// What is there of the parts of a run.
pub(super) struct Inventory {
    pub(super) slots: Vec<Slot>,
    /// Parts under names of ours that are none of those: of other data, or of another size.
    strays: Vec<Stray>,
}

struct Stray {
    path: PathBuf,
    digest: Digest,
    signals: Option<FileRecord>,
}

/// Refuses a folder whose log-probs hold under other conditions than these; reads footers only.
pub(super) fn check_folder(
    plan: &Plan,
    folder: &TableFolder,
    journals: &Journals,
    conditions: &Provenance,
) -> Result<(), PrecomputeError> {
    let check = |path: &Path, found: &Provenance| match conditions.first_difference(found) {
        Some(difference) => Err(TableError::OtherProvenance { path: path.to_owned(), difference }),
        None => Ok(()),
    };
    if let Some(own) = &journals.own {
        check(&folder.journal_path(), &own.task.provenance)?;
    }
    for other in &journals.others {
        match (other.shard, conditions.first_difference(&other.task.provenance)) {
            (_, None) => {}
            (Some(theirs), Some(difference)) => {
                return Err(PrecomputeError::other_shard(folder, theirs, plan.scope, difference));
            }
            (None, Some(_)) => check(&other.path, &other.task.provenance)?,
        }
    }
    for (part_idx, path) in folder.parts()? {
        match ReferenceTable::open(&path) {
            Ok(table) => check(&path, table.provenance())?,
            // Moved by the shard it belongs to, or for that shard to complain about.
            Err(_) if !plan.scope.shard().owns(part_idx) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Refuses a table to reuse in the same way.
pub(super) fn check_reuse(plan: &Plan, conditions: &Provenance) -> Result<(), PrecomputeError> {
    for path in &plan.reuse {
        let table = ReferenceTable::open(path)?;
        if let Some(difference) = conditions.first_difference(table.provenance()) {
            return Err(PrecomputeError::OtherReuse { path: path.clone(), difference });
        }
    }
    Ok(())
}

impl Job<'_> {
    /// What the log-probs of a row are looked up by.
    pub(super) fn key(&self, row: usize) -> Result<Key, PrecomputeError> {
        let id = self.store.tokens_id(row);
        known::key(id).ok_or_else(|| TableError::Internal { what: format!("tokens_id `{id}`") }.into())
    }

    /// Tokens of a pair, its prompt counted once.
    pub(super) fn n_tokens(&self, row: usize) -> u64 {
        let (prompt, chosen, rejected) = self.store.lengths(row);
        (prompt + chosen + rejected) as u64
    }

    /// The token ids of a pair.
    pub(super) fn ids(&self, row: usize) -> PairIds<'_> {
        let (prompt, chosen, rejected) = self.store.ids(row);
        PairIds { prompt, chosen, rejected }
    }

    /// Says which share of the table a shard makes, of `n_read` pairs.
    pub(super) fn announce_share(&self, n_read: usize, observe: &mut dyn FnMut(Event<'_>)) {
        let Scope::Shard(shard) = self.plan.scope else { return };
        let n_parts = n_read.div_ceil(self.plan.rows_per_part.get());
        observe(Event::Note(format!(
            "shard {shard}: {} of {n_read} pairs, in {} of {n_parts} parts",
            self.store.len(),
            self.parts.len()
        )));
        if n_parts < shard.count() {
            observe(Event::Note(format!(
                "{} of the shards have nothing to do: a smaller `--rows-per-part`, the same for all of them, makes more parts",
                shard.count() - n_parts
            )));
        }
    }

    /// The parts of the table to be, or of the shard, with those that are there already and their signals. Nothing on disk
    /// changes.
    ///
    /// # Errors
    /// If a part or its signals are not those that the manifest or a journal lists.
    pub(super) fn inventory(
        &self,
        journals: &Journals,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Inventory, PrecomputeError> {
        let listed = self.listed(journals)?;
        let shard = self.plan.scope.shard();
        let mut slots = Vec::with_capacity(self.parts.len());
        let mut start = 0;
        for &PartLength { part_idx, n_pairs } in self.parts {
            slots.push(Slot { part_idx, rows: start..start + n_pairs, part: None });
            start += n_pairs;
        }
        let mut strays = Vec::new();
        for (part_idx, path) in self.folder.parts()?.into_iter().filter(|(part_idx, _)| shard.owns(*part_idx)) {
            let table = ReferenceTable::open(&path)?;
            let file = FileRecord::of(&path, table.n_pairs())?;
            let expected = listed.get(&file.name);
            if let Some(expected) = expected {
                check_digest(&path, &expected.file.digest, &file.digest)?;
            }
            let signals = self.signals_of(part_idx, &path, expected, observe)?;
            let at = slots.binary_search_by_key(&part_idx, |slot| slot.part_idx);
            match at.ok().and_then(|at| slots.get_mut(at)) {
                Some(slot) if self.is_part(&table, &slot.rows, expected.is_some())? => {
                    let (first, last) = (self.store.pair_id(slot.rows.start), self.store.pair_id(slot.rows.end - 1));
                    slot.part = Some(Part { file, first_pair: first.to_owned(), last_pair: last.to_owned(), signals });
                }
                _ => strays.push(Stray { path, digest: file.digest, signals }),
            }
        }
        Ok(Inventory { slots, strays })
    }

    /// Makes room for the parts that are missing: those in their way are moved aside, and the manifest is deleted before,
    /// since the table is not finished any more.
    pub(super) fn make_room(&self, inventory: Inventory) -> Result<Vec<Slot>, PrecomputeError> {
        let Inventory { slots, strays } = inventory;
        if !strays.is_empty() || slots.iter().any(|slot| slot.part.is_none()) {
            self.folder.reopen()?;
        }
        for Stray { path, digest, signals } in &strays {
            // Before their part: a kill in between leaves a part without signals, not signals without a part.
            if let Some(signals) = signals {
                self.folder.retire_signals(&self.folder.path().join(&signals.name), &signals.digest)?;
            }
            self.folder.retire(path, digest)?;
        }
        Ok(slots)
    }

    /// What shards have yet to make; `None` if all of it is there.
    ///
    /// # Errors
    /// If the shard of a missing part was made with other settings or data: it will not make what is missing.
    pub(super) fn missing(
        &self,
        inventory: &Inventory,
        journals: &Journals,
    ) -> Result<Option<Missing>, PrecomputeError> {
        let slots: Vec<&Slot> = inventory.slots.iter().filter(|slot| slot.part.is_none()).collect();
        if slots.is_empty() {
            return Ok(None);
        }
        let mut shards = Vec::new();
        if let Some(n_shards) = journals.n_shards() {
            shards.extend(slots.iter().map(|slot| Shard::of_part(slot.part_idx, n_shards)));
            shards.sort_unstable();
            shards.dedup();
        }
        for journal in shards.iter().filter_map(|&shard| journals.of_shard(shard)) {
            if let (Some(shard), Some(difference)) = (journal.shard, self.task.first_difference(&journal.task)) {
                return Err(PrecomputeError::other_shard(self.folder, shard, self.plan.scope, difference));
            }
        }
        Ok(Some(Missing {
            n_parts: inventory.slots.len(),
            parts: slots.iter().map(|slot| part_name(slot.part_idx)).collect(),
            n_pairs: slots.iter().map(|slot| slot.rows.len() as u64).sum(),
            shards,
        }))
    }

    /// Whether a shard has nothing to do since the table is finished, with this data and these settings.
    pub(super) fn is_finished(&self, slots: &[Slot]) -> bool {
        let is_of_this = |manifest: Manifest| manifest.provenance == self.task.provenance;
        matches!(self.plan.scope, Scope::Shard(_))
            && work::missing(slots).next().is_none()
            && Manifest::load(self.folder.path()).is_ok_and(is_of_this)
    }

    /// The signals beside a part that is there: those it is listed with, or, of one that is not listed, those of its rows.
    fn signals_of(
        &self,
        part_idx: usize,
        part: &Path,
        listed: Option<&Part>,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Option<FileRecord>, PrecomputeError> {
        let path = self.folder.signals_path(part_idx);
        match (listed, path.is_file()) {
            (Some(Part { signals: Some(expected), .. }), true) => {
                let found = FileRecord::of(&path, expected.rows)?;
                check_digest(&path, &expected.digest, &found.digest)?;
                Ok(Some(found))
            }
            (Some(Part { signals: Some(_), .. }), false) => {
                observe(Event::Note(format!("`{}` is gone: its pairs stay without signals", path.display())));
                Ok(None)
            }
            (None, true) => {
                let mut is_sound = true;
                let n_rows = signals_problems(PartReader::open(part)?, &path, &mut |_| {
                    is_sound = false;
                    ControlFlow::Break(())
                });
                match n_rows {
                    Ok(n_rows) if is_sound => Ok(Some(FileRecord::of(&path, n_rows)?)),
                    _ => Ok(None),
                }
            }
            (_, _) => Ok(None),
        }
    }

    /// The parts that an earlier run has vouched for, by name. Of other runs only those that made the same: what others list
    /// under a name may have been replaced since.
    fn listed(&self, journals: &Journals) -> Result<BTreeMap<String, Part>, PrecomputeError> {
        let mut parts = Vec::new();
        for other in journals.about(self).filter(|other| other.task == *self.task) {
            parts.extend(Journal::recover(&other.path)?.into_iter().flat_map(|recovered| recovered.parts));
        }
        parts.extend(Manifest::load(self.folder.path()).into_iter().flat_map(|manifest| manifest.parts));
        parts.extend(journals.own.iter().flat_map(|own| &own.parts).cloned());
        Ok(parts.into_iter().map(|part| (part.file.name.clone(), part)).collect())
    }

    /// Whether a part is what would be written for these rows, log-probs aside. One that is not listed (its run was
    /// killed before it could vouch for it) is decoded as a whole.
    fn is_part(&self, table: &ReferenceTable, rows: &Range<usize>, is_listed: bool) -> Result<bool, PrecomputeError> {
        if *table.provenance() != self.task.provenance || table.n_pairs() != rows.len() as u64 {
            return Ok(false);
        }
        let slice = self.store.slice(rows.clone())?;
        let expected = unscored(&slice, &self.store.pass_through_columns(&slice)?)?;
        let schema = expected.schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let has_columns = names.iter().all(|name| table.schema().column_with_name(name).is_some());
        if !has_columns || table.schema().fields().len() != names.len() + LOGPS.len() {
            return Ok(false);
        }
        let columns = if is_listed { names.clone() } else { [names.as_slice(), &LOGPS].concat() };
        let mut at = 0;
        for batch in table.checked_batches(&columns)? {
            let batch = batch?;
            let expected = expected.slice(at, batch.num_rows());
            if names.iter().any(|name| batch.column_by_name(name) != expected.column_by_name(name)) {
                return Ok(false);
            }
            at += batch.num_rows();
        }
        Ok(true)
    }
}

fn check_digest(path: &Path, expected: &Digest, found: &Digest) -> Result<(), PrecomputeError> {
    if expected == found {
        return Ok(());
    }
    let (expected, found) = (expected.to_string(), found.to_string());
    Err(TableError::NotAsListed { path: path.to_owned(), what: "digest", expected, found }.into())
}
