//! Charts as SVG, in the classes of the page's style sheet; curves.

use std::fmt::Write;

use super::axis::{Scale, Ticks, number, range};
use super::bar_chart::BarChart;
use super::histogram::Histogram;
use super::page::{Sample, Table};
use crate::visible::visible;

/// Size of a drawing: small, so that its text is readable where a phone shows it at its own width.
pub(super) const SIZE: (f64, f64) = (420.0, 240.0);

/// The area between the axes: left, right, top, bottom.
pub(super) const AREA: (f64, f64, f64, f64) = (56.0, 410.0, 26.0, 206.0);

/// What can be drawn.
#[derive(Debug, Clone)]
pub enum Chart {
    /// Curves over steps.
    Lines(LineChart),
    /// How often values occur.
    Histogram(Histogram),
    /// One number of each of several things.
    Bars(BarChart),
}

/// Curves over one axis.
#[derive(Debug, Clone)]
pub struct LineChart {
    /// What the horizontal axis counts: `step`.
    pub x: String,
    /// Unit of the values, where they have one.
    pub unit: Option<String>,
    /// Each with a colour and a dash of its own, up to 32 of them.
    pub lines: Vec<Line>,
    /// Values to hold the curves against.
    pub guides: Vec<Guide>,
}

/// A curve.
#[derive(Debug, Clone)]
pub struct Line {
    /// What it shows.
    pub name: String,
    /// By rising `x`.
    pub points: Vec<Point>,
}

/// A point of a curve: the mean of what was measured from `first` to `last`, and its spread.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Where it begins.
    pub first: f64,
    /// Where it ends; the curve passes here.
    pub last: f64,
    /// The mean.
    pub mean: f64,
    /// The least value.
    pub least: f64,
    /// The greatest value.
    pub greatest: f64,
}

impl Point {
    /// What was measured once.
    pub fn at(x: f64, value: f64) -> Self {
        Self { first: x, last: x, mean: value, least: value, greatest: value }
    }
}

/// A level that means something.
#[derive(Debug, Clone)]
pub struct Guide {
    /// Where.
    pub at: f64,
    /// What it means.
    pub name: String,
}

impl Chart {
    /// The drawing; `title` is what a screen reader says of it.
    pub(super) fn svg(&self, title: &str) -> String {
        let (width, height) = match self {
            Self::Lines(_) | Self::Histogram(_) => SIZE,
            Self::Bars(chart) => chart.size(),
        };
        let mut svg = format!(
            "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">",
            escaped(&format!("{title}; the numbers are in the table below"))
        );
        match self {
            Self::Lines(chart) => chart.draw(&mut svg),
            Self::Histogram(chart) => chart.draw(&mut svg),
            Self::Bars(chart) => chart.draw(&mut svg),
        }
        svg.push_str("</svg>");
        svg
    }

    /// How what is drawn together is told apart; nothing where there is nothing to tell apart, or where it bears its names.
    pub(super) fn key(&self) -> Vec<Sample> {
        let names: Vec<&str> = match self {
            Self::Lines(chart) => chart.lines.iter().map(|line| line.name.as_str()).collect(),
            Self::Histogram(chart) => chart.bars.iter().map(|bars| bars.name.as_str()).collect(),
            Self::Bars(_) => Vec::new(),
        };
        let sample = |(idx, name): (usize, &&str)| Sample { name: (*name).to_owned(), style: style(idx) };
        if names.len() > 1 { names.iter().enumerate().map(sample).collect() } else { Vec::new() }
    }

    /// The numbers it shows.
    pub(super) fn numbers(&self) -> Table {
        match self {
            Self::Lines(chart) => chart.numbers(),
            Self::Histogram(chart) => chart.numbers(),
            Self::Bars(chart) => chart.numbers(),
        }
    }
}

/// Classes of the colour and the dash of one of the things that are drawn together: of the first solid, and no two of 32
/// alike.
pub(super) fn style(idx: usize) -> String {
    const N_COLOURS: usize = 8;
    const N_DASHES: usize = 4;
    format!("c{} d{}", idx % N_COLOURS + 1, (idx + idx / N_COLOURS) % N_DASHES)
}

impl LineChart {
    fn points(&self) -> impl Iterator<Item = &Point> {
        self.lines.iter().flat_map(|line| &line.points)
    }

    fn draw(&self, svg: &mut String) {
        let (left, right, top, bottom) = AREA;
        let ends = self.points().flat_map(|point| [point.first, point.last]);
        let x = Scale { range: range(ends), places: (left, right) };
        let spread = self.points().flat_map(|point| [point.least, point.greatest]);
        let (y_range, y_ticks) = Ticks::around(range(spread.chain(self.guides.iter().map(|guide| guide.at))), 4);
        let y = Scale { range: y_range, places: (bottom, top) };

        draw_y_axis(svg, &y, &y_ticks);
        draw_x_axis(svg, &x, &Ticks::within(x.range, 5), &self.x);
        for guide in &self.guides {
            let at = y.at(guide.at);
            let name = escaped(&guide.name);
            push(svg, format_args!("<path class=\"guide\" d=\"M{left} {at:.1}H{right}\"><title>{name}</title></path>"));
        }
        for (idx, line) in self.lines.iter().enumerate() {
            line.draw(svg, &style(idx), &x, &y);
        }
        if let Some(unit) = &self.unit {
            push(svg, format_args!("<text class=\"y\" x=\"{right}\" y=\"{}\">{}</text>", top - 10.0, escaped(unit)));
        }
        self.draw_tips(svg, &x);
    }

