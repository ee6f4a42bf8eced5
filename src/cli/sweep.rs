//! `piref sweep`: many runs on one table, on the command line.

use std::fmt::Write as _;
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use super::progress::Progress;
use super::train_progress::TrainProgress;
use super::{Printer, UsageError, failure, objects};
use crate::interrupt::{self, Interrupt};
use crate::pipeline::{Axis, read_list, short_key};
use crate::query::{self, Format, Session, quoted};
use crate::sweep::{
    self, Comparison, Event, LAST_STEPS, Outcome, PAGE, Plan, RankBy, Request, SWEEP, Standing, SweepError,
};
use crate::train::Start;

/// Train once for each combination of settings, all from one log-prob table, and compare the runs.
///
/// The table is that of the pipeline, `runs/<name>/reference`; if it is not there, the reference model makes it once. Each
/// run has a folder of its own below `--out`, like any other run. Run again, the command makes what is missing: finished
/// runs are kept, an interrupted one goes on from its checkpoint, one that failed is tried again. The comparison goes to
/// standard output, `sweep.parquet` and `sweep.html`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Pipeline file with the settings that all runs have in common.
    pipeline: PathBuf,

    /// Folder of the sweep.
    #[arg(long, value_name = "SWEEP")]
    out: PathBuf,

    /// A setting of the pipeline file and the values it takes, e.g. `train.loss.beta=0.05,0.1,0.5`; repeat for more
    /// settings: there is a run for each combination.
    #[arg(long, value_name = "KEY=VALUE,…")]
    set: Vec<String>,

    /// TOML file with one `[[run]]` for each run and its settings below that, in place of a grid or combined with it.
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,

    /// Another log-prob table than that of the pipeline.
    #[arg(long, value_name = "TABLE")]
    table: Option<PathBuf>,

    /// Metric that decides the order, e.g. `eval_loss` or `rewards/margins`; with `:min` or `:max` where neither end of
    /// it is better by itself. Default: the reward accuracy, on held-out pairs if there are any. Losses of another β or
    /// another objective have another scale.
    #[arg(long, value_name = "METRIC")]
    rank_by: Option<RankBy>,

    /// Steps at the end of a run that means are taken over.
    #[arg(long, value_name = "STEPS", default_value_t = LAST_STEPS)]
    last_steps: NonZeroUsize,

    /// Say which runs there are and how far they are, and make none.
    #[arg(long)]
    dry_run: bool,

    /// Start again; what earlier runs of these names have left is deleted once each has its policy. The table is kept.
    #[arg(long)]
    fresh: bool,

    /// Form of the comparison on standard output.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

