//! The parts that are missing: scored, journalled, written.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use super::error::PrecomputeError;
use super::inventory::{Job, Slot, Work};
use super::known::{Key, Known};
use super::plan::Event;
use super::score::score_batch;
use crate::batch::{Group, pack};
use crate::interrupt::Interrupt;
use crate::model::Decoder;
use crate::table::{Journal, PairTokenLogps, Part, ScoredPair, TableError, assemble, is_logp, write_part};

/// Writes missing parts from what is known and what the model says.
pub(super) struct Filler<'a> {
    pub(super) job: &'a Job<'a>,
    /// The reference, unless everything is known.
    pub(super) model: Option<&'a Decoder>,
    pub(super) known: Known,
    /// What an earlier run has journalled and no part holds yet.
    pub(super) recovered: Vec<ScoredPair>,
    pub(super) work: &'a Work,
    pub(super) interrupt: &'a Interrupt,
    pub(super) done: Done,
}

/// How far the scoring is.
#[derive(Default)]
pub(super) struct Done {
    pub(super) n_pairs: u64,
    n_tokens: u64,
}

impl Filler<'_> {
    /// All parts of the table; `None` if it was asked to stop before.
    ///
    /// # Errors
    /// If the model yields something that is no log-prob, or the disk refuses. What was scored before is journalled.
    pub(super) fn fill(
        &mut self,
        slots: Vec<Slot>,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Option<Vec<Part>>, PrecomputeError> {
        let mut parts: Vec<Option<Part>> = slots.iter().map(|slot| slot.part.clone()).collect();
        let mut journal = self.begin_journal(&parts)?;
        for (index, slot) in slots.into_iter().enumerate() {
            if slot.part.is_some() {
                continue;
            }
            let Some(fresh) = self.score(&slot.rows, &mut journal, observe)? else { return Ok(None) };
            parts[index] = Some(self.write(index, &slot.rows, &fresh)?);
            self.recovered.retain(|pair| !slot.rows.clone().any(|row| self.job.store.tokens_id(row) == pair.tokens_id));
            // The part holds what was journalled for it.
            journal = self.begin_journal(&parts)?;
        }
        Ok(Some(parts.into_iter().flatten().collect()))
    }

    fn begin_journal(&self, parts: &[Option<Part>]) -> Result<Journal, PrecomputeError> {
        let path = self.job.folder.journal_path();
        Ok(Journal::begin(&path, self.job.provenance, parts.iter().flatten(), self.recovered.iter().cloned())?)
    }

    /// Scores the pairs of these rows that are not known, each set of tokens once; `None` if it was asked to stop.
    fn score(
        &mut self,
        rows: &Range<usize>,
        journal: &mut Journal,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Option<HashMap<Key, PairTokenLogps>>, PrecomputeError> {
        let mut fresh = HashMap::new();
        let unknown = self.unknown(rows)?;
        let groups: Vec<Group<'_>> = unknown.iter().map(|&(row, _)| self.job.group(row)).collect();
        for run in pack(groups.iter().map(Group::n_rows), self.job.plan.max_tokens.get()) {
            if self.interrupt.is_set() {
                return Ok(None);
            }
            let logps = self.score_batch(&groups[run.clone()])?;
            let scored = &unknown[run];
            for (&(row, _), logps) in scored.iter().zip(&logps) {
                self.check(row, logps)?;
            }
            journal.push(scored.iter().map(|&(row, _)| self.job.store.tokens_id(row)).zip(&logps))?;
            for (&(row, key), logps) in scored.iter().zip(logps) {
                self.done.n_pairs += 1;
                self.done.n_tokens += self.job.n_tokens(row);
                if self.work.repeated.contains(&key) {
                    self.known.insert(key, &logps)?;
                }
                fresh.insert(key, logps);
            }
            observe(Event::Scored {
                n_pairs: self.done.n_pairs,
                n_total: self.work.n_scored,
                n_tokens: self.done.n_tokens,
                n_total_tokens: self.work.n_tokens,
            });
        }
        Ok(if self.interrupt.is_set() { None } else { Some(fresh) })
    }

    /// The rows that have to be scored: the first of each set of tokens that is not known.
    fn unknown(&self, rows: &Range<usize>) -> Result<Vec<(usize, Key)>, PrecomputeError> {
        let mut seen = HashSet::new();
        let mut unknown = Vec::new();
        for row in rows.clone() {
            let key = self.job.key(row)?;
            if !self.known.has(key) && seen.insert(key) {
                unknown.push((row, key));
            }
        }
        Ok(unknown)
    }

    fn score_batch(&self, groups: &[Group<'_>]) -> Result<Vec<PairTokenLogps>, PrecomputeError> {
        let Some(model) = self.model else {
            let what = format!("{} pairs to score and no model", groups.len());
            return Err(TableError::Internal { what }.into());
        };
        score_batch(model, groups)
            .map_err(|source| PrecomputeError::Model { model: self.job.plan.model.clone(), source })
    }

    /// Refuses what is no log-prob, before it is journalled.
    fn check(&self, row: usize, logps: &PairTokenLogps) -> Result<(), PrecomputeError> {
        for (side, logps) in [("chosen", &logps.chosen), ("rejected", &logps.rejected)] {
            let Some(token) = logps.iter().position(|&logp| !is_logp(logp.into())) else { continue };
            let place = self.job.store.slice(row..row + 1)?;
            return Err(PrecomputeError::NotALogp {
                pair_id: self.job.store.pair_id(row).to_owned(),
                source_file: place["source"].as_string::<i32>().value(0).to_owned(),
                row_idx: place["row_idx"].as_primitive::<Int64Type>().value(0),
                side,
                token,
                found: logps[token],
            });
        }
        Ok(())
    }

    fn write(
        &mut self,
        index: usize,
        rows: &Range<usize>,
        fresh: &HashMap<Key, PairTokenLogps>,
    ) -> Result<Part, PrecomputeError> {
        let mut logps = Vec::with_capacity(rows.len());
        for row in rows.clone() {
            let key = self.job.key(row)?;
            let found = match fresh.get(&key) {
                Some(logps) => Some(logps.clone()),
                None => self.known.get(key)?,
            };
            logps.push(found.ok_or_else(|| TableError::Internal { what: format!("row {row} was not scored") })?);
        }
        let columns = self.job.store.slice(rows.clone())?;
        let batch = assemble(&columns, &self.job.store.pass_through_columns(&columns)?, &logps)?;
        Ok(write_part(&self.job.folder.part_path(index), &batch, self.job.provenance)?)
    }
}
