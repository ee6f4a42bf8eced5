//! Why there is no sweep, and why a run of it failed.

use std::path::PathBuf;

use crate::checkpoint::CheckpointError;
use crate::error::Hint;
use crate::io::IoError;
use crate::pipeline::PipelineError;
use crate::precompute::PrecomputeError;
use crate::report::ReportError;
use crate::table::TableError;
use crate::train::TrainError;

/// Why nothing could be swept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SweepError {
    /// No setting has been given.
    #[error("nothing to sweep: expected `--set` or `--list`")]
    Nothing,
    /// A setting that decides what is in the table.
    #[error("`{key}` cannot be swept: it decides what is in the log-prob table, and all runs share one")]
    ChangesTable {
        /// The setting.
        key: String,
    },
    /// The model.
    #[error("`model` cannot be swept: the log-prob table is of the model the runs start from, and they share one")]
    Model,
    /// The tables the runs train from.
    #[error("`train.pairs.tables` cannot be swept: all runs share the log-prob table they are compared on")]
    Tables,
    /// The name of a run as a setting of the grid.
    #[error("`name` cannot be swept: runs are named by their settings")]
    Name,
    /// A setting that is given twice.
    #[error("`{key}` is set twice")]
    SetTwice {
        /// The setting.
        key: String,
    },
    /// Two runs that would go to one folder.
    #[error("two runs are called `{name}`")]
    SameName {
        /// Their name.
        name: String,
    },
    /// A grid that nobody lives to see the end of.
    #[error("expected at most {limit} runs, found {found}")]
    TooMany {
        /// How many may be.
        limit: usize,
        /// How many were asked for.
        found: usize,
    },
    /// Settings that make no run.
    #[error("run `{run}` cannot be made")]
    Plan {
        /// Its name.
        run: String,
        /// Why not.
        #[source]
        source: PipelineError,
    },
    /// The pipeline file, or the record of stage one.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// What an earlier run has left cannot be deleted.
    #[error("cannot start run `{run}` again")]
    Clear {
        /// Its name.
        run: String,
        /// Why not.
        #[source]
        source: TrainError,
    },
    /// Stage one failed.
    #[error("cannot make the log-prob table `{}`", path.display())]
    Precompute {
        /// Where it would be.
        path: PathBuf,
        /// Why not.
        #[source]
        source: PrecomputeError,
    },
    /// A table cannot be read, or the comparison cannot be written.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The disk.
    #[error(transparent)]
    Io(#[from] IoError),
    /// No finished run has the metric they should be ranked by.
    #[error("no finished run has `{metric}`")]
    NoMetric {
        /// The metric.
        metric: String,
        /// What they have.
        known: Vec<String>,
    },
    /// The page.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// Columns that do not make a table.
    #[error("internal error: the comparison cannot be written; please report it")]
    Columns {
        /// What Arrow says.
        #[source]
        source: arrow::error::ArrowError,
    },
}

/// Why a run of a sweep failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Training did.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Its checkpoints cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Its table cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The record of its settings cannot be read or written.
    #[error(transparent)]
    Record(#[from] PipelineError),
    /// Its metrics cannot be read.
    #[error(transparent)]
    Io(#[from] IoError),
    /// Its metrics are none, or another version's.
    #[error("metrics file `{}`, line {line}: expected an object of `{expected}`, found {found}", path.display())]
    Metrics {
        /// The file.
        path: PathBuf,
        /// 1-based.
        line: usize,
        /// The version that is read.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
}

impl Hint for SweepError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Nothing => {
                Some("e.g. `--set train.loss.beta=0.05,0.1,0.5 --set train.loss.loss_type=sigmoid,ipo`".into())
            }
            Self::ChangesTable { .. } | Self::Model => {
                Some("make a table of each with `piref precompute --out`, and a sweep over each with `--table`".into())
            }
            Self::Tables => Some(
                "name all tables in the pipeline file and sweep `train.pairs.table_weights` or `train.pairs.where`, or make \
                 a sweep over each with `--table`"
                    .into(),
            ),
            Self::Name => Some("a list can name its runs: `name = \"…\"` below `[[run]]`".into()),
            Self::SetTwice { .. } => Some("give all values in one `--set`, parted by commas".into()),
            Self::SameName { .. } => Some("take one of them out, or give them names in a list".into()),
            Self::Plan { .. } => {
                Some("a list (`--list`) has only those runs that make sense, where a grid has all combinations".into())
            }
            Self::Pipeline(error) => error.hint(),
            Self::Clear { source, .. } => source.hint(),
            Self::Precompute { source, .. } => source.hint(),
            Self::Table(error) => error.hint(),
            Self::Io(error) => error.hint(),
            Self::NoMetric { known, .. } => Some(format!("they have: {}", known.join(", "))),
            Self::Report(error) => error.hint(),
            Self::TooMany { .. } | Self::Columns { .. } => None,
        }
    }
}

impl Hint for RunError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Train(error) => error.hint(),
            Self::Checkpoint(error) => error.hint(),
            Self::Table(error) => error.hint(),
            Self::Record(error) => error.hint(),
            Self::Io(error) => error.hint(),
            Self::Metrics { .. } => None,
        }
    }
}
