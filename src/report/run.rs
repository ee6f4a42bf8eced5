//! The page about a run: what it was told, what came of it, what its table is like.

use std::path::Path;

use super::axis::number;
use super::chart::{Chart, Guide, Line, LineChart, Point};
use super::numbers::{self, Curves, Values};
use super::page::{Block, Fact, Figure, Page, Section};
use super::settings::RunSettings;
use super::{ReportError, panels};
use crate::io;
use crate::query::Session;

/// The report in a run folder.
pub const REPORT: &str = "report.html";

/// What a page about a run is made of.
#[derive(Debug, Clone, Copy)]
pub struct RunInputs<'a> {
    /// The run folder.
    pub run: &'a Path,
    /// The log-prob table it was trained from; `None` for the one in the run folder, if there is one.
    pub table: Option<&'a Path>,
}

/// The tables of a run, as its queries name them.
pub(super) struct Tables {
    pub(super) session: Session,
    /// The log-prob table.
    pub(super) pairs: Option<&'static str>,
    pub(super) has_metrics: bool,
    /// Whether there are results of held-out pairs, one by one.
    pub(super) has_evals: bool,
    /// Whether there are answers to held-out prompts.
    pub(super) has_samples: bool,
}

/// Writes the page about a run to `out`.
///
/// # Errors
/// As [`run_page`], and if the disk refuses.
pub fn write_run(inputs: &RunInputs<'_>, out: &Path) -> Result<(), ReportError> {
    let html = run_page(inputs)?.to_html()?;
    io::remove_halves(out)?;
    Ok(io::write(out, html.as_bytes())?)
}

/// The page about a run, finished or not: a run that has not begun to train has its table.
///
/// # Errors
/// If the folder is no run, or if its settings, metrics or table cannot be read.
pub fn run_page(inputs: &RunInputs<'_>) -> Result<Page, ReportError> {
    let settings = RunSettings::load(&inputs.run.join("plan.toml"))?;
    let tables = Tables::open(inputs)?;
    let mut page = Page {
        title: settings.get(&["name"]).unwrap_or_else(|| name(inputs.run)),
        subtitle: inputs.run.display().to_string(),
        facts: facts(&settings),
        sections: Vec::new(),
    };
    let mut time = Vec::new();
    if tables.has_metrics {
        let metrics = Metrics::read(&tables.session)?;
        page.facts.extend(metrics.facts());
        page.sections.push(section("training", "Training", metrics.training()));
        let mut held_out = metrics.figures(panels::HELD_OUT);
        held_out.extend(margins(&tables)?);
        page.sections.push(section("held-out", "Held-out pairs", held_out));
        page.sections.push(section("other", "Other metrics", metrics.others()));
        time = metrics.time(&tables.session)?;
    }
    page.sections.push(section("samples", "Samples", super::samples::blocks(&tables)?));
    page.sections.push(section("table", "Reference log-probs", super::table::blocks(&tables)?));
    page.sections.push(section("time", "Time", time));
    page.sections.push(section("settings", "Settings", settings.blocks()));
    Ok(page)
}

fn section(id: &'static str, heading: &str, blocks: Vec<Block>) -> Section {
    Section { id: id.into(), heading: heading.into(), blocks }
}

/// The name of a folder, also of one that is named by dots.
fn name(run: &Path) -> String {
    let absolute = std::path::absolute(run).unwrap_or_else(|_| run.to_owned());
    absolute.file_name().unwrap_or(absolute.as_os_str()).to_string_lossy().into_owned()
}

impl Tables {
    fn open(inputs: &RunInputs<'_>) -> Result<Self, ReportError> {
        let mut session = Session::new()?;
        session.register(inputs.run)?;
        let mut pairs = session.tables().iter().any(|name| name == "pairs").then_some("pairs");
        if let Some(table) = inputs.table {
            session.register_as("trained_on", table)?;
            pairs = Some("trained_on");
        }
        let names = session.tables();
        let has = |table: &str| names.iter().any(|name| name == table);
        Ok(Self { pairs, has_metrics: has("metrics"), has_evals: has("evals"), has_samples: has("samples"), session })
    }
}

fn facts(settings: &RunSettings) -> Vec<Fact> {
    let facts = [
        ("model", ["model"].as_slice()),
        ("objective", &["train", "loss", "loss_type"]),
        ("β", &["train", "loss", "beta"]),
        ("learning rate", &["train", "learning_rate"]),
        ("pairs a step", &["train", "batch_size"]),
    ];
    facts.into_iter().filter_map(|(name, path)| Some(Fact::new(name, settings.get(path)?))).collect()
}

/// The metrics of a run as curves.
struct Metrics {
    /// Their columns, in order.
    names: Vec<String>,
    steps: Curves,
    evaluations: Curves,
}

/// Columns that say where a line stands.
const PLACES: [&str; 4] = ["step", "epoch", "num_tokens", "n_pairs"];

/// Columns that say how long something took.
const TIMES: [&str; 4] = ["tokens_per_second", "step_seconds", "eval_runtime", "eval_samples_per_second"];

impl Metrics {
    fn read(session: &Session) -> Result<Self, ReportError> {
        let names = numbers::number_columns(session, "metrics")?;
        let is_curve = |name: &&str| !PLACES.contains(name) && *name != "eval_n_pairs";
        let (of_evaluations, of_steps): (Vec<&str>, Vec<&str>) =
            names.iter().map(String::as_str).filter(is_curve).partition(|name| name.starts_with("eval_"));
        let curves = |of: &str, columns: &[&str]| {
            if columns.contains(&of) { numbers::curves(session, "metrics", of, columns) } else { Ok(Curves::default()) }
        };
        let steps = curves("loss", &of_steps)?;
        let evaluations = curves("eval_loss", &of_evaluations)?;
        Ok(Self { names, steps, evaluations })
    }

