//! Bars as SVG, one below the other, each under its name.

use super::axis::{Scale, number};
use super::chart::{Guide, SIZE, escaped, push, style};
use super::page::Table;

/// Height of a bar and the line above it.
const ROW: f64 = 34.0;

/// Where bars begin and end.
const BARS: (f64, f64) = (4.0, SIZE.0 - 4.0);

/// Letters of a name before it is cut: its line also holds the number.
const N_LETTERS: usize = 52;

/// One number of each of several things, from 0.
#[derive(Debug, Clone)]
pub struct BarChart {
    /// What the things are: `run`.
    pub of: String,
    /// What the numbers are.
    pub value: String,
    /// In their order.
    pub bars: Vec<Bar>,
    /// How they are coloured.
    pub tones: Tones,
    /// Values to hold the bars against.
    pub guides: Vec<Guide>,
}

/// Colours of the bars of a chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tones {
    /// Each has the colour that the curve of its place has.
    Each,
    /// All are alike: they are of one thing.
    Alike,
}

/// A number under a name.
#[derive(Debug, Clone)]
pub struct Bar {
    /// The name.
    pub name: String,
    /// The number; without one there is a name and no bar.
    pub value: Option<f64>,
}

impl BarChart {
    pub(super) fn size(&self) -> (f64, f64) {
        (SIZE.0, ROW * self.bars.len() as f64)
    }

    pub(super) fn draw(&self, svg: &mut String) {
        let guides = || self.guides.iter().map(|guide| guide.at);
        let values = || self.bars.iter().filter_map(Bar::finite).chain(guides());
        let (low, high) = (values().fold(0.0, f64::min), values().fold(0.0, f64::max));
        let x = Scale { range: (low, if high > low { high } else { low + 1.0 }), places: BARS };
        for (idx, bar) in self.bars.iter().enumerate() {
            let top = ROW * idx as f64;
            let (left, right, base) = (BARS.0, BARS.1, top + 14.0);
            let (whole, shown) = (escaped(&bar.name), escaped(&cut(&bar.name)));
            push(svg, format_args!("<text x=\"{left}\" y=\"{base}\">{shown}<title>{whole}</title></text>"));
            let Some(value) = bar.finite() else { continue };
            push(svg, format_args!("<text class=\"y\" x=\"{right}\" y=\"{base}\">{}</text>", number(value)));
            let (zero, end) = (x.at(0.0), x.at(value));
            push(
                svg,
                format_args!(
                    "<rect class=\"bar {}\" x=\"{:.1}\" y=\"{}\" width=\"{:.1}\" height=\"10\"/>",
                    style(if self.tones == Tones::Each { idx } else { 0 }),
                    zero.min(end),
                    top + 19.0,
                    (zero - end).abs().max(1.0)
                ),
            );
        }
        for Guide { at, name } in &self.guides {
            let (at, name, bottom) = (x.at(*at), escaped(name), self.size().1);
            push(svg, format_args!("<path class=\"guide\" d=\"M{at:.1} 0V{bottom}\"><title>{name}</title></path>"));
        }
    }

    pub(super) fn numbers(&self) -> Table {
        let row = |bar: &Bar| vec![bar.name.clone(), bar.value.map_or_else(String::new, number)];
        Table { columns: vec![self.of.clone(), self.value.clone()], rows: self.bars.iter().map(row).collect() }
    }
}

impl Bar {
    fn finite(&self) -> Option<f64> {
        self.value.filter(|value| value.is_finite())
    }
}

fn cut(name: &str) -> String {
    match name.char_indices().nth(N_LETTERS) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}
