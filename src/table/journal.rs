//! What stage one has done since it began, on disk before anything depends on it: parts with their digests, and the
//! log-probs of pairs whose part is not finished yet.
//!
//! ```text
//! 3f0c…  {"begin": {provenance}}
//! a91b…  {"part": {"file": "part-00000.parquet", "rows": 4096, "bytes": …, "digest": …, …}}
//! 07d2…  {"scored": {"tokens_id": …, "chosen": "bf8a1c22…", "rejected": "…"}}
//! ```
//!
//! A line is the BLAKE3-128 of an entry and the entry, in JSON; log-probs are the bits of their `f32`, in hexadecimal.
//! Invariant: an entry that was read is an entry that was written. A line cut short by a kill, or damaged since, is not
//! an entry, and what it said is done again.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Id;
use crate::io::{self, IoError};
use crate::table::{PairTokenLogps, Part, Provenance, TableError};

/// Name of the journal in the folder of a table.
pub(super) const JOURNAL: &str = ".piref-journal";

/// Longest line that is read: the log-probs of two completions of sixteen million tokens in all.
const MAX_LINE: u64 = 1 << 27;

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
}

/// A pair that was scored before its part was written.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredPair {
    /// Which token ids were scored.
    pub tokens_id: String,
    /// Their log-probs.
    pub logps: PairTokenLogps,
}

/// What a journal says of a run that did not finish.
#[derive(Debug)]
pub struct Recovered {
    /// What the run was scoring, and how.
    pub provenance: Provenance,
    /// The parts it has finished.
    pub parts: Vec<Part>,
    /// The pairs it has scored besides.
    pub scored: Vec<ScoredPair>,
    /// Lines that are no entries.
    pub n_damaged: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    Begin(Box<Provenance>),
    Part(Part),
    Scored { tokens_id: String, chosen: String, rejected: String },
}

impl Journal {
    /// Starts a journal with what is known already; an older one at `path` is replaced at once.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn begin<'a>(
        path: &Path,
        provenance: &Provenance,
        parts: impl IntoIterator<Item = &'a Part>,
        scored: impl IntoIterator<Item = ScoredPair>,
    ) -> Result<Self, TableError> {
        let mut text = Vec::new();
        push(&mut text, &Entry::Begin(Box::new(provenance.clone())))?;
        for part in parts {
            push(&mut text, &Entry::Part(part.clone()))?;
        }
        for pair in scored {
            push(&mut text, &Entry::scored(&pair.tokens_id, &pair.logps))?;
        }
        io::write(path, &text)?;
        Ok(Self { path: path.to_owned(), file: io::append(path)? })
    }

    /// Adds scored pairs; they are on disk when this returns.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn push<'a>(
        &mut self,
        pairs: impl IntoIterator<Item = (&'a str, &'a PairTokenLogps)>,
    ) -> Result<(), TableError> {
        let mut text = Vec::new();
        for (tokens_id, logps) in pairs {
            push(&mut text, &Entry::scored(tokens_id, logps))?;
        }
        let wrap = |source| IoError::new("write", &self.path, source);
        self.file.write_all(&text).map_err(wrap)?;
        Ok(self.file.sync_data().map_err(wrap)?)
    }

    /// Reads the journal at `path`; `None` if there is none, or if it does not say what it is about.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn recover(path: &Path) -> Result<Option<Recovered>, TableError> {
        if !path.is_file() {
            return Ok(None);
        }
        let mut reader = BufReader::new(io::open(path)?);
        let (mut provenance, mut parts, mut scored, mut n_damaged) = (None, Vec::new(), Vec::new(), 0);
        while let Some(line) = read_line(&mut reader).map_err(|source| IoError::new("read", path, source))? {
            match parse(&line) {
                Some(Entry::Begin(begin)) => provenance = Some(*begin),
                Some(Entry::Part(part)) => parts.push(part),
                Some(Entry::Scored { tokens_id, chosen, rejected }) => match (floats(&chosen), floats(&rejected)) {
                    (Some(chosen), Some(rejected)) => {
                        scored.push(ScoredPair { tokens_id, logps: PairTokenLogps { chosen, rejected } });
                    }
                    _ => n_damaged += 1,
                },
                None => n_damaged += 1,
            }
        }
        Ok(provenance.map(|provenance| Recovered { provenance, parts, scored, n_damaged }))
    }
}

