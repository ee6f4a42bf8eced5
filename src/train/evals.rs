//! Evaluations of a run: at its start, every so many steps, and at its end.
//!
//! One evaluation is a file of rows in `train/evals/`, one of samples in `train/samples/` where the plan asks for them, an
//! entry in the state of the run and a line of the metrics, in this order, so that what a checkpoint knows of is on disk;
//! what is on disk and not in the checkpoint a run goes on from is deleted before it goes on.
//!
//! What else is to be made of the policy whenever it is evaluated belongs beside the rows, in [`Evaluations::run`].

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::base::Base;
use super::error::TrainError;
use super::metrics::EvaluationMetrics;
use super::plan::{EvalPlan, Event, Mismatch, Plan};
use super::samples::{SAMPLES, Samples};
use super::trainer::Trainer;
use crate::checkpoint::State;
use crate::digest::Digest;
use crate::eval::{self, EvalError, EvalState, Evaluation, HeldOut};
use crate::interrupt::Interrupt;
use crate::io;
use crate::table::{Difference, EvalsWriter, ReferenceTable, StepFiles, TrainingPairs};
use crate::tokenize::TokenizerFiles;

/// The folder of evaluated pairs in a run folder.
pub const EVALS: &str = "train/evals";

/// The held-out table of a plan, checked against the one that is trained on.
#[derive(Debug)]
pub(super) struct HeldOutTable {
    table: ReferenceTable,
    digest: Digest,
}

impl HeldOutTable {
    /// Opens the table of the plan, if it has one.
    ///
    /// # Errors
    /// If it is damaged, or was made with another tokenizer or, unless the plan allows it, another reference.
    pub(super) fn open(
        plan: &Plan,
        trained_on: &[ReferenceTable],
        tokenizer: &TokenizerFiles,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Option<Self>, EvalError> {
        let Some(path) = plan.eval.as_ref().and_then(|eval| eval.table.as_deref()) else { return Ok(None) };
        let table = ReferenceTable::open_as(path, plan.reference.as_deref())?;
        let (expected, found) = (tokenizer.digest(), table.provenance().tokenizer_digest);
        if expected != found {
            return Err(EvalError::Tokenizer { table: table.path().to_owned(), expected, found });
        }
        // Tables that are trained on together have one reference.
        for difference in trained_on.first().map(|first| differences(first, &table)).unwrap_or_default() {
            let rule = if difference.field == "dtype" { plan.other_dtype } else { plan.other_reference };
            if rule == Mismatch::Refuse {
                return Err(EvalError::OtherReference { table: table.path().to_owned(), difference });
            }
            observe(Event::Note(format!(
                "the held-out table has another reference than the pairs that are trained on: `{}` is `{}` there, `{}` \
                 here",
                difference.field, difference.found, difference.expected
            )));
        }
        table.check_digests()?;
        let digest = table.digest()?;
        Ok(Some(Self { table, digest }))
    }

    /// Digest of the table.
    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    /// Loads its pairs; says how many of their prompts are trained on.
    ///
    /// # Errors
    /// If the table has no pairs, or a row of it is not what the objective needs.
    pub(super) fn load(
        &self,
        plan: &Plan,
        trained_on: &TrainingPairs,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<HeldOutPairs, EvalError> {
        let Self { table, .. } = self;
        let pairs = eval::load_pairs(table, &plan.objective, plan.score_columns.as_ref(), &plan.course.train_folder())?;
        let rows = eval::rows_of(table, &pairs)?;
        let n_known = n_known_prompts(&pairs, trained_on);
        if n_known > 0 {
            observe(Event::Note(format!("the prompts of {n_known} of {} held-out pairs are trained on", pairs.len())));
        }
        Ok(HeldOutPairs { pairs, rows })
    }
}

/// The pairs of a held-out table.
#[derive(Debug)]
pub(super) struct HeldOutPairs {
    pairs: TrainingPairs,
    rows: Vec<u32>,
}

impl HeldOutPairs {
    /// All of them.
    pub(super) fn as_held_out(&self) -> HeldOut<'_> {
        HeldOut { pairs: &self.pairs, rows: &self.rows }
    }
}

/// In what the references of two tables differ.
fn differences(trained_on: &ReferenceTable, held_out: &ReferenceTable) -> Vec<Difference> {
    let (ours, theirs) = (trained_on.provenance(), held_out.provenance());
    let mut fields = vec![("dtype", ours.dtype.clone(), theirs.dtype.clone())];
    // A table without a template was made of plain strings, which any reads alike.
    if let (Some(ours), Some(theirs)) = (&ours.chat_template, &theirs.chat_template) {
        fields.push(("chat_template.digest", ours.digest.to_string(), theirs.digest.to_string()));
    }
    let different = fields.into_iter().filter(|(_, expected, found)| expected != found);
    let different = different.map(|(field, expected, found)| Difference { field, expected, found });
    ours.model.differences(&theirs.model).into_iter().chain(different).collect()
}

/// The evaluations of a run under way.
#[derive(Debug)]
pub(crate) struct Evaluations<'a> {
    plan: &'a Plan,
    eval: &'a EvalPlan,
    held_out: HeldOut<'a>,
    digest: Digest,
    folder: PathBuf,
    samples: Option<Samples<'a>>,
}

