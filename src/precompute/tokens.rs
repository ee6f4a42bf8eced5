//! Data files to the token store and the rejects table, in one streaming pass.
//!
//! In which part of the table a pair stands is decided as it is read, before it is tokenised: so a shard reads all of the
//! data and tokenises what is its own. A pair that turns out to have nothing to score leaves its part one smaller.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::PrecomputeError;
use super::plan::{Event, Pairs, Plan};
use crate::data::{self, DataError, NamedFile, PreferencePair, Reject, RejectKind, Row};
use crate::interrupt::Interrupt;
use crate::io;
use crate::storage::{self, Location};
use crate::table::{
    self, FileRecord, Manifest, RejectCounts, RejectLimits, Rejects, Shard, SourceProvenance, TableFolder,
};
use crate::tokenize::{PairTokenizer, StoreWriter, TokenStore};

/// The data as token ids, and what is known of where it came from.
pub(super) struct Tokens {
    /// Of the whole data set, or of the parts of the shard.
    pub(super) store: TokenStore,
    /// The parts that those are, in order; one without a pair is none.
    pub(super) parts: Vec<PartLength>,
    /// Pairs of the whole data set, those without anything to score included.
    pub(super) n_read: usize,
    pub(super) sources: Vec<SourceProvenance>,
    pub(super) rejects: Option<FileRecord>,
    pub(super) n_rejected: RejectCounts,
}

/// How much of the token store is one part of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct PartLength {
    /// Its number in the table.
    pub(super) part_idx: usize,
    pub(super) n_pairs: usize,
}

/// Pairs tokenised together: enough for the tokenizer's threads, small in memory.
const CHUNK: usize = 256;

/// Bytes after which no further pair is waited for.
const CHUNK_BYTES: usize = 8 << 20;

