//! `piref import`: a table of what another program scored.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use super::{OutputFormat, Printer, print_json};
use crate::interchange::{self, ImportDtype, ImportEvent, ImportMap, ImportPlan, ImportSummary, Logps};
use crate::pipeline::{
    DataSettings, ImportFlags, Pipeline, PrecomputeSettings, Settings, Share, TokenizeSettings, number,
};
use crate::policy::PolicySource;
use crate::precompute::Start;

/// Make a log-prob table of pairs that another program has scored.
///
/// Reads `ref_chosen_logps` and `ref_rejected_logps` (TRL up to 0.28 and others write them) beside text pairs or token
/// ids. Attention masks beside token ids cut padding off, labels (−100 where nothing is scored) say where a completion
/// begins; one of which only a part is scored is refused. No model runs: `piref train` scores a sample again before its
/// first step.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Scored pairs: Parquet, `.jsonl`, `.json` (`.gz`, `.zst`) or Arrow IPC.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Split to read of a folder with several, e.g. `train`; `all` for every one.
    #[arg(long, value_name = "SPLIT")]
    split: Option<String>,

    /// The model the log-probs are of: a Hugging Face folder, a `.gguf` file, `org/name` or `org/name@revision` in the local
    /// cache, the folder of an adapter, or a run folder.
    #[arg(long)]
    model: String,

    /// Folder of the log-prob table.
    #[arg(long, value_name = "TABLE")]
    out: PathBuf,

    /// What the log-probs are; averages are multiplied by the number of tokens.
    #[arg(long, value_name = "MEANING", value_enum, default_value_t)]
    logps: Logps,

    /// Columns of the source by what they are, e.g.
    /// `prompt=question,ref_chosen_logps=logp_w,ref_rejected_logps=logp_l`.
    #[arg(long, value_name = "ROLE=COLUMN,…")]
    map: Option<ImportMap>,

    /// Number format the log-probs were computed in; the table says so.
    #[arg(long = "dtype", id = "import_dtype", value_name = "DTYPE", value_enum, default_value_t)]
    dtype: ImportDtype,

    /// Share of rows that may be rejected before the import fails, in [0, 1].
    #[arg(long, value_name = "SHARE", value_parser = number::<Share>)]
    max_reject_rate: Option<Share>,

    /// Take only the first pairs of the data, this many.
    #[arg(long, value_name = "PAIRS")]
    limit: Option<NonZeroU64>,

    #[command(flatten)]
    tokenize: TokenizeSettings,

    /// Pairs in one part of the table.
    #[arg(long, value_name = "PAIRS")]
    rows_per_part: Option<NonZeroUsize>,

    /// Replace the table that is in the folder, once the new one is finished.
    #[arg(long)]
    fresh: bool,

    /// Form of the summary on standard output.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output_format: OutputFormat,
}

pub(crate) fn run(args: Args, printer: &mut Printer) -> anyhow::Result<ExitCode> {
    let format = args.output_format;
    let plan = plan(args)?;
    let failed = || format!("cannot import into `{}`", plan.out.display());
    // Nothing is read for a model that is not there.
    PolicySource::resolve(&plan.model, None).with_context(failed)?;
    let summary = interchange::import(&plan, &mut |event| show(&event, printer)).with_context(failed)?;
    for line in lines(&summary) {
        printer.note(line);
    }
    if format == OutputFormat::Json {
        print_json(&summary, printer)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn plan(args: Args) -> anyhow::Result<ImportPlan> {
    let map = args.map.unwrap_or_default();
    let flags = Settings {
        model: Some(args.model),
        data: DataSettings {
            files: Some(args.files),
            split: args.split,
            map: Some(map.text.clone()).filter(|map| !map.is_empty()),
            max_reject_rate: args.max_reject_rate,
            limit: args.limit,
        },
        tokenize: args.tokenize,
        precompute: PrecomputeSettings { rows_per_part: args.rows_per_part, ..PrecomputeSettings::default() },
        ..Settings::default()
    };
    let start = if args.fresh { Start::Fresh } else { Start::Resume };
    let (out, dtype, logps) = (args.out, args.dtype, args.logps);
    let pipeline = Pipeline::from_flags(&flags)?;
    pipeline.import_plan(ImportFlags { out, map, dtype, logps, start }).context("cannot import")
}

fn show(event: &ImportEvent<'_>, printer: &mut Printer) {
    match event {
        ImportEvent::Detected { path, format, columns } => {
            printer.note(format_args!("read `{}` as {format}: columns {}", path.display(), columns.join(", ")));
        }
        ImportEvent::Unread { path, columns } => {
            printer.note(format_args!("nothing is read of {} in `{}`", columns.join(", "), path.display()));
        }
        ImportEvent::Read { n_pairs, n_rejected } => {
            printer.note(format_args!("{n_pairs} pairs, {n_rejected} rejected"));
        }
        ImportEvent::Note(line) => printer.note(line),
        ImportEvent::Judged { column, reason } => printer.note(format_args!("`{column}`: {reason}")),
    }
}

fn lines(summary: &ImportSummary) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(rejects) = &summary.rejects {
        lines.push(format!("rows left out, with the reason of each: {}", rejects.display()));
    }
    lines.push(format!("table of {} pairs: {}", summary.n_pairs, summary.table.display()));
    lines
}
