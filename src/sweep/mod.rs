//! Many training runs on one log-prob table: a grid of settings, or a list of them, and a comparison of what came out.
//!
//! ```text
//! SWEEP/beta-0.1_loss_type-ipo/   a run folder like any other: plan.toml, train/, policy/, report.html
//! SWEEP/sweep.parquet             one row a run (schemas/sweep.v1.toml), written again after each
//! SWEEP/sweep.html                the same as a page with its plots
//! ```
//!
//! Invariants: the reference pass is made once or found, never repeated: a setting that decides what is in the table
//! cannot be swept. All settings are checked before the first step. A run whose folder holds its policy, and the record
//! of the same settings on the same table, is finished and not made again; one that was stopped goes on from its
//! checkpoint. A run that fails says so at the end and loses no other.
//!
//! # Absent on purpose
//! A search that decides by what it sees, and several runs at once: each uses all cores.

mod comparison;
mod error;
mod name;
mod page;
mod plan;
mod ranking;
mod results;
mod run;
mod write;

#[cfg(test)]
mod tests;

pub use comparison::Comparison;
pub use error::{RunError, SweepError};
pub use plan::{Plan, Request, Run, Standing};
pub use ranking::{Best, RankBy, RankByError, Ranking};
pub use results::{Curve, Row, Status};
pub use run::{Event, Failure, Outcome, run};

/// The comparison in a sweep folder.
pub const SWEEP: &str = "sweep.parquet";

/// The page of it.
pub const PAGE: &str = "sweep.html";

/// Steps that the means of a run are over, unless it is told otherwise.
pub const LAST_STEPS: std::num::NonZeroUsize = std::num::NonZeroUsize::MIN.saturating_add(9);
