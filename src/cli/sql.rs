//! `piref sql`: one query over tables, runs and data files.

use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use super::{Printer, UsageError, run_of_pipeline};
use crate::io::{self, AtomicFile, IoError};
use crate::query::{self, Format, Session};

/// Query log-prob tables, metrics and data files with SQL.
///
/// A log-prob table is `pairs`, and `scored` with the margin and averages spelt out; what further references say of its
/// pairs is `pairs_NAME`, and `by_reference` has them side by side. A run folder, or the pipeline file it came from, adds
/// `metrics`; a data file has the name of the file.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Log-prob tables, run folders, pipeline files (`.toml`) or data files.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// A path under a name of your own; repeat for more.
    #[arg(long, value_name = "NAME=PATH")]
    table: Vec<NamedPath>,

    /// The query; several are separated by `;`. Without `-c` and `-f` it is read from standard input.
    #[arg(long, short, value_name = "SQL")]
    command: Option<String>,

    /// File with the query.
    #[arg(long, short, conflicts_with = "command")]
    file: Option<PathBuf>,

    /// Form of the rows.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,

    /// File for the rows, instead of standard output.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// `NAME=PATH`.
#[derive(Debug, Clone)]
struct NamedPath {
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
    let mut session = Session::new()?;
    for path in &args.paths {
        let path = run_of_pipeline(path)?;
        session.register(&path).with_context(|| format!("cannot open `{}`", path.display()))?;
    }
    for table in &args.table {
        session
            .register_as(&table.name, &table.path)
            .with_context(|| format!("cannot open `{}` as `{}`", table.path.display(), table.name))?;
    }
    match &args.output {
        None => query::run(&session, &sql, args.format, &mut printer.data())?,
        Some(path) => {
            let mut file = AtomicFile::create(path)?;
            query::run(&session, &sql, args.format, &mut file)?;
            file.flush().map_err(|source| IoError::new("write", path, source))?;
            file.commit()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn sql(args: &Args) -> anyhow::Result<String> {
    if let Some(sql) = &args.command {
        return Ok(sql.clone());
    }
    if let Some(path) = &args.file {
        return Ok(io::read_text(path)?);
    }
    let mut stdin = std::io::stdin().lock();
    if stdin.is_terminal() {
        return Err(UsageError::NoQuery.into());
    }
    let mut sql = String::new();
    stdin.read_to_string(&mut sql).context("cannot read the query from standard input")?;
    if sql.trim().is_empty() { Err(UsageError::NoQuery.into()) } else { Ok(sql) }
}
