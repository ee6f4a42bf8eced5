//! How a run ends that did not succeed: the chain of causes, the hints along it, the exit code.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use super::Printer;
use super::console::CommandError;
use crate::audit::AuditError;
use crate::bench::BenchError;
use crate::checkpoint::CheckpointError;
use crate::data::DataError;
use crate::error::Hint;
use crate::eval::EvalError;
use crate::generate::GenerateError;
use crate::inspect::InspectError;
use crate::interchange::InterchangeError;
use crate::io::IoError;
use crate::model::ModelError;
use crate::model_source::ModelSourceError;
use crate::ops::DeviceError;
use crate::pipeline::{FileError, PipelineError, SetError};
use crate::policy::PolicyError;
use crate::precompute::{ArrayJobError, PrecomputeError};
use crate::query::QueryError;
use crate::report::ReportError;
use crate::scoring::ScoringError;
#[cfg(all(feature = "cluster", unix))]
use crate::serve::ServeError;
use crate::sft::SftError;
use crate::storage::StorageError;
use crate::sweep::{RunError, SweepError};
use crate::table::{NotOutside, ShardError, TableError};
use crate::tokenize::TokenizeError;
use crate::train::TrainError;
use crate::verify::VerifyError;
use crate::visible;

/// Exit code of wrong usage and wrong configuration.
const USAGE: u8 = 2;

/// Arguments that are right one by one and wrong together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UsageError {
    /// `piref sql` without a query.
    #[error("no query: expected `-c SQL`, `-f FILE` or a query on standard input")]
    NoQuery,
    /// Rows in a format of files, without a file.
    #[error("`parquet` and `arrow` are formats of files: expected `-o FILE`")]
    BinaryRows,
    /// A `--table` without a name or a path.
    #[error("expected `NAME=PATH`, found `{found}`")]
    NamedPath {
        /// As given.
        found: String,
    },
    /// A `--threshold` that is none.
    #[error("expected `ID.NAME=NUMBER`, found `{found}`")]
    Threshold {
        /// As given.
        found: String,
    },
    /// A flag that says something about another use of the subcommand.
    #[error("`{flag}` has no effect here: expected it with {with}")]
    Misplaced {
        /// The flag.
        flag: &'static str,
        /// Where it belongs.
        with: &'static str,
    },
}

impl Hint for UsageError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoQuery => Some(
                "`piref sql runs/quickstart -c 'SELECT * FROM pairs LIMIT 5'` shows the first rows of a table".into(),
            ),
            Self::Threshold { .. } => Some("`piref audit --explain ID` shows the numbers of a check".into()),
            Self::BinaryRows | Self::NamedPath { .. } | Self::Misplaced { .. } => None,
        }
    }
}

/// A process that the system does not give what it needs to begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No threads to compute with.
    #[error("cannot start the threads that compute")]
    Threads {
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl Hint for StartError {
    fn hint(&self) -> Option<String> {
        let Self::Threads { .. } = self;
        Some("`--threads 1` starts one; `ulimit -u` shows how many a user may have".into())
    }
}

/// Prints an error, its causes and what can be done about them; returns the exit code of the process.
pub fn report(error: &anyhow::Error, printer: &mut Printer) -> ExitCode {
    if printer.is_pipe_closed() {
        return ExitCode::SUCCESS;
    }
    for line in lines(error) {
        printer.error(line);
    }
    ExitCode::from(if error.chain().any(is_usage) { USAGE } else { 1 })
}

/// Prints what clap has to say: help and version to standard output, an error to standard error.
pub fn report_usage(error: &clap::Error) -> ExitCode {
    // A reader that has gone away needs no help.
    _ = if error.use_stderr() { print_usage(error) } else { error.print() };
    if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
}

/// What clap quotes is what somebody typed, or what a script took from a list of files: nothing in it moves the cursor, and
/// no line of it passes for one of ours.
fn print_usage(error: &clap::Error) -> io::Result<()> {
    let screen = io::stderr();
    let mut text = error.render().ansi().to_string();
    for argument in std::env::args_os() {
        let argument = argument.to_string_lossy();
        // As it was typed, and what clap makes several values of.
        for typed in [&*argument].into_iter().chain(argument.split(['=', ','])) {
            text = text.replace(typed, &visible::line(typed));
        }
    }
    screen.lock().write_all(styled(&text, screen.is_terminal()).as_bytes())
}

/// A text without any sequences of the terminal but clap's own (`ESC [ … m`), and without these if there is none.
fn styled(text: &str, is_screen: bool) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut shown = visible::screen(parts.next().unwrap_or_default()).into_owned();
    for part in parts {
        let end = part.find(|c: char| !(c.is_ascii_digit() || c == ';')).filter(|&end| part[end..].starts_with('m'));
        let (style, rest) = end.map_or(("", part), |end| part.split_at(end + 1));
        if is_screen && !style.is_empty() {
            shown.push_str("\u{1b}[");
            shown.push_str(style);
        }
        shown.push_str(&visible::screen(rest));
    }
    shown
}