impl Entry {
    fn scored(tokens_id: &str, logps: &PairTokenLogps) -> Self {
        Self::Scored { tokens_id: tokens_id.to_owned(), chosen: hex(&logps.chosen), rejected: hex(&logps.rejected) }
    }
}

fn push(text: &mut Vec<u8>, entry: &Entry) -> Result<(), TableError> {
    let json = serde_json::to_string(entry)
        .map_err(|error| TableError::Internal { what: format!("an entry of the journal: {error}") })?;
    text.extend_from_slice(format!("{} {json}\n", id(&json)).as_bytes());
    Ok(())
}

/// A line without its end, or what a kill has left of one.
fn read_line(reader: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    std::io::Read::take(&mut *reader, MAX_LINE).read_until(b'\n', &mut line)?;
    Ok(if line.is_empty() { None } else { Some(line) })
}

fn parse(line: &[u8]) -> Option<Entry> {
    let (digest, json) = std::str::from_utf8(line).ok()?.strip_suffix('\n')?.split_once(' ')?;
    if digest == id(json) { serde_json::from_str(json).ok() } else { None }
}

fn id(json: &str) -> String {
    Id::of_parts("journal", [json.as_bytes()]).to_string()
}

fn hex(logps: &[f32]) -> String {
    let mut hex = String::with_capacity(8 * logps.len());
    for logp in logps {
        // Writing to a string does not fail.
        let _ = write!(hex, "{:08x}", logp.to_bits());
    }
    hex
}

fn floats(hex: &str) -> Option<Vec<f32>> {
    if !hex.is_ascii() || !hex.len().is_multiple_of(8) {
        return None;
    }
    (0..hex.len()).step_by(8).map(|at| Some(f32::from_bits(u32::from_str_radix(&hex[at..at + 8], 16).ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::tests::{logps, provenance};

    fn scored(i: u32) -> ScoredPair {
        let logps = logps(i..i + 1).remove(0);
        ScoredPair { tokens_id: format!("tokens-{i}"), logps }
    }

    #[test]
    fn what_was_written_is_recovered_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(JOURNAL);
        assert!(Journal::recover(&path).unwrap().is_none());
        let mut pair = scored(1);
        pair.logps.chosen = vec![-0.1, -f32::MIN_POSITIVE, -1.0e-7, -123.456];
        let mut journal = Journal::begin(&path, &provenance(), [], [scored(0)]).unwrap();
        journal.push([(pair.tokens_id.as_str(), &pair.logps)]).unwrap();

        let found = Journal::recover(&path).unwrap().unwrap();
        assert_eq!(found.provenance, provenance());
        assert_eq!(found.scored, [scored(0), pair]);
        assert_eq!((found.parts.len(), found.n_damaged), (0, 0));
    }

    #[test]
    fn a_journal_cut_anywhere_yields_only_whole_entries() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(JOURNAL);
        Journal::begin(&path, &provenance(), [], [scored(0), scored(1)]).unwrap();
        let whole = io::read(&path).unwrap();
        for length in 0..whole.len() {
            io::write(&path, &whole[..length]).unwrap();
            let found = Journal::recover(&path).unwrap();
            let scored_before = found.map_or(0, |found| found.scored.len());
            let n_lines =
                whole[..length].split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")).count();
            assert_eq!(scored_before, n_lines.saturating_sub(1), "cut at {length}");
        }
    }

    #[test]
    fn a_flipped_bit_costs_one_entry() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(JOURNAL);
        Journal::begin(&path, &provenance(), [], [scored(0), scored(1), scored(2)]).unwrap();
        let whole = io::read(&path).unwrap();
        let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for at in (second..whole.len() - 1).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            io::write(&path, &bytes).unwrap();
            let found = Journal::recover(&path).unwrap().unwrap();
            assert!(found.n_damaged >= 1, "byte {at}");
            assert!(found.scored.iter().all(|pair| (0..3).any(|i| *pair == scored(i))), "byte {at}");
        }
    }
}
