//! `piref inspect`: what a path is, as the file itself tells it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;

use super::{OutputFormat, Printer, objects, print_json};
use crate::inspect::inspect;
use crate::visible::line;

/// Say what a file or folder is: a table or a stray part of one, a run, a model, a checkpoint.
///
/// A part explains itself from its footer: the model with its digests, tokenizer, template and date, precision, rules,
/// and the data files with rows and digests. Nothing is loaded but headers; digests are computed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Table, part, rejects or findings file, run folder, model folder, `.gguf` file, or checkpoint.
    path: PathBuf,

    /// Form of the answer on standard output.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output_format: OutputFormat,
}

pub(crate) fn run(args: &Args, printer: &mut Printer) -> anyhow::Result<ExitCode> {
    let failed = || format!("cannot inspect `{}`", args.path.display());
    let inspected = inspect(&objects::local(&args.path, printer).with_context(failed)?).with_context(failed)?;
    match args.output_format {
        OutputFormat::Json => print_json(&inspected, printer)?,
        OutputFormat::Text => {
            let mut lines = Vec::new();
            write_value("", &serde_json::to_value(&inspected)?, 0, &mut lines);
            printer.lines(lines)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One line a value, the members of an object or a list under its name.
fn write_value(name: &str, value: &Value, depth: usize, lines: &mut Vec<String>) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(members) if name.is_empty() => {
            for (key, value) in members {
                write_value(key, value, depth, lines);
            }
        }
        Value::Object(members) => {
            lines.push(format!("{indent}{name}:"));
            for (key, value) in members {
                write_value(key, value, depth + 1, lines);
            }
        }
        Value::Array(items) if items.is_empty() => lines.push(format!("{indent}{name}: none")),
        Value::Array(items) => {
            lines.push(format!("{indent}{name}:"));
            for item in items {
                lines.push(format!("{indent}  - {}", in_one_line(item)));
            }
        }
        value => lines.push(format!("{indent}{name}: {}", in_one_line(value))),
    }
}

/// A value in one line: members of an object after each other, those without a value left out.
fn in_one_line(value: &Value) -> String {
    let joined = |parts: Vec<String>, by: &str| parts.join(by);
    match value {
        Value::Null => "none".into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => line(text).into_owned(),
        Value::Array(items) => joined(items.iter().map(in_one_line).collect(), " × "),
        Value::Object(members) => {
            let members = members.iter().filter(|(_, value)| !value.is_null());
            joined(members.map(|(key, value)| format!("{key} {}", in_one_line(value))).collect(), ", ")
        }
    }
}
