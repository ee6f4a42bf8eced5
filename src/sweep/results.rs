//! What a run has come to, read from its folder.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::error::RunError;
use super::plan::Run;
use super::ranking::{EVAL, LAST, MEAN, base};
use crate::io;
use crate::table::schema::metrics;
use crate::train::METRICS;

/// Members of a step that say where it stands, and nothing about how good the policy is.
const COUNTS: &[&str] = &["step", "epoch", "num_tokens", "n_pairs", "learning_rate"];

/// Most points of a curve: as many as a figure has room for, and its table of numbers.
const POINTS: usize = 120;

/// How a run ended, as far as it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// All steps are made.
    Finished,
    /// It was asked to stop, and can go on.
    Interrupted,
    /// It could not go on.
    Failed,
    /// It has not been its turn.
    Pending,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Finished => "finished",
            Self::Interrupted => "interrupted",
            Self::Failed => "failed",
            Self::Pending => "pending",
        })
    }
}

/// A run, as the comparison has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
    /// How it ended.
    pub status: Status,
    /// Why it failed.
    pub error: Option<String>,
    /// Optimiser steps made.
    pub n_steps: u64,
    /// Wall time of these steps, in seconds.
    pub seconds: f64,
    /// Numbers by name: `eval_…`, `mean/…`, `last/…`.
    pub metrics: BTreeMap<String, f64>,
    /// The same over the run.
    pub curves: Vec<Curve>,
}

/// A metric over the steps of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// The metric, `mean/…` or `eval_…`.
    pub name: String,
    /// Step and value: of `mean/…` that over the steps before it, as many as the comparison takes of the last.
    pub points: Vec<(f64, f64)>,
}

impl Row {
    /// A run nothing is known of.
    pub(super) fn pending(run: &Run) -> Self {
        Self {
            name: run.name.clone(),
            folder: run.plan.course.out.clone(),
            status: Status::Pending,
            error: None,
            n_steps: 0,
            seconds: 0.0,
            metrics: BTreeMap::new(),
            curves: Vec::new(),
        }
    }

    /// What the metrics of the run say of it.
    ///
    /// # Errors
    /// If they cannot be read. A run that has not begun has none, and that is no error.
    pub(super) fn read(run: &Run, status: Status, last_steps: usize) -> Result<Self, RunError> {
        let mut row = Self { status, ..Self::pending(run) };
        let path = run.plan.course.out.join(METRICS);
        let all = if path.is_file() { series(&path)? } else { BTreeMap::new() };
        for (name, points) in all {
            let Some(&(step, value)) = points.last() else { continue };
            if name == "step_seconds" {
                row.seconds = points.iter().map(|(_, seconds)| seconds).sum();
            }
            if name == "step" {
                row.n_steps = step;
            } else if name.starts_with(EVAL) {
                row.metrics.insert(name.clone(), value);
                row.curves.push(Curve { name, points: thinned(&points) });
            } else {
                row.metrics.insert(format!("{LAST}{name}"), value);
                if !COUNTS.contains(&name.as_str()) {
                    let means = trailing_means(&points, last_steps);
                    let name = format!("{MEAN}{name}");
                    row.metrics.extend(means.last().map(|(_, mean)| (name.clone(), *mean)));
                    row.curves.push(Curve { name, points: thinned(&means) });
                }
            }
        }
        Ok(row)
    }

    /// A number of the run.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.get(name).copied()
    }

    /// A metric over the steps.
    pub fn curve(&self, name: &str) -> Option<&Curve> {
        self.curves.iter().find(|curve| base(&curve.name) == base(name) && is_eval(&curve.name) == is_eval(name))
    }
}

fn is_eval(name: &str) -> bool {
    name.starts_with(EVAL)
}

type Series = BTreeMap<String, Vec<(u64, f64)>>;

/// The numbers in a metrics file by name, with their steps.
fn series(path: &Path) -> Result<Series, RunError> {
    let mut found = Series::new();
    let text = io::read_text(path)?;
    let n_lines = text.lines().count();
    for (index, line) in text.lines().enumerate() {
        let wrong = |found: String| {
            let (path, expected) = (path.to_owned(), metrics::VERSION);
            Err(RunError::Metrics { path, line: index + 1, expected, found })
        };
        let row: Map<String, Value> = match serde_json::from_str(line) {
            Ok(row) => row,
            // A run that was killed may have left half a line.
            Err(_) if index + 1 == n_lines => break,
            Err(error) => return wrong(format!("no such object: {error}")),
        };
        match row.get("schema").and_then(Value::as_str) {
            Some(version) if version == metrics::VERSION || !version.starts_with("metrics.") => {}
            version => return wrong(version.map_or_else(|| "no version".into(), |version| format!("`{version}`"))),
        }
        let Some(step) = row.get("step").and_then(Value::as_u64) else { return wrong("no step".into()) };
        for (name, value) in row {
            if let Some(value) = value.as_f64() {
                found.entry(name).or_default().push((step, value));
            }
        }
    }
    Ok(found)
}

/// At each step the mean of the last `n` values.
fn trailing_means(points: &[(u64, f64)], n: usize) -> Vec<(u64, f64)> {
    let mean = |end: usize| {
        let window = &points[end.saturating_sub(n)..end];
        window.iter().map(|(_, value)| value).sum::<f64>() / window.len() as f64
    };
    points.iter().enumerate().map(|(at, (step, _))| (*step, mean(at + 1))).collect()
}

/// As many points as a page can show, the first and the last among them.
fn thinned(points: &[(u64, f64)]) -> Vec<(f64, f64)> {
    let every = points.len().div_ceil(POINTS).max(1);
    let last = points.len().saturating_sub(1);
    let kept = points.iter().enumerate().filter(|(at, _)| at.is_multiple_of(every) || *at == last);
    kept.map(|(_, (step, value))| (*step as f64, *value)).collect()
}
