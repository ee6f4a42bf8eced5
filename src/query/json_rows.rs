//! The objects of a JSON file, one after another: lines, objects that follow each other, or the items of an array.
//!
//! Where an object ends is told by its brackets alone, so that a file is never in memory as a whole, and what is wrong in one
//! is said with the line where it begins: a line that was cut would otherwise be noticed in the line behind it.

use std::borrow::Cow;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use crate::io::IoError;
use crate::query::json_cursor::quoted_words;
use crate::query::{QueryError, RowPlace};

/// Longest object in bytes, which is in memory as a whole.
pub(super) const ROW_BYTES: usize = 64 << 20;

/// Objects in objects and lists at most: as deep as `serde_json` goes.
const MAX_DEPTH: usize = 127;

/// The objects of a file.
pub(super) struct JsonRows<R> {
    path: PathBuf,
    reader: R,
    /// The line of the next byte, from 1.
    line: u64,
    /// The object that was read last.
    text: Vec<u8>,
    form: Layout,
    /// Objects so far.
    n_rows: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Unknown,
    Objects,
    /// An array that is under way.
    Array,
    /// An array that has ended.
    Ended,
}

/// An object as it is written.
pub(super) struct JsonRow<'a> {
    pub(super) place: RowPlace,
    /// Perhaps with `NaN` and `Infinity`, which Python's `json` writes.
    pub(super) text: &'a str,
    /// The same with these in quotes: JSON.
    pub(super) json: Cow<'a, str>,
}

impl<R: BufRead> JsonRows<R> {
    pub(super) fn new(path: &Path, reader: R) -> Self {
        Self { path: path.to_owned(), reader, line: 1, text: Vec::new(), form: Layout::Unknown, n_rows: 0 }
    }

    /// The next object.
    ///
    /// # Errors
    /// If what follows is no object, or no JSON.
    pub(super) fn next(&mut self) -> Result<Option<JsonRow<'_>>, QueryError> {
        let Some(first) = self.first_of_value()? else { return Ok(None) };
        let line = self.line;
        self.text.clear();
        if first == b'{' {
            self.read_object(line)?;
        } else {
            self.read_line()?;
        }
        let place = match self.form {
            Layout::Array => RowPlace::Item(self.n_rows),
            _ => RowPlace::Line(line),
        };
        self.n_rows += 1;
        let wrap = |source| QueryError::Json { path: self.path.clone(), line: Some(line), source };
        let text = std::str::from_utf8(&self.text).map_err(|error| QueryError::Encoding {
            path: self.path.clone(),
            found: format!(
                "a wrong byte in the object of line {line}, {} bytes behind its beginning",
                error.valid_up_to()
            ),
        })?;
        if first != b'{' {
            let value: serde_json::Value =
                serde_json::from_str(text.trim_end_matches([',', ']', ' '])).map_err(wrap)?;
            return Err(QueryError::JsonRow { path: self.path.clone(), place, found: kind(&value) });
        }
        let json = quoted_words(text);
        let _: serde::de::IgnoredAny = serde_json::from_str(&json).map_err(wrap)?;
        Ok(Some(JsonRow { place, text, json }))
    }

    /// Goes to the first byte of the next value.
    fn first_of_value(&mut self) -> Result<Option<u8>, QueryError> {
        let Some(first) = self.peek()? else {
            return if self.form == Layout::Array { Err(self.misplaced("an end of the file")) } else { Ok(None) };
        };
        match (self.form, first) {
            (Layout::Unknown, b'[') => {
                self.form = Layout::Array;
                self.step(first);
                match self.peek()? {
                    Some(b']') => self.end_of_array(),
                    None => Err(self.misplaced("an end of the file")),
                    first => Ok(first),
                }
            }
            (Layout::Unknown, _) => {
                self.form = Layout::Objects;
                Ok(Some(first))
            }
            (Layout::Objects, _) => Ok(Some(first)),
            (Layout::Array, b']') => self.end_of_array(),
            (Layout::Array, b',') => {
                self.step(first);
                match self.peek()? {
                    Some(b']' | b',') => Err(self.misplaced("a comma behind which nothing comes")),
                    None => Err(self.misplaced("an end of the file")),
                    first => Ok(first),
                }
            }
            (Layout::Array, _) => Err(self.misplaced("an item without a comma before it")),
            (Layout::Ended, _) => Err(self.misplaced("something behind the end of the array")),
        }
    }

    fn end_of_array(&mut self) -> Result<Option<u8>, QueryError> {
        self.step(b']');
        self.form = Layout::Ended;
        match self.peek()? {
            None => Ok(None),
            Some(_) => Err(self.misplaced("something behind the end of the array")),
        }
    }

    fn misplaced(&self, found: &'static str) -> QueryError {
        QueryError::JsonRow { path: self.path.clone(), place: RowPlace::Line(self.line), found }
    }

    /// The next byte that is no blank.
    fn peek(&mut self) -> Result<Option<u8>, QueryError> {
        loop {
            let buffer = self.reader.fill_buf().map_err(|source| IoError::new("read", &self.path, source))?;
            let Some(&byte) = buffer.first() else { return Ok(None) };
            if !byte.is_ascii_whitespace() {
                return Ok(Some(byte));
            }
            self.step(byte);
        }
    }

    fn step(&mut self, byte: u8) {
        self.line += u64::from(byte == b'\n');
        self.reader.consume(1);
    }

    /// Reads to the bracket that closes the first, or to the end of the file.
    fn read_object(&mut self, start: u64) -> Result<(), QueryError> {
        let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
        loop {
            let buffer = self.reader.fill_buf().map_err(|source| IoError::new("read", &self.path, source))?;
            if buffer.is_empty() {
                return Ok(());
            }
            let mut end = None;
            for (at, &byte) in buffer.iter().enumerate() {
                match byte {
                    _ if is_escaped => is_escaped = false,
                    b'\\' if is_text => is_escaped = true,
                    b'"' => is_text = !is_text,
                    b'\n' => self.line += 1,
                    b'{' | b'[' if !is_text => depth += 1,
                    b'}' | b']' if !is_text => depth = depth.saturating_sub(1),
                    _ => {}
                }
                if depth == 0 {
                    end = Some(at + 1);
                    break;
                }
                if depth > MAX_DEPTH {
                    let column = "objects within objects".into();
                    let (expected, found) = ("at most 127 of each other", "more");
                    return Err(QueryError::JsonColumn {
                        path: self.path.clone(),
                        place: RowPlace::Line(start),
                        column,
                        expected,
                        found,
                    });
                }
            }
            let n_bytes = end.unwrap_or(buffer.len());
            self.text.extend_from_slice(&buffer[..n_bytes]);
            self.reader.consume(n_bytes);
            if end.is_some() {
                return Ok(());
            }
            if self.text.len() > ROW_BYTES {
                // One that was cut goes on like this to the end of the file, and is wrong long before.
                let cut: Result<serde::de::IgnoredAny, _> = serde_json::from_slice(&self.text);
                return match cut {
                    Err(source) if source.is_syntax() => {
                        Err(QueryError::Json { path: self.path.clone(), line: Some(start), source })
                    }
                    _ => {
                        let message = format!("expected at most {ROW_BYTES} bytes in an object, found more");
                        Err(IoError::new("read", &self.path, std::io::Error::other(message)).into())
                    }
                };
            }
        }
    }

    /// The rest of a line, of what is no object.
    fn read_line(&mut self) -> Result<(), QueryError> {
        let mut line = (&mut self.reader).take(ROW_BYTES as u64);
        line.read_until(b'\n', &mut self.text).map_err(|source| IoError::new("read", &self.path, source))?;
        self.line += 1;
        Ok(())
    }
}

