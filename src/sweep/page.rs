//! `sweep.html`: the comparison to look at.

use super::SWEEP;
use super::comparison::Comparison;
use super::plan::Plan;
use super::ranking::{LAST, MEAN, Ranking};
use super::results::{Row, Status};
use crate::pipeline::{short_key, value_text};
use crate::report::{Bar, BarChart, Block, Chart, Fact, Figure, Line, LineChart, Page, Point, Section, Table, Tones};

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

/// The page about a sweep, as far as it is.
pub(super) fn page(comparison: &Comparison, plan: &Plan) -> Page {
    let ranked = Ranked { comparison, order: comparison.by_rank() };
    let column = comparison.ranking.as_ref().map(|ranking| ranking.column.as_str());
    let mut ranking = vec![ranked.note(plan), ranked.table()];
    if let Some(column) = column {
        ranking.push(ranked.bars(column));
        ranking.extend(ranked.curves(column));
    }
    // The mean is drawn for the last step, too.
    let drawn = column.map(|column| column.replace(LAST, MEAN));
    let others = CURVES.iter().filter(|name| drawn.as_deref() != Some(**name));
    let others = others.filter_map(|name| ranked.curves(name)).collect();
    Page {
        title: format!("{} runs on one table", comparison.rows.len()),
        subtitle: plan.out.display().to_string(),
        facts: facts(comparison, plan),
        sections: vec![
            Section { id: "ranking".into(), heading: "Ranking".into(), blocks: ranking },
            Section { id: "steps".into(), heading: "Over the steps".into(), blocks: others },
        ],
    }
}

fn facts(comparison: &Comparison, plan: &Plan) -> Vec<Fact> {
    let n_finished = comparison.rows.iter().filter(|row| row.status == Status::Finished).count();
    let ranked_by = comparison.ranking.as_ref().map_or_else(|| "no run is finished".into(), Ranking::describe);
    vec![
        Fact::new("log-prob table", plan.table.display().to_string()),
        Fact::new("runs", comparison.rows.len().to_string()),
        Fact::new("finished", n_finished.to_string()),
        Fact::new("ranked by", ranked_by),
    ]
}

/// A comparison by rank.
struct Ranked<'a> {
    comparison: &'a Comparison,
    /// The runs by place: the first one has the first colour.
    order: Vec<usize>,
}

impl<'a> Ranked<'a> {
    fn rows(&self) -> impl Iterator<Item = (usize, &'a Row)> {
        let comparison = self.comparison;
        self.order.iter().filter_map(|&row_idx| Some((row_idx, comparison.rows.get(row_idx)?)))
    }

    fn note(&self, plan: &Plan) -> Block {
        let text = format!(
            "The reference was scored once, for all runs. Numbers under {MEAN} are over the last {} steps of a run. As a \
             table: piref sql {} -c 'SELECT * FROM sweep ORDER BY rank'",
            self.comparison.last_steps,
            plan.out.join(SWEEP).display()
        );
        Block::Text { text }
    }

    /// Every run with its settings and numbers.
    fn table(&self) -> Block {
        let shown = self.comparison.shown();
        let settings = self.comparison.settings.iter().map(|key| short_key(key).to_owned());
        let names = ["steps", "seconds", "status", "run"].map(str::to_owned);
        let columns = std::iter::once("rank".to_owned()).chain(settings);
        let columns = columns.chain(shown.iter().map(ToString::to_string)).chain(names).collect();
        let rows = self.rows().map(|(row_idx, row)| {
            let rank = self.comparison.rank(row_idx).map(|rank| rank.to_string());
            let values = self.comparison.values.get(row_idx).map(Vec::as_slice).unwrap_or_default();
            let settings = values.iter().map(|value| value.as_ref().map(value_text));
            let metrics = shown.iter().map(|name| row.metric(name).map(|value| format!("{value:.4}")));
            let status = match &row.error {
                Some(error) => format!("{}: {error}", row.status),
                None => row.status.to_string(),
            };
            let rest = [row.n_steps.to_string(), format!("{:.1}", row.seconds), status, row.name.clone()];
            let cells = std::iter::once(rank).chain(settings).chain(metrics).map(Option::unwrap_or_default);
            cells.chain(rest).collect()
        });
        Block::Table { title: "Runs".into(), table: Table { columns, rows: rows.collect() } }
    }

    /// The metric that decides, of the runs that have a place.
    fn bars(&self, column: &str) -> Block {
        let value = |row: &Row| if column == "seconds" { Some(row.seconds) } else { row.metric(column) };
        let bar = |(row_idx, row): (usize, &Row)| Bar {
            name: row.name.clone(),
            value: value(row).filter(|_| self.comparison.rank(row_idx).is_some()),
        };
        let bars = self.rows().map(bar).collect();
        let (tones, guides) = (Tones::Each, Vec::new());
        let chart = BarChart { of: "run".into(), value: column.to_owned(), bars, tones, guides };
        Block::Figure(Figure::new(self.title(column), "", &Chart::Bars(chart)))
    }

    /// A metric over the steps, a curve for each run; none if no run has it.
    fn curves(&self, column: &str) -> Option<Block> {
        let line = |(_, row): (usize, &Row)| Line {
            name: row.name.clone(),
            points: row.curve(column).iter().flat_map(|curve| &curve.points).map(|(x, y)| Point::at(*x, *y)).collect(),
        };
        // A run without it keeps its place, so that each has one colour on the whole page.
        let lines: Vec<Line> = self.rows().map(line).collect();
        // Of `last/…` the mean is drawn: single steps are noise.
        let title = format!("{}, over the steps", self.title(&column.replace(LAST, MEAN)));
        let is_drawn = lines.iter().any(|line| !line.points.is_empty());
        let chart = LineChart { x: "step".into(), unit: None, lines, guides: Vec::new() };
        is_drawn.then(|| Block::Figure(Figure::new(title, "", &Chart::Lines(chart))))
    }

    fn title(&self, column: &str) -> String {
        match column.strip_prefix(MEAN) {
            Some(name) => format!("{name}, mean of {} steps", self.comparison.last_steps),
            None => column.replace(LAST, "last "),
        }
    }
}
