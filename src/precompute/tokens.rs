//! Data files to the token store and the rejects table, in one streaming pass.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::PrecomputeError;
use super::plan::{Event, Plan};
use crate::data::{self, PreferencePair, Reject, Row};
use crate::digest::Digest;
use crate::io;
use crate::table::{FileRecord, RejectsWriter, SourceProvenance};
use crate::tokenize::{PairTokenizer, StoreWriter, TokenStore};

/// The data as token ids, and what is known of where it came from.
pub(super) struct Tokens {
    pub(super) store: TokenStore,
    pub(super) sources: Vec<SourceProvenance>,
    pub(super) rejects: Option<FileRecord>,
}

/// Pairs tokenised together: enough for the tokenizer's threads, small in memory.
const CHUNK: usize = 256;

/// Bytes after which no further pair is waited for.
const CHUNK_BYTES: usize = 8 << 20;

/// Reads and tokenises the data of the plan.
///
/// # Errors
/// If a file is not preference data, or if more rows are rejected than the plan allows; the rejects file is then there
/// to be read.
pub(super) fn read(
    plan: &Plan,
    tokenizer: &PairTokenizer,
    store_path: &Path,
    rejects_path: &Path,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Tokens, PrecomputeError> {
    if plan.data.is_empty() {
        return Err(PrecomputeError::NoData);
    }
    let mut sink = Sink {
        tokenizer,
        store: StoreWriter::create(store_path)?,
        rejects: RejectsWriter::new(rejects_path),
        chunk: Vec::with_capacity(CHUNK),
        chunk_bytes: 0,
        n_pairs: 0,
        n_rejected: 0,
        first_reject: None,
    };
    let mut sources = Vec::new();
    for path in data_files(&plan.data)? {
        let mut reader = data::open(&path, &plan.column_map)?;
        let format = reader.format().to_string();
        observe(Event::Detected { path: &path, format: format.clone(), columns: reader.columns() });
        let mut rows = 0;
        while !sink.is_full(plan) {
            let Some(row) = reader.next() else { break };
            rows += 1;
            match row? {
                Row::Pair(pair) => sink.push(pair)?,
                Row::Reject(reject) => sink.reject(reject)?,
            }
        }
        sink.tokenise()?;
        let map = io::map(&path)?;
        sources.push(SourceProvenance {
            path: path.display().to_string(),
            format,
            rows,
            bytes: map.len() as u64,
            digest: Digest::of_large(&map),
        });
    }
    sink.finish(plan, sources, rejects_path)
}

/// The files behind the names: a saved dataset is a folder of them.
fn data_files(names: &[PathBuf]) -> Result<Vec<PathBuf>, PrecomputeError> {
    let mut files = Vec::new();
    for name in names {
        files.extend(data::files(name)?);
    }
    Ok(files)
}

/// Where rows go.
struct Sink<'a> {
    tokenizer: &'a PairTokenizer,
    store: StoreWriter,
    rejects: RejectsWriter,
    chunk: Vec<PreferencePair>,
    chunk_bytes: usize,
    n_pairs: u64,
    n_rejected: u64,
    first_reject: Option<Reject>,
}

impl Sink<'_> {
    /// Whether the limit of the plan is reached, pairs not yet tokenised included.
    fn is_full(&self, plan: &Plan) -> bool {
        plan.limit.is_some_and(|limit| self.n_pairs + self.chunk.len() as u64 >= limit.get())
    }

    fn push(&mut self, pair: PreferencePair) -> Result<(), PrecomputeError> {
        self.chunk_bytes += pair.n_bytes();
        self.chunk.push(pair);
        if self.chunk.len() == CHUNK || self.chunk_bytes >= CHUNK_BYTES { self.tokenise() } else { Ok(()) }
    }

    fn tokenise(&mut self) -> Result<(), PrecomputeError> {
        let chunk = std::mem::take(&mut self.chunk);
        self.chunk_bytes = 0;
        for (pair, tokens) in chunk.iter().zip(self.tokenizer.tokenize_batch(&chunk)?) {
            match tokens {
                Ok(tokens) => {
                    self.store.push(pair, &tokens)?;
                    self.n_pairs += 1;
                }
                Err(reason) => self.reject(Reject {
                    source: Arc::clone(&pair.source),
                    row_idx: pair.row_idx,
                    line: pair.line,
                    reason: reason.to_string(),
                })?,
            }
        }
        Ok(())
    }

    fn reject(&mut self, reject: Reject) -> Result<(), PrecomputeError> {
        self.rejects.push(&reject)?;
        self.n_rejected += 1;
        self.first_reject.get_or_insert(reject);
        Ok(())
    }

    fn finish(
        self,
        plan: &Plan,
        sources: Vec<SourceProvenance>,
        rejects_path: &Path,
    ) -> Result<Tokens, PrecomputeError> {
        let rejects = self.rejects.finish()?;
        let n_rows = self.n_pairs + self.n_rejected;
        if let Some(first) = self.first_reject
            && self.n_rejected as f64 > plan.max_reject_rate * n_rows as f64
        {
            return Err(PrecomputeError::TooManyRejects {
                n_rejected: self.n_rejected,
                n_rows,
                max_reject_rate: plan.max_reject_rate,
                source_file: first.source.path.clone(),
                row_idx: first.row_idx,
                line: first.line,
                reason: first.reason,
                rejects: rejects_path.to_owned(),
            });
        }
        if self.n_pairs == 0 {
            return Err(PrecomputeError::NoPairs { n_rows, rejects: rejects.map(|_| rejects_path.to_owned()) });
        }
        Ok(Tokens { store: self.store.finish()?, sources, rejects })
    }
}
