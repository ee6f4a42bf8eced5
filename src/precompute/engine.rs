//! What scores the pairs of a run: a model in this process, or others elsewhere.

use super::error::PrecomputeError;
use super::plan::{Event, Plan};
use super::score::score_batch;
use crate::batch::{PairIds, Sharing, micro_batches};
use crate::interrupt::Interrupt;
use crate::logprob;
use crate::model::Decoder;
use crate::policy::PolicySource;
use crate::table::{Provenance, TableError, TokenScores};

/// How the scoring of pairs ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With all of them.
    Done,
    /// Before that, because it was asked to.
    Interrupted,
}

/// What an engine has to say while it scores.
#[derive(Debug)]
pub enum Said<'a> {
    /// Scores.
    Scores {
        /// Of the pairs at these places of the list that is being scored, in this order.
        places: &'a [usize],
        /// One a pair.
        scores: Vec<TokenScores>,
    },
    /// Something a user should know.
    Note(String),
}

/// Listens to an engine.
pub type Listen<'a> = dyn FnMut(Said<'_>) -> Result<(), PrecomputeError> + 'a;

/// What scores the pairs of a run.
///
/// The table is the same whatever does it, to the bit: what an engine returns depends on a pair, on the model and on the
/// [code path](logprob::kernel), and on nothing else.
pub trait Engine {
    /// Name of the code path that computes the log-probs: a condition of the table.
    fn kernel(&self, plan: &Plan) -> String;

    /// Makes ready: there is something to score under these conditions. Called once, after the data was read.
    ///
    /// # Errors
    /// If the model cannot be used, or whatever has it cannot be reached.
    fn begin(
        &mut self,
        plan: &Plan,
        conditions: &Provenance,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), PrecomputeError>;

    /// Pairs it should have at hand at least, so that it does not wait for the parts of a table to be written; at least 1.
    fn n_pairs_at_once(&self) -> usize;

    /// Scores `pairs` and hands the scores on as they come, in any order, each pair once. What was handed on before an
    /// interrupt or an error is kept.
    ///
    /// # Errors
    /// If a pair cannot be scored, or `listen` fails.
    fn score(
        &mut self,
        plan: &Plan,
        pairs: &[PairIds<'_>],
        interrupt: &Interrupt,
        listen: &mut Listen<'_>,
    ) -> Result<Ended, PrecomputeError>;
}

/// A model in this process.
#[derive(Debug, Default)]
pub struct LocalEngine {
    /// The reference, from the first pair on that has to be scored.
    model: Option<Decoder>,
}

impl Engine for LocalEngine {
    fn kernel(&self, plan: &Plan) -> String {
        logprob::kernel(&plan.backend, plan.dtype)
    }

    fn begin(
        &mut self,
        plan: &Plan,
        conditions: &Provenance,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), PrecomputeError> {
        let source = PolicySource::resolve(&plan.model, plan.adapter.as_deref())?;
        let model = source.load_merged(&plan.backend)?.with_dtype(plan.dtype);
        if let Some(warning) = logprob::warning(&plan.backend, plan.dtype) {
            observe(Event::Note(warning.into()));
        }
        let (architecture, n_parameters) = (conditions.model.architecture.clone(), model.params().n_parameters());
        observe(Event::ModelLoaded { architecture, n_parameters });
        self.model = Some(model);
        Ok(())
    }

    /// A part of the table at a time is best: what a part needs is at hand in memory.
    fn n_pairs_at_once(&self) -> usize {
        1
    }

    fn score(
        &mut self,
        plan: &Plan,
        pairs: &[PairIds<'_>],
        interrupt: &Interrupt,
        listen: &mut Listen<'_>,
    ) -> Result<Ended, PrecomputeError> {
        for batch in micro_batches(pairs, plan.max_tokens.get(), Sharing::Prompts) {
            if interrupt.is_set() {
                return Ok(Ended::Interrupted);
            }
            let Some(model) = &self.model else {
                let what = format!("{} pairs to score and no model", pairs.len());
                return Err(TableError::Internal { what }.into());
            };
            let scores = score_batch(model, &batch, plan.signals)
                .map_err(|source| PrecomputeError::Model { model: plan.model.clone(), source })?;
            let places: Vec<usize> = batch.pairs.iter().map(|place| place.pair).collect();
            listen(Said::Scores { places: &places, scores })?;
        }
        Ok(if interrupt.is_set() { Ended::Interrupted } else { Ended::Done })
    }
}
