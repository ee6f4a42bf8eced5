//! What is recorded of a step: one object a line of `metrics.jsonl` (`schemas/sft_metrics.v1.toml`).

use serde::{Deserialize, Serialize};

use crate::train::{Progress, Signs};

/// Metrics of one optimiser step; the loss is that before the update.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SftMetrics {
    /// Optimiser steps done, this one included.
    pub step: u64,
    /// Passes over the data done, this step included.
    pub epoch: f64,
    /// Mean over the learnt tokens of the step, in nats.
    pub loss: f64,
    /// L2 norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Learning rate of the update.
    pub learning_rate: f64,
    /// Tokens of all sequences since the start of the run, learnt or not, as in TRL.
    pub num_tokens: u64,
    /// Sequences of the step.
    pub n_sequences: usize,
    /// Learnt tokens of the step.
    pub n_learnt_tokens: usize,
    /// Tokens of the step by its wall time.
    pub tokens_per_second: f64,
    /// Wall time of the step, in seconds.
    pub step_seconds: f64,
}

impl Progress for SftMetrics {
    fn signs(&self) -> Signs {
        let Self { step, loss, grad_norm, learning_rate, .. } = *self;
        Signs { step, loss, grad_norm, learning_rate }
    }
}
