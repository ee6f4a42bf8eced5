//! Separated values under a header: every value is text, and an empty one is none.
//!
//! The grammar is RFC 4180 with any of three separators and any end of line, and strict: an open quote would swallow the
//! rows up to the next one, so one that is never closed is an error and text behind a closing one a reject. That is why it
//! is read here: the `csv` crate takes both without a word, and a record of any length.

use std::collections::BTreeSet;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::object::MAX_COLUMNS;
use super::{RawRow, RawRows, Text, damaged, object, too_long};
use crate::data::DataError;

/// Separators that are told by the header, with their names.
const SEPARATORS: [(u8, &str); 3] = [(b',', "`,`"), (b';', "`;`"), (b'\t', "tab")];

/// Rows of a file whose first line names the columns.
struct Delimited {
    path: PathBuf,
    reader: Text,
    separator: u8,
    limit: usize,
    columns: Vec<String>,
    /// Line that is being read.
    line: u64,
    n_rows: u64,
    is_done: bool,
}

/// The fields of a record as far as they are read.
#[derive(Default)]
struct Record {
    fields: Vec<Vec<u8>>,
    /// Line of its first byte.
    line: u64,
    n_bytes: usize,
    /// What makes it no row; nothing behind it is kept.
    fault: Option<String>,
}

impl Record {
    fn push(&mut self, field: Vec<u8>) {
        if self.fields.len() == MAX_COLUMNS {
            self.fail(|| format!("expected at most {MAX_COLUMNS} columns, found more"));
        }
        if self.fault.is_none() {
            self.fields.push(field);
        }
    }

