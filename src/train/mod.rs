//! Stage two: the policy is trained from the log-prob table.
//!
//! Invariant: no reference model. The reference enters as two numbers a pair, read from the table, and no function
//! here takes two models. Before the first step a seeded sample of the table is scored with the policy: where the two
//! share their weights and disagree, the run is refused.

mod error;
mod metrics;
mod order;
mod plan;
mod run;
mod start_check;
mod step;

pub use error::TrainError;
pub use metrics::{METRICS, StepMetrics};
pub use plan::{Event, Length, Order, Plan, Start, Summary};
pub use run::run;
