//! Optimisers and schedules (stand-in: the types only).

use serde::{Deserialize, Serialize};

/// AdamW.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWParams {
    /// β₁.
    pub beta1: f64,
    /// β₂.
    pub beta2: f64,
    /// ε.
    pub eps: f64,
    /// λ.
    pub weight_decay: f64,
}

/// Shape of the learning rate over the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// Flat.
    Constant,
    /// To 0 in a line.
    Linear,
    /// To 0 along half a cosine.
    Cosine,
}

/// Warm-up, then the shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Shape after the warm-up.
    pub kind: ScheduleKind,
    /// Steps from 0 to the full rate.
    pub warmup_steps: u64,
}
