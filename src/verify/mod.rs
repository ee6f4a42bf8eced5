//! Proof that a table is what it says it is.
//!
//! Files against the manifest (sizes, digests, footers), rows against the contract and against each other, keys against
//! the rows that were read of the data files, and, where the model is given, log-probs against a second scoring. The tables
//! of further references are held against their own manifests in the same way.
//!
//! Invariant: every finding is told, not the first only, and what cannot be read stops nothing but itself. Memory holds
//! one batch of rows, a bit a row of the data, and the sample: it does not grow with the table.
//!
//! A key is (`source`, `row_idx`). A table knows how many rows were read of each data file, rejected ones included, so
//! its rows and its rejects together must be exactly those: no data file is needed to see that one is missing.

mod contents;
mod coverage;
mod error;
mod files;
mod model;
mod references;
mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;

use self::contents::Contents;
use self::coverage::Coverage;
use self::rows::Sample;
use crate::error::{Hint, chain};
use crate::table::{Finding, Level, TableError};

pub use error::VerifyError;
pub use model::{ModelCheck, Rescored};

/// What to verify, and against what.
#[derive(Debug, Clone)]
pub struct Plan {
    /// A table's folder, or one part.
    pub table: PathBuf,
    /// The model to score again with; `None` for no scoring.
    pub model: Option<ModelCheck>,
    /// Data files to hold against the digests the table has of them.
    pub data: Vec<PathBuf>,
}

/// What is said on the way.
#[derive(Debug)]
pub enum Event<'a> {
    /// Something is wrong.
    Finding(&'a Finding),
    /// Something a user should know.
    Note(String),
    /// Another part has been read.
    Read {
        /// Rows so far.
        n_pairs: u64,
        /// Rows the table says it has.
        n_total: u64,
    },
    /// Another forward pass is done.
    Scored {
        /// Pairs of the sample so far.
        n_pairs: usize,
        /// Pairs of the sample.
        n_total: usize,
    },
}

/// What a verification ends with.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The table.
    pub table: PathBuf,
    /// Parts listed or found.
    pub n_parts: usize,
    /// Bytes read of parts, signals and rejects file, those of further references with them.
    pub n_bytes: u64,
    /// Rows read of the parts.
    pub n_pairs: u64,
    /// Rows read of the rejects file.
    pub n_rejected: u64,
    /// Rows read of the parts of each further reference, by its name.
    pub references: BTreeMap<String, u64>,
    /// Findings that say something is wrong.
    pub n_errors: u64,
    /// Findings that say something is probably not what was meant.
    pub n_warnings: u64,
    /// Comparison with a second scoring, where one was asked for.
    pub rescored: Option<Rescored>,
    /// What can be done about the findings.
    pub hints: BTreeSet<String>,
    /// Wall time, in seconds.
    pub seconds: f64,
}

impl Summary {
    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.n_errors == 0 && self.n_warnings == 0
    }
}

/// Verifies a table; findings come as [`Event::Finding`], each once.
///
/// # Errors
/// If the path is no table at all, or if the model to score with cannot be used. What is wrong with the table is a
/// finding, not an error.
pub fn run(plan: &Plan, observe: &mut dyn FnMut(Event<'_>)) -> Result<Summary, VerifyError> {
    let started = Instant::now();
    let summary = Summary {
        table: plan.table.clone(),
        n_parts: 0,
        n_bytes: 0,
        n_pairs: 0,
        n_rejected: 0,
        references: BTreeMap::new(),
        n_errors: 0,
        n_warnings: 0,
        rescored: None,
        hints: BTreeSet::new(),
        seconds: 0.0,
    };
    let mut report = Report { observe, summary };
    // Before hours of reading: a model that is not there is known at once.
    let model = plan.model.as_ref().map(model::Found::resolve).transpose()?;
    let contents = Contents::find(&plan.table, &mut report)?;
    contents.check_names(&mut report)?;
    report.summary.n_parts = contents.parts.len();

    let mut sample = match &model {
        Some(model) => Sample::draw(model.check.seed, model.check.sample, contents.n_rows()),
        None => Sample::default(),
    };
    let mut coverage = Coverage::default();
    let provenance = files::check_parts(&contents, &mut coverage, &mut sample, &mut report);
    files::check_rejects(&contents, &mut coverage, &mut report);
    files::check_signals(&contents, &mut report);
    if let Some(provenance) = &provenance {
        if contents.is_whole {
            coverage.check(&provenance.sources, &mut report);
        }
        files::check_data(&plan.data, &provenance.sources, &mut report);
        if let Some(model) = &model {
            report.summary.rescored = model.check(provenance, &sample, &mut report)?;
        }
    }
    if contents.is_whole {
        references::check(&plan.table, &mut report)?;
    }
    let mut summary = report.summary;
    summary.seconds = started.elapsed().as_secs_f64();
    Ok(summary)
}

/// Where findings go: told and counted.
struct Report<'a> {
    observe: &'a mut dyn FnMut(Event<'_>),
    summary: Summary,
}

