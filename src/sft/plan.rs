//! What supervised training is told, what it says on the way, and what it ends with.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::metrics::SftMetrics;
use crate::data::{ColumnMap, Overlong};
use crate::table::RejectCounts;
use crate::tokenize::{Masking, Rules};
use crate::train::{self, Course, Interruption};

/// A run of supervised training, checked.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How the model is trained. Its order is that of the data where it is [`Order::Table`](crate::train::Order::Table).
    pub course: Course,
    /// The data files; their kinds are told by their names and columns, and may differ.
    pub data: Vec<PathBuf>,
    /// Columns of preference pairs, where they have other names than the usual ones.
    pub column_map: ColumnMap,
    /// Most rows that are read; `None`: all.
    pub limit: Option<NonZeroU64>,
    /// Share of the rows that may be rejected.
    pub max_reject_rate: f64,
    /// What is done with rows of which no answer lies within `max_length`; they are no part of that share.
    pub overlong: Overlong,
    /// How text becomes token ids; `max_length` is also the length of a block of documents.
    pub rules: Rules,
    /// Which tokens are learnt.
    pub masking: Masking,
}

/// What a run says while it runs.
#[derive(Debug)]
pub enum Event<'a> {
    /// The kind of a file is known.
    Detected {
        /// The file.
        path: &'a Path,
        /// What is learnt from it.
        format: String,
    },
    /// All data is read.
    Tokenised {
        /// Sequences.
        n_sequences: usize,
        /// Their tokens.
        n_tokens: u64,
        /// Those that are learnt.
        n_learnt: u64,
        /// Rows that were rejected.
        n_rejected: RejectCounts,
    },
    /// What every training run says.
    Train(train::Event<'a, SftMetrics>),
}

/// How a run ends.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// All steps are made.
    Finished(Box<Summary>),
    /// It was asked to stop, and did; `None` while it read its data.
    Interrupted(Option<Interruption>),
}

/// What a finished run ends with.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Optimiser steps of the run.
    pub n_steps: u64,
    /// Steps that an earlier run had made.
    pub n_resumed: u64,
    /// Sequences there are to learn from.
    pub n_sequences: usize,
    /// Their tokens.
    pub n_tokens: u64,
    /// Those that are learnt.
    pub n_learnt_tokens: u64,
    /// Rows that are no examples.
    pub n_rejected: u64,
    /// Rows of which no answer lies within `max_length`.
    pub n_overlong: u64,
    /// Rejected rows with their reasons.
    pub rejects: Option<PathBuf>,
    /// Metrics of the first step made now, if any was.
    pub first: Option<SftMetrics>,
    /// Metrics of the last step made now, if any was.
    pub last: Option<SftMetrics>,
    /// Wall time, in seconds.
    pub seconds: f64,
    /// The metrics file.
    pub metrics: PathBuf,
    /// The trained policy: a Hugging Face folder, or the adapter as one of PEFT.
    pub policy: PathBuf,
}
