//! Evaluation: what a policy says of held-out pairs, held against the reference log-probs of their table.
//!
//! Invariant: an evaluation changes nothing. It runs forward only and without dropout, draws nothing and works on a copy
//! of what the objective remembers, so that a run with evaluations and one without make the same steps to the bit. Pairs
//! are scored as stage one scores them, through [`crate::logprob`]: a policy that is the reference has reward 0 of every
//! pair to the bit, which is a tie and counts one half.
//!
//! [`Evaluation`] takes rows of checked pairs, wherever they come from; [`run()`] is `piref eval`. What a training run
//! remembers of its evaluations, for early stopping and its best checkpoint, is [`EvalState`].

mod best;
mod error;
mod evaluate;
mod metrics;
mod run;
mod scores;

pub use best::{Best, BestMetric, EarlyStopping, EvalState};
pub use error::EvalError;
pub use evaluate::{Evaluation, HeldOut, PairResult};
pub use metrics::EvalMetrics;
pub use run::{Event, Outcome, Plan, Summary, run};
pub(crate) use run::{load_pairs, rows_of};
pub(crate) use scores::{PolicyScores, ids, reference, score};
