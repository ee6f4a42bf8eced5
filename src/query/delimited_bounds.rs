//! Separated values as they go by: a row is in memory as a whole with whoever parses it, so one that is too long, or has too
//! many fields, is an error before it is read to its end.

use std::io::{self, BufRead, Read};

use crate::query::columns::MAX_COLUMNS;
use crate::query::json_rows::ROW_BYTES;

/// Where in a field the next byte is, as the `csv` crate sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Bare,
    Quoted,
    /// Behind a quote within a quoted field: its end, or the first half of a doubled quote.
    Closed,
}

/// The bytes of a file up to its first row over the limits.
pub(super) struct Bounded<R> {
    inner: R,
    delimiter: u8,
    state: State,
    /// Of the row at hand.
    n_bytes: usize,
    n_fields: usize,
    row_bytes: usize,
}

impl<R: BufRead> Bounded<R> {
    pub(super) fn new(inner: R, delimiter: u8) -> Self {
        Self { inner, delimiter, state: State::Start, n_bytes: 0, n_fields: 1, row_bytes: ROW_BYTES }
    }

    fn check(&mut self, bytes: &[u8]) -> io::Result<()> {
        for &byte in bytes {
            self.n_bytes += 1;
            let is_end = matches!(byte, b'\n' | b'\r');
            self.state = match (self.state, byte) {
                (State::Quoted, b'"') => State::Closed,
                (State::Quoted, _) | (State::Start | State::Closed, b'"') => State::Quoted,
                (_, byte) if byte == self.delimiter || is_end => State::Start,
                _ => State::Bare,
            };
            if self.state == State::Start {
                (self.n_bytes, self.n_fields) = if is_end { (0, 1) } else { (self.n_bytes, self.n_fields + 1) };
            }
            if self.n_bytes > self.row_bytes {
                return Err(io::Error::other(format!("a row of more than {} bytes", self.row_bytes)));
            }
            if self.n_fields > MAX_COLUMNS {
                return Err(io::Error::other(format!("a row of more than {MAX_COLUMNS} columns")));
            }
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_read = self.inner.read(buffer)?;
        self.check(buffer.get(..n_read).unwrap_or_default())?;
        Ok(n_read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<usize, String> {
        let mut bounded = Bounded { row_bytes: 10, ..Bounded::new(text.as_bytes(), b',') };
        let mut bytes = Vec::new();
        bounded.read_to_end(&mut bytes).map_err(|error| error.to_string())
    }

    #[test]
    fn rows_end_where_they_end_for_the_parser() {
        let long = Err("a row of more than 10 bytes".to_owned());
        for (text, want) in [
            ("abc,def\nabc,def\r\nabc,def\rabc,def\n".repeat(9), None),
            ("\"a\nb\",c\n".repeat(9), None),
            ("\"a\"\"b\",c\n".repeat(9), None),
            // A quote within a bare field opens nothing.
            ("a\"b,c\n".repeat(9), None),
            ("abcdefghijk".to_owned(), Some(&long)),
            ("a,b\n\"a\nb\nc\nd\ne\nf\"\n".to_owned(), Some(&long)),
        ] {
            assert_eq!(&read(&text), want.unwrap_or(&Ok(text.len())), "{text}");
        }
        let wide = Bounded::new(&[b','; MAX_COLUMNS][..], b',').read_to_end(&mut Vec::new());
        assert_eq!(wide.unwrap_err().to_string(), "a row of more than 4096 columns");
        Bounded::new(&[b','; MAX_COLUMNS - 1][..], b',').read_to_end(&mut Vec::new()).unwrap();
    }
}
