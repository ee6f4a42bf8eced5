//! Queries whose answers are numbers: curves of at most so many points, histograms of so many bins.

use std::collections::BTreeMap;
use std::fmt::Write;

use arrow::array::{Array, ArrowPrimitiveType, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};

use super::ReportError;
use super::chart::Point;
use super::histogram::{Bars, Histogram};
use super::measures::Measure;
use crate::query::{Session, quoted};

/// Most points of a curve: more steps than that share points.
const MAX_POINTS: f64 = 120.0;

/// Bins of a histogram.
const N_BINS: usize = 40;

/// Share of the values on either side that may be far from the others without making their bins wider.
const FAR_SHARE: f64 = 0.005;

/// Curves by the name of their column.
#[derive(Debug, Default)]
pub(super) struct Curves {
    pub(super) lines: BTreeMap<String, Vec<Point>>,
    pub(super) steps_per_point: f64,
}

/// What values of a histogram are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    /// Any numbers.
    Continuous,
    /// Counts: the width of a bin is a whole number.
    Whole,
}

/// The columns of the answer; a null is NaN.
pub(super) fn columns(session: &Session, table: &'static str, sql: &str) -> Result<Vec<Vec<f64>>, ReportError> {
    let batches = session.query(sql)?;
    let n_columns = batches.first().map_or(0, RecordBatch::num_columns);
    (0..n_columns)
        .map(|column| {
            let values = primitive::<Float64Type>(&batches, column, table)?;
            Ok(values.into_iter().map(|value| value.unwrap_or(f64::NAN)).collect())
        })
        .collect()
}

/// The one row of the answer.
pub(super) fn row(session: &Session, table: &'static str, sql: &str) -> Result<Vec<f64>, ReportError> {
    let columns = columns(session, table, sql)?;
    Ok(columns.into_iter().map(|column| column.first().copied().unwrap_or(f64::NAN)).collect())
}

/// Names of the columns of `table` that hold numbers, in its order.
pub(super) fn number_columns(session: &Session, table: &'static str) -> Result<Vec<String>, ReportError> {
    let sql = format!(
        "SELECT column_name FROM information_schema.columns WHERE table_name = '{table}' AND data_type IN ('Int32', \
         'Int64', 'UInt64', 'Float32', 'Float64') ORDER BY ordinal_position"
    );
    let mut names = Vec::new();
    for batch in session.query(&sql)? {
        let column =
            cast(batch.column(0), &DataType::Utf8).map_err(|source| ReportError::Internal { table, source })?;
        names.extend(column.as_string::<i32>().iter().flatten().map(str::to_owned));
    }
    Ok(names)
}

/// Curves of columns of `table` over its column `step`, and how many steps share a point at most; of the rows that have
/// the column `of`.
pub(super) fn curves(session: &Session, table: &'static str, of: &str, names: &[&str]) -> Result<Curves, ReportError> {
    let mut curves = Curves::default();
    let of = quoted(of);
    let range = row(session, table, &format!("SELECT min(step), max(step) FROM {table} WHERE {of} IS NOT NULL"))?;
    let &[first, last] = range.as_slice() else { return Ok(curves) };
    if !(first.is_finite() && last.is_finite()) {
        return Ok(curves);
    }
    curves.steps_per_point = ((last - first + 1.0) / MAX_POINTS).ceil().max(1.0);
    let mut sql = String::from("SELECT min(step), max(step)");
    for name in names {
        let column = quoted(name);
        // Writing to a string does not fail.
        _ = write!(sql, ", avg({column}), min({column}), max({column})");
    }
    let width = curves.steps_per_point;
    _ = write!(sql, " FROM {table} WHERE {of} IS NOT NULL GROUP BY floor((step - {first:.0}) / {width:.1}) ORDER BY 2");
    let columns = columns(session, table, &sql)?;
    let [firsts, lasts, values @ ..] = columns.as_slice() else { return Ok(curves) };
    for (name, of_name) in names.iter().zip(values.chunks_exact(3)) {
        let points = firsts.iter().zip(lasts).enumerate().map(|(idx, (first, last))| {
            let [mean, least, greatest] = [0, 1, 2].map(|column| value(of_name, column, idx));
            Point { first: *first, last: *last, mean, least, greatest }
        });
        curves.lines.insert((*name).to_owned(), points.filter(|point| point.mean.is_finite()).collect());
    }
    Ok(curves)
}

