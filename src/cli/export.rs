//! `piref export`: a table for another program, or an adapter merged into its model.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use super::{OutputFormat, Printer, print_json};
use crate::interchange::{self, ExportSummary};
use crate::pipeline::PipelineError;
use crate::train::{self, MergePlan, MergeSummary};

/// Write the pairs of a log-prob table, or the policy of a run, as another program takes them.
///
/// A table for TRL: one Parquet file with the columns its DPO collator reads, token ids and reference log-probs. A
/// trainer that is told to leave the rows as they are trains from it without a reference model.
///
/// An adapter (`--merge`): a Hugging Face folder of the model it belongs to, the adapter added to its weights. Other
/// policies are such folders already.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder of the log-prob table, or one part of it; with `--merge` a run folder, or the folder of an adapter.
    path: PathBuf,

    /// The program the file is for.
    #[arg(long, value_name = "PROGRAM", value_enum, required_unless_present = "merge")]
    to: Option<Program>,

    /// Merge an adapter into its base model.
    #[arg(long, conflicts_with = "to")]
    merge: bool,

    /// Base model of the adapter. Default: the one it names.
    #[arg(long, requires = "merge")]
    model: Option<String>,

    /// Parquet file to write, which is replaced if it is there; with `--merge` a new folder.
    #[arg(long, value_name = "PATH")]
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
    match args.to {
        Some(program) => export(program, args, printer),
        None => merge(args, printer),
    }
}

fn export(program: Program, args: &Args, printer: &mut Printer) -> anyhow::Result<ExitCode> {
    let failed = || format!("cannot export `{}`", args.path.display());
    if !args.path.exists() {
        return Err(PipelineError::NoTable { path: args.path.clone() }).with_context(failed);
    }
    let summary = match program {
        Program::Trl => interchange::export_trl(&args.path, &args.out).with_context(failed)?,
    };
    printer.note(line(&summary));
    if args.output_format == OutputFormat::Json {
        print_json(&summary, printer)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn merge(args: &Args, printer: &mut Printer) -> anyhow::Result<ExitCode> {
    let plan = MergePlan { adapter: args.path.clone(), model: args.model.clone(), out: args.out.clone() };
    let summary = train::merge(&plan).with_context(|| format!("cannot merge `{}`", args.path.display()))?;
    printer.note(merge_line(&summary));
    if args.output_format == OutputFormat::Json {
        print_json(&summary, printer)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(summary: &ExportSummary) -> String {
    format!("{} pairs with {}: {}", summary.n_pairs, summary.columns.join(", "), summary.out.display())
}

fn merge_line(summary: &MergeSummary) -> String {
    let MergeSummary { model, adapter, lora, out } = summary;
    format!("{model} with the adapter of rank {} in {}: {}", lora.r, adapter.display(), out.display())
}
