//! By which metric runs are ranked, and which end of it is the better one.

use std::str::FromStr;

use super::results::{Row, Status};
use crate::error::nearest;
use crate::table::schema::metrics;

/// What the means over the last steps are called.
pub(super) const MEAN: &str = "mean/";

/// What the values of the last step are called.
pub(super) const LAST: &str = "last/";

/// What the metrics of an evaluation are called, as in transformers.
pub(super) const EVAL: &str = "eval_";

/// The time of a run, which is a column and no metric.
const SECONDS: &str = "seconds";

/// By what runs are ranked that nobody has said anything about. The loss is no such thing: a run with another β, or
/// another objective, has another scale of it.
const DEFAULT: &str = "rewards/accuracies";

/// Which of two values is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Best {
    /// The lower one.
    Lowest,
    /// The higher one.
    Highest,
}

/// A metric to rank by, and its better end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RankBy {
    metric: String,
    best: Best,
}

/// Why runs cannot be ranked so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RankByError {
    /// No such metric.
    #[error("unknown metric `{name}`{}", nearest.as_ref().map(|name| format!(": did you mean `{name}`?")).unwrap_or_default())]
    Unknown {
        /// As given.
        name: String,
        /// One of nearly that name.
        nearest: Option<String>,
    },
    /// A metric of which neither end is better by itself.
    #[error("expected `{name}:min` or `{name}:max`: neither end of it is better by itself")]
    Direction {
        /// The metric.
        name: String,
    },
}

impl FromStr for RankBy {
    type Err = RankByError;

    fn from_str(text: &str) -> Result<Self, RankByError> {
        let (metric, best) = match text.rsplit_once(':') {
            Some((metric, "min")) => (metric, Some(Best::Lowest)),
            Some((metric, "max")) => (metric, Some(Best::Highest)),
            _ => (text, None),
        };
        let base = base(metric);
        let mut known = metrics::COLUMNS.iter().filter(|column| column.unit.is_some()).map(|column| column.name);
        // What an evaluation measures is known when there is one.
        if metric != SECONDS && !metric.starts_with(EVAL) && !known.clone().any(|name| name == base) {
            let nearest = nearest(base, known.by_ref()).map(str::to_owned);
            return Err(RankByError::Unknown { name: metric.to_owned(), nearest });
        }
        let best = best.or_else(|| best_of(base)).ok_or_else(|| RankByError::Direction { name: metric.to_owned() })?;
        Ok(Self { metric: metric.to_owned(), best })
    }
}

impl RankBy {
    /// The metric, as it was given.
    pub fn metric(&self) -> &str {
        &self.metric
    }
}

/// The places of runs, and what decided them.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    /// The column of the comparison.
    pub column: String,
    /// Its better end.
    pub best: Best,
    /// The place of each run from 1, in the order of the sweep; equal runs share one. None of a run that is not
    /// finished.
    pub ranks: Vec<Option<u64>>,
}

impl Ranking {
    /// Ranks runs; none if no finished one has the metric.
    pub(super) fn of(rank_by: Option<&RankBy>, rows: &[Row]) -> Option<Self> {
        let (metric, best) = rank_by.map_or((DEFAULT, Best::Highest), |by| (by.metric.as_str(), by.best));
        let evaluated = format!("{EVAL}{metric}");
        // A held-out metric says more, where nobody has asked for another.
        let held_out = rank_by.is_none().then_some(evaluated);
        let candidates = [metric.to_owned(), format!("{MEAN}{metric}"), format!("{LAST}{metric}")];
        let column =
            held_out.into_iter().chain(candidates).find(|name| rows.iter().any(|row| value(row, name).is_some()))?;
        let values: Vec<Option<f64>> = rows.iter().map(|row| value(row, &column)).collect();
        let is_better = |one: f64, other: f64| match best {
            Best::Lowest => one < other,
            Best::Highest => one > other,
        };
        let rank = |value: f64| 1 + values.iter().flatten().filter(|other| is_better(**other, value)).count() as u64;
        let ranks = values.iter().map(|value| value.map(rank)).collect();
        Some(Self { column, best, ranks })
    }

    /// What decided, in words.
    pub fn describe(&self) -> String {
        let best = match self.best {
            Best::Lowest => "lowest",
            Best::Highest => "highest",
        };
        format!("{}, {best} first", self.column)
    }
}

/// The number of a finished run that may decide its place.
fn value(row: &Row, column: &str) -> Option<f64> {
    if row.status != Status::Finished {
        return None;
    }
    let value = if column == SECONDS { Some(row.seconds) } else { row.metric(column) };
    value.filter(|value| value.is_finite())
}

/// The name of what is measured.
pub(super) fn base(column: &str) -> &str {
    [MEAN, LAST, EVAL].iter().find_map(|prefix| column.strip_prefix(prefix)).unwrap_or(column)
}

/// The better end of what is measured, where it has one.
fn best_of(base: &str) -> Option<Best> {
    let has = |words: &[&str]| words.iter().any(|word| base.contains(word));
    if has(&["loss", "rewards/rejected", "displacement", SECONDS, "grad_norm"]) {
        Some(Best::Lowest)
    } else if has(&["accurac", "margin", "rewards/chosen", "logps/chosen", "per_second"]) {
        Some(Best::Highest)
    } else {
        None
    }
}