fn lines(error: &anyhow::Error) -> Vec<String> {
    lines_of(None, error.chain())
}

/// The same of an error that is told while the work goes on, under a headline.
pub(super) fn lines_under<'a>(headline: String, error: &'a (dyn Error + 'static)) -> Vec<String> {
    let mut chain = vec![error];
    while let Some(cause) = chain.last().copied().and_then(|error: &'a (dyn Error + 'static)| error.source()) {
        chain.push(cause);
    }
    lines_of(Some(headline), chain.into_iter())
}

fn lines_of<'a>(headline: Option<String>, chain: impl Iterator<Item = &'a (dyn Error + 'static)>) -> Vec<String> {
    let mut lines: Vec<String> = headline.iter().map(|headline| format!("error: {headline}")).collect();
    let mut said = headline.unwrap_or_default();
    let mut hints: Vec<String> = Vec::new();
    for cause in chain {
        let message = cause.to_string();
        // A cause that the line above quotes already says nothing new.
        if lines.is_empty() {
            lines.push(format!("error: {message}"));
        } else if !said.ends_with(&message) {
            lines.push(format!("  caused by: {message}"));
        }
        said = message;
        hints.extend(hint(cause).filter(|hint| !hints.contains(hint)));
    }
    if !hints.is_empty() {
        lines.push(String::new());
        lines.extend(hints.iter().map(|hint| format!("hint: {hint}")));
    }
    lines
}

/// The advice of a cause, if it is of a type that has any.
fn hint(cause: &(dyn Error + 'static)) -> Option<String> {
    #[cfg(feature = "cluster")]
    if let Some(hint) = hint_of::<crate::cluster::ClusterError>(cause) {
        return Some(hint);
    }
    #[cfg(all(feature = "cluster", unix))]
    if let Some(hint) = hint_of::<ServeError>(cause) {
        return Some(hint);
    }
    hint_of::<UsageError>(cause)
        .or_else(|| hint_of::<StartError>(cause))
        .or_else(|| hint_of::<CommandError>(cause))
        .or_else(|| hint_of::<PipelineError>(cause))
        .or_else(|| hint_of::<FileError>(cause))
        .or_else(|| hint_of::<SetError>(cause))
        .or_else(|| hint_of::<SweepError>(cause))
        .or_else(|| hint_of::<RunError>(cause))
        .or_else(|| hint_of::<DeviceError>(cause))
        .or_else(|| hint_of::<PrecomputeError>(cause))
        .or_else(|| hint_of::<ArrayJobError>(cause))
        .or_else(|| hint_of::<ShardError>(cause))
        .or_else(|| hint_of::<InterchangeError>(cause))
        .or_else(|| hint_of::<TrainError>(cause))
        .or_else(|| hint_of::<EvalError>(cause))
        .or_else(|| hint_of::<GenerateError>(cause))
        .or_else(|| hint_of::<SftError>(cause))
        .or_else(|| hint_of::<BenchError>(cause))
        .or_else(|| hint_of::<VerifyError>(cause))
        .or_else(|| hint_of::<AuditError>(cause))
        .or_else(|| hint_of::<InspectError>(cause))
        .or_else(|| hint_of::<ReportError>(cause))
        .or_else(|| hint_of::<QueryError>(cause))
        .or_else(|| hint_of::<ScoringError>(cause))
        .or_else(|| hint_of::<CheckpointError>(cause))
        .or_else(|| hint_of::<TableError>(cause))
        .or_else(|| hint_of::<NotOutside>(cause))
        .or_else(|| hint_of::<ModelError>(cause))
        .or_else(|| hint_of::<TokenizeError>(cause))
        .or_else(|| hint_of::<DataError>(cause))
        .or_else(|| hint_of::<PolicyError>(cause))
        .or_else(|| hint_of::<ModelSourceError>(cause))
        .or_else(|| hint_of::<StorageError>(cause))
        .or_else(|| hint_of::<IoError>(cause))
}

fn hint_of<E: Error + Hint + 'static>(cause: &(dyn Error + 'static)) -> Option<String> {
    cause.downcast_ref::<E>().and_then(Hint::hint)
}

