//! What is wrong with preference data, by the data and by what the reference says of it.
//!
//! An audit runs [`Checks`] over one log-prob table and ends with a [`Summary`]; what they find are rows of
//! `findings.v1`, as `piref verify` writes them. A check is one file: SQL over [`views`] with a header that says what it
//! asks ([`Info`]), or code that implements [`Check`].
//!
//! | family | asks about |
//! |---|---|
//! | A | the table: numbers that cannot be |
//! | B | the two answers of a pair |
//! | C | pairs among each other |
//! | D | length and format |
//! | E | what the reference says |
//! | F | scores that came with the data |
//! | G | labels that may be swapped |
//! | H | what training may do |
//! | I | parts of the data |
//!
//! Whether a table was made with the settings a run trains with is no check here: `piref train` refuses to start
//! otherwise, and scores a sample again before its first step. Files, digests and rows that are missing are `verify`'s.
//!
//! Invariants: a check that cannot look says why; no pair is dropped unless a selection is asked for; the same table and
//! numbers give the same findings in the same order.

mod calibration;
mod check;
mod checks;
mod error;
mod header;
mod kept;
mod logistic;
mod quality;
mod run;
mod source_columns;
mod sql_check;
mod summary;
mod suspects;
pub mod text;
mod trusted;
pub mod views;

pub use calibration::{Calibration, Combination, Fitted};
pub use check::{Check, Context, Found, Hit, Info, Keep, Outcome};
pub use checks::{Checks, Thresholds, numbers};
pub use error::AuditError;
pub use kept::Exclusion;
pub use quality::{MeasuredOn, Precision, ScoreQuality};
pub use run::{Event, Plan, run};
pub use sql_check::SqlCheck;
pub use summary::{CheckSummary, FailOn, Kept, Summary};
