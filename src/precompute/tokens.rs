//! Data files to the token store and the rejects table, in one streaming pass.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::PrecomputeError;
use super::plan::{Event, Pairs, Plan};
use crate::data::{self, DataError, NamedFile, PreferencePair, Reject, Row};
use crate::interrupt::Interrupt;
use crate::io;
use crate::storage;
use crate::table::{self, FileRecord, Manifest, RejectsWriter, SourceProvenance, TableFolder};
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
        Pairs::OfTable(_) => None,
    };
    let mut sink = Sink {
        tokenizer,
        limit,
        store: StoreWriter::create(folder.path())?,
        rejects: RejectsWriter::new(&folder.incoming_rejects_path()),
        chunk: Vec::with_capacity(CHUNK),
        chunk_bytes: 0,
        n_pairs: 0,
        n_rejected: 0,
        first_reject: None,
    };
    let mut sources = Vec::new();
    for file in files {
        let NamedFile { name, path } = &file.file;
        let (digest, bytes) = io::digest(path)?;
        file.check("digest", |listed| listed.digest.to_string(), &digest.to_string())?;
        let mut reader = data::open(path, &plan.column_map)?.named(name);
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
                Row::Reject(reject) => sink.reject(reject)?,
            }
        }
        sink.tokenise()?;
        let path = name.display().to_string();
        sources.push(SourceProvenance { path, format, rows, bytes, digest });
    }
    sink.finish(plan, sources, folder).map(Some)
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
        Pairs::OfTable(table) => {
            for listed in Manifest::load(&table::hosted::local(table)?)?.provenance.sources {
                let name = PathBuf::from(&listed.path);
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
    store: StoreWriter,
    rejects: RejectsWriter,
    chunk: Vec<PreferencePair>,
    chunk_bytes: usize,
    n_pairs: u64,
    n_rejected: u64,
    first_reject: Option<Reject>,
}

impl Sink<'_> {
    /// Whether the limit is reached, pairs not yet tokenised included.
    fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.n_pairs + self.chunk.len() as u64 >= limit.get())
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
        folder: &TableFolder,
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
                rejects: folder.refuse_rejects()?,
            });
        }
        if self.n_pairs == 0 {
            let rejects = rejects.map(|_| folder.refuse_rejects()).transpose()?;
            return Err(PrecomputeError::NoPairs { n_rows, rejects });
        }
        Ok(Tokens { store: self.store.finish()?, sources, rejects })
    }
}
