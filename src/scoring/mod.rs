//! The scoring of stage one as a function of SQL: token ids of a pair in, log-probs out.
//!
//! [`RefLogps`] is `ref_logps(model_digest, prompt_ids, chosen_ids, rejected_ids)`, and `ref_logps_with_signals` of the
//! same arguments, a scalar function that any session of DataFusion can hold: that of `piref sql`, and those of a cluster.
//! It finds its models through [`Models`]; [`ModelFiles`] are those of this machine, each loaded when it is first asked
//! for and once a process.
//!
//! ```text
//! lists of token ids ─→ PairIds ─ batch, model, logprob ─→ ScoredRow ─→ struct   (fields: schema of the log-prob table)
//! ```
//!
//! Invariant: the numbers are those of a table that stage one makes on this machine, to the bit; both score through
//! [`score_batch`](crate::precompute::score_batch). What is wrong with a row is a code in its `error` and fails no other
//! row; what is wrong with the machine, a file that cannot be read or a device that is lost, is an input/output error of
//! the engine, which a distributed one tries again elsewhere.

mod error;
mod functions;
mod ids;
mod models;
mod ref_logps;
mod rows;
mod scorer;

pub use error::ScoringError;
pub use functions::functions;
pub use models::{ModelFile, ModelFiles, Models, model_digest};
pub use ref_logps::RefLogps;
pub use rows::{RowFault, ScoredRow, read_rows};
pub use scorer::Scorer;

#[cfg(test)]
mod tests;
