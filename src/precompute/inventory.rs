//! What is there before anything is scored: parts that are already what they have to be, and log-probs of others.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::{ControlFlow, Range};
use std::path::Path;

use super::error::PrecomputeError;
use super::known::{self, Key, Known};
use super::plan::{Event, Plan, Signals};
use super::work::missing;
use crate::batch::{PairIds, pack};
use crate::digest::Digest;
use crate::table::{
    FileRecord, Journal, Manifest, Part, PartReader, Provenance, Recovered, ReferenceTable, TableError, TableFolder,
    signals_problems, unscored,
};
use crate::tokenize::TokenStore;

/// The log-prob columns of a table, which a part that is not listed anywhere is checked for.
const LOGPS: [&str; 4] =
    ["ref_chosen_logps", "ref_rejected_logps", "ref_chosen_token_logps", "ref_rejected_token_logps"];

/// The table to be, and the folder it is made in.
pub(super) struct Job<'a> {
    pub(super) plan: &'a Plan,
    pub(super) folder: &'a TableFolder,
    pub(super) store: &'a TokenStore,
    pub(super) provenance: &'a Provenance,
}

/// The rows of one part, and the part if it is there.
pub(super) struct Slot {
    pub(super) rows: Range<usize>,
    pub(super) part: Option<Part>,
}

/// Refuses a folder, or a table to reuse, whose log-probs hold under other conditions than these; reads footers only.
pub(super) fn check_conditions(
    plan: &Plan,
    folder: &TableFolder,
    recovered: Option<&Recovered>,
    conditions: &Provenance,
) -> Result<(), PrecomputeError> {
    let check = |path: &Path, found: &Provenance| match conditions.first_difference(found) {
        Some(difference) => Err(TableError::OtherProvenance { path: path.to_owned(), difference }),
        None => Ok(()),
    };
    if let Some(recovered) = recovered {
        check(&folder.journal_path(), &recovered.provenance)?;
    }
    for (_, path) in folder.parts()? {
        check(&path, ReferenceTable::open(&path)?.provenance())?;
    }
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

    /// The parts of the table to be, with those that are there already and their signals. The others are moved out of the
    /// way, and the manifest is deleted before: the table is not finished any more.
    ///
    /// # Errors
    /// If a part or its signals are not those that the manifest or the journal lists.
    pub(super) fn take_inventory(
        &self,
        recovered: Option<&Recovered>,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Vec<Slot>, PrecomputeError> {
        let listed = self.listed(recovered);
        let mut slots: Vec<Slot> = pack(std::iter::repeat_n(1, self.store.len()), self.plan.rows_per_part.get())
            .into_iter()
            .map(|rows| Slot { rows, part: None })
            .collect();
        let mut others = Vec::new();
        for (index, path) in self.folder.parts()? {
            let table = ReferenceTable::open(&path)?;
            let file = FileRecord::of(&path, table.n_pairs())?;
            let expected = listed.get(&file.name);
            if let Some(expected) = expected {
                check_digest(&path, &expected.file.digest, &file.digest)?;
            }
            let signals = self.signals_of(index, &path, expected, observe)?;
            match slots.get_mut(index) {
                Some(slot) if self.is_part(&table, &slot.rows, expected.is_some())? => {
                    let (first, last) = (self.store.pair_id(slot.rows.start), self.store.pair_id(slot.rows.end - 1));
                    slot.part = Some(Part { file, first_pair: first.to_owned(), last_pair: last.to_owned(), signals });
                }
                _ => others.push((path, file.digest, signals)),
            }
        }
        if !others.is_empty() || slots.iter().any(|slot| slot.part.is_none()) {
            self.folder.reopen()?;
        }
        for (path, digest, signals) in &others {
            // Before their part: a kill in between leaves a part without signals, not signals without a part.
            if let Some(signals) = signals {
                self.folder.retire_signals(&self.folder.path().join(&signals.name), &signals.digest)?;
            }
            self.folder.retire(path, digest)?;
        }
        Ok(slots)
    }

    /// The signals beside a part that is there: those it is listed with, or, of one that is not listed, those of its rows.
    fn signals_of(
        &self,
        index: usize,
        part: &Path,
        listed: Option<&Part>,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Option<FileRecord>, PrecomputeError> {
        let path = self.folder.signals_path(index);
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

    /// The parts that an earlier run has vouched for, by name.
    fn listed(&self, recovered: Option<&Recovered>) -> BTreeMap<String, Part> {
        let manifest = Manifest::load(self.folder.path()).ok();
        let of_manifest = manifest.iter().flat_map(|manifest| &manifest.parts);
        let of_journal = recovered.iter().flat_map(|recovered| &recovered.parts);
        of_manifest.chain(of_journal).map(|part| (part.file.name.clone(), part.clone())).collect()
    }

    /// Whether a part is what would be written for these rows, log-probs aside. One that is not listed (its run was
    /// killed before it could vouch for it) is decoded as a whole.
    fn is_part(&self, table: &ReferenceTable, rows: &Range<usize>, is_listed: bool) -> Result<bool, PrecomputeError> {
        if table.provenance() != self.provenance || table.n_pairs() != rows.len() as u64 {
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

    /// The log-probs of missing pairs that other tables know: parts that were moved out of the way, parts that stay, and
    /// the tables to reuse.
    pub(super) fn gather_known(
        &self,
        slots: &[Slot],
        known: &mut Known,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), PrecomputeError> {
        let needed: HashSet<Key> = missing(slots).filter_map(|row| known::key(self.store.tokens_id(row))).collect();
        if needed.is_empty() {
            return Ok(());
        }
        let is_needed = |key: Key| needed.contains(&key);
        for (path, digest) in self.folder.retired()? {
            if FileRecord::of(&path, 0)?.digest == digest {
                known.take(&ReferenceTable::open(&path)?, is_needed)?;
            } else {
                observe(Event::Note(format!("`{}` is damaged: its pairs are scored again", path.display())));
            }
        }
        for (index, slot) in slots.iter().enumerate() {
            if slot.part.is_some() {
                known.take(&ReferenceTable::open(&self.folder.part_path(index))?, is_needed)?;
            }
        }
        for path in &self.plan.reuse {
            let table = ReferenceTable::open(path)?;
            table.check_digests()?;
            known.take(&table, is_needed)?;
        }
        if self.plan.signals == Signals::Make { self.gather_signals(slots, known, observe) } else { Ok(()) }
    }

    /// The signals of what [`gather_known`](Self::gather_known) has found, from beside where it has found it.
    fn gather_signals(
        &self,
        slots: &[Slot],
        known: &mut Known,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), PrecomputeError> {
        for (path, digest) in self.folder.retired_signals()? {
            if FileRecord::of(&path, 0)?.digest == digest {
                known.take_signals(&path)?;
            } else {
                observe(Event::Note(format!("`{}` is damaged: its pairs stay without signals", path.display())));
            }
        }
        let of_parts = slots.iter().filter_map(|slot| slot.part.as_ref()?.signals.as_ref());
        for signals in of_parts {
            known.take_signals(&self.folder.path().join(&signals.name))?;
        }
        for path in &self.plan.reuse {
            for signals in ReferenceTable::open(path)?.signals() {
                known.take_signals(&signals)?;
            }
        }
        Ok(())
    }
}

fn check_digest(path: &Path, expected: &Digest, found: &Digest) -> Result<(), PrecomputeError> {
    if expected == found {
        return Ok(());
    }
    let (expected, found) = (expected.to_string(), found.to_string());
    Err(TableError::NotAsListed { path: path.to_owned(), what: "digest", expected, found }.into())
}