/// Whether the cause is something the user wrote, not something that happened.
fn is_usage(cause: &(dyn Error + 'static)) -> bool {
    cause.downcast_ref().is_some_and(is_wrong_setting)
        || cause.downcast_ref().is_some_and(is_wrong_sweep)
        || cause.downcast_ref().is_some_and(AuditError::is_usage)
        || cause.is::<UsageError>()
        || cause.is::<DeviceError>()
        || cause.is::<ArrayJobError>()
        || matches!(cause.downcast_ref(), Some(TableError::Storage(error)) if is_wrong_url(error))
        || matches!(cause.downcast_ref(), Some(GenerateError::Sampling { .. } | GenerateError::NoTemplate { .. }))
        || cause.downcast_ref().is_some_and(is_wrong_model)
        || cause.downcast_ref().is_some_and(is_wrong_policy)
}

fn is_wrong_setting(error: &PipelineError) -> bool {
    match error {
        PipelineError::Record { .. } | PipelineError::Internal { .. } => false,
        PipelineError::Storage(error) => is_wrong_url(error),
        _ => true,
    }
}

/// A URL that cannot be one of an object; whether there is an object is another matter.
fn is_wrong_url(error: &StorageError) -> bool {
    matches!(error, StorageError::Url { .. } | StorageError::Scheme { .. })
}

fn is_wrong_sweep(error: &SweepError) -> bool {
    match error {
        SweepError::Nothing
        | SweepError::ChangesTable { .. }
        | SweepError::Tables
        | SweepError::Model
        | SweepError::Name
        | SweepError::SetTwice { .. }
        | SweepError::SameName { .. }
        | SweepError::TooMany { .. } => true,
        SweepError::Pipeline(error) => is_wrong_setting(error),
        _ => false,
    }
}

fn is_wrong_policy(error: &PolicyError) -> bool {
    match error {
        PolicyError::Source(error) => is_wrong_model(error),
        PolicyError::Model { .. } | PolicyError::Tokenize(_) => false,
        _ => true,
    }
}

fn is_wrong_model(error: &ModelSourceError) -> bool {
    matches!(
        error,
        ModelSourceError::NotFound { .. }
            | ModelSourceError::Url { .. }
            | ModelSourceError::NoModel { .. }
            | ModelSourceError::NoRevision { .. }
            | ModelSourceError::NotFetched { .. }
            | ModelSourceError::Both { .. }
            | ModelSourceError::GgufPartMissing { .. }
            | ModelSourceError::Pointer { .. }
            | ModelSourceError::NotGguf { .. }
    )
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use anyhow::Context;

    use super::*;
    use crate::storage::Location;

    #[test]
    fn causes_are_listed_once_and_hints_come_last() {
        let denied = IoError::new("read", Path::new("a.jsonl"), io::ErrorKind::PermissionDenied.into());
        let error = Err::<(), _>(denied).context("cannot precompute `hh`").unwrap_err();
        assert_eq!(
            lines(&error),
            [
                "error: cannot precompute `hh`",
                "  caused by: cannot read `a.jsonl`: permission denied",
                "",
                "hint: check the owner and the mode of the file and of its folder",
            ]
        );
    }

    #[test]
    fn settings_are_usage_and_work_is_not() {
        let settings = anyhow::Error::new(PipelineError::Missing { key: "model", flag: "--model" }).context("stage");
        assert!(settings.chain().any(is_usage));
        let url = Location::of(Path::new("https://host/table")).unwrap_err();
        assert!(anyhow::Error::new(TableError::from(url)).context("stage").chain().any(is_usage));
        let work = anyhow::Error::new(IoError::Missing { path: "x".into() });
        assert!(!work.chain().any(is_usage));
    }
}
