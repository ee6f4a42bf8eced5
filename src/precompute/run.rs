//! Stage one from end to end.

use std::collections::BTreeSet;
use std::time::Instant;

use super::engine::{Engine, LocalEngine};
use super::error::PrecomputeError;
use super::fill::{Done, Filler};
use super::inventory::{Job, check_folder, check_reuse};
use super::journals::Journals;
use super::known::Known;
use super::plan::{Event, Outcome, Pairs, Plan, Scope, Signals, Start, Summary};
use super::tokens;
use super::work::Work;
use crate::interrupt::Interrupt;
use crate::model::{self, Architecture, ModelError};
use crate::policy::{PolicyDigests, PolicySource, PolicyTokenizer};
use crate::table::{
    self, Layout, Manifest, ModelProvenance, Provenance, RejectCounts, TableFolder, Task, TemplateProvenance,
};
use crate::tokenize::{BOUNDARY_RULE, EOS_RULE, PairTokenizer};

/// Scores the data of the plan with its model, or what of it is for a shard; what was scored before, wherever it is, is not
/// scored again.
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
    let source = PolicySource::resolve(&plan.model, plan.adapter.as_deref())?;
    // Before the data is read: a model that cannot be used, or a table of another one, is known at once.
    let architecture = model::architecture(source.base()).map_err(in_model(plan))?;
    let PolicyTokenizer { files, notes, .. } = source.tokenizer()?;
    for note in source.notes().iter().cloned().chain(notes).chain(files.notes().iter().cloned()) {
        observe(Event::Note(note));
    }
    let tokenizer = PairTokenizer::new(files, plan.rules)?;
    let folder = claim(plan)?;
    // What stands there has no say in a table that is made anew.
    let is_anew = plan.scope == Scope::Whole && plan.start == Start::Fresh;
    let journals = if is_anew { Journals::default() } else { Journals::read(&folder)? };
    let conditions = conditions(plan, &source, architecture, &tokenizer, engine.kernel(plan))?;
    if !is_anew {
        check_folder(plan, &folder, &journals, &conditions)?;
    }
    check_reuse(plan, &conditions)?;

    let Some(tokens) = tokens::read(plan, &tokenizer, &folder, interrupt, observe)? else {
        return Ok(Outcome::Interrupted { n_done: 0, n_pairs: 0 });
    };
    let RejectCounts { malformed: n_rejected, overlong: n_overlong } = tokens.n_rejected;
    let n_pairs = tokens.store.len() as u64;
    let layout = Layout { rows_per_part: plan.rows_per_part.get() as u64, signals: plan.signals == Signals::Make };
    if is_anew {
        folder.set_aside()?;
    }
    let task = Task { provenance: Provenance { sources: tokens.sources, ..conditions }, layout };
    let job = Job { plan, folder: &folder, store: &tokens.store, parts: &tokens.parts, task: &task };
    let n_tokens = (0..tokens.store.len()).map(|row| job.n_tokens(row)).sum();
    observe(Event::Tokenised { n_pairs, n_rejected, n_overlong, n_tokens });
    job.announce_share(tokens.n_read, observe);

    let inventory = job.inventory(&journals, observe)?;
    if plan.scope == Scope::Finish
        && let Some(missing) = job.missing(&inventory, &journals)?
    {
        folder.discard_rejects()?;
        return Ok(Outcome::Missing(missing));
    }
    let slots = job.make_room(inventory)?;
    let mut known = Known::new(folder.path())?;
    let journalled =
        if journals.own.is_some() { job.take_journalled(&slots, &mut known)? } else { BTreeSet::default() };
    job.gather_known(&slots, &journals, &mut known, observe)?;
    let work = Work::of(&job, &slots, &known)?;
    work.announce(journals.own.as_ref(), observe);

    let scoring = Instant::now();
    if work.n_scored > 0 {
        engine.begin(plan, &task.provenance, observe)?;
    }
    let mut filler = Filler { job: &job, engine, known, work: &work, interrupt, done: Done::default() };
    let parts = if job.is_finished(&slots) {
        slots.into_iter().filter_map(|slot| slot.part).collect()
    } else {
        let Some(parts) = filler.fill(&slots, journalled, observe)? else {
            return Ok(Outcome::Interrupted { n_done: work.n_known() + filler.done.n_pairs, n_pairs });
        };
        parts
    };
    let scoring_seconds = scoring.elapsed().as_secs_f64();
    filler.announce_without_signals(&parts, observe);

    let mut summary = Summary {
        shard: None,
        n_pairs,
        n_rejected,
        n_overlong,
        n_scored: work.n_scored,
        n_resumed: work.n_resumed,
        n_reused: work.n_reused,
        n_repeated: work.n_repeated,
        n_tokens: work.n_tokens,
        seconds: 0.0,
        scoring_seconds,
        table: plan.out.clone(),
        rejects: None,
    };
    if let Scope::Shard(shard) = plan.scope {
        folder.discard_rejects()?;
        summary.shard = Some(shard);
    } else {
        let manifest = Manifest::new(task.provenance, parts, folder.accept_rejects(tokens.rejects)?);
        summary.rejects = manifest.rejects.as_ref().map(|file| plan.out.join(&file.name));
        folder.finish(&manifest)?;
    }
    summary.seconds = started.elapsed().as_secs_f64();
    Ok(Outcome::Finished(summary))
}

/// Takes the folder of the table for what the plan makes of it.
fn claim(plan: &Plan) -> Result<TableFolder, PrecomputeError> {
    match (plan.scope, plan.start) {
        (Scope::Shard(shard), Start::Resume) => Ok(TableFolder::claim_shard(&plan.out, shard)?),
        (Scope::Shard(shard), Start::Fresh) => Err(PrecomputeError::FreshShard { shard }),
        // There is nothing to finish in a table that starts afresh.
        (Scope::Whole, Start::Resume) | (Scope::Finish, _) => {
            let folder = TableFolder::claim(&plan.out)?;
            folder.restore()?;
            Ok(folder)
        }
        (Scope::Whole, Start::Fresh) => {
            let data = match &plan.pairs {
                Pairs::Files { paths, .. } => paths.as_slice(),
                Pairs::OfTable { .. } => &[],
            };
            let mut inputs = data.iter().chain(&plan.reuse);
            if let Some(input) = inputs.find(|input| table::is_replaced(input, &plan.out)) {
                return Err(PrecomputeError::InputReplaced { input: input.clone(), table: plan.out.clone() });
            }
            Ok(TableFolder::claim(&plan.out)?)
        }
    }
}

fn in_model(plan: &Plan) -> impl Fn(ModelError) -> PrecomputeError {
    move |source| PrecomputeError::Model { model: plan.model.clone(), source }
}

/// Everything that decides the log-probs of the plan; the data files are known later.
fn conditions(
    plan: &Plan,
    source: &PolicySource,
    architecture: Architecture,
    tokenizer: &PairTokenizer,
    kernel: String,
) -> Result<Provenance, PrecomputeError> {
    let PolicyDigests { base, adapter } = source.digests()?;
    Ok(Provenance {
        schema: table::schema::reference::VERSION.into(),
        crate_version: env!("CARGO_PKG_VERSION").into(),
        model: ModelProvenance {
            path: plan.model.clone(),
            architecture: architecture.to_string(),
            weights_digest: base.weights,
            config_digest: base.config,
            adapter_digest: adapter,
            identity: Some(base.identity),
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
