//! What stage one has done since it began, on disk before anything depends on it: parts with their digests, and the
//! log-probs of pairs, most of whose parts are not finished yet.
//!
//! ```text
//! 3f0c…  {"begin": {provenance, "layout": {"rows_per_part": 4096, "signals": true}}}
//! a91b…  {"part": {"file": "part-00000.parquet", "rows": 4096, "bytes": …, "digest": …, …}}
//! 07d2…  {"scored": {"tokens_id": …, "chosen": "bf8a1c22…", "rejected": "…", "signals": "…"}}
//! ```
//!
//! A line is the BLAKE3-128 of an entry and the entry, in JSON; log-probs are the bits of their `f32`, in hexadecimal,
//! and so are signals, which an entry may lack.
//! Invariant: an entry that was read is an entry that was written. A line cut short by a kill, or damaged since, is not
//! an entry, and what it said is done again.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Id;
use crate::io::{self, AtomicFile, IoError};
use crate::table::{Difference, PairSignals, PairTokenLogps, Part, Provenance, TableError, TokenScores};

/// Name of the journal in the folder of a table.
pub(super) const JOURNAL: &str = ".piref-journal";

/// Longest line that is read: the log-probs and signals of two completions of seven million tokens in all.
const MAX_LINE: u64 = 1 << 27;

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    n_scored: usize,
}

/// A pair that was scored before its part was written.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredPair {
    /// Which token ids were scored.
    pub tokens_id: String,
    /// Their log-probs, and signals where there are any.
    pub scores: TokenScores,
}

/// What a run makes: with these two, the bytes of every part of the table are settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// What it scores, and how.
    #[serde(flatten)]
    pub provenance: Provenance,
    /// How the pairs lie in files.
    pub layout: Layout,
}

/// How the pairs of a table lie in its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Pairs in a part, but for the last.
    pub rows_per_part: u64,
    /// Whether the parts get signals.
    pub signals: bool,
}

impl Task {
    /// The first thing in which `other` differs, of all that its files depend on.
    pub fn first_difference(&self, other: &Self) -> Option<Difference> {
        let (ours, theirs) = (self.layout, other.layout);
        let layouts = [
            ("rows_per_part", ours.rows_per_part.to_string(), theirs.rows_per_part.to_string()),
            ("signals", ours.signals.to_string(), theirs.signals.to_string()),
        ];
        let layouts = layouts.into_iter().filter(|(_, expected, found)| expected != found);
        let layouts = layouts.map(|(field, expected, found)| Difference { field, expected, found });
        self.provenance.differences(&other.provenance).into_iter().chain(layouts).next()
    }
}

/// What a journal says of a run that did not finish.
#[derive(Debug)]
pub struct Recovered {
    /// What the run was making.
    pub task: Task,
    /// The parts it has finished.
    pub parts: Vec<Part>,
    /// Lines that are no entries.
    pub n_damaged: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    Begin(Box<Task>),
    Part(Part),
    Scored {
        tokens_id: String,
        chosen: String,
        rejected: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signals: Option<String>,
    },
}

