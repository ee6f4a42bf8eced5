//! `piref audit`: what is wrong with the data, by the data and by what the reference says of it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use super::audit_outputs::{OutputArgs, Outputs};
use super::audit_text::{explain, lines, list};
use super::query_memory::QueryMemory;
use super::{OutputFormat, Printer, UsageError, objects, output, print_json};
use crate::audit::{self, Event, Exclusion};
use crate::pipeline::{AuditSettings, Pipeline, Settings};
use crate::visible::visible;

/// Find what is wrong with preference data: with the texts, the labels, and what the reference says of them.
///
/// Every check is a question with a formula, a source and advice: `--list` names them, `--explain ID` prints one with its
/// SQL. Findings are rows that `piref sql` can query. A check that cannot look at this table is told as skipped.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Log-prob table, run folder, or the pipeline file (`.toml`) it came from, whose `[audit]` counts.
    #[arg(required_unless_present_any = ["list", "explain"])]
    table: Option<PathBuf>,

    #[command(flatten)]
    outputs: OutputArgs,

    #[command(flatten)]
    settings: AuditSettings,

    /// Another number for a check, e.g. `E3.z=4`; repeat for more.
    #[arg(long, value_name = "ID.NAME=NUMBER")]
    threshold: Vec<Threshold>,

    /// List the pairs that stay when those of the checks in `--exclude` are left out: a file for `piref train
    /// --curriculum`.
    #[arg(long, value_name = "FILE", requires = "exclude")]
    write_selection: Option<PathBuf>,

    /// Checks whose pairs are left out of the selection, by name or family. Of a pair that a check of repetitions has found
    /// (C7) the first row stays.
    #[arg(long, value_name = "ID,…", value_delimiter = ',', requires = "write_selection")]
    exclude: Vec<String>,

    #[command(flatten)]
    memory: QueryMemory,

    /// Print the checks and look at nothing.
    #[arg(long, conflicts_with = "explain")]
    list: bool,

    /// Print what a check asks, and its SQL.
    #[arg(long, value_name = "ID")]
    explain: Option<String>,

    /// Form of the answer on standard output.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output_format: OutputFormat,
}

/// `ID.NAME=NUMBER`.
#[derive(Debug, Clone)]
struct Threshold {
    id: String,
    name: String,
    number: f64,
}

impl std::str::FromStr for Threshold {
    type Err = UsageError;

    fn from_str(text: &str) -> Result<Self, UsageError> {
        let parts = || {
            let (key, number) = text.split_once('=')?;
            let (id, name) = key.rsplit_once('.')?;
            let number = number.trim().parse().ok().filter(|number: &f64| number.is_finite())?;
            Some(Self { id: id.to_owned(), name: name.to_owned(), number })
        };
        parts().ok_or_else(|| UsageError::Threshold { found: text.to_owned() })
    }
}

pub(crate) fn run(args: &Args, printer: &mut Printer) -> anyhow::Result<ExitCode> {
    let pipeline = pipeline(args)?;
    let settings = &pipeline.settings().audit;
    if let Some(id) = &args.explain {
        let (checks, beta) = (settings.all_checks()?, pipeline.audit_beta()?);
        let text = explain(checks.get(id)?, settings.thresholds.as_ref(), beta);
        write!(printer.data(), "{}", visible(&text))?;
        return Ok(ExitCode::SUCCESS);
    }
    let checks = settings.checks()?;
    if args.list {
        match args.output_format {
            OutputFormat::Json => print_json(&checks.infos().collect::<Vec<_>>(), printer)?,
            OutputFormat::Text => {
                printer.lines(list(&checks))?;
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let Some(path) = &args.table else { return Ok(ExitCode::SUCCESS) };
    let path = objects::local(path, printer).context("cannot audit")?;
    let outputs = Outputs::of(&path, &args.outputs)?;
    let selection = args.write_selection.as_deref().map(output).transpose()?;
    let exclusion = selection.map(|path| Exclusion { checks: args.exclude.clone(), path });
    let plan = audit::Plan { memory_limit: args.memory.bytes(), ..pipeline.audit_plan(&outputs.table, exclusion)? };

    let failed = || format!("cannot audit `{}`", outputs.table.display());
    let mut sinks = outputs.begin()?;
    let summary = audit::run(&plan, &checks, &mut |event| match event {
        Event::Finding(finding) => sinks.push(finding),
        Event::Note(note) => {
            printer.note(note);
            Ok(())
        }
        Event::Begun(_) | Event::Ended(_) => Ok(()),
    })
    .with_context(failed)?;
    outputs.finish(sinks, &plan, &checks, &summary)?;
    match args.output_format {
        OutputFormat::Json => print_json(&summary, printer)?,
        OutputFormat::Text => {
            printer.lines(lines(&summary))?;
        }
    }
    outputs.tell(printer);
    if let Some(kept) = &summary.selection {
        printer.note(format_args!("selection: {}", kept.path.display()));
    }
    Ok(if settings.fail_on.is_some_and(|on| summary.fails(on)) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The settings of the pipeline file, if one is named, under the flags.
fn pipeline(args: &Args) -> anyhow::Result<Pipeline> {
    let mut audit = args.settings.clone();
    if !args.threshold.is_empty() {
        let mut thresholds: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
        for Threshold { id, name, number } in &args.threshold {
            thresholds.entry(id.clone()).or_default().insert(name.clone(), *number);
        }
        audit.thresholds = Some(thresholds);
    }
    let flags = Settings { audit, ..Settings::default() };
    let file = args.table.as_deref().filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    Ok(super::pipeline(file, &flags)?)
}
