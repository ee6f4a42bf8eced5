//! `piref export`: a table for another program.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use super::{OutputFormat, Printer, print_json};
use crate::interchange::{self, ExportSummary};
use crate::pipeline::PipelineError;

/// Write the pairs of a log-prob table as another program takes them.
///
/// For TRL: one Parquet file with the columns its DPO collator reads, token ids and reference log-probs. A trainer that
/// is told to leave the rows as they are trains from it without a reference model.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder of the log-prob table, or one part of it.
    table: PathBuf,

    /// The program the file is for.
    #[arg(long, value_name = "PROGRAM", value_enum)]
    to: Program,

    /// Parquet file to write; it is replaced if it is there.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Form of the summary on standard output.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output_format: OutputFormat,
}

/// What a table can be exported to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Program {
    /// TRL's DPOTrainer: `prompt_ids`, `chosen_ids`, `rejected_ids`, `ref_chosen_logps`, `ref_rejected_logps`.
    Trl,
}

pub(crate) fn run(args: &Args, printer: &mut Printer) -> anyhow::Result<ExitCode> {
    let failed = || format!("cannot export `{}`", args.table.display());
    if !args.table.exists() {
        return Err(PipelineError::NoTable { path: args.table.clone() }).with_context(failed);
    }
    let summary = match args.to {
        Program::Trl => interchange::export_trl(&args.table, &args.out).with_context(failed)?,
    };
    printer.note(line(&summary));
    if args.output_format == OutputFormat::Json {
        print_json(&summary, printer)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(summary: &ExportSummary) -> String {
    format!("{} pairs with {}: {}", summary.n_pairs, summary.columns.join(", "), summary.out.display())
}
