//! The training loop.

use std::path::PathBuf;
use std::time::Instant;

use super::agreement;
use super::error::TrainError;
use super::evals::{self, EVALS, Evaluations, HeldOutTable};
use super::metrics::{EvaluationMetrics, LastLine, METRICS, MetricsFile, StepMetrics};
use super::order::{Batches, rng};
use super::passes::Passes;
use super::plan::{BestSummary, EvalSummary, Event, Interruption, Outcome, Plan, Summary, Trained};
use super::run_folder::RunFolder;
use super::start_check::{self, Checked, Weights};
use super::trainer::Trainer;
use crate::checkpoint::{self, Checkpoint, Occasion, State};
use crate::digest::Digest;
use crate::eval::{EvalState, HeldOut};
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
    /// The table the policy is evaluated on, if it is another one.
    held_out: Option<HeldOutTable>,
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
        let held_out = HeldOutTable::open(plan, &tables, &tokenizer, observe)?;
        Ok(Self { tables, table_digest, selected, source, digests, adapter, tokenizer, weights, held_out })
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
        let mut trajectory =
            plan.trajectory(&inputs.digests, inputs.adapter.as_ref(), &inputs.table_digest, record, n_steps);
        let other_pairs = inputs.held_out.as_ref().map(|held_out| held_out.load(plan, &pairs, observe)).transpose()?;
        let held_out = match &other_pairs {
            Some(held_out) => held_out.as_held_out(),
            None => HeldOut { pairs: &pairs, rows: &split.held_out },
        };
        let held_out_digest = inputs.held_out.as_ref().map_or(inputs.table_digest, HeldOutTable::digest);
        let evaluations = plan.eval.as_ref().map(|eval| Evaluations::new(plan, eval, held_out, held_out_digest));
        if let Some(evaluations) = &evaluations {
            trajectory.insert("eval".into(), evaluations.trajectory());
        }
        let resumed = self.folder.newest_checkpoint(&trajectory, observe)?;
        // Of the memory of a GPU nothing is known here.
        let available = if plan.backend.device().is_cpu() { memory::available_bytes() } else { None };
        let (model, optimizer, ema, state) = if let Some(checkpoint) = resumed {
            self.resume(&checkpoint, observe)?
        } else {
            let (objective, eval) = (ObjectiveState::default(), EvalState::default());
            let state = State { step: 0, n_tokens: 0, objective, eval, trajectory };
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
        let data = Data { batches, pairs: &pairs, evaluations };
        self.train(Trainer { plan, model, optimizer, ema, state, n_steps, passes }, data, observe)
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
        data: Data<'_>,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Outcome, TrainError> {
        let Self { plan, interrupt, .. } = *self;
        let Data { mut batches, pairs, evaluations } = data;
        let (n_steps, n_resumed) = (trainer.n_steps, trainer.state.step);
        let mut record = Record::open(plan, &trainer.state, observe)?;
        loop {
            let step = trainer.state.step;
            if let Some(evaluations) = evaluations.as_ref().filter(|evaluations| evaluations.is_due(&trainer)) {
                let epoch = batches.epoch_after(step);
                let Some(metrics) = evaluations.run(&mut trainer, epoch, interrupt, observe)? else {
                    return record.interrupted(&trainer);
                };
                record.add_evaluation(&metrics)?;
                observe(Event::Evaluated { metrics: &metrics, n_steps });
            }
            let evaluations = evaluations.as_ref();
            let is_end = step == n_steps || evaluations.is_some_and(|evals| evals.is_stopped(&trainer.state.eval));
            let is_planned = is_end || plan.save_steps.is_some_and(|every| step.is_multiple_of(every.get()));
            let is_best = evaluations.is_some_and(|evals| evals.keeps(step, &trainer.state.eval));
            if step > 0 && !record.is_saved && (is_planned || is_best) {
                let path = record.save(&trainer, if is_planned { Occasion::Planned } else { Occasion::Best })?;
                observe(Event::Saved { path: &path });
            }
            if is_end {
                break;
            }
            let rows = batches.rows(step).iter();
            let step_pairs: Vec<TrainingPair<'_>> = rows.filter_map(|&row| pairs.get(row as usize)).collect();
            let epoch = batches.epoch_after(step + 1);
            let Some(metrics) = trainer.step(&step_pairs, epoch, interrupt)? else {
                return record.interrupted(&trainer);
            };
            record.add_step(&metrics)?;
            let is_logged =
                [1, n_steps].contains(&metrics.step) || metrics.step.is_multiple_of(plan.logging_steps.get());
            observe(Event::Step { metrics: &metrics, n_steps, is_logged });
        }
        let eval = match evaluations {
            Some(evaluations) => Some(self.choose_policy(&mut trainer, &evaluations, &mut record)?),
            None => None,
        };
        let Inputs { source, digests, tokenizer, selected, .. } = self.inputs;
        let policy = trainer.with_policy(|model| self.folder.save_policy(model, source, digests, tokenizer))?;
        observe(Event::Saved { path: &policy });
        Ok(Outcome::Finished(Box::new(Summary {
            n_steps: trainer.state.step,
            n_resumed,
            n_pairs: pairs.len() - selected.split.held_out.len(),
            n_held_out: selected.split.held_out.len(),
            first: record.first,
            last: record.last,
            seconds: self.started.elapsed().as_secs_f64(),
            metrics: plan.out.join(METRICS),
            policy,
            eval,
        })))
    }

    /// Puts the best weights into the model where the plan asks for them; what the evaluations amount to.
    fn choose_policy(
        &self,
        trainer: &mut Trainer<'_>,
        evaluations: &Evaluations<'_>,
        record: &mut Record<'_>,
    ) -> Result<EvalSummary, TrainError> {
        let Self { plan, .. } = *self;
        let State { step, eval: state, .. } = trainer.state;
        let mut policy_step = step;
        if evaluations.plan().load_best_model_at_end
            && let Some(best) = state.best.filter(|best| best.step != step)
        {
            let checkpoint = Checkpoint::open(&checkpoint::path_of(&plan.checkpoints(), best.step))?;
            checkpoint.check(&trainer.state.trajectory)?;
            checkpoint.load(trainer.model.params_mut(), plan.optimizer)?;
            if let Some(decay) = plan.ema_decay {
                trainer.ema = Some(checkpoint.load_ema(trainer.model.params(), decay)?);
            }
            policy_step = best.step;
        }
        let best = state.best.map(|best| {
            let path = checkpoint::path_of(&plan.checkpoints(), best.step);
            let metric = evaluations.plan().metric_for_best_model;
            let checkpoint = Some(path).filter(|path| path.is_dir());
            BestSummary { step: best.step, metric, value: best.value, checkpoint }
        });
        Ok(EvalSummary {
            first: record.first_evaluation.take(),
            last: record.last_evaluation.take(),
            best,
            is_stopped_early: step < trainer.n_steps,
            policy_step,
            evals: plan.out.join(EVALS),
        })
    }
}

