//! `piref report`: a page about a run.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use super::{Printer, objects, output, run_of_pipeline};
use crate::report::{self, RunInputs};

/// Write a page about a run: settings, curves of its metrics, histograms of its table, timings.
///
/// The page is one HTML file that needs nothing else, no network and no script. `piref train` writes it when it has
/// finished; this writes it of a run that is under way, or again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run folder, or the pipeline file it came from.
    #[arg(value_name = "RUN")]
    run: PathBuf,

    /// The log-prob table, where it is not in the run folder.
    #[arg(long, value_name = "TABLE")]
    table: Option<PathBuf>,

    /// File for the page. Default: `report.html` in the run folder.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, printer: &mut Printer) -> anyhow::Result<ExitCode> {
    let run = run_of_pipeline(&args.run)?;
    let failed = || format!("cannot report on `{}`", run.display());
    let out = args.out.as_deref().map(output).transpose().with_context(failed)?;
    let out = out.unwrap_or_else(|| run.join(report::REPORT));
    let table = args.table.as_ref().map(|table| objects::local(table, printer)).transpose().with_context(failed)?;
    report::write_run(&RunInputs { run: &run, table: table.as_deref() }, &out).with_context(failed)?;
    printer.note(format_args!("report: {}", out.display()));
    Ok(ExitCode::SUCCESS)
}
