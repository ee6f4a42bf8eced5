//! Optimisers with named, ordered state; a running mean of the weights; learning-rate schedules; clipping.

mod adamw;
mod ema;
mod groups;
mod optimizer;
mod rmsprop;
mod schedule;
mod sgd;

pub use adamw::{AdamW, AdamWParams, Moments};
pub use ema::Ema;
pub use groups::decays;
pub use optimizer::{Optimizer, OptimizerParams};
pub use rmsprop::{RmsProp, RmsPropParams, Squares};
pub use schedule::{Schedule, ScheduleKind, Warmup};
pub use sgd::{Sgd, SgdParams};

/// Factor that brings a gradient of norm `norm` down to `max_norm`, as `torch.nn.utils.clip_grad_norm_` computes it.
///
/// # Examples
/// ```
/// assert_eq!(piref::optim::clip_factor(0.5, 1.0), 1.0);
/// assert!((piref::optim::clip_factor(4.0, 1.0) - 0.25).abs() < 1e-6);
/// ```
pub fn clip_factor(norm: f64, max_norm: f64) -> f64 {
    (max_norm / (norm + 1e-6)).min(1.0)
}
