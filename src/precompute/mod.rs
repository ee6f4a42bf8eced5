//! Stage one (stand-in: the types only).

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::data::ColumnMap;
use crate::model::ScoringDtype;
use crate::tokenize::Rules;

/// What to do with what an earlier run left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Go on with it.
    Resume,
    /// Delete it.
    Fresh,
}

/// Stage one.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "stand-in")]
pub struct Plan {
    pub model: String,
    pub data: Vec<PathBuf>,
    pub column_map: ColumnMap,
    pub max_reject_rate: f64,
    pub limit: Option<NonZeroU64>,
    pub out: PathBuf,
    pub rules: Rules,
    pub dtype: ScoringDtype,
    pub max_tokens: usize,
    pub rows_per_part: usize,
    pub start: Start,
}

/// What stage one says while it works.
#[derive(Debug)]
#[expect(missing_docs, reason = "stand-in")]
pub enum Event<'a> {
    Detected { path: &'a Path, format: &'a str, columns: &'a [String] },
    Note(String),
    Tokenised { n_pairs: u64, n_rejected: u64, n_tokens: u64 },
    Resumed { n_pairs: u64 },
    ModelLoaded { architecture: &'a str, n_parameters: u64 },
    Scored { n_pairs: u64, n_total: u64, n_tokens: u64, n_total_tokens: u64, elapsed: Duration },
}

/// What stage one did.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "stand-in")]
pub struct Summary {
    pub n_pairs: u64,
    pub n_rejected: u64,
    pub n_scored: u64,
    pub n_resumed: u64,
    pub n_tokens: u64,
    pub seconds: f64,
    pub out: PathBuf,
    pub rejects: Option<PathBuf>,
    pub mean_chosen_logps: f64,
    pub mean_rejected_logps: f64,
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "stand-in")]
pub enum PrecomputeError {
    #[error("stage one is a stand-in")]
    StandIn,
    #[error(transparent)]
    Model(#[from] crate::model_source::ModelSourceError),
}

impl crate::error::Hint for PrecomputeError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::StandIn => None,
            Self::Model(error) => error.hint(),
        }
    }
}

/// Runs stage one.
pub fn run(plan: &Plan, observe: &mut dyn FnMut(Event<'_>)) -> Result<Summary, PrecomputeError> {
    crate::model_source::ModelSource::resolve(&plan.model)?;
    observe(Event::Note("nothing is scored".into()));
    Err(PrecomputeError::StandIn)
}
