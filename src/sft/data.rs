//! Data files to sequences and rejects, in one streaming pass.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::blocks::Blocks;
use super::error::SftError;
use super::plan::{Event, Plan};
use super::sequences::{SequenceWriter, Sequences};
use crate::batch::SequenceIds;
use crate::data::{self, Example, ExampleRow, NamedFile, Reject, RejectKind};
use crate::interrupt::Interrupt;
use crate::io;
use crate::table::{REJECTS, RejectCounts, RejectLimits, Rejects};
use crate::tokenize::{SequenceTokenizer, Tokenized, TokenizerFiles};
use crate::train;

/// Examples tokenised together: enough for every core, small in memory.
const CHUNK: usize = 256;

/// Bytes after which no further example is waited for.
const CHUNK_BYTES: usize = 8 << 20;

/// The data as sequences.
pub(super) struct Data {
    pub(super) sequences: Sequences,
    pub(super) n_rejected: RejectCounts,
    pub(super) rejects: Option<PathBuf>,
}

/// Reads and tokenises the data of the plan; `None` if it was asked to stop.
///
/// # Errors
/// If a file holds nothing to learn from, or if more rows are rejected than the plan allows; the rejects file is then there
/// to be read.
pub(super) fn read(
    plan: &Plan,
    files: &TokenizerFiles,
    interrupt: &Interrupt,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Option<Data>, SftError> {
    let tokenizer = SequenceTokenizer::new(files, plan.rules, plan.masking)?;
    for note in files.notes() {
        observe(Event::Train(train::Event::Note(note.clone())));
    }
    let folder = plan.course.train_folder();
    let rejects = folder.join(REJECTS);
    if rejects.is_file() {
        io::remove(&rejects)?;
    }
    let mut sink = Sink {
        tokenizer: &tokenizer,
        sequences: SequenceWriter::create(&folder)?,
        blocks: None,
        rejects: Rejects::new(&rejects),
        chunk: Vec::new(),
        chunk_bytes: 0,
        n_rows: 0,
        n_cut: 0,
        n_last_answer_only: 0,
    };
    let limit = plan.limit.map_or(u64::MAX, Into::into);
    let n_files = plan.data.len();
    let mut read = BTreeSet::new();
    for name in &plan.data {
        for NamedFile { path, .. } in data::named_files(name)? {
            if !read.insert(path.clone()) {
                let what = format!("`{}` is named again: its examples are learnt again", path.display());
                observe(Event::Train(train::Event::Note(what)));
            }
            let reader = data::unless_empty(data::open_examples(&path, &plan.column_map), n_files)?;
            let Some(mut reader) = reader else {
                observe(Event::Train(train::Event::Note(format!("`{}` has no rows", path.display()))));
                continue;
            };
            observe(Event::Detected { path: &path, format: reader.format().to_string() });
            while sink.n_rows < limit {
                if interrupt.is_set() {
                    return Ok(None);
                }
                let Some(row) = reader.next() else { break };
                sink.n_rows += 1;
                match row? {
                    ExampleRow::Example(example) => sink.push(example, plan)?,
                    ExampleRow::Reject(reject) => {
                        // In the order of the rows.
                        sink.tokenise(plan)?;
                        sink.rejects.push(&reject, RejectKind::Malformed)?;
                    }
                }
            }
            for note in reader.notes() {
                observe(Event::Train(train::Event::Note(note)));
            }
        }
    }
    sink.finish(plan, rejects, observe).map(Some)
}

struct Sink<'a> {
    tokenizer: &'a SequenceTokenizer<'a>,
    sequences: SequenceWriter,
    /// Once there is a document.
    blocks: Option<Blocks>,
    rejects: Rejects,
    chunk: Vec<Example>,
    chunk_bytes: usize,
    n_rows: u64,
    n_cut: u64,
    n_last_answer_only: u64,
}

