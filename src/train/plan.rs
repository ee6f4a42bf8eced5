//! What a training run is told, what it says on the way, and what it ends with.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

use super::metrics::StepMetrics;
use super::passes::RecomputePolicy;
use crate::digest::Digest;
use crate::loss::BatchObjective;
use crate::model::{Lora, ScoringDtype};
use crate::ops::Backend;
use crate::optim::{AdamWParams, Schedule};
use crate::table::{ScoreColumns, reference_folder};

/// In which order pairs are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As they stand in the table, in every epoch.
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
    /// This many passes over the table; the last step of each may be smaller.
    Epochs(f64),
}

/// Whether to go on where an earlier run stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// From the newest checkpoint, if there is one.
    Resume,
    /// From the model's weights; checkpoints and policy of an earlier run are deleted.
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

/// A training run, checked.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The model the policy starts from: folder, `.gguf` file or cached name.
    pub model: String,
    /// What of it is trained.
    pub trained: Trained,
    /// The log-prob table.
    pub table: PathBuf,
    /// The further reference of the table to train against, by name; `None` for the table's own.
    pub reference: Option<String>,
    /// Whether the reference may be another model than the policy starts from.
    pub other_reference: Mismatch,
    /// Whether the reference may have been scored in another number format than the policy computes in.
    pub other_dtype: Mismatch,
    /// The run folder: `train/metrics.jsonl`, `train/checkpoints/`, `policy/` go there.
    pub out: PathBuf,
    /// What is minimised.
    pub objective: BatchObjective,
    /// Where the outside scores are, for an objective that needs them.
    pub score_columns: Option<ScoreColumns>,
    /// Constants of the optimiser.
    pub optimizer: AdamWParams,
    /// Learning rate before the schedule.
    pub learning_rate: f64,
    /// The schedule.
    pub schedule: Schedule,
    /// Gradients are scaled down to this norm; `None` never.
    pub max_grad_norm: Option<f64>,
    /// Pairs per optimiser step.
    pub batch_size: NonZeroUsize,
    /// How long.
    pub length: Length,
    /// In which order.
    pub order: Order,
    /// Seed of everything drawn but the order.
    pub seed: u64,
    /// Token budget of a micro-batch; changes memory and speed, not the result beyond rounding.
    pub max_tokens: NonZeroUsize,
    /// Which layers are run again in the backward; the result does not depend on it.
    pub recompute: RecomputePolicy,
    /// Most memory a step may take, in bytes; `None`: what is free.
    pub memory_budget: Option<u64>,
    /// A line of progress every this many steps.
    pub logging_steps: NonZeroU64,
    /// A checkpoint every this many steps; `None` only at the end of the run.
    pub save_steps: Option<NonZeroU64>,
    /// Precision of the forward and backward pass.
    pub dtype: ScoringDtype,
    /// Where the passes run.
    pub backend: Backend,
    /// Where to start.
    pub start: Start,
    /// Pairs of the table that are scored again before the first step.
    pub check_pairs: usize,
    /// Largest difference to the table that is still rounding, in nats a sequence.
    pub check_tolerance: f64,
}

impl Plan {
    /// The table of the reference that is trained against.
    pub(super) fn reference_table(&self) -> PathBuf {
        match &self.reference {
            None => self.table.clone(),
            Some(name) => reference_folder(&self.table, name),
        }
    }

    pub(super) fn train_folder(&self) -> PathBuf {
        self.out.join("train")
    }

    /// What of the plan decides the trajectory of a run beside its course: two runs with equal trajectories are equal to
    /// the bit.
    pub(super) fn told(&self, table: &Digest) -> Vec<(String, Value)> {
        let mut told = vec![("table_digest".to_owned(), json!(table)), ("objective".to_owned(), json!(self.objective))];
        // Not named where there are none, so that runs of earlier versions go on.
        told.extend(self.score_columns.as_ref().map(|columns| ("score_columns".to_owned(), json!(columns))));
        told
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
    /// Optimiser steps of the run.
    pub n_steps: u64,
    /// Steps that an earlier run had made.
    pub n_resumed: u64,
    /// Pairs in the table.
    pub n_pairs: usize,
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
}
