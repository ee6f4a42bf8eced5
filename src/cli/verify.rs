//! `piref verify`: proof that a table is what it says it is.

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use super::progress::{Position, Progress, clock};
use super::{OutputFormat, Printer, nats, objects};
use crate::ops::{Backend, DeviceName};
use crate::policy::PolicySource;
use crate::table::{Finding, FindingsWriter};
use crate::verify::{self, Event, ModelCheck, Plan, Summary};
use crate::visible::message;

/// Check every byte and every row of a log-prob table; with its model, score a sample again.
///
/// Files are held against the manifest (sizes, digests, footers field by field), rows against the contract (one finite
/// log-prob of at most 0 each, ids and sums that fit), and keys against the rows that were read of the data: missing,
/// double and foreign ones are listed. Everything found is told, one line each; exit 1 if anything was, 0 if nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder or URL of the table, or one part of a table.
    table: PathBuf,

    /// Model to compare with the table's and to score a sample with: a Hugging Face folder, a `.gguf` file, `org/name` or
    /// `org/name@revision` in the local cache, the folder of an adapter, or a run folder.
    #[arg(long)]
    model: Option<String>,

    /// Adapter over the model: a PEFT folder, or a run that trained one.
    #[arg(long, value_name = "FOLDER", requires = "model")]
    adapter: Option<PathBuf>,

    /// Pairs to score again; 0 compares the digests of the model only.
    #[arg(long, value_name = "PAIRS", default_value_t = 64, requires = "model")]
    sample: usize,

    /// Seed of the sample.
    #[arg(long, default_value_t = 42, requires = "model")]
    seed: u64,

    /// Largest difference of a sequence that is still rounding, in nats, at least 0.
    #[arg(long, value_name = "NATS", default_value = "1e-3", value_parser = tolerance, requires = "model")]
    tolerance: f64,

    /// Tokens in one forward pass: a matter of speed and memory.
    #[arg(long, value_name = "TOKENS", default_value = "2048", requires = "model")]
    max_tokens: NonZeroUsize,

    /// Where the model runs: `cpu`, `cuda` (`cuda:1` for the second GPU) or `metal`. GPUs need a build
    /// with the feature of that name.
    #[arg(long, default_value = "cpu", requires = "model")]
    device: DeviceName,

    /// Data file the table was made from, to compare its digest; repeat for more files.
    #[arg(long, value_name = "FILE")]
    data: Vec<PathBuf>,

    /// Parquet file for the findings; it is written in any case, without rows if there are none.
    #[arg(long, value_name = "FILE")]
    findings: Option<PathBuf>,

    /// Form of the answer on standard output.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output_format: OutputFormat,
}