impl Journal {
    /// Starts a journal with what is known already; an older one at `path` is replaced at once.
    ///
    /// # Errors
    /// If the disk refuses, or what is scored cannot be told.
    pub fn begin<'a, E: From<TableError>>(
        path: &Path,
        task: &Task,
        parts: impl IntoIterator<Item = &'a Part>,
        scored: impl IntoIterator<Item = Result<ScoredPair, E>>,
    ) -> Result<Self, E> {
        let mut file = BufWriter::new(AtomicFile::create(path).map_err(TableError::from)?);
        let mut push = |entry: &Entry| -> Result<(), TableError> {
            Ok(file.write_all(&line(entry)?).map_err(|source| IoError::new("write", path, source))?)
        };
        push(&Entry::Begin(Box::new(task.clone())))?;
        for part in parts {
            push(&Entry::Part(part.clone()))?;
        }
        let mut n_scored = 0;
        for pair in scored {
            let pair = pair?;
            push(&Entry::scored(&pair.tokens_id, &pair.scores))?;
            n_scored += 1;
        }
        let written = file.into_inner().map_err(|error| IoError::new("write", path, error.into_error()));
        written.and_then(AtomicFile::commit).map_err(TableError::from)?;
        Ok(Self { path: path.to_owned(), file: io::append(path).map_err(TableError::from)?, n_scored })
    }

    /// Pairs in it, those of finished parts included.
    pub fn n_scored(&self) -> usize {
        self.n_scored
    }

    /// Adds scored pairs; they are on disk when this returns.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn push<'a>(&mut self, pairs: impl IntoIterator<Item = (&'a str, &'a TokenScores)>) -> Result<(), TableError> {
        let mut text = Vec::new();
        for (tokens_id, scores) in pairs {
            text.extend(line(&Entry::scored(tokens_id, scores))?);
            self.n_scored += 1;
        }
        self.append(&text)
    }

    /// Adds a part that is finished.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn push_part(&mut self, part: &Part) -> Result<(), TableError> {
        self.append(&line(&Entry::Part(part.clone()))?)
    }

    fn append(&mut self, text: &[u8]) -> Result<(), TableError> {
        let wrap = |source| IoError::new("write", &self.path, source);
        self.file.write_all(text).map_err(wrap)?;
        Ok(self.file.sync_data().map_err(wrap)?)
    }

    /// Reads the journal at `path`; `None` if there is none, or if it does not say what it is about.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn recover(path: &Path) -> Result<Option<Recovered>, TableError> {
        let (mut task, mut parts, mut n_damaged) = (None, Vec::new(), 0);
        for entry in entries(path)? {
            match entry? {
                Some(Entry::Begin(begin)) => task = Some(*begin),
                Some(Entry::Part(part)) => parts.push(part),
                Some(entry @ Entry::Scored { .. }) if entry.to_pair().is_some() => {}
                _ => n_damaged += 1,
            }
        }
        Ok(task.map(|task| Recovered { task, parts, n_damaged }))
    }

    /// What the journal at `path` is about, and no more; `None` if there is none, or if it does not say.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn task(path: &Path) -> Result<Option<Task>, TableError> {
        match entries(path)?.next().transpose()?.flatten() {
            Some(Entry::Begin(task)) => Ok(Some(*task)),
            _ => Ok(None),
        }
    }

    /// The scored pairs of the journal at `path`, one after another; none if there is no journal.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn scored(path: &Path) -> Result<impl Iterator<Item = Result<ScoredPair, TableError>>, TableError> {
        let pair = |entry: Result<Option<Entry>, TableError>| match entry {
            Ok(entry) => entry.and_then(|entry| entry.to_pair()).map(Ok),
            Err(error) => Some(Err(error)),
        };
        Ok(entries(path)?.filter_map(pair))
    }
}

/// The entries of a journal, `None` for a line that is none.
fn entries(path: &Path) -> Result<impl Iterator<Item = Result<Option<Entry>, TableError>>, TableError> {
    let mut reader = if path.is_file() { Some(BufReader::new(io::open(path)?)) } else { None };
    let path = path.to_owned();
    Ok(std::iter::from_fn(move || {
        let line = read_line(reader.as_mut()?).map_err(|source| IoError::new("read", &path, source).into());
        Some(line.transpose()?.map(|line| parse(&line)))
    }))
}

impl Entry {
    fn scored(tokens_id: &str, TokenScores { logps, signals }: &TokenScores) -> Self {
        Self::Scored {
            tokens_id: tokens_id.to_owned(),
            chosen: hex(&logps.chosen),
            rejected: hex(&logps.rejected),
            signals: signals.as_ref().map(|signals| hex_of_bytes(&signals.to_bytes())),
        }
    }

    fn to_pair(&self) -> Option<ScoredPair> {
        let Self::Scored { tokens_id, chosen, rejected, signals } = self else { return None };
        let logps = PairTokenLogps { chosen: floats(chosen)?, rejected: floats(rejected)? };
        let (n_chosen, n_rejected) = (logps.chosen.len(), logps.rejected.len());
        let signals = match signals {
            None => None,
            Some(hex) => Some(PairSignals::from_bytes(&bytes(hex)?, n_chosen, n_rejected)?),
        };
        Some(ScoredPair { tokens_id: tokens_id.clone(), scores: TokenScores { logps, signals } })
    }
}

