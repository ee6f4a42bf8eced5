//! Stage two (stand-in: the types only).

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::loss::Objective;
use crate::model::ScoringDtype;
use crate::optim::{AdamWParams, Schedule};
use crate::precompute::Start;

/// Order of the pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As in the table.
    Table,
    /// Drawn anew each epoch.
    Shuffled {
        /// Of the draw.
        seed: u64,
    },
}

/// Length of the run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Length {
    /// In optimiser steps.
    Steps(NonZeroU64),
    /// In passes over the table.
    Epochs(f64),
}

/// Stage two.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "stand-in")]
pub struct Plan {
    pub model: String,
    pub table: PathBuf,
    pub out: PathBuf,
    pub objective: Objective,
    pub optimizer: AdamWParams,
    pub learning_rate: f64,
    pub schedule: Schedule,
    pub max_grad_norm: Option<f64>,
    pub batch_size: NonZeroUsize,
    pub length: Length,
    pub order: Order,
    pub seed: u64,
    pub max_tokens: usize,
    pub logging_steps: NonZeroU64,
    pub save_steps: Option<NonZeroU64>,
    pub dtype: ScoringDtype,
    pub start: Start,
    pub check_pairs: usize,
    pub check_tolerance: f64,
}

/// One line of metrics.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "stand-in")]
pub struct StepMetrics {
    pub step: u64,
    pub loss: f64,
}

/// What stage two says while it works.
#[derive(Debug)]
#[expect(missing_docs, reason = "stand-in")]
pub enum Event<'a> {
    Note(String),
    Checked { n_pairs: usize, max_delta: f64, mean_delta: f64 },
    Resumed { step: u64 },
    Step { metrics: &'a StepMetrics, n_steps: u64, seconds_left: f64 },
    Saved { path: &'a Path },
}

/// What stage two did.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "stand-in")]
pub struct Summary {
    pub out: PathBuf,
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "stand-in")]
pub enum TrainError {
    #[error("stage two is a stand-in")]
    StandIn,
    #[error(transparent)]
    Model(#[from] crate::model_source::ModelSourceError),
}

impl crate::error::Hint for TrainError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::StandIn => None,
            Self::Model(error) => error.hint(),
        }
    }
}

/// Runs stage two.
pub fn run(plan: &Plan, observe: &mut dyn FnMut(Event<'_>)) -> Result<Summary, TrainError> {
    crate::model_source::ModelSource::resolve(&plan.model)?;
    observe(Event::Note("nothing is trained".into()));
    Err(TrainError::StandIn)
}
