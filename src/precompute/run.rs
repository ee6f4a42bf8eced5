//! Stage one from end to end.

use std::ops::Range;
use std::time::Instant;

use arrow::array::Array;
use candle_core::Device;

use super::error::PrecomputeError;
use super::plan::{Event, Plan, Start, Summary};
use super::score::score;
use super::tokens::{self, Tokens};
use crate::batch::{Group, pack};
use crate::io;
use crate::logprob;
use crate::model::{self, Architecture, Decoder, Digests};
use crate::model_source::ModelSource;
use crate::table::{
    self, Manifest, ModelProvenance, Part, Provenance, ScannedPart, TableFolder, TemplateProvenance, assemble,
    write_part,
};
use crate::tokenize::{BOUNDARY_RULE, EOS_RULE, PairTokenizer, TokenStore};

/// The token store of a run, deleted when the table is finished.
const TOKENS: &str = ".tokens.arrow";

/// Scores the data of the plan with its model; keeps the parts an earlier run has finished.
///
/// # Errors
/// If the model, the data or an earlier table is not what the plan needs, if a log-prob is no number, or if the disk
/// refuses. Parts written before stay, and the next run goes on after them.
pub fn run(plan: &Plan, observe: &mut dyn FnMut(Event<'_>)) -> Result<Summary, PrecomputeError> {
    let started = Instant::now();
    let in_model = |source| PrecomputeError::Model { model: plan.model.clone(), source };
    let source = ModelSource::resolve(&plan.model)?;
    // Before the data is read: a model that cannot be used is known at once.
    let architecture = model::architecture(&source).map_err(in_model)?;
    let tokenizer = PairTokenizer::load(&source, plan.rules)?;
    let folder = TableFolder::claim(&plan.out)?;
    if plan.start == Start::Fresh {
        folder.clear()?;
    }
    let store_path = plan.out.join(TOKENS);
    let tokens = tokens::read(plan, &tokenizer, &store_path, &folder.rejects_path(), observe)?;
    let n_rejected = tokens.rejects.as_ref().map_or(0, |file| file.rows);
    let provenance = provenance(plan, &source, architecture, &tokenizer, &tokens)?;
    let job = Job { plan, folder: &folder, store: &tokens.store, provenance: &provenance };
    let n_pairs = tokens.store.len() as u64;
    observe(Event::Tokenised { n_pairs, n_rejected, n_tokens: job.n_tokens(0..tokens.store.len()) });

    let slots = job.take_inventory(observe)?;
    let missing = || slots.iter().filter(|slot| slot.part.is_none()).map(|slot| slot.rows.clone());
    let (n_scored, n_tokens) =
        (missing().map(|rows| rows.len() as u64).sum(), missing().map(|rows| job.n_tokens(rows)).sum());
    let scoring = Instant::now();
    let parts = if n_scored == 0 {
        slots.into_iter().filter_map(|slot| slot.part).collect()
    } else {
        let model = Decoder::load(&source, &Device::Cpu).map_err(in_model)?.with_dtype(plan.dtype);
        observe(Event::ModelLoaded {
            architecture: architecture.to_string(),
            n_parameters: model.params().n_parameters(),
        });
        job.fill(
            slots,
            &model,
            Progress { done_pairs: 0, all_pairs: n_scored, done_tokens: 0, all_tokens: n_tokens },
            observe,
        )?
    };
    let scoring_seconds = scoring.elapsed().as_secs_f64();
    let manifest = Manifest::new(provenance, parts, tokens.rejects);
    folder.finish(&manifest)?;
    io::remove(&store_path)?;
    Ok(Summary {
        n_pairs,
        n_rejected,
        n_scored,
        n_resumed: n_pairs - n_scored,
        n_tokens,
        seconds: started.elapsed().as_secs_f64(),
        scoring_seconds,
        table: plan.out.clone(),
        rejects: manifest.rejects.is_some().then(|| folder.rejects_path()),
    })
}

/// What every part of the table needs.
struct Job<'a> {
    plan: &'a Plan,
    folder: &'a TableFolder,
    store: &'a TokenStore,
    provenance: &'a Provenance,
}

/// The rows of one part, and the part if an earlier run has finished it.
struct Slot {
    rows: Range<usize>,
    part: Option<Part>,
}

/// How far the scoring is, as [`Event::Scored`] tells it.
struct Progress {
    done_pairs: u64,
    all_pairs: u64,
    done_tokens: u64,
    all_tokens: u64,
}

