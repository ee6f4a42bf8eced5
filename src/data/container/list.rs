//! A JSON list of rows, read one element at a time.

use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use super::{RawRow, Text, damaged, object, too_long};
use crate::data::DataError;

/// Rows of a file that is one JSON list.
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

/// What follows an element.
enum End {
    Comma,
    List,
}

impl Elements {
    pub(super) fn new(path: &Path, reader: Text, limit: usize) -> Self {
        Self { path: path.to_owned(), reader, limit, line: 1, n_rows: 0, state: State::Start }
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
            if element.in_string {
                match byte {
                    _ if element.is_escaped => element.is_escaped = false,
                    b'\\' => element.is_escaped = true,
                    b'"' => element.in_string = false,
                    _ => {}
                }
            } else {
                match byte {
                    b',' if element.depth == 0 => return Ok((element, End::Comma)),
                    b']' if element.depth == 0 => return Ok((element, End::List)),
                    b'}' if element.depth == 0 => return Err(self.not_a_list("`}` without `{`")),
                    b'{' | b'[' => element.depth += 1,
                    b'}' | b']' => element.depth -= 1,
                    b'"' => element.in_string = true,
                    _ => {}
                }
            }
            if element.bytes.is_empty() && !element.is_too_long {
                if byte.is_ascii_whitespace() {
                    continue;
                }
                element.line = line;
            }
            element.is_too_long |= element.bytes.len() >= self.limit;
            if element.is_too_long {
                element.bytes = Vec::new();
            } else {
                element.bytes.push(byte);
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
        } else if element.is_too_long {
            Err(too_long(self.limit))
        } else {
            object::parse(&element.bytes)
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
}