/// Reads and tokenises the data of the plan; `None` if it was asked to stop.
///
/// # Errors
/// If a file is not preference data, or if more rows are rejected than the plan allows; the rejects file is then there
/// to be read.
pub(super) fn read(
    plan: &Plan,
    tokenizer: &PairTokenizer,
    folder: &TableFolder,
    interrupt: &Interrupt,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Option<Tokens>, PrecomputeError> {
    let files = source_files(&plan.pairs)?;
    if files.is_empty() {
        return Err(PrecomputeError::NoData);
    }
    let limit = match plan.pairs {
        Pairs::Files { limit, .. } => limit,
        Pairs::OfTable { .. } => None,
    };
    let mut sink = Sink {
        tokenizer,
        limit,
        shard: plan.scope.shard(),
        rows_per_part: plan.rows_per_part,
        store: StoreWriter::create(folder.path())?,
        rejects: Rejects::new(&folder.incoming_rejects_path()),
        parts: Vec::new(),
        chunk: Vec::with_capacity(CHUNK),
        part_idxs: Vec::with_capacity(CHUNK),
        chunk_bytes: 0,
        n_read: 0,
        n_left: 0,
        n_pairs: 0,
        n_same: 0,
        n_moved: 0,
    };
    let mut sources: Vec<SourceProvenance> = Vec::new();
    let n_files = files.len();
    for file in files {
        let NamedFile { name, path } = &file.file;
        let (digest, bytes) = io::digest(path)?;
        file.check("digest", |listed| listed.digest.to_string(), &digest.to_string())?;
        if let Some(SourceProvenance { path: first, .. }) = sources.iter().find(|source| source.digest == digest) {
            let what = format!("`{}` holds the same bytes as `{first}`: its pairs are read again", name.display());
            observe(Event::Note(what));
        }
        let Some(reader) = data::unless_empty(data::open(path, &plan.column_map), n_files)? else {
            observe(Event::Note(format!("`{}` has no rows", name.display())));
            continue;
        };
        let mut reader = reader.named(name);
        let format = reader.layout();
        file.check("format", |listed| listed.format.clone(), &format)?;
        let columns = reader.columns();
        observe(Event::Detected { path: name, format: reader.format().to_string(), columns });
        let max_rows = file.listed.as_ref().map_or(u64::MAX, |(_, listed)| listed.rows);
        let mut rows = 0;
        while rows < max_rows && !sink.is_full() {
            if interrupt.is_set() {
                return Ok(None);
            }
            let Some(row) = reader.next() else { break };
            rows += 1;
            match row? {
                Row::Pair(pair) => sink.push(pair)?,
                Row::Reject(reject) => sink.rejects.push(&reject, RejectKind::Malformed)?,
            }
        }
        sink.tokenise()?;
        for note in reader.notes() {
            observe(Event::Note(note));
        }
        let path = name.display().to_string();
        sources.push(SourceProvenance { path, format, rows, bytes, digest });
    }
    sink.remarks().into_iter().for_each(|line| observe(Event::Note(line)));
    sink.finish(plan, sources, folder, observe).map(Some)
}

/// A data file, and the table that has listed it if the rows have to be that table's.
struct SourceFile<'a> {
    file: NamedFile,
    listed: Option<(&'a Path, SourceProvenance)>,
}

/// The files behind the names: a saved dataset is a folder of them.
fn source_files(pairs: &Pairs) -> Result<Vec<SourceFile<'_>>, PrecomputeError> {
    let mut files = Vec::new();
    match pairs {
        Pairs::Files { paths, .. } => {
            for name in paths {
                files.extend(data::named_files(name)?.into_iter().map(|file| SourceFile { file, listed: None }));
            }
        }
        Pairs::OfTable { table, named } => {
            for listed in Manifest::load(&table::hosted::local(table)?)?.provenance.sources {
                let name = PathBuf::from(&listed.path);
                if Location::is_object(&name) && !named.iter().any(|named| name.starts_with(named)) {
                    return Err(PrecomputeError::HostedSource { path: name, table: table.clone() });
                }
                let file = NamedFile { path: storage::local_file(&name).map_err(DataError::from)?, name };
                files.push(SourceFile { file, listed: Some((table.as_path(), listed)) });
            }
        }
    }
    Ok(files)
}

