//! Training on pairs, from the table of their reference log-probs.

use std::time::Instant;

use super::agreement;
use super::base::Base;
use super::engine::{End, Engine, Work};
use super::error::TrainError;
use super::metrics::StepMetrics;
use super::plan::{Event, Outcome, Plan, Summary};
use super::run_folder::RunFolder;
use super::start_check::{self, Weights};
use super::step;
use super::trainer::Trainer;
use crate::batch::MicroBatch;
use crate::interrupt::Interrupt;
use crate::model::Decoder;
use crate::table::schema::metrics;
use crate::table::{ReferenceTable, TokenLogps, TrainingPair, TrainingPairs};

/// Trains a policy as the plan says; goes on from the newest checkpoint if the plan allows it, and stops at a
/// checkpoint soon after it is asked to.
///
/// # Errors
/// If the model, the table or a checkpoint is not what the plan needs, if a number stops being finite, if another
/// process works in the run folder, or if the disk refuses. Checkpoints written before stay.
pub fn run(plan: &Plan, interrupt: &Interrupt, observe: &mut dyn FnMut(Event<'_>)) -> Result<Outcome, TrainError> {
    let started = Instant::now();
    let course = plan.course();
    let table = match &plan.reference {
        None => ReferenceTable::open(&plan.table)?,
        Some(name) => ReferenceTable::open_reference(&plan.table, name)?,
    };
    let base = Base::open(&course)?;
    let weights = agreement::check(plan, &table, &base.digests, base.adapter.as_ref(), &base.tokenizer, observe)?;
    table.check_digests()?;

    let folder = RunFolder::claim(&course)?;
    let pairs = load_pairs(plan, &table)?;
    if pairs.is_empty() {
        return Err(TrainError::EmptyTable { path: table.path().to_owned() });
    }
    let n_pairs = u32::try_from(pairs.len()).map_err(|_| TrainError::TooManyPairs { n_pairs: pairs.len() })?;
    let work = PairWork { plan, pairs: &pairs, n_pairs, weights: &weights };
    let engine = Engine { folder: &folder, base: &base, interrupt };
    Ok(match engine.run(&work, plan.told(&table.digest()?), observe)? {
        End::Interrupted(interruption) => Outcome::Interrupted(interruption),
        End::Finished(finished) => Outcome::Finished(Box::new(Summary {
            n_steps: finished.n_steps,
            n_resumed: finished.n_resumed,
            n_pairs: pairs.len(),
            first: finished.first,
            last: finished.last,
            seconds: started.elapsed().as_secs_f64(),
            metrics: finished.metrics,
            policy: finished.policy,
        })),
    })
}

/// The pairs of the table, with what the objective needs of them.
fn load_pairs(plan: &Plan, table: &ReferenceTable) -> Result<TrainingPairs, TrainError> {
    let needs = plan.objective.needs();
    let token_logps = if needs.tokens { TokenLogps::Load } else { TokenLogps::Skip };
    let folder = plan.train_folder();
    Ok(match &plan.score_columns {
        Some(columns) if needs.scores => table.load_pairs_with_scores(token_logps, columns, &folder)?,
        None if needs.scores => return Err(TrainError::NoScores),
        _ => table.load_pairs(token_logps, &folder)?,
    })
}

/// Pairs to learn from, each with the log-probs of its reference.
struct PairWork<'a> {
    plan: &'a Plan,
    pairs: &'a TrainingPairs,
    n_pairs: u32,
    weights: &'a Weights,
}

impl Work for PairWork<'_> {
    type Metrics = StepMetrics;
    type Error = TrainError;
    const SCHEMA: &'static str = metrics::VERSION;

    fn n_items(&self) -> u32 {
        self.n_pairs
    }

    fn longest(&self) -> usize {
        self.pairs.iter().map(|pair| MicroBatch::of(step::ids(&pair)).n_rows()).max().unwrap_or_default()
    }

    /// Scores a sample of the table with the policy.
    fn inspect(&self, model: &Decoder, observe: &mut dyn FnMut(Event<'_>)) -> Result<(), TrainError> {
        start_check::run(self.plan, model, self.pairs, self.weights, observe)
    }

    fn step(
        &self,
        trainer: &mut Trainer<'_>,
        rows: &[u32],
        epoch: f64,
        interrupt: &Interrupt,
    ) -> Result<Option<StepMetrics>, TrainError> {
        let pairs: Vec<TrainingPair<'_>> = rows.iter().filter_map(|&row| self.pairs.get(row as usize)).collect();
        trainer.step(&self.plan.objective, &pairs, epoch, interrupt)
    }
}
