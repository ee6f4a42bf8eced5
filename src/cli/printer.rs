//! The two streams of the process: data on standard output, talk on standard error.

use std::fmt::Display;
use std::io::{self, IsTerminal, StderrLock, StdoutLock, Write};

use crate::visible;

/// How much is said on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    /// Notes, progress, errors.
    Normal,
    /// Errors.
    Quiet,
}

/// Owner of both streams.
#[derive(Debug)]
pub struct Printer {
    verbosity: Verbosity,
    is_pipe_closed: bool,
}

impl Printer {
    /// A printer that says this much.
    pub fn new(verbosity: Verbosity) -> Self {
        Self { verbosity, is_pipe_closed: false }
    }

    /// Says one line on standard error, unless told to be quiet.
    pub fn note(&mut self, line: impl Display) {
        if self.verbosity == Verbosity::Normal {
            self.error(line);
        }
    }

    /// Says one line on standard error in any case.
    pub fn error(&mut self, line: impl Display) {
        // Nobody is left to be told that standard error is gone.
        let _ = writeln!(Self::talk(), "{}", printable(&line.to_string()));
    }

    /// Standard output: to a file or a pipe as it is, on a screen without what would move the cursor or hide.
    pub fn data(&mut self) -> Data<'_> {
        let out = io::stdout().lock();
        let held = out.is_terminal().then(Vec::new);
        Data { out, held, is_pipe_closed: &mut self.is_pipe_closed }
    }

    /// Writes text for people to standard output, each a line of ours whatever it quotes.
    ///
    /// # Errors
    /// What the system says.
    pub fn lines(&mut self, lines: impl IntoIterator<Item = impl AsRef<str>>) -> io::Result<()> {
        let mut out = self.data();
        lines.into_iter().try_for_each(|line| writeln!(out, "{}", visible::message(line.as_ref())))
    }

    /// Whether whoever read standard output has stopped reading: the end of the work, and no failure.
    pub fn is_pipe_closed(&self) -> bool {
        self.is_pipe_closed
    }

    /// How much may be said.
    pub(super) fn verbosity(&self) -> Verbosity {
        self.verbosity
    }

    /// Whether notes go to a screen.
    pub(super) fn is_terminal() -> bool {
        io::stderr().is_terminal()
    }

    fn talk() -> StderrLock<'static> {
        io::stderr().lock()
    }
}

/// A line of talk, of a length people read.
fn printable(line: &str) -> String {
    const LIMIT: usize = 4000;
    match line.char_indices().nth(LIMIT) {
        Some((end, _)) => visible::message(&line[..end]) + "…",
        None => visible::message(line),
    }
}

/// Standard output, remembering whether its reader is gone.
#[derive(Debug)]
pub struct Data<'a> {
    out: StdoutLock<'static>,
    /// Bytes of a character that is not whole yet, where the output is a screen.
    held: Option<Vec<u8>>,
    is_pipe_closed: &'a mut bool,
}

impl Data<'_> {
    /// Writes what is whole of these bytes as a reader should see it.
    fn show(&mut self, mut bytes: Vec<u8>) -> io::Result<()> {
        let n_whole = match std::str::from_utf8(&bytes) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => bytes.len(),
        };
        let rest = bytes.split_off(n_whole);
        self.held = Some(rest);
        self.out.write_all(visible::screen(&String::from_utf8_lossy(&bytes)).as_bytes())
    }

    fn watch<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            *self.is_pipe_closed = true;
        }
        result
    }
}

impl Write for Data<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = match self.held.take() {
            None => self.out.write(bytes),
            Some(mut whole) => {
                whole.extend(bytes);
                self.show(whole).map(|()| bytes.len())
            }
        };
        self.watch(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.out.flush();
        self.watch(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_cannot_write_to_the_terminal() {
        assert_eq!(printable("`a\u{1b}[2J\r`,\n\tb é"), "`a␛[2J\\r`,\n    \tb é");
        assert_eq!(printable(&"é".repeat(5000)), "é".repeat(4000) + "…");
    }
}
