//! Why there is nothing to train on, or not what was asked for.

use std::fmt;
use std::path::PathBuf;

use crate::error::Hint;
use crate::io::IoError;
use crate::query::QueryError;
use crate::table::TableError;

/// What can go wrong between a selection and its rows.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelectionError {
    /// SQL that cannot be answered.
    #[error("cannot select pairs by {clauses}")]
    Query {
        /// The flags, as given.
        clauses: String,
        /// Why not.
        #[source]
        source: QueryError,
    },
    /// A predicate of which no pair is left.
    #[error("`--where \"{predicate}\"` leaves none of {n_pairs} pairs")]
    NoneLeft {
        /// As given.
        predicate: String,
        /// Pairs there are.
        n_pairs: u32,
    },
    /// A share below that of a single prompt.
    #[error("`--eval-share {share}` holds out none of {n_prompts} prompts")]
    NoneHeldOut {
        /// As given.
        share: f64,
        /// Prompts there are.
        n_prompts: usize,
    },
    /// A share that leaves nothing to train on.
    #[error("`--eval-share {share}` holds out all {n_prompts} prompts")]
    AllHeldOut {
        /// As given.
        share: f64,
        /// Prompts there are.
        n_prompts: usize,
    },
    /// A curriculum without a line.
    #[error("curriculum `{}` names no pair", path.display())]
    EmptyCurriculum {
        /// The file.
        path: PathBuf,
    },
    /// A curriculum with a pair that cannot be trained on.
    #[error(
        "curriculum `{}`, line {line}: pair `{pair_id}` is {problem}{}",
        path.display(), more(*n_more)
    )]
    Curriculum {
        /// The file.
        path: PathBuf,
        /// 1-based line.
        line: usize,
        /// The pair of that line.
        pair_id: String,
        /// Where it is instead.
        problem: Misplaced,
        /// Further lines that are wrong.
        n_more: usize,
    },
    /// A table of a mix of which no pair is left.
    #[error("nothing to mix: no pair of table {table} is left to train on")]
    EmptyOfMix {
        /// Which of the tables, from 1.
        table: usize,
    },
    /// Weights under which the last table is read once after very long.
    #[error("an epoch would have {n_pairs:.0} pairs: expected fewer than 2^32")]
    EpochTooLong {
        /// Pairs of an epoch.
        n_pairs: f64,
    },
    /// More pairs than a 32-bit number can name.
    #[error("tables of {n_pairs} pairs are too large: expected fewer than 2^32")]
    TooManyPairs {
        /// Pairs in the tables.
        n_pairs: u64,
    },
    /// A table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A curriculum that cannot be read.
    #[error(transparent)]
    Io(#[from] IoError),
}

/// Where a pair of a curriculum is that cannot be trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misplaced {
    /// Among the held-out ones.
    HeldOut,
    /// In a table, and the predicate does not hold of it.
    LeftOut,
    /// In no table.
    Nowhere,
}

impl fmt::Display for Misplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HeldOut => "held out by `--eval-share`",
            Self::LeftOut => "left out by `--where`",
            Self::Nowhere => "in no table",
        })
    }
}

fn more(n_more: usize) -> String {
    if n_more == 0 { String::new() } else { format!("; {n_more} more of its lines are wrong") }
}

impl Hint for SelectionError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoneLeft { .. } => Some(
                "`piref sql TABLE -c 'SELECT count(*) FROM scored WHERE …'` counts them; a comparison with null holds of no row"
                    .into(),
            ),
            Self::NoneHeldOut { .. } => Some(
                "a prompt is held out by its own hash, so few prompts may all be on one side: raise `--eval-share`".into(),
            ),
            Self::AllHeldOut { .. } => Some(
                "a prompt is held out by its own hash, so few prompts may all be on one side: lower `--eval-share`".into(),
            ),
            Self::EmptyCurriculum { .. } | Self::Curriculum { problem: Misplaced::Nowhere, .. } => Some(
                "`piref sql TABLE -c 'SELECT pair_id FROM pairs ORDER BY …' --format csv -o FILE` writes a curriculum".into(),
            ),
            Self::Curriculum { .. } => Some("take these lines out of the file, or do without the other flag".into()),
            Self::EmptyOfMix { .. } => Some("leave the table out, or select other pairs".into()),
            Self::EpochTooLong { .. } => Some("weights nearer to the sizes of the tables make shorter epochs".into()),
            // The error of a query is the next in the chain and gives its own.
            Self::TooManyPairs { .. } | Self::Query { .. } => None,
            Self::Table(error) => error.hint(),
            Self::Io(error) => error.hint(),
        }
    }
}
