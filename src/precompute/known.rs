//! Log-probs that need no model any more, and what signals there are with them, by `tokens_id`: of earlier tables, of an
//! interrupted run, of a pair that this run has scored already.
//!
//! Their values lie in a file without a name, so that memory is about 80 bytes a pair whatever its length.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use arrow::array::AsArray;
use arrow::datatypes::Float32Type;

use super::error::PrecomputeError;
use crate::io::{self, IoError};
use crate::table::{PairSignals, PairTokenLogps, ReferenceTable, SignalsReader, TokenScores};

/// What `tokens_id` is as a number.
pub(super) type Key = u128;

/// The number of a `tokens_id`; `None` if it is none of ours.
pub(super) fn key(tokens_id: &str) -> Option<Key> {
    Key::from_str_radix(tokens_id, 16).ok()
}

/// The `tokens_id` of a number.
pub(super) fn tokens_id(key: Key) -> String {
    format!("{key:032x}")
}

/// Log-probs by what they are of.
pub(super) struct Known {
    /// Where the file without a name is, for errors.
    folder: PathBuf,
    file: File,
    end: u64,
    places: HashMap<Key, Place>,
}

/// Where the log-probs of a pair lie in the file.
#[derive(Clone, Copy)]
struct Place {
    offset: u64,
    n_chosen: u32,
    n_rejected: u32,
    /// Where its signals do, if it has any.
    signals: Option<u64>,
}

impl Known {
    pub(super) fn new(folder: &Path) -> Result<Self, PrecomputeError> {
        let file = io::scratch(folder)?;
        Ok(Self { folder: folder.to_owned(), file, end: 0, places: HashMap::new() })
    }

    pub(super) fn has(&self, key: Key) -> bool {
        self.places.contains_key(&key)
    }

    pub(super) fn insert(&mut self, key: Key, scores: &TokenScores) -> Result<(), PrecomputeError> {
        let logps = &scores.logps;
        let bytes: Vec<u8> = logps.chosen.iter().chain(&logps.rejected).flat_map(|logp| logp.to_le_bytes()).collect();
        let (n_chosen, n_rejected) = (count(&logps.chosen), count(&logps.rejected));
        let offset = self.append(&bytes)?;
        let signals = scores.signals.as_ref().map(|signals| self.append(&signals.to_bytes())).transpose()?;
        self.places.insert(key, Place { offset, n_chosen, n_rejected, signals });
        Ok(())
    }

    pub(super) fn get(&mut self, key: Key) -> Result<Option<TokenScores>, PrecomputeError> {
        let Some(place) = self.places.get(&key).copied() else { return Ok(None) };
        let (n_chosen, n_rejected) = (place.n_chosen as usize, place.n_rejected as usize);
        let bytes = self.read(place.offset, 4 * (n_chosen + n_rejected))?;
        let mut chosen: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let rejected = chosen.split_off(n_chosen);
        let signals = match place.signals {
            None => None,
            Some(offset) => {
                let bytes = self.read(offset, PairSignals::n_bytes(n_chosen, n_rejected))?;
                PairSignals::from_bytes(&bytes, n_chosen, n_rejected)
            }
        };
        Ok(Some(TokenScores { logps: PairTokenLogps { chosen, rejected }, signals }))
    }

    /// Writes bytes at the end; returns where they are.
    fn append(&mut self, bytes: &[u8]) -> Result<u64, PrecomputeError> {
        let wrap = |source| IoError::new("write a temporary file in", &self.folder, source);
        self.file.seek(SeekFrom::Start(self.end)).and_then(|_| self.file.write_all(bytes)).map_err(wrap)?;
        let offset = self.end;
        self.end += bytes.len() as u64;
        Ok(offset)
    }

    fn read(&mut self, offset: u64, n_bytes: usize) -> Result<Vec<u8>, PrecomputeError> {
        let mut bytes = vec![0; n_bytes];
        let wrap = |source| IoError::new("read a temporary file in", &self.folder, source);
        self.file.seek(SeekFrom::Start(offset)).and_then(|_| self.file.read_exact(&mut bytes)).map_err(wrap)?;
        Ok(bytes)
    }

    /// Takes from a table, or one part of one, what `is_needed`. A row without the log-probs of its tokens (of an
    /// imported table) cannot serve.
    pub(super) fn take(
        &mut self,
        table: &ReferenceTable,
        is_needed: impl Fn(Key) -> bool,
    ) -> Result<(), PrecomputeError> {
        const COLUMNS: [&str; 5] =
            ["tokens_id", "chosen_tokens", "rejected_tokens", "ref_chosen_token_logps", "ref_rejected_token_logps"];
        for batch in table.checked_batches(&COLUMNS)? {
            let batch = batch?;
            let ids = batch["tokens_id"].as_string::<i32>();
            let (chosen, rejected) =
                (batch["ref_chosen_token_logps"].as_list::<i32>(), batch["ref_rejected_token_logps"].as_list::<i32>());
            for (row, id) in ids.iter().enumerate() {
                let Some(key) = id.and_then(key).filter(|&key| is_needed(key) && !self.has(key)) else { continue };
                let logps =
                    |list: &arrow::array::ListArray| list.value(row).as_primitive::<Float32Type>().values().to_vec();
                let logps = PairTokenLogps { chosen: logps(chosen), rejected: logps(rejected) };
                if !logps.chosen.is_empty() && !logps.rejected.is_empty() {
                    self.insert(key, &TokenScores { logps, signals: None })?;
                }
            }
        }
        Ok(())
    }

    /// Takes the signals in a file, made under the conditions of this table, for pairs that are known without.
    pub(super) fn take_signals(&mut self, path: &Path) -> Result<(), PrecomputeError> {
        for pair in SignalsReader::open(path)?.pairs()? {
            let (tokens_id, signals) = pair?;
            let Some(key) = key(&tokens_id) else { continue };
            let Some(place) = self.places.get(&key).filter(|place| place.signals.is_none()) else { continue };
            let counts = (place.n_chosen as usize, place.n_rejected as usize);
            if (signals.chosen.entropies.len(), signals.rejected.entropies.len()) == counts {
                let offset = self.append(&signals.to_bytes())?;
                self.places.entry(key).and_modify(|place| place.signals = Some(offset));
            }
        }
        Ok(())
    }
}

fn count(logps: &[f32]) -> u32 {
    u32::try_from(logps.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::CompletionSignals;

    #[test]
    fn log_probs_come_back_to_the_bit_in_any_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut known = Known::new(folder.path()).unwrap();
        let signals = |i: f32| PairSignals {
            chosen: CompletionSignals { entropies: vec![i, 0.1], are_top: vec![true, false] },
            rejected: CompletionSignals { entropies: vec![0.0, 2.0, i], are_top: vec![false, true, true] },
            ches: -f64::from(i) / 3.0,
            ches_mean: f64::MIN_POSITIVE,
        };
        let scores = |i: u8| TokenScores {
            logps: PairTokenLogps {
                chosen: vec![-f32::from(i), -0.1],
                rejected: vec![-f32::MIN_POSITIVE, -f32::from(i), -3.0],
            },
            signals: i.is_multiple_of(3).then(|| signals(i.into())),
        };
        for i in 0..20_u8 {
            known.insert(i.into(), &scores(i)).unwrap();
        }
        for i in [3_u8, 0, 19, 4, 3] {
            assert_eq!(known.get(i.into()).unwrap(), Some(scores(i)));
        }
        assert_eq!(known.get(20).unwrap(), None);
        assert!(io::list(folder.path()).unwrap().is_empty(), "the file has no name");
    }
}
