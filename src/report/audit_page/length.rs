//! What the length of answers has to do with being chosen, and with the reference's margin.

use crate::query::Session;
use crate::report::chart::{Chart, Guide, Line, LineChart, Point};
use crate::report::numbers;
use crate::report::page::{Block, Figure, Section, Table};
use crate::report::{Bar, BarChart, ReportError, Tones};

/// Least difference of each range of lengths, in tokens; the last one has no end.
const EDGES: [u32; 8] = [1, 5, 10, 25, 50, 100, 200, 400];

/// Quantile of a normal distribution that leaves 2.5 % on each side.
const Z: f64 = 1.96;

/// Figures and their numbers; nothing of an empty table.
pub(super) fn section(session: &Session) -> Result<Section, ReportError> {
    let mut blocks = chosen_longer(session)?;
    blocks.extend(margins(session)?);
    Ok(Section { id: "length".into(), heading: "Length".into(), blocks })
}

/// Index of the range that an expression is in, from 1 on, in SQL; 0 below the first one.
fn range_of(expression: &str) -> String {
    let cases = EDGES.iter().enumerate().rev();
    let cases = cases.map(|(idx, edge)| format!("WHEN {expression} >= {edge} THEN {}", idx + 1));
    format!("CASE {} ELSE 0 END", cases.collect::<Vec<_>>().join(" "))
}

/// `10 to 24`, `400 or more`.
fn name(range: usize) -> String {
    let edge = |range: usize| EDGES.get(range).copied();
    match (range.checked_sub(1).and_then(edge), edge(range)) {
        (Some(from), Some(next)) => format!("{from} to {}", next - 1),
        (Some(from), None) => format!("{from} or more"),
        (None, _) => "0".into(),
    }
}

/// Pairs whose lengths are apart by a range.
struct Apart {
    /// Index of the range, 0 for equal lengths.
    range: usize,
    n_pairs: f64,
    n_longer: f64,
}

fn chosen_longer(session: &Session) -> Result<Vec<Block>, ReportError> {
    let sql = format!(
        "SELECT {} AS apart, count(*), count(*) FILTER (WHERE chosen_tokens > rejected_tokens) FROM pairs GROUP BY 1 ORDER \
         BY 1",
        range_of("abs(chosen_tokens - rejected_tokens)")
    );
    let columns = numbers::columns(session, "pairs", &sql)?;
    let [ranges, n_pairs, n_longer] = columns.as_slice() else { return Ok(Vec::new()) };
    let values = ranges.iter().zip(n_pairs).zip(n_longer);
    let ranges: Vec<Apart> =
        values.map(|((&range, &n_pairs), &n_longer)| Apart { range: index(range), n_pairs, n_longer }).collect();
    let n_ties: f64 = ranges.iter().filter(|range| range.range == 0).map(|range| range.n_pairs).sum();
    let apart: Vec<&Apart> = ranges.iter().filter(|range| range.range > 0).collect();
    if apart.is_empty() {
        return Ok(Vec::new());
    }
    let bar = |range: &&Apart| Bar {
        name: format!("{} tokens apart: {:.0} pairs", name(range.range), range.n_pairs),
        value: Some(range.n_longer / range.n_pairs),
    };
    let guides = [(0.5, "no preference for length"), (1.0, "the longer one is always chosen")];
    let chart = BarChart {
        of: "difference of lengths".into(),
        value: "share of pairs whose chosen answer is longer".into(),
        bars: apart.iter().map(bar).collect(),
        tones: Tones::Alike,
        guides: guides.map(|(at, name)| Guide { at, name: name.into() }).into(),
    };
    let note = format!(
        "Share of pairs whose chosen answer is the longer one, by how many tokens the two are apart; dotted: one half, and \
         all. Left out: {n_ties:.0} pairs of equal length."
    );
    let row = |range: &&Apart| {
        let (low, high) = wilson(range.n_longer, range.n_pairs);
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let share = percent(range.n_longer / range.n_pairs);
        let interval = format!("{} to {}", percent(low), percent(high));
        vec![name(range.range), format!("{:.0}", range.n_pairs), share, interval]
    };
    let columns = ["tokens apart", "pairs", "chosen is longer", "95 % interval (Wilson)"].map(str::to_owned);
    let table = Table { columns: columns.into(), rows: apart.iter().map(row).collect() };
    Ok(vec![
        Block::Figure(Figure::new("Is the longer answer chosen?", note, &Chart::Bars(chart))),
        Block::Table { title: "Is the longer answer chosen, and how surely?".into(), table },
    ])
}

