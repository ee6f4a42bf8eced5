//! Rows that are no pairs, and rows that are and do not fit.

use serde::{Deserialize, Serialize};

/// What kind of row is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RejectKind {
    /// It is no pair, or no example.
    Malformed,
    /// It is one, and `max_length` leaves nothing of it to score.
    Overlong,
}

impl RejectKind {
    /// The name in the file of rejects.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Overlong => "overlong",
        }
    }
}

/// What is done with a row of which `max_length` leaves nothing to score: in stage one its prompt alone fills
/// `max_length`, in supervised training no answer lies within it.
///
/// It is a good row under a small limit, so it does not count as one that cannot be read. TRL and its peers drop such
/// rows from the data set, and most without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlong {
    /// Leave it out, count it, and list it in the rejects.
    #[default]
    Drop,
    /// Refuse the run.
    Refuse,
}
