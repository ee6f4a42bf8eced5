//! `piref`: parse the arguments, run the subcommand, report what went wrong.

use std::process::ExitCode;

use piref::cli::{self, Cli, Printer};
use piref::guard;

fn main() -> ExitCode {
    guard::install();
    let cli = match Cli::parse_from(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return cli::report_usage(&error),
    };
    let mut printer = Printer::new(cli.verbosity());
    match cli.run(&mut printer) {
        Ok(code) => code,
        Err(error) => cli::report(&error, &mut printer),
    }
}
