//! Scored data files to the token store, the rejects and the log-probs of every pair.

use std::path::Path;
use std::sync::Arc;

use super::columns::{CompletionLogps, ImportMap, Layout, LayoutError, Scores};
use super::error::{InterchangeError, Place};
use super::plan::{ImportEvent, ImportPlan, Logps};
use crate::data::{
    self, DataError, NamedFile, PairId, PairReader, PairText, PreferencePair, Reject, RejectKind, Row, Source,
};
use crate::io;
use crate::table::{FileRecord, PairTokenLogps, RejectLimits, RejectTally, Rejects, SourceProvenance, TableFolder};
use crate::tokenize::{PairTokenizer, RejectReason, StoreWriter, TokenStore, TokenizedPair};

/// Pairs tokenised together.
const CHUNK: usize = 256;

/// Log-probs of a pair, as the source has them: sums or averages, or terms.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum PairScores {
    /// Of the chosen and of the rejected completion.
    Whole([f64; 2]),
    /// Of each token.
    Tokens(PairTokenLogps),
}

/// The data, with what it says of log-probs.
pub(super) struct Scored {
    pub(super) store: TokenStore,
    /// In the order of the store.
    pub(super) scores: Vec<PairScores>,
    pub(super) sources: Vec<SourceProvenance>,
    pub(super) rejects: Option<FileRecord>,
    pub(super) tally: RejectTally,
    /// Whether every file brought its own token ids.
    pub(super) has_ids: bool,
}

/// Reads and tokenises the data of the plan.
///
/// # Errors
/// At the first value that is no log-prob or no token id; if a file is not scored preference data; if more rows are
/// rejected than the plan allows.
pub(super) fn read(
    plan: &ImportPlan,
    tokenizer: &PairTokenizer,
    vocab_size: usize,
    folder: &TableFolder,
    observe: &mut dyn FnMut(ImportEvent<'_>),
) -> Result<Scored, InterchangeError> {
    let mut sink = Sink {
        plan,
        tokenizer,
        vocab_size,
        store: StoreWriter::create(folder.path())?,
        rejects: Rejects::new(&folder.incoming_rejects_path()),
        scores: Vec::new(),
    };
    let (mut sources, mut has_ids) = (Vec::new(), true);
    for name in &plan.data {
        for NamedFile { name, path } in data::named_files(name)? {
            let Some(file) = ForeignFile::open(&path, &name, &plan.map, plan.data.len())? else { continue };
            observe(ImportEvent::Detected { path: &name, format: &file.format, columns: &file.columns });
            if !file.layout.unread().is_empty() {
                observe(ImportEvent::Unread { path: &name, columns: file.layout.unread() });
            }
            has_ids &= file.layout.has_ids();
            let format = file.format.clone();
            let rows = sink.file(&name, file)?;
            let (digest, bytes) = io::digest(&path)?;
            sources.push(SourceProvenance { path: name.display().to_string(), format, rows, bytes, digest });
        }
    }
    sink.finish(sources, has_ids, folder)
}

/// A scored data file, opened.
struct ForeignFile {
    layout: Layout,
    format: String,
    columns: Vec<String>,
    rows: ForeignRows,
}

/// What its rows are besides log-probs.
enum ForeignRows {
    /// Text pairs, perhaps with token ids beside them.
    Pairs(Box<PairReader>),
    /// Token ids alone.
    Ids { rows: data::ObjectRows, source: Arc<Source> },
}

impl ForeignFile {
    /// Opens a file; none of an empty one of several.
    fn open(path: &Path, name: &Path, map: &ImportMap, n_files: usize) -> Result<Option<Self>, InterchangeError> {
        let (columns, text) = match data::unless_empty(data::open(path, &map.text), n_files) {
            Ok(None) => return Ok(None),
            Ok(Some(reader)) => (reader.columns().to_vec(), Ok(reader.named(name))),
            Err(DataError::NotPairs { path, columns, recognised }) => {
                (columns.clone(), Err(DataError::NotPairs { path, columns, recognised }))
            }
            Err(error) => return Err(error.into()),
        };
        let layout = Layout::of(&columns, map).map_err(|error| match error {
            LayoutError::Missing(missing) => {
                InterchangeError::NoColumns { path: path.to_owned(), missing, columns: columns.clone() }
            }
            LayoutError::Ambiguous(columns) => InterchangeError::Ambiguous { path: path.to_owned(), columns },
        })?;
        let (format, rows) = match text {
            Ok(reader) if layout.has_ids() => {
                (format!("{} with token ids", reader.format()), ForeignRows::Pairs(Box::new(reader)))
            }
            Ok(reader) => (reader.format().to_string(), ForeignRows::Pairs(Box::new(reader))),
            Err(_) if layout.has_ids() => {
                let rows = ForeignRows::Ids { rows: data::open_objects(path)?, source: Arc::new(Source::of(name)) };
                ("token ids without text".to_owned(), rows)
            }
            Err(error) => return Err(error.into()),
        };
        if !layout.has_logps() {
            return Err(InterchangeError::NoLogps { path: path.to_owned(), columns });
        }
        Ok(Some(Self { layout, format, columns, rows }))
    }
}

/// Where rows go.
struct Sink<'a> {
    plan: &'a ImportPlan,
    tokenizer: &'a PairTokenizer,
    vocab_size: usize,
    store: StoreWriter,
    rejects: Rejects,
    scores: Vec<PairScores>,
}

