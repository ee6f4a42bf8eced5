//! `piref env`: what a bug report needs to say about program and machine.

use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;
use toml::Table;

use super::{OutputFormat, Printer, print_json};
use crate::io;
use crate::model_source;

/// The lock file the program was built with: the one list of versions that cannot be out of date.
const LOCK: &str = include_str!("../../Cargo.lock");

/// Crates whose version explains a number.
const CRATES: &[&str] = &["arrow", "candle-core", "datafusion", "gemm", "parquet", "safetensors", "tokenizers"];

/// Processor features the kernels can use.
const CPU_FEATURES: &[&str] = &["avx2", "fma", "f16c", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16"];

/// Print versions, processor features, threads and paths, for bug reports.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Form of the answer.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output_format: OutputFormat,
}

#[derive(Debug, Serialize)]
struct Environment {
    piref: &'static str,
    crates: Vec<(String, String)>,
    target: String,
    cpu_features: Vec<&'static str>,
    threads: usize,
    hugging_face_cache: String,
}

pub(crate) fn run(args: &Args, printer: &mut Printer) -> anyhow::Result<ExitCode> {
    let environment = Environment {
        piref: env!("CARGO_PKG_VERSION"),
        crates: crates(&LOCK.parse()?),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        cpu_features: cpu_features(),
        threads: threads()?,
        hugging_face_cache: model_source::cache().display().to_string(),
    };
    match args.output_format {
        OutputFormat::Json => print_json(&environment, printer)?,
        OutputFormat::Text => print_text(&environment, printer)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print_text(environment: &Environment, printer: &mut Printer) -> std::io::Result<()> {
    let mut out = printer.data();
    writeln!(out, "piref: {}", environment.piref)?;
    for (name, version) in &environment.crates {
        writeln!(out, "{name}: {version}")?;
    }
    writeln!(out, "target: {}", environment.target)?;
    writeln!(out, "cpu features: {}", environment.cpu_features.join(" "))?;
    writeln!(out, "threads: {}", environment.threads)?;
    writeln!(out, "Hugging Face cache: {}", environment.hugging_face_cache)
}

fn crates(lock: &Table) -> Vec<(String, String)> {
    let packages = lock.get("package").and_then(toml::Value::as_array).into_iter().flatten();
    packages
        .filter_map(|package| Some((package.get("name")?.as_str()?, package.get("version")?.as_str()?)))
        .filter(|(name, _)| CRATES.contains(name))
        .map(|(name, version)| (name.to_owned(), version.to_owned()))
        .collect()
}

/// The features of [`CPU_FEATURES`] that this processor has. Empty where the system does not list them.
fn cpu_features() -> Vec<&'static str> {
    let text = io::read_text("/proc/cpuinfo".as_ref()).unwrap_or_default();
    let flags = text.lines().find_map(|line| line.strip_prefix("flags")).unwrap_or_default();
    let has = |feature: &&str| flags.split_whitespace().any(|flag| flag == *feature);
    CPU_FEATURES.iter().copied().filter(has).collect()
}

/// As the libraries will see it: `--threads` and the variable, or what the machine has.
fn threads() -> std::io::Result<usize> {
    match std::env::var("RAYON_NUM_THREADS").ok().and_then(|text| text.parse().ok()) {
        Some(threads) => Ok(threads),
        None => std::thread::available_parallelism().map(std::num::NonZero::get),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_named_is_in_the_lock_file_once() {
        let found: Vec<String> = crates(&LOCK.parse().unwrap()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(found, CRATES);
    }
}
