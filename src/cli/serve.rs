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
use crate::serve::{self, Event, Plan, TlsFiles, Token, TokenError};

/// Serve tables to clients of Arrow Flight SQL: ADBC, JDBC, ODBC, notebooks, dashboards.
///
/// Clients see the names and functions of `piref sql`, and read only. Tables in Parquet files are read anew by each query;
/// those of text and Arrow files, as `metrics`, are served as they were when the server started. Beyond this machine clients
/// need a token and TLS, or `--insecure`. Ctrl-C ends it.
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

    /// A file with the token that clients have to say, one line that only you can read: as `authorization: Bearer TOKEN`, or
    /// as the password of any name.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// The server's certificate, PEM, with those it is signed by: connections are encrypted.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// The private key of the certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// Serve other machines without a token or without TLS: on a network you trust.
    #[arg(long)]
    insecure: bool,

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
    let plan = args.plan().with_context(failed)?;
    if !args.flight_sql.ip().is_loopback() && plan.is_insecure {
        printer.note(format_args!(
            "warning: whoever reaches `{}` {}",
            args.flight_sql,
            if plan.token.is_none() { "may read these tables" } else { "may listen: nothing is encrypted" }
        ));
    }
    let scheme = if plan.tls.is_some() { "grpc+tls" } else { "grpc" };
    serve::run(&plan, &session, &interrupt, &mut |event| show(&event, scheme, printer)).with_context(failed)?;
    printer.note("stopped");
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn plan(&self) -> Result<Plan, TokenError> {
        let tls = self.tls_cert.clone().zip(self.tls_key.clone());
        Ok(Plan {
            address: self.flight_sql,
            token: self.token_file.as_deref().map(Token::read).transpose()?,
            tls: tls.map(|(certificate, key)| TlsFiles { certificate, key }),
            is_insecure: self.insecure,
        })
    }
}

fn show(event: &Event, scheme: &str, printer: &mut Printer) {
    match event {
        Event::Copied { tables } => {
            printer.note(format_args!("as they are now, not as they will be: {}", tables.join(", ")));
        }
        Event::Listening { at, tables } => {
            printer.note(format_args!("tables: {}", if tables.is_empty() { "none".into() } else { tables.join(", ") }));
            printer.note(format_args!("Flight SQL at {scheme}://{at}, until Ctrl-C"));
        }
    }
}
