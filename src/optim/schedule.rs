//! Learning-rate schedules, as transformers defines them (`optimization.py`).

use serde::{Deserialize, Serialize};

/// The shape of a schedule after its warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// The learning rate as it is.
    Constant,
    /// Down to 0 at the last step, along a line.
    #[default]
    Linear,
    /// Down to 0 at the last step, along half a cosine.
    Cosine,
}

/// A learning-rate schedule over a known number of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Its shape.
    pub kind: ScheduleKind,
    /// Steps over which the rate rises from 0, along a line.
    pub warmup_steps: u64,
}

impl Schedule {
    /// Factor of the learning rate in optimiser step `step` (from 0) of `n_steps`.
    ///
    /// With a warm-up the first step has factor 0, as in transformers. Departure: transformers' `constant` ignores
    /// `warmup_steps` and wants `constant_with_warmup` for it; here the shape and the warm-up are two settings.
    pub fn factor(&self, step: u64, n_steps: u64) -> f64 {
        if step < self.warmup_steps {
            return step as f64 / self.warmup_steps.max(1) as f64;
        }
        let after = (step - self.warmup_steps) as f64;
        let progress = after / n_steps.saturating_sub(self.warmup_steps).max(1) as f64;
        match self.kind {
            ScheduleKind::Constant => 1.0,
            ScheduleKind::Linear => (1.0 - progress).max(0.0),
            ScheduleKind::Cosine => (0.5 * (1.0 + (std::f64::consts::PI * progress).cos())).max(0.0),
        }
    }
}
