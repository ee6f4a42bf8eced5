//! What is there before anything is scored: parts that are already what they have to be, and log-probs of others.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::path::Path;

use super::error::PrecomputeError;
use super::known::{self, Key, Known};
use super::plan::{Event, Plan};
use crate::batch::{Group, pack};
use crate::digest::Digest;
use crate::table::{
    FileRecord, Manifest, Part, Provenance, Recovered, ReferenceTable, TableError, TableFolder, unscored,
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

    pub(super) fn group(&self, row: usize) -> Group<'_> {
        let (prompt, chosen, rejected) = self.store.ids(row);
        Group { prompt, completions: vec![chosen, rejected] }
    }

    /// The parts of the table to be, with those that are there already. The others are moved out of the way, and the
    /// manifest is deleted before: the table is not finished any more.
    ///
    /// # Errors
    /// If a part is not the one that the manifest or the journal lists.
    pub(super) fn take_inventory(&self, recovered: Option<&Recovered>) -> Result<Vec<Slot>, PrecomputeError> {
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
            if let Some(&expected) = expected.filter(|expected| **expected != file.digest) {
                let (expected, found) = (expected.to_string(), file.digest.to_string());
                return Err(TableError::NotAsListed { path, what: "digest", expected, found }.into());
            }
            match slots.get_mut(index) {
                Some(slot) if self.is_part(&table, &slot.rows, expected.is_some())? => {
                    let (first, last) = (self.store.pair_id(slot.rows.start), self.store.pair_id(slot.rows.end - 1));
                    slot.part = Some(Part { file, first_pair: first.to_owned(), last_pair: last.to_owned() });
                }
                _ => others.push((path, file.digest)),
            }
        }
        if !others.is_empty() || slots.iter().any(|slot| slot.part.is_none()) {
            self.folder.reopen()?;
        }
        for (path, digest) in &others {
            self.folder.retire(path, digest)?;
        }
        Ok(slots)
    }

    /// Digests of the parts that an earlier run has vouched for.
    fn listed(&self, recovered: Option<&Recovered>) -> BTreeMap<String, Digest> {
        let manifest = Manifest::load(self.folder.path()).ok();
        let of_manifest = manifest.iter().flat_map(|manifest| &manifest.parts);
        let of_journal = recovered.iter().flat_map(|recovered| &recovered.parts);
        of_manifest.chain(of_journal).map(|part| (part.file.name.clone(), part.file.digest)).collect()
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

    /// The log-probs of missing pairs that are known without the model: from the journal, from parts that were moved
    /// out of the way, from parts that stay, and from the tables to reuse.
    pub(super) fn gather_known(
        &self,
        slots: &[Slot],
        recovered: Option<&Recovered>,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Known, PrecomputeError> {
        let mut known = Known::new(self.folder.path())?;
        let needed: HashSet<Key> = missing(slots).filter_map(|row| known::key(self.store.tokens_id(row))).collect();
        if needed.is_empty() {
            return Ok(known);
        }
        let is_needed = |key: Key| needed.contains(&key);
        for pair in recovered.iter().flat_map(|recovered| &recovered.scored) {
            if let Some(key) = known::key(&pair.tokens_id).filter(|&key| is_needed(key)) {
                known.insert(key, &pair.logps)?;
            }
        }
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
        Ok(known)
    }
}

/// The rows of parts that are not there.
pub(super) fn missing(slots: &[Slot]) -> impl Iterator<Item = usize> {
    slots.iter().filter(|slot| slot.part.is_none()).flat_map(|slot| slot.rows.clone())
}

/// What is left to do, in numbers.
#[derive(Default)]
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
}

impl Work {
    pub(super) fn of(job: &Job<'_>, slots: &[Slot], known: &Known) -> Result<Self, PrecomputeError> {
        let n_resumed = slots.iter().filter_map(|slot| slot.part.as_ref()).map(|part| part.file.rows).sum();
        let mut work = Self { n_resumed, ..Self::default() };
        let mut seen = HashSet::new();
        for row in missing(slots) {
            let key = job.key(row)?;
            if known.has(key) {
                work.n_reused += 1;
            } else if seen.insert(key) {
                work.n_scored += 1;
                work.n_tokens += job.n_tokens(row);
            } else {
                work.n_repeated += 1;
                work.repeated.insert(key);
            }
        }
        Ok(work)
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
