//! Why an audit cannot be made, or not as asked.

use std::path::PathBuf;

use crate::data::DataError;
use crate::error::Hint;
use crate::io::IoError;
use crate::query::QueryError;
use crate::table::TableError;

/// What can go wrong between a table and its findings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// A check that failed.
    #[error("check `{id}` failed")]
    Check {
        /// The check.
        id: String,
        /// Why.
        #[source]
        source: Box<AuditError>,
    },
    /// The header of a check that is none.
    #[error("`{}` is no check", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, with line and key.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// Placeholders and thresholds of a check that do not fit.
    #[error("check `{id}`: {problem}")]
    Placeholder {
        /// The check.
        id: String,
        /// What does not fit.
        problem: String,
    },
    /// A folder of checks without one.
    #[error("no check in `{}`: expected files that end in `.sql`", path.display())]
    NoChecks {
        /// The folder.
        path: PathBuf,
    },
    /// A check to exclude pairs by that was not run, or could not look.
    #[error("cannot exclude by check `{id}`: {reason}")]
    Exclude {
        /// The check.
        id: String,
        /// Why not.
        reason: String,
    },
    /// Two checks of one name.
    #[error("there are two checks `{id}`: the second is `{}`", path.display())]
    Twice {
        /// The name.
        id: String,
        /// The file of the second.
        path: PathBuf,
    },
    /// A name no check has.
    #[error("there is no check `{found}`")]
    UnknownCheck {
        /// As given.
        found: String,
        /// The nearest known.
        nearest: Option<String>,
    },
    /// A number no check has.
    #[error("check `{id}` has no threshold `{found}`: expected {known}")]
    UnknownThreshold {
        /// The check.
        id: String,
        /// As given.
        found: String,
        /// Those it has.
        known: String,
    },
    /// A number that a check asks for and does not have.
    #[error("the check has no threshold `{name}`")]
    NoThreshold {
        /// The name.
        name: String,
    },
    /// A column a check answers with, of a type that has no meaning there.
    #[error("expected column `{column}` as {expected}, found {found}")]
    Answer {
        /// The column.
        column: &'static str,
        /// What it can be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A column that is named and not there.
    #[error("the table has no column `{column}`")]
    NoColumn {
        /// As given.
        column: String,
        /// The nearest known.
        nearest: Option<String>,
    },
    /// A name that several values have.
    #[error("`{column}` is several values: `{found}`")]
    Ambiguous {
        /// As given.
        column: String,
        /// Their paths.
        found: String,
    },
    /// Columns of scores that are not two.
    #[error("expected the columns with the scores of chosen and of rejected, two names, found `{found}`")]
    ScoreColumns {
        /// As given.
        found: String,
    },
    /// A truth that is the same of all pairs.
    #[error("{origin}: expected true and false, each at least once, found {n_true} true of {n_pairs} pairs")]
    Truth {
        /// Where it is from.
        origin: String,
        /// Pairs of which it is true.
        n_true: u64,
        /// Pairs of which it says anything.
        n_pairs: u64,
    },
    /// A file of trusted pairs without a column.
    #[error("trusted pairs `{}` have no column `{column}`: found {found}", path.display())]
    TrustedColumn {
        /// The file.
        path: PathBuf,
        /// The column.
        column: &'static str,
        /// The columns it has.
        found: String,
    },
    /// A trusted pair of which is said what is no truth.
    #[error("trusted pairs `{}`, pair `{pair_id}`: expected `flipped` true or false, found `{found}`", path.display())]
    TrustedValue {
        /// The file.
        path: PathBuf,
        /// The pair.
        pair_id: String,
        /// What it says.
        found: String,
    },
    /// A trusted pair of which both is said.
    #[error("trusted pairs `{}`, pair `{pair_id}`: expected one verdict, found `flipped` both true and false", path.display())]
    TrustedTwice {
        /// The file.
        path: PathBuf,
        /// The pair.
        pair_id: String,
    },
    /// Trusted pairs of another data set.
    #[error("trusted pairs `{}`: expected pairs of the table, found none among {n_pairs}", path.display())]
    TrustedAbsent {
        /// The file.
        path: PathBuf,
        /// Pairs of the file.
        n_pairs: u64,
    },
    /// A selection of which no pair is left.
    #[error("excluding {excluded} leaves none of {n_pairs} pairs")]
    NoneLeft {
        /// The checks.
        excluded: String,
        /// Pairs of the table.
        n_pairs: u64,
    },
    /// A number out of its range.
    #[error("threshold `{name}`: expected {expected}, found {found}")]
    Threshold {
        /// The name.
        name: String,
        /// What it can be.
        expected: &'static str,
        /// What it is.
        found: f64,
    },
    /// A state that the code excludes.
    #[error("internal error: {what}")]
    Internal {
        /// What went wrong.
        what: String,
    },
    /// A file of evaluation prompts.
    #[error(transparent)]
    Data(#[from] DataError),
    /// SQL.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A file.
    #[error(transparent)]
    Io(#[from] IoError),
}

impl AuditError {
    /// Whether it is about what the user wrote, not about the data.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Header { .. }
                | Self::Placeholder { .. }
                | Self::NoChecks { .. }
                | Self::Twice { .. }
                | Self::UnknownCheck { .. }
                | Self::UnknownThreshold { .. }
                | Self::NoColumn { .. }
                | Self::Ambiguous { .. }
                | Self::ScoreColumns { .. }
                | Self::TrustedColumn { .. }
                | Self::Exclude { .. }
                | Self::Threshold { .. }
        )
    }
}

impl Hint for AuditError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Header { .. } => Some(
                "a check starts with lines `-- key = \"value\"`: `piref audit --explain B1` prints one to start from"
                    .into(),
            ),
            Self::UnknownCheck { nearest: None, .. } => Some("`piref audit --list` names them all".into()),
            Self::UnknownCheck { nearest: Some(nearest), .. } | Self::NoColumn { nearest: Some(nearest), .. } => {
                Some(format!("did you mean `{nearest}`?"))
            }
            Self::TrustedColumn { column: "flipped", .. } => {
                Some("add the column `flipped`, or name the column of the data that has the truth: `--truth`".into())
            }
            Self::TrustedColumn { .. } | Self::TrustedAbsent { .. } => Some(
                "ids of pairs are those of the table: `piref sql TABLE -c 'SELECT pair_id, prompt, chosen, rejected FROM pairs'`"
                    .into(),
            ),
            Self::Ambiguous { .. } => Some("name one of them in full".into()),
            Self::NoneLeft { .. } => Some("exclude fewer checks, or raise their thresholds".into()),
            Self::Internal { .. } => Some("this is a bug in piref: please report it with the command".into()),
            Self::Data(error) => error.hint(),
            Self::Check { source, .. } => source.hint(),
            Self::Query(error) => error.hint(),
            Self::Table(error) => error.hint(),
            Self::Io(error) => error.hint(),
            _ => None,
        }
    }
}
