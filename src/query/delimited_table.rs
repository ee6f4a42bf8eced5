//! Separated values as tables: dialect and columns found in a first pass over the file, rows streamed in a second.
//!
//! A column has the narrowest type in which each of its values keeps what is written: `01234` is no number, for it would lose
//! its zero, and times of several offsets from UTC are no timestamps, for they would lose their days.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::csv::reader::Format;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use chrono::{DateTime, NaiveDate, NaiveDateTime};
use csv::ByteRecord;
use datafusion::catalog::TableProvider;

use crate::query::QueryError;
use crate::query::delimited_bounds::Bounded;
use crate::query::file_stream::{Batches, FileStream};
use crate::query::numbers::Numbers;
use crate::query::text_table::{BATCH_BYTES, BATCH_ROWS, open_text};

/// What files that are called `.csv` are separated by, the commonest first.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Rows that tell which of them it is.
const SNIFFED_ROWS: usize = 64;

/// The table in files of separated values, each under a header.
///
/// # Errors
/// If a row has more or fewer fields than the header, a name occurs twice, or two files have other headers.
pub(super) fn open(files: &[PathBuf], delimiter: u8) -> Result<Arc<dyn TableProvider>, QueryError> {
    let mut columns: Option<Vec<Column>> = None;
    let mut forms = Vec::with_capacity(files.len());
    for path in files {
        let delimiter = if delimiter == b',' { sniff(path)? } else { delimiter };
        let longest = scan(path, delimiter, &mut columns)?;
        let batch_rows = (BATCH_BYTES / longest.max(1)).clamp(1, BATCH_ROWS);
        forms.push(CsvForm { delimiter, batch_rows });
    }
    let fields: Vec<Field> = columns.unwrap_or_default().into_iter().map(Column::into_field).collect();
    let schema = Arc::new(Schema::new(fields));
    let add = |stream: FileStream, (path, form): (&PathBuf, CsvForm)| {
        let (file, schema) = (path.clone(), Arc::clone(&schema));
        stream.with_file(path.clone(), move || batches(&file, form, &schema))
    };
    files.iter().zip(forms).fold(FileStream::new(Arc::clone(&schema)), add).into_table()
}

/// How a file is read once its rows have been looked at.
#[derive(Debug, Clone, Copy)]
struct CsvForm {
    delimiter: u8,
    /// Rows decoded at once: fewer where some are long.
    batch_rows: usize,
}

fn reader(path: &Path, delimiter: u8) -> Result<csv::Reader<impl std::io::Read>, QueryError> {
    let text = Bounded::new(open_text(path)?, delimiter);
    Ok(csv::ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(text))
}

/// The delimiter that gives the first rows the same number of fields, more than one.
fn sniff(path: &Path) -> Result<u8, QueryError> {
    let mut best = (b',', 1);
    for delimiter in DELIMITERS {
        let mut reader = reader(path, delimiter)?;
        let rows = reader.byte_records().take(SNIFFED_ROWS);
        let lengths: Vec<usize> = rows.map_while(Result::ok).map(|row| row.len()).collect();
        let Some(&header) = lengths.first() else { continue };
        if lengths.iter().all(|&length| length == header) && header > 1 {
            return Ok(delimiter);
        }
        if header > best.1 {
            best = (delimiter, header);
        }
    }
    Ok(best.0)
}

