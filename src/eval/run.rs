//! `piref eval`: one policy on one held-out table.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::EvalError;
use super::evaluate::{Evaluation, HeldOut};
use super::metrics::EvalMetrics;
use crate::interrupt::Interrupt;
use crate::loss::{BatchObjective, ObjectiveState};
use crate::model::ScoringDtype;
use crate::ops::Backend;
use crate::policy::{PolicySource, PolicyTokenizer};
use crate::table::{EvalsWriter, ReferenceTable, ScoreColumns, TokenLogps, TrainingPairs};

/// An evaluation, checked.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The policy: see [`PolicySource::resolve`].
    pub model: String,
    /// The adapter that goes over it, if it does not name its base model itself.
    pub adapter: Option<PathBuf>,
    /// The held-out log-prob table.
    pub table: PathBuf,
    /// The further reference of the table to evaluate against, by name; `None` for the table's own.
    pub reference: Option<String>,
    /// What is reported as loss.
    pub objective: BatchObjective,
    /// Where the outside scores are, for an objective that needs them.
    pub score_columns: Option<ScoreColumns>,
    /// Pairs that an objective of the whole batch sees at once.
    pub batch_size: NonZeroUsize,
    /// Token budget of a micro-batch.
    pub max_tokens: NonZeroUsize,
    /// Precision of the forward pass.
    pub dtype: ScoringDtype,
    /// Where the passes run.
    pub backend: Backend,
    /// The Parquet file with one row a pair, if one is asked for; replaced if it is there.
    pub out: Option<PathBuf>,
}

/// What an evaluation says on the way.
#[derive(Debug)]
pub enum Event {
    /// Something a user should know.
    Note(String),
    /// Pairs were scored.
    Scored {
        /// So far.
        n_scored: usize,
        /// In all.
        n_pairs: usize,
    },
}

/// How an evaluation ends.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// All pairs are evaluated.
    Finished(Box<Summary>),
    /// It was asked to stop: there is no result, and no file.
    Interrupted,
}

/// What a finished evaluation ends with.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The policy, as it was named.
    pub model: String,
    /// The held-out table.
    pub table: PathBuf,
    /// The further reference evaluated against.
    pub reference: Option<String>,
    /// Means over its pairs.
    #[serde(flatten)]
    pub metrics: EvalMetrics,
    /// The file with one row a pair.
    pub out: Option<PathBuf>,
}

/// Evaluates a policy on all pairs of a table.
///
/// # Errors
/// If the policy or the table is not what the plan needs, if they have different tokenizers, if a number is not finite,
/// or if the disk refuses.
pub fn run(plan: &Plan, interrupt: &Interrupt, observe: &mut dyn FnMut(Event)) -> Result<Outcome, EvalError> {
    let table = ReferenceTable::open_as(&plan.table, plan.reference.as_deref())?;
    let source = PolicySource::resolve(&plan.model, plan.adapter.as_deref())?;
    let PolicyTokenizer { files: tokenizer, notes, .. } = source.tokenizer()?;
    for note in source.notes().iter().cloned().chain(notes) {
        observe(Event::Note(note));
    }
    let theirs = table.provenance();
    let (expected, found) = (tokenizer.digest(), theirs.tokenizer_digest);
    if expected != found {
        return Err(EvalError::Tokenizer { table: table.path().to_owned(), expected, found });
    }
    if theirs.dtype != plan.dtype.to_string() {
        observe(Event::Note(format!(
            "the table was scored in {}, the policy computes in {}: rewards have the rounding between the two in them",
            theirs.dtype, plan.dtype
        )));
    }
    table.check_digests()?;
    let model = source.load(&plan.backend)?.with_dtype(plan.dtype);
    let folder = plan.out.as_deref().and_then(Path::parent).filter(|folder| folder.is_dir());
    let scratch = folder.map_or_else(std::env::temp_dir, Path::to_owned);
    let pairs = load_pairs(&table, &plan.objective, plan.score_columns.as_ref(), &scratch)?;
    let rows = rows_of(&table, &pairs)?;

    let writer = plan.out.as_ref().map(|out| EvalsWriter::create(out, &table.digest()?, &plan.objective)).transpose();
    let mut writer: Option<EvalsWriter> = writer?;
    let evaluation = Evaluation {
        model: &model,
        held_out: HeldOut { pairs: &pairs, rows: &rows },
        objective: &plan.objective,
        state: ObjectiveState::default(),
        batch_size: plan.batch_size.get(),
        max_tokens: plan.max_tokens.get(),
    };
    let n_pairs = rows.len();
    let metrics =
        evaluation.run(interrupt, &mut |n_scored| observe(Event::Scored { n_scored, n_pairs }), &mut |result| {
            match &mut writer {
                Some(writer) => writer.push(&result.row(None)),
                None => Ok(()),
            }
        })?;
    let Some(metrics) = metrics else { return Ok(Outcome::Interrupted) };
    writer.map(EvalsWriter::finish).transpose()?;
    Ok(Outcome::Finished(Box::new(Summary {
        model: plan.model.clone(),
        table: plan.table.clone(),
        reference: plan.reference.clone(),
        metrics,
        out: plan.out.clone(),
    })))
}

/// The pairs of a held-out table, with what the objective needs of them, put aside on the disk of `folder`.
pub(crate) fn load_pairs(
    table: &ReferenceTable,
    objective: &BatchObjective,
    scores: Option<&ScoreColumns>,
    folder: &Path,
) -> Result<TrainingPairs, EvalError> {
    let needs = objective.needs();
    let token_logps = if needs.tokens { TokenLogps::Load } else { TokenLogps::Skip };
    Ok(match scores {
        Some(columns) if needs.scores => table.load_pairs_with_scores(token_logps, columns, folder)?,
        None if needs.scores => return Err(EvalError::NoScores),
        _ => table.load_pairs(token_logps, folder)?,
    })
}

/// All rows of a held-out table.
pub(crate) fn rows_of(table: &ReferenceTable, pairs: &TrainingPairs) -> Result<Vec<u32>, EvalError> {
    let path = || table.path().to_owned();
    let n_pairs = u32::try_from(pairs.len());
    let n_pairs = n_pairs.map_err(|_| EvalError::TooManyPairs { path: path(), n_pairs: pairs.len() })?;
    if n_pairs == 0 {
        return Err(EvalError::EmptyTable { path: path() });
    }
    Ok((0..n_pairs).collect())
}
