//! The runs of a sweep, side by side.

use toml::Value;

use super::error::SweepError;
use super::plan::Plan;
use super::ranking::{MEAN, Ranking};
use super::results::Row;

/// Metrics that are shown beside the one that decides, where there are any.
const SHOWN: &[&str] = &[
    "eval_loss",
    "eval_rewards/accuracies",
    "eval_rewards/margins",
    "mean/loss",
    "mean/rewards/accuracies",
    "mean/rewards/margins",
];

/// The runs of a sweep in its order, with their settings and their places.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// The settings they may differ in, dotted.
    pub settings: Vec<String>,
    /// The runs.
    pub rows: Vec<Row>,
    /// The value of each setting, run by run; `None` where it is not set.
    pub values: Vec<Vec<Option<Value>>>,
    /// Their places; none if no finished run has the metric.
    pub ranking: Option<Ranking>,
    /// Steps that means are over.
    pub last_steps: usize,
}

impl Comparison {
    pub(super) fn of(plan: &Plan, rows: Vec<Row>) -> Result<Self, SweepError> {
        let mut values = Vec::with_capacity(rows.len());
        for run in &plan.runs {
            let of_run = plan.settings.iter().map(|key| run.pipeline.value(key));
            values.push(of_run.collect::<Result<_, _>>()?);
        }
        let ranking = Ranking::of(plan.rank_by.as_ref(), &rows);
        let (settings, last_steps) = (plan.settings.clone(), plan.last_steps.get());
        Ok(Self { settings, rows, values, ranking, last_steps })
    }

    /// The place of a run, if it has one.
    pub fn rank(&self, row_idx: usize) -> Option<u64> {
        self.ranking.as_ref().and_then(|ranking| ranking.ranks.get(row_idx).copied().flatten())
    }

    /// The runs by place, those without one last.
    pub fn by_rank(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        order.sort_by_key(|&row_idx| self.rank(row_idx).unwrap_or(u64::MAX));
        order
    }

    /// Names of all metrics that a run has: of evaluations, then means, then last steps.
    pub fn metrics(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.rows.iter().flat_map(|row| row.metrics.keys().map(String::as_str)).collect();
        let place = |name: &str| {
            if name.starts_with("eval_") {
                0
            } else if name.starts_with(MEAN) {
                1
            } else {
                2
            }
        };
        names.sort_by_key(|name| (place(name), *name));
        names.dedup();
        names
    }

    /// The metrics that are shown: the one that decides, and the usual ones.
    pub fn shown(&self) -> Vec<&str> {
        let all = self.metrics();
        let deciding = self.ranking.as_ref().map(|ranking| ranking.column.as_str());
        let usual = SHOWN.iter().copied().filter(|name| Some(*name) != deciding);
        // The time is a column of its own.
        deciding.into_iter().chain(usual).filter(|name| all.contains(name)).collect()
    }
}
