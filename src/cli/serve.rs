//! `piref serve`: tables for clients of Flight SQL.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use super::Printer;
use super::query_memory::QueryMemory;
use super::query_model::QueryModel;
use super::sql::{self, NamedPath};
use crate::interrupt::Interrupt;
use crate::query::{Resources, Session};
use crate::serve::{self, Event};

/// Serve tables to clients of Arrow Flight SQL: ADBC, JDBC, ODBC, notebooks, dashboards.
///
/// Clients see the names and functions of `piref sql`, and read only. Tables in Parquet files are read anew by each query;
/// those of text and Arrow files, as `metrics`, are served as they were when the server started. Nobody is asked for a
/// password and nothing is encrypted: beyond this machine that is for a network you trust. Ctrl-C ends it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Log-prob tables, run folders, pipeline files (`.toml`) or data files.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Where to listen: `127.0.0.1` is this machine alone, port 0 a free one.
    #[arg(long, value_name = "IP:PORT")]
    flight_sql: SocketAddr,

    /// A path under a name of your own; repeat for more. What comes with it, as `scored` or the `metrics` of a run, is
    /// `NAME_scored`, `NAME_metrics`.
    #[arg(long, value_name = "NAME=PATH")]
    table: Vec<NamedPath>,

    #[command(flatten)]
    model: QueryModel,

    #[command(flatten)]
    memory: QueryMemory,
}

pub(crate) fn run(args: &Args, printer: &mut Printer) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::on_signals().context("cannot handle signals")?;
    let failed = || format!("cannot serve `{}`", args.flight_sql);
    let model = args.model.find(&interrupt)?;
    let functions = model.functions();
    let mut session = Session::with(Resources {
        memory_limit: args.memory.bytes(),
        tokenizer: model.tokenizer,
        functions,
        interrupt: interrupt.clone(),
        ..Resources::default()
    })?;
    sql::register(&mut session, &args.paths, &args.table, printer)?;
    if !args.flight_sql.ip().is_loopback() {
        printer.note(format_args!(
            "warning: whoever reaches `{}` may read these tables: there is no password and no encryption",
            args.flight_sql
        ));
    }
    serve::run(args.flight_sql, &session, &interrupt, &mut |event| show(&event, printer)).with_context(failed)?;
    printer.note("stopped");
    Ok(ExitCode::SUCCESS)
}

fn show(event: &Event, printer: &mut Printer) {
    match event {
        Event::Copied { tables } => {
            printer.note(format_args!("as they are now, not as they will be: {}", tables.join(", ")));
        }
        Event::Listening { at, tables } => {
            printer.note(format_args!("tables: {}", if tables.is_empty() { "none".into() } else { tables.join(", ") }));
            printer.note(format_args!("Flight SQL at grpc://{at}, until Ctrl-C"));
        }
    }
}
