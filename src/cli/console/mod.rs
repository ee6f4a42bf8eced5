//! The console of `piref sql`: statements and commands, one entry after another.
//!
//! A [`Console`] answers entries and knows no terminal; [`run`] reads them from one, with history and completion.

mod command;
mod complete;
mod editor;
mod entry;

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use self::command::{COMMANDS, Command};
use self::complete::Vocabulary;
use self::editor::{Line, LineEditor};
use super::{Printer, failure, screen};
use crate::interrupt::Interrupt;
use crate::io;
use crate::query::{self, Answered, Form, Format, Function, Replace, RowsFile, Session, Sink};

pub(super) use self::command::{CommandError, Timing};

/// Files that `.read` each other at most.
const MAX_DEPTH: usize = 16;

/// What a console knows between two entries.
pub(super) struct Console {
    session: Session,
    /// Of the rows on the screen.
    form: Form,
    timing: Timing,
    /// Where rows go instead of the screen.
    output: Option<RowsFile>,
    /// Files that are being read.
    depth: usize,
}

/// What comes after an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Entry,
    End,
}

/// Reads entries from the terminal and answers them, until the user has enough.
pub(super) fn run(mut console: Console, interrupt: &Interrupt, printer: &mut Printer) -> anyhow::Result<ExitCode> {
    let mut editor = LineEditor::new().context("cannot use the terminal")?;
    printer.note(format_args!("piref {}: `.help` lists the commands", env!("CARGO_PKG_VERSION")));
    printer.note(console.greeting());
    interrupt.watch_ctrl_c().context("cannot handle signals")?;
    loop {
        // What was stopped has stopped.
        interrupt.clear();
        editor.learn(Vocabulary::of(&console.session));
        let entry = match editor.read().context("cannot read from the terminal")? {
            Line::Entry(entry) => entry,
            Line::Cancelled => continue,
            Line::End => break,
        };
        let mut notes = Vec::new();
        let answered = screen::paged(printer, |out| console.enter(&entry, out, &mut |note| notes.push(note)));
        for note in notes {
            printer.note(note);
        }
        match answered {
            Ok(Next::Entry) => {}
            Ok(Next::End) => break,
            // An error ends the entry and not the console.
            Err(error) => _ = failure::report(&error, printer),
        }
        if printer.is_pipe_closed() {
            break;
        }
    }
    console.close()?;
    Ok(ExitCode::SUCCESS)
}

impl Console {
    /// A console over a session whose rows have this form on the screen.
    pub(super) fn new(session: Session, form: Form, timing: Timing) -> Self {
        Self { session, form, timing, output: None, depth: 0 }
    }

    /// Sends the rows that follow to a file, or back to the screen; a file before is complete. Rows in a file have the format
    /// of its extension, and those of the screen where it says nothing.
    ///
    /// # Errors
    /// If one of the files cannot be written, or is not for rows.
    pub(super) fn set_output(&mut self, path: Option<&Path>) -> anyhow::Result<()> {
        self.close()?;
        let create = |path: &Path| {
            let asked = Format::of_file(path, None).is_err().then_some(self.form.format);
            RowsFile::create(&self.session, path, asked, Replace::Rows)
        };
        self.output = path.map(create).transpose()?;
        Ok(())
    }

    /// Completes the file that rows went to.
    fn close(&mut self) -> anyhow::Result<()> {
        match self.output.take() {
            Some(file) => Ok(file.commit(&self.session)?),
            None => Ok(()),
        }
    }

    fn greeting(&self) -> String {
        let tables = self.session.tables();
        if tables.is_empty() {
            "no tables: FROM 'path/to/file' reads one".into()
        } else {
            format!("tables: {}", tables.join(", "))
        }
    }

    /// Answers statements, or a command. Rows and texts go to `screen`, what is said about them to `note`.
    fn enter(&mut self, entry: &str, screen: &mut dyn Write, note: &mut dyn FnMut(String)) -> anyhow::Result<Next> {
        if !entry::is_command(entry) {
            self.answer(entry, self.timing, screen, note)?;
            return Ok(Next::Entry);
        }
        match Command::parse(entry)? {
            Command::Tables => self.answer(TABLES, Timing::Off, screen, note)?,
            Command::Schema(None) => self.answer(COLUMNS, Timing::Off, screen, note)?,
            Command::Schema(Some(table)) => self.answer(&describe(&table), Timing::Off, screen, note)?,
            Command::Functions(name) => {
                screen.write_all(functions(self.session.functions(), name.as_deref()).as_bytes())?;
            }
            Command::Mode(Some(format)) => self.form.format = format,
            Command::Mode(None) => note(format!("mode {}", format_name(self.form.format))),
            Command::MaxRows(Some(rows)) => self.form.max_rows = Some(rows).filter(|&rows| rows > 0),
            Command::MaxRows(None) => note(format!("maxrows {}", self.form.max_rows.unwrap_or(0))),
            Command::Output(path) => self.set_output(path.as_deref())?,
            Command::Timing(Some(timing)) => self.timing = timing,
            Command::Timing(None) => {
                note(format!("timing {}", if self.timing == Timing::On { "on" } else { "off" }));
            }
            Command::Read(path) => return self.read(&path, screen, note),
            Command::Help => screen.write_all(help().as_bytes())?,
            Command::Quit => return Ok(Next::End),
        }
        Ok(Next::Entry)
    }

