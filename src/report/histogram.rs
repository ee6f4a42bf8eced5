//! Histograms as SVG: one filled, a second one over it as an outline.

use super::axis::{Scale, Ticks, number, range};
use super::chart::{AREA, draw_x_axis, draw_y_axis, escaped, push, style};
use super::page::Table;

/// How often values occur, in bins of one width.
#[derive(Debug, Clone)]
pub struct Histogram {
    /// What the values are.
    pub x: String,
    /// Where the first bin begins.
    pub from: f64,
    /// Width of a bin, above 0.
    pub width: f64,
    /// The least value, if it is less than `from`: the first bin has what is between, too.
    pub least: Option<f64>,
    /// The greatest value, if it is beyond the last bin, which has what is between, too.
    pub greatest: Option<f64>,
    /// At most two, of the same bins.
    pub bars: Vec<Bars>,
}

/// Counts of the bins, in their order.
#[derive(Debug, Clone)]
pub struct Bars {
    /// What is counted.
    pub name: String,
    /// Values in each bin; its end belongs to the next one, of the last bin to itself.
    pub counts: Vec<u64>,
}

impl Histogram {
    fn n_bins(&self) -> usize {
        self.bars.iter().map(|bars| bars.counts.len()).max().unwrap_or(0)
    }

    fn edge(&self, bin: usize) -> f64 {
        self.from + self.width * bin as f64
    }

    pub(super) fn draw(&self, svg: &mut String) {
        let (left, right, top, bottom) = AREA;
        let x = Scale { range: (self.from, self.edge(self.n_bins().max(1))), places: (left, right) };
        let counts = self.bars.iter().flat_map(|bars| &bars.counts).map(|count| *count as f64);
        let (y_range, y_ticks) = Ticks::around(range(counts.chain([0.0])), 4);
        let y = Scale { range: y_range, places: (bottom, top) };

        draw_y_axis(svg, &y, &y_ticks);
        draw_x_axis(svg, &x, &Ticks::within(x.range, 5), &self.label());
        for (idx, bars) in self.bars.iter().enumerate() {
            let mut path = String::new();
            push(&mut path, format_args!("M{left} {bottom}"));
            for (bin, count) in bars.counts.iter().enumerate() {
                push(&mut path, format_args!("V{:.1}H{:.1}", y.at(*count as f64), x.at(self.edge(bin + 1))));
            }
            push(svg, format_args!("<path class=\"bars {}\" d=\"{path}V{bottom}\"/>", style(idx)));
        }
        svg.push_str("<g class=\"tips\">");
        for bin in 0..self.n_bins() {
            let (from, to) = (x.at(self.edge(bin)), x.at(self.edge(bin + 1)));
            let values = self.bars.iter().map(|bars| format!("{} {}", bars.name, count(bars, bin)));
            let tip = format!("{}: {}", self.span(bin), values.collect::<Vec<_>>().join(", "));
            push(
                svg,
                format_args!(
                    "<rect x=\"{from:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{}\"><title>{}</title></rect>",
                    to - from,
                    bottom - top,
                    escaped(&tip)
                ),
            );
        }
        svg.push_str("</g>");
    }

    /// What the values are, and how far the outer bins go.
    fn label(&self) -> String {
        let first = self.least.map(|least| format!("the first bin from {}", number(least)));
        let last = self.greatest.map(|greatest| format!("the last bin to {}", number(greatest)));
        let outer: Vec<String> = first.into_iter().chain(last).collect();
        if outer.is_empty() { self.x.clone() } else { format!("{} ({})", self.x, outer.join(", ")) }
    }

    fn span(&self, bin: usize) -> String {
        let from = self.least.filter(|_| bin == 0).unwrap_or_else(|| self.edge(bin));
        let to = self.greatest.filter(|_| bin + 1 == self.n_bins()).unwrap_or_else(|| self.edge(bin + 1));
        format!("{} to {}", number(from), number(to))
    }

    pub(super) fn numbers(&self) -> Table {
        let columns = std::iter::once(self.x.clone()).chain(self.bars.iter().map(|bars| bars.name.clone()));
        let rows = (0..self.n_bins()).map(|bin| {
            let counts = self.bars.iter().map(|bars| count(bars, bin).to_string());
            std::iter::once(self.span(bin)).chain(counts).collect()
        });
        Table { columns: columns.collect(), rows: rows.collect() }
    }
}

fn count(bars: &Bars, bin: usize) -> u64 {
    bars.counts.get(bin).copied().unwrap_or(0)
}