/// The rows of one file on their way.
struct Pending<'a> {
    path: &'a Path,
    layout: Layout,
    chunk: Vec<(PreferencePair, Scores)>,
    n_rows: u64,
    /// Rows in which a completion does not begin with the prompt, chosen and rejected.
    n_apart: [u64; 2],
}

impl Sink<'_> {
    /// Reads one file; returns how many rows it gave.
    fn file(&mut self, path: &Path, file: ForeignFile) -> Result<u64, InterchangeError> {
        let mut pending = Pending { path, layout: file.layout, chunk: Vec::new(), n_rows: 0, n_apart: [0; 2] };
        match file.rows {
            ForeignRows::Pairs(reader) => {
                for row in *reader {
                    if self.is_full(&pending) {
                        break;
                    }
                    pending.n_rows += 1;
                    match row? {
                        Row::Pair(mut pair) => {
                            let place = Place { path, row_idx: pair.row_idx, line: pair.line };
                            let scores = pending.layout.take(&mut pair.extra, &place)?;
                            self.push(pair, scores, &mut pending)?;
                        }
                        Row::Reject(reject) => self.rejects.push(&reject, RejectKind::Malformed)?,
                    }
                }
            }
            ForeignRows::Ids { rows, source } => {
                for row in rows {
                    if self.is_full(&pending) {
                        break;
                    }
                    pending.n_rows += 1;
                    let data::ObjectRow { row_idx, line, object } = row?;
                    match object {
                        Ok(mut extra) => {
                            let scores = pending.layout.take(&mut extra, &Place { path, row_idx, line })?;
                            extra.retain(|_, value| !value.is_null());
                            let text = self.decoded(&scores)?;
                            let (id, source) = (PairId::of(&text), Arc::clone(&source));
                            let pair = PreferencePair { id, text, source, row_idx, line, extra };
                            self.push(pair, scores, &mut pending)?;
                        }
                        Err(reason) => {
                            let reject = Reject { source: Arc::clone(&source), row_idx, line, reason };
                            self.rejects.push(&reject, RejectKind::Malformed)?;
                        }
                    }
                }
            }
        }
        self.flush(&mut pending)?;
        pending.check_prompts()?;
        Ok(pending.n_rows)
    }

    /// Whether the limit of the plan is reached, pairs not yet tokenised included.
    fn is_full(&self, pending: &Pending<'_>) -> bool {
        self.plan.limit.is_some_and(|limit| (self.scores.len() + pending.chunk.len()) as u64 >= limit.get())
    }

    fn push(
        &mut self,
        pair: PreferencePair,
        scores: Scores,
        pending: &mut Pending<'_>,
    ) -> Result<(), InterchangeError> {
        if let Some(ids) = &scores.ids {
            let place = Place { path: pending.path, row_idx: pair.row_idx, line: pair.line };
            self.check_vocabulary(ids, &pending.layout, &place)?;
            self.check_padding(ids, &pending.layout, &place)?;
            pending.n_apart[0] += u64::from(!ids[1].starts_with(&ids[0]));
            pending.n_apart[1] += u64::from(!ids[2].starts_with(&ids[0]));
        }
        pending.chunk.push((pair, scores));
        if pending.chunk.len() == CHUNK { self.flush(pending) } else { Ok(()) }
    }

    fn check_vocabulary(
        &self,
        ids: &[Vec<u32>; 3],
        layout: &Layout,
        place: &Place<'_>,
    ) -> Result<(), InterchangeError> {
        for (part, ids) in ids.iter().enumerate() {
            if let Some(&found) = ids.iter().find(|id| **id as usize >= self.vocab_size) {
                let (place, column) = (place.to_string(), layout.ids_column(part).to_owned());
                return Err(InterchangeError::Vocabulary { place, column, vocab_size: self.vocab_size, found });
            }
        }
        Ok(())
    }

    /// Padding that nothing says is padding would be scored.
    ///
    /// Where it is the end token too, a completion may end with one of the text and one that was added.
    fn check_padding(&self, ids: &[Vec<u32>; 3], layout: &Layout, place: &Place<'_>) -> Result<(), InterchangeError> {
        let files = self.tokenizer.files();
        let token = files.special_tokens().get("pad_token").and_then(|token| token.as_str());
        let Some((token, id)) = token.and_then(|token| Some((token, files.tokenizer().token_to_id(token)?))) else {
            return Ok(());
        };
        let n_natural = if files.eos_id() == Some(id) { 2 } else { 1 };
        for (part, ids) in ids.iter().enumerate().filter(|(part, _)| layout.is_unmasked(*part)) {
            let at_end = ids.iter().rev().take_while(|&&found| found == id).count();
            let at_start = ids.iter().take_while(|&&found| found == id).count();
            for (n_ids, at) in [(at_end, "at the end"), (at_start, "at the beginning")] {
                if n_ids > n_natural {
                    let (place, column) = (place.to_string(), layout.ids_column(part).to_owned());
                    return Err(InterchangeError::Padding { place, column, n_ids, token: token.to_owned(), id, at });
                }
            }
        }
        Ok(())
    }

    /// The text that ids stand for, special tokens spelt out.
    fn decoded(&self, scores: &Scores) -> Result<PairText, InterchangeError> {
        let text = |part: usize| {
            let ids = scores.ids.as_ref().map_or(&[][..], |ids| &ids[part]);
            self.tokenizer.files().decode(ids)
        };
        Ok(PairText::Plain { prompt: text(0)?, chosen: text(1)?, rejected: text(2)? })
    }

    fn flush(&mut self, pending: &mut Pending<'_>) -> Result<(), InterchangeError> {
        let (pairs, scores): (Vec<_>, Vec<_>) = std::mem::take(&mut pending.chunk).into_iter().unzip();
        let tokens: Vec<Result<TokenizedPair, RejectReason>> = if pending.layout.has_ids() {
            let cut = |scores: &Scores| self.plan.rules.cut(scores.ids.clone().unwrap_or_default());
            scores.iter().map(cut).collect()
        } else {
            self.tokenizer.tokenize_batch(&pairs)?
        };
        for ((pair, scores), tokens) in pairs.iter().zip(scores).zip(tokens) {
            match tokens {
                Ok(tokens) => {
                    let place = Place { path: pending.path, row_idx: pair.row_idx, line: pair.line };
                    self.scores.push(self.pair_scores(scores, &tokens, &pending.layout, &place)?);
                    self.store.push(pair, &tokens)?;
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

    fn pair_scores(
        &self,
        scores: Scores,
        tokens: &TokenizedPair,
        layout: &Layout,
        place: &Place<'_>,
    ) -> Result<PairScores, InterchangeError> {
        let Scores { chosen, rejected, .. } = scores;
        let sides = [(&chosen, tokens.chosen_ids.len()), (&rejected, tokens.rejected_ids.len())];
        for (side, (logps, n_tokens)) in sides.into_iter().enumerate() {
            self.check_terms(logps, n_tokens, side, layout, place)?;
        }
        match (chosen, rejected) {
            (CompletionLogps { tokens: Some(chosen), .. }, CompletionLogps { tokens: Some(rejected), .. }) => {
                Ok(PairScores::Tokens(PairTokenLogps { chosen, rejected }))
            }
            (CompletionLogps { whole: Some(chosen), .. }, CompletionLogps { whole: Some(rejected), .. }) => {
                Ok(PairScores::Whole([chosen, rejected]))
            }
            (chosen, _) => {
                let side = usize::from(chosen.tokens.is_some());
                Err(place.value(layout.logps_column(side), "a list of log-probs as beside it", "a number"))
            }
        }
    }

    /// Terms are as many as the tokens, and amount to the number beside them.
    fn check_terms(
        &self,
        logps: &CompletionLogps,
        n_tokens: usize,
        side: usize,
        layout: &Layout,
        place: &Place<'_>,
    ) -> Result<(), InterchangeError> {
        let Some(terms) = &logps.tokens else { return Ok(()) };
        if terms.len() != n_tokens {
            let (place, column) = (place.to_string(), layout.token_logps_column(side).to_owned());
            return Err(InterchangeError::Lengths { place, column, expected: n_tokens, found: terms.len() });
        }
        let sum: f64 = terms.iter().map(|term| f64::from(*term)).sum();
        let expected = if self.plan.logps == Logps::Average { sum / n_tokens as f64 } else { sum };
        match logps.whole {
            Some(found) if (found - expected).abs() > 1e-3 + 1e-4 * expected.abs() => {
                let column = layout.logps_column(side).to_owned();
                Err(InterchangeError::Terms { place: place.to_string(), column, expected, found })
            }
            _ => Ok(()),
        }
    }

    fn finish(
        self,
        sources: Vec<SourceProvenance>,
        has_ids: bool,
        folder: &TableFolder,
    ) -> Result<Scored, InterchangeError> {
        let (rejects, tally) = self.rejects.finish()?;
        let n_rows = self.scores.len() as u64 + tally.counts().total();
        let limits = RejectLimits { max_rate: self.plan.max_reject_rate, overlong: self.plan.overlong };
        if let Some(refusal) = tally.refusal(limits, n_rows, || folder.refuse_rejects())? {
            return Err(refusal.into());
        }
        if self.scores.is_empty() {
            return Err(InterchangeError::NoPairs { n_rows });
        }
        Ok(Scored { store: self.store.finish()?, scores: self.scores, sources, rejects, tally, has_ids })
    }
}

impl Pending<'_> {
    /// Ids of prompt and completion together would be scored behind the prompt once more.
    fn check_prompts(&self) -> Result<(), InterchangeError> {
        let Some(side) = self.n_apart.iter().position(|n_apart| *n_apart == 0) else { return Ok(()) };
        if !self.layout.has_ids() || self.n_rows == 0 {
            return Ok(());
        }
        let column = self.layout.ids_column(side + 1).to_owned();
        Err(InterchangeError::PromptRepeated { path: self.path.to_owned(), column })
    }
}
