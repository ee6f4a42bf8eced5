//! Stage one: the frozen reference runs once over the data, and its log-probs become a table.
//!
//! ```text
//! files ─ data ─→ pairs ─ tokenize ─→ token store ─ batch, model, logprob ─→ log-probs ─ table ─→ parts, manifest
//!            └─────────────┴─→ rejects
//! ```
//!
//! Invariant: all text is read and tokenised before the model is loaded, so what is wrong with the data is known in
//! seconds; a part is written once its last pair is scored, and a part that is there is not scored again.

mod error;
mod plan;
mod run;
mod score;
mod tokens;

pub use error::PrecomputeError;
pub use plan::{Event, Plan, Start, Summary};
pub use run::run;
pub use score::score;
