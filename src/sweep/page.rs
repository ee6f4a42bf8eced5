//! `sweep.svg` and `sweep.html`: the comparison to look at. The page needs nothing but itself.

use minijinja::{Environment, Value, context};

use super::comparison::Comparison;
use super::error::SweepError;
use super::plan::Plan;
use super::plot::{Item, Panel, bars, curves, picture};
use super::ranking::{LAST, MEAN};
use super::results::Row;
use crate::pipeline::{short_key, value_text};

/// Metrics whose curves a page has, besides that of the one that decides.
const CURVES: &[&str] = &[
    "eval_loss",
    "eval_rewards/accuracies",
    "mean/loss",
    "mean/rewards/accuracies",
    "mean/rewards/margins",
    "mean/logps/chosen",
    "mean/logps/rejected",
];

/// The name ends in `.html`, which turns escaping on.
const TEMPLATE: &str = "page.html";

/// The picture and the page.
pub(super) fn render(comparison: &Comparison, plan: &Plan) -> Result<(String, String), SweepError> {
    let drawing = Drawing { comparison, order: comparison.by_rank() };
    let column = comparison.ranking.as_ref().map(|ranking| ranking.column.as_str());
    let (mut deciding, mut others) = (Vec::new(), Vec::new());
    if let Some(column) = column {
        deciding.push(drawing.bars(column));
        deciding.extend(drawing.curves(column));
    }
    // The mean is drawn for the last step, too.
    let drawn = column.map(|column| column.replace(LAST, MEAN));
    for name in CURVES.iter().filter(|name| drawn.as_deref() != Some(**name)) {
        others.extend(drawing.curves(name).map(|panel| picture(name, &[panel])));
    }
    let first = picture("the runs of a sweep", &deciding);
    let page = drawing.page(plan, &first, &others).map_err(|source| SweepError::Page { source })?;
    Ok((first, page))
}

struct Drawing<'a> {
    comparison: &'a Comparison,
    /// The runs by place: the first one has the first colour.
    order: Vec<usize>,
}

impl<'a> Drawing<'a> {
    fn rows(&self) -> impl Iterator<Item = (usize, usize, &'a Row)> {
        let comparison = self.comparison;
        self.order
            .iter()
            .enumerate()
            .filter_map(|(style, &row_idx)| Some((style, row_idx, comparison.rows.get(row_idx)?)))
    }

    fn bars(&self, column: &str) -> Panel {
        let value = |row: &Row| if column == "seconds" { Some(row.seconds) } else { row.metric(column) };
        let item = |(style, row_idx, row): (usize, usize, &'a Row)| Item {
            label: row.name.as_str(),
            style,
            value: value(row).filter(|value| value.is_finite() && self.comparison.rank(row_idx).is_some()),
        };
        bars(&self.title(column), &self.rows().map(item).collect::<Vec<_>>())
    }

    /// None if no run has the metric.
    fn curves(&self, column: &str) -> Option<Panel> {
        let item = |(style, _, row): (usize, usize, &'a Row)| {
            Some(Item { label: row.name.as_str(), style, value: row.curve(column)?.points.as_slice() })
        };
        let items: Vec<_> = self.rows().filter_map(item).collect();
        // Of `last/…` the mean is drawn: single steps are noise.
        let title = self.title(&column.replace(LAST, MEAN));
        (!items.is_empty()).then(|| curves(&format!("{title}, over the steps"), &items))
    }

    fn title(&self, column: &str) -> String {
        match column.strip_prefix(MEAN) {
            Some(name) => format!("{name}, mean of {} steps", self.comparison.last_steps),
            None => column.replace(LAST, "last "),
        }
    }

    fn page(&self, plan: &Plan, first: &str, others: &[String]) -> Result<String, minijinja::Error> {
        let comparison = self.comparison;
        let shown = comparison.shown();
        let rows: Vec<Value> = self
            .rows()
            .map(|(_, row_idx, row)| {
                let settings = comparison.values.get(row_idx).map(Vec::as_slice).unwrap_or_default();
                context! {
                    rank => comparison.rank(row_idx),
                    name => row.name.clone(),
                    settings => settings.iter().map(|value| value.as_ref().map(value_text)).collect::<Vec<_>>(),
                    metrics => shown.iter().map(|name| row.metric(name).map(|value| format!("{value:.4}"))).collect::<Vec<_>>(),
                    n_steps => row.n_steps,
                    seconds => format!("{:.1}", row.seconds),
                    status => row.status.to_string(),
                    error => row.error.clone(),
                }
            })
            .collect();
        let mut environment = Environment::new();
        environment.add_template(TEMPLATE, include_str!("page.html"))?;
        environment.get_template(TEMPLATE)?.render(context! {
            table => plan.table.display().to_string(),
            out => plan.out.display().to_string(),
            version => env!("CARGO_PKG_VERSION"),
            ranking => comparison.ranking.as_ref().map(super::Ranking::describe),
            last_steps => comparison.last_steps,
            settings => comparison.settings.iter().map(|key| short_key(key).to_owned()).collect::<Vec<_>>(),
            metrics => shown.iter().map(ToString::to_string).collect::<Vec<_>>(),
            rows => rows,
            first => Value::from_safe_string(first.to_owned()),
            others => others.iter().map(|svg| Value::from_safe_string(svg.clone())).collect::<Vec<_>>(),
        })
    }
}