pub(crate) fn run(args: Args, printer: &mut Printer) -> anyhow::Result<ExitCode> {
    let failed = format!("cannot verify `{}`", args.table.display());
    let backend = Backend::best(args.device.open().with_context(|| failed.clone())?);
    let model = args.model.map(|model| ModelCheck {
        model,
        adapter: args.adapter,
        sample: args.sample,
        seed: args.seed,
        tolerance: args.tolerance,
        max_tokens: args.max_tokens.get(),
        backend,
    });
    if let Some(check) = &model {
        // Nothing is read for a model that is not there.
        PolicySource::resolve(&check.model, check.adapter.as_deref()).with_context(|| failed.clone())?;
    }
    let table = objects::local(&args.table, printer).with_context(|| failed.clone())?;
    let plan = Plan { table, model, data: args.data };
    let file = args.findings.as_deref().map(FindingsWriter::create).transpose().context("cannot write the findings")?;

    let mut progress = Progress::new(printer);
    let mut output = Output { format: args.output_format, n_written: 0, file, failure: None };
    let summary = verify::run(&plan, &mut |event| output.show(&event, &mut progress));
    output.finish(summary.as_ref().ok(), &mut progress)?;
    drop(progress);

    let summary = summary.context(failed)?;
    if args.output_format == OutputFormat::Text && !summary.hints.is_empty() {
        printer.note("");
        for hint in &summary.hints {
            printer.note(format_args!("hint: {hint}"));
        }
    }
    Ok(if summary.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tolerance(text: &str) -> Result<f64, String> {
    let wrong = || format!("expected nats of at least 0, found `{text}`");
    text.parse().ok().filter(|nats: &f64| nats.is_finite() && *nats >= 0.0).ok_or_else(wrong)
}

/// Where findings go as they come: a table with many of them is not held in memory.
struct Output {
    format: OutputFormat,
    n_written: u64,
    file: Option<FindingsWriter>,
    /// The first write that failed; the callback cannot return it.
    failure: Option<anyhow::Error>,
}

impl Output {
    fn show(&mut self, event: &Event<'_>, progress: &mut Progress<'_>) {
        match event {
            Event::Finding(finding) if self.failure.is_none() => {
                if let Err(error) = self.write(finding, progress) {
                    self.failure = Some(error);
                }
            }
            Event::Finding(_) => {}
            Event::Note(line) => progress.note(line),
            Event::Read { n_pairs, n_total } => {
                let (speed, left) = progress.pace(*n_pairs, *n_total);
                let text = format!("{n_pairs}/{n_total} pairs, {speed:.0} pairs/s, {} left", clock(left));
                progress.advance(&Position { done: *n_pairs, total: *n_total, text: &text });
            }
            Event::Scored { n_pairs, n_total } => {
                let text = format!("{n_pairs}/{n_total} pairs scored again");
                progress.advance(&Position { done: *n_pairs as u64, total: *n_total as u64, text: &text });
            }
        }
    }

    fn write(&mut self, finding: &Finding, progress: &mut Progress<'_>) -> anyhow::Result<()> {
        if let Some(file) = &mut self.file {
            file.push(finding)?;
        }
        let format = self.format;
        let opening = if self.n_written == 0 { "{\"findings\": [\n  " } else { ",\n  " };
        progress.data(|out| match format {
            OutputFormat::Text => writeln!(out, "{:<5}  {:<10}  {}", finding.level, finding.check, finding.evidence),
            OutputFormat::Json => {
                write!(out, "{opening}")?;
                serde_json::to_writer(out, finding).map_err(std::io::Error::from)
            }
        })?;
        self.n_written += 1;
        Ok(())
    }

    /// Closes what was begun; without a summary the verification has failed, and the answer says so by a null.
    fn finish(self, summary: Option<&Summary>, progress: &mut Progress<'_>) -> anyhow::Result<()> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        if let Some(file) = self.file {
            file.finish()?;
        }
        let opening = if self.n_written == 0 { "{\"findings\": [" } else { "\n" };
        progress.data(|out| match (self.format, summary) {
            (OutputFormat::Json, summary) => {
                write!(out, "{opening}],\n\"summary\": ")?;
                serde_json::to_writer_pretty(&mut *out, &summary)?;
                writeln!(out, "}}")
            }
            (OutputFormat::Text, Some(summary)) => {
                lines(summary).iter().try_for_each(|line| writeln!(out, "{}", message(line)))
            }
            (OutputFormat::Text, None) => Ok(()),
        })?;
        Ok(())
    }
}

fn lines(summary: &Summary) -> Vec<String> {
    let took = clock(Duration::try_from_secs_f64(summary.seconds).unwrap_or_default());
    let mut lines = vec![format!(
        "read `{}` in {took}: parts {}, pairs {}, rejected rows {}",
        summary.table.display(),
        summary.n_parts,
        summary.n_pairs,
        summary.n_rejected
    )];
    if !summary.references.is_empty() {
        let of_each: Vec<String> =
            summary.references.iter().map(|(name, n_pairs)| format!("{name} {n_pairs}")).collect();
        lines.push(format!("further references, pairs of each: {}", of_each.join(", ")));
    }
    if let Some(rescored) = &summary.rescored {
        lines.push(format!(
            "scored {} pairs again: max |Δ| {}, mean |Δ| {} nats a sequence (tolerance {})",
            rescored.n_pairs,
            nats(rescored.max_sequence),
            nats(rescored.mean_sequence),
            nats(rescored.tolerance)
        ));
        if rescored.n_tokens > 0 {
            lines.push(format!(
                "of their {} tokens: max |Δ| {}, mean |Δ| {} nats a token",
                rescored.n_tokens,
                nats(rescored.max_token),
                nats(rescored.mean_token)
            ));
        }
    }
    lines.push(if summary.is_clean() {
        "nothing found".into()
    } else {
        format!("errors {}, warnings {}", summary.n_errors, summary.n_warnings)
    });
    lines
}
