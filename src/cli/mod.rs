//! The command line: one file a subcommand, and what they share.
//!
//! Invariant: standard output is data, standard error is talk, and both go through [`Printer`]. Only this module knows
//! exit codes and `anyhow`; a subcommand turns its arguments into a plan, runs it and says what came of it.

mod audit;
mod audit_outputs;
mod audit_text;
mod bench;
#[cfg(feature = "cluster")]
mod cluster;
#[cfg(feature = "cluster")]
mod cluster_flags;
mod completions;
mod console;
mod diff;
mod env;
mod eval;
mod export;
mod failure;
mod foreign_flags;
mod generate;
mod import;
mod inspect;
mod objects;
mod precompute;
mod printer;
mod progress;
mod query_memory;
mod query_model;
mod report;
mod screen;
#[cfg(all(feature = "cluster", unix))]
mod serve;
mod sft;
mod shards;
mod sql;
mod suspects_text;
mod sweep;
mod train;
mod train_progress;
mod verify;

use std::error::Error as _;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use serde::Serialize;

pub use failure::{StartError, UsageError, report, report_usage};
pub use printer::{Printer, Verbosity};

use crate::io;
use crate::pipeline::{Defaults, Pipeline, PipelineError, Settings};
use crate::table::check_outside;

/// Offline Direct Preference Optimization: the reference model runs once, and its log-probabilities are a table.
///
/// `piref precompute` scores the pairs with the frozen reference, `piref train` optimises a policy from the table it
/// wrote, `piref sql` queries the tables. Both stages take a pipeline file, flags, or both: flags win, key by key.
#[derive(Debug, clap::Parser)]
#[command(name = "piref", version, max_term_width = 100, propagate_version = false)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Say nothing but errors and results.
    #[arg(long, short, global = true, display_order = 900)]
    quiet: bool,

    /// Threads for tensors and files. Default: as many as the machine has.
    #[arg(long, global = true, value_name = "N", display_order = 901)]
    threads: Option<NonZeroUsize>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Precompute(Box<precompute::Args>),
    Train(Box<train::Args>),
    Eval(Box<eval::Args>),
    Sweep(sweep::Args),
    Sft(Box<sft::Args>),
    Sql(sql::Args),
    #[cfg(all(feature = "cluster", unix))]
    Serve(serve::Args),
    Audit(Box<audit::Args>),
    Generate(Box<generate::Args>),
    Report(report::Args),
    Export(export::Args),
    Import(Box<import::Args>),
    Bench(Box<bench::Args>),
    Verify(verify::Args),
    Inspect(inspect::Args),
    Diff(diff::Args),
    #[cfg(feature = "cluster")]
    Cluster(cluster::Args),
    Env(env::Args),
    Completions(completions::Args),
}

/// How a summary is written to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object, for programs.
    Json,
}

impl Cli {
    /// Reads the arguments of a process, its name first.
    ///
    /// # Errors
    /// If they are wrong, and also where they ask for help or the version: [`report_usage`] tells the two apart.
    pub fn parse_from(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        let mut command = command();
        let matches = command.try_get_matches_from_mut(&arguments);
        Self::from_arg_matches(&matches.map_err(|error| foreign_flags::advised(error, &command, &arguments))?)
    }

    /// What the subcommand may say.
    pub fn verbosity(&self) -> Verbosity {
        if self.quiet { Verbosity::Quiet } else { Verbosity::Normal }
    }

