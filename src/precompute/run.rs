//! Stage one from end to end.

use std::collections::BTreeSet;
use std::time::Instant;

use super::engine::{Engine, LocalEngine};
use super::error::PrecomputeError;
use super::fill::{Done, Filler};
use super::inventory::{Job, check_conditions};
use super::known::Known;
use super::plan::{Event, Outcome, Plan, Signals, Start, Summary};
use super::tokens;
use super::work::Work;
use crate::interrupt::Interrupt;
use crate::model::{self, Architecture, Digests};
use crate::model_source::ModelSource;
use crate::table::{self, Journal, Manifest, ModelProvenance, Provenance, TableFolder, TemplateProvenance};
use crate::tokenize::{BOUNDARY_RULE, EOS_RULE, PairTokenizer};

/// Scores the data of the plan with its model; what was scored before, wherever it is, is not scored again.
///
/// # Errors
/// If the model, the data or an earlier table is not what the plan needs, if a log-prob is no number, or if the disk
/// refuses. What was scored before stays, and the next run goes on after it.
pub fn run(plan: &Plan, interrupt: &Interrupt, observe: &mut dyn FnMut(Event<'_>)) -> Result<Outcome, PrecomputeError> {
    run_on(&mut LocalEngine::default(), plan, interrupt, observe)
}

/// The same with an engine of the caller's; the table is the same to the byte.
///
/// # Errors
/// As [`run`], and if the engine fails.
pub fn run_on(
    engine: &mut dyn Engine,
    plan: &Plan,
    interrupt: &Interrupt,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome, PrecomputeError> {
    let started = Instant::now();
    let source = ModelSource::resolve(&plan.model)?;
    // Before the data is read: a model that cannot be used, or a table of another one, is known at once.
    let in_model = |source| PrecomputeError::Model { model: plan.model.clone(), source };
    let architecture = model::architecture(&source).map_err(in_model)?;
    let tokenizer = PairTokenizer::load(&source, plan.rules)?;
    let folder = TableFolder::claim(&plan.out)?;
    if plan.start == Start::Fresh {
        folder.clear()?;
    }
    let recovered = Journal::recover(&folder.journal_path())?;
    let conditions = conditions(plan, &source, architecture, &tokenizer, engine.kernel(plan))?;
    check_conditions(plan, &folder, recovered.as_ref(), &conditions)?;

    let Some(tokens) = tokens::read(plan, &tokenizer, &folder, interrupt, observe)? else {
        return Ok(Outcome::Interrupted { n_done: 0, n_pairs: 0 });
    };
    let n_rejected = tokens.rejects.as_ref().map_or(0, |file| file.rows);
    let n_pairs = tokens.store.len() as u64;
    let provenance = Provenance { sources: tokens.sources, ..conditions };
    let job = Job { plan, folder: &folder, store: &tokens.store, provenance: &provenance };
    let n_tokens = (0..tokens.store.len()).map(|row| job.n_tokens(row)).sum();
    observe(Event::Tokenised { n_pairs, n_rejected, n_tokens });

    let slots = job.take_inventory(recovered.as_ref(), observe)?;
    let mut known = Known::new(folder.path())?;
    let journalled = if recovered.is_some() { job.take_journalled(&slots, &mut known)? } else { BTreeSet::default() };
    job.gather_known(&slots, &mut known, observe)?;
    let work = Work::of(&job, &slots, &known)?;
    work.announce(recovered.as_ref(), observe);
    let scoring = Instant::now();
    if work.n_scored > 0 {
        engine.begin(plan, &provenance, observe)?;
    }
    let mut filler = Filler { job: &job, engine, known, work: &work, interrupt, done: Done::default() };
    let Some(parts) = filler.fill(&slots, journalled, observe)? else {
        return Ok(Outcome::Interrupted { n_done: work.n_known() + filler.done.n_pairs, n_pairs });
    };
    let scoring_seconds = scoring.elapsed().as_secs_f64();
    if plan.signals == Signals::Make {
        let of_parts = parts.iter().filter(|part| part.signals.is_none()).map(|part| part.file.rows);
        let n_without = of_parts.sum::<u64>() + filler.done.without_signals;
        if n_without > 0 {
            observe(Event::Note(format!(
                "{n_without} pairs have no signals: their log-probs are from where there were none; `--fresh` scores them again"
            )));
        }
    }

    let manifest = Manifest::new(provenance, parts, folder.accept_rejects(tokens.rejects)?);
    let rejects = manifest.rejects.is_some().then(|| folder.rejects_path());
    folder.finish(&manifest)?;
    Ok(Outcome::Finished(Summary {
        n_pairs,
        n_rejected,
        n_scored: work.n_scored,
        n_resumed: work.n_resumed,
        n_reused: work.n_reused,
        n_repeated: work.n_repeated,
        n_tokens: work.n_tokens,
        seconds: started.elapsed().as_secs_f64(),
        scoring_seconds,
        table: plan.out.clone(),
        rejects,
    }))
}

/// Everything that decides the log-probs of the plan; the data files are known later.
fn conditions(
    plan: &Plan,
    source: &ModelSource,
    architecture: Architecture,
    tokenizer: &PairTokenizer,
    kernel: String,
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
        kernel,
        max_length: plan.rules.limit(),
        truncation_mode: plan.rules.truncation_mode.name().into(),
        eos_rule: EOS_RULE.into(),
        boundary_rule: BOUNDARY_RULE.into(),
        sources: Vec::new(),
    })
}
