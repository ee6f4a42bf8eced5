//! A JSON list of rows, or objects one after another over several lines each, read one element at a time.

use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use super::{RawRow, Text, damaged, object, too_long};
use crate::data::DataError;

/// Rows of a file that is one JSON list, or a sequence of objects.
///
/// Only strings and brackets are looked at, to find where an element ends; the element itself is parsed by serde_json.
/// So a broken element is a reject as long as its quotes and brackets are in pairs.
pub(super) struct Elements {
    path: PathBuf,
    reader: Text,
    limit: usize,
    /// Line that is being read.
    line: u64,
    /// Rows read.
    n_rows: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    /// Within the list; whether a comma has just been read.
    Inside {
        after_comma: bool,
    },
    /// Between objects that are in no list.
    Between,
    Done,
}

/// An element as far as it is read.
#[derive(Default)]
struct Element {
    bytes: Vec<u8>,
    /// Line of its first byte.
    line: u64,
    is_too_long: bool,
    depth: usize,
    in_string: bool,
    is_escaped: bool,
}

impl Element {
    /// Takes the next byte, which is in `line`; of an element over the limit nothing is kept.
    fn push(&mut self, byte: u8, line: u64, limit: usize) {
        if self.in_string {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
        } else {
            match byte {
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                b'"' => self.in_string = true,
                _ => {}
            }
        }
        if self.bytes.is_empty() && !self.is_too_long {
            if byte.is_ascii_whitespace() {
                return;
            }
            self.line = line;
        }
        self.is_too_long |= self.bytes.len() >= limit;
        if self.is_too_long {
            self.bytes = Vec::new();
        } else {
            self.bytes.push(byte);
        }
    }

    fn parsed(&self, limit: usize) -> Result<object::Object, String> {
        if self.is_too_long { Err(too_long(limit)) } else { object::parse(&self.bytes) }
    }
}

/// What follows an element.
enum End {
    Comma,
    List,
}

impl Elements {
    pub(super) fn new(path: &Path, reader: Text, limit: usize) -> Self {
        Self { path: path.to_owned(), reader, limit, line: 1, n_rows: 0, state: State::Start }
    }

    /// Rows of a file that is objects one after another, as `jq` and `json.dumps(…, indent=2)` write them.
    pub(super) fn without_list(path: &Path, reader: Text, limit: usize) -> Self {
        Self { state: State::Between, ..Self::new(path, reader, limit) }
    }

    fn byte(&mut self) -> Result<Option<u8>, DataError> {
        loop {
            match self.reader.fill_buf() {
                Ok(bytes) => {
                    let Some(&byte) = bytes.first() else { return Ok(None) };
                    self.reader.consume(1);
                    self.line += u64::from(byte == b'\n');
                    return Ok(Some(byte));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(damaged(&self.path, self.n_rows, source)),
            }
        }
    }

    fn not_a_list(&self, problem: &'static str) -> DataError {
        DataError::NotList { path: self.path.clone(), rows: self.n_rows, line: self.line, problem }
    }

    fn element(&mut self) -> Result<(Element, End), DataError> {
        let mut element = Element::default();
        loop {
            let line = self.line;
            let Some(byte) = self.byte()? else {
                return Err(self.not_a_list("the file ends within the list"));
            };
            match byte {
                _ if element.in_string => {}
                b',' if element.depth == 0 => return Ok((element, End::Comma)),
                b']' if element.depth == 0 => return Ok((element, End::List)),
                b'}' if element.depth == 0 => return Err(self.not_a_list("`}` without `{`")),
                _ => {}
            }
            element.push(byte, line, self.limit);
        }
    }

    /// The next object of those that are in no list.
    fn object(&mut self) -> Result<Option<Element>, DataError> {
        let not_objects = |rows: &Self, problem| {
            Err(DataError::NotObjects { path: rows.path.clone(), rows: rows.n_rows, line: rows.line, problem })
        };
        let mut element = Element::default();
        loop {
            let line = self.line;
            let Some(byte) = self.byte()? else {
                return if element.depth == 0 { Ok(None) } else { not_objects(self, "the file ends within an object") };
            };
            if element.depth == 0 && byte != b'{' {
                if byte.is_ascii_whitespace() {
                    continue;
                }
                return not_objects(self, "something that is no object");
            }
            element.push(byte, line, self.limit);
            if element.depth == 0 {
                return Ok(Some(element));
            }
        }
    }

    fn next_row(&mut self) -> Result<Option<RawRow>, DataError> {
        if self.state == State::Start {
            while let Some(byte) = self.byte()? {
                if byte == b'[' {
                    break;
                }
            }
            self.state = State::Inside { after_comma: false };
        }
        if self.state == State::Between {
            let Some(element) = self.object()? else { return Ok(None) };
            self.n_rows += 1;
            let (line, n_bytes) = (Some(element.line), element.bytes.len());
            return Ok(Some(RawRow { row_idx: self.n_rows - 1, line, n_bytes, object: element.parsed(self.limit) }));
        }
        let State::Inside { after_comma } = self.state else { return Ok(None) };

        let (element, end) = self.element()?;
        let is_blank = element.bytes.is_empty() && !element.is_too_long;
        match end {
            End::Comma => self.state = State::Inside { after_comma: true },
            End::List => {
                self.state = State::Done;
                self.check_rest()?;
                if is_blank && !after_comma {
                    return Ok(None);
                }
            }
        }
        self.n_rows += 1;
        let object = if is_blank {
            Err("nothing where a row should be: a comma too many".into())
        } else {
            element.parsed(self.limit)
        };
        let line = Some(if is_blank { self.line } else { element.line });
        Ok(Some(RawRow { row_idx: self.n_rows - 1, line, n_bytes: element.bytes.len(), object }))
    }

    fn check_rest(&mut self) -> Result<(), DataError> {
        while let Some(byte) = self.byte()? {
            if !byte.is_ascii_whitespace() {
                return Err(self.not_a_list("something follows the end of the list"));
            }
        }
        Ok(())
    }
}

impl Iterator for Elements {
    type Item = Result<RawRow, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.next_row();
        if row.is_err() {
            self.state = State::Done;
        }
        row.transpose()
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    /// Rows as `row_idx:line:a`, an error last.
    fn read(text: &'static str) -> Vec<String> {
        let reader = Box::new(BufReader::with_capacity(7, text.as_bytes()));
        Elements::new(Path::new("x.json"), reader, 40)
            .map(|row| match row {
                Ok(RawRow { row_idx, line, object: Ok(object), .. }) => {
                    format!("{row_idx}:{}:{}", line.unwrap(), object["a"])
                }
                Ok(RawRow { row_idx, line, object: Err(reason), .. }) => {
                    format!("{row_idx}:{}: {reason}", line.unwrap())
                }
                Err(error) => error.to_string(),
            })
            .collect()
    }

