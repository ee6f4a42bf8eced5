//! How a step is cut into passes, and what those keep: memory against speed, the result aside.

use super::course::Course;
use super::error::TrainError;
use crate::model::{Decoder, TrainingMemory};
use crate::optim::OptimizerParams;

/// How a step is cut into passes.
#[derive(Debug, Clone, Copy)]
pub struct Passes {
    /// Token budget of a micro-batch.
    pub max_tokens: usize,
    /// What is made again in the backward.
    pub recompute: Recompute,
}

/// Layers whose intermediate results are made again in the backward instead of kept (activation checkpointing, Chen et
/// al. 2016, arXiv:1604.06174): the result is the same to the last bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recompute {
    /// None: fastest.
    None,
    /// All: smallest, for a third more work.
    All,
    /// As many as it takes for a micro-batch to stay within so many bytes.
    Within(u64),
}

/// Which layers are made again, as a plan says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecomputePolicy {
    /// As many as the memory asks for.
    #[default]
    Auto,
    /// None.
    None,
    /// Every layer.
    Layer,
}

/// Of the memory that is free, what a run without a budget plans with, in percent.
const SHARE_OF_FREE: u64 = 85;

impl Recompute {
    /// How many of the layers, for a micro-batch of `n_rows` rows.
    pub(crate) fn n_layers(self, memory: &TrainingMemory, n_rows: usize) -> usize {
        match self {
            Self::None => 0,
            Self::All => memory.n_layers,
            Self::Within(budget) => memory.n_recomputed(n_rows, budget),
        }
    }
}

impl Passes {
    /// As the course has them. `longest` is the most rows that a pair or a sequence takes alone, `available` what was free
    /// before the model was loaded, in bytes.
    ///
    /// # Errors
    /// If the largest micro-batch does not fit into the budget of the course.
    pub(super) fn of(
        course: &Course,
        model: &Decoder,
        longest: usize,
        available: Option<u64>,
        note: &mut dyn FnMut(String),
    ) -> Result<Self, TrainError> {
        let free = available.map(|bytes| bytes / 100 * SHARE_OF_FREE);
        let memory = model.training_memory();
        // The estimate counts what AdamW keeps.
        let counted = n_kept(OptimizerParams::default(), None) * memory.trained;
        let kept = n_kept(course.optimizer, course.ema_decay) * memory.trained;
        let recompute = match (course.recompute, course.memory_budget.or(free)) {
            (RecomputePolicy::None, _) | (RecomputePolicy::Auto, None) => Recompute::None,
            (RecomputePolicy::Layer, _) => Recompute::All,
            (RecomputePolicy::Auto, Some(budget)) => {
                Recompute::Within(budget.saturating_add(counted).saturating_sub(kept))
            }
        };
        let n_rows = largest(course, longest);
        let n_recomputed = recompute.n_layers(&memory, n_rows);
        let needed = memory.peak(n_rows, n_recomputed) + kept - counted;
        if let Some(budget) = course.memory_budget
            && needed > budget
        {
            return Err(TrainError::OverBudget { needed, budget, n_rows, n_recomputed, n_layers: memory.n_layers });
        }
        if let Some(available) = available
            && needed > available
        {
            note(format!("a step may need {:.1} GB, {:.1} GB are free", gb(needed), gb(available)));
        }
        if n_recomputed > 0 {
            note(format!(
                "{n_recomputed} of {} layers are run again in the backward of a micro-batch of {n_rows} tokens, which then \
                 needs about {:.1} GB",
                memory.n_layers,
                gb(needed)
            ));
        }
        Ok(Self { max_tokens: course.max_tokens.get(), recompute })
    }
}

/// Numbers that are kept beside each one that is trained.
fn n_kept(optimizer: OptimizerParams, ema_decay: Option<f64>) -> u64 {
    optimizer.slots().len() as u64 + u64::from(ema_decay.is_some())
}

/// Bytes in 10⁹.
pub(super) fn gb(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

/// Rows of the largest micro-batch there can be: the token budget, or `longest` if that is above it, and never more than a
/// step of such pairs or sequences.
fn largest(course: &Course, longest: usize) -> usize {
    course.max_tokens.get().max(longest).min(longest.saturating_mul(course.batch_size.get()))
}
