//! Supervised training from data files to a policy.

use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;

use super::data::{self, Data};
use super::error::SftError;
use super::metrics::SftMetrics;
use super::plan::{Event, Outcome, Plan, Summary};
use super::sequences::Sequences;
use super::step;
use crate::batch::SequenceIds;
use crate::interrupt::Interrupt;
use crate::selection::Stream;
use crate::table::schema::sft_metrics;
use crate::train::{self, Base, End, Engine, RunFolder, TrainError, Trainer, Work};

/// Trains a model as the plan says; goes on from the newest checkpoint if the plan allows it, and stops at a checkpoint
/// soon after it is asked to.
///
/// # Errors
/// If the model, the data or a checkpoint is not what the plan needs, if a number stops being finite, if another process
/// works in the run folder, or if the disk refuses. Checkpoints written before stay.
pub fn run(plan: &Plan, interrupt: &Interrupt, observe: &mut dyn FnMut(Event<'_>)) -> Result<Outcome, SftError> {
    let started = Instant::now();
    let base = Base::open(&plan.course)?;
    for note in base.notes() {
        observe(Event::Train(train::Event::Note(note.clone())));
    }
    let data = plan.data.iter().map(PathBuf::as_path);
    let folder = RunFolder::claim(&plan.course, &base.paths().into_iter().chain(data).collect::<Vec<_>>())?;
    let Some(data) = data::read(plan, &base.tokenizer.files, interrupt, observe)? else {
        return Ok(Outcome::Interrupted(None));
    };
    let Data { sequences, n_rejected, rejects } = data;
    let n_sequences = sequences.len();
    let n_items = u32::try_from(n_sequences).map_err(|_| SftError::TooManySequences { n_sequences })?;
    let told = [("objective".to_owned(), json!("cross_entropy")), ("data_digest".to_owned(), json!(sequences.digest))];
    let streams = [Stream { rows: (0..n_items).collect(), per_epoch: n_items }];
    let work = SequenceWork { sequences: &sequences, streams: &streams };
    let engine = Engine { folder: &folder, base: &base, evaluations: None, interrupt };
    let end = engine.run(&work, told, &mut |event| observe(Event::Train(event)))?;
    Ok(match end {
        End::Interrupted(interruption) => Outcome::Interrupted(Some(interruption)),
        End::Finished(finished) => Outcome::Finished(Box::new(Summary {
            n_steps: finished.n_steps,
            n_resumed: finished.n_resumed,
            n_sequences,
            n_tokens: sequences.n_tokens,
            n_learnt_tokens: sequences.n_learnt,
            n_rejected: n_rejected.malformed,
            n_overlong: n_rejected.overlong,
            rejects,
            first: finished.first,
            last: finished.last,
            seconds: started.elapsed().as_secs_f64(),
            metrics: finished.metrics,
            policy: finished.policy,
        })),
    })
}

/// Sequences to learn from.
struct SequenceWork<'a> {
    sequences: &'a Sequences,
    streams: &'a [Stream],
}

impl Work for SequenceWork<'_> {
    type Metrics = SftMetrics;
    type Error = SftError;
    const SCHEMA: &'static str = sft_metrics::VERSION;

    fn streams(&self) -> &[Stream] {
        self.streams
    }

    fn longest(&self) -> usize {
        self.sequences.longest
    }

    fn step(
        &self,
        trainer: &mut Trainer<'_>,
        rows: &[u32],
        epoch: f64,
        interrupt: &Interrupt,
    ) -> Result<Option<SftMetrics>, SftError> {
        let started = Instant::now();
        let step = trainer.state.step + 1;
        let sequences: Vec<SequenceIds<'_>> = rows.iter().filter_map(|&row| self.sequences.get(row as usize)).collect();
        let result = step::run(&trainer.model, &sequences, trainer.passes, trainer.dropout(), interrupt);
        let in_model = |source| TrainError::Model { model: trainer.course.model.clone(), source };
        let Some(result) = result.map_err(in_model)? else { return Ok(None) };
        let grad_norm = result.gradients.norm().map_err(|source| TrainError::Update { step, source })?;
        for (what, found) in [("the loss", result.loss), ("the gradient norm", grad_norm)] {
            if !found.is_finite() {
                let rows = rows.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
                return Err(SftError::NotFinite { step, what, found, rows });
            }
        }
        let learning_rate = trainer.update(&result.gradients, grad_norm, result.n_tokens)?;
        let step_seconds = started.elapsed().as_secs_f64();
        Ok(Some(SftMetrics {
            step,
            epoch,
            loss: result.loss,
            grad_norm,
            learning_rate,
            num_tokens: trainer.state.n_tokens,
            n_sequences: sequences.len(),
            n_learnt_tokens: result.n_learnt,
            tokens_per_second: result.n_tokens as f64 / step_seconds,
            step_seconds,
        }))
    }
}