    /// Over every point a band from top to bottom that tells its numbers to a pointer.
    fn draw_tips(&self, svg: &mut String, x: &Scale) {
        let (left, right, top, bottom) = AREA;
        // Curves may end at different places: the longest one has a band everywhere.
        let Some(longest) = self.lines.iter().map(|line| &line.points).max_by_key(|points| points.len()) else {
            return;
        };
        svg.push_str("<g class=\"tips\">");
        for (idx, point) in longest.iter().enumerate() {
            let middle = |other: Option<&Point>, end: f64| {
                other.map_or(end, |other| f64::midpoint(x.at(other.last), x.at(point.last)))
            };
            let from = middle(idx.checked_sub(1).and_then(|idx| longest.get(idx)), left);
            let to = middle(longest.get(idx + 1), right);
            let values = self.lines.iter().filter_map(|line| {
                let is_here = |found: &&Point| (point.first..=point.last).contains(&found.last);
                let point = line.points.iter().rev().find(is_here)?;
                Some(format!("{} {}", line.name, number(point.mean)))
            });
            let tip = format!("{} {}: {}", self.x, span(point), values.collect::<Vec<_>>().join(", "));
            push(
                svg,
                format_args!(
                    "<rect x=\"{from:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{}\"><title>{}</title></rect>",
                    (to - from).max(0.0),
                    bottom - top,
                    escaped(&tip)
                ),
            );
        }
        svg.push_str("</g>");
    }

    fn numbers(&self) -> Table {
        let columns = std::iter::once(self.x.clone()).chain(self.lines.iter().map(|line| line.name.clone()));
        let mut spans: Vec<&Point> = self.points().collect();
        spans.sort_by(|a, b| a.last.total_cmp(&b.last));
        spans.dedup_by(|a, b| a.last == b.last);
        let rows = spans.into_iter().map(|at| {
            let values = self.lines.iter().map(|line| {
                let point = line.points.iter().find(|point| point.last == at.last);
                point.map_or_else(String::new, |point| number(point.mean))
            });
            std::iter::once(span(at)).chain(values).collect()
        });
        Table { columns: columns.collect(), rows: rows.collect() }
    }
}

impl Line {
    fn draw(&self, svg: &mut String, class: &str, x: &Scale, y: &Scale) {
        let path = |values: &mut dyn Iterator<Item = (&Point, f64)>| {
            let mut path = String::new();
            for (point, value) in values {
                let command = if path.is_empty() { 'M' } else { 'L' };
                push(&mut path, format_args!("{command}{:.1} {:.1}", x.at(point.last), y.at(value)));
            }
            path
        };
        if self.points.iter().any(|point| point.greatest > point.least) {
            let there = self.points.iter().map(|point| (point, point.greatest));
            let back = self.points.iter().rev().map(|point| (point, point.least));
            let outline = path(&mut there.chain(back));
            push(svg, format_args!("<path class=\"band {class}\" d=\"{outline}Z\"/>"));
        }
        let curve = path(&mut self.points.iter().map(|point| (point, point.mean)));
        push(svg, format_args!("<path class=\"line {class}\" d=\"{curve}\"/>"));
        if let [point] = self.points.as_slice() {
            let (x, y) = (x.at(point.last), y.at(point.mean));
            push(svg, format_args!("<circle class=\"dot {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"));
        }
    }
}

/// Lines across with their numbers.
pub(super) fn draw_y_axis(svg: &mut String, y: &Scale, ticks: &Ticks) {
    let (left, right, ..) = AREA;
    for tick in &ticks.numbers {
        let at = y.at(*tick);
        push(svg, format_args!("<path class=\"grid\" d=\"M{left} {at:.1}H{right}\"/>"));
        push(
            svg,
            format_args!("<text class=\"y\" x=\"{}\" y=\"{:.1}\">{}</text>", left - 6.0, at + 4.0, ticks.label(*tick)),
        );
    }
}

/// Numbers below, and what they count.
pub(super) fn draw_x_axis(svg: &mut String, x: &Scale, ticks: &Ticks, name: &str) {
    let (left, right, _, bottom) = AREA;
    push(svg, format_args!("<path class=\"axis\" d=\"M{left} {bottom}H{right}\"/>"));
    for tick in &ticks.numbers {
        let at = x.at(*tick);
        push(svg, format_args!("<path class=\"axis\" d=\"M{at:.1} {bottom}v4\"/>"));
        // The last number would stand half outside.
        let (class, at) = if at > right - 12.0 { ("y", right + 8.0) } else { ("x", at) };
        let label = ticks.label(*tick);
        push(svg, format_args!("<text class=\"{class}\" x=\"{at:.1}\" y=\"{}\">{label}</text>", bottom + 16.0));
    }
    let (middle, below) = (f64::midpoint(left, right), bottom + 30.0);
    push(svg, format_args!("<text class=\"x\" x=\"{middle}\" y=\"{below}\">{}</text>", escaped(name)));
}

/// The steps of a point: `12`, or `10–12`.
fn span(point: &Point) -> String {
    if point.first == point.last {
        number(point.last)
    } else {
        format!("{}–{}", number(point.first), number(point.last))
    }
}

/// Text as it stands in markup, in an attribute too.
pub(super) fn escaped(text: &str) -> String {
    let text = visible(text);
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Writing to a string does not fail.
pub(super) fn push(text: &mut String, more: std::fmt::Arguments<'_>) {
    _ = text.write_fmt(more);
}