fn value(columns: &[Vec<f64>], column: usize, row: usize) -> f64 {
    columns.get(column).and_then(|column| column.get(row)).copied().unwrap_or(f64::NAN)
}

/// Histogram of what the named expressions give for the rows of `table` that meet the condition of each; none where there
/// are no such rows.
pub(super) fn histogram(
    session: &Session,
    table: &'static str,
    x: &str,
    values: Values,
    series: &[(&str, &str, &str)],
) -> Result<Option<Histogram>, ReportError> {
    let mut spread = Spread::NONE;
    for (_, expression, condition) in series {
        spread.widen(&Spread::of(session, table, expression, condition)?);
    }
    let Some(bins) = Bins::over(&spread, values) else { return Ok(None) };
    let bars = series.iter().map(|(name, expression, condition)| {
        let counts = bins.counts(session, table, &Groups::none(), expression, condition)?;
        Ok(Bars { name: (*name).to_owned(), counts: counts.into_iter().next().unwrap_or_default() })
    });
    let bars = bars.collect::<Result<_, ReportError>>()?;
    Ok(Some(bins.histogram(x, bars)))
}

/// Parts of a table whose numbers are also told apart.
#[derive(Debug)]
pub(super) struct Groups {
    /// Expression whose value is the index of a row's group, null where it is in none.
    index: String,
    n_groups: usize,
}

impl Groups {
    /// No parts.
    pub(super) fn none() -> Self {
        Self { index: "CAST(NULL AS BIGINT)".into(), n_groups: 0 }
    }

    /// By these values of a column of text, as it stands in SQL.
    pub(super) fn by(column: &str, values: &[String]) -> Self {
        if values.is_empty() {
            return Self::none();
        }
        let mut index = format!("CASE {column}");
        for (idx, value) in values.iter().enumerate() {
            // Writing to a string does not fail.
            _ = write!(index, " WHEN {} THEN {idx}", literal(value));
        }
        Self { index: index + " END", n_groups: values.len() }
    }
}

/// A text as SQL takes it, whatever is in it.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Histograms of a measure: of all rows, and of each group, with the same bins.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) all: Histogram,
    pub(super) groups: Vec<Histogram>,
}

/// Histograms of a measure over the finite numbers of `table`; none where there are no such.
pub(super) fn measured(
    session: &Session,
    table: &'static str,
    measure: &Measure,
    groups: &Groups,
) -> Result<Option<Measured>, ReportError> {
    let is_finite = |expression: &str| format!("abs({expression}) < 1e308");
    let mut spread = Spread::NONE;
    for (_, expression) in measure.series {
        spread.widen(&Spread::of(session, table, expression, &is_finite(expression))?);
    }
    let Some(bins) = Bins::over(&spread, measure.values) else { return Ok(None) };
    let mut bars: Vec<Vec<Bars>> = Vec::new();
    bars.resize_with(groups.n_groups + 1, Vec::new);
    for (name, expression) in measure.series {
        let counts = bins.counts(session, table, groups, expression, &is_finite(expression))?;
        for (bars, counts) in bars.iter_mut().zip(counts) {
            bars.push(Bars { name: (*name).to_owned(), counts });
        }
    }
    let mut histograms = bars.into_iter().map(|bars| bins.histogram(measure.x, bars));
    Ok(histograms.next().map(|all| Measured { all, groups: histograms.collect() }))
}

/// How far values go, and most of them.
#[derive(Debug, Clone, Copy)]
struct Spread {
    least: f64,
    /// The quantile [`FAR_SHARE`].
    low: f64,
    /// The quantile 1 − [`FAR_SHARE`].
    high: f64,
    greatest: f64,
}

impl Spread {
    /// That of no values.
    const NONE: Self =
        Self { least: f64::INFINITY, low: f64::INFINITY, high: f64::NEG_INFINITY, greatest: f64::NEG_INFINITY };

    /// That of an expression over the rows of `table` that meet a condition.
    fn of(session: &Session, table: &'static str, expression: &str, condition: &str) -> Result<Self, ReportError> {
        let quantile = |share: f64| format!("percentile_cont({share}) WITHIN GROUP (ORDER BY {expression})");
        let sql = format!(
            "SELECT min({expression}), {}, {}, max({expression}) FROM {table} WHERE {condition}",
            quantile(FAR_SHARE),
            quantile(1.0 - FAR_SHARE),
        );
        Ok(match row(session, table, &sql)?.as_slice() {
            &[least, low, high, greatest] => Self { least, low, high, greatest },
            _ => Self::NONE,
        })
    }

