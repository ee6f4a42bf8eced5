//! `piref precompute`: stage one on the command line.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

#[cfg(feature = "cluster")]
use super::cluster_flags::ScoringCluster;
use super::progress::{Position, Progress, clock};
use super::shards::{command_with, missing_lines};
use super::{OutputFormat, Printer, objects, print_json};
use crate::interrupt::{self, Interrupt};
use crate::pipeline::{
    DataSettings, Name, Pipeline, PipelineError, PrecomputeSettings, Settings, Stage, TokenizeSettings,
};
use crate::policy::PolicySource;
use crate::precompute::{self, ArrayJobError, Event, Outcome, Scope, ShardRequest, Start, Summary};

/// Run the frozen reference once over a preference dataset and store its log-probabilities.
///
/// From a pipeline file the table goes to `runs/<name>/reference`. What is there already is kept if it was made with
/// the same settings: only the missing pairs are scored.
///
/// Many machines that share the folder make a table together: each runs the same command with another `--shard`, in any
/// order and as often as need be, then one runs it with `--finish`. The table is, byte for byte, the one of a single run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Pipeline file, e.g. `pipelines/quickstart.toml`; flags win over it, key by key.
    pipeline: Option<PathBuf>,

    /// Reference model: a Hugging Face folder, a `.gguf` file, `org/name` or `org/name@revision` in the local cache, the
    /// folder of an adapter, or a run folder.
    #[arg(long, required_unless_present = "pipeline")]
    model: Option<String>,

    #[command(flatten)]
    data: DataSettings,

    /// Folder of the log-prob table, or its URL: `s3://BUCKET/KEY`, `gs://…`, `az://…`.
    #[arg(long, value_name = "TABLE", required_unless_present = "pipeline")]
    out: Option<PathBuf>,

    /// Score the pairs of the finished table in that folder with another model, into a table beside it.
    #[arg(long = "as", id = "reference_name", value_name = "NAME", conflicts_with_all = ["files", "limit"])]
    reference_name: Option<Name>,

    #[command(flatten)]
    tokenize: TokenizeSettings,

    #[command(flatten)]
    precompute: PrecomputeSettings,

    /// Leave out the signals: entropies, first choices, CHES. The log-probs are the same.
    #[arg(long)]
    no_signals: bool,

    #[cfg(feature = "cluster")]
    #[command(flatten)]
    cluster: ScoringCluster,

    /// Start again; what an earlier run left in the folder is deleted once the new table is finished.
    #[arg(long)]
    fresh: bool,

    /// Make only shard I of N, from `0/N`: the parts of the table whose number leaves I when divided by N. `auto` reads
    /// both from a Slurm or AWS Batch array, `auto/N` the index alone, as in a Kubernetes Indexed Job.
    #[arg(long, value_name = "I/N|auto|auto/N", conflicts_with_all = ["fresh", "finish"])]
    shard: Option<ShardRequest>,

    /// Score nothing: check that the shards have made every part, and finish the table; or name what is missing.
    #[arg(long, conflicts_with = "fresh")]
    finish: bool,

    /// Form of the summary on standard output.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output_format: OutputFormat,
}

