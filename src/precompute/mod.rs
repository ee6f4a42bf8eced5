//! Stage one: the frozen reference runs once over the data, and its log-probs become a table.
//!
//! ```text
//! files ─ data ─→ pairs ─ tokenize ─→ token store ─ batch, model, logprob ─→ log-probs ─ table ─→ parts, manifest
//!            └─────────────┴─→ rejects
//! ```
//!
//! Invariants: all text is read and tokenised before the model is loaded, so what is wrong with the data is known in
//! seconds. A forward pass is in the journal before the next one begins, and log-probs are looked up by what they are
//! of (`tokens_id`), so nothing is scored twice: after a kill, after a change of the data, within a data set. A prompt is
//! encoded once for all pairs of the data set that have it, wherever they stand. The table is a function of the data and the conditions of scoring: however it came about, its bytes are the same.
//!
//! The parts of a table may also be made by shards ([`Scope`]), several at once and on several machines: shard i of n has
//! the parts whose number leaves the remainder i, and a run with [`Scope::Finish`] checks that none is missing. What a
//! shard writes is a function of the data, the conditions and its index; so the table has the bytes that one run gives it.
//!
//! What scores is an [`Engine`]: a model in this process, unless the caller brings another.
//!
//! Signals are what the same passes show of a pair beside its log-probs, in files beside the parts. They are never a
//! reason to score: a pair whose log-probs are known from where it has none stays without.

mod array_job;
mod elsewhere;
mod engine;
mod error;
mod fill;
mod inventory;
mod journals;
mod known;
mod pending;
mod plan;
mod prompts;
mod run;
mod score;
mod tokens;
mod work;

pub use array_job::{ArrayJobError, ShardRequest};
pub use engine::{Ended, Engine, Listen, LocalEngine, Said};
pub use error::PrecomputeError;
pub use plan::{Event, Missing, Outcome, Pairs, Plan, Scope, Signals, Start, Summary};
pub use run::{run, run_on};
pub use score::{score, score_batch, score_with_signals};
