//! The commands of the console: what begins with a dot.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::error::{Hint, nearest};
use crate::query::Format;

/// How each command is written, and what it does.
pub(super) const COMMANDS: [(&str, &str); 10] = [
    (".tables", "tables and views that a query can name"),
    (".schema [TABLE]", "columns and types, of all tables or of one; also of a file by its path"),
    (".functions [NAME]", "functions of preference data, with examples"),
    (".mode [FORMAT]", "form of the rows on the screen: table, csv, tsv, json, ndjson, markdown"),
    (".maxrows [ROWS]", "rows of an answer that a table on the screen shows at most, 0 for all"),
    (
        ".output [FILE]",
        "file for the rows that follow, in the format of its extension, complete at the next `.output` or the end; without \
         FILE the screen",
    ),
    (".timing [on|off]", "rows and seconds after each statement"),
    (".read FILE", "statements and commands of a file"),
    (".help", "this list"),
    (".quit", "the end, as Ctrl-D; Ctrl-C stops a query"),
];

/// A command with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Tables,
    Schema(Option<String>),
    Functions(Option<String>),
    Mode(Option<Format>),
    MaxRows(Option<usize>),
    Output(Option<PathBuf>),
    Timing(Option<Timing>),
    Read(PathBuf),
    Help,
    Quit,
}

/// Whether rows and seconds are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Timing {
    On,
    Off,
}

/// A command that is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::cli) enum CommandError {
    /// No such command.
    #[error("there is no command `{found}`")]
    Unknown {
        /// As given.
        found: String,
    },
    /// An argument that is missing, too much or unknown.
    #[error("expected `{expected}`, found `{found}`")]
    Argument {
        /// The command as it is written.
        expected: &'static str,
        /// As given.
        found: String,
    },
    /// Files that read each other.
    #[error("expected at most {limit} files that read each other, found more at `{}`", path.display())]
    Depth {
        /// How many.
        limit: usize,
        /// The file that was not read.
        path: PathBuf,
    },
}

impl Hint for CommandError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { found } => {
                let names = COMMANDS.iter().map(|(usage, _)| name_of(usage));
                let near = nearest(found, names).map(|name| format!("did you mean `{name}`?"));
                Some(near.unwrap_or_else(|| "`.help` lists the commands".into()))
            }
            Self::Argument { .. } | Self::Depth { .. } => None,
        }
    }
}

impl Command {
    /// The command in a line.
    ///
    /// # Errors
    /// If there is no such command, or it does not take what follows it.
    pub(super) fn parse(line: &str) -> Result<Self, CommandError> {
        let line = line.trim();
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let argument = Some(unquoted(rest.trim())).filter(|argument| !argument.is_empty());
        // `\d` and `\q` are typed by whoever comes from psql, words without a dot by everybody.
        let name = match name.to_lowercase().trim_end_matches(';') {
            "\\d" if argument.is_none() => ".tables",
            "\\d" => ".schema",
            "\\dt" => ".tables",
            "\\q" | "quit" | "exit" | ".exit" | ".q" => ".quit",
            "\\?" | "\\h" | "help" | "?" => ".help",
            "\\timing" => ".timing",
            "\\i" => ".read",
            _ => name,
        };
        let usage = COMMANDS.iter().map(|(usage, _)| *usage).find(|usage| name_of(usage) == name);
        let Some(expected) = usage else { return Err(CommandError::Unknown { found: name.to_owned() }) };
        let wrong = || CommandError::Argument { expected, found: line.to_owned() };
        let command = match name {
            ".schema" => Self::Schema(argument.map(str::to_owned)),
            ".functions" => Self::Functions(argument.map(str::to_owned)),
            ".mode" => {
                let format = argument.map(|name| Format::from_str(name, true)).transpose().map_err(|_| wrong())?;
                Self::Mode(if format.is_none_or(Format::is_text) { format } else { return Err(wrong()) })
            }
            ".maxrows" => Self::MaxRows(argument.map(str::parse).transpose().map_err(|_| wrong())?),
            ".output" => Self::Output(argument.map(PathBuf::from)),
            ".timing" => Self::Timing(match argument {
                None => None,
                Some("on") => Some(Timing::On),
                Some("off") => Some(Timing::Off),
                Some(_) => return Err(wrong()),
            }),
            ".read" => Self::Read(argument.ok_or_else(wrong)?.into()),
            _ if argument.is_some() => return Err(wrong()),
            ".tables" => Self::Tables,
            ".quit" => Self::Quit,
            _ => Self::Help,
        };
        Ok(command)
    }
}

/// `.read` of `.read FILE`.
pub(super) fn name_of(usage: &str) -> &str {
    usage.split_once(' ').map_or(usage, |(name, _)| name)
}

/// An argument without the quotes around it; a semicolon behind it is a habit.
fn unquoted(argument: &str) -> &str {
    let argument = argument.strip_suffix(';').unwrap_or(argument).trim_end();
    let inside = |quote: char| argument.strip_prefix(quote)?.strip_suffix(quote);
    inside('\'').or_else(|| inside('"')).unwrap_or(argument)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_with_their_arguments() {
        for (line, want) in [
            (".tables", Command::Tables),
            (" .schema ", Command::Schema(None)),
            (".schema pairs;", Command::Schema(Some("pairs".into()))),
            (".mode CSV", Command::Mode(Some(Format::Csv))),
            (".output 'a b.csv'", Command::Output(Some("a b.csv".into()))),
            (".output", Command::Output(None)),
            (".timing off", Command::Timing(Some(Timing::Off))),
            (".read \"q.sql\"", Command::Read("q.sql".into())),
            ("\\d pairs", Command::Schema(Some("pairs".into()))),
            ("\\d", Command::Tables),
            ("exit", Command::Quit),
            ("QUIT;", Command::Quit),
            ("help", Command::Help),
            (".maxrows 5", Command::MaxRows(Some(5))),
        ] {
            assert_eq!(Command::parse(line).unwrap(), want, "{line}");
        }
    }

    #[test]
    fn what_is_no_command_is_told_with_its_neighbour() {
        let error = Command::parse(".table").unwrap_err();
        assert_eq!(error.hint().unwrap(), "did you mean `.tables`?");
        let error = |line: &str| Command::parse(line).unwrap_err().to_string();
        assert_eq!(error(".mode xml"), "expected `.mode [FORMAT]`, found `.mode xml`");
        assert_eq!(error(".mode parquet"), "expected `.mode [FORMAT]`, found `.mode parquet`");
        assert_eq!(error(".read"), "expected `.read FILE`, found `.read`");
        assert_eq!(error(".quit now"), "expected `.quit`, found `.quit now`");
    }

    #[test]
    fn every_command_of_the_help_is_one() {
        for (usage, _) in COMMANDS {
            let line = if usage == ".read FILE" { usage } else { name_of(usage) };
            assert!(Command::parse(line).is_ok(), "{usage}");
        }
    }
}
