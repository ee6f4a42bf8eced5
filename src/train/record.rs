//! What a run writes down on the way: lines of metrics and checkpoints.

use std::path::PathBuf;

use serde::Serialize;

use super::course::Course;
use super::error::TrainError;
use super::evals;
use super::metrics::{EvaluationMetrics, LastLine, METRICS, MetricsFile};
use super::plan::Interruption;
use super::trainer::Trainer;
use crate::checkpoint::{self, Occasion, State};

/// The open record of a run; `M` is what it has of a step.
pub(super) struct Record<'a, M> {
    course: &'a Course,
    metrics: MetricsFile,
    /// Whether the newest checkpoint is of the state as it is, its evaluation included.
    pub(super) is_saved: bool,
    pub(super) first: Option<M>,
    pub(super) last: Option<M>,
    pub(super) first_evaluation: Option<EvaluationMetrics>,
    pub(super) last_evaluation: Option<EvaluationMetrics>,
}

impl<'a, M: Serialize + Clone> Record<'a, M> {
    /// Opens it where this state stands: what is of later steps, or of an evaluation it does not know of, is dropped.
    pub(super) fn open(
        course: &'a Course,
        schema: &'static str,
        state: &State,
        note: &mut dyn FnMut(String),
    ) -> Result<Self, TrainError> {
        let last = if state.eval.last_step == Some(state.step) { LastLine::Evaluation } else { LastLine::Step };
        let metrics = MetricsFile::open(&course.out.join(METRICS), schema, state.step, last)?;
        let metrics = metrics.reporting_to(course.report_to, note)?;
        evals::clear(&course.out, &state.eval)?;
        let (first_evaluation, last_evaluation) = (None, None);
        Ok(Self { course, metrics, is_saved: true, first: None, last: None, first_evaluation, last_evaluation })
    }

    pub(super) fn add_step(&mut self, metrics: &M) -> Result<(), TrainError> {
        self.metrics.push(metrics)?;
        self.is_saved = false;
        self.first.get_or_insert_with(|| metrics.clone());
        self.last = Some(metrics.clone());
        Ok(())
    }

    pub(super) fn add_evaluation(&mut self, metrics: &EvaluationMetrics) -> Result<(), TrainError> {
        self.metrics.push(metrics)?;
        self.is_saved = false;
        self.first_evaluation.get_or_insert_with(|| metrics.clone());
        self.last_evaluation = Some(metrics.clone());
        Ok(())
    }

    /// Writes a checkpoint, and deletes those that are too many: not for an interruption, whose checkpoint does not stay.
    pub(super) fn save(&mut self, trainer: &Trainer<'_>, occasion: Occasion) -> Result<PathBuf, TrainError> {
        self.metrics.sync()?;
        let folder = self.course.checkpoints();
        let path = checkpoint::save(&folder, &trainer.snapshot(occasion))?;
        if let Some(limit) = self.course.save_total_limit.filter(|_| occasion != Occasion::Interrupted) {
            checkpoint::rotate(&folder, limit, trainer.state.eval.best.map(|best| best.step))?;
        }
        self.is_saved = true;
        Ok(path)
    }

    /// Keeps what was done since the last checkpoint; where that is nothing, that one will do. Before the first step there
    /// is nothing to keep.
    pub(super) fn interrupted(&mut self, trainer: &Trainer<'_>) -> Result<Interruption, TrainError> {
        let (step, n_steps) = (trainer.state.step, trainer.n_steps);
        let checkpoint = match step {
            0 => None,
            step if self.is_saved => Some(checkpoint::path_of(&self.course.checkpoints(), step)),
            _ => Some(self.save(trainer, Occasion::Interrupted)?),
        };
        Ok(Interruption { step, n_steps, checkpoint })
    }
}
