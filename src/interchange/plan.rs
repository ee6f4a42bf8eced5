//! What an import is told, what it says on the way, and what it ends with.

use std::fmt;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::columns::ImportMap;
use super::meaning::Meaning;
use crate::data::Overlong;
use crate::precompute::Start;
use crate::tokenize::Rules;

/// What the log-probs of the source are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Logps {
    /// Sums over the tokens of a completion.
    Sum,
    /// Averages over them: multiplied by the number of tokens.
    Average,
    /// Measured from the lengths: sums are taken, averages and unclear cases refused.
    #[default]
    Detect,
}

/// The number format log-probs were computed in, as the user says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ImportDtype {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, 8 of them exponent.
    Bf16,
    /// 16 bits, 5 of them exponent.
    F16,
}

impl fmt::Display for ImportDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        })
    }
}

/// An import, checked.
#[derive(Debug, Clone)]
pub struct ImportPlan {
    /// The model the log-probs are of: folder, `.gguf` file or cached name. Its weights are digested, not loaded.
    pub model: String,
    /// Scored data files, in the order of the table.
    pub data: Vec<PathBuf>,
    /// Which columns are what, where the names do not say so.
    pub map: ImportMap,
    /// Share of rows that may be rejected before the import is refused.
    pub max_reject_rate: f64,
    /// What is done with rows that do not fit `max_length`; they are no part of that share.
    pub overlong: Overlong,
    /// Only the first so many pairs.
    pub limit: Option<NonZeroU64>,
    /// The folder of the table.
    pub out: PathBuf,
    /// How text becomes token ids; ids of the source are only cut.
    pub rules: Rules,
    /// In what the log-probs were computed.
    pub dtype: ImportDtype,
    /// What they are.
    pub logps: Logps,
    /// Pairs per part of the table.
    pub rows_per_part: NonZeroUsize,
    /// What to do with a table that is there: refuse, or delete it.
    pub start: Start,
}

/// What an import says while it runs.
#[derive(Debug)]
pub enum ImportEvent<'a> {
    /// The format of a data file was recognised.
    Detected {
        /// The file.
        path: &'a Path,
        /// What it is.
        format: &'a str,
        /// Its columns.
        columns: &'a [String],
    },
    /// Columns that mean nothing in a table and say nothing here are left out.
    Unread {
        /// The file.
        path: &'a Path,
        /// The columns.
        columns: &'a [String],
    },
    /// All rows are read.
    Read {
        /// Pairs.
        n_pairs: usize,
        /// Rows that are none.
        n_rejected: u64,
    },
    /// Something a user should know.
    Note(String),
    /// What the log-probs of a column are taken for, and why.
    Judged {
        /// The column of the table.
        column: &'static str,
        /// The reason, in a line.
        reason: String,
    },
}

/// What an import ends with.
#[derive(Debug, Clone, Serialize)]
pub struct ImportSummary {
    /// Pairs in the table.
    pub n_pairs: u64,
    /// Rows that are no scored pairs.
    pub n_rejected: u64,
    /// Rows that do not fit `max_length`.
    pub n_overlong: u64,
    /// What the log-probs of the source were taken for; `None` if it had the log-prob of every token.
    pub logps: Option<Meaning>,
    /// The table.
    pub table: PathBuf,
    /// The rejects file, if any row was rejected.
    pub rejects: Option<PathBuf>,
}
