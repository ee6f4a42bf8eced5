//! Bars and curves as SVG, readable on a light and on a dark ground.

use std::fmt::Write;

/// Width of a picture, in its own units.
const WIDTH: f64 = 880.0;

/// Where the bars of a panel begin and end; labels stand left of them, values right.
const BARS: (f64, f64) = (330.0, WIDTH - 90.0);

/// Where the curves of a panel begin and end.
const CURVES: (f64, f64) = (70.0, WIDTH - 20.0);

/// Height of a line of text with a bar or a key, and of the ground of curves.
const ROW: f64 = 20.0;
const GROUND: f64 = 240.0;

/// Characters of a label before it is cut.
const LABEL: usize = 46;

/// Told apart on both grounds; after the last the first comes again, with another dash.
const COLOURS: [&str; 10] =
    ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"];
const DASHES: [&str; 4] = ["none", "6 3", "2 2", "8 3 2 3"];

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#222}.t{font-weight:600;font-size:14px}\
    .g{stroke:#8884;stroke-width:1}.b{fill:#fff}\
    @media(prefers-color-scheme:dark){text{fill:#ddd}.b{fill:#16181b}}";

/// What is drawn of one run, under its name.
pub(super) struct Item<'a, T> {
    pub(super) label: &'a str,
    /// The same number has the same colour and dash in every panel.
    pub(super) style: usize,
    pub(super) value: T,
}

/// A part of a picture, below the one before it.
pub(super) struct Panel {
    body: String,
    height: f64,
}

/// A picture of these parts.
pub(super) fn picture(title: &str, panels: &[Panel]) -> String {
    let height: f64 = panels.iter().map(|panel| panel.height).sum();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">\
         <style>{STYLE}</style><rect class=\"b\" width=\"100%\" height=\"100%\"/>",
        escaped(title)
    );
    let mut top = 0.0;
    for panel in panels {
        put(&mut svg, format_args!("<g transform=\"translate(0 {top})\">{}</g>", panel.body));
        top += panel.height;
    }
    svg + "</svg>\n"
}

/// A bar for each value, from 0; a line without a bar where there is none.
pub(super) fn bars(title: &str, items: &[Item<'_, Option<f64>>]) -> Panel {
    let values = || items.iter().filter_map(|item| item.value);
    let (low, high) = (values().fold(0.0, f64::min), values().fold(0.0, f64::max));
    let scale = Scale { from: (low, if high > low { high } else { low + 1.0 }), to: BARS };
    let mut body = heading(title);
    let mut y = 2.0 * ROW;
    for item in items {
        let middle = y + ROW / 2.0 + 4.0;
        let label = escaped(&cut(item.label));
        put(
            &mut body,
            format_args!("<text x=\"{:.1}\" y=\"{middle:.1}\" text-anchor=\"end\">{label}</text>", BARS.0 - 8.0),
        );
        if let Some(value) = item.value {
            let (zero, end) = (scale.at(0.0), scale.at(value));
            let (x, width) = (zero.min(end), (zero - end).abs().max(1.0));
            let (colour, _) = style(item.style);
            put(
                &mut body,
                format_args!(
                    "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>\
                     <text x=\"{:.1}\" y=\"{middle:.1}\">{value:.4}</text>",
                    y + 3.0,
                    ROW - 6.0,
                    x + width + 6.0
                ),
            );
        }
        y += ROW;
    }
    Panel { body, height: y + ROW }
}

/// A curve for each list of points over the steps, and a key to them.
pub(super) fn curves(title: &str, items: &[Item<'_, &[(f64, f64)]>]) -> Panel {
    let points = || items.iter().flat_map(|item| item.value.iter());
    let across = Scale { from: span(points().map(|point| point.0)), to: CURVES };
    let up = Scale { from: span(points().map(|point| point.1)), to: (2.0 * ROW + GROUND, 2.0 * ROW) };
    let mut body = heading(title);
    grid(&mut body, &across, &up);
    for item in items {
        let mut path = String::new();
        for (at, (x, y)) in item.value.iter().enumerate() {
            let command = if at == 0 { 'M' } else { 'L' };
            put(&mut path, format_args!("{command}{:.1} {:.1}", across.at(*x), up.at(*y)));
        }
        // A path of one point is drawn as a dot by its round end.
        if item.value.len() == 1 {
            path.push_str("h0");
        }
        let label = escaped(item.label);
        put(&mut body, format_args!("<path d=\"{path}\" {}><title>{label}</title></path>", stroke(item.style)));
    }
    let mut y = 5.0 * ROW + GROUND;
    for pair in items.chunks(2) {
        for (item, x) in pair.iter().zip([CURVES.0, WIDTH / 2.0 + 20.0]) {
            let label = escaped(&cut(item.label));
            put(
                &mut body,
                format_args!(
                    "<path d=\"M{x:.1} {:.1}h28\" {}/><text x=\"{:.1}\" y=\"{y:.1}\">{label}</text>",
                    y - 4.0,
                    stroke(item.style),
                    x + 36.0
                ),
            );
        }
        y += ROW;
    }
    Panel { body, height: y + ROW / 2.0 }
}

/// Lines at round numbers, and the numbers.
fn grid(body: &mut String, across: &Scale, up: &Scale) {
    for tick in ticks(up.from) {
        let y = up.at(tick);
        put(
            body,
            format_args!(
                "<path class=\"g\" d=\"M{:.1} {y:.1}H{:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                CURVES.0,
                CURVES.1,
                CURVES.0 - 6.0,
                y + 4.0,
                number(tick)
            ),
        );
    }
    let bottom = 2.0 * ROW + GROUND;
    for tick in ticks(across.from) {
        let x = across.at(tick);
        put(
            body,
            format_args!(
                "<path class=\"g\" d=\"M{x:.1} {bottom:.1}v5\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 18.0,
                number(tick)
            ),
        );
    }
    let middle = f64::midpoint(CURVES.0, CURVES.1);
    put(body, format_args!("<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">step</text>", bottom + 34.0));
}

/// Numbers of one interval, laid onto another.
struct Scale {
    from: (f64, f64),
    to: (f64, f64),
}

impl Scale {
    fn at(&self, value: f64) -> f64 {
        let share = (value - self.from.0) / (self.from.1 - self.from.0);
        self.to.0 + share * (self.to.1 - self.to.0)
    }
}

/// From the least to the greatest number; never empty.
fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let start = (f64::INFINITY, f64::NEG_INFINITY);
    let (low, high) =
        values.filter(|value| value.is_finite()).fold(start, |(low, high), value| (low.min(value), high.max(value)));
    if low < high {
        (low, high)
    } else if low.is_finite() {
        let room = low.abs().max(1.0) / 20.0;
        (low - room, low + room)
    } else {
        (0.0, 1.0)
    }
}

/// Some five round numbers of an interval.
fn ticks((low, high): (f64, f64)) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    let first = (low / step - 1e-9).ceil();
    (0..20_u32).map(|at| (first + f64::from(at)) * step).take_while(|tick| *tick <= high + 1e-9 * step).collect()
}

/// A round number without the noise of its last digits.
fn number(value: f64) -> String {
    if value != 0.0 && !(1e-5..1e7).contains(&value.abs()) {
        return format!("{value:.2e}");
    }
    let text = format!("{value:.8}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn heading(title: &str) -> String {
    format!("<text class=\"t\" x=\"16\" y=\"24\">{}</text>", escaped(title))
}

fn style(number: usize) -> (&'static str, &'static str) {
    let (colour, dash) = (number % COLOURS.len(), number / COLOURS.len() % DASHES.len());
    (COLOURS.get(colour).copied().unwrap_or("#888"), DASHES.get(dash).copied().unwrap_or("none"))
}

fn stroke(number: usize) -> String {
    let (colour, dash) = style(number);
    format!(
        "fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\" stroke-linecap=\"round\" stroke-dasharray=\"{dash}\""
    )
}

/// A label that fits into its place.
fn cut(label: &str) -> String {
    match label.char_indices().nth(LABEL) {
        Some((end, _)) => format!("{}…", &label[..end]),
        None => label.to_owned(),
    }
}

/// A text that is no markup, whatever is in it.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

/// Writing to a string does not fail.
fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    _ = text.write_fmt(arguments);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        for ((low, high), expected) in [
            ((0.0, 1.0), vec!["0", "0.2", "0.4", "0.6", "0.8", "1"]),
            ((0.31, 0.69), vec!["0.4", "0.5", "0.6"]),
            ((-2.0, 7.0), vec!["-2", "0", "2", "4", "6"]),
            ((1.0, 24.0), vec!["5", "10", "15", "20"]),
        ] {
            assert_eq!(ticks((low, high)).into_iter().map(number).collect::<Vec<_>>(), expected, "{low} {high}");
        }
        assert_eq!(number(2.5e-6), "2.50e-6");
    }

    #[test]
    fn a_span_is_never_empty() {
        for values in [vec![], vec![0.0], vec![f64::NAN], vec![5.0, 5.0], vec![-1.0, 3.0]] {
            let (low, high) = span(values.iter().copied());
            assert!(low < high, "{values:?}");
        }
        assert_eq!(span([1.0, f64::INFINITY, 2.0].into_iter()), (1.0, 2.0));
    }

    #[test]
    fn a_name_is_no_markup() {
        let name = "a<script>&\"\u{1b}";
        let bar = bars(name, &[Item { label: name, style: 0, value: Some(-0.5) }]);
        let curve = curves(name, &[Item { label: name, style: 41, value: &[(1.0, 0.5)][..] }]);
        let picture = picture(name, &[bar, curve]);
        assert!(!picture.contains("<script>") && !picture.contains('\u{1b}'));
        assert!(picture.contains("a&lt;script&gt;&amp;&quot;"), "{picture}");
        assert!(!picture.contains("NaN") && !picture.contains("inf"), "{picture}");
    }
}
