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
use super::start_check::{self, Weights};
use super::trainer::Trainer;
use crate::checkpoint::{self, Checkpoint, Occasion, State};
use crate::digest::Digest;
use crate::interrupt::Interrupt;
use crate::logprob;
use crate::loss::ObjectiveState;
use crate::memory;
use crate::model::{Adapter, Decoder, Digests, adapter_digest};
use crate::model_source::ModelSource;
use crate::optim::AdamW;
use crate::table::{ReferenceTable, TokenLogps, TrainingPair, TrainingPairs};
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
    table: ReferenceTable,
    source: ModelSource,
    digests: Digests,
    /// Of the adapter the policy starts from, if it starts from one.
    adapter: Option<Digest>,
    tokenizer: TokenizerFiles,
    weights: Weights,
}

impl Inputs {
    fn open(plan: &Plan, observe: &mut dyn FnMut(Event<'_>)) -> Result<Self, TrainError> {
        let table = match &plan.reference {
            None => ReferenceTable::open(&plan.table)?,
            Some(name) => ReferenceTable::open_reference(&plan.table, name)?,
        };
        let source = ModelSource::resolve(&plan.model)?;
        let in_model = |source| TrainError::Model { model: plan.model.clone(), source };
        let digests = Digests::of(&source).map_err(in_model)?;
        let adapter = match &plan.trained {
            Trained::Adapter { path, .. } => Some(adapter_digest(path).map_err(in_model)?),
            Trained::Weights | Trained::NewAdapter(_) => None,
        };
        let tokenizer = TokenizerFiles::load(&source)?;
        let weights = agreement::check(plan, &table, &digests, adapter.as_ref(), &tokenizer, observe)?;
        table.check_digests()?;
        Ok(Self { table, source, digests, adapter, tokenizer, weights })
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
            return Err(TrainError::EmptyTable { path: inputs.table.path().to_owned() });
        }
        let n_pairs = u32::try_from(pairs.len()).map_err(|_| TrainError::TooManyPairs { n_pairs: pairs.len() })?;
        let batches = Batches::new(plan.order, n_pairs, plan.batch_size.get());
        let n_steps = batches.n_steps(plan.length);
        let table_digest = inputs.table.digest()?;
        let trajectory = plan.trajectory(&inputs.digests, inputs.adapter.as_ref(), &table_digest, n_steps);
        let resumed = self.folder.newest_checkpoint(&trajectory, observe)?;
        // Of the memory of a GPU nothing is known here.
        let available = if plan.backend.device().is_cpu() { memory::available_bytes() } else { None };
        let (model, optimizer, state) = if let Some(checkpoint) = resumed {
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
        let passes = Passes::of(plan, &model, &pairs, available, observe)?;
        self.train(Trainer { plan, model, optimizer, state, n_steps, passes }, batches, &pairs, observe)
    }

    /// The pairs of the table, with what the objective needs of them.
    fn load_pairs(&self) -> Result<TrainingPairs, TrainError> {
        let Self { plan, inputs, .. } = *self;
        let needs = plan.objective.needs();
        let token_logps = if needs.tokens { TokenLogps::Load } else { TokenLogps::Skip };
        let folder = plan.train_folder();
        Ok(match &plan.score_columns {
            Some(columns) if needs.scores => inputs.table.load_pairs_with_scores(token_logps, columns, &folder)?,
            None if needs.scores => return Err(TrainError::NoScores),
            _ => inputs.table.load_pairs(token_logps, &folder)?,
        })
    }

    /// The model as a checkpoint has it.
    fn resume(
        &self,
        checkpoint: &Checkpoint,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<(Decoder, AdamW, State), TrainError> {
        observe(Event::Resumed { step: checkpoint.state().step });
        let mut model = self.load_model()?;
        let optimizer = checkpoint.load(model.params_mut(), self.plan.optimizer)?;
        Ok((model, optimizer, checkpoint.state().clone()))
    }

    /// The model as it comes, once a sample of the table has been scored with it.
    fn begin(
        &self,
        pairs: &TrainingPairs,
        state: State,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<(Decoder, AdamW, State), TrainError> {
        let model = self.load_model()?;
        start_check::run(self.plan, &model, pairs, &self.inputs.weights, observe)?;
        let optimizer = AdamW::new(self.plan.optimizer, model.params());
        Ok((model, optimizer.map_err(|source| TrainError::Update { step: 0, source })?, state))
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
        mut batches: Batches,
        pairs: &TrainingPairs,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Outcome, TrainError> {
        let Self { plan, interrupt, .. } = *self;
        let (n_steps, n_resumed) = (trainer.n_steps, trainer.state.step);
        let metrics_path = plan.out.join(METRICS);
        let metrics_file = MetricsFile::open(&metrics_path, n_resumed)?;
        let mut metrics_file = metrics_file.reporting_to(plan.report_to, observe)?;
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
        let Inputs { source, digests, tokenizer, .. } = self.inputs;
        let policy = self.folder.save_policy(&trainer.model, source, digests, tokenizer)?;
        observe(Event::Saved { path: &policy });
        Ok(Outcome::Finished(Box::new(Summary {
            n_steps,
            n_resumed,
            n_pairs: pairs.len(),
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