impl<'a> Evaluations<'a> {
    /// On held-out pairs, of a table with this digest.
    pub(super) fn new(plan: &'a Plan, eval: &'a EvalPlan, held_out: HeldOut<'a>, digest: Digest) -> Self {
        Self { plan, eval, held_out, digest, folder: plan.course.out.join(EVALS), samples: None }
    }

    /// With the samples the plan asks for, of a policy that starts from this model.
    ///
    /// # Errors
    /// If the model does not say which tokens end an answer in a way that can be read.
    pub(super) fn with_samples(mut self, base: &'a Base) -> Result<Self, TrainError> {
        let out = &self.plan.course.out;
        self.samples = self.eval.samples.map(|samples| Samples::new(samples, base, out)).transpose()?;
        Ok(self)
    }

    /// What of evaluations decides what a run leaves behind.
    pub(super) fn trajectory(&self) -> Value {
        let eval = self.eval;
        let mut told = json!({
            "table_digest": self.digest,
            "steps": eval.steps,
            "metric_for_best_model": eval.metric_for_best_model,
            "early_stopping_patience": eval.early_stopping.map(|stopping| stopping.patience),
            "early_stopping_threshold": eval.early_stopping.map(|stopping| stopping.threshold),
            "load_best_model_at_end": eval.load_best_model_at_end,
        });
        // Not named where there are none, so that runs of earlier versions go on.
        if let Some(samples) = eval.samples {
            told["samples"] = json!(samples.n_prompts);
            told["sample_tokens"] = json!(samples.max_new_tokens);
        }
        told
    }

    /// When it evaluates, and what follows from it.
    pub(super) fn plan(&self) -> &EvalPlan {
        self.eval
    }

    /// Whether the policy of this state is to be evaluated and was not.
    pub(super) fn is_due(&self, trainer: &Trainer<'_>) -> bool {
        let step = trainer.state.step;
        let is_planned = step == 0
            || step == trainer.n_steps
            || self.eval.steps.is_some_and(|every| step.is_multiple_of(every.get()));
        is_planned && trainer.state.eval.last_step != Some(step)
    }

    /// Whether a run that stood here has let an evaluation at its end, which is none on the way, say which policy is the
    /// best, or when there is no better one to come.
    pub(super) fn chose_by_an_end(&self, then: &State) -> bool {
        let end = then.trajectory.get("n_steps").and_then(Value::as_u64);
        let is_on_the_way = |step: u64| self.eval.steps.is_some_and(|every| step.is_multiple_of(every.get()));
        self.eval.keeps_best() && end.is_some_and(|end| then.eval.last_step == Some(end) && !is_on_the_way(end))
    }

