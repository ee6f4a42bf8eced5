//! JSON lines.

use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use super::{BYTE_ORDER_MARK, RawRow, Text, damaged, object, too_long};
use crate::data::DataError;

/// Rows of a file with one JSON object a line; blank lines are no rows.
pub(super) struct Lines {
    path: PathBuf,
    reader: Text,
    /// The byte that ends a line.
    end: u8,
    limit: usize,
    /// Number of the line in the buffer.
    line: u64,
    /// Rows read.
    n_rows: u64,
    buffer: Vec<u8>,
    is_done: bool,
}

enum Line {
    Whole,
    TooLong,
    End,
}

impl Lines {
    pub(super) fn new(path: &Path, reader: Text, end: u8, limit: usize) -> Self {
        Self { path: path.to_owned(), reader, end, limit, line: 0, n_rows: 0, buffer: Vec::new(), is_done: false }
    }

    /// Reads one line into the buffer; of a line over the limit nothing is kept.
    fn read_line(&mut self) -> io::Result<Line> {
        self.buffer.clear();
        let (mut n_bytes, mut is_too_long) = (0, false);
        loop {
            let bytes = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                bytes => bytes?,
            };
            let end = bytes.iter().position(|byte| *byte == self.end);
            let taken = end.unwrap_or(bytes.len());
            let is_last = bytes.is_empty();
            n_bytes += taken;
            is_too_long |= n_bytes > self.limit;
            if is_too_long {
                self.buffer = Vec::new();
            } else {
                self.buffer.extend_from_slice(&bytes[..taken]);
            }
            self.reader.consume(taken + usize::from(end.is_some()));
            match (end, is_last) {
                (None, false) => {}
                (None, true) if n_bytes == 0 => return Ok(Line::End),
                _ if is_too_long => return Ok(Line::TooLong),
                _ => return Ok(Line::Whole),
            }
        }
    }

    fn row(&mut self, object: Result<object::Object, String>) -> RawRow {
        self.n_rows += 1;
        RawRow { row_idx: self.n_rows - 1, line: Some(self.line), n_bytes: self.buffer.len(), object }
    }
}

impl Iterator for Lines {
    type Item = Result<RawRow, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_done {
            let line = self.read_line();
            self.line += 1;
            match line {
                Ok(Line::End) => self.is_done = true,
                Ok(Line::Whole) if self.buffer.iter().all(u8::is_ascii_whitespace) => {}
                Ok(Line::Whole) => {
                    // Files with a mark each, one behind the other, have it within.
                    let line = self.buffer.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&self.buffer);
                    let object = object::parse(line);
                    return Some(Ok(self.row(object)));
                }
                Ok(Line::TooLong) => {
                    let reason = too_long(self.limit);
                    return Some(Ok(self.row(Err(reason))));
                }
                Err(source) => {
                    self.is_done = true;
                    return Some(Err(damaged(&self.path, self.n_rows, source)));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

    use super::*;

    fn lines(bytes: impl Read + Send + 'static, limit: usize) -> Lines {
        Lines::new(Path::new("x.jsonl"), Box::new(BufReader::with_capacity(16, bytes)), b'\n', limit)
    }

    #[test]
    fn rows_and_lines_are_counted_each_for_itself() {
        let text = b"\n{\"a\": 1}\r\n  \nbad\n{\"a\": 2, \"long\": \"xxxxxxxxxxxxxxxxxxxx\"}\n{\"a\": 3}";
        let rows: Vec<_> = lines(&text[..], 24)
            .map(|row| row.unwrap())
            .map(|row| (row.row_idx, row.line, row.object.map(|object| object["a"].to_string())))
            .collect();
        assert_eq!(
            rows,
            [
                (0, Some(2), Ok("1".into())),
                (1, Some(4), Err("not JSON: expected value at byte 1".into())),
                (2, Some(5), Err("the row is longer than 24 bytes".into())),
                (3, Some(6), Ok("3".into())),
            ]
        );
    }

    #[test]
    fn a_line_over_the_limit_is_not_kept() {
        let mut rows = lines(io::repeat(b'x').take(1 << 22), 1 << 10);
        assert!(rows.next().unwrap().unwrap().object.is_err());
        assert!(rows.buffer.capacity() <= 1 << 11, "{}", rows.buffer.capacity());
        assert!(rows.next().is_none());
    }

    /// A file of any length, made as it is read.
    struct Endless {
        n_rows: usize,
        rest: Vec<u8>,
    }

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.rest.is_empty() && self.n_rows > 0 {
                self.n_rows -= 1;
                self.rest = format!("{{\"prompt\": \"{}\", \"chosen\": \"a\"}}\n", self.n_rows).into_bytes();
            }
            let n_bytes = self.rest.len().min(buffer.len());
            buffer[..n_bytes].copy_from_slice(&self.rest[..n_bytes]);
            self.rest.drain(..n_bytes);
            Ok(n_bytes)
        }
    }

    #[test]
    fn two_hundred_thousand_rows_need_the_memory_of_one() {
        let mut rows = lines(Endless { n_rows: 200_000, rest: Vec::new() }, 1 << 20);
        assert_eq!(rows.by_ref().filter(|row| row.as_ref().unwrap().object.is_ok()).count(), 200_000);
        assert!(rows.buffer.capacity() < 256, "{}", rows.buffer.capacity());
    }
}
