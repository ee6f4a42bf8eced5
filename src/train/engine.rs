//! The training loop: steps, evaluations, checkpoints, interruption, the policy at the end. What a step learns from is the
//! [`Work`] it is given: pairs or sequences.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use super::base::Base;
use super::course::Course;
use super::error::TrainError;
use super::evals::{EVALS, Evaluations};
use super::metrics::METRICS;
use super::order::Batches;
use super::passes::Passes;
use super::plan::{BestSummary, EvalSummary, Event, Interruption};
use super::policy_folder;
use super::record::Record;
use super::run_folder::RunFolder;
use super::samples::SAMPLES;
use super::trainer::Trainer;
use super::watch::{self, Progress, Watch};
use crate::checkpoint::{self, Checkpoint, Occasion, State, Trajectory};
use crate::eval::EvalState;
use crate::interrupt::Interrupt;
use crate::logprob;
use crate::loss::ObjectiveState;
use crate::memory;
use crate::model::Decoder;
use crate::optim::{Ema, Optimizer};
use crate::selection::Stream;

/// What a run learns from.
pub(crate) trait Work {
    /// What is recorded of a step: a line of the metrics file.
    type Metrics: Serialize + Clone + Progress;
    /// Why a step may fail.
    type Error: From<TrainError>;
    /// Version of the contract of a line.
    const SCHEMA: &'static str;

    /// Which things there are to learn from, by number, and how many of them an epoch sees.
    fn streams(&self) -> &[Stream];

    /// Most rows that one of them takes in a forward pass.
    fn longest(&self) -> usize;

    /// Looks at the model before its first step.
    fn inspect(&self, _: &Decoder, _: &mut dyn FnMut(Event<'_, Self::Metrics>)) -> Result<(), Self::Error> {
        Ok(())
    }

    /// What of these things leaves a step on them without a gradient, if anything does.
    fn why_flat(&self, _rows: &[u32]) -> Option<String> {
        None
    }

    /// Makes a step on some of them; `epoch` is where it ends. Interrupted between two passes, the step is given up
    /// (`None`): the run stands where it stood.
    fn step(
        &self,
        trainer: &mut Trainer<'_>,
        rows: &[u32],
        epoch: f64,
        interrupt: &Interrupt,
    ) -> Result<Option<Self::Metrics>, Self::Error>;
}

/// A run in its folder.
pub(crate) struct Engine<'a> {
    pub(crate) folder: &'a RunFolder<'a>,
    pub(crate) base: &'a Base,
    /// Evaluations on the way, if there are any.
    pub(crate) evaluations: Option<Evaluations<'a>>,
    pub(crate) interrupt: &'a Interrupt,
}

/// How a run ends.
pub(crate) enum End<M> {
    Finished(Box<Finished<M>>),
    Interrupted(Interruption),
}

/// What a finished run leaves.
pub(crate) struct Finished<M> {
    pub(crate) n_steps: u64,
    pub(crate) n_resumed: u64,
    pub(crate) first: Option<M>,
    pub(crate) last: Option<M>,
    pub(crate) eval: Option<EvalSummary>,
    pub(crate) metrics: PathBuf,
    pub(crate) policy: PathBuf,
}

