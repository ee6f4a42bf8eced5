//! Rows on a terminal: so many of them, long cells cut, through a pager where the user has one.
//!
//! What goes to a file or a pipe is never cut, limited or paged.

use std::io::{self, IsTerminal, Write};
use std::process::{Command, Stdio};

use super::Printer;
use crate::query::{Cells, Form, Format};
use crate::visible;

/// Rows of an answer that a terminal shows unless it is told another number: what one still scrolls through.
pub(super) const MAX_ROWS: usize = 200;

/// The form of rows on standard output; `max_rows` 0 is no limit.
pub(super) fn form(format: Format, max_rows: usize) -> Form {
    if io::stdout().is_terminal() {
        Form { format, cells: Cells::Cut, max_rows: Some(max_rows).filter(|&rows| rows > 0) }
    } else {
        Form::whole(format)
    }
}

/// Does the work with standard output; on a terminal what it writes goes through the pager, if `PIREF_PAGER` or `PAGER`
/// names one.
pub(super) fn paged<T>(printer: &mut Printer, work: impl FnOnce(&mut dyn Write) -> T) -> T {
    let Some(pager) = pager().filter(|_| io::stdout().is_terminal()) else { return work(&mut printer.data()) };
    let mut text = Vec::new();
    let done = work(&mut text);
    if !text.is_empty() && show(&pager, visible::screen(&String::from_utf8_lossy(&text)).as_bytes()).is_err() {
        // Without the pager rather than not at all; that the terminal is gone is seen by whoever writes next.
        _ = printer.data().write_all(&text);
    }
    done
}

fn pager() -> Option<String> {
    let named = |name: &str| std::env::var(name).ok().filter(|pager| !pager.trim().is_empty());
    named("PIREF_PAGER").or_else(|| named("PAGER"))
}

/// Runs the pager with the settings that git gives `less`: what fits on a screen stays there.
fn show(pager: &str, text: &[u8]) -> io::Result<()> {
    let mut command = Command::new("sh");
    command.arg("-c").arg(pager).stdin(Stdio::piped());
    if std::env::var_os("LESS").is_none() {
        command.env("LESS", "FRSX");
    }
    let mut child = command.spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // One that is left before the end has shown what was wanted.
        _ = input.write_all(text);
    }
    child.wait().map(drop)
}
