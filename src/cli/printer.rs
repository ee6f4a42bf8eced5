//! The two streams of the process: data on standard output, talk on standard error.

use std::fmt::Display;
use std::io::{self, IsTerminal, StderrLock, StdoutLock, Write};

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

    /// Standard output.
    pub fn data(&mut self) -> Data<'_> {
        Data { out: io::stdout().lock(), is_pipe_closed: &mut self.is_pipe_closed }
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

/// A line of talk without what a file may have put into it to move the cursor, and of a length people read.
fn printable(line: &str) -> String {
    const LIMIT: usize = 4000;
    let (kept, end) = match line.char_indices().nth(LIMIT) {
        Some((end, _)) => (&line[..end], "…"),
        None => (line, ""),
    };
    let is_harmless = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    let shown = |c: char| if is_harmless(c) { c.to_string() } else { c.escape_default().to_string() };
    let mut text: String = if kept.chars().all(is_harmless) { kept.into() } else { kept.chars().map(shown).collect() };
    text.push_str(end);
    text
}

/// A text of a file as one line that cannot pass for one of ours; quotes stay as they are.
pub(super) fn one_line(text: &str) -> String {
    let shown = |c: char| if matches!(c, '\'' | '"') { c.to_string() } else { c.escape_debug().to_string() };
    text.chars().map(shown).collect()
}

/// Standard output, remembering whether its reader is gone.
#[derive(Debug)]
pub struct Data<'a> {
    out: StdoutLock<'static>,
    is_pipe_closed: &'a mut bool,
}

impl Data<'_> {
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
        let result = self.out.write(bytes);
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
        assert_eq!(printable("`a\u{1b}[2J\r`,\n\tb é"), "`a\\u{1b}[2J\\r`,\n\tb é");
        assert_eq!(printable(&"é".repeat(5000)), "é".repeat(4000) + "…");
    }
}