    /// Takes in that of further values.
    fn widen(&mut self, other: &Self) {
        // A NaN, of no values, is neither less nor greater.
        self.least = self.least.min(other.least);
        self.low = self.low.min(other.low);
        self.high = self.high.max(other.high);
        self.greatest = self.greatest.max(other.greatest);
    }

    /// The part that bins are for: all of it, but for a side where the few that are far from the others are further away
    /// than these are from one another.
    fn shown(&self) -> (f64, f64) {
        let room = self.high - self.low;
        let from = if room > 0.0 && self.low - self.least > room { self.low } else { self.least };
        let to = if room > 0.0 && self.greatest - self.high > room { self.high } else { self.greatest };
        (from, to)
    }
}

/// Where the bins of a histogram are.
#[derive(Debug, Clone, Copy)]
struct Bins {
    from: f64,
    width: f64,
    spread: Spread,
}

impl Bins {
    /// Bins over values; none over none.
    fn over(spread: &Spread, values: Values) -> Option<Self> {
        let (low, high) = spread.shown();
        let (from, width) = match values {
            _ if !(low.is_finite() && high.is_finite()) => return None,
            Values::Whole => (low.floor(), ((high - low.floor() + 1.0) / N_BINS as f64).ceil()),
            Values::Continuous if high > low => (low, (high - low) / N_BINS as f64),
            Values::Continuous => (low - 0.5, 1.0 / N_BINS as f64),
        };
        Some(Self { from, width, spread: *spread })
    }

    fn histogram(&self, x: &str, bars: Vec<Bars>) -> Histogram {
        let Self { from, width, spread: Spread { least, greatest, .. } } = *self;
        let end = self.spread.shown().1.max(from + width * N_BINS as f64);
        let least = (least < from).then_some(least);
        Histogram { x: x.to_owned(), from, width, least, greatest: (greatest > end).then_some(greatest), bars }
    }

    /// Rows of `table` that meet a condition, by bin of an expression: all of them, then those of each group.
    fn counts(
        &self,
        session: &Session,
        table: &'static str,
        groups: &Groups,
        expression: &str,
        condition: &str,
    ) -> Result<Vec<Vec<u64>>, ReportError> {
        let sql = format!(
            "SELECT {} AS part, least(greatest(floor(({expression} - ({:?})) / {:?}), 0), {}) AS bin, count(*) FROM {table} WHERE \
             {condition} AND ({expression}) IS NOT NULL GROUP BY 1, 2 ORDER BY 1, 2",
            groups.index,
            self.from,
            self.width,
            N_BINS - 1
        );
        let batches = session.query(&sql)?;
        let [parts, bins, n_rows] = [0, 1, 2].map(|column| primitive::<Int64Type>(&batches, column, table));
        let mut counts = vec![vec![0; N_BINS]; groups.n_groups + 1];
        for ((part, bin), n) in parts?.into_iter().zip(bins?).zip(n_rows?) {
            let (Some(bin), Some(n)) = (bin, n) else { continue };
            let part = part.and_then(|part| usize::try_from(part).ok()).map(|part| part + 1);
            for row in [Some(0), part].into_iter().flatten() {
                let bin = usize::try_from(bin).ok();
                if let Some(count) = bin.and_then(|bin| counts.get_mut(row)?.get_mut(bin)) {
                    *count += u64::try_from(n).unwrap_or(0);
                }
            }
        }
        Ok(counts)
    }
}

/// A column of the answer in one type.
fn primitive<T: ArrowPrimitiveType>(
    batches: &[RecordBatch],
    column: usize,
    table: &'static str,
) -> Result<Vec<Option<T::Native>>, ReportError> {
    let mut values = Vec::new();
    for batch in batches {
        let array =
            cast(batch.column(column), &T::DATA_TYPE).map_err(|source| ReportError::Internal { table, source })?;
        let array = array.as_primitive::<T>();
        values.extend((0..array.len()).map(|row| array.is_valid(row).then(|| array.value(row))));
    }
    Ok(values)
}