impl Job<'_> {
    /// Tokens of these pairs, each prompt counted once.
    fn n_tokens(&self, rows: Range<usize>) -> u64 {
        rows.map(|row| self.store.lengths(row))
            .map(|(prompt, chosen, rejected)| (prompt + chosen + rejected) as u64)
            .sum()
    }

    /// The parts of the table to be, with those that are there already. Parts of other data are deleted, and the
    /// manifest with them: the table is not finished any more.
    fn take_inventory(&self, observe: &mut dyn FnMut(Event<'_>)) -> Result<Vec<Slot>, PrecomputeError> {
        let mut found = self.folder.scan_parts(self.provenance)?;
        let slots: Vec<Slot> = pack(std::iter::repeat_n(1, self.store.len()), self.plan.rows_per_part.get())
            .into_iter()
            .enumerate()
            .map(|(index, rows)| Slot { part: self.take_part(&mut found, index, &rows), rows })
            .collect();
        let n_resumed: u64 = slots.iter().filter_map(|slot| slot.part.as_ref()).map(|part| part.file.rows).sum();
        if n_resumed > 0 {
            observe(Event::Resumed { n_pairs: n_resumed });
        }
        if n_resumed < self.store.len() as u64 || !found.is_empty() {
            self.folder.reopen()?;
        }
        if !found.is_empty() {
            let n_pairs: u64 = found.iter().map(|part| part.part.file.rows).sum();
            let table = self.plan.out.display();
            observe(Event::Note(format!("{n_pairs} pairs in `{table}` are of other data and are replaced")));
        }
        for stale in &found {
            io::remove(&stale.path)?;
        }
        Ok(slots)
    }

    /// Takes part `index` out of the parts found, if it holds just these rows of just these data files.
    fn take_part(&self, found: &mut Vec<ScannedPart>, index: usize, rows: &Range<usize>) -> Option<Part> {
        let path = self.folder.part_path(index);
        let at = found.iter().position(|part| part.path == path)?;
        let part = &found[at];
        let is_same = part.sources == self.provenance.sources
            && part.tokens_ids.len() == rows.len()
            && rows.clone().zip(part.tokens_ids.iter()).all(|(row, id)| Some(self.store.tokens_id(row)) == id);
        is_same.then(|| found.swap_remove(at).part)
    }

    /// Scores the missing parts and writes each when its last pair is done.
    fn fill(
        &self,
        slots: Vec<Slot>,
        model: &Decoder,
        mut progress: Progress,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Vec<Part>, PrecomputeError> {
        let mut parts = Vec::with_capacity(slots.len());
        for (index, Slot { rows, part }) in slots.into_iter().enumerate() {
            if let Some(part) = part {
                parts.push(part);
                continue;
            }
            let groups: Vec<Group<'_>> = rows.clone().map(|row| group(self.store, row)).collect();
            let mut n_seen = 0;
            let logps = score(model, &groups, self.plan.max_tokens.get(), |n_done| {
                progress.done_tokens += self.n_tokens(rows.start + n_seen..rows.start + n_done);
                progress.done_pairs += (n_done - n_seen) as u64;
                n_seen = n_done;
                observe(Event::Scored {
                    n_pairs: progress.done_pairs,
                    n_total: progress.all_pairs,
                    n_tokens: progress.done_tokens,
                    n_total_tokens: progress.all_tokens,
                });
            })
            .map_err(|source| PrecomputeError::Model { model: self.plan.model.clone(), source })?;
            let columns = self.store.slice(rows)?;
            let batch = assemble(&columns, &self.store.pass_through_columns(&columns)?, &logps)?;
            parts.push(write_part(&self.folder.part_path(index), &batch, self.provenance)?);
        }
        Ok(parts)
    }
}

fn group(store: &TokenStore, row: usize) -> Group<'_> {
    let (prompt, chosen, rejected) = store.ids(row);
    Group { prompt, completions: vec![chosen, rejected] }
}

fn provenance(
    plan: &Plan,
    source: &ModelSource,
    architecture: Architecture,
    tokenizer: &PairTokenizer,
    tokens: &Tokens,
) -> Result<Provenance, PrecomputeError> {
    let in_model = |source| PrecomputeError::Model { model: plan.model.clone(), source };
    let digests = Digests::of(source).map_err(in_model)?;
    Ok(Provenance {
        schema: table::schema::reference::VERSION.into(),
        crate_version: env!("CARGO_PKG_VERSION").into(),
        model: ModelProvenance {
            path: plan.model.clone(),
            architecture: architecture.to_string(),
            weights_digest: digests.weights,
            config_digest: digests.config,
        },
        tokenizer_digest: tokenizer.files().digest(),
        chat_template: tokenizer
            .files()
            .template_digest()
            .map(|digest| TemplateProvenance { digest, date: plan.rules.template_date.to_string() }),
        dtype: plan.dtype.to_string(),
        kernel: logprob::kernel(plan.dtype).into(),
        max_length: Some(plan.rules.max_length as u64),
        truncation_mode: plan.rules.truncation_mode.name().into(),
        eos_rule: EOS_RULE.into(),
        boundary_rule: BOUNDARY_RULE.into(),
        sources: tokens.sources.clone(),
    })
}
