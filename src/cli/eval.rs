//! `piref eval`: a policy on held-out pairs.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use super::progress::{Position, Progress, clock};
use super::{OutputFormat, Printer, objects, print_json};
use crate::eval::{self, EvalMetrics, Event, Outcome, Summary};
use crate::interrupt::{self, Interrupt};
use crate::model::ScoringDtype;
use crate::ops::DeviceName;
use crate::pipeline::{EvalFlags, LossSettings, Name, PipelineError, Settings, TrainSettings, words};
use crate::policy::PolicySource;

/// Evaluate a policy on a log-prob table of held-out pairs: loss, reward accuracy, margins, distance to the reference.
///
/// The reference model is not loaded: what it says of the pairs is in the table. Names of metrics are TRL's, with `eval_`
/// before them. Accuracy counts a tie as one half, and ties are reported apart.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Pipeline file whose objective is reported, on the policy of its run; flags win over it, key by key.
    pipeline: Option<PathBuf>,

    /// Policy: a Hugging Face folder, a `.gguf` file, `org/name` or `org/name@revision` in the local cache, the folder of an
    /// adapter, or a run folder. Of a pipeline: that of its run.
    #[arg(long, required_unless_present = "pipeline")]
    model: Option<String>,

    /// Adapter over the model: a PEFT folder, or a run that trained one. Not needed where `--model` is an adapter or a
    /// run, unless the base model is elsewhere now.
    #[arg(long, value_name = "FOLDER")]
    adapter: Option<PathBuf>,

    /// Folder of the log-prob table of held-out pairs. Of a pipeline: `train.eval.table`.
    #[arg(long, value_name = "TABLE", required_unless_present = "pipeline")]
    table: Option<PathBuf>,

    /// Further reference of the table to evaluate against, by the name `piref precompute --as` gave it. Default: the
    /// table's own.
    #[arg(long, value_name = "NAME")]
    reference: Option<Name>,

    #[command(flatten)]
    loss: LossSettings,

    /// Number format the policy computes in.
    #[arg(long, value_parser = words::<ScoringDtype>())]
    dtype: Option<ScoringDtype>,

    /// Where the policy runs: `cpu`, `cuda` (`cuda:1` for the second GPU) or `metal`. GPUs need a build
    /// with the feature of that name.
    #[arg(long)]
    device: Option<DeviceName>,

    /// Tokens in one forward pass: a matter of speed and memory, never of the result.
    #[arg(long, value_name = "TOKENS")]
    max_tokens: Option<NonZeroUsize>,

    /// Pairs that an objective of the whole batch sees at once.
    #[arg(long, value_name = "PAIRS")]
    batch_size: Option<NonZeroUsize>,

    /// Parquet file to write, one row a pair; replaced if it is there.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Form of the result on standard output.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output_format: OutputFormat,
}

pub(crate) fn run(args: Args, printer: &mut Printer) -> anyhow::Result<ExitCode> {
    let Args { reference, loss, dtype, device, max_tokens, batch_size, .. } = args;
    let train = TrainSettings { reference, dtype, device, batch_size, max_tokens, loss, ..TrainSettings::default() };
    let pipeline = super::pipeline(args.pipeline.as_deref(), &Settings { train, ..Settings::default() })?;
    let flags = EvalFlags { policy: args.model, adapter: args.adapter, table: args.table, out: args.out };
    let mut plan = pipeline.eval_plan(flags).context("cannot evaluate")?;
    let failed = format!("cannot evaluate `{}`", plan.model);
    let failed = || failed.clone();
    // Nothing is read for a model that is not there.
    PolicySource::resolve(&plan.model, plan.adapter.as_deref()).with_context(failed)?;
    plan.table = objects::local(&plan.table, printer).with_context(failed)?;
    if !plan.table.exists() {
        return Err(PipelineError::NoTable { path: plan.table.clone() }).with_context(failed);
    }

    let interrupt = Interrupt::on_signals().context("cannot handle signals")?;
    let outcome = {
        let mut progress = Progress::new(printer);
        eval::run(&plan, &interrupt, &mut |event| show(&event, &mut progress)).with_context(failed)?
    };
    let Outcome::Finished(summary) = outcome else {
        printer.error("interrupted: there is no result, and nothing was written");
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    };
    match args.output_format {
        OutputFormat::Json => print_json(&summary, printer)?,
        OutputFormat::Text => {
            printer.lines(lines(&summary))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(event: &Event, progress: &mut Progress<'_>) {
    match event {
        Event::Note(line) => progress.note(line),
        Event::Scored { n_scored, n_pairs } => {
            let (done, total) = (*n_scored as u64, *n_pairs as u64);
            let (rate, left) = progress.pace(done, total);
            let text = format!("{n_scored} of {n_pairs} pairs, {rate:.1} pairs/s, {} left", clock(left));
            progress.advance(&Position { done, total, text: &text });
        }
    }
}

fn lines(summary: &Summary) -> Vec<String> {
    let Summary { metrics, out, .. } = summary;
    let took = clock(Duration::try_from_secs_f64(metrics.runtime).unwrap_or_default());
    let mut lines = vec![format!("{} pairs in {took}, {:.1} pairs/s", metrics.n_pairs, metrics.samples_per_second)];
    lines.extend(values(metrics).map(|(name, value)| format!("{name}: {value}")));
    lines.extend(out.as_ref().map(|path| format!("pairs: {}", path.display())));
    lines
}

/// The metrics for people, with their units.
fn values(metrics: &EvalMetrics) -> [(&'static str, String); 12] {
    let share = |share: f64| format!("{:.2} %", 100.0 * share);
    [
        ("eval_loss", format!("{:.4}", metrics.loss)),
        ("eval_rewards/accuracies", share(metrics.rewards_accuracies)),
        ("eval_rewards/ties", share(metrics.rewards_ties)),
        ("eval_rewards/margins", format!("{:.4}", metrics.rewards_margins)),
        ("eval_rewards/chosen", format!("{:.4}", metrics.rewards_chosen)),
        ("eval_rewards/rejected", format!("{:.4}", metrics.rewards_rejected)),
        ("eval_logps/chosen", format!("{:.3} nats", metrics.logps_chosen)),
        ("eval_logps/rejected", format!("{:.3} nats", metrics.logps_rejected)),
        ("eval_kl/chosen", format!("{:.5} nats a token", metrics.kl_chosen)),
        ("eval_kl/rejected", format!("{:.5} nats a token", metrics.kl_rejected)),
        ("eval_displacement", share(metrics.displacement)),
        ("eval_logps/chosen_change", format!("{:.3} nats", metrics.logps_chosen_change)),
    ]
}
