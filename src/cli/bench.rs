//! `piref bench`: speed of both stages on the command line.

use std::io::Write;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use anyhow::Context;

use super::{OutputFormat, Printer, print_json};
use crate::batch::Sharing;
use crate::bench::{self, Event, OpTime, Options, Profile, Profiling, Report, SignalsIn, Stage};
use crate::model::ScoringDtype;
use crate::ops::{DeviceName, Kernels};
use crate::pipeline::{
    DataSettings, LoraSettings, Pipeline, PrecomputeSettings, Settings, TokenizeSettings, TrainSettings, words,
};
use crate::policy::PolicySource;
use crate::train::RecomputePolicy;

/// Measure how fast both stages run on this machine, and against what it can do.
///
/// Counts the operations of the task (products only, nothing an implementation does besides) and divides them by the
/// time they take; the machine's own rate is that of a large product in the same process.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Model: a Hugging Face folder, a `.gguf` file, `org/name` or `org/name@revision` in the local cache, the folder of an
    /// adapter, or a run folder.
    #[arg(long)]
    model: String,

    #[command(flatten)]
    data: DataSettings,

    #[command(flatten)]
    tokenize: TokenizeSettings,

    /// Number format of both passes.
    #[arg(long, value_parser = words::<ScoringDtype>())]
    dtype: Option<ScoringDtype>,

    /// Where both passes run: `cpu`, `cuda` (`cuda:1` for the second GPU) or `metal`. GPUs need a build
    /// with the feature of that name.
    #[arg(long)]
    device: Option<DeviceName>,

    /// Kernels to measure: our own, for the CPU, or candle's operations. Default: own on the CPU, stock elsewhere.
    #[arg(long, value_parser = words::<Kernels>())]
    kernels: Option<Kernels>,

    /// Tokens in one pass.
    #[arg(long, value_name = "TOKENS")]
    max_tokens: Option<NonZeroUsize>,

    /// Pairs in one optimiser step.
    #[arg(long, value_name = "PAIRS")]
    batch_size: Option<NonZeroUsize>,

    /// Layers whose intermediate results are made again in the backward of stage two; `auto` is none here.
    #[arg(long, value_name = "LAYERS", value_parser = words::<RecomputePolicy>())]
    recompute: Option<RecomputePolicy>,

    /// Rank of a LoRA adapter on all linear maps that stage two trains while the weights stay as they are. Default: the
    /// weights are trained.
    #[arg(long, value_name = "RANK")]
    lora_r: Option<NonZeroUsize>,

    /// Let stage one encode a prompt anew for every pair that has it, to measure what sharing saves.
    #[arg(long)]
    no_sharing: bool,

    /// Whether stage one makes signals beside log-probs.
    #[arg(long, value_enum, default_value = "on")]
    signals: SignalsIn,

    /// Times each stage is measured; the median counts.
    #[arg(long, value_name = "N", default_value = "3")]
    repeat: NonZeroUsize,

    /// Run each stage once more and say where its time goes, op by op.
    #[arg(long)]
    profile: bool,

    /// Form of the result on standard output.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output_format: OutputFormat,
}