pub(crate) fn run(args: Args, printer: &mut Printer) -> anyhow::Result<ExitCode> {
    let signals = if args.no_signals { Some(false) } else { args.precompute.signals };
    let flags = Settings {
        model: args.model,
        data: args.data,
        tokenize: args.tokenize,
        precompute: PrecomputeSettings { signals, ..args.precompute },
        ..Settings::default()
    };
    let pipeline = super::pipeline(args.pipeline.as_deref(), &flags)?;
    let start = if args.fresh { Start::Fresh } else { Start::Resume };
    let mut plan = pipeline
        .precompute_plan(args.out.as_deref(), args.reference_name.as_ref(), start)
        .context("cannot precompute")?;
    plan.scope = scope(args.shard, args.finish).context("cannot precompute")?;

    let failed = format!("cannot precompute `{}`", plan.out.display());
    let failed = || failed.clone();
    // Nothing is read for a model that is not there.
    PolicySource::resolve(&plan.model, plan.adapter.as_deref()).with_context(failed)?;
    for table in &mut plan.reuse {
        *table = objects::local(table, printer).with_context(failed)?;
    }

    #[cfg(feature = "cluster")]
    let mut engine = args.cluster.engine().with_context(failed)?;
    #[cfg(not(feature = "cluster"))]
    let mut engine = Box::new(precompute::LocalEngine::default());

    let interrupt = Interrupt::on_signals().context("cannot handle signals")?;
    let outcome = {
        let mut progress = Progress::new(printer);
        let observe = &mut |event: Event<'_>| show(&event, &mut progress);
        precompute::run_on(&mut *engine, &plan, &interrupt, observe).with_context(failed)?
    };
    let summary = match outcome {
        Outcome::Finished(summary) => summary,
        Outcome::Interrupted { n_done, n_pairs } => {
            printer.error(format_args!("interrupted: the log-probs of {n_done} of {n_pairs} pairs are on disk"));
            printer.error(format_args!("to go on: {}", super::resume_command()));
            return Ok(ExitCode::from(interrupt::EXIT_CODE));
        }
        Outcome::Missing(missing) => {
            for line in missing_lines(&missing, &plan.out) {
                printer.error(line);
            }
            if args.output_format == OutputFormat::Json {
                print_json(&missing, printer)?;
            }
            return Ok(ExitCode::FAILURE);
        }
    };

    record(&pipeline, summary.shard.is_none() && args.out.is_none() && args.reference_name.is_none())?;
    for line in lines(&summary) {
        printer.note(line);
    }
    if args.output_format == OutputFormat::Json {
        print_json(&summary, printer)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// How much of the table is made.
fn scope(shard: Option<ShardRequest>, finish: bool) -> Result<Scope, ArrayJobError> {
    match shard {
        Some(request) => Ok(Scope::Shard(request.resolve(|name| std::env::var(name).ok())?)),
        None if finish => Ok(Scope::Finish),
        None => Ok(Scope::Whole),
    }
}

/// A table in its own run folder lies beside the plan it was made with; one that `--out` sends elsewhere has no run.
fn record(pipeline: &Pipeline, is_in_run: bool) -> Result<(), PipelineError> {
    match pipeline.run_folder() {
        Some(run) if is_in_run => pipeline.record(Stage::Precompute, run),
        _ => Ok(()),
    }
}

pub(super) fn show(event: &Event<'_>, progress: &mut Progress<'_>) {
    match event {
        Event::Detected { path, format, columns } => {
            progress.note(format_args!("read `{}` as {format}: columns {}", path.display(), columns.join(", ")));
        }
        Event::Note(line) => progress.note(line),
        Event::Tokenised { n_pairs, n_rejected, n_overlong, n_tokens } => {
            let overlong = overlong(*n_overlong);
            progress.note(format_args!("{n_pairs} pairs, {n_tokens} tokens, {n_rejected} rejected{overlong}"));
        }
        Event::Resumed { n_pairs } => progress.note(format_args!("{n_pairs} pairs are in the table already")),
        Event::Reused { n_pairs } => progress.note(format_args!("{n_pairs} pairs have their log-probs from before")),
        Event::ModelLoaded { architecture, n_parameters } => {
            progress.note(format_args!("reference: {architecture}, {n_parameters} parameters"));
            progress.begin(0);
        }
        Event::Connected { place } => {
            progress.note(format_args!("reference: on {place}"));
            progress.begin(0);
        }
        Event::Scored { n_pairs, n_total, n_tokens, n_total_tokens } => {
            let (speed, left) = progress.pace(*n_tokens, *n_total_tokens);
            let text = format!("{n_pairs}/{n_total} pairs, {speed:.0} tokens/s, {} left", clock(left));
            progress.advance(&Position { done: *n_tokens, total: *n_total_tokens, text: &text });
        }
    }
}

/// Behind the count of rejected rows.
pub(super) fn overlong(n_overlong: u64) -> String {
    if n_overlong == 0 { String::new() } else { format!(", {n_overlong} do not fit max_length") }
}

fn lines(summary: &Summary) -> Vec<String> {
    let took = clock(Duration::try_from_secs_f64(summary.seconds).unwrap_or_default());
    let mut lines = vec![format!(
        "scored {} pairs, {} tokens in {took}; {} kept in place, {} with log-probs from before, {} repeated, \
         {} rows rejected{}",
        summary.n_scored,
        summary.n_tokens,
        summary.n_resumed,
        summary.n_reused,
        summary.n_repeated,
        summary.n_rejected,
        overlong(summary.n_overlong)
    )];
    if let Some(rejects) = &summary.rejects {
        lines.push(format!("rows left out, with the reason of each: {}", rejects.display()));
    }
    match summary.shard {
        None => lines.push(format!("table of {} pairs: {}", summary.n_pairs, summary.table.display())),
        Some(shard) => {
            lines.push(format!("shard {shard} of {} pairs: {}", summary.n_pairs, summary.table.display()));
            lines.push(format!("when all of them are done: {}", command_with(std::env::args(), "--finish")));
        }
    }
    lines
}