    #[test]
    fn elements_are_found_by_brackets_outside_strings() {
        assert_eq!(
            read(" [\n {\"a\": 1},\n\n {\"a\": \"]},{\\\"\"} ,{\"a\": [{}, [2]]}\n]\n"),
            ["0:2:1", "1:4:\"]},{\\\"\"", "2:4:[{},[2]]",]
        );
        assert_eq!(read("[]"), Vec::<String>::new());
        assert_eq!(read("[\n]\n"), Vec::<String>::new());
    }

    #[test]
    fn a_broken_element_is_one_row() {
        assert_eq!(
            read("[{\"a\": 1},\n{\"a\" 2}, 7,, {\"a\": \"0123456789012345678901234567890123456789\"}, {\"a\": 3},]"),
            [
                "0:1:1",
                "1:2: not JSON: expected `:` at byte 6",
                "2:2: expected a JSON object, found a number",
                "3:2: nothing where a row should be: a comma too many",
                "4:2: the row is longer than 40 bytes",
                "5:2:3",
                "6:2: nothing where a row should be: a comma too many",
            ]
        );
    }

    #[test]
    fn a_broken_list_is_an_error_after_the_rows_before() {
        let not_list = |problem: &str| format!("`x.json` is not a JSON list: {problem}");
        assert_eq!(
            read("[{\"a\": 1},\n{\"a\": "),
            ["0:1:1".to_owned(), not_list("line 2, after 1 rows: the file ends within the list"),]
        );
        assert_eq!(read("[{\"a\": 1}"), [not_list("line 1, after 0 rows: the file ends within the list")]);
        assert_eq!(read("[{\"a\": 1}]\n x"), [not_list("line 2, after 0 rows: something follows the end of the list")]);
        assert_eq!(read("[{\"a\": 1}}]"), [not_list("line 1, after 0 rows: `}` without `{`")]);
    }

    #[test]
    fn objects_without_a_list_are_rows_over_lines() {
        let read = |text: &'static str| -> Vec<String> {
            let reader = Box::new(BufReader::with_capacity(7, text.as_bytes()));
            Elements::without_list(Path::new("x.json"), reader, 40)
                .map(|row| match row {
                    Ok(RawRow { row_idx, line, object, .. }) => {
                        format!(
                            "{row_idx}:{}:{}",
                            line.unwrap(),
                            object.map_or_else(|reason| reason, |o| o["a"].to_string())
                        )
                    }
                    Err(error) => error.to_string(),
                })
                .collect()
        };
        assert_eq!(
            read("{\n  \"a\": \"}{\"\n}\n{\"a\":\n [1]} {\"a\" 3}\n\n"),
            ["0:1:\"}{\"", "1:4:[1]", "2:5:not JSON: expected `:` at byte 6"]
        );
        let not_objects = |problem: &str| format!("`x.json` is not JSON objects one after another: {problem}");
        assert_eq!(read("{\n\"a\": 1},"), ["0:1:1", &not_objects("line 2, after 1 rows: something that is no object")]);
        assert_eq!(read("{\n\"a\": 1"), [not_objects("line 2, after 0 rows: the file ends within an object")]);
    }
}