    /// Runs the subcommand. To be called before the process has a second thread: see `--threads`.
    pub fn run(self, printer: &mut Printer) -> anyhow::Result<ExitCode> {
        if let Some(threads) = self.threads {
            set_threads(threads);
        }
        raise_open_files();
        if !matches!(self.command, Command::Env(_) | Command::Completions(_)) {
            start_threads()?;
        }
        match self.command {
            Command::Precompute(args) => precompute::run(*args, printer),
            Command::Train(args) => train::run(*args, printer),
            Command::Eval(args) => eval::run(*args, printer),
            Command::Sweep(args) => sweep::run(args, printer),
            Command::Sft(args) => sft::run(*args, printer),
            Command::Sql(args) => sql::run(&args, printer),
            #[cfg(all(feature = "cluster", unix))]
            Command::Serve(args) => serve::run(&args, printer),
            Command::Audit(args) => audit::run(&args, printer),
            Command::Generate(args) => generate::run(*args, printer),
            Command::Report(args) => report::run(&args, printer),
            Command::Export(args) => export::run(&args, printer),
            Command::Import(args) => import::run(*args, printer),
            Command::Bench(args) => bench::run(*args, printer),
            Command::Verify(args) => verify::run(args, printer),
            Command::Inspect(args) => inspect::run(&args, printer),
            Command::Diff(args) => diff::run(&args, printer),
            #[cfg(feature = "cluster")]
            Command::Cluster(args) => cluster::run(args, printer),
            Command::Env(args) => env::run(&args, printer),
            Command::Completions(args) => completions::run(&args, printer),
        }
    }
}

/// The whole command, with the defaults of `defaults.toml` in the help of the flags they belong to.
fn command() -> clap::Command {
    let command = Cli::command();
    let Ok(defaults) = Defaults::load() else { return command };
    #[cfg(all(feature = "cluster", unix))]
    let command = command.mut_subcommand("serve", |command| with_defaults(command, &defaults, &[&["precompute"]]));
    command
        .mut_subcommand("precompute", |command| {
            with_defaults(command, &defaults, &[&["data"], &["tokenize"], &["precompute"]])
        })
        .mut_subcommand("import", |command| {
            with_defaults(command, &defaults, &[&["data"], &["tokenize"], &["precompute"]])
        })
        .mut_subcommand("bench", |command| {
            with_defaults(command, &defaults, &[&["data"], &["tokenize"], &["precompute"], &["train"]])
        })
        .mut_subcommand("train", |command| {
            with_defaults(command, &defaults, &[&["train"], &["train", "loss"], &["train", "lora"], &["train", "eval"]])
        })
        .mut_subcommand("sql", |command| with_defaults(command, &defaults, &[&["precompute"]]))
        .mut_subcommand("eval", |command| with_defaults(command, &defaults, &[&["train"], &["train", "loss"]]))
        .mut_subcommand("sft", |command| {
            let command = sft::without_pair_flags(command);
            let sections: &[&[&str]] = &[&["data"], &["tokenize"], &["train"], &["train", "lora"]];
            match Defaults::load_sft() {
                Ok(own) => with_defaults_over(command, &[&own, &defaults], sections),
                Err(_) => command,
            }
        })
}

fn with_defaults(command: clap::Command, defaults: &Defaults, sections: &[&[&str]]) -> clap::Command {
    with_defaults_over(command, &[defaults], sections)
}

/// The same with several layers of defaults, the first of which wins.
fn with_defaults_over(command: clap::Command, layers: &[&Defaults], sections: &[&[&str]]) -> clap::Command {
    command.mut_args(|argument| {
        // A number below its range is a wrong value, not an unknown flag.
        let is_switch = argument.get_num_args().is_some_and(|n_values| !n_values.takes_values());
        let takes_values = argument.get_action().takes_values() && !is_switch;
        let argument = if takes_values { argument.allow_negative_numbers(true) } else { argument };
        let key = argument.get_id().as_str();
        let of = |defaults: &&Defaults| sections.iter().find_map(|section| defaults.of(section, key));
        // What has a default of its own only looks like the setting.
        let default = layers.iter().find_map(of).filter(|_| argument.get_default_values().is_empty());
        match (default, argument.get_help().cloned()) {
            (Some(default), Some(help)) => argument.help(format!("{help} [default: {default}]")),
            _ => argument,
        }
    })
}

