//! `piref sft`: supervised training on the command line.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args as _;

use super::precompute::overlong;
use super::progress::{Position, Progress, clock};
use super::train::interrupted_lines;
use super::{OutputFormat, Printer, print_json};
use crate::interrupt::{self, Interrupt};
use crate::pipeline::{
    DataSettings, EvalSettings, LossSettings, PairsSettings, Pipeline, Settings, SftSettings, Stage, TokenizeSettings,
    TrainSettings,
};
use crate::sft::{self, Event, Outcome, SftMetrics, Summary};
use crate::train::{self, Start};

/// Train a model on answers, conversations or text: the step before DPO.
///
/// Data is told by its columns, and files may differ: preference pairs (the preferred answers are learnt), `prompt` with
/// `completion`, `messages` (the turns of the assistant), `text`, or `.txt` files. Texts are joined and cut into blocks of
/// `--max-length` tokens. Interrupted (Ctrl-C, exit code 130) or killed, the run goes on from its newest checkpoint when the
/// same command is run again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Pipeline file; flags win over it, key by key. It needs `[data]`, `[train]` and `[sft]`.
    pipeline: Option<PathBuf>,

    /// Model to train: a Hugging Face folder, a `.gguf` file, `org/name` or `org/name@revision` in the local cache, the folder
    /// of an adapter, or a run folder.
    #[arg(long, required_unless_present_any = ["pipeline", "init"])]
    model: Option<String>,

    #[command(flatten)]
    sft: SftSettings,

    #[command(flatten)]
    data: DataSettings,

    /// Folder of the run: metrics, checkpoints and the policy go there.
    #[arg(long, value_name = "RUN", required_unless_present = "pipeline")]
    out: Option<PathBuf>,

    /// Learn prompts too, not answers alone.
    #[arg(long)]
    no_mask_prompt: bool,

    #[command(flatten)]
    tokenize: TokenizeSettings,

    #[command(flatten)]
    train: TrainSettings,

    /// Take the sequences in the order of the data.
    #[arg(long)]
    no_shuffle: bool,

    /// Start again; checkpoints, metrics and policy of an earlier run are deleted once this one has its policy.
    #[arg(long)]
    fresh: bool,

    /// Form of the summary on standard output.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output_format: OutputFormat,
}

/// The command without what training on pairs alone has: hidden, since settings come in groups, and refused if given.
pub(super) fn without_pair_flags(command: clap::Command) -> clap::Command {
    let of_pairs = LossSettings::augment_args(clap::Command::new("pairs"));
    let of_pairs = PairsSettings::augment_args(EvalSettings::augment_args(of_pairs));
    let hidden: Vec<String> = of_pairs.get_arguments().map(|argument| argument.get_id().to_string()).collect();
    command.mut_args(|argument| {
        let id = argument.get_id().as_str();
        let help = match id {
            "batch_size" => Some(("Sequences in one optimiser step.", Some("SEQUENCES"))),
            "num_train_epochs" => Some(("Passes over the data; may be a fraction.", None)),
            "limit" => Some(("Take only the first rows of the data, this many.", Some("ROWS"))),
            "adapter" => Some(("Folder of an adapter to go on from, one of PEFT's.", None)),
            "learning_rate" => {
                Some(("Highest learning rate of the schedule. With an adapter the default is 1e-4.", None))
            }
            "max_length" => Some((
                "Longest sequence, in tokens; what is longer is cut. Texts are cut into blocks of this length. 0 for no \
                 limit.",
                None,
            )),
            _ => None,
        };
        let is_hidden = id == "reference" || hidden.iter().any(|hidden| hidden == id);
        let argument = if is_hidden { argument.hide(true) } else { argument };
        match help {
            Some((help, Some(value))) => argument.help(help).value_name(value),
            Some((help, None)) => argument.help(help),
            None => argument,
        }
    })
}