    fn answer(
        &mut self,
        sql: &str,
        timing: Timing,
        screen: &mut dyn Write,
        note: &mut dyn FnMut(String),
    ) -> anyhow::Result<()> {
        let sink = match &mut self.output {
            Some(file) => Sink::File(file),
            None => Sink::Stream(screen, self.form),
        };
        let mut told = |answered: Answered| {
            if timing == Timing::On {
                note(timed(answered));
            }
        };
        Ok(query::run_each(&self.session, sql, sink, &mut told)?)
    }

    /// The entries of a file, until one fails or wants the end.
    fn read(&mut self, path: &Path, screen: &mut dyn Write, note: &mut dyn FnMut(String)) -> anyhow::Result<Next> {
        if self.depth == MAX_DEPTH {
            return Err(CommandError::Depth { limit: MAX_DEPTH, path: path.to_owned() }.into());
        }
        let text = io::read_text(path)?;
        self.depth += 1;
        let next = self.read_entries(&text, screen, note);
        self.depth -= 1;
        let (line, next) = next;
        next.with_context(|| format!("`{}`, line {line}", path.display()))
    }

    /// The number of the line at which the last entry begins, from 1, and what came of it.
    fn read_entries(
        &mut self,
        text: &str,
        screen: &mut dyn Write,
        note: &mut dyn FnMut(String),
    ) -> (usize, anyhow::Result<Next>) {
        let (mut entry, mut start) = (String::new(), 1);
        let n_lines = text.lines().count();
        for (number, line) in (1..).zip(text.lines()) {
            if entry.is_empty() {
                start = number;
            }
            entry.push_str(line);
            entry.push('\n');
            // The last statement of a file needs no semicolon.
            if number < n_lines && !entry::is_complete(&entry) {
                continue;
            }
            match self.enter(&entry, screen, note) {
                Ok(Next::Entry) => entry.clear(),
                end => return (start, end),
            }
        }
        (start, Ok(Next::Entry))
    }
}

/// Rows and seconds of a statement.
pub(super) fn timed(answered: Answered) -> String {
    let rows = if answered.n_rows == 1 { "row" } else { "rows" };
    format!("{} {rows} in {:.3} s", answered.n_rows, answered.elapsed.as_secs_f64())
}

const TABLES: &str = "SELECT table_name AS name, CASE table_type WHEN 'VIEW' THEN 'view' ELSE 'table' END AS kind \
                      FROM information_schema.tables WHERE table_schema = 'public' ORDER BY table_name";

const COLUMNS: &str = "SELECT table_name, column_name, data_type FROM information_schema.columns \
                       WHERE table_schema = 'public' ORDER BY table_name, ordinal_position";

/// The statement that lists the columns of a table or, of what looks like a path, of a file.
fn describe(table: &str) -> String {
    if table.contains(['.', '/']) {
        format!("DESCRIBE '{}'", table.replace('\'', "''"))
    } else {
        format!("DESCRIBE \"{}\"", table.replace('"', "\"\""))
    }
}

fn help() -> String {
    let width = COMMANDS.iter().map(|(usage, _)| usage.len()).max().unwrap_or_default();
    let mut text = String::new();
    for (usage, doc) in COMMANDS {
        // Writing to a string does not fail.
        _ = writeln!(text, "{usage:width$}  {doc}");
    }
    text.push_str("A statement ends with `;` and may take several lines.\n");
    text
}

/// What there is to say of our own functions, or of one.
fn functions(known: &[Function], name: Option<&str>) -> String {
    let is_meant = |function: &&Function| name.is_none_or(|name| function.name().eq_ignore_ascii_case(name));
    let mut text = String::new();
    for Function { call, kind, doc, example, answer } in known.iter().filter(is_meant) {
        _ = writeln!(text, "{call}  [{kind}]\n    {doc}\n    {example};  -- {answer}");
    }
    if let (Some(name), true) = (name, text.is_empty()) {
        _ = writeln!(text, "`{name}` is none of piref's own functions: {}", names(known));
    }
    if name.is_none() {
        text.push_str("Those of DataFusion: SELECT DISTINCT routine_name FROM information_schema.routines;\n");
    }
    text
}

fn names(known: &[Function]) -> String {
    known.iter().map(Function::name).collect::<Vec<_>>().join(", ")
}

fn format_name(format: Format) -> String {
    use clap::ValueEnum;
    format.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Where the entries of former consoles are: `$XDG_STATE_HOME/piref/sql_history`, else under `~/.local/state`.
fn history_path() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local").join("state")))?;
    Some(state.join("piref").join("sql_history"))
}

#[cfg(test)]
mod tests;