    /// Whether the run has ended early.
    pub(super) fn is_stopped(&self, state: &EvalState) -> bool {
        self.eval.early_stopping.is_some_and(|stopping| state.is_exhausted(stopping))
    }

    /// Whether this step is the best so far, and its checkpoint to be kept for that.
    pub(super) fn keeps(&self, step: u64, state: &EvalState) -> bool {
        self.eval.keeps_best() && state.best.is_some_and(|best| best.step == step)
    }

    /// Evaluates the policy that the run would end with now, and takes the result into the state of the run; interrupted,
    /// nothing has changed.
    ///
    /// # Errors
    /// If a number is not finite, or the disk refuses.
    pub(super) fn run<M>(
        &self,
        trainer: &mut Trainer<'_>,
        epoch: f64,
        interrupt: &Interrupt,
        observe: &mut dyn FnMut(Event<'_, M>),
    ) -> Result<Option<EvaluationMetrics>, TrainError> {
        let step = trainer.state.step;
        let failed = |source: EvalError| TrainError::Evaluation { step, source };
        io::create_dir(&self.folder)?;
        let path = StepFiles::Evals.path(&self.folder, step);
        let mut writer =
            EvalsWriter::create(&path, &self.digest, &self.plan.objective).map_err(|source| failed(source.into()))?;
        let (state, n_pairs) = (trainer.state.objective, self.held_out.rows.len());
        let found = trainer.with_policy(|model| {
            let evaluation = Evaluation {
                model,
                held_out: self.held_out,
                objective: &self.plan.objective,
                state,
                batch_size: self.plan.course.batch_size.get(),
                max_tokens: self.plan.course.max_tokens.get(),
            };
            let metrics = evaluation.run(
                interrupt,
                &mut |n_scored| observe(Event::Evaluating { step, n_scored, n_pairs }),
                &mut |result| writer.push(&result.row(Some(step))),
            );
            let (Some(metrics), samples) = (metrics.map_err(failed)?, &self.samples) else { return Ok(None) };
            let Some(samples) = samples else { return Ok(Some((metrics, None))) };
            let lines = samples.complete(step, model, self.held_out, interrupt, observe)?;
            Ok::<_, TrainError>(lines.map(|lines| (metrics, Some((samples, lines)))))
        });
        let Some((metrics, samples)) = found? else { return Ok(None) };
        writer.finish().map_err(|source| failed(source.into()))?;
        if let Some((samples, lines)) = samples {
            samples.write(step, &lines)?;
        }
        let metric = self.eval.metric_for_best_model;
        let threshold = self.eval.early_stopping.map_or(0.0, |stopping| stopping.threshold);
        trainer.state.eval.record(step, metric.of(&metrics), metric, threshold);
        Ok(Some(EvaluationMetrics { step, epoch, metrics }))
    }
}

/// Deletes the evaluations that the state a run goes on from does not know of.
pub(super) fn clear(out: &Path, state: &EvalState) -> Result<(), TrainError> {
    StepFiles::Evals.drop_after(&out.join(EVALS), state.last_step)?;
    Ok(StepFiles::Samples.drop_after(&out.join(SAMPLES), state.last_step)?)
}

/// Held-out pairs whose prompt is that of a pair that is trained on.
fn n_known_prompts(held_out: &TrainingPairs, trained_on: &TrainingPairs) -> usize {
    let prompts: HashSet<&[u32]> = held_out.iter().map(|pair| pair.prompt_ids).collect();
    let known: HashSet<&[u32]> =
        trained_on.iter().map(|pair| pair.prompt_ids).filter(|prompt| prompts.contains(prompt)).collect();
    held_out.iter().filter(|pair| known.contains(pair.prompt_ids)).count()
}
