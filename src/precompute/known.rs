//! Log-probs that need no model any more, by `tokens_id`: of earlier tables, of an interrupted run, of a pair that
//! this run has scored already.
//!
//! Their values lie in a file without a name, so that memory is about 50 bytes a pair whatever its length.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use arrow::array::AsArray;
use arrow::datatypes::Float32Type;

use super::error::PrecomputeError;
use crate::io::{self, IoError};
use crate::table::{PairTokenLogps, ReferenceTable};

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
}

impl Known {
    pub(super) fn new(folder: &Path) -> Result<Self, PrecomputeError> {
        let file = io::scratch(folder)?;
        Ok(Self { folder: folder.to_owned(), file, end: 0, places: HashMap::new() })
    }

    pub(super) fn has(&self, key: Key) -> bool {
        self.places.contains_key(&key)
    }

    pub(super) fn insert(&mut self, key: Key, logps: &PairTokenLogps) -> Result<(), PrecomputeError> {
        let bytes: Vec<u8> = logps.chosen.iter().chain(&logps.rejected).flat_map(|logp| logp.to_le_bytes()).collect();
        let place = Place { offset: self.end, n_chosen: count(&logps.chosen), n_rejected: count(&logps.rejected) };
        let wrap = |source| IoError::new("write a temporary file in", &self.folder, source);
        self.file.seek(SeekFrom::Start(self.end)).and_then(|_| self.file.write_all(&bytes)).map_err(wrap)?;
        self.end += bytes.len() as u64;
        self.places.insert(key, place);
        Ok(())
    }

    pub(super) fn get(&mut self, key: Key) -> Result<Option<PairTokenLogps>, PrecomputeError> {
        let Some(place) = self.places.get(&key).copied() else { return Ok(None) };
        let (n_chosen, n_rejected) = (place.n_chosen as usize, place.n_rejected as usize);
        let mut bytes = vec![0; 4 * (n_chosen + n_rejected)];
        let wrap = |source| IoError::new("read a temporary file in", &self.folder, source);
        self.file.seek(SeekFrom::Start(place.offset)).and_then(|_| self.file.read_exact(&mut bytes)).map_err(wrap)?;
        let mut chosen: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let rejected = chosen.split_off(n_chosen);
        Ok(Some(PairTokenLogps { chosen, rejected }))
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
                    self.insert(key, &logps)?;
                }
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

    #[test]
    fn log_probs_come_back_to_the_bit_in_any_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut known = Known::new(folder.path()).unwrap();
        let logps = |i: f32| PairTokenLogps { chosen: vec![-i, -0.1], rejected: vec![-f32::MIN_POSITIVE, -i, -3.0] };
        for i in 0..20_u8 {
            known.insert(i.into(), &logps(i.into())).unwrap();
        }
        for i in [3_u8, 0, 19, 3] {
            assert_eq!(known.get(i.into()).unwrap(), Some(logps(i.into())));
        }
        assert_eq!(known.get(20).unwrap(), None);
        assert!(io::list(folder.path()).unwrap().is_empty(), "the file has no name");
    }
}