impl Sink<'_> {
    fn push(&mut self, example: Example, plan: &Plan) -> Result<(), SftError> {
        self.chunk_bytes += example.n_bytes();
        self.chunk.push(example);
        if self.chunk.len() < CHUNK && self.chunk_bytes < CHUNK_BYTES { Ok(()) } else { self.tokenise(plan) }
    }

    fn tokenise(&mut self, plan: &Plan) -> Result<(), SftError> {
        self.chunk_bytes = 0;
        let chunk = std::mem::take(&mut self.chunk);
        let results = self.tokenizer.tokenize_batch(&chunk)?;
        for (result, example) in results.into_iter().zip(chunk) {
            match result {
                Ok(Tokenized::Sequence(sequence)) => {
                    self.n_cut += u64::from(sequence.n_cut > 0);
                    self.n_last_answer_only += u64::from(sequence.is_last_answer_only);
                    self.sequences.push(&SequenceIds { ids: &sequence.ids, scored: sequence.scored })?;
                }
                Ok(Tokenized::Document(ids)) => {
                    let blocks = match &mut self.blocks {
                        Some(blocks) => blocks,
                        None => self.blocks.insert(Blocks::new(block_length(plan)?)),
                    };
                    blocks.push(&ids, |block| push_block(&mut self.sequences, block))?;
                }
                Err(reason) => {
                    let Example { source, row_idx, line, .. } = example;
                    let reject = Reject { source, row_idx, line, reason: reason.to_string() };
                    self.rejects.push(&reject, reason.kind())?;
                }
            }
        }
        Ok(())
    }

    fn finish(mut self, plan: &Plan, rejects: PathBuf, observe: &mut dyn FnMut(Event<'_>)) -> Result<Data, SftError> {
        self.tokenise(plan)?;
        if let Some(block) = self.blocks.take().and_then(Blocks::finish) {
            push_block(&mut self.sequences, &block)?;
        }
        let Self { tokenizer, sequences, n_rows, n_cut, n_last_answer_only, .. } = self;
        let (record, tally) = self.rejects.finish()?;
        let limits = RejectLimits { max_rate: plan.max_reject_rate, overlong: plan.overlong };
        if let Some(refusal) = tally.refusal(limits, n_rows, || Ok(rejects.clone()))? {
            return Err(refusal.into());
        }
        let rejects = record.map(|_| rejects);
        let n_rejected = tally.counts();
        let sequences = sequences.finish()?;
        if sequences.len() == 0 {
            return Err(SftError::NothingToLearn { n_rows, n_rejected });
        }
        let Sequences { n_tokens, n_learnt, .. } = sequences;
        observe(Event::Tokenised { n_sequences: sequences.len(), n_tokens, n_learnt, n_rejected });
        let mut note = |line| observe(Event::Train(train::Event::Note(line)));
        if let Some(line) = tally.note(n_rows) {
            note(line);
        }
        tokenizer.remarks().into_iter().for_each(&mut note);
        if n_cut > 0 {
            note(format!("{n_cut} sequences were cut to {} tokens", plan.rules.max_length));
        }
        if n_last_answer_only > 0 {
            note(format!(
                "of {n_last_answer_only} conversations only the last answer is learnt: the chat template does not tell \
                 where the others are"
            ));
        }
        Ok(Data { sequences, n_rejected, rejects })
    }
}

fn block_length(plan: &Plan) -> Result<usize, SftError> {
    match plan.rules.limit() {
        Some(limit) if limit > 1 => Ok(plan.rules.max_length),
        found => {
            Err(SftError::BlockLength { found: found.map_or_else(|| "no limit".into(), |limit| limit.to_string()) })
        }
    }
}

/// All of a block is learnt but its first token.
fn push_block(sequences: &mut SequenceWriter, ids: &[u32]) -> Result<(), SftError> {
    sequences.push(&SequenceIds { ids, scored: std::iter::once(1..ids.len()).collect() })
}