impl<'a> Engine<'a> {
    /// Trains from the newest checkpoint, or from the start. `told` is what decides the trajectory beside the course.
    pub(crate) fn run<W: Work>(
        &self,
        work: &W,
        told: impl IntoIterator<Item = (String, Value)>,
        observe: &mut dyn FnMut(Event<'_, W::Metrics>),
    ) -> Result<End<W::Metrics>, W::Error> {
        let Self { folder, base, .. } = *self;
        let course = folder.course();
        let batches = Batches::new(course.order, work.streams(), course.batch_size.get());
        let n_steps = batches.n_steps(course.length);
        // What a run learns from decides how many steps it has, and is told first where both are others.
        let mut trajectory: Trajectory = told.into_iter().collect();
        trajectory.extend(course.trajectory(&base.digests, n_steps));
        if let Some(evaluations) = &self.evaluations {
            trajectory.insert("eval".into(), evaluations.trajectory());
        }
        let may_change = |then: &State| {
            let mut keys = course.may_change();
            // An evaluation at the end of the shorter run, which the longer one does not make, would have a say in it.
            if self.evaluations.as_ref().is_some_and(|evaluations| evaluations.chose_by_an_end(then)) {
                keys.retain(|key| *key != "n_steps");
            }
            keys
        };
        let mut note = |line| observe(Event::Note(line));
        let resumed = folder.newest_checkpoint(&trajectory, n_steps, &may_change, &mut note)?;
        // Of the memory of a GPU nothing is known here.
        let available = if course.backend.device().is_cpu() { memory::available_bytes() } else { None };
        let (model, optimizer, ema, state) = if let Some(checkpoint) = resumed {
            observe(Event::Resumed { step: checkpoint.state().step });
            let (model, optimizer, ema, state) = self.resume(course, &checkpoint)?;
            (model, optimizer, ema, State { trajectory, ..state })
        } else {
            let model = base.load(course)?;
            work.inspect(&model, observe)?;
            let (optimizer, ema) = begin(course, &model)?;
            folder.begin(&mut |line| observe(Event::Note(line)))?;
            let (objective, eval) = (ObjectiveState::default(), EvalState::default());
            (model, optimizer, ema, State { step: 0, n_tokens: 0, objective, eval, trajectory })
        };
        policy_folder::prove_adapter(&model, base, &course.model)?;
        if model.lora().is_some() {
            let (n_trained, n) = (model.params().n_trained(), model.params().n_parameters());
            observe(Event::Note(format!("{n_trained} of {n} numbers are trained, those of the adapter")));
        }
        if let Some(warning) = logprob::warning(&course.backend, course.dtype) {
            observe(Event::Note(warning.into()));
        }
        let passes = Passes::of(course, &model, work.longest(), available, &mut |line| observe(Event::Note(line)))?;
        self.train(Trainer { course, model, optimizer, ema, state, n_steps, passes }, batches, work, observe)
    }

    /// The model as a checkpoint has it.
    fn resume(
        &self,
        course: &Course,
        checkpoint: &Checkpoint,
    ) -> Result<(Decoder, Optimizer, Option<Ema>, State), TrainError> {
        let mut model = self.base.load(course)?;
        let optimizer = checkpoint.load(model.params_mut(), course.optimizer)?;
        let ema = course.ema_decay.map(|decay| checkpoint.load_ema(model.params(), decay)).transpose()?;
        Ok((model, optimizer, ema, checkpoint.state().clone()))
    }

    fn train<W: Work>(
        &self,
        mut trainer: Trainer<'a>,
        mut batches: Batches<'_>,
        work: &W,
        observe: &mut dyn FnMut(Event<'_, W::Metrics>),
    ) -> Result<End<W::Metrics>, W::Error> {
        let Self { folder, interrupt, .. } = *self;
        let course = folder.course();
        let (n_steps, n_resumed) = (trainer.n_steps, trainer.state.step);
        if let Some(line) = watch::of_schedule(&course.schedule, n_steps) {
            observe(Event::Note(line));
        }
        let mut watch = Watch::default();
        let mut record = Record::open(course, W::SCHEMA, &trainer.state, &mut |line| observe(Event::Note(line)))?;
        loop {
            let step = trainer.state.step;
            if let Some(evaluations) = self.evaluations.as_ref().filter(|evaluations| evaluations.is_due(&trainer)) {
                let epoch = batches.epoch_after(step);
                let Some(metrics) = evaluations.run(&mut trainer, epoch, interrupt, observe)? else {
                    return Ok(End::Interrupted(record.interrupted(&trainer)?));
                };
                record.add_evaluation(&metrics)?;
                observe(Event::Evaluated { metrics: &metrics, n_steps });
            }
            let evaluations = self.evaluations.as_ref();
            let is_end = step == n_steps || evaluations.is_some_and(|evals| evals.is_stopped(&trainer.state.eval));
            let is_planned = is_end || course.save_steps.is_some_and(|every| step.is_multiple_of(every.get()));
            let is_best = evaluations.is_some_and(|evals| evals.keeps(step, &trainer.state.eval));
            if step > 0 && !record.is_saved && (is_planned || is_best) {
                let path = record.save(&trainer, if is_planned { Occasion::Planned } else { Occasion::Best })?;
                observe(Event::Saved { path: &path });
            }
            if is_end {
                break;
            }
            let epoch = batches.epoch_after(step + 1);
            let Some(metrics) = work.step(&mut trainer, batches.rows(step), epoch, interrupt)? else {
                return Ok(End::Interrupted(record.interrupted(&trainer)?));
            };
            record.add_step(&metrics)?;
            for line in watch.look(metrics.signs(), || work.why_flat(batches.rows(step))) {
                observe(Event::Note(line));
            }
            let step = trainer.state.step;
            let is_logged = [1, n_steps].contains(&step) || step.is_multiple_of(course.logging_steps.get());
            observe(Event::Step { metrics: &metrics, n_steps, is_logged });
        }
        let eval = match &self.evaluations {
            Some(evaluations) => Some(choose_policy(&mut trainer, evaluations, &mut record)?),
            None => None,
        };
        let mut note = |line| observe(Event::Note(line));
        let policy = trainer.with_policy(|model| folder.save_policy(model, self.base, &mut note))?;
        observe(Event::Saved { path: &policy });
        Ok(End::Finished(Box::new(Finished {
            n_steps: trainer.state.step,
            n_resumed,
            first: record.first,
            last: record.last,
            eval,
            metrics: course.out.join(METRICS),
            policy,
        })))
    }
}

fn begin(course: &Course, model: &Decoder) -> Result<(Optimizer, Option<Ema>), TrainError> {
    let failed = |source| TrainError::Update { step: 0, source };
    let optimizer = Optimizer::new(course.optimizer, model.params()).map_err(failed)?;
    let ema = course.ema_decay.map(|decay| Ema::new(decay, model.params())).transpose().map_err(failed)?;
    Ok((optimizer, ema))
}

/// Puts the best weights into the model where the evaluations are to decide; what they amount to.
fn choose_policy<M>(
    trainer: &mut Trainer<'_>,
    evaluations: &Evaluations<'_>,
    record: &mut Record<'_, M>,
) -> Result<EvalSummary, TrainError> {
    let course = trainer.course;
    let State { step, eval: state, .. } = trainer.state;
    let mut policy_step = step;
    if evaluations.plan().load_best_model_at_end
        && let Some(best) = state.best.filter(|best| best.step != step)
    {
        let checkpoint = Checkpoint::open(&checkpoint::path_of(&course.checkpoints(), best.step))?;
        checkpoint.check(&trainer.state.trajectory, &["max_tokens", "n_steps"])?;
        checkpoint.load(trainer.model.params_mut(), course.optimizer)?;
        if let Some(decay) = course.ema_decay {
            trainer.ema = Some(checkpoint.load_ema(trainer.model.params(), decay)?);
        }
        policy_step = best.step;
    }
    let best = state.best.map(|best| {
        let path = checkpoint::path_of(&course.checkpoints(), best.step);
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
        evals: course.out.join(EVALS),
        samples: evaluations.plan().samples.map(|_| course.out.join(SAMPLES)),
    })
}