/// Reads a whole file: what its columns are, and whether every row fits; returns the bytes of the longest row.
fn scan(path: &Path, delimiter: u8, columns: &mut Option<Vec<Column>>) -> Result<usize, QueryError> {
    let wrong = |line: u64, expected: String, found: String| QueryError::Delimited {
        path: path.to_owned(),
        line,
        expected,
        found,
    };
    let mut reader = reader(path, delimiter)?;
    let mut row = ByteRecord::new();
    let mut next = |row: &mut ByteRecord| {
        reader.read_byte_record(row).map_err(|error| QueryError::Delimited {
            path: path.to_owned(),
            line: error.position().map_or(0, csv::Position::line),
            expected: "rows of separated values".into(),
            found: error.to_string(),
        })
    };
    if !next(&mut row)? {
        return Err(wrong(1, "a header".into(), "an empty file".into()));
    }
    let names = names(path, &row)?;
    if let Some((first, again)) = repeated(&names) {
        let found = format!("it as column {} and {}", first + 1, again + 1);
        return Err(wrong(1, format!("the name `{}` once", names[first]), found));
    }
    match columns {
        None => *columns = Some(names.into_iter().map(Column::new).collect()),
        Some(known) => {
            let is_same = known.iter().map(|column| &column.name).eq(&names);
            if !is_same {
                let expected: Vec<&str> = known.iter().map(|column| column.name.as_str()).collect();
                let expected = format!("the header `{}` of the files before", expected.join(","));
                return Err(wrong(1, expected, format!("`{}`", names.join(","))));
            }
        }
    }
    let Some(columns) = columns else { return Ok(0) };
    let mut longest = 0;
    while next(&mut row)? {
        longest = longest.max(row.as_slice().len());
        let line = row.position().map_or(0, csv::Position::line);
        if row.len() != columns.len() {
            let expected = format!("{} fields as in the header", columns.len());
            return Err(wrong(line, expected, row.len().to_string()));
        }
        for (column, value) in columns.iter_mut().zip(&row) {
            column.add(text(path, line, value)?);
        }
    }
    Ok(longest)
}

fn names(path: &Path, header: &ByteRecord) -> Result<Vec<String>, QueryError> {
    let name = |(idx, name): (usize, &[u8])| {
        let name = text(path, 1, name)?;
        // As pandas writes an index.
        Ok(if name.is_empty() { format!("column{}", idx + 1) } else { name.to_owned() })
    };
    header.iter().enumerate().map(name).collect()
}

fn repeated(names: &[String]) -> Option<(usize, usize)> {
    let again = |(idx, name): (usize, &String)| Some((names[..idx].iter().position(|before| before == name)?, idx));
    names.iter().enumerate().find_map(again)
}

fn text<'a>(path: &Path, line: u64, bytes: &'a [u8]) -> Result<&'a str, QueryError> {
    std::str::from_utf8(bytes).map_err(|_| QueryError::Encoding {
        path: path.to_owned(),
        found: format!("a wrong byte in the row of line {line}"),
    })
}

fn batches(path: &Path, form: CsvForm, schema: &SchemaRef) -> Result<Batches, QueryError> {
    let format = Format::default().with_header(true).with_delimiter(form.delimiter);
    let builder = arrow::csv::ReaderBuilder::new(Arc::clone(schema)).with_format(format);
    let text = BufReader::new(Bounded::new(open_text(path)?, form.delimiter));
    let reader = builder.with_batch_size(form.batch_rows).build_buffered(text);
    Ok(Box::new(reader.map_err(|source| QueryError::Rows { path: path.to_owned(), source })?))
}

/// What is known of a column so far.
#[derive(Debug)]
struct Column {
    name: String,
    kind: Kind,
}

/// What the values of a column have in common.
#[derive(Debug, PartialEq)]
enum Kind {
    /// There is none yet.
    Nothing,
    Bool,
    Number(Numbers),
    /// `nan`, `inf`: a number beside numbers, else a word.
    FloatWord,
    Date,
    /// A time with so many digits behind the second, and the seconds its zone is ahead of UTC, if it has one.
    Time(usize, Option<i32>),
    Text,
}

impl Column {
    fn new(name: String) -> Self {
        Self { name, kind: Kind::Nothing }
    }

    /// Takes in a value; an empty one is null.
    fn add(&mut self, value: &str) {
        if value.is_empty() || self.kind == Kind::Text {
            return;
        }
        match (&mut self.kind, Kind::of(value)) {
            (known @ Kind::Nothing, found) => *known = found,
            (Kind::Number(known), Kind::Number(found)) => known.merge(&found),
            (Kind::Number(known), Kind::FloatWord) => known.add_float(),
            (known @ Kind::FloatWord, Kind::Number(mut found)) => {
                found.add_float();
                *known = Kind::Number(found);
            }
            (Kind::Time(known, zone), Kind::Time(found, other)) if *zone == other => *known = (*known).max(found),
            (known, found) if *known == found => {}
            (known, _) => *known = Kind::Text,
        }
    }

    fn into_field(self) -> Field {
        Field::new(self.name, self.kind.data_type(), true)
    }
}