/// What a run reads, once it is checked.
struct Data<'a> {
    batches: Batches<'a>,
    pairs: &'a TrainingPairs,
    evaluations: Option<Evaluations<'a>>,
}

/// What is written down on the way.
struct Record<'a> {
    plan: &'a Plan,
    metrics: MetricsFile,
    /// Whether the newest checkpoint is of the state as it is, its evaluation included.
    is_saved: bool,
    first: Option<StepMetrics>,
    last: Option<StepMetrics>,
    first_evaluation: Option<EvaluationMetrics>,
    last_evaluation: Option<EvaluationMetrics>,
}

impl<'a> Record<'a> {
    /// Opens it where this state stands: what is of later steps, or of an evaluation it does not know of, is dropped.
    fn open(plan: &'a Plan, state: &State, observe: &mut dyn FnMut(Event<'_>)) -> Result<Self, TrainError> {
        let last = if state.eval.last_step == Some(state.step) { LastLine::Evaluation } else { LastLine::Step };
        let metrics = MetricsFile::open(&plan.out.join(METRICS), state.step, last)?;
        let metrics = metrics.reporting_to(plan.report_to, observe)?;
        evals::clear(&plan.out, &state.eval)?;
        let (first_evaluation, last_evaluation) = (None, None);
        Ok(Self { plan, metrics, is_saved: true, first: None, last: None, first_evaluation, last_evaluation })
    }

    fn add_step(&mut self, metrics: &StepMetrics) -> Result<(), TrainError> {
        self.metrics.push(metrics)?;
        self.is_saved = false;
        self.first.get_or_insert_with(|| metrics.clone());
        self.last = Some(metrics.clone());
        Ok(())
    }

    fn add_evaluation(&mut self, metrics: &EvaluationMetrics) -> Result<(), TrainError> {
        self.metrics.push(metrics)?;
        self.is_saved = false;
        self.first_evaluation.get_or_insert_with(|| metrics.clone());
        self.last_evaluation = Some(metrics.clone());
        Ok(())
    }

    /// Writes a checkpoint, and deletes those that are too many: not for an interruption, whose checkpoint does not stay.
    fn save(&mut self, trainer: &Trainer<'_>, occasion: Occasion) -> Result<PathBuf, TrainError> {
        self.metrics.sync()?;
        let folder = self.plan.checkpoints();
        let path = checkpoint::save(&folder, &trainer.snapshot(occasion))?;
        if let Some(limit) = self.plan.save_total_limit.filter(|_| occasion != Occasion::Interrupted) {
            checkpoint::rotate(&folder, limit, trainer.state.eval.best.map(|best| best.step))?;
        }
        self.is_saved = true;
        Ok(path)
    }

    /// Keeps what was done since the last checkpoint; where that is nothing, that one will do. Before the first step there
    /// is nothing to keep.
    fn interrupted(&mut self, trainer: &Trainer<'_>) -> Result<Outcome, TrainError> {
        let (step, n_steps) = (trainer.state.step, trainer.n_steps);
        let checkpoint = match step {
            0 => None,
            step if self.is_saved => Some(checkpoint::path_of(&self.plan.checkpoints(), step)),
            _ => Some(self.save(trainer, Occasion::Interrupted)?),
        };
        Ok(Outcome::Interrupted(Interruption { step, n_steps, checkpoint }))
    }
}
