//! Training on pairs, from the tables of their reference log-probs.

use std::time::Instant;

use super::agreement;
use super::base::Base;
use super::engine::{End, Engine, Work};
use super::error::TrainError;
use super::evals::{Evaluations, HeldOutTable};
use super::metrics::StepMetrics;
use super::plan::{Event, Outcome, Plan, Summary};
use super::run_folder::RunFolder;
use super::start_check::{self, Checked, Weights};
use super::step;
use super::trainer::Trainer;
use crate::batch::MicroBatch;
use crate::digest::Digest;
use crate::eval::HeldOut;
use crate::interrupt::Interrupt;
use crate::model::Decoder;
use crate::selection::{self, Selected, Stream};
use crate::table::schema::metrics;
use crate::table::{Loading, ReferenceTable, TokenLogps, TrainingPair, TrainingPairs};

/// Trains a policy as the plan says; goes on from the newest checkpoint if the plan allows it, and stops at a
/// checkpoint soon after it is asked to.
///
/// # Errors
/// If the model, a table or a checkpoint is not what the plan needs, if a number stops being finite, if another
/// process works in the run folder, or if the disk refuses. Checkpoints written before stay.
pub fn run(plan: &Plan, interrupt: &Interrupt, observe: &mut dyn FnMut(Event<'_>)) -> Result<Outcome, TrainError> {
    let started = Instant::now();
    let inputs = Inputs::open(plan, Base::open(&plan.course)?, observe)?;
    let read = [inputs.base.paths().as_slice(), &plan.files()].concat();
    let folder = RunFolder::claim(&plan.course, &read)?;
    let pairs = load_pairs(plan, &inputs)?;
    if pairs.is_empty() {
        return Err(TrainError::EmptyTable { path: plan.table.clone() });
    }
    let Selected { split, record, notes, .. } = &inputs.selected;
    for note in notes {
        observe(Event::Note(note.clone()));
    }
    let held_out_ids = split.held_out.iter().filter_map(|&row| pairs.get(row as usize)).map(|pair| pair.pair_id);
    folder.save_held_out(held_out_ids)?;

    let other_pairs = inputs.held_out.as_ref().map(|held_out| held_out.load(plan, &pairs, observe)).transpose()?;
    let held_out = match &other_pairs {
        Some(held_out) => held_out.as_held_out(),
        None => HeldOut { pairs: &pairs, rows: &split.held_out },
    };
    let held_out_digest = inputs.held_out.as_ref().map_or(inputs.table_digest, HeldOutTable::digest);
    let evaluations = plan.eval.as_ref().map(|eval| Evaluations::new(plan, eval, held_out, held_out_digest));
    let evaluations = evaluations.map(|evaluations| evaluations.with_samples(&inputs.base)).transpose()?;
    let engine = Engine { folder: &folder, base: &inputs.base, evaluations, interrupt };
    let work = PairWork { plan, pairs: &pairs, inputs: &inputs };
    Ok(match engine.run(&work, plan.told(&inputs.table_digest, record), observe)? {
        End::Interrupted(interruption) => Outcome::Interrupted(interruption),
        End::Finished(finished) => Outcome::Finished(Box::new(Summary {
            n_steps: finished.n_steps,
            n_resumed: finished.n_resumed,
            n_pairs: pairs.len() - split.held_out.len(),
            n_held_out: split.held_out.len(),
            first: finished.first,
            last: finished.last,
            seconds: started.elapsed().as_secs_f64(),
            metrics: finished.metrics,
            policy: finished.policy,
            eval: finished.eval,
        })),
    })
}

/// What a run reads, checked before anything is written.
struct Inputs {
    base: Base,
    /// The first of the plan first.
    tables: Vec<ReferenceTable>,
    /// Of the first; those of the others are in the record of the selection.
    table_digest: Digest,
    selected: Selected,
    /// Of each table.
    weights: Vec<Weights>,
    /// The table the policy is evaluated on, if it is another one.
    held_out: Option<HeldOutTable>,
}

impl Inputs {
    fn open(plan: &Plan, base: Base, observe: &mut dyn FnMut(Event<'_>)) -> Result<Self, TrainError> {
        for note in base.notes() {
            observe(Event::Note(note.clone()));
        }
        let open = |table| ReferenceTable::open_as(table, plan.reference.as_deref());
        let tables = plan.tables().into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let mut weights = Vec::with_capacity(tables.len());
        for table in &tables {
            let Base { digests, tokenizer, .. } = &base;
            weights.push(agreement::check(plan, table, digests, &tokenizer.files, observe)?);
            table.check_digests()?;
        }
        let first = tables.first().ok_or_else(|| TrainError::EmptyTable { path: plan.table.clone() })?;
        let table_digest = first.digest()?;
        let selected = selection::select(&plan.selection, &tables)?;
        let held_out = HeldOutTable::open(plan, &tables, &base.tokenizer.files, observe)?;
        Ok(Self { base, tables, table_digest, selected, weights, held_out })
    }
}

/// The selected pairs of the tables, with what the objective needs of them.
fn load_pairs(plan: &Plan, inputs: &Inputs) -> Result<TrainingPairs, TrainError> {
    let needs = plan.objective.needs();
    let token_logps = if needs.tokens { TokenLogps::Load } else { TokenLogps::Skip };
    if needs.scores && plan.score_columns.is_none() {
        return Err(TrainError::NoScores);
    }
    let scores = plan.score_columns.as_ref().filter(|_| needs.scores);
    let what = Loading { token_logps, scores, rows: inputs.selected.loaded.as_ref() };
    Ok(TrainingPairs::load(&inputs.tables, &what, &plan.course.train_folder())?)
}

/// Pairs to learn from, each with the log-probs of its reference.
struct PairWork<'a> {
    plan: &'a Plan,
    pairs: &'a TrainingPairs,
    inputs: &'a Inputs,
}

impl Work for PairWork<'_> {
    type Metrics = StepMetrics;
    type Error = TrainError;
    const SCHEMA: &'static str = metrics::VERSION;

    fn streams(&self) -> &[Stream] {
        &self.inputs.selected.split.train
    }

    fn longest(&self) -> usize {
        let rows = self.streams().iter().flat_map(|stream| &stream.rows);
        let pairs = rows.filter_map(|&row| self.pairs.get(row as usize));
        pairs.map(|pair| MicroBatch::of(step::ids(&pair)).n_rows()).max().unwrap_or_default()
    }

    /// Scores a sample of each table with the policy.
    fn inspect(&self, model: &Decoder, observe: &mut dyn FnMut(Event<'_>)) -> Result<(), TrainError> {
        let Inputs { tables, selected, weights, .. } = self.inputs;
        for ((table, rows), weights) in tables.iter().zip(&selected.rows_of_tables).zip(weights) {
            let checked = Checked { path: table.path(), rows: rows.clone(), weights };
            start_check::run(self.plan, model, self.pairs, &checked, observe)?;
        }
        Ok(())
    }

    fn why_flat(&self, rows: &[u32]) -> Option<String> {
        let mut pairs = rows.iter().filter_map(|&row| self.pairs.get(row as usize));
        let are_equal = pairs.all(|pair| pair.chosen_ids == pair.rejected_ids);
        are_equal.then(|| "chosen and rejected completion of every pair of the step are the same tokens".to_owned())
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