impl Kind {
    fn of(value: &str) -> Self {
        let digits = value.strip_prefix('-').unwrap_or(value);
        let starts_like_a_number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        if starts_like_a_number && let Some(numbers) = number(value, digits) {
            return Self::Number(numbers);
        }
        if starts_like_a_number && value.len() >= 10 && value.as_bytes().get(4) == Some(&b'-') {
            return Self::of_time(value).unwrap_or(Self::Text);
        }
        match value.to_ascii_lowercase().as_str() {
            "true" | "false" => Self::Bool,
            "nan" | "inf" | "-inf" | "infinity" | "-infinity" => Self::FloatWord,
            _ => Self::Text,
        }
    }

    fn of_time(value: &str) -> Option<Self> {
        if value.len() == 10 {
            return NaiveDate::parse_from_str(value, "%Y-%m-%d").is_ok().then_some(Self::Date);
        }
        let n_digits = value.split_once('.').map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
        let plain = value.replacen(' ', "T", 1);
        if n_digits > 9 {
            return None;
        }
        if let Ok(time) = DateTime::parse_from_rfc3339(&plain) {
            return Some(Self::Time(n_digits, Some(time.offset().local_minus_utc())));
        }
        NaiveDateTime::parse_from_str(&plain, "%Y-%m-%dT%H:%M:%S%.f").is_ok().then_some(Self::Time(n_digits, None))
    }

    fn data_type(&self) -> DataType {
        match self {
            // It takes the type of whatever it meets.
            Self::Nothing => DataType::Null,
            Self::Text | Self::FloatWord => DataType::Utf8,
            Self::Bool => DataType::Boolean,
            Self::Number(numbers) => numbers.data_type(),
            Self::Date => DataType::Date32,
            Self::Time(n_digits, zone) => {
                let unit = match n_digits {
                    0 => TimeUnit::Second,
                    1..=3 => TimeUnit::Millisecond,
                    4..=6 => TimeUnit::Microsecond,
                    _ => TimeUnit::Nanosecond,
                };
                DataType::Timestamp(unit, zone.map(|seconds| offset(seconds).into()))
            }
        }
    }
}

/// `+02:00` of 7200 seconds.
fn offset(seconds: i32) -> String {
    let (sign, minutes) = (if seconds < 0 { '-' } else { '+' }, seconds.abs() / 60);
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

/// A number that is written as numbers are: without zeros in front, which are part of a code.
fn number(value: &str, digits: &str) -> Option<Numbers> {
    let is_padded = digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit();
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'-' | b'+'));
    if is_padded || !is_plain || value.parse::<f64>().is_err() {
        return None;
    }
    let mut numbers = Numbers::default();
    numbers.add(value);
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn type_of(values: &[&str]) -> String {
        let mut column = Column::new("a".into());
        for value in values {
            column.add(value);
        }
        column.kind.data_type().to_string()
    }

    #[test]
    fn a_column_has_the_narrowest_type_that_loses_nothing() {
        for (values, want) in [
            (vec!["1", "", "-2"], "Int64"),
            (vec!["1", "2.5"], "Float64"),
            (vec!["1", "nan", "2"], "Float64"),
            (vec!["nan", "inf"], "Utf8"),
            (vec!["01234", "98765"], "Utf8"),
            (vec!["0", "0.5", "-0.25"], "Float64"),
            (vec!["00.5"], "Utf8"),
            (vec!["+49151"], "Utf8"),
            (vec!["9223372036854775808", "1"], "UInt64"),
            (vec!["9007199254740993", "0.5"], "Utf8"),
            (vec!["1e999"], "Utf8"),
            (vec!["1", "n/a"], "Utf8"),
            (vec!["true", "False"], "Boolean"),
            (vec!["true", "1"], "Utf8"),
            (vec!["2024-01-02", "2024-12-31"], "Date32"),
            (vec!["2024-13-02"], "Utf8"),
            (vec!["2024-01-02 03:04:05", "2024-01-02T03:04:05.25"], "Timestamp(ms)"),
            (vec!["2024-01-02T03:04:05+02:00", "2024-01-03T03:04:05+02:00"], "Timestamp(s, \"+02:00\")"),
            (vec!["2024-01-02T03:04:05+02:00", "2024-01-03T03:04:05Z"], "Utf8"),
            (vec!["2024-01-02T03:04:05", "2024-01-03T03:04:05Z"], "Utf8"),
            (vec!["", ""], "Null"),
        ] {
            assert_eq!(type_of(&values), want, "{values:?}");
        }
    }
}