/// Files that may be open at once, where the system lets a process have more.
#[cfg(unix)]
const OPEN_FILES: u64 = 1 << 16;

/// candle, tokenizers and rayon's own pool all read this variable when they first need it.
fn set_threads(threads: NonZeroUsize) {
    #[expect(unsafe_code, reason = "the variable is the one way to tell every library")]
    // SAFETY: `main` calls this before any library has run, so no other thread reads or writes the environment.
    unsafe {
        std::env::set_var("RAYON_NUM_THREADS", threads.to_string());
    }
}

/// Lets the process have as many files open as it may: a table has a file for every few thousand pairs, and a query opens
/// several of each table at once. What cannot be had is said by the file that is not opened.
#[cfg(unix)]
fn raise_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard.min(OPEN_FILES)
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(OPEN_FILES), hard);
    }
}

#[cfg(not(unix))]
fn raise_open_files() {}

/// Starts the threads that compute: where they are first needed, rayon panics if there are none.
fn start_threads() -> Result<(), StartError> {
    let Err(error) = rayon::ThreadPoolBuilder::new().build_global() else { return Ok(()) };
    // Otherwise somebody has started them before.
    match error.source().and_then(|source| source.downcast_ref::<std::io::Error>()) {
        Some(source) => {
            let code = source.raw_os_error().map(std::io::Error::from_raw_os_error);
            Err(StartError::Threads { source: code.unwrap_or_else(|| source.kind().into()) })
        }
        None => Ok(()),
    }
}

/// The settings of a pipeline file under the flags, or of the flags alone.
fn pipeline(file: Option<&Path>, flags: &Settings) -> Result<Pipeline, PipelineError> {
    match file {
        Some(file) => Pipeline::load(file, flags),
        None => Pipeline::from_flags(flags),
    }
}

/// A pipeline file stands for the folder its runs go to.
fn run_of_pipeline(path: &Path) -> Result<PathBuf, PipelineError> {
    if path.extension().is_none_or(|extension| extension != "toml") {
        return Ok(path.to_owned());
    }
    let pipeline = Pipeline::load(path, &Settings::default())?;
    match pipeline.run_folder() {
        Some(run) if run.exists() => Ok(run.to_owned()),
        run => {
            Err(PipelineError::NoRun { pipeline: path.to_owned(), run: run.map(Path::to_owned).unwrap_or_default() })
        }
    }
}

/// A difference of log-probs in few characters.
fn nats(delta: f64) -> String {
    if delta == 0.0 { "0".into() } else { format!("{delta:.1e}") }
}

/// Where a file that the user names for a command to write is: outside of tables, runs and models. A link is not replaced,
/// but what it leads to; what a killed command left of it is deleted.
fn output(path: &Path) -> anyhow::Result<PathBuf> {
    check_outside(path)?;
    let path = io::resolved(path);
    io::remove_halves(&path)?;
    Ok(path)
}

/// Writes `value` to standard output as one JSON object.
fn print_json(value: &impl Serialize, printer: &mut Printer) -> anyhow::Result<()> {
    use std::io::Write;
    let mut out = printer.data();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    Ok(())
}

/// The command line of this process, to be typed again in order to go on: `--fresh` would start again.
fn resume_command() -> String {
    let arguments = std::env::args().filter(|argument| argument != "--fresh");
    arguments.map(|argument| quoted(&argument)).collect::<Vec<_>>().join(" ")
}

/// An argument as a POSIX shell reads it.
fn quoted(argument: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !argument.is_empty() && argument.chars().all(is_plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_survive_the_shell() {
        for (argument, want) in
            [("--out", "--out"), ("runs/a b", "'runs/a b'"), ("", "''"), ("it's", r"'it'\''s'"), ("$HOME", "'$HOME'")]
        {
            assert_eq!(quoted(argument), want);
        }
    }
}