fn line(entry: &Entry) -> Result<Vec<u8>, TableError> {
    let json = serde_json::to_string(entry)
        .map_err(|error| TableError::Internal { what: format!("an entry of the journal: {error}") })?;
    Ok(format!("{} {json}\n", id(&json)).into_bytes())
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

fn hex_of_bytes(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    if !hex.is_ascii() || !hex.len().is_multiple_of(2) {
        return None;
    }
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok()).collect()
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
    use crate::table::tests::{logps, provenance, signals};

    fn begin(path: &Path, pairs: impl IntoIterator<Item = ScoredPair>) -> Journal {
        Journal::begin::<TableError>(path, &task(), [], pairs.into_iter().map(Ok)).unwrap()
    }

    fn task() -> Task {
        Task { provenance: provenance(), layout: Layout { rows_per_part: 8, signals: true } }
    }

    fn pairs(path: &Path) -> Vec<ScoredPair> {
        Journal::scored(path).unwrap().map(Result::unwrap).collect()
    }

    fn scored(i: u32) -> ScoredPair {
        let logps = logps(i..i + 1).remove(0);
        // Every other pair has signals.
        let signals = (i % 2 == 1).then(|| signals(&logps));
        ScoredPair { tokens_id: format!("tokens-{i}"), scores: TokenScores { logps, signals } }
    }

    #[test]
    fn what_was_written_is_recovered_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(JOURNAL);
        assert!(Journal::recover(&path).unwrap().is_none());
        let mut pair = scored(1);
        pair.scores.logps.chosen = vec![-0.1, -f32::MIN_POSITIVE, -1.0e-7, -123.456];
        pair.scores.signals = Some(signals(&pair.scores.logps));
        let mut journal = begin(&path, [scored(0)]);
        journal.push([(pair.tokens_id.as_str(), &pair.scores)]).unwrap();

        let found = Journal::recover(&path).unwrap().unwrap();
        assert_eq!(found.task, task());
        assert_eq!(Journal::task(&path).unwrap(), Some(task()));
        assert_eq!(pairs(&path), [scored(0), pair]);
        assert_eq!((found.parts.len(), found.n_damaged), (0, 0));
    }

    #[test]
    fn tasks_differ_in_what_decides_the_bytes_of_a_part() {
        let field = |other: &Task| task().first_difference(other).map(|difference| difference.field);
        assert_eq!(field(&task()), None);
        let with = |rows_per_part, signals| Task { layout: Layout { rows_per_part, signals }, ..task() };
        assert_eq!(field(&with(16, false)), Some("rows_per_part"));
        assert_eq!(field(&with(8, false)), Some("signals"));
        let mut moved = with(16, true);
        moved.provenance.model.path = "/elsewhere".into();
        assert_eq!(field(&moved), Some("model.path"), "it stands in the footer of every part");
    }

    #[test]
    fn a_journal_cut_anywhere_yields_only_whole_entries() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(JOURNAL);
        begin(&path, [scored(0), scored(1)]);
        let whole = io::read(&path).unwrap();
        for length in 0..whole.len() {
            io::write(&path, &whole[..length]).unwrap();
            let n_lines =
                whole[..length].split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")).count();
            assert_eq!(Journal::recover(&path).unwrap().is_some(), n_lines > 0, "cut at {length}");
            assert_eq!(pairs(&path).len(), n_lines.saturating_sub(1), "cut at {length}");
        }
    }

    #[test]
    fn a_flipped_bit_costs_one_entry() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(JOURNAL);
        begin(&path, [scored(0), scored(1), scored(2)]);
        let whole = io::read(&path).unwrap();
        let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for at in (second..whole.len() - 1).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            io::write(&path, &bytes).unwrap();
            let found = Journal::recover(&path).unwrap().unwrap();
            assert!(found.n_damaged >= 1, "byte {at}");
            assert!(pairs(&path).iter().all(|pair| (0..3).any(|i| *pair == scored(i))), "byte {at}");
        }
    }
}