pub(crate) fn run(args: Args, printer: &mut Printer) -> anyhow::Result<ExitCode> {
    let format = args.format;
    if !format.is_text() {
        return Err(UsageError::Misplaced { flag: "--format", with: "a form that a terminal can show" }.into());
    }
    let is_dry = args.dry_run;
    let table = args.table.as_ref().map(|table| objects::local(table, printer)).transpose().context("cannot sweep")?;
    let plan = plan(Args { table, ..args }).context("cannot sweep")?;
    let failed = || format!("cannot sweep `{}`", plan.out.display());
    if is_dry {
        list(&plan, printer)?;
        return Ok(ExitCode::SUCCESS);
    }
    // Nothing is read for a model that is not there.
    if let Some(run) = plan.runs.first() {
        run.plan.course.source().with_context(failed)?;
    }
    let interrupt = Interrupt::on_signals().context("cannot handle signals")?;
    let outcome = {
        let (mut shown, mut progress) = (TrainProgress::default(), Progress::new(printer));
        let mut observe = |event: Event<'_>| show(&event, plan.runs.len(), &mut shown, &mut progress);
        sweep::run(&plan, &interrupt, &mut observe).with_context(failed)?
    };
    let Outcome { comparison, failures, is_interrupted } = outcome;
    if let Some(comparison) = &comparison {
        compare(comparison, &plan, format, printer)?;
    }
    for failure in &failures {
        printer.error(format_args!("run `{}` failed", failure.run));
    }
    if is_interrupted {
        printer.error("interrupted: what is done is on disk");
        printer.error(format_args!("to go on: {}", super::resume_command()));
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    }
    if let (Some(comparison), true) = (&comparison, failures.is_empty()) {
        check_ranked(comparison, &plan).with_context(failed)?;
    }
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn plan(args: Args) -> Result<Plan, SweepError> {
    let Args { pipeline, out, set, list, table, rank_by, last_steps, fresh, .. } = args;
    let axes = set.iter().map(|given| Axis::parse(given)).collect::<Result<_, _>>()?;
    let list = list.as_deref().map(read_list).transpose()?;
    let start = if fresh { Start::Fresh } else { Start::Resume };
    Plan::new(Request { pipeline, out, table, axes, list, rank_by, last_steps, start })
}

/// One line a run: its name, and how far it is.
fn list(plan: &Plan, printer: &mut Printer) -> anyhow::Result<()> {
    let width = plan.runs.iter().map(|run| run.name.chars().count()).max().unwrap_or_default();
    let mut out = printer.data();
    for run in &plan.runs {
        let standing = match run.standing() {
            Ok(standing) => describe(standing),
            Err(error) => error.to_string(),
        };
        writeln!(out, "{:width$}  {standing}", run.name)?;
    }
    Ok(())
}

fn describe(standing: Standing) -> String {
    match standing {
        Standing::New => "to do".into(),
        Standing::Begun { step } => format!("to go on from step {step}"),
        Standing::Finished => "finished".into(),
    }
}

fn show(event: &Event<'_>, n_runs: usize, shown: &mut TrainProgress, progress: &mut Progress<'_>) {
    match event {
        Event::TableFound { n_pairs } => {
            progress.note(format_args!("the table is there: {n_pairs} pairs, none scored again"));
        }
        Event::Precompute(event) => super::precompute::show(event, progress),
        Event::TableMade(summary) => progress.note(format_args!(
            "one pass of the reference for all runs: {} of {} pairs scored now",
            summary.n_scored, summary.n_pairs
        )),
        Event::Run { run_idx, run, standing } => {
            progress.note(format_args!("run {}/{n_runs}, {}: {}", run_idx + 1, run.name, describe(*standing)));
            *shown = TrainProgress::default();
            progress.begin(0);
        }
        Event::Train(event) => shown.show(event, progress),
        Event::Ended(summary) => {
            if let Some(last) = &summary.last {
                progress.note(format_args!(
                    "loss {:.4}, rewards/accuracies {:.2} after {} steps",
                    last.loss, last.rewards_accuracies, summary.n_steps
                ));
            }
        }
        Event::Failed { run, error } => {
            for line in failure::lines_under(format!("run `{}` failed", run.name), *error) {
                progress.error(line);
            }
        }
    }
}

/// The ranked runs on standard output, by a query that a user can change.
fn compare(comparison: &Comparison, plan: &Plan, format: Format, printer: &mut Printer) -> anyhow::Result<()> {
    let mut session = Session::new()?;
    let path = plan.out.join(SWEEP);
    session.register_as("sweep", &path)?;
    query::run(&session, &sql(comparison), format, &mut printer.data())?;
    if let Some(ranking) = &comparison.ranking {
        printer.note(format_args!("ranked by {}", ranking.describe()));
    }
    for name in [SWEEP, PAGE] {
        printer.note(format_args!("written: {}", plan.out.join(name).display()));
    }
    Ok(())
}

fn sql(comparison: &Comparison) -> String {
    let mut columns = String::from("rank");
    // Writing to a string does not fail.
    for key in &comparison.settings {
        _ = write!(columns, ", {} AS {}", quoted(key), quoted(short_key(key)));
    }
    for name in comparison.shown() {
        _ = write!(columns, ", round({}, 4) AS {}", quoted(name), quoted(name));
    }
    format!(
        "SELECT {columns}, n_steps AS steps, round(seconds, 1) AS seconds, status, run FROM sweep ORDER BY rank NULLS LAST, run"
    )
}

/// A metric that was asked for must be there, once there is a finished run.
fn check_ranked(comparison: &Comparison, plan: &Plan) -> Result<(), SweepError> {
    match (&comparison.ranking, &plan.rank_by) {
        (None, Some(rank_by)) => Err(SweepError::NoMetric {
            metric: rank_by.metric().to_owned(),
            known: comparison.metrics().into_iter().map(str::to_owned).collect(),
        }),
        _ => Ok(()),
    }
}
