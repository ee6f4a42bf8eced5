//! Stage two: the policy is trained from the log-prob table.
//!
//! The loop, the run folder, checkpoints and metrics know nothing of pairs ([`Course`] is what they are told), so that
//! [`crate::sft`] trains with them too.
//!
//! Invariant: no reference model. The reference enters as two numbers a pair, read from the table, and no function
//! here takes two models. What the policy says of itself is held against what the table says of its reference, field
//! by field, and before the first step a seeded sample of the table is scored with the policy: a table of another model
//! is refused unless the plan allows it, and one whose numbers are not those of the policy is refused where they must be.
//! Pairs are read from disk as they are needed: memory does not grow with the table. Which pairs those are, and in
//! which order, is a [`Selection`](crate::selection::Selection). An objective sees all pairs of an
//! optimiser step where it asks for them; how a step is cut into passes changes no loss. Of a model with an adapter only
//! the adapter is trained: the weights have neither gradients nor moments. Evaluations on the way ([`EvalPlan`]) decide when
//! a run ends and which policy it writes, and nothing else of it.

mod agreement;
mod base;
mod course;
mod engine;
mod error;
mod evals;
mod merge;
mod metrics;
mod order;
mod passes;
mod plan;
mod policy_folder;
mod policy_gguf;
mod record;
mod run;
mod run_contents;
mod run_folder;
mod samples;
mod start_check;
mod step;
mod trainer;
mod watch;

pub(crate) use base::Base;
pub use course::Course;
pub(crate) use engine::{End, Engine, Work};
pub use error::{StepError, TrainError};
pub use evals::EVALS;
pub use merge::{MergePlan, MergeSummary, merge};
pub use metrics::{EvaluationMetrics, METRICS, StepMetrics};
pub use passes::{Passes, Recompute, RecomputePolicy};
pub use plan::{
    BestSummary, EvalPlan, EvalSummary, Event, Interruption, Length, Mismatch, Order, Outcome, Plan, ReportTo,
    SamplePlan, Start, Summary, Trained,
};
pub use policy_gguf::{GgufPlan, GgufSummary, policy_to_gguf};
pub use run::run;
pub(crate) use run_folder::RunFolder;
pub use run_folder::{HELD_OUT, set_aside};
pub use samples::SAMPLES;
pub use step::{StepGradient, gradient};
pub(crate) use trainer::Trainer;
pub(crate) use watch::{Progress, Signs};
