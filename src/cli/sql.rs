//! `piref sql`: one query, or a console, over tables, runs and data files.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

#[cfg(feature = "cluster")]
use super::cluster_flags::Cluster;
use super::console::{self, Console, Timing};
use super::query_memory::QueryMemory;
use super::query_model::QueryModel;
use super::screen;
use super::{Printer, UsageError, objects, run_of_pipeline};
use crate::interrupt::{self, Interrupt};
use crate::io;
use crate::query::{self, Answered, Format, QueryError, Replace, Resources, RowsFile, Session, Sink};

/// Query log-prob tables, metrics and data files with SQL.
///
/// A log-prob table is `pairs`, `scored` with the margin and averages spelt out, and `logps` with a row a token; what
/// further references say of its pairs is `pairs_NAME`, and `by_reference` has them side by side. A run folder, or the
/// pipeline file it came from, adds `metrics` and `evals`; a data file has the name of the file.
///
/// On a terminal, and without a query, it is a console: `.help` lists its commands, `.functions` the functions of
/// preference data. What is typed there is kept in `$XDG_STATE_HOME/piref/sql_history` (`~/.local/state`), but for lines
/// that begin with a blank.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Log-prob tables, run folders, pipeline files (`.toml`) or data files; tables and data files also by URL.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// A path under a name of your own; repeat for more. What comes with it, as `scored` or the `metrics` of a run, is
    /// `NAME_scored`, `NAME_metrics`.
    #[arg(long, value_name = "NAME=PATH")]
    table: Vec<NamedPath>,

    #[command(flatten)]
    model: QueryModel,

    #[cfg(feature = "cluster")]
    #[command(flatten)]
    cluster: Cluster,

    /// The query; several are separated by `;`. Without `-c` and `-f` it is read from standard input.
    #[arg(long, short, value_name = "SQL", allow_hyphen_values = true)]
    command: Option<String>,

    /// File with the query.
    #[arg(long, short, conflicts_with = "command")]
    file: Option<PathBuf>,

    /// Form of the rows. Default: what the extension of `--output` says, else `table`. For a file there are `parquet` and
    /// `arrow`, too.
    #[arg(long, value_enum)]
    format: Option<Format>,

    /// File for the rows, instead of standard output: all of them, uncut. Never one of a table, a run or a model, or one
    /// that the query reads.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Rows of an answer that a terminal shows at most, 0 for all; a file or a pipe gets all.
    #[arg(long, value_name = "ROWS", default_value_t = screen::MAX_ROWS)]
    max_rows: usize,

    #[command(flatten)]
    memory: QueryMemory,

    /// Say how many rows each statement gave, and how long it took.
    #[arg(long)]
    timing: bool,
}

/// `NAME=PATH`.
#[derive(Debug, Clone)]
pub(super) struct NamedPath {
    name: String,
    path: PathBuf,
}

impl std::str::FromStr for NamedPath {
    type Err = UsageError;

    fn from_str(text: &str) -> Result<Self, UsageError> {
        match text.split_once('=') {
            Some((name, path)) if !name.is_empty() && !path.is_empty() => {
                Ok(Self { name: name.to_owned(), path: path.into() })
            }
            _ => Err(UsageError::NamedPath { found: text.to_owned() }),
        }
    }
}

pub(crate) fn run(args: &Args, printer: &mut Printer) -> anyhow::Result<ExitCode> {
    let sql = sql(args)?;
    let interrupt = Interrupt::default();
    let mut session = Session::with(resources(args, &interrupt)?)?;
    register(&mut session, &args.paths, &args.table, printer)?;
    let timing = if args.timing { Timing::On } else { Timing::Off };
    let Some(sql) = sql else {
        let form = screen::form(args.format.unwrap_or(Format::Table), args.max_rows);
        if !form.format.is_text() {
            return Err(UsageError::BinaryRows.into());
        }
        let mut console = Console::new(session, form, timing);
        console.set_output(args.output.as_deref())?;
        return console::run(console, &interrupt, printer);
    };
    // From here on there may be files to clean up: those a query has spilt.
    interrupt.watch_signals().context("cannot handle signals")?;
    let mut notes = Vec::new();
    let mut told = |answered: Answered| notes.push(console::timed(answered));
    let answered = answer(&session, &sql, args, printer, &mut told);
    if timing == Timing::On {
        for note in notes {
            printer.note(note);
        }
    }
    match answered {
        Err(error) if matches!(error.downcast_ref(), Some(QueryError::Interrupted)) => {
            printer.error("interrupted");
            Ok(ExitCode::from(interrupt::EXIT_CODE))
        }
        answered => answered.map(|()| ExitCode::SUCCESS),
    }
}

/// Makes tables known to a session; a pipeline file stands for its run.
pub(super) fn register(
    session: &mut Session,
    paths: &[PathBuf],
    tables: &[NamedPath],
    printer: &mut Printer,
) -> anyhow::Result<()> {
    for path in paths {
        let path = run_of_pipeline(&objects::local(path, printer)?)?;
        session.register(&path).with_context(|| format!("cannot open `{}`", path.display()))?;
    }
    for table in tables {
        let path = run_of_pipeline(&objects::local(&table.path, printer)?)?;
        session
            .register_as(&table.name, &path)
            .with_context(|| format!("cannot open `{}` as `{}`", path.display(), table.name))?;
    }
    Ok(())
}

fn resources(args: &Args, interrupt: &Interrupt) -> anyhow::Result<Resources> {
    let model = args.model.find(interrupt)?;
    let memory_limit = args.memory.bytes();
    let functions = model.functions();
    #[cfg(feature = "cluster")]
    let elsewhere = args.cluster.elsewhere()?;
    #[cfg(not(feature = "cluster"))]
    let elsewhere = None;
    Ok(Resources {
        memory_limit,
        tokenizer: model.tokenizer,
        functions,
        elsewhere,
        interrupt: interrupt.clone(),
        ..Resources::default()
    })
}

fn answer(
    session: &Session,
    sql: &str,
    args: &Args,
    printer: &mut Printer,
    told: &mut dyn FnMut(Answered),
) -> anyhow::Result<()> {
    let Some(path) = &args.output else {
        let format = args.format.unwrap_or(Format::Table);
        if !format.is_text() {
            return Err(UsageError::BinaryRows.into());
        }
        let form = screen::form(format, args.max_rows);
        return Ok(screen::paged(printer, |out| query::run_each(session, sql, Sink::Stream(out, form), told))?);
    };
    let mut file = RowsFile::create(session, path, args.format, Replace::Rows)?;
    query::run_each(session, sql, Sink::File(&mut file), told)?;
    Ok(file.commit(session)?)
}

/// The query; `None` where a terminal asks for a console.
fn sql(args: &Args) -> anyhow::Result<Option<String>> {
    if let Some(sql) = &args.command {
        return Ok(Some(sql.clone()));
    }
    if let Some(path) = &args.file {
        return Ok(Some(io::read_text(path)?));
    }
    let mut stdin = std::io::stdin().lock();
    if stdin.is_terminal() {
        return Ok(None);
    }
    let mut sql = String::new();
    stdin.read_to_string(&mut sql).context("cannot read the query from standard input")?;
    if sql.trim().is_empty() { Err(UsageError::NoQuery.into()) } else { Ok(Some(sql)) }
}