pub(crate) fn run(args: Args, printer: &mut Printer) -> anyhow::Result<ExitCode> {
    let mut flags = Settings {
        model: args.model,
        data: args.data,
        tokenize: args.tokenize,
        train: args.train,
        sft: args.sft,
        ..Settings::default()
    };
    if args.no_shuffle {
        flags.train.shuffle = Some(false);
    }
    if args.no_mask_prompt {
        flags.sft.completion_only_loss = Some(false);
    }
    let pipeline = Pipeline::load_sft(args.pipeline.as_deref(), &flags)?;
    let start = if args.fresh { Start::Fresh } else { Start::Resume };
    let plan = pipeline.sft_plan(args.out.as_deref(), start).context("cannot train")?;

    let out = plan.course.out.clone();
    let failed = || format!("cannot train `{}`", out.display());
    // Nothing is read for a model that is not there.
    plan.course.source().with_context(failed)?;

    let interrupt = Interrupt::on_signals().context("cannot handle signals")?;
    let outcome = {
        let mut progress = Progress::new(printer);
        sft::run(&plan, &interrupt, &mut |event| show(&event, &mut progress)).with_context(failed)?
    };
    pipeline.record(Stage::Sft, &out)?;
    let summary = match outcome {
        Outcome::Finished(summary) => *summary,
        Outcome::Interrupted(interruption) => {
            let lines = match interruption {
                Some(interruption) => interrupted_lines(&interruption),
                None => vec![
                    "interrupted while reading the data".to_owned(),
                    format!("to go on: {}", super::resume_command()),
                ],
            };
            for line in lines {
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
        Event::Detected { path, format } => progress.note(format_args!("read `{}` as {format}", path.display())),
        Event::Tokenised { n_sequences, n_tokens, n_learnt, n_rejected } => {
            progress.note(format_args!(
                "{n_sequences} sequences, {n_tokens} tokens, {n_learnt} of them learnt, {} rows rejected{}",
                n_rejected.malformed,
                overlong(n_rejected.overlong)
            ));
            progress.begin(0);
        }
        Event::Train(event) => show_training(event, progress),
    }
}

fn show_training(event: &train::Event<'_, SftMetrics>, progress: &mut Progress<'_>) {
    match event {
        train::Event::Note(line) => progress.note(line),
        train::Event::Resumed { step } => {
            progress.note(format_args!("going on from step {step}"));
            progress.begin(*step);
        }
        train::Event::Saved { path } => progress.note(format_args!("saved: {}", path.display())),
        train::Event::Step { metrics, n_steps, is_logged } => {
            let line = step_line(metrics, *n_steps);
            if *is_logged {
                progress.note(&line);
            }
            let (_, left) = progress.pace(metrics.step, *n_steps);
            let text = format!("{line}, {} left", clock(left));
            progress.advance(&Position { done: metrics.step, total: *n_steps, text: &text });
        }
        // Only a table has something to be checked against, or pairs to evaluate on.
        train::Event::Checked { .. }
        | train::Event::Evaluating { .. }
        | train::Event::Sampling { .. }
        | train::Event::Evaluated { .. } => {}
    }
}

fn step_line(metrics: &SftMetrics, n_steps: u64) -> String {
    format!(
        "step {}/{n_steps}: loss {:.4}, grad_norm {:.3}, {:.0} tokens/s",
        metrics.step, metrics.loss, metrics.grad_norm, metrics.tokens_per_second
    )
}

fn lines(summary: &Summary) -> Vec<String> {
    let took = clock(Duration::try_from_secs_f64(summary.seconds).unwrap_or_default());
    let n_steps = summary.n_steps - summary.n_resumed;
    let mut lines = vec![format!("{n_steps} steps over {} sequences in {took}", summary.n_sequences)];
    if let (Some(first), Some(last)) = (&summary.first, &summary.last) {
        lines.push(format!("loss {:.4} → {:.4}", first.loss, last.loss));
    }
    if let Some(rejects) = &summary.rejects {
        lines.push(format!("rows left out, with the reason of each: {}", rejects.display()));
    }
    lines.push(format!("metrics: {}", summary.metrics.display()));
    lines.push(format!("policy: {}", summary.policy.display()));
    lines
}