impl SourceFile<'_> {
    /// Holds the file against what the table says of it.
    fn check(
        &self,
        what: &'static str,
        expected: impl Fn(&SourceProvenance) -> String,
        found: &str,
    ) -> Result<(), PrecomputeError> {
        match &self.listed {
            Some((table, listed)) if expected(listed) != found => Err(PrecomputeError::OtherSource {
                path: self.file.name.clone(),
                table: (*table).to_owned(),
                what,
                expected: expected(listed),
                found: found.to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

/// Where rows go.
struct Sink<'a> {
    tokenizer: &'a PairTokenizer,
    limit: Option<NonZeroU64>,
    /// Whose rows are kept.
    shard: Shard,
    rows_per_part: NonZeroUsize,
    store: StoreWriter,
    parts: Vec<PartLength>,
    rejects: Rejects,
    /// Pairs to be tokenised, and the part of each.
    chunk: Vec<PreferencePair>,
    part_idxs: Vec<usize>,
    chunk_bytes: usize,
    /// Pairs read.
    n_read: usize,
    /// Of these, left to other shards.
    n_left: usize,
    /// Of the rest, with tokens to score.
    n_pairs: u64,
    /// Of the pairs to score, those whose completions are the same tokens.
    n_same: u64,
    /// And those whose completions hold a good part of the prompt.
    n_moved: u64,
}

/// Tokens of a prompt that are no mere effect of where words are cut: a template has moved a turn.
const MOVED: u32 = 16;

impl Sink<'_> {
    /// What a user should know of the pairs as they are scored.
    fn remarks(&self) -> Vec<String> {
        let mut lines = self.tokenizer.remarks();
        if self.n_same > 0 {
            lines.push(format!("{} pairs: both completions are the same tokens, which teaches nothing", self.n_same));
        }
        if self.n_moved > 0 {
            lines.push(format!(
                "{} pairs: the chat template writes part of the prompt otherwise once an answer follows, so that {MOVED} \
                 tokens of it or more are scored with the completions (column `boundary_moved`)",
                self.n_moved
            ));
        }
        lines
    }

    /// Whether the limit is reached, pairs not yet tokenised included.
    fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.n_pairs + self.chunk.len() as u64 >= limit.get())
    }

    fn push(&mut self, pair: PreferencePair) -> Result<(), PrecomputeError> {
        let part_idx = self.n_read / self.rows_per_part;
        self.n_read += 1;
        // Here, so that the columns of a part do not depend on who tokenises which pair.
        self.store.observe(&pair);
        // Where a limit of pairs is reached only their tokens tell.
        if !self.shard.owns(part_idx) && self.limit.is_none() {
            self.n_left += 1;
            return Ok(());
        }
        self.chunk_bytes += pair.n_bytes();
        self.chunk.push(pair);
        self.part_idxs.push(part_idx);
        if self.chunk.len() == CHUNK || self.chunk_bytes >= CHUNK_BYTES { self.tokenise() } else { Ok(()) }
    }

    fn tokenise(&mut self) -> Result<(), PrecomputeError> {
        let (chunk, part_idxs) = (std::mem::take(&mut self.chunk), std::mem::take(&mut self.part_idxs));
        self.chunk_bytes = 0;
        let tokens = self.tokenizer.tokenize_batch(&chunk)?;
        for ((pair, part_idx), tokens) in chunk.iter().zip(part_idxs).zip(tokens) {
            match tokens {
                Ok(tokens) => {
                    self.n_pairs += 1;
                    self.n_same += u64::from(tokens.chosen_ids == tokens.rejected_ids);
                    self.n_moved += u64::from(tokens.boundary_moved >= MOVED);
                    if self.shard.owns(part_idx) {
                        self.store.push(pair, &tokens)?;
                        self.count(part_idx);
                    }
                }
                Err(reason) => {
                    let (source, reason_text) = (Arc::clone(&pair.source), reason.to_string());
                    let reject = Reject { source, row_idx: pair.row_idx, line: pair.line, reason: reason_text };
                    self.rejects.push(&reject, reason.kind())?;
                }
            }
        }
        Ok(())
    }

    /// Counts a pair of the store.
    fn count(&mut self, part_idx: usize) {
        match self.parts.last_mut() {
            Some(part) if part.part_idx == part_idx => part.n_pairs += 1,
            _ => self.parts.push(PartLength { part_idx, n_pairs: 1 }),
        }
    }

    fn finish(
        self,
        plan: &Plan,
        sources: Vec<SourceProvenance>,
        folder: &TableFolder,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Tokens, PrecomputeError> {
        let (rejects, tally) = self.rejects.finish()?;
        // What other shards find to have nothing to score is not known here: too many are too many, and the run that
        // finishes the table counts all.
        let n_rows = sources.iter().map(|source| source.rows).sum();
        let limits = RejectLimits { max_rate: plan.max_reject_rate, overlong: plan.overlong };
        if let Some(refusal) = tally.refusal(limits, n_rows, || folder.refuse_rejects())? {
            return Err(refusal.into());
        }
        let n_rejected = tally.counts();
        if self.n_pairs == 0 && self.n_left == 0 {
            let rejects = rejects.map(|_| folder.refuse_rejects()).transpose()?;
            return Err(PrecomputeError::NoPairs { n_rows, n_overlong: n_rejected.overlong, rejects });
        }
        if let Some(note) = tally.note(n_rows) {
            observe(Event::Note(note));
        }
        let store = self.store.finish()?;
        Ok(Tokens { store, parts: self.parts, n_read: self.n_read, sources, rejects, n_rejected })
    }
}
