//! How fast both stages are on this machine, and against what it can do.
//!
//! Everything is measured in one process on the same pairs: a large product (the machine's own rate), scoring, and
//! optimiser steps. Rates count the operations of the task ([`crate::model::Flops`]), so they compare across programs;
//! the share of the machine's rate says what is left. A profile counts the operations of an op as they are done, those
//! done again included: its rates say how well an op runs, not how well the task is cut.

mod error;
mod measure;
mod pairs;
mod profile;

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;

use serde::Serialize;

pub use error::BenchError;
pub use measure::run;
pub use profile::{OpTime, Profile};

use crate::batch::Sharing;
use crate::data::ColumnMap;
use crate::loss::BatchObjective;
use crate::model::{Lora, ScoringDtype};
use crate::ops::{Backend, Kernels};
use crate::tokenize::Rules;
use crate::train::{Passes, Recompute};

/// How to measure.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Times each stage is measured; the median counts.
    pub n_repeats: NonZeroUsize,
    /// What pairs of stage one have in common.
    pub sharing: Sharing,
    /// What stage one makes.
    pub signals: SignalsIn,
    /// Which kernels; `None`: the best of the device.
    pub kernels: Option<Kernels>,
    /// Whether the time of every operation is taken as well.
    pub profile: Profiling,
}

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The model: folder, `.gguf` file or cached name.
    pub model: String,
    /// Data files.
    pub data: Vec<PathBuf>,
    /// Which columns are prompt, chosen and rejected, where the names do not say so.
    pub column_map: ColumnMap,
    /// How text becomes token ids.
    pub rules: Rules,
    /// Precision of the passes.
    pub dtype: ScoringDtype,
    /// Where the passes run, and by which kernels.
    pub backend: Backend,
    /// Pairs, from the first of the data.
    pub limit: NonZeroU64,
    /// Token budget of a pass.
    pub max_tokens: NonZeroUsize,
    /// What pairs of stage one have in common.
    pub sharing: Sharing,
    /// What stage one makes.
    pub signals: SignalsIn,
    /// Pairs of an optimiser step.
    pub batch_size: NonZeroUsize,
    /// What the backward of stage two makes again.
    pub recompute: Recompute,
    /// The adapter that stage two trains; `None`: all weights.
    pub lora: Option<Lora>,
    /// What the steps minimise.
    pub objective: BatchObjective,
    /// Times each stage is measured; the median counts.
    pub n_repeats: NonZeroUsize,
    /// Whether to say where the time goes.
    pub profile: Profiling,
}

/// Whether the measured stage one makes signals beside log-probs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SignalsIn {
    /// It does, as by default.
    On,
    /// It does not.
    Off,
    /// It does, and it is run with and without in turns besides, for what they cost.
    Turns,
}

/// Whether each stage is run once more to see where its time goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profiling {
    /// No.
    Off,
    /// Yes.
    On,
}

impl Plan {
    fn passes(&self) -> Passes {
        Passes { max_tokens: self.max_tokens.get(), recompute: self.recompute }
    }
}

/// What is being measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The machine's own rate.
    Product,
    /// Stage one.
    Scoring,
    /// Stage two.
    Training,
    /// Stage one on one thread.
    OneThread,
    /// A stage once more, op by op.
    Profile,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Name of the code path.
    pub kernel: String,
    /// Architecture of the model.
    pub architecture: String,
    /// Numbers in its weights.
    pub n_parameters: usize,
    /// Numbers that stage two trains.
    pub n_trained: usize,
    /// Threads at work.
    pub n_threads: usize,
    /// Pairs measured.
    pub n_pairs: usize,
    /// Tokens in them, each prompt counted once a pair.
    pub n_tokens: u64,
    /// Tokens that are scored.
    pub n_scored_tokens: u64,
    /// Rate of a large product by the kernels and in the precision that are measured, in 10⁹ operations a second.
    pub product_gflops: f64,
    /// Scoring all pairs.
    pub precompute: Stage,
    /// Share of time by which signals make it longer, if asked for: the median over pairs of runs, with and without.
    pub signals_cost: Option<f64>,
    /// Optimiser steps over all pairs.
    pub train: Stage,
    /// Time of scoring on one thread over that on all, where there are several.
    pub scaling: Option<f64>,
    /// Most memory held at once until the end of scoring, in bytes.
    pub precompute_peak_bytes: Option<u64>,
    /// The same until the end of training.
    pub train_peak_bytes: Option<u64>,
    /// Where the time of one pass over all pairs goes in stage one, if asked for.
    pub precompute_profile: Option<Profile>,
    /// Where the time of one optimiser step goes in stage two.
    pub train_step_profile: Option<Profile>,
}

/// One stage over all pairs.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Stage {
    /// Median wall time, in seconds.
    pub seconds: f64,
    /// Pairs a second.
    pub pairs_per_second: f64,
    /// Tokens a second, each prompt counted once a pair.
    pub tokens_per_second: f64,
    /// Counted operations, in 10⁹.
    pub gflop: f64,
    /// Counted operations a second, in 10⁹.
    pub gflops: f64,
    /// Share of the machine's own rate.
    pub share_of_product: f64,
}
