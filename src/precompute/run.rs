//! Stage one from end to end.

use std::time::Instant;

use arrow::array::Array;
use candle_core::Device;

use super::error::PrecomputeError;
use super::plan::{Event, Plan, Start, Summary};
use super::score::score;
use super::tokens::{self, Tokens};
use crate::batch::{Group, pack};
use crate::io;
use crate::logprob::KERNEL;
use crate::model::{Decoder, Digests};
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
    let tokenizer = PairTokenizer::load(&source, plan.rules)?;
    let folder = TableFolder::claim(&plan.out)?;
    if plan.start == Start::Fresh {
        folder.clear()?;
    }
    let store_path = plan.out.join(TOKENS);
    let tokens = tokens::read(plan, &tokenizer, &store_path, &folder.rejects_path(), observe)?;
    let store = &tokens.store;
    let cost = |row| n_tokens(store, row);
    let all_tokens = (0..store.len()).map(cost).sum::<u64>();
    let n_rejected = tokens.rejects.as_ref().map_or(0, |file| file.rows);
    observe(Event::Tokenised { n_pairs: store.len() as u64, n_rejected, n_tokens: all_tokens });

    let provenance = provenance(plan, &source, &tokenizer, &tokens)?;
    let runs = pack(std::iter::repeat_n(1, store.len()), plan.rows_per_part.get());
    let mut found = folder.scan_parts(&provenance)?;
    let kept: Vec<Option<Part>> = runs
        .iter()
        .enumerate()
        .map(|(index, rows)| take_part(&mut found, &folder.part_path(index), store, rows, &provenance))
        .collect();
    let missing: Vec<usize> = (0..runs.len()).filter(|&index| kept[index].is_none()).collect();
    let n_scored = missing.iter().map(|&index| runs[index].len() as u64).sum::<u64>();
    let n_resumed = store.len() as u64 - n_scored;
    if n_resumed > 0 {
        observe(Event::Resumed { n_pairs: n_resumed });
    }
    if !found.is_empty() {
        let n_pairs: u64 = found.iter().map(|part| part.part.file.rows).sum();
        observe(Event::Note(format!("{n_pairs} pairs in `{}` are of other data and are replaced", plan.out.display())));
    }
    if !missing.is_empty() || !found.is_empty() {
        folder.reopen()?;
    }
    for stale in &found {
        io::remove(&stale.path)?;
    }

    let n_total_tokens = missing.iter().flat_map(|&index| runs[index].clone()).map(cost).sum::<u64>();
    let scoring = Instant::now();
    let mut parts = kept;
    if !missing.is_empty() {
        let model = Decoder::load(&source, &Device::Cpu).map_err(in_model)?;
        observe(Event::ModelLoaded {
            architecture: model.config().architecture.to_string(),
            n_parameters: model.params().n_parameters(),
        });
        let (mut done_pairs, mut done_tokens) = (0, 0);
        for &index in &missing {
            let rows = runs[index].clone();
            let groups: Vec<Group<'_>> = rows.clone().map(|row| group(store, row)).collect();
            let mut observed = 0;
            let logps = score(&model, &groups, plan.max_tokens.get(), |n_done| {
                done_tokens += (rows.start + observed..rows.start + n_done).map(cost).sum::<u64>();
                done_pairs += (n_done - observed) as u64;
                observed = n_done;
                observe(Event::Scored {
                    n_pairs: done_pairs,
                    n_total: n_scored,
                    n_tokens: done_tokens,
                    n_total_tokens,
                });
            })
            .map_err(in_model)?;
            let columns = store.slice(rows)?;
            let pass_through = store.pass_through_columns(&columns)?;
            let batch = assemble(&columns, &pass_through, &logps)?;
            parts[index] = Some(write_part(&folder.part_path(index), &batch, &provenance)?);
        }
    }
    let scoring_seconds = scoring.elapsed().as_secs_f64();
    let manifest = Manifest::new(provenance, parts.into_iter().flatten().collect(), tokens.rejects);
    folder.finish(&manifest)?;
    io::remove(&store_path)?;
    Ok(Summary {
        n_pairs: manifest.n_pairs,
        n_rejected,
        n_scored,
        n_resumed,
        n_tokens: n_total_tokens,
        seconds: started.elapsed().as_secs_f64(),
        scoring_seconds,
        table: plan.out.clone(),
        rejects: manifest.rejects.is_some().then(|| folder.rejects_path()),
    })
}

fn group(store: &TokenStore, row: usize) -> Group<'_> {
    let (prompt, chosen, rejected) = store.ids(row);
    Group { prompt, completions: vec![chosen, rejected] }
}

/// Tokens of a pair, its prompt counted once.
fn n_tokens(store: &TokenStore, row: usize) -> u64 {
    let (prompt, chosen, rejected) = store.lengths(row);
    (prompt + chosen + rejected) as u64
}

/// Takes the part at `path` out of the parts found, if it holds just these rows of just these data files.
fn take_part(
    found: &mut Vec<ScannedPart>,
    path: &std::path::Path,
    store: &TokenStore,
    rows: &std::ops::Range<usize>,
    provenance: &Provenance,
) -> Option<Part> {
    let at = found.iter().position(|part| part.path == path)?;
    let part = &found[at];
    let is_same = part.sources == provenance.sources
        && part.tokens_ids.len() == rows.len()
        && rows.clone().zip(part.tokens_ids.iter()).all(|(row, id)| Some(store.tokens_id(row)) == id);
    is_same.then(|| found.swap_remove(at).part)
}

fn provenance(
    plan: &Plan,
    source: &ModelSource,
    tokenizer: &PairTokenizer,
    tokens: &Tokens,
) -> Result<Provenance, PrecomputeError> {
    let in_model = |source| PrecomputeError::Model { model: plan.model.clone(), source };
    let digests = Digests::of(source).map_err(in_model)?;
    let architecture = crate::model::architecture(source).map_err(in_model)?;
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
        kernel: KERNEL.into(),
        max_length: Some(plan.rules.max_length as u64),
        truncation_mode: plan.rules.truncation_mode.name().into(),
        eos_rule: EOS_RULE.into(),
        boundary_rule: BOUNDARY_RULE.into(),
        sources: tokens.sources.clone(),
    })
}
