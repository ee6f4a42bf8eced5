//! `piref train`: stage two on the command line.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use super::progress::{Position, Progress, clock};
use super::{OutputFormat, Printer, print_json};
use crate::interrupt::{self, Interrupt};
use crate::model_source::ModelSource;
use crate::pipeline::{PipelineError, Settings, Stage, TrainSettings};
use crate::train::{self, Event, Interruption, Outcome, Start, StepMetrics, Summary};

/// Optimise a policy from the log-prob table; the reference model is not loaded.
///
/// From a pipeline file the table is `runs/<name>/reference` and the run goes to `runs/<name>`. A run that was
/// interrupted (Ctrl-C ends it at a checkpoint, with exit code 130) or killed goes on from its newest checkpoint when
/// the same command is run again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Pipeline file, e.g. `pipelines/quickstart.toml`; flags win over it, key by key.
    pipeline: Option<PathBuf>,

    /// Model the policy starts from, the reference: a Hugging Face folder, a `.gguf` file, or `org/name` in the local
    /// cache.
    #[arg(long, required_unless_present = "pipeline")]
    model: Option<String>,

    /// Folder of the log-prob table, as `piref precompute` left it.
    #[arg(long, value_name = "TABLE", required_unless_present = "pipeline")]
    table: Option<PathBuf>,

    /// Folder of the run: metrics, checkpoints and the policy go there.
    #[arg(long, value_name = "RUN", required_unless_present = "pipeline")]
    out: Option<PathBuf>,

    #[command(flatten)]
    train: TrainSettings,

    #[command(flatten)]
    allowed: Allowed,

    /// Take the pairs in the order of the table.
    #[arg(long)]
    no_shuffle: bool,

    /// Delete the checkpoints, the metrics and the policy of an earlier run, and start again.
    #[arg(long)]
    fresh: bool,

    /// Form of the summary on standard output.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output_format: OutputFormat,
}

/// What is refused unless it is asked for.
#[derive(Debug, clap::Args)]
struct Allowed {
    /// Train although the table's reference is another model than the policy starts from: on from an earlier policy, or
    /// against another model's log-probs. The tokenizer has to be the table's in any case.
    #[arg(id = "allows_other_reference", long = "allow-other-reference")]
    other_reference: bool,

    /// Train although the table was scored in another number format than the policy computes in (`--dtype`); how far the
    /// two are apart is said.
    #[arg(id = "allows_dtype_drift", long = "allow-dtype-drift")]
    dtype_drift: bool,
}

pub(crate) fn run(args: Args, printer: &mut Printer) -> anyhow::Result<ExitCode> {
    let mut flags = Settings { model: args.model, train: args.train, ..Settings::default() };
    if args.no_shuffle {
        flags.train.shuffle = Some(false);
    }
    if args.allowed.other_reference {
        flags.train.allow_other_reference = Some(true);
    }
    if args.allowed.dtype_drift {
        flags.train.allow_dtype_drift = Some(true);
    }
    let pipeline = super::pipeline(args.pipeline.as_deref(), &flags)?;
    let plan = pipeline
        .train_plan(args.table.as_deref(), args.out.as_deref(), if args.fresh { Start::Fresh } else { Start::Resume })
        .context("cannot train")?;

    let failed = || format!("cannot train `{}`", plan.out.display());
    if !plan.table.exists() {
        return Err(PipelineError::NoTable { path: plan.table }).with_context(failed);
    }
    // Nothing is read for a model that is not there.
    ModelSource::resolve(&plan.model).with_context(failed)?;

    let interrupt = Interrupt::on_signals().context("cannot handle signals")?;
    let outcome = {
        let mut progress = Progress::new(printer);
        train::run(&plan, &interrupt, &mut |event| show(&event, &mut progress)).with_context(failed)?
    };
    pipeline.record(Stage::Train, &plan.out)?;
    let summary = match outcome {
        Outcome::Finished(summary) => *summary,
        Outcome::Interrupted(interruption) => {
            for line in interrupted_lines(&interruption) {
                printer.error(line);
            }
            return Ok(ExitCode::from(interrupt::EXIT_CODE));
        }
    };

    for line in lines(&summary) {
        printer.note(line);
    }
    if args.output_format == OutputFormat::Json {
        print_json(&summary, printer)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(event: &Event<'_>, progress: &mut Progress<'_>) {
    match event {
        Event::Note(line) => progress.note(line),
        Event::Checked { n_pairs, max_delta, mean_delta } => {
            progress.note(format_args!(
                "{n_pairs} pairs of the table scored again: at most {max_delta:.1e}, on average {mean_delta:.1e} nats off"
            ));
            progress.begin(0);
        }
        Event::Resumed { step } => {
            progress.note(format_args!("going on from step {step}"));
            progress.begin(*step);
        }
        Event::Saved { path } => progress.note(format_args!("saved: {}", path.display())),
        Event::Step { metrics, n_steps, is_logged } => {
            if *is_logged {
                progress.note(step_line(metrics, *n_steps));
            }
            let (_, left) = progress.pace(metrics.step, *n_steps);
            let text = format!("{}, {} left", step_line(metrics, *n_steps), clock(left));
            progress.advance(&Position { done: metrics.step, total: *n_steps, text: &text });
        }
    }
}

fn step_line(metrics: &StepMetrics, n_steps: u64) -> String {
    format!(
        "step {}/{n_steps}: loss {:.4}, rewards/accuracies {:.2}, rewards/margins {:.4}, grad_norm {:.3}",
        metrics.step, metrics.loss, metrics.rewards_accuracies, metrics.rewards_margins, metrics.grad_norm
    )
}

pub(super) fn interrupted_lines(interruption: &Interruption) -> Vec<String> {
    let Interruption { step, n_steps, checkpoint } = interruption;
    let mut lines = vec![format!("interrupted after step {step} of {n_steps}")];
    lines.extend(checkpoint.as_ref().map(|path| format!("checkpoint: {}", path.display())));
    lines.push(format!("to go on: {}", super::resume_command()));
    lines
}

fn lines(summary: &Summary) -> Vec<String> {
    let took = clock(Duration::try_from_secs_f64(summary.seconds).unwrap_or_default());
    let mut lines =
        vec![format!("{} steps over {} pairs in {took}", summary.n_steps - summary.n_resumed, summary.n_pairs)];
    if let (Some(first), Some(last)) = (&summary.first, &summary.last) {
        lines.push(format!(
            "loss {:.4} → {:.4}, rewards/accuracies {:.2} → {:.2}",
            first.loss, last.loss, first.rewards_accuracies, last.rewards_accuracies
        ));
    }
    lines.push(format!("metrics: {}", summary.metrics.display()));
    lines.push(format!("policy: {}", summary.policy.display()));
    lines
}
