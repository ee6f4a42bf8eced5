//! Why stage one is refused or stops.

use std::path::PathBuf;

use super::plan::Scope;
use crate::data::DataError;
use crate::error::Hint;
use crate::io::IoError;
use crate::model::ModelError;
use crate::policy::PolicyError;
use crate::table::{Difference, Shard, TableError, TableFolder, TooManyRejects};
use crate::tokenize::TokenizeError;

/// What can go wrong in stage one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrecomputeError {
    /// No data file was named.
    #[error("no data files given")]
    NoData,
    /// A data file is not what the table of the first reference was made from.
    #[error("`{}` is not what table `{}` was made from: expected {what} {expected}, found {found}", path.display(), table.display())]
    OtherSource {
        /// The data file.
        path: PathBuf,
        /// The table that lists it.
        table: PathBuf,
        /// `digest` or `format`.
        what: &'static str,
        /// In the table.
        expected: String,
        /// In the file.
        found: String,
    },
    /// A data file of a table that is elsewhere, and that nobody but the table named.
    #[error("table `{}` says that it was made from `{}`, and nothing is fetched because a table says so", table.display(), path.display())]
    HostedSource {
        /// Where the data are.
        path: PathBuf,
        /// The table that lists them.
        table: PathBuf,
    },
    /// A table whose log-probs hold under other conditions.
    #[error("the log-probs of `{}` cannot be reused, it was scored with another `{}`: expected `{}`, found `{}`", path.display(), difference.field, difference.expected, difference.found)]
    OtherReuse {
        /// The table.
        path: PathBuf,
        /// The first condition that differs.
        difference: Difference,
    },
    /// A shard that was made, or is being made, otherwise.
    #[error(
        "shard {theirs} of `{}` has another `{}` than {}: expected `{}`, found `{}`",
        table.display(),
        difference.field,
        ours.map_or("this run".to_owned(), |ours| format!("shard {ours}")),
        difference.expected,
        difference.found
    )]
    OtherShard {
        /// The folder of the table.
        table: PathBuf,
        /// The shard whose journal says so.
        theirs: Shard,
        /// The shard that is refused, unless it is the same or none.
        ours: Option<Shard>,
        /// In what they differ first.
        difference: Difference,
    },
    /// A table that is to be started afresh by one of its shards.
    #[error("shard {shard} cannot start the table afresh: others may be at work on it")]
    FreshShard {
        /// The shard.
        shard: Shard,
    },
    /// A table that is made anew would replace what it is made of.
    #[error("`{}` is part of `{}`, which is to be replaced", input.display(), table.display())]
    InputReplaced {
        /// What is read.
        input: PathBuf,
        /// The table.
        table: PathBuf,
    },
    /// The model yields something that is no log-prob.
    #[error(
        "pair `{pair_id}` (`{source_file}`, row {row_idx}): expected a log-prob, finite and at most 0, for token {token} of the {side} completion, found {found}"
    )]
    NotALogp {
        /// The pair.
        pair_id: String,
        /// Its source file.
        source_file: String,
        /// Its row, from 0.
        row_idx: i64,
        /// `chosen` or `rejected`.
        side: &'static str,
        /// Token of the completion, from 0.
        token: usize,
        /// What the model yields.
        found: f32,
    },
    /// No row became a pair.
    #[error("no pair to score in {n_rows} rows{}", overlong(*n_overlong))]
    NoPairs {
        /// Rows read.
        n_rows: u64,
        /// Rows that do not fit `max_length`.
        n_overlong: u64,
        /// Where the reasons are, if there are any.
        rejects: Option<PathBuf>,
    },
    /// Too many rows are not pairs, or do not fit.
    #[error(transparent)]
    TooManyRejects(#[from] TooManyRejects),
    /// The model.
    #[error("cannot use model `{model}`")]
    Model {
        /// As the user gave it.
        model: String,
        /// Why.
        #[source]
        source: ModelError,
    },
    /// What scores the pairs, where that is not this process.
    #[error("cannot score pairs on {place}")]
    Elsewhere {
        /// What and where it is.
        place: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Where the model is.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The tokenizer, its template, or the token store.
    #[error(transparent)]
    Tokenize(#[from] TokenizeError),
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A file.
    #[error(transparent)]
    Io(#[from] IoError),
}

impl PrecomputeError {
    /// The refusal of a run with this scope because of the shard `theirs`.
    pub(super) fn other_shard(folder: &TableFolder, theirs: Shard, scope: Scope, difference: Difference) -> Self {
        let ours = match scope {
            Scope::Shard(ours) if ours != theirs => Some(ours),
            _ => None,
        };
        Self::OtherShard { table: folder.path().to_owned(), theirs, ours, difference }
    }
}

/// Behind "no pair in so many rows": how many are pairs that do not fit.
fn overlong(n_overlong: u64) -> String {
    if n_overlong == 0 { String::new() } else { format!(": {n_overlong} of them do not fit max_length") }
}

impl Hint for PrecomputeError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoData => Some("name one with `--data FILE` or under `[data] files` of the pipeline".into()),
            Self::OtherSource { what: "format", .. } => {
                Some("give the same `--map` as for the first table".into())
            }
            Self::OtherSource { .. } => Some(
                "score the changed data with the first model, then with this one; or name the data with another `--out`"
                    .into(),
            ),
            Self::HostedSource { path, .. } => {
                Some(format!("`--data {}` fetches them, if you would read from there", path.display()))
            }
            Self::OtherReuse { .. } => Some("leave out that `--reuse`, or score under its conditions".into()),
            Self::OtherShard { .. } => Some(
                "all shards of a table, and `--finish`, need the same data, model, settings and number of shards; another \
                 `--out` makes one with others"
                    .into(),
            ),
            Self::FreshShard { .. } => Some("name another `--out`, the same for all shards".into()),
            Self::InputReplaced { .. } => Some("name another `--out`".into()),
            Self::NotALogp { .. } => Some(
                "the weights of the model hold something that is no number, or overflow; what was scored is kept".into(),
            ),
            Self::NoPairs { rejects, n_overlong, .. } => rejects.as_ref().map(|path| {
                let longer = if *n_overlong == 0 { "" } else { "; `--max-length` allows longer rows" };
                format!("`piref sql {} -c \"SELECT * FROM rejects\"`{longer}", path.display())
            }),
            Self::TooManyRejects(error) => error.hint(),
            Self::Elsewhere { .. } => None,
            Self::Model { source, .. } => source.hint(),
            Self::Policy(error) => error.hint(),
            Self::Tokenize(error) => error.hint(),
            Self::Data(error) => error.hint(),
            Self::Table(error) => error.hint(),
            Self::Io(error) => error.hint(),
        }
    }
}