    /// Notes the first fault, and drops what there is of a record that is no row.
    fn fail(&mut self, fault: impl FnOnce() -> String) {
        if self.fault.is_none() {
            self.fault = Some(fault());
            self.fields = Vec::new();
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    FieldStart,
    Bare,
    Quoted,
    /// Behind a quote within a quoted field: its end, or the first half of a doubled quote.
    Closed,
}

/// Opens a file of which `head` is the beginning; `stated` is the separator that its name tells.
pub(super) fn open(
    path: &Path,
    reader: Text,
    head: &[u8],
    stated: Option<u8>,
    limit: usize,
) -> Result<RawRows, DataError> {
    let separator = match stated {
        Some(separator) if separators(head).contains(&separator) => separator,
        _ => match separators(head).as_slice() {
            [] => b',',
            [separator] => *separator,
            several => {
                let name =
                    |separator: &u8| SEPARATORS.iter().find(|(known, _)| known == separator).map(|(_, name)| *name);
                let found = several.iter().filter_map(name).collect();
                return Err(DataError::Separators { path: path.to_owned(), found });
            }
        },
    };
    let (path, columns) = (path.to_owned(), Vec::new());
    let mut rows = Delimited { path, reader, separator, limit, columns, line: 1, n_rows: 0, is_done: false };
    rows.columns = rows.header()?;
    Ok(Box::new(rows))
}

/// The separators in the first line, outside of quotes.
fn separators(head: &[u8]) -> Vec<u8> {
    let mut found = Vec::new();
    let mut in_quotes = false;
    for &byte in head {
        match byte {
            b'"' => in_quotes = !in_quotes,
            b'\n' | b'\r' if !in_quotes => break,
            _ if in_quotes || found.contains(&byte) => {}
            _ if SEPARATORS.iter().any(|(known, _)| *known == byte) => found.push(byte),
            _ => {}
        }
    }
    found
}

impl Delimited {
    /// The names of the columns. One without a name, as pandas writes its index, gets the name pandas reads it under.
    fn header(&mut self) -> Result<Vec<String>, DataError> {
        let Some(Record { fields, fault, .. }) = self.record()? else { return Ok(Vec::new()) };
        let refused = |problem: String| DataError::Header { path: self.path.clone(), problem };
        if let Some(fault) = fault {
            return Err(refused(fault));
        }
        let mut columns = Vec::new();
        for (at, field) in fields.into_iter().enumerate() {
            let name = String::from_utf8(field).map_err(|_| refused("not UTF-8".into()))?;
            columns.push(if name.is_empty() { format!("Unnamed: {at}") } else { name });
        }
        let mut known = BTreeSet::new();
        match columns.iter().find(|name| !known.insert(name.as_str())) {
            Some(twice) => Err(refused(format!("column `{twice}` occurs twice"))),
            None => Ok(columns),
        }
    }

    fn byte(&mut self) -> Result<Option<u8>, DataError> {
        let byte = self.peek()?;
        if let Some(byte) = byte {
            self.reader.consume(1);
            self.line += u64::from(byte == b'\n');
        }
        Ok(byte)
    }

    fn peek(&mut self) -> Result<Option<u8>, DataError> {
        loop {
            match self.reader.fill_buf() {
                Ok(bytes) => return Ok(bytes.first().copied()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(damaged(&self.path, self.n_rows, source)),
            }
        }
    }

    /// The next record that is no blank line.
    fn record(&mut self) -> Result<Option<Record>, DataError> {
        let mut record = Record { line: self.line, ..Record::default() };
        let mut field = Vec::new();
        let mut state = State::FieldStart;
        loop {
            let byte = self.byte()?;
            record.n_bytes += usize::from(byte.is_some());
            state = match (state, byte) {
                (State::Quoted, None) => {
                    return Err(DataError::OpenQuote { path: self.path.clone(), line: record.line });
                }
                (State::Quoted, Some(b'"')) => State::Closed,
                (State::Closed, Some(b'"')) => {
                    field.push(b'"');
                    State::Quoted
                }
                (State::FieldStart, Some(b'"')) => State::Quoted,
                (State::Quoted, Some(byte)) => {
                    field.push(byte);
                    State::Quoted
                }
                (_, Some(byte)) if byte == self.separator => {
                    record.push(std::mem::take(&mut field));
                    State::FieldStart
                }
                (state, None | Some(b'\n' | b'\r')) => {
                    if byte == Some(b'\r') && self.peek()? == Some(b'\n') {
                        self.byte()?;
                    }
                    let is_blank = record.fields.is_empty() && record.fault.is_none() && state == State::FieldStart;
                    if !is_blank {
                        record.push(field);
                        return Ok(Some(record));
                    }
                    if byte.is_none() {
                        return Ok(None);
                    }
                    record = Record { line: self.line, ..Record::default() };
                    State::FieldStart
                }
                (State::Closed, Some(_)) => {
                    let number = record.fields.len() + 1;
                    record.fail(|| format!("field {number}: text behind a closing quote"));
                    State::Bare
                }
                (_, Some(byte)) => {
                    field.push(byte);
                    State::Bare
                }
            };
            if record.n_bytes > self.limit {
                record.fail(|| too_long(self.limit));
            }
            if record.fault.is_some() {
                field = Vec::new();
            }
        }
    }

    fn object(&self, record: Record) -> Result<object::Object, String> {
        if let Some(fault) = record.fault {
            return Err(fault);
        }
        let (expected, found) = (self.columns.len(), record.fields.len());
        if expected != found {
            return Err(format!("expected {expected} fields, found {found}"));
        }
        self.columns.iter().zip(record.fields).map(|(name, field)| Ok((name.clone(), value(name, field)?))).collect()
    }
}

fn value(column: &str, field: Vec<u8>) -> Result<Value, String> {
    if field.is_empty() {
        return Ok(Value::Null);
    }
    let text = String::from_utf8(field).map_err(|error| {
        format!("column `{column}`: not UTF-8: first wrong byte at offset {}", error.utf8_error().valid_up_to())
    })?;
    match text.find('\0') {
        Some(offset) => Err(format!("column `{column}`: a NUL byte at offset {offset}")),
        None => Ok(Value::String(text)),
    }
}

impl Iterator for Delimited {
    type Item = Result<RawRow, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        match self.record() {
            Ok(Some(record)) => {
                let (line, n_bytes) = (Some(record.line), record.n_bytes);
                self.n_rows += 1;
                Some(Ok(RawRow { row_idx: self.n_rows - 1, line, n_bytes, object: self.object(record) }))
            }
            Ok(None) => {
                self.is_done = true;
                None
            }
            Err(error) => {
                self.is_done = true;
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    /// Rows as `line: JSON`, or the reason; an error last.
    fn read(text: &'static str, stated: Option<u8>) -> Vec<String> {
        let reader = Box::new(BufReader::with_capacity(3, text.as_bytes()));
        let rows = match open(Path::new("x.csv"), reader, text.as_bytes(), stated, 60) {
            Ok(rows) => rows,
            Err(error) => return vec![error.to_string()],
        };
        rows.map(|row| match row {
            Ok(RawRow { line, object: Ok(object), .. }) => format!("{}: {}", line.unwrap(), Value::Object(object)),
            Ok(RawRow { line, object: Err(reason), .. }) => format!("{}: {reason}", line.unwrap()),
            Err(error) => error.to_string(),
        })
        .collect()
    }

    #[test]
    fn values_are_text_whatever_they_look_like() {
        let want = [
            r#"2: {"prompt":"007","chosen":"a \"b\", c","rejected":null}"#,
            r#"4: {"prompt":"nan","chosen":" two\nlines ","rejected":"x"y"}"#.replace(r#""x"y""#, r#""x\"y""#).as_str(),
        ]
        .map(str::to_owned);
        assert_eq!(read("prompt,chosen,rejected\n007,\"a \"\"b\"\", c\",\n\nnan,\" two\nlines \",x\"y", None), want);
    }

    #[test]
    fn separators_and_ends_of_lines_are_told_by_the_header() {
        let want = [r#"2: {"a":"1,5","b":"2"}"#];
        assert_eq!(read("a;b\n1,5;2\n", None), want);
        assert_eq!(read("a\tb\r\n1,5\t2\r\n", None), want);
        assert_eq!(read("a\tb;c\n1\t2\n", Some(b'\t')), [r#"2: {"a":"1","b;c":"2"}"#]);
        assert_eq!(read("\"a,b\";c\n1;2\n", None), [r#"2: {"a,b":"1","c":"2"}"#]);
        assert_eq!(
            read("a,b;c\n1,2\n", None),
            ["`x.csv` can be split at `,` or `;`: its first line has both outside of quotes"]
        );
        assert_eq!(read("a,b\r1,2\r", None), [r#"1: {"a":"1","b":"2"}"#]);
        assert_eq!(read(",a\n0,x\n", None), [r#"2: {"Unnamed: 0":"0","a":"x"}"#]);
    }

    #[test]
    fn columns_are_bounded_and_a_long_row_of_them_is_not_kept() {
        let header = |n: usize| (0..n).map(|at| format!("c{at}")).collect::<Vec<_>>().join(",");
        let open = |text: String, limit: usize| {
            let text: &'static str = text.leak();
            open(Path::new("x.csv"), Box::new(text.as_bytes()), &text.as_bytes()[..20], None, limit)
        };
        let error = open(header(200_000), usize::MAX).err().unwrap().to_string();
        assert!(error.contains("expected at most 4096 columns, found more"), "{error}");
        let row = |fields: String| {
            let mut rows = open(format!("{}\n{fields}\na,b\n", header(2)), 1 << 20).unwrap();
            let reason = rows.next().unwrap().unwrap().object.unwrap_err();
            assert!(rows.next().unwrap().unwrap().object.is_ok());
            reason
        };
        assert_eq!(row(",".repeat(1 << 19)), "expected at most 4096 columns, found more");
        assert_eq!(row("x".repeat(1 << 21)), "the row is longer than 1048576 bytes");
    }

    #[test]
    fn what_is_no_record_is_said_and_never_swallows_rows() {
        let long = "`x.csv` has a quote that is never closed: it opens in the row at line 3";
        assert_eq!(read("a,b\n1,2\n\"1,2\n1,2\n", None), [r#"2: {"a":"1","b":"2"}"#, long]);
        assert_eq!(
            read("a,b\n1\n\"1\"2,3\n1,2,3\n", None),
            [
                "2: expected 2 fields, found 1",
                "3: field 1: text behind a closing quote",
                "4: expected 2 fields, found 3"
            ]
        );
        assert_eq!(read("a,a\n1,2\n", None), ["the first line of `x.csv` names no columns: column `a` occurs twice"]);
        let rows = read("a\n0123456789012345678901234567890123456789012345678901234567890123456789\nx\n", None);
        assert_eq!(rows, ["2: the row is longer than 60 bytes", r#"3: {"a":"x"}"#]);
        assert_eq!(read("", None), Vec::<String>::new());
    }
}
