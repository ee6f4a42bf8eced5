//! `piref sql`: one query over tables of a run.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{Printer, UsageError};

/// Query log-prob tables and metrics with SQL.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Tables.
    paths: Vec<PathBuf>,
}

pub(crate) fn run(args: &Args, _: &mut Printer) -> anyhow::Result<ExitCode> {
    Err(UsageError::TableName { found: format!("{:?}", args.paths) }.into())
}
