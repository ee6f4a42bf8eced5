//! What a training run is told, what it says on the way, and what it ends with.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::course::Course;
use super::metrics::{EvaluationMetrics, StepMetrics};
use crate::digest::Digest;
use crate::eval::{BestMetric, EarlyStopping};
use crate::loss::BatchObjective;
use crate::model::Lora;
use crate::selection::{PassOrder, Selection};
use crate::table::ScoreColumns;

/// In which order pairs are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As they stand in the table, or as the selection orders them, in every epoch.
    Table,
    /// Shuffled anew in every epoch, by this seed.
    Shuffled {
        /// The seed.
        seed: u64,
    },
}

/// How long a run is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Length {
    /// This many optimiser steps.
    Steps(NonZeroU64),
    /// This many epochs, each a pass over the selected pairs; the last step of each may be smaller.
    Epochs(f64),
}

/// Whether to go on where an earlier run stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// From the newest checkpoint, if there is one.
    Resume,
    /// From the model's weights; checkpoints and policy of an earlier run are deleted once this one has its policy.
    Fresh,
}

/// What becomes of a run whose policy does not start at the table's reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatch {
    /// It is refused.
    Refuse,
    /// It is told how far apart the two are.
    Allow,
}

/// What of the model a run trains.
#[derive(Debug, Clone, PartialEq)]
pub enum Trained {
    /// All weights.
    Weights,
    /// A new adapter: the policy starts where the model is. The weights stay as they are.
    NewAdapter(Lora),
    /// The adapter of a folder, on from where it stands. The weights stay as they are.
    Adapter {
        /// The folder, one of PEFT's.
        path: PathBuf,
        /// Dropout of this run, whatever the folder says of an earlier one.
        dropout: f64,
    },
    /// All weights, drawn anew: of the model nothing is read but its configuration and its tokenizer.
    Drawn,
}

/// When a run evaluates its policy, and what follows from it.
#[derive(Debug, Clone, PartialEq)]
pub struct EvalPlan {
    /// The held-out log-prob table; a further reference of the plan is looked for in it by the same name. `None`: the
    /// pairs that the selection holds out.
    pub table: Option<PathBuf>,
    /// Optimiser steps from one evaluation to the next; `None`: only before the first step and after the last.
    pub steps: Option<NonZeroU64>,
    /// By which metric evaluations are compared.
    pub metric_for_best_model: BestMetric,
    /// When the run ends early; `None` never.
    pub early_stopping: Option<EarlyStopping>,
    /// Whether the policy that is written is the best one, not the last.
    pub load_best_model_at_end: bool,
    /// What the policy is asked whenever it is evaluated; `None`: nothing.
    pub samples: Option<SamplePlan>,
}

/// Which held-out prompts the policy of a run completes, and how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SamplePlan {
    /// Prompts, the first ones of the held-out pairs; equal ones count once.
    pub n_prompts: NonZeroUsize,
    /// Most tokens of an answer, its end token included.
    pub max_new_tokens: NonZeroUsize,
}

impl EvalPlan {
    /// Whether a checkpoint of the best evaluation is kept.
    pub(super) fn keeps_best(&self) -> bool {
        self.load_best_model_at_end || self.early_stopping.is_some()
    }
}

/// Who is told of every step, besides `metrics.jsonl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReportTo {
    /// TensorBoard: an event file beside the metrics.
    Tensorboard,
    /// Nobody.
    None,
}

/// A training run on pairs, checked.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How the policy is trained.
    pub course: Course,
    /// The log-prob table; those that are trained from besides are in the selection.
    pub table: PathBuf,
    /// Which pairs of the tables are trained on, and which are held out.
    pub selection: Selection,
    /// The further reference of the table to train against, by name; `None` for the table's own.
    pub reference: Option<String>,
    /// Whether the reference may be another model than the policy starts from.
    pub other_reference: Mismatch,
    /// Whether the reference may have been scored in another number format than the policy computes in.
    pub other_dtype: Mismatch,
    /// What is minimised.
    pub objective: BatchObjective,
    /// Where the outside scores are, for an objective that needs them.
    pub score_columns: Option<ScoreColumns>,
    /// Evaluations on the way; `None`: none.
    pub eval: Option<EvalPlan>,
    /// Pairs of the table that are scored again before the first step.
    pub check_pairs: usize,
    /// Largest difference to the table that is still rounding, in nats a sequence.
    pub check_tolerance: f64,
}

impl Plan {
    /// Every table, the first one first.
    pub fn tables(&self) -> Vec<&Path> {
        [vec![self.table.as_path()], self.selection.further_tables()].concat()
    }

