//! `piref train`: stage two on the command line.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use super::progress::{Progress, clock};
use super::train_progress::TrainProgress;
use super::{OutputFormat, Printer, objects, print_json};
use crate::interrupt::{self, Interrupt};
use crate::pipeline::{PipelineError, Settings, Stage, TrainSettings};
use crate::report::{self, RunInputs};
use crate::train::{self, EvalSummary, Interruption, Outcome, Start, Summary};

/// Optimise a policy from the log-prob table; the reference model is not loaded.
///
/// From a pipeline file the table is `runs/<name>/reference` and the run goes to `runs/<name>`. A run that was
/// interrupted (Ctrl-C ends it at a checkpoint, with exit code 130) or killed goes on from its newest checkpoint when
/// the same command is run again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Pipeline file, e.g. `pipelines/quickstart.toml`; flags win over it, key by key.
    pipeline: Option<PathBuf>,

    /// Model the policy starts from, the reference: a Hugging Face folder, a `.gguf` file, `org/name` or `org/name@revision`
    /// in the local cache, the folder of an adapter, or a run folder.
    #[arg(long, required_unless_present = "pipeline")]
    model: Option<String>,

    /// Folder of the log-prob table, as `piref precompute` left it, or its URL; repeat to train from several, all of them one or
    /// mixed by `--table-weights`.
    #[arg(long, value_name = "TABLE", required_unless_present = "pipeline")]
    table: Vec<PathBuf>,

    /// Folder of the run: metrics, checkpoints and the policy go there.
    #[arg(long, value_name = "RUN", required_unless_present = "pipeline")]
    out: Option<PathBuf>,

    #[command(flatten)]
    train: TrainSettings,

    #[command(flatten)]
    allowed: Allowed,

    /// Take the pairs in the order of the table, or of `--order-by`, in every epoch.
    #[arg(long)]
    no_shuffle: bool,

    /// Start again; checkpoints, metrics and policy of an earlier run are deleted once this one has its policy.
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
    // One alone is where the table is; several are a setting.
    let table = if let [table] = args.table.as_slice() { Some(table.as_path()) } else { None };
    if args.table.len() > 1 {
        flags.train.pairs.tables = Some(args.table.clone());
    }
    let pipeline = super::pipeline(args.pipeline.as_deref(), &flags)?;
    let mut plan = pipeline
        .train_plan(table, args.out.as_deref(), if args.fresh { Start::Fresh } else { Start::Resume })
        .context("cannot train")?;

    let failed = format!("cannot train `{}`", plan.course.out.display());
    let failed = || failed.clone();
    let eval_table = plan.eval.as_ref().and_then(|eval| eval.table.as_deref());
    if let Some(path) = plan.tables().into_iter().chain(eval_table).find(|table| objects::is_missing(table)) {
        return Err(PipelineError::NoTable { path: path.to_owned() }).with_context(failed);
    }
    // Nothing is read for a model that is not there.
    plan.course.source().with_context(failed)?;
    objects::fetch_tables(&mut plan, printer).with_context(failed)?;

    let interrupt = Interrupt::on_signals().context("cannot handle signals")?;
    let outcome = {
        let (mut shown, mut progress) = (TrainProgress::default(), Progress::new(printer));
        train::run(&plan, &interrupt, &mut |event| shown.show(&event, &mut progress)).with_context(failed)?
    };
    pipeline.record(Stage::Train, &plan.course.out)?;
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
    match report::write_run(
        &RunInputs { run: &plan.course.out, table: Some(&plan.table) },
        &plan.course.out.join(report::REPORT),
    ) {
        Ok(()) => printer.note(format_args!("report: {}", plan.course.out.join(report::REPORT).display())),
        // The policy is there, and that is what was asked for.
        Err(error) => printer.error(format_args!("no report: {:#}", anyhow::Error::new(error))),
    }
    if args.output_format == OutputFormat::Json {
        print_json(&summary, printer)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn evaluation_lines(eval: &EvalSummary) -> Vec<String> {
    let mut lines = Vec::new();
    if let (Some(first), Some(last)) = (&eval.first, &eval.last) {
        let (first, last) = (&first.metrics, &last.metrics);
        lines.push(format!(
            "eval_loss {:.4} → {:.4}, eval_rewards/accuracies {:.2} → {:.2} on {} pairs",
            first.loss, last.loss, first.rewards_accuracies, last.rewards_accuracies, last.n_pairs
        ));
    }
    if let Some(best) = &eval.best {
        let checkpoint = best.checkpoint.as_ref().map(|path| format!(": {}", path.display())).unwrap_or_default();
        lines.push(format!("best: {} {:.4} after step {}{checkpoint}", best.metric, best.value, best.step));
    }
    if eval.is_stopped_early {
        lines.push("ended early: no evaluation was an improvement any more".into());
    }
    lines.push(format!("evaluations: {}", eval.evals.display()));
    lines.extend(eval.samples.as_ref().map(|samples| format!("samples: {}", samples.display())));
    lines
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
    let held_out = match summary.n_held_out {
        0 => String::new(),
        n_held_out => format!(" ({n_held_out} held out)"),
    };
    let n_steps = summary.n_steps - summary.n_resumed;
    let mut lines = vec![format!("{n_steps} steps over {} pairs{held_out} in {took}", summary.n_pairs)];
    if let (Some(first), Some(last)) = (&summary.first, &summary.last) {
        lines.push(format!(
            "loss {:.4} → {:.4}, rewards/accuracies {:.2} → {:.2}",
            first.loss, last.loss, first.rewards_accuracies, last.rewards_accuracies
        ));
    }
    lines.push(format!("metrics: {}", summary.metrics.display()));
    lines.extend(summary.eval.iter().flat_map(evaluation_lines));
    let of_step = summary.eval.as_ref().map(|eval| eval.policy_step).filter(|step| *step != summary.n_steps);
    let of_step = of_step.map(|step| format!(" (of step {step}, the best)")).unwrap_or_default();
    lines.push(format!("policy: {}{of_step}", summary.policy.display()));
    lines
}
