//! The parts that are missing: scored, journalled, written.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use super::engine::{Ended, Engine, Said};
use super::error::PrecomputeError;
use super::inventory::{Job, Slot};
use super::journals::refuse_others_at_work;
use super::known::{Key, Known};
use super::pending::Pending;
use super::plan::{Event, Scope, Signals};
use super::work::Work;
use crate::batch::PairIds;
use crate::interrupt::Interrupt;
use crate::io;
use crate::table::{PairTokenLogps, Part, TableError, Task, TokenScores, assemble, is_logp, write_part, write_signals};

/// Writes missing parts from what is known and what the engine says.
pub(super) struct Filler<'a> {
    pub(super) job: &'a Job<'a>,
    /// What scores the others.
    pub(super) engine: &'a mut dyn Engine,
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
        slots: &[Slot],
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
        for round in rounds(slots, self.engine.n_pairs_at_once()) {
            let rows: Vec<Range<usize>> = round.iter().map(|&nth| slots[nth].rows.clone()).collect();
            let Some(fresh) = self.score(&rows, &mut pending, observe)? else { return Ok(None) };
            for (nth, rows) in round.into_iter().zip(rows) {
                let part = self.write(slots[nth].part_idx, &rows, &fresh)?;
                self.job.folder.publish(&part)?;
                parts[nth] = Some(part.clone());
                pending.finish(parts.iter().flatten(), &part, rows, &mut self.known)?;
            }
        }
        if let Scope::Shard(_) = self.job.plan.scope {
            pending.end(parts.iter().flatten(), &mut self.known)?;
        }
        Ok(Some(parts.into_iter().flatten().collect()))
    }

    /// Scores the pairs of these parts that are not known, and those of later rows that have a prompt of theirs; each set
    /// of tokens once. `None` if it was asked to stop. What is returned is what the first part needs alone; all else is
    /// known afterwards.
    fn score(
        &mut self,
        parts: &[Range<usize>],
        pending: &mut Pending<'_>,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Option<HashMap<Key, TokenScores>>, PrecomputeError> {
        let unknown = self.unknown(parts)?;
        let (job, work, interrupt) = (self.job, self.work, self.interrupt);
        let Self { engine, known, done, .. } = self;
        let ids: Vec<PairIds<'_>> = unknown.iter().map(|&(row, _)| job.ids(row)).collect();
        let is_of_first = |row: usize| parts.first().is_some_and(|rows| rows.contains(&row));
        let mut fresh = HashMap::new();
        let mut listen = |said: Said<'_>| -> Result<(), PrecomputeError> {
            let (places, scores) = match said {
                Said::Scores { places, scores } => (places, scores),
                Said::Note(line) => {
                    observe(Event::Note(line));
                    return Ok(());
                }
            };
            let scored: Vec<(usize, Key)> = places.iter().map(|&place| unknown[place]).collect();
            for (&(row, _), scores) in scored.iter().zip(&scores) {
                check(job, row, &scores.logps)?;
            }
            pending.push(&scored, &scores)?;
            for ((row, key), scores) in scored.into_iter().zip(scores) {
                done.n_pairs += 1;
                done.n_tokens += job.n_tokens(row);
                if !is_of_first(row) || work.repeated.contains(&key) {
                    known.insert(key, &scores)?;
                }
                if is_of_first(row) {
                    fresh.insert(key, scores);
                }
            }
            observe(Event::Scored {
                n_pairs: done.n_pairs,
                n_total: work.n_scored,
                n_tokens: done.n_tokens,
                n_total_tokens: work.n_tokens,
            });
            Ok(())
        };
        match engine.score(job.plan, &ids, interrupt, &mut listen)? {
            Ended::Done => Ok(Some(fresh)),
            Ended::Interrupted => Ok(None),
        }
    }

    /// The pairs to score for these parts: the first of each set of tokens that is not known, and what shares its prompt
    /// further down.
    fn unknown(&self, parts: &[Range<usize>]) -> Result<Vec<(usize, Key)>, PrecomputeError> {
        let (mut seen, mut families, mut unknown) = (HashSet::new(), HashSet::new(), Vec::new());
        let mut push = |row: usize| -> Result<(), PrecomputeError> {
            let key = self.job.key(row)?;
            if !self.known.has(key) && seen.insert(key) {
                unknown.push((row, key));
            }
            Ok(())
        };
        for rows in parts {
            for row in rows.clone() {
                push(row)?;
                if let Some((prompt, family)) = self.work.prompts.family(self.job.store, row)
                    && families.insert(prompt)
                {
                    family.filter(|row| *row >= rows.end).try_for_each(&mut push)?;
                }
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

/// The parts that are missing, as many together as have so many rows at least.
fn rounds(slots: &[Slot], n_rows: usize) -> Vec<Vec<usize>> {
    let (mut rounds, mut open, mut n_open) = (Vec::new(), Vec::new(), 0);
    for (index, slot) in slots.iter().enumerate().filter(|(_, slot)| slot.part.is_none()) {
        open.push(index);
        n_open += slot.rows.len();
        if n_open >= n_rows {
            rounds.push(std::mem::take(&mut open));
            n_open = 0;
        }
    }
    if !open.is_empty() {
        rounds.push(open);
    }
    rounds
}

/// Refuses what is no log-prob, before it is journalled.
fn check(job: &Job<'_>, row: usize, logps: &PairTokenLogps) -> Result<(), PrecomputeError> {
    for (side, logps) in [("chosen", &logps.chosen), ("rejected", &logps.rejected)] {
        let Some(token) = logps.iter().position(|&logp| !is_logp(logp.into())) else { continue };
        let place = job.store.slice(row..row + 1)?;
        return Err(PrecomputeError::NotALogp {
            pair_id: job.store.pair_id(row).to_owned(),
            source_file: place["source"].as_string::<i32>().value(0).to_owned(),
            row_idx: place["row_idx"].as_primitive::<Int64Type>().value(0),
            side,
            token,
            found: logps[token],
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::FileRecord;

    fn slot(rows: Range<usize>, is_there: bool) -> Slot {
        let part = || Part {
            file: FileRecord { name: String::new(), rows: 0, bytes: 0, digest: crate::digest::Digest::of(b"") },
            first_pair: String::new(),
            last_pair: String::new(),
            signals: None,
        };
        Slot { part_idx: 0, rows, part: is_there.then(part) }
    }

    #[test]
    fn missing_parts_are_made_together_up_to_what_an_engine_asks_for() {
        let slots = [(0..4, false), (4..8, true), (8..12, false), (12..16, false), (16..18, false)];
        let slots = slots.map(|(rows, is_there)| slot(rows, is_there));
        assert_eq!(rounds(&slots, 1), [vec![0], vec![2], vec![3], vec![4]]);
        assert_eq!(rounds(&slots, 8), [vec![0, 2], vec![3, 4]]);
        assert_eq!(rounds(&slots, 100), [vec![0, 2, 3, 4]]);
        assert_eq!(rounds(&slots[1..2], 1), Vec::<Vec<usize>>::new());
    }
}