    fn line(&self, column: &str) -> Option<&[Point]> {
        let line = self.steps.lines.get(column).or_else(|| self.evaluations.lines.get(column))?;
        Some(line.as_slice()).filter(|points| !points.is_empty())
    }

    /// What the run began and ended with.
    fn facts(&self) -> Vec<Fact> {
        let mut facts = Vec::new();
        if let Some(last) = self.line("loss").and_then(<[Point]>::last) {
            facts.push(Fact::new("steps", number(last.last)));
        }
        for (name, column) in [
            ("loss", "loss"),
            ("reward accuracy", "rewards/accuracies"),
            ("margin", "rewards/margins"),
            ("held-out loss", "eval_loss"),
            ("held-out accuracy", "eval_rewards/accuracies"),
        ] {
            if let Some([first, .., last]) = self.line(column) {
                facts.push(Fact::new(name, format!("{} → {}", number(first.mean), number(last.mean))));
            }
        }
        facts
    }

    fn training(&self) -> Vec<Block> {
        let mut blocks = self.figures(panels::TRAINING);
        let n_steps = self.steps.steps_per_point;
        if n_steps > 1.0 && !blocks.is_empty() {
            let text =
                format!("A point of a curve is the mean of {n_steps:.0} steps; the band around it spans their values.");
            blocks.insert(0, Block::Text { text });
        }
        blocks
    }

    fn figures(&self, panels: &[panels::Panel]) -> Vec<Block> {
        panels.iter().filter_map(|panel| self.figure(panel)).map(Block::Figure).collect()
    }

    fn figure(&self, panel: &panels::Panel) -> Option<Figure> {
        let lines = panel
            .lines
            .iter()
            .filter_map(|(name, column)| Some(Line { name: (*name).into(), points: self.line(column)?.to_vec() }));
        let lines: Vec<Line> = lines.collect();
        let guides = panel.guides.iter().map(|(at, name)| Guide { at: *at, name: (*name).into() }).collect();
        let unit = panel.unit.map(str::to_owned);
        (!lines.is_empty()).then(|| {
            Figure::new(panel.title, panel.note, &Chart::Lines(LineChart { x: "step".into(), unit, lines, guides }))
        })
    }

    /// Figures of the columns that this program has no figure for.
    fn others(&self) -> Vec<Block> {
        let shown = |name: &str| {
            let mut panels = panels::TRAINING.iter().chain(panels::HELD_OUT);
            panels.any(|panel| panel.lines.iter().any(|(_, column)| *column == name))
        };
        let is_other =
            |name: &&String| !shown(name) && !PLACES.contains(&name.as_str()) && !TIMES.contains(&name.as_str());
        let figures = self.names.iter().filter(is_other).filter_map(|name| {
            let lines = vec![Line { name: name.clone(), points: self.line(name)?.to_vec() }];
            let chart = LineChart { x: "step".into(), unit: None, lines, guides: Vec::new() };
            Some(Block::Figure(Figure::new(name.clone(), "", &Chart::Lines(chart))))
        });
        figures.collect()
    }

    fn time(&self, session: &Session) -> Result<Vec<Block>, ReportError> {
        if !(self.steps.lines.contains_key("step_seconds") && self.steps.lines.contains_key("tokens_per_second")) {
            return Ok(Vec::new());
        }
        let sql = "SELECT sum(step_seconds), median(step_seconds), sum(tokens_per_second * step_seconds) FROM metrics";
        let mut blocks = Vec::new();
        if let [seconds, median, n_tokens] = numbers::row(session, "metrics", sql)?.as_slice() {
            let facts = [
                Fact::new("in steps", duration(*seconds)),
                Fact::new("median step", duration(*median)),
                Fact::new("tokens", format!("{n_tokens:.0}")),
                Fact::new("tokens/s", format!("{:.0}", n_tokens / seconds)),
            ];
            blocks.push(Block::Facts { facts: facts.into() });
        }
        blocks.extend(self.figures(panels::TIME));
        Ok(blocks)
    }
}

/// How the margins of held-out pairs lie at the first and at the last evaluation.
fn margins(tables: &Tables) -> Result<Option<Block>, ReportError> {
    if !tables.has_evals {
        return Ok(None);
    }
    let range = numbers::row(&tables.session, "evals", "SELECT min(step), max(step) FROM evals")?;
    let &[first, last] = range.as_slice() else { return Ok(None) };
    // Of an evaluation outside of a run there is no step.
    if !first.is_finite() {
        return Ok(None);
    }
    let of = |step: f64| (format!("step {step:.0}"), format!("step = {step:.0}"));
    let mut shown = vec![of(first)];
    shown.extend((last > first).then(|| of(last)));
    let series: Vec<(&str, &str, &str)> =
        shown.iter().map(|(name, condition)| (name.as_str(), "margin", condition.as_str())).collect();
    let histogram = numbers::histogram(&tables.session, "evals", "margin", Values::Continuous, &series)?;
    Ok(histogram.map(|chart| {
        let note = "Pairs by their reward margin; below 0 the policy has moved towards the rejected completion.";
        Block::Figure(Figure::new("Margins of held-out pairs", note, &Chart::Histogram(chart)))
    }))
}

fn duration(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 1.0 => format!("{:.0} ms", seconds * 1000.0),
        seconds if seconds < 120.0 => format!("{seconds:.1} s"),
        seconds if seconds < 7200.0 => format!("{:.1} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3600.0),
    }
}