    /// What is read beside the model.
    pub(super) fn files(&self) -> Vec<&Path> {
        let curriculum = match &self.selection.pass_order {
            PassOrder::Curriculum(path) => Some(path.as_path()),
            PassOrder::Table | PassOrder::By(_) => None,
        };
        let held_out = self.eval.as_ref().and_then(|eval| eval.table.as_deref());
        self.tables().into_iter().chain(curriculum).chain(held_out).collect()
    }

    /// What of the plan decides the trajectory of a run beside its course: two runs with equal trajectories are equal to
    /// the bit. `selected` is what decides which pairs it sees.
    pub(super) fn told(&self, table: &Digest, selected: &[(&'static str, Value)]) -> Vec<(String, Value)> {
        // Not named where there are none, so that runs of earlier versions go on.
        let scores = self.score_columns.as_ref().map(|columns| ("score_columns", json!(columns)));
        let told = [("table_digest", json!(table)), ("objective", json!(self.objective))];
        let told = selected.iter().cloned().chain(told).chain(scores);
        told.map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

/// What a run says while it runs; `M` is what it records of a step.
#[derive(Debug)]
pub enum Event<'a, M = StepMetrics> {
    /// Something a user should know.
    Note(String),
    /// The sample scored before the first step agrees with the table.
    Checked {
        /// Pairs scored.
        n_pairs: usize,
        /// Largest difference, in nats a sequence.
        max_delta: f64,
        /// Mean difference, in nats a sequence.
        mean_delta: f64,
    },
    /// The run goes on from a checkpoint.
    Resumed {
        /// Steps already done.
        step: u64,
    },
    /// A step was made.
    Step {
        /// Its metrics.
        metrics: &'a M,
        /// Steps of the whole run.
        n_steps: u64,
        /// Whether this step is one to be logged.
        is_logged: bool,
    },
    /// Held-out pairs were scored.
    Evaluating {
        /// Optimiser steps done.
        step: u64,
        /// So far.
        n_scored: usize,
        /// In all.
        n_pairs: usize,
    },
    /// A held-out prompt was completed.
    Sampling {
        /// Optimiser steps done.
        step: u64,
        /// So far.
        n_completed: usize,
        /// In all.
        n_prompts: usize,
    },
    /// The policy was evaluated.
    Evaluated {
        /// What came of it.
        metrics: &'a EvaluationMetrics,
        /// Steps of the whole run.
        n_steps: u64,
    },
    /// A checkpoint or the policy was written.
    Saved {
        /// Where.
        path: &'a Path,
    },
}

/// How a run ends.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// All steps are made.
    Finished(Box<Summary>),
    /// It was asked to stop, and did.
    Interrupted(Interruption),
}

/// Where an interrupted run stands; the same plan goes on from there.
#[derive(Debug, Clone)]
pub struct Interruption {
    /// Optimiser steps done.
    pub step: u64,
    /// Optimiser steps of the run.
    pub n_steps: u64,
    /// The checkpoint with all of them; `None` before the first step.
    pub checkpoint: Option<PathBuf>,
}

/// What a finished run ends with.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Optimiser steps of the run; fewer than planned if it ended early.
    pub n_steps: u64,
    /// Steps that an earlier run had made.
    pub n_resumed: u64,
    /// Pairs to train on: those of the tables that are selected and not held out.
    pub n_pairs: usize,
    /// Pairs held out; not written where there are none.
    #[serde(skip_serializing_if = "is_zero")]
    pub n_held_out: usize,
    /// Metrics of the first step made now, if any was.
    pub first: Option<StepMetrics>,
    /// Metrics of the last step made now, if any was.
    pub last: Option<StepMetrics>,
    /// Wall time, in seconds.
    pub seconds: f64,
    /// The metrics file.
    pub metrics: PathBuf,
    /// The trained policy: a Hugging Face folder, or the adapter as one of PEFT.
    pub policy: PathBuf,
    /// What came of evaluations, if there were any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval: Option<EvalSummary>,
}

/// What the evaluations of a finished run amount to.
#[derive(Debug, Clone, Serialize)]
pub struct EvalSummary {
    /// The first evaluation made now, if any was.
    pub first: Option<EvaluationMetrics>,
    /// The last evaluation made now, if any was.
    pub last: Option<EvaluationMetrics>,
    /// The best one of the whole run.
    pub best: Option<BestSummary>,
    /// Whether the run ended early, for want of improvement.
    pub is_stopped_early: bool,
    /// Steps that the policy that was written has made.
    pub policy_step: u64,
    /// The folder with the evaluated pairs.
    pub evals: PathBuf,
    /// The folder with the samples, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<PathBuf>,
}

/// The best evaluation of a run.
#[derive(Debug, Clone, Serialize)]
pub struct BestSummary {
    /// Optimiser steps done.
    pub step: u64,
    /// By which it is the best.
    pub metric: BestMetric,
    /// Its value.
    pub value: f64,
    /// Its checkpoint, if there is one.
    pub checkpoint: Option<PathBuf>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over the field by reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}
