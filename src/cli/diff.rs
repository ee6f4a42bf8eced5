//! `piref diff`: two log-prob tables against each other.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use super::{OutputFormat, Printer, nats, objects, print_json};
use crate::table::{ReferenceTable, Rows, TableDiff, diff};
use crate::visible::line;

/// Compare two log-prob tables row by row: added, removed, retokenised, rescored, unchanged.
///
/// Rows meet by `pair_id`, as often as it occurs. Exit 0 whether the tables differ or not: how they do is the answer, and
/// `--exit-code` makes it the exit code, too.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder of the first table, or one part of a table.
    a: PathBuf,

    /// Folder of the second table, or one part of a table.
    b: PathBuf,

    /// Pairs of each kind to list.
    #[arg(long, value_name = "PAIRS", default_value_t = 10)]
    limit: usize,

    /// Exit 1 if the tables differ: in their pairs, tokens, log-probs or the model and settings they were scored with. The
    /// order of the rows and the names of the data files are no difference.
    #[arg(long)]
    exit_code: bool,

    /// Form of the answer on standard output.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output_format: OutputFormat,
}

pub(crate) fn run(args: &Args, printer: &mut Printer) -> anyhow::Result<ExitCode> {
    let failed = || format!("cannot compare `{}` with `{}`", args.a.display(), args.b.display());
    let mut open = |path| ReferenceTable::open(&objects::local(path, printer)?);
    let (a, b) = (open(&args.a).with_context(failed)?, open(&args.b).with_context(failed)?);
    let found = diff(&a, &b, args.limit).with_context(failed)?;
    match args.output_format {
        OutputFormat::Json => print_json(&found, printer)?,
        OutputFormat::Text => {
            printer.lines(lines(&found))?;
        }
    }
    Ok(if args.exit_code && found.is_any() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn lines(found: &TableDiff) -> Vec<String> {
    let mut lines = vec![format!("a: {} pairs, b: {} pairs", found.n_pairs_a, found.n_pairs_b)];
    lines.push(format!("unchanged: {}", found.unchanged));
    let kinds = [
        ("rescored", &found.rescored),
        ("retokenised", &found.retokenised),
        ("added in b", &found.added),
        ("removed in b", &found.removed),
    ];
    for (kind, Rows { count, first_pairs }) in kinds {
        lines.push(format!("{kind}: {count}"));
        lines.extend(first_pairs.iter().map(|pair| format!("  {}", line(pair))));
        let n_more = count.saturating_sub(first_pairs.len() as u64);
        if n_more > 0 && !first_pairs.is_empty() {
            lines.push(format!("  and {n_more} more"));
        }
    }
    lines.push(match &found.logps {
        None => "log-probs: no pair with the same tokens in both".into(),
        Some(deltas) => format!(
            "log-probs of {} sequences with the same tokens: max |Δ| {}, mean |Δ| {} nats a sequence; \
             max {}, mean {} nats a token",
            deltas.n_sequences,
            nats(deltas.max_sequence),
            nats(deltas.mean_sequence),
            nats(deltas.max_token),
            nats(deltas.mean_token)
        ),
    });
    for difference in &found.provenance {
        lines.push(format!(
            "provenance `{}`: a {}, b {}",
            difference.field,
            line(&difference.expected),
            line(&difference.found)
        ));
    }
    if found.provenance.is_empty() {
        lines.push("provenance: equal in every field".into());
    }
    lines
}