/// Interval of a share of `n_true` in `n`, at 95 %: Wilson 1927.
fn wilson(n_true: f64, n: f64) -> (f64, f64) {
    let share = n_true / n;
    let squared = Z * Z;
    let centre = (share + squared / (2.0 * n)) / (1.0 + squared / n);
    let half = Z * (share * (1.0 - share) / n + squared / (4.0 * n * n)).sqrt() / (1.0 + squared / n);
    // Rounding must not leave the range of a share.
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

/// Margins by how much longer the chosen answer is: summed over tokens, and per token.
fn margins(session: &Session) -> Result<Vec<Block>, ReportError> {
    let mut blocks = Vec::new();
    for (title, note, unit, margin) in [
        (
            "Margin against length",
            "Reference margin, summed over tokens, by tokens that chosen is longer than rejected. A point is the median of the \
             pairs of a range of lengths, the band spans 10 to 90 % of them. A slope is length, not preference.",
            "nats",
            "ref_chosen_logps - ref_rejected_logps",
        ),
        (
            "Margin per token against length",
            "The same of the margin per token.",
            "nats per token",
            "ref_chosen_logps / chosen_tokens - ref_rejected_logps / rejected_tokens",
        ),
    ] {
        let points = points(session, margin)?;
        if !points.is_empty() {
            let lines = vec![Line { name: "margin".into(), points }];
            let guides = vec![Guide { at: 0.0, name: "both are as likely".into() }];
            let x = "tokens that chosen is longer".into();
            let chart = LineChart { x, unit: Some(unit.into()), lines, guides };
            blocks.push(Block::Figure(Figure::new(title, note, &Chart::Lines(chart))));
        }
    }
    Ok(blocks)
}

/// A point a range of lengths, the rejected answers that are longer first.
fn points(session: &Session, margin: &str) -> Result<Vec<Point>, ReportError> {
    let quantile = |share: f64| format!("approx_percentile_cont({share}) WITHIN GROUP (ORDER BY margin)");
    let sql = format!(
        "WITH margins AS (SELECT chosen_tokens - rejected_tokens AS gap, {margin} AS margin FROM pairs) \
         SELECT avg(gap), {}, {}, {} FROM margins WHERE abs(margin) < 1e308 GROUP BY gap > 0, {} ORDER BY 1",
        quantile(0.1),
        quantile(0.5),
        quantile(0.9),
        range_of("abs(gap)")
    );
    let columns = numbers::columns(session, "pairs", &sql)?;
    let [gaps, low, median, high] = columns.as_slice() else { return Ok(Vec::new()) };
    let values = gaps.iter().zip(low).zip(median.iter().zip(high));
    let point = |((&gap, &least), (&mean, &greatest))| Point { first: gap, last: gap, mean, least, greatest };
    Ok(values.map(point).filter(|point| point.mean.is_finite()).collect())
}

/// The index that a query has answered with.
fn index(range: f64) -> usize {
    (0..=EDGES.len()).find(|idx| *idx as f64 == range).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io;

    #[test]
    fn ranges_have_names_and_no_gap() {
        let names: Vec<String> = (0..=EDGES.len()).map(name).collect();
        assert_eq!(
            names,
            ["0", "1 to 4", "5 to 9", "10 to 24", "25 to 49", "50 to 99", "100 to 199", "200 to 399", "400 or more"]
        );
        assert_eq!(range_of("x").matches("WHEN").count(), EDGES.len());
        assert!(range_of("x").starts_with("CASE WHEN x >= 400 THEN 8 WHEN x >= 200 THEN 7 "), "{}", range_of("x"));
    }

    #[test]
    fn an_interval_is_that_of_wilson() {
        // p = 0.8, n = 10, z² = 3.8416: centre (0.8 + 0.19208)/1.38416 = 0.716738, half
        // 1.96·√(0.016 + 0.009604)/1.38416 = 0.226581.
        let (low, high) = wilson(8.0, 10.0);
        assert!((low - 0.490_157).abs() < 1e-5 && (high - 0.943_319).abs() < 1e-5, "{low} {high}");
        let (low, _) = wilson(0.0, 5.0);
        assert!(low.abs() < 1e-12, "{low}");
    }

    #[test]
    fn lengths_are_held_against_labels_and_margins() {
        // Gaps of 3, −3, 12 and 0 tokens.
        let rows = "chosen_tokens,rejected_tokens,ref_chosen_logps,ref_rejected_logps\n\
                    8,5,-8,-5\n5,8,-5,-8\n20,8,-30,-8\n4,4,-4,-4\n";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pairs.csv");
        io::write(&path, rows.as_bytes()).unwrap();
        let mut session = Session::new().unwrap();
        session.register(&path).unwrap();

        let section = section(&session).unwrap();
        let Block::Table { table, .. } = &section.blocks[1] else { panic!("{section:?}") };
        // Of one pair of two: the interval around ½ is symmetric.
        assert_eq!(table.rows[0][..3], ["1 to 4", "2", "50.0 %"]);
        assert_eq!(table.rows[1][..3], ["10 to 24", "1", "100.0 %"]);
        assert_eq!(table.rows.len(), 2);

        let points = points(&session, "ref_chosen_logps - ref_rejected_logps").unwrap();
        let shown: Vec<(f64, f64)> = points.iter().map(|point| (point.last, point.mean)).collect();
        assert_eq!(shown, [(-3.0, 3.0), (0.0, 0.0), (3.0, -3.0), (12.0, -22.0)]);
        assert_eq!(section.blocks.len(), 4);
    }
}
