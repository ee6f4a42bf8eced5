//! What stage one is told, what it says on the way, and what it ends with.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::data::{ColumnMap, Overlong};
use crate::model::ScoringDtype;
use crate::ops::Backend;
use crate::table::Shard;
use crate::tokenize::Rules;

/// Whether to keep what an earlier run has scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Keep its parts and score what is missing.
    Resume,
    /// Delete its table and score everything.
    Fresh,
}

/// How much of the table a run makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    Whole,
    /// The parts of one shard, which may be at work beside others: on other machines, in any order. A run with
    /// [`Finish`](Self::Finish) makes a table of what they have made.
    Shard(Shard),
    /// Nothing: the parts that are there are held against the data and the settings, and if none is missing the table is
    /// finished.
    Finish,
}

impl Scope {
    /// The shard whose rows are looked at.
    pub fn shard(self) -> Shard {
        match self {
            Self::Shard(shard) => shard,
            Self::Whole | Self::Finish => Shard::WHOLE,
        }
    }
}

/// Whether what the forward passes show beside log-probs (entropies, first choices, similarities of hidden states) is
/// written beside them. The log-probs are the same to the bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signals {
    /// Write it.
    Make,
    /// Leave it out.
    Skip,
}

/// Which pairs are scored.
#[derive(Debug, Clone)]
pub enum Pairs {
    /// Those of data files.
    Files {
        /// The files, in the order of the table.
        paths: Vec<PathBuf>,
        /// Only the first so many pairs.
        limit: Option<NonZeroU64>,
    },
    /// Those a finished table was made from, row for row; its data files must not have changed since.
    OfTable {
        /// The table.
        table: PathBuf,
        /// Data that the user named besides: of what a table lists, only these are fetched from elsewhere. A table may be a
        /// stranger's, and a request has the user's credentials.
        named: Vec<PathBuf>,
    },
}

/// Stage one, checked.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The reference model: see [`PolicySource::resolve`](crate::policy::PolicySource::resolve).
    pub model: String,
    /// An adapter over it.
    pub adapter: Option<PathBuf>,
    /// Where the pairs come from.
    pub pairs: Pairs,
    /// Which columns are prompt, chosen and rejected, where the names do not say so.
    pub column_map: ColumnMap,
    /// Share of rows that may be rejected before the run is refused.
    pub max_reject_rate: f64,
    /// What is done with rows that do not fit `max_length`; they are no part of that share.
    pub overlong: Overlong,
    /// The folder of the table.
    pub out: PathBuf,
    /// Further tables whose log-probs are taken where they are of the same tokens.
    pub reuse: Vec<PathBuf>,
    /// How text becomes token ids.
    pub rules: Rules,
    /// Precision of the forward pass.
    pub dtype: ScoringDtype,
    /// Where the forward pass runs.
    pub backend: Backend,
    /// Token budget of a forward pass; changes memory and speed, not the result.
    pub max_tokens: NonZeroUsize,
    /// Pairs per part of the table, those counted that turn out to have nothing to score.
    pub rows_per_part: NonZeroUsize,
    /// Whether new parts get signals; what a part that is there has of them stays.
    pub signals: Signals,
    /// What to do with an earlier run's table.
    pub start: Start,
    /// How much of the table is made. Only the whole of it can be started afresh.
    pub scope: Scope,
}

/// What stage one says while it runs.
#[derive(Debug)]
pub enum Event<'a> {
    /// Something a user should know.
    Note(String),
    /// The format of a data file was recognised.
    Detected {
        /// The file.
        path: &'a Path,
        /// What it is.
        format: String,
        /// Its columns.
        columns: &'a [String],
    },
    /// All text is token ids.
    Tokenised {
        /// Pairs to score.
        n_pairs: u64,
        /// Rows that are none.
        n_rejected: u64,
        /// Rows that do not fit `max_length`.
        n_overlong: u64,
        /// Tokens in them, each prompt counted once a pair.
        n_tokens: u64,
    },
    /// Parts of an earlier run are kept.
    Resumed {
        /// Pairs in them.
        n_pairs: u64,
    },
    /// Log-probs that were computed before need no model.
    Reused {
        /// Pairs that have them.
        n_pairs: u64,
    },
    /// The model is in memory.
    ModelLoaded {
        /// Its architecture.
        architecture: String,
        /// Numbers in its weights.
        n_parameters: usize,
    },
    /// What scores the pairs is another process, and can be reached.
    Connected {
        /// What and where it is.
        place: String,
    },
    /// Another forward pass is done.
    Scored {
        /// Pairs scored by this run so far.
        n_pairs: u64,
        /// Pairs this run has to score.
        n_total: u64,
        /// Tokens of the pairs so far, each prompt counted once a pair.
        n_tokens: u64,
        /// Tokens of all pairs to score.
        n_total_tokens: u64,
    },
}

/// How stage one ends.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// With a finished table, or with all parts of a shard.
    Finished(Summary),
    /// With the list of what shards have yet to make; nothing has changed.
    Missing(Missing),
    /// Before that, because it was asked to. What was computed is on disk.
    Interrupted {
        /// Pairs that need no model any more.
        n_done: u64,
        /// Pairs of the table to be; 0 where the data was not read to its end.
        n_pairs: u64,
    },
}

/// Parts that a table lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// Parts of the table to be.
    pub n_parts: usize,
    /// Names of those that are not there, or not as this data and these settings make them.
    pub parts: Vec<String>,
    /// Pairs in those.
    pub n_pairs: u64,
    /// The shards they belong to, in order; none where no shard has left a sign of how many there are.
    pub shards: Vec<Shard>,
}

/// What stage one has to say of a finished table, or of a shard.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The shard, where it is not the whole table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// Pairs in the table, or in the parts of the shard.
    pub n_pairs: u64,
    /// Rows of the data that are no pairs; of a shard, those that it has come upon.
    pub n_rejected: u64,
    /// Rows that do not fit `max_length`; of a shard, those that it has come upon.
    pub n_overlong: u64,
    /// Pairs scored by this run.
    pub n_scored: u64,
    /// Pairs kept in the parts of an earlier run.
    pub n_resumed: u64,
    /// Pairs whose log-probs an earlier run or table had.
    pub n_reused: u64,
    /// Pairs of the same tokens as another one that this run has scored.
    pub n_repeated: u64,
    /// Tokens scored by this run, each prompt counted once a pair.
    pub n_tokens: u64,
    /// Wall time, in seconds.
    pub seconds: f64,
    /// Wall time of the scoring alone, in seconds.
    pub scoring_seconds: f64,
    /// The table.
    pub table: PathBuf,
    /// The rejects file of a finished table, if any row was rejected.
    pub rejects: Option<PathBuf>,
}