impl Report<'_> {
    fn push(&mut self, finding: &Finding) {
        match finding.level {
            Level::Error => self.summary.n_errors += 1,
            Level::Warn => self.summary.n_warnings += 1,
            Level::Info => {}
        }
        (self.observe)(Event::Finding(finding));
    }

    /// A finding without a number about something else than a pair.
    fn error(&mut self, check: &'static str, evidence: String) {
        self.push(&Finding { pair_id: None, check: check.into(), level: Level::Error, value: None, evidence });
    }

    /// What the table's own code says about a file or a row.
    fn table_error(&mut self, error: &TableError) {
        let (check, pair_id, value) = kind(error);
        let is_for_others = matches!(error, TableError::Logps { .. } | TableError::Sum { .. })
            || matches!(error, TableError::OtherProvenance { .. });
        // Those of rows name `verify` itself, and that of provenance is for who writes the table.
        self.summary.hints.extend(error.hint().filter(|_| !is_for_others));
        self.push(&Finding { pair_id, check: check.into(), level: Level::Error, value, evidence: chain(error) });
    }

    fn note(&mut self, text: String) {
        (self.observe)(Event::Note(text));
    }
}

/// The check that an error belongs to, its pair and its number.
fn kind(error: &TableError) -> (&'static str, Option<String>, Option<f64>) {
    let finite = |value: f64| Some(value).filter(|value| value.is_finite());
    match error {
        TableError::Logps { pair_id, found, .. } => ("logps", Some(pair_id.clone()), finite(*found)),
        TableError::Sum { pair_id, found, .. } => ("sums", Some(pair_id.clone()), finite(*found)),
        TableError::TokenCount { pair_id, found, .. } => ("counts", Some(pair_id.clone()), Some(*found as f64)),
        TableError::EmptyCompletion { pair_id, found, .. } => ("counts", Some(pair_id.clone()), Some((*found).into())),
        TableError::Null { .. } => ("nulls", None, None),
        TableError::Signals { pair_id, .. } => ("signals", Some(pair_id.clone()), None),
        TableError::Schema { .. } | TableError::SchemaVersion { .. } => ("schema", None, None),
        TableError::Footer { .. } | TableError::OtherProvenance { .. } => ("provenance", None, None),
        TableError::NotAsListed { what: "digest", .. } => ("digest", None, None),
        TableError::NotAsListed { .. } | TableError::PartMissing { .. } | TableError::Io(_) => ("files", None, None),
        TableError::Manifest { .. }
        | TableError::ManifestVersion { .. }
        | TableError::ManifestCount { .. }
        | TableError::ManifestFile { .. }
        | TableError::ReferenceName { .. }
        | TableError::NotATable { .. }
        | TableError::Incomplete { .. } => ("manifest", None, None),
        _ => ("damage", None, None),
    }
}

/// A path as evidence quotes it.
fn quoted(path: &Path) -> String {
    format!("`{}`", path.display())
}
