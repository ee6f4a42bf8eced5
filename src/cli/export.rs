//! `piref export`: a table for another program, an adapter merged into its model, a policy as a GGUF file.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use bytesize::ByteSize;
use serde::Serialize;

use super::{OutputFormat, Printer, UsageError, output, print_json};
use crate::interchange::{self, ExportSummary};
use crate::model::{DEFAULT_SHARD_BYTES, GgufWeights, OutType, SaveDtype, find_adapter};
use crate::pipeline::{PLAN_FILE, Pipeline, PipelineError, Settings, words};
use crate::train::{self, GgufPlan, GgufSummary, MergePlan, MergeSummary};

/// Write the pairs of a log-prob table, or the policy of a run, as another program takes them.
///
/// A table for TRL: one Parquet file with the columns its DPO collator reads, token ids and reference log-probs. A
/// trainer that is told to leave the rows as they are trains from it without a reference model.
///
/// An adapter (`--merge`): a Hugging Face folder of the model it belongs to, the adapter added to its weights. Other
/// policies are such folders already.
///
/// A policy that was trained from a GGUF file (`--to gguf`): a file with its weights, and the metadata and the tokenizer
/// of that one. An adapter is merged.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder of the log-prob table, or one part of it; with `--merge` and `--to gguf` a run folder, or the folder of a
    /// policy.
    path: PathBuf,

    /// What the file is for.
    #[arg(long, value_name = "FORMAT", value_enum, required_unless_present = "merge")]
    to: Option<Target>,

    /// Merge an adapter into its base model.
    #[arg(long, conflicts_with = "to")]
    merge: bool,

    /// Base model of the policy. Default: the one it was trained from.
    #[arg(long)]
    model: Option<String>,

    /// Number types of a GGUF file. Default: f16.
    #[arg(long, value_name = "TYPE", value_enum)]
    outtype: Option<OutType>,

    /// Largest weight file of a merged model, e.g. `2GB`: a larger model is written in several. Default: 5GB.
    #[arg(long, value_name = "SIZE")]
    max_shard_size: Option<ByteSize>,

    /// Number type of a merged model: `auto` is that of its base model, `f32` keeps every number; 16 bits round, so that
    /// `eval` of the folder may differ from that of the adapter in the last digits. Default: auto.
    #[arg(long, value_name = "DTYPE", value_parser = words::<SaveDtype>())]
    save_dtype: Option<SaveDtype>,

    /// File to write, which is replaced if it is there; with `--merge` a new folder.
    #[arg(long, value_name = "PATH")]
    out: PathBuf,

    /// Form of the summary on standard output.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output_format: OutputFormat,
}

/// What can be exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Target {
    /// A table for TRL's DPOTrainer: `prompt_ids`, `chosen_ids`, `rejected_ids`, `ref_chosen_logps`,
    /// `ref_rejected_logps`.
    Trl,
    /// A policy for llama.cpp and what is built on it.
    Gguf,
}

pub(crate) fn run(args: &Args, printer: &mut Printer) -> anyhow::Result<ExitCode> {
    let misplaced = |flag, with| Err(UsageError::Misplaced { flag, with }.into());
    if args.to == Some(Target::Trl) && args.model.is_some() {
        return misplaced("--model", "`--merge` or `--to gguf`");
    }
    if args.to != Some(Target::Gguf) && args.outtype.is_some() {
        return misplaced("--outtype", "`--to gguf`");
    }
    // clap lets a flag pass whose requirement is in conflict with another one.
    if !args.merge && args.max_shard_size.is_some() {
        return misplaced("--max-shard-size", "`--merge`");
    }
    if !args.merge && args.save_dtype.is_some() {
        return misplaced("--save-dtype", "`--merge` (`--to gguf` has `--outtype`)");
    }
    match args.to {
        Some(Target::Trl) => table_for_trl(args, printer),
        Some(Target::Gguf) => gguf(args, printer),
        None => merge(args, printer),
    }
}

fn table_for_trl(args: &Args, printer: &mut Printer) -> anyhow::Result<ExitCode> {
    let failed = || format!("cannot export `{}`", args.path.display());
    if !args.path.exists() {
        return Err(PipelineError::NoTable { path: args.path.clone() }).with_context(failed);
    }
    let out = output(&args.out).with_context(failed)?;
    let summary = interchange::export_trl(&args.path, &out).with_context(failed)?;
    finish(line(&summary), &summary, args, printer)
}

fn merge(args: &Args, printer: &mut Printer) -> anyhow::Result<ExitCode> {
    let plan = MergePlan {
        adapter: args.path.clone(),
        model: args.model.clone(),
        out: args.out.clone(),
        shard_bytes: args.max_shard_size.map_or(DEFAULT_SHARD_BYTES, |size| size.as_u64()),
        save_dtype: args.save_dtype.unwrap_or_default(),
    };
    let summary = train::merge(&plan).with_context(|| format!("cannot merge `{}`", args.path.display()))?;
    for note in summary.notes.iter().cloned().chain(summary.warning()) {
        printer.note(note);
    }
    finish(merge_line(&summary), &summary, args, printer)
}

fn gguf(args: &Args, printer: &mut Printer) -> anyhow::Result<ExitCode> {
    let failed = || format!("cannot export `{}`", args.path.display());
    let base = match &args.model {
        Some(model) => Some(model.clone()),
        // An adapter names its base model itself.
        None if find_adapter(&args.path).is_some() => None,
        None => trained_from(args).with_context(failed)?,
    };
    let out = output(&args.out).with_context(failed)?;
    let plan = GgufPlan { policy: args.path.clone(), base, outtype: args.outtype.unwrap_or_default(), out };
    let summary = train::policy_to_gguf(&plan).with_context(failed)?;
    if let Some(warning) = lost(&summary.weights) {
        printer.note(warning);
    }
    finish(gguf_line(&summary), &summary, args, printer)
}

/// The model that the record of a run names.
fn trained_from(args: &Args) -> Result<Option<String>, PipelineError> {
    let record = args.path.join(PLAN_FILE);
    if !record.is_file() {
        return Ok(None);
    }
    Ok(Pipeline::load(&record, &Settings::default())?.settings().model.clone())
}

fn finish(line: String, summary: &impl Serialize, args: &Args, printer: &mut Printer) -> anyhow::Result<ExitCode> {
    printer.note(line);
    if args.output_format == OutputFormat::Json {
        print_json(summary, printer)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(summary: &ExportSummary) -> String {
    format!("{} pairs with {}: {}", summary.n_pairs, summary.columns.join(", "), summary.out.display())
}

fn merge_line(summary: &MergeSummary) -> String {
    let MergeSummary { model, adapter, lora, weights, out, .. } = summary;
    format!(
        "{model} with the adapter of rank {} in {}, in {}: {}",
        lora.r,
        adapter.display(),
        weights.dtype,
        out.display()
    )
}

fn gguf_line(summary: &GgufSummary) -> String {
    let GgufWeights { n_tensors, n_copied, trained, rounded } = summary.weights;
    format!(
        "{} with the weights of {}: training moved them by {trained:.2e} of their norm, number types by {rounded:.2e}; \
         {n_copied} of {n_tensors} tensors are the base's: {}",
        summary.model,
        summary.policy.display(),
        summary.out.display()
    )
}

/// What a user should know of a file whose types are coarser than what was learnt.
fn lost(weights: &GgufWeights) -> Option<String> {
    let is_lost = weights.rounded > weights.trained;
    is_lost.then(|| {
        "the number types of the file move the weights farther than training has moved them: `--outtype f16` keeps more, \
         `--outtype f32` everything"
            .to_owned()
    })
}
