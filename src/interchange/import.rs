//! A scored data set of another program, as a table.

use std::path::{Path, PathBuf};

use super::error::InterchangeError;
use super::meaning::{Evidence, Meaning};
use super::plan::{ImportEvent, ImportPlan, ImportSummary, Logps};
use super::read::{self, PairScores, Scored};
use super::write::{PairLogps, assemble};
use crate::batch::pack;
use crate::io;
use crate::model;
use crate::policy::{PolicyDigests, PolicySource, PolicyTokenizer};
use crate::precompute::Start;
use crate::table::{
    self, FileRecord, MANIFEST, Manifest, ModelProvenance, Part, Provenance, ReferenceTable, RejectCounts, TableFolder,
    TemplateProvenance, write_part,
};
use crate::tokenize::{BOUNDARY_RULE, EOS_RULE, PairTokenizer, TokenStore};

/// Name of the code path that computed the log-probs of an imported table: none of ours.
pub const IMPORTED: &str = "imported";

/// Rules of token ids that came with the log-probs.
const GIVEN: &str = "token ids as given";

/// The columns of the two completions in a table.
const COLUMNS: [&str; 2] = ["ref_chosen_logps", "ref_rejected_logps"];

/// Makes a table of scored data files.
///
/// Memory: the log-probs of all pairs, 32 bytes a pair, and 4 a completion token where the source has them.
///
/// # Errors
/// If the files hold something else than scored pairs, if a value is no log-prob, if the plan asks to detect what the
/// log-probs are and that is not clear, or if the disk refuses. There is no table then.
pub fn import(plan: &ImportPlan, observe: &mut dyn FnMut(ImportEvent<'_>)) -> Result<ImportSummary, InterchangeError> {
    let in_model = |source| InterchangeError::Model { model: plan.model.clone(), source };
    let source = PolicySource::resolve(&plan.model, None)?;
    let architecture = model::architecture(source.base()).map_err(in_model)?;
    let vocab_size = model::vocab_size(source.base()).map_err(in_model)?;
    let PolicyTokenizer { files, notes, .. } = source.tokenizer()?;
    for note in source.notes().iter().cloned().chain(notes).chain(files.notes().iter().cloned()) {
        observe(ImportEvent::Note(note));
    }
    let tokenizer = PairTokenizer::new(files, plan.rules)?;
    let folder = claim(plan)?;
    let scored = read::read(plan, &tokenizer, vocab_size, &folder, observe)?;
    let RejectCounts { malformed: n_rejected, overlong: n_overlong } = scored.tally.counts();
    let n_rows = scored.scores.len() as u64 + n_rejected + n_overlong;
    observe(ImportEvent::Read { n_pairs: scored.scores.len(), n_rejected });
    if let Some(note) = scored.tally.note(n_rows) {
        observe(ImportEvent::Note(note));
    }
    let meaning = meaning(plan.logps, &scored, vocab_size, observe)?;
    let PolicyDigests { base, adapter } = source.digests()?;
    let model = ModelProvenance {
        path: plan.model.clone(),
        architecture: architecture.to_string(),
        weights_digest: base.weights,
        config_digest: base.config,
        adapter_digest: adapter,
        identity: Some(base.identity),
    };
    let provenance = provenance(plan, model, &tokenizer, &scored, meaning);
    folder.set_aside()?;
    let parts = parts(plan, &folder, &scored, meaning, &provenance)?;
    let rejects = scored.rejects.is_some().then(|| folder.rejects_path());
    finish(folder, provenance, parts, scored.rejects)?;
    let n_pairs = scored.scores.len() as u64;
    Ok(ImportSummary { n_pairs, n_rejected, n_overlong, logps: meaning, table: plan.out.clone(), rejects })
}

/// Takes the folder of the table. One that holds a table is taken only to replace it.
fn claim(plan: &ImportPlan) -> Result<TableFolder, InterchangeError> {
    let is_of_table = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name == MANIFEST || (name.starts_with("part-") && name.ends_with(".parquet"))
    };
    // Parts of an import that was killed are nobody's table.
    let is_left = |path: &Path| {
        !plan.out.join(MANIFEST).is_file()
            && ReferenceTable::open(path).is_ok_and(|part| part.provenance().kernel == IMPORTED)
    };
    let stands = |path: &PathBuf| is_of_table(path) && !is_left(path);
    if plan.start == Start::Resume && plan.out.is_dir() && io::list(&plan.out)?.iter().any(stands) {
        TableFolder::clear_left(&plan.out)?;
        return Err(InterchangeError::TableExists { path: plan.out.clone() });
    }
    let folder = TableFolder::claim(&plan.out)?;
    if plan.start == Start::Resume && folder.is_finished_elsewhere() {
        return Err(InterchangeError::TableExists { path: plan.out.clone() });
    }
    Ok(folder)
}

/// Writes the manifest: the table is there.
fn finish(
    folder: TableFolder,
    provenance: Provenance,
    parts: Vec<Part>,
    rejects: Option<FileRecord>,
) -> Result<(), InterchangeError> {
    let rejects = folder.accept_rejects(rejects)?;
    Ok(folder.finish(&Manifest::new(provenance, parts, rejects))?)
}

