//! `piref completions`: what a shell needs to complete the command line.

use std::io::Write;
use std::process::ExitCode;

use clap_complete::Shell;

use super::{Printer, command};

/// Print the completions of a shell.
///
/// For bash: `piref completions bash > ~/.local/share/bash-completion/completions/piref`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Shell to complete for.
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &Args, printer: &mut Printer) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(), "piref", &mut script);
    printer.data().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}