fn kind(value: &serde_json::Value) -> &'static str {
    use serde_json::Value;
    match value {
        Value::Object(_) => "an object",
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The objects of a text and, where it fails, what is said.
    fn rows(text: &str) -> (Vec<String>, Option<String>) {
        // A small buffer, so that objects cross its border.
        let reader = std::io::BufReader::with_capacity(3, text.as_bytes());
        let mut rows = JsonRows::new(Path::new("d.json"), reader);
        let mut found = Vec::new();
        loop {
            match rows.next() {
                Ok(Some(row)) => found.push(format!("{}: {}", row.place, row.text)),
                Ok(None) => return (found, None),
                Err(error) => return (found, Some(crate::error::chain(&error))),
            }
        }
    }

    #[test]
    fn objects_are_found_on_lines_in_a_row_and_in_an_array() {
        let lines = ["line 1: {\"a\":\"}\\\"{\"}", "line 4: {\"b\":\n[{}]}"];
        assert_eq!(rows("{\"a\":\"}\\\"{\"}\n\n\n{\"b\":\n[{}]}\n"), (lines.map(str::to_owned).to_vec(), None));
        assert_eq!(rows("{\"a\":1}{\"a\":2}").0.len(), 2);
        assert_eq!(rows(" [ {\"a\":1} , {\"a\":2} ] \n").0, ["row 0: {\"a\":1}", "row 1: {\"a\":2}"]);
        assert_eq!(rows("[]"), (vec![], None));
        assert_eq!(rows(" \n"), (vec![], None));
    }

    #[test]
    fn what_is_wrong_is_said_with_the_line_where_it_begins() {
        for (text, n_rows, want) in [
            ("{\"a\":1}\n{\"a\":2\n{\"a\":3}\n", 1, "the object that begins in line 2"),
            ("{\"a\":1}\n{\"a\":2\n", 1, "the object that begins in line 2"),
            ("{\"a\":1}\n{\"a\": Nan}\n", 1, "the object that begins in line 2"),
            ("{\"a\":1}\n7\n", 1, "`d.json`, line 2: expected a JSON object, found a number"),
            ("[{\"a\":1},", 1, "found an end of the file"),
            ("[{\"a\":1} {\"a\":1}]", 1, "found an item without a comma before it"),
            ("[{\"a\":1},]", 1, "found a comma behind which nothing comes"),
            ("[{\"a\":1}] x", 1, "found something behind the end of the array"),
            ("[1]", 0, "expected a JSON object, found a number"),
        ] {
            let (found, error) = rows(text);
            assert_eq!(found.len(), n_rows, "{text}");
            assert!(error.as_ref().is_some_and(|error| error.contains(want)), "{text}: {error:?}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        assert!(rows(&deep).1.unwrap().contains("at most 127"));
    }
}
