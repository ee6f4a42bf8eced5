//! The training loop: steps, metrics, checkpoints, interruption, the policy at the end. What a step learns from is the
//! [`Work`] it is given: pairs or sequences.

use std::path::PathBuf;

use serde::Serialize;

use super::base::Base;
use super::error::TrainError;
use super::metrics::{METRICS, MetricsFile};
use super::order::Batches;
use super::passes::Passes;
use super::plan::{Event, Interruption};
use super::run_folder::RunFolder;
use super::trainer::Trainer;
use crate::checkpoint::{self, Occasion, State};
use crate::interrupt::Interrupt;
use crate::logprob;
use crate::loss::ObjectiveState;
use crate::memory;
use crate::model::Decoder;
use crate::optim::AdamW;

/// What a run learns from.
pub(crate) trait Work {
    /// What is recorded of a step: a line of the metrics file.
    type Metrics: Serialize + Clone;
    /// Why a step may fail.
    type Error: From<TrainError>;
    /// Version of the contract of a line.
    const SCHEMA: &'static str;

    /// How many things there are to learn from.
    fn n_items(&self) -> u32;

    /// Most rows that one of them takes in a forward pass.
    fn longest(&self) -> usize;

    /// Looks at the model before its first step.
    fn inspect(&self, _: &Decoder, _: &mut dyn FnMut(Event<'_, Self::Metrics>)) -> Result<(), Self::Error> {
        Ok(())
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
    pub(crate) metrics: PathBuf,
    pub(crate) policy: PathBuf,
}

impl<'a> Engine<'a> {
    /// Trains from the newest checkpoint, or from the start. `told` is what decides the trajectory beside the course.
    pub(crate) fn run<W: Work>(
        &self,
        work: &W,
        told: impl IntoIterator<Item = (String, serde_json::Value)>,
        observe: &mut dyn FnMut(Event<'_, W::Metrics>),
    ) -> Result<End<W::Metrics>, W::Error> {
        let Self { folder, base, .. } = *self;
        let course = folder.course();
        let batches = Batches::new(course.order, work.n_items(), course.batch_size.get());
        let n_steps = batches.n_steps(course.length);
        let mut trajectory = course.trajectory(&base.digests, base.adapter.as_ref(), n_steps);
        trajectory.extend(told);
        let resumed = folder.newest_checkpoint(&trajectory, &mut |line| observe(Event::Note(line)))?;
        // Of the memory of a GPU nothing is known here.
        let available = if course.backend.device().is_cpu() { memory::available_bytes() } else { None };
        let (model, optimizer, state) = if let Some(checkpoint) = resumed {
            observe(Event::Resumed { step: checkpoint.state().step });
            let mut model = base.load(course)?;
            let optimizer = checkpoint.load(model.params_mut(), course.optimizer).map_err(TrainError::from)?;
            (model, optimizer, checkpoint.state().clone())
        } else {
            let model = base.load(course)?;
            work.inspect(&model, observe)?;
            let optimizer = AdamW::new(course.optimizer, model.params());
            let optimizer = optimizer.map_err(|source| TrainError::Update { step: 0, source })?;
            (model, optimizer, State { step: 0, n_tokens: 0, objective: ObjectiveState::default(), trajectory })
        };
        if model.lora().is_some() {
            let (n_trained, n) = (model.params().n_trained(), model.params().n_parameters());
            observe(Event::Note(format!("{n_trained} of {n} numbers are trained, those of the adapter")));
        }
        if let Some(warning) = logprob::warning(&course.backend, course.dtype) {
            observe(Event::Note(warning.into()));
        }
        let passes = Passes::of(course, &model, work.longest(), available, &mut |line| observe(Event::Note(line)))?;
        self.train(Trainer { course, model, optimizer, state, n_steps, passes }, batches, work, observe)
    }

    fn train<W: Work>(
        &self,
        mut trainer: Trainer<'a>,
        mut batches: Batches,
        work: &W,
        observe: &mut dyn FnMut(Event<'_, W::Metrics>),
    ) -> Result<End<W::Metrics>, W::Error> {
        let Self { folder, interrupt, .. } = *self;
        let course = folder.course();
        let (n_steps, n_resumed) = (trainer.n_steps, trainer.state.step);
        let metrics_path = course.out.join(METRICS);
        let mut metrics_file = MetricsFile::open(&metrics_path, W::SCHEMA, n_resumed)?;
        let mut saved = n_resumed;
        let (mut first, mut last) = (None, None);
        while trainer.state.step < n_steps {
            let epoch = batches.epoch_after(trainer.state.step + 1);
            let rows = batches.rows(trainer.state.step);
            let Some(metrics) = work.step(&mut trainer, rows, epoch, interrupt)? else {
                let checkpoint = save_interrupted(&trainer, &metrics_file, saved)?;
                return Ok(End::Interrupted(Interruption { step: trainer.state.step, n_steps, checkpoint }));
            };
            let step = trainer.state.step;
            metrics_file.push(&metrics)?;
            let is_logged = [1, n_steps].contains(&step) || step.is_multiple_of(course.logging_steps.get());
            observe(Event::Step { metrics: &metrics, n_steps, is_logged });
            if step == n_steps || course.save_steps.is_some_and(|every| step.is_multiple_of(every.get())) {
                metrics_file.sync()?;
                let path = checkpoint::save(&course.checkpoints(), &trainer.snapshot(Occasion::Planned))
                    .map_err(TrainError::from)?;
                saved = step;
                observe(Event::Saved { path: &path });
            }
            first.get_or_insert_with(|| metrics.clone());
            last = Some(metrics);
        }
        let policy = folder.save_policy(&trainer.model, self.base)?;
        observe(Event::Saved { path: &policy });
        Ok(End::Finished(Box::new(Finished { n_steps, n_resumed, first, last, metrics: metrics_path, policy })))
    }
}

/// Keeps the steps made since the last checkpoint; where there are none, that one will do.
fn save_interrupted(trainer: &Trainer<'_>, metrics: &MetricsFile, saved: u64) -> Result<Option<PathBuf>, TrainError> {
    let checkpoints = trainer.course.checkpoints();
    if trainer.state.step == saved {
        let path = checkpoints.join(format!("step-{saved}"));
        return Ok((saved > 0).then_some(path));
    }
    metrics.sync()?;
    Ok(Some(checkpoint::save(&checkpoints, &trainer.snapshot(Occasion::Interrupted))?))
}