/// What the log-probs of completions are; `None` where there are none but those of tokens.
fn meaning(
    told: Logps,
    scored: &Scored,
    vocab_size: usize,
    observe: &mut dyn FnMut(ImportEvent<'_>),
) -> Result<Option<Meaning>, InterchangeError> {
    if scored.scores.iter().all(|scores| matches!(scores, PairScores::Tokens(_))) {
        return Ok(None);
    }
    let told = match told {
        Logps::Sum => Some(Meaning::Sums),
        Logps::Average => Some(Meaning::Averages),
        Logps::Detect => None,
    };
    for (side, column) in COLUMNS.into_iter().enumerate() {
        let evidence = evidence(scored, side);
        match (told, evidence.judge(vocab_size)) {
            (None, Ok(Meaning::Sums)) => {
                observe(ImportEvent::Judged { column, reason: format!("sums: {}", evidence.numbers()) });
            }
            (None, Ok(Meaning::Averages)) => {
                return Err(InterchangeError::Averages { column, numbers: evidence.numbers() });
            }
            (None, Err(doubt)) => {
                return Err(InterchangeError::Unclear { column, reason: evidence.reason(doubt, vocab_size) });
            }
            (Some(told), Ok(found)) if told != found => {
                let told = if told == Meaning::Sums { "sums" } else { "averages" };
                let reason = format!("taken for {told} as told, and does not look like it: {}", evidence.numbers());
                observe(ImportEvent::Judged { column, reason });
            }
            (Some(_), _) => {}
        }
    }
    Ok(Some(told.unwrap_or(Meaning::Sums)))
}

fn evidence(scored: &Scored, side: usize) -> Evidence {
    Evidence::of(scored.scores.iter().enumerate().filter_map(|(row, scores)| match scores {
        PairScores::Whole(logps) => Some((n_tokens(&scored.store, row)[side], logps[side])),
        PairScores::Tokens(_) => None,
    }))
}

/// Tokens of the chosen and of the rejected completion of a row.
fn n_tokens(store: &TokenStore, row: usize) -> [usize; 2] {
    let (_, chosen, rejected) = store.lengths(row);
    [chosen, rejected]
}

fn parts(
    plan: &ImportPlan,
    folder: &TableFolder,
    scored: &Scored,
    meaning: Option<Meaning>,
    provenance: &Provenance,
) -> Result<Vec<Part>, InterchangeError> {
    let store = &scored.store;
    let mut parts = Vec::new();
    for (index, rows) in pack(std::iter::repeat_n(1, store.len()), plan.rows_per_part.get()).into_iter().enumerate() {
        let logps: Vec<PairLogps> =
            rows.clone().map(|row| pair_logps(&scored.scores[row], n_tokens(store, row), meaning)).collect();
        let columns = store.slice(rows)?;
        let batch = assemble(&columns, &store.pass_through_columns(&columns)?, &logps)?;
        parts.push(write_part(&folder.part_path(index), &batch, provenance)?);
    }
    Ok(parts)
}

fn pair_logps(scores: &PairScores, n_tokens: [usize; 2], meaning: Option<Meaning>) -> PairLogps {
    match scores {
        PairScores::Tokens(terms) => {
            let sum = |terms: &[f32]| terms.iter().map(|term| f64::from(*term)).sum::<f64>();
            PairLogps { sums: [sum(&terms.chosen), sum(&terms.rejected)], terms: Some(terms.clone()) }
        }
        PairScores::Whole([chosen, rejected]) => {
            let factor = |n: usize| if meaning == Some(Meaning::Averages) { n as f64 } else { 1.0 };
            PairLogps { sums: [chosen * factor(n_tokens[0]), rejected * factor(n_tokens[1])], terms: None }
        }
    }
}

fn provenance(
    plan: &ImportPlan,
    model: ModelProvenance,
    tokenizer: &PairTokenizer,
    scored: &Scored,
    meaning: Option<Meaning>,
) -> Provenance {
    let how = match meaning {
        None => "imported with the log-prob of every token",
        Some(Meaning::Sums) => "imported with sums of log-probs",
        Some(Meaning::Averages) => "imported with averages of log-probs, times tokens",
    };
    let mut sources = scored.sources.clone();
    for source in &mut sources {
        source.format = format!("{}, {how}", source.format);
    }
    let template = tokenizer.files().template_digest().filter(|_| !scored.has_ids);
    let rule = |of_text: &str| if scored.has_ids { GIVEN.to_owned() } else { of_text.to_owned() };
    Provenance {
        schema: table::schema::reference::VERSION.into(),
        crate_version: env!("CARGO_PKG_VERSION").into(),
        model,
        tokenizer_digest: tokenizer.files().digest(),
        chat_template: template.map(|digest| TemplateProvenance { digest, date: plan.rules.template_date.to_string() }),
        dtype: plan.dtype.to_string(),
        kernel: IMPORTED.into(),
        max_length: plan.rules.limit(),
        truncation_mode: plan.rules.truncation_mode.name().into(),
        eos_rule: rule(EOS_RULE),
        boundary_rule: rule(BOUNDARY_RULE),
        sources,
    }
}
