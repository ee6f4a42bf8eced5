//! Why a table is not exported or a foreign one not imported.

use std::path::{Path, PathBuf};

use crate::data::DataError;
use crate::error::Hint;
use crate::io::IoError;
use crate::model::ModelError;
use crate::policy::PolicyError;
use crate::table::{NotOutside, TableError, TooManyRejects};
use crate::tokenize::TokenizeError;

/// What can go wrong between a table and another program's file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterchangeError {
    /// An exported file in a table, a run or a model.
    #[error(transparent)]
    Inside(#[from] NotOutside),
    /// A folder that holds a table already.
    #[error("`{}` holds a table already", path.display())]
    TableExists {
        /// The folder.
        path: PathBuf,
    },
    /// A file without log-probs.
    #[error("`{}` has no reference log-probs (columns found: {})", path.display(), columns.join(", "))]
    NoLogps {
        /// The file.
        path: PathBuf,
        /// Its columns.
        columns: Vec<String>,
    },
    /// Columns that were asked for and are not there.
    #[error("`{}` has no column {} (columns found: {})", path.display(), quoted(missing), columns.join(", "))]
    NoColumns {
        /// The file.
        path: PathBuf,
        /// As asked for.
        missing: Vec<String>,
        /// Its columns.
        columns: Vec<String>,
    },
    /// A value that is no log-prob or no list of token ids.
    #[error("{place}, column `{column}`: expected {expected}, found {found}")]
    Value {
        /// File, row, and line if there are lines.
        place: String,
        /// The column.
        column: String,
        /// What it should hold.
        expected: String,
        /// What it holds.
        found: String,
    },
    /// Log-probs of tokens whose number is not that of the tokens.
    #[error("{place}, column `{column}`: expected {expected} log-probs, one a token of the completion, found {found}")]
    Lengths {
        /// File, row, and line if there are lines.
        place: String,
        /// The column.
        column: String,
        /// Tokens of the completion.
        expected: usize,
        /// Log-probs.
        found: usize,
    },
    /// A log-prob that is not what its own terms amount to.
    #[error("{place}, column `{column}`: expected {expected} as the log-probs of the tokens amount to, found {found}")]
    Terms {
        /// File, row, and line if there are lines.
        place: String,
        /// The column.
        column: String,
        /// By the terms.
        expected: f64,
        /// In the column.
        found: f64,
    },
    /// A token id the model does not have.
    #[error("{place}, column `{column}`: expected token ids below {vocab_size}, found {found}")]
    Vocabulary {
        /// File, row, and line if there are lines.
        place: String,
        /// The column.
        column: String,
        /// Rows of the model's embedding.
        vocab_size: usize,
        /// The id.
        found: u32,
    },
    /// Several names for one thing.
    #[error("`{}` has {}: expected one of them", path.display(), quoted(columns))]
    Ambiguous {
        /// The file.
        path: PathBuf,
        /// The columns.
        columns: Vec<String>,
    },
    /// A completion of which some tokens in the middle are not scored.
    #[error("{place}, column `{column}`: the token at place {at} is not scored, and some before and after it are")]
    PartlyScored {
        /// File, row, and line if there are lines.
        place: String,
        /// The column that says what is scored.
        column: String,
        /// Which token, from 0.
        at: usize,
    },
    /// Tokens in front of what is scored that are not the prompt.
    #[error(
        "{place}, column `{column}`: the first {n_lead} tokens are not scored and are not the prompt; a table scores every \
         token of a completion"
    )]
    OtherLead {
        /// File, row, and line if there are lines.
        place: String,
        /// The column that says what is scored.
        column: String,
        /// How many.
        n_lead: usize,
    },
    /// Token ids that end or begin like padding, and nothing that says so.
    #[error(
        "{place}, column `{column}`: {n_ids} padding tokens `{token}` (id {id}) {at}, and no attention mask beside them"
    )]
    Padding {
        /// File, row, and line if there are lines.
        place: String,
        /// The column.
        column: String,
        /// How many.
        n_ids: usize,
        /// The padding token.
        token: String,
        /// Its id.
        id: u32,
        /// Where: `at the end`.
        at: &'static str,
    },
    /// Completions that are written with their prompt in front.
    #[error("`{}`: every completion in `{column}` begins with its whole prompt", path.display())]
    PromptRepeated {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
    },
    /// Averages where sums are expected.
    #[error("`{column}` holds averages over tokens, expected sums: {numbers}")]
    Averages {
        /// The column of the table.
        column: &'static str,
        /// What was measured.
        numbers: String,
    },
    /// Neither sums nor averages, or not to be told.
    #[error("cannot tell whether `{column}` holds sums or averages over tokens: {reason}")]
    Unclear {
        /// The column of the table.
        column: &'static str,
        /// What was measured, and what would have been clear.
        reason: String,
    },
    /// Too many rows are not pairs, or do not fit.
    #[error(transparent)]
    TooManyRejects(#[from] TooManyRejects),
    /// No row became a pair.
    #[error("no pair in {n_rows} rows")]
    NoPairs {
        /// Rows read.
        n_rows: u64,
    },
    /// The model.
    #[error("cannot use model `{model}`")]
    Model {
        /// As the user gave it.
        model: String,
        /// Why.
        #[source]
        source: ModelError,
    },
    /// Where the model is.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The tokenizer or the token store.
    #[error(transparent)]
    Tokenize(#[from] TokenizeError),
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A file.
    #[error(transparent)]
    Io(#[from] IoError),
}

impl Hint for InterchangeError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Inside(error) => error.hint(),
            Self::TableExists { .. } => Some("another `--out` keeps it; `--fresh` replaces it".into()),
            Self::NoLogps { .. } | Self::NoColumns { .. } => {
                Some("name the columns: `--map ref_chosen_logps=logp_w,ref_rejected_logps=logp_l`".into())
            }
            Self::Lengths { .. } => Some(
                "the log-probs are of other tokens: `--max-length` and `--truncation-mode` must be those they were \
                 computed with"
                    .into(),
            ),
            Self::Terms { .. } => Some("`--logps average` says that the column holds averages".into()),
            Self::Vocabulary { .. } => Some("the ids are another model's: name theirs with `--model`".into()),
            Self::Ambiguous { columns, .. } => Some(format!(
                "name the one that counts with `--map`, together with its pair: `--map ref_chosen_logps={0},\
                 ref_rejected_logps=…` or `--map prompt_ids=…,chosen_ids=…,rejected_ids=…`; rename or drop the others",
                columns.first().map_or("…", String::as_str)
            )),
            Self::PartlyScored { .. } => Some(
                "a log-prob of part of a completion has no place in a table: leave such rows out, or score them with \
                 `piref precompute`"
                    .into(),
            ),
            Self::OtherLead { .. } => Some(
                "if they belong to the prompt of both completions, write them into its ids; otherwise leave such rows out, \
                 or score them with `piref precompute`"
                    .into(),
            ),
            Self::Padding { .. } => Some(
                "name the masks with `--map chosen_attention_mask=…,rejected_attention_mask=…,prompt_attention_mask=…`, or \
                 cut the padding off"
                    .into(),
            ),
            Self::PromptRepeated { .. } => {
                Some("cut the prompt off: TRL before 0.12 wrote prompt and completion together".into())
            }
            Self::Averages { .. } => Some(
                "`--logps average` multiplies by the number of tokens; `--logps sum` takes them as they are".into(),
            ),
            Self::Unclear { .. } => {
                Some("`--logps sum` or `--logps average` says which; `piref train` scores a sample again".into())
            }
            Self::TooManyRejects(error) => error.hint(),
            Self::Model { source, .. } => source.hint(),
            Self::Policy(error) => error.hint(),
            Self::Tokenize(error) => error.hint(),
            Self::Data(error) => error.hint(),
            Self::Table(error) => error.hint(),
            Self::Io(error) => error.hint(),
            Self::Value { .. } | Self::NoPairs { .. } => None,
        }
    }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A row of a foreign file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) path: &'a Path,
    pub(super) row_idx: u64,
    pub(super) line: Option<u64>,
}

impl Place<'_> {
    pub(super) fn value(&self, column: &str, expected: &str, found: &str) -> InterchangeError {
        let (column, expected, found) = (column.to_owned(), expected.to_owned(), found.to_owned());
        InterchangeError::Value { place: self.to_string(), column, expected, found }
    }
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}`, row {}", self.path.display(), self.row_idx)?;
        self.line.map_or(Ok(()), |line| write!(f, " (line {line})"))
    }
}
