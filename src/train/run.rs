//! The training loop.

use std::path::PathBuf;
use std::time::Instant;

use super::agreement;
use super::error::TrainError;
use super::metrics::{METRICS, MetricsFile};
use super::order::{Batches, rng};
use super::passes::Passes;
use super::plan::{Event, Interruption, Outcome, Plan, Summary, Trained};
use super::run_folder::RunFolder;
use super::start_check::{self, Checked, Weights};
use super::trainer::Trainer;
use crate::checkpoint::{self, Checkpoint, Occasion, State};
use crate::digest::Digest;
use crate::interrupt::Interrupt;
use crate::logprob;
use crate::loss::ObjectiveState;
use crate::memory;
use crate::model::{Adapter, Decoder, Digests, adapter_digest};
use crate::model_source::ModelSource;
use crate::optim::{Ema, Optimizer};
use crate::selection::{self, Selected};
use crate::table::{Loading, ReferenceTable, TokenLogps, TrainingPair, TrainingPairs};
use crate::tokenize::TokenizerFiles;

/// Trains a policy as the plan says; goes on from the newest checkpoint if the plan allows it, and stops at a
/// checkpoint soon after it is asked to.
///
/// # Errors
/// If the model, the table or a checkpoint is not what the plan needs, if a number stops being finite, if another
/// process works in the run folder, or if the disk refuses. Checkpoints written before stay.
pub fn run(plan: &Plan, interrupt: &Interrupt, observe: &mut dyn FnMut(Event<'_>)) -> Result<Outcome, TrainError> {
    let started = Instant::now();
    let inputs = Inputs::open(plan, observe)?;
    let folder = RunFolder::claim(plan)?;
    Job { plan, folder: &folder, inputs: &inputs, interrupt, started }.run(observe)
}

/// What a run reads, checked before anything is written.
struct Inputs {
    /// The first of the plan first.
    tables: Vec<ReferenceTable>,
    /// Of the first; those of the others are in the record of the selection.
    table_digest: Digest,
    selected: Selected,
    source: ModelSource,
    digests: Digests,
    /// Of the adapter the policy starts from, if it starts from one.
    adapter: Option<Digest>,
    tokenizer: TokenizerFiles,
    /// Of each table.
    weights: Vec<Weights>,
}

impl Inputs {
    fn open(plan: &Plan, observe: &mut dyn FnMut(Event<'_>)) -> Result<Self, TrainError> {
        let open = |table| match &plan.reference {
            None => ReferenceTable::open(table),
            Some(name) => ReferenceTable::open_reference(table, name),
        };
        let table = open(&plan.table)?;
        let table_digest = table.digest()?;
        let further = plan.selection.further_tables().into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let tables = [vec![table], further].concat();
        let source = ModelSource::resolve(&plan.model)?;
        let in_model = |source| TrainError::Model { model: plan.model.clone(), source };
        let digests = Digests::of(&source).map_err(in_model)?;
        let adapter = match &plan.trained {
            Trained::Adapter { path, .. } => Some(adapter_digest(path).map_err(in_model)?),
            Trained::Weights | Trained::NewAdapter(_) => None,
        };
        let tokenizer = TokenizerFiles::load(&source)?;
        let mut weights = Vec::with_capacity(tables.len());
        for table in &tables {
            weights.push(agreement::check(plan, table, &digests, adapter.as_ref(), &tokenizer, observe)?);
            table.check_digests()?;
        }
        let selected = selection::select(&plan.selection, &tables)?;
        Ok(Self { tables, table_digest, selected, source, digests, adapter, tokenizer, weights })
    }
}

/// A run in its folder.
struct Job<'a> {
    plan: &'a Plan,
    folder: &'a RunFolder<'a>,
    inputs: &'a Inputs,
    interrupt: &'a Interrupt,
    started: Instant,
}

impl<'a> Job<'a> {
    fn run(&self, observe: &mut dyn FnMut(Event<'_>)) -> Result<Outcome, TrainError> {
        let Self { plan, inputs, .. } = *self;
        let pairs = self.load_pairs()?;
        if pairs.is_empty() {
            return Err(TrainError::EmptyTable { path: plan.table.clone() });
        }
        let Selected { split, record, notes, .. } = &inputs.selected;
        for note in notes {
            observe(Event::Note(note.clone()));
        }
        let batches = Batches::new(plan.order, &split.train, plan.batch_size.get());
        let n_steps = batches.n_steps(plan.length);
        let trajectory =
            plan.trajectory(&inputs.digests, inputs.adapter.as_ref(), &inputs.table_digest, record, n_steps);
        let resumed = self.folder.newest_checkpoint(&trajectory, observe)?;
        // Of the memory of a GPU nothing is known here.
        let available = if plan.backend.device().is_cpu() { memory::available_bytes() } else { None };
        let (model, optimizer, ema, state) = if let Some(checkpoint) = resumed {
            self.resume(&checkpoint, observe)?
        } else {
            let state = State { step: 0, n_tokens: 0, objective: ObjectiveState::default(), trajectory };
            self.begin(&pairs, state, observe)?
        };
        if model.lora().is_some() {
            let (n_trained, n) = (model.params().n_trained(), model.params().n_parameters());
            observe(Event::Note(format!("{n_trained} of {n} numbers are trained, those of the adapter")));
        }
        if let Some(warning) = logprob::warning(&plan.backend, plan.dtype) {
            observe(Event::Note(warning.into()));
        }
        let get = |row: &u32| pairs.get(*row as usize);
        self.folder.save_held_out(split.held_out.iter().filter_map(get).map(|pair| pair.pair_id))?;
        let trained = split.train.iter().flat_map(|stream| &stream.rows).filter_map(get);
        let passes = Passes::of(plan, &model, trained, available, observe)?;
        self.train(Trainer { plan, model, optimizer, ema, state, n_steps, passes }, batches, &pairs, observe)
    }

    /// The selected pairs of the tables, with what the objective needs of them.
    fn load_pairs(&self) -> Result<TrainingPairs, TrainError> {
        let Self { plan, inputs, .. } = *self;
        let needs = plan.objective.needs();
        let token_logps = if needs.tokens { TokenLogps::Load } else { TokenLogps::Skip };
        if needs.scores && plan.score_columns.is_none() {
            return Err(TrainError::NoScores);
        }
        let scores = plan.score_columns.as_ref().filter(|_| needs.scores);
        let what = Loading { token_logps, scores, rows: inputs.selected.loaded.as_ref() };
        Ok(TrainingPairs::load(&inputs.tables, &what, &plan.train_folder())?)
    }

    /// The model as a checkpoint has it.
    fn resume(
        &self,
        checkpoint: &Checkpoint,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<(Decoder, Optimizer, Option<Ema>, State), TrainError> {
        observe(Event::Resumed { step: checkpoint.state().step });
        let mut model = self.load_model()?;
        let optimizer = checkpoint.load(model.params_mut(), self.plan.optimizer)?;
        let ema = self.plan.ema_decay.map(|decay| checkpoint.load_ema(model.params(), decay)).transpose()?;
        Ok((model, optimizer, ema, checkpoint.state().clone()))
    }

    /// The model as it comes, once a sample of the table has been scored with it.
    fn begin(
        &self,
        pairs: &TrainingPairs,
        state: State,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<(Decoder, Optimizer, Option<Ema>, State), TrainError> {
        let model = self.load_model()?;
        let Inputs { tables, selected, weights, .. } = self.inputs;
        for ((table, rows), weights) in tables.iter().zip(&selected.rows_of_tables).zip(weights) {
            let checked = Checked { path: table.path(), rows: rows.clone(), weights };
            start_check::run(self.plan, &model, pairs, &checked, observe)?;
        }
        let failed = |source| TrainError::Update { step: 0, source };
        let optimizer = Optimizer::new(self.plan.optimizer, model.params()).map_err(failed)?;
        let ema = self.plan.ema_decay.map(|decay| Ema::new(decay, model.params())).transpose().map_err(failed)?;
        Ok((model, optimizer, ema, state))
    }

    fn load_model(&self) -> Result<Decoder, TrainError> {
        let Self { plan, inputs, .. } = *self;
        let in_model = |source| TrainError::Model { model: plan.model.clone(), source };
        let model = Decoder::load(&inputs.source, &plan.backend).map_err(in_model)?.with_dtype(plan.dtype);
        let adapter = match &plan.trained {
            Trained::Weights => return Ok(model),
            Trained::NewAdapter(lora) => {
                Adapter::new(lora, model.config(), model.device(), |name| rng(plan.seed, &format!("start of {name}")))
            }
            Trained::Adapter { path, dropout } => {
                let adapter = Adapter::read(path, model.config(), &inputs.digests, model.device());
                adapter.map(|adapter| adapter.with_dropout(*dropout))
            }
        };
        Ok(model.with_adapter(adapter.map_err(in_model)?))
    }

    fn train(
        &self,
        mut trainer: Trainer<'a>,
        mut batches: Batches<'_>,
        pairs: &TrainingPairs,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Outcome, TrainError> {
        let Self { plan, interrupt, .. } = *self;
        let (n_steps, n_resumed) = (trainer.n_steps, trainer.state.step);
        let metrics_path = plan.out.join(METRICS);
        let mut metrics_file = MetricsFile::open(&metrics_path, n_resumed)?;
        let mut saved = n_resumed;
        let (mut first, mut last) = (None, None);
        while trainer.state.step < n_steps {
            let rows = batches.rows(trainer.state.step).iter();
            let step_pairs: Vec<TrainingPair<'_>> = rows.filter_map(|&row| pairs.get(row as usize)).collect();
            let epoch = batches.epoch_after(trainer.state.step + 1);
            let Some(metrics) = trainer.step(&step_pairs, epoch, interrupt)? else {
                let checkpoint = save_interrupted(plan, &trainer, &metrics_file, saved)?;
                return Ok(Outcome::Interrupted(Interruption { step: trainer.state.step, n_steps, checkpoint }));
            };
            metrics_file.push(&metrics)?;
            let is_logged =
                [1, n_steps].contains(&metrics.step) || metrics.step.is_multiple_of(plan.logging_steps.get());
            observe(Event::Step { metrics: &metrics, n_steps, is_logged });
            if metrics.step == n_steps || plan.save_steps.is_some_and(|every| metrics.step.is_multiple_of(every.get()))
            {
                metrics_file.sync()?;
                let path = checkpoint::save(&plan.checkpoints(), &trainer.snapshot(Occasion::Planned))?;
                saved = metrics.step;
                observe(Event::Saved { path: &path });
            }
            first.get_or_insert_with(|| metrics.clone());
            last = Some(metrics);
        }
        let Inputs { source, digests, tokenizer, selected, .. } = self.inputs;
        let policy = trainer.with_policy(|model| self.folder.save_policy(model, source, digests, tokenizer))?;
        observe(Event::Saved { path: &policy });
        Ok(Outcome::Finished(Box::new(Summary {
            n_steps,
            n_resumed,
            n_pairs: pairs.len() - selected.split.held_out.len(),
            n_held_out: selected.split.held_out.len(),
            first,
            last,
            seconds: self.started.elapsed().as_secs_f64(),
            metrics: metrics_path,
            policy,
        })))
    }
}

/// Keeps the steps made since the last checkpoint; where there are none, that one will do.
fn save_interrupted(
    plan: &Plan,
    trainer: &Trainer<'_>,
    metrics: &MetricsFile,
    saved: u64,
) -> Result<Option<PathBuf>, TrainError> {
    if trainer.state.step == saved {
        let path = plan.checkpoints().join(format!("step-{saved}"));
        return Ok((saved > 0).then_some(path));
    }
    metrics.sync()?;
    Ok(Some(checkpoint::save(&plan.checkpoints(), &trainer.snapshot(Occasion::Interrupted))?))
}
