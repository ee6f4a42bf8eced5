//! Supervised fine-tuning: next-token training on answers, conversations or plain text, the step before DPO; also of a model
//! that has learnt nothing yet.
//!
//! The loss of a step is the mean of −ln π(token | what stands before it) over all learnt tokens of its sequences, as in
//! TRL's SFTTrainer (`num_items_in_batch`). Decoder, loop, optimiser, checkpoints and run folder are those of
//! [`crate::train`]; only what a step learns from is another.
//!
//! Invariant: how a step is cut into passes changes nothing but the rounding of sums. Sequences are on disk: memory does not
//! grow with the data. Nothing is packed but documents, whose blocks have no prompt to leak into.

mod blocks;
mod data;
mod error;
mod metrics;
mod plan;
mod run;
mod sequences;
mod step;

pub use error::SftError;
pub use metrics::SftMetrics;
pub use plan::{Event, Outcome, Plan, Summary};
pub use run::run;
pub use step::{SequenceGradient, gradient};