pub(crate) fn run(args: Args, printer: &mut Printer) -> anyhow::Result<ExitCode> {
    let flags = Settings {
        model: Some(args.model),
        data: args.data,
        tokenize: args.tokenize,
        precompute: PrecomputeSettings {
            dtype: args.dtype,
            device: args.device,
            max_tokens: args.max_tokens,
            ..Default::default()
        },
        train: TrainSettings {
            batch_size: args.batch_size,
            recompute: args.recompute,
            lora: LoraSettings { r: args.lora_r, ..Default::default() },
            ..Default::default()
        },
        ..Settings::default()
    };
    let profile = if args.profile { Profiling::On } else { Profiling::Off };
    let sharing = if args.no_sharing { Sharing::Nothing } else { Sharing::Prompts };
    let options = Options { n_repeats: args.repeat, sharing, signals: args.signals, kernels: args.kernels, profile };
    let plan = Pipeline::from_flags(&flags)?.bench_plan(options).context("cannot measure")?;
    let failed = || format!("cannot measure `{}`", plan.model);
    PolicySource::resolve(&plan.model, None).with_context(failed)?;
    let report = bench::run(&plan, &mut |event| {
        printer.note(match event {
            Event::Product => "measuring a large product",
            Event::Scoring => "measuring stage one",
            Event::OneThread => "measuring stage one on one thread",
            Event::Training => "measuring stage two",
            Event::Profile => "running the stage once more, op by op",
        });
    })
    .with_context(failed)?;
    match args.output_format {
        OutputFormat::Json => print_json(&report, printer)?,
        OutputFormat::Text => print_text(&report, printer)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print_text(report: &Report, printer: &mut Printer) -> std::io::Result<()> {
    let mut out = printer.data();
    let Report { architecture, n_parameters, n_threads, kernel, .. } = report;
    writeln!(out, "{architecture}, {n_parameters} parameters, {n_threads} threads, kernel {kernel}")?;
    if report.n_trained != *n_parameters {
        writeln!(out, "stage two trains an adapter of {} parameters", report.n_trained)?;
    }
    let Report { n_pairs, n_tokens, n_scored_tokens, .. } = report;
    writeln!(out, "{n_pairs} pairs, {n_tokens} tokens, {n_scored_tokens} of them scored")?;
    writeln!(out, "large product: {:.1} GFLOP/s", report.product_gflops)?;
    let stages = [
        ("stage one", &report.precompute, report.precompute_peak_bytes),
        ("stage two", &report.train, report.train_peak_bytes),
    ];
    for (name, stage, peak) in stages {
        writeln!(out, "{name}: {}{}", line(stage), peak.map(memory).unwrap_or_default())?;
    }
    if let Some(cost) = report.signals_cost {
        writeln!(out, "stage one with signals: {:+.1} % of the time without", 100.0 * cost)?;
    }
    if let Some(scaling) = report.scaling {
        writeln!(out, "stage one on {n_threads} threads: {scaling:.2} times as fast as on one")?;
    }
    let profiles = [
        ("stage one, all pairs", &report.precompute_profile),
        ("stage two, one optimiser step", &report.train_step_profile),
    ];
    for (name, profile) in profiles {
        if let Some(profile) = profile {
            writeln!(out, "\n{name}: {:.2} s", profile.seconds)?;
            table(profile).into_iter().try_for_each(|row| writeln!(out, "{row}"))?;
        }
    }
    Ok(())
}

/// The rows of a profile, costliest op first.
fn table(profile: &Profile) -> Vec<String> {
    let row = |op: &str, calls: &str, seconds: f64, rate: &str| {
        let share = 100.0 * seconds / profile.seconds;
        format!("  {op:<22} {calls:>7} {seconds:>10.4} {share:>6.1} %{rate}")
    };
    let rate = |op: &OpTime| match (op.gflops, op.share_of_product) {
        (Some(gflops), Some(share)) => format!(" {gflops:>9.1} {:>10.0} %", 100.0 * share),
        _ => String::new(),
    };
    let mut ops: Vec<&OpTime> = profile.ops.iter().collect();
    ops.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let header = format!(
        "  {:<22} {:>7} {:>10} {:>8} {:>9} {:>12}",
        "op", "calls", "seconds", "of time", "GFLOP/s", "of product"
    );
    let rows = ops.into_iter().map(|op| row(op.op, &op.calls.to_string(), op.seconds, &rate(op)));
    std::iter::once(header).chain(rows).chain([row("other", "", profile.other_seconds, "")]).collect()
}

fn line(stage: &Stage) -> String {
    format!(
        "{:.2} pairs/s, {:.0} tokens/s, {:.1} GFLOP/s ({:.0} % of the product), {:.2} s",
        stage.pairs_per_second,
        stage.tokens_per_second,
        stage.gflops,
        100.0 * stage.share_of_product,
        stage.seconds
    )
}

fn memory(bytes: u64) -> String {
    format!(", peak {:.2} GB", bytes as f64 / 1e9)
}
