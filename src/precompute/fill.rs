//! The parts that are missing: scored, journalled, written.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use super::error::PrecomputeError;
use super::inventory::{Job, Slot};
use super::journals::refuse_others_at_work;
use super::known::{Key, Known};
use super::pending::Pending;
use super::plan::{Event, Scope, Signals};
use super::score::score_batch;
use super::work::Work;
use crate::batch::{MicroBatch, PairIds, Sharing, micro_batches};
use crate::interrupt::Interrupt;
use crate::io;
use crate::model::Decoder;
use crate::table::{PairTokenLogps, Part, TableError, Task, TokenScores, assemble, is_logp, write_part, write_signals};

/// Writes missing parts from what is known and what the model says.
pub(super) struct Filler<'a> {
    pub(super) job: &'a Job<'a>,
    /// The reference, unless everything is known.
    pub(super) model: Option<&'a Decoder>,
    pub(super) known: Known,
    pub(super) work: &'a Work,
    pub(super) interrupt: &'a Interrupt,
    pub(super) done: Done,
}

/// How far the scoring is.
#[derive(Default)]
pub(super) struct Done {
    pub(super) n_pairs: u64,
    n_tokens: u64,
    /// Pairs without signals in the files of signals that were written.
    without_signals: u64,
}

impl Filler<'_> {
    /// All parts of the table, or of the shard; `None` if it was asked to stop before. `journalled` are the pairs of an earlier run that no
    /// part holds yet.
    ///
    /// # Errors
    /// If the model yields something that is no log-prob, or the disk refuses. What was scored before is journalled.
    pub(super) fn fill(
        &mut self,
        slots: Vec<Slot>,
        journalled: BTreeSet<Key>,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Option<Vec<Part>>, PrecomputeError> {
        let mut parts: Vec<Option<Part>> = slots.iter().map(|slot| slot.part.clone()).collect();
        let is_new = !self.job.folder.journal_path().exists();
        let mut pending = Pending::begin(self.job, parts.iter().flatten(), journalled, &mut self.known)?;
        if let Err(error) = refuse_others_at_work(self.job, observe) {
            // A journal that says nothing would count as a shard that is there.
            if is_new {
                io::remove(&self.job.folder.journal_path())?;
            }
            return Err(error);
        }
        for (nth, slot) in slots.into_iter().enumerate() {
            if slot.part.is_some() {
                continue;
            }
            let Some(fresh) = self.score(&slot.rows, &mut pending, observe)? else { return Ok(None) };
            let part = self.write(slot.part_idx, &slot.rows, &fresh)?;
            self.job.folder.publish(&part)?;
            parts[nth] = Some(part.clone());
            pending.finish(parts.iter().flatten(), &part, slot.rows, &mut self.known)?;
        }
        if let Scope::Shard(_) = self.job.plan.scope {
            pending.end(parts.iter().flatten(), &mut self.known)?;
        }
        Ok(Some(parts.into_iter().flatten().collect()))
    }

    /// Scores the pairs of these rows that are not known, and those of later rows that have a prompt of theirs; each set
    /// of tokens once. `None` if it was asked to stop. Log-probs that this part does not need alone are known afterwards.
    fn score(
        &mut self,
        rows: &Range<usize>,
        pending: &mut Pending<'_>,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Option<HashMap<Key, TokenScores>>, PrecomputeError> {
        let mut fresh = HashMap::new();
        let unknown = self.unknown(rows)?;
        let ids: Vec<PairIds<'_>> = unknown.iter().map(|&(row, _)| self.job.ids(row)).collect();
        for batch in micro_batches(&ids, self.job.plan.max_tokens.get(), Sharing::Prompts) {
            if self.interrupt.is_set() {
                return Ok(None);
            }
            let scored: Vec<(usize, Key)> = batch.pairs.iter().map(|place| unknown[place.pair]).collect();
            let scores = self.score_batch(&batch)?;
            for (&(row, _), scores) in scored.iter().zip(&scores) {
                self.check(row, &scores.logps)?;
            }
            pending.push(&scored, &scores)?;
            for ((row, key), scores) in scored.into_iter().zip(scores) {
                self.done.n_pairs += 1;
                self.done.n_tokens += self.job.n_tokens(row);
                if !rows.contains(&row) || self.work.repeated.contains(&key) {
                    self.known.insert(key, &scores)?;
                }
                if rows.contains(&row) {
                    fresh.insert(key, scores);
                }
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

    /// The pairs to score for these rows: the first of each set of tokens that is not known, and what shares its prompt
    /// further down.
    fn unknown(&self, rows: &Range<usize>) -> Result<Vec<(usize, Key)>, PrecomputeError> {
        let (mut seen, mut families, mut unknown) = (HashSet::new(), HashSet::new(), Vec::new());
        let mut push = |row: usize| -> Result<(), PrecomputeError> {
            let key = self.job.key(row)?;
            if !self.known.has(key) && seen.insert(key) {
                unknown.push((row, key));
            }
            Ok(())
        };
        for row in rows.clone() {
            push(row)?;
            if let Some((prompt, family)) = self.work.prompts.family(self.job.store, row)
                && families.insert(prompt)
            {
                family.filter(|row| *row >= rows.end).try_for_each(&mut push)?;
            }
        }
        Ok(unknown)
    }

    /// Says of how many pairs there are no signals, where there should be.
    pub(super) fn announce_without_signals(&self, parts: &[Part], observe: &mut dyn FnMut(Event<'_>)) {
        let of_parts = parts.iter().filter(|part| part.signals.is_none()).map(|part| part.file.rows);
        let n_without = of_parts.sum::<u64>() + self.done.without_signals;
        if self.job.plan.signals == Signals::Make && n_without > 0 {
            observe(Event::Note(format!(
                "{n_without} pairs have no signals: their log-probs are from where there were none; `--fresh` scores them again"
            )));
        }
    }

    fn score_batch(&self, batch: &MicroBatch<'_>) -> Result<Vec<TokenScores>, PrecomputeError> {
        let Some(model) = self.model else {
            let what = format!("{} pairs to score and no model", batch.pairs.len());
            return Err(TableError::Internal { what }.into());
        };
        score_batch(model, batch, self.job.plan.signals)
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

    /// Writes a part and its signals, those first: a part that is there has its signals.
    fn write(
        &mut self,
        part_idx: usize,
        rows: &Range<usize>,
        fresh: &HashMap<Key, TokenScores>,
    ) -> Result<Part, PrecomputeError> {
        let Job { folder, store, task: Task { provenance, .. }, .. } = *self.job;
        let mut scores = Vec::with_capacity(rows.len());
        for row in rows.clone() {
            let key = self.job.key(row)?;
            let found = match fresh.get(&key) {
                Some(scores) => Some(scores.clone()),
                None => self.known.get(key)?,
            };
            scores.push(found.ok_or_else(|| TableError::Internal { what: format!("row {row} was not scored") })?);
        }
        let columns = store.slice(rows.clone())?;
        let n_without = scores.iter().filter(|pair| pair.signals.is_none()).count();
        let signals = if self.job.plan.signals == Signals::Make && n_without < scores.len() {
            self.done.without_signals += n_without as u64;
            Some(write_signals(&folder.signals_path(part_idx), &columns, &scores, provenance)?)
        } else {
            None
        };
        let logps: Vec<PairTokenLogps> = scores.into_iter().map(|pair| pair.logps).collect();
        let batch = assemble(&columns, &store.pass_through_columns(&columns)?, &logps)?;
        Ok(Part { signals, ..write_part(&folder.part_path(part_idx), &batch, provenance)? })
    }
}
