//! What a path is: a table or a stray part of one, a run, a rejects or findings file, a model, a checkpoint.
//!
//! Invariant: what is told is read from the file itself. A part explains itself completely from its footer, without
//! the folder it came from; what is not known is refused, never guessed.

mod error;
mod model;
mod run;
mod table;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::Serialize;

pub use error::InspectError;
pub use model::{ModelInfo, TensorInfo};
pub use run::{AdapterInfo, CheckpointInfo, MetricsInfo, RunInfo};
pub use table::{ColumnInfo, FileInfo, PartInfo, TableInfo};

use crate::io::IoError;
use crate::model::is_adapter;
use crate::model_source::{Found, ModelSourceError, locate};
use crate::policy::PolicyError;
use crate::table::schema::{evals, findings, reference, rejects, signals, sweep};
use crate::table::{self as tables, MANIFEST, ParquetInput};

/// What a path was found to be.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Inspected {
    /// One part of a log-prob table.
    Part(PartInfo),
    /// A log-prob table, finished or not.
    Table(TableInfo),
    /// A run folder.
    Run(Box<RunInfo>),
    /// What stage one shows of the pairs of a part beside log-probs.
    Signals(FileInfo),
    /// Rows that could not be scored.
    Rejects(FileInfo),
    /// What checks have found.
    Findings(FileInfo),
    /// What a policy says of held-out pairs.
    Evals(FileInfo),
    /// The runs of a sweep, side by side.
    Sweep(FileInfo),
    /// A model folder or `.gguf` file.
    Model(Box<ModelInfo>),
    /// A checkpoint of a training run.
    Checkpoint(CheckpointInfo),
    /// An adapter, which goes with a base model.
    Adapter(AdapterInfo),
}

/// Says what is at `path`.
///
/// # Errors
/// If it is nothing that piref writes or reads, follows another version of its contract, or is damaged.
pub fn inspect(path: &Path) -> Result<Inspected, InspectError> {
    if path.is_dir() {
        inspect_folder(path)
    } else if path.is_file() {
        inspect_file(path)
    } else {
        // A name in the cache, if it is nothing on disk.
        match locate(&path.to_string_lossy()) {
            Ok(located) => inspect_folder(&located.path),
            Err(ModelSourceError::NotFound { .. }) => Err(IoError::Missing { path: path.to_owned() }.into()),
            Err(error) => Err(PolicyError::from(error).into()),
        }
    }
}

fn inspect_folder(path: &Path) -> Result<Inspected, InspectError> {
    let has = |name: &str| path.join(name).exists();
    if has("config.json") || is_adapter(path) {
        return Ok(match Found::at(path).map_err(PolicyError::from)? {
            Found::Model(source) => Inspected::Model(Box::new(model::info(&source)?)),
            Found::Adapter(folder) => Inspected::Adapter(run::adapter(&folder)?),
        });
    }
    if table::is_table(path)? {
        return Ok(Inspected::Table(table::table(path)?));
    }
    if has("state.json") {
        return Ok(Inspected::Checkpoint(run::checkpoint(path)?));
    }
    if ["plan.toml", "reference", "train", "policy"].into_iter().any(has) {
        return Ok(Inspected::Run(Box::new(run::run(path)?)));
    }
    Err(InspectError::UnknownFolder { path: path.to_owned() })
}

fn inspect_file(path: &Path) -> Result<Inspected, InspectError> {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    if path.file_name().is_some_and(|name| name == MANIFEST) {
        return Ok(Inspected::Table(table::table(path.parent().unwrap_or(path))?));
    }
    if extension == "gguf" {
        return Ok(match Found::at(path).map_err(PolicyError::from)? {
            Found::Model(source) => Inspected::Model(Box::new(model::info(&source)?)),
            Found::Adapter(folder) => Inspected::Adapter(run::adapter(&folder)?),
        });
    }
    if extension != "parquet" {
        return Err(InspectError::UnknownFile { path: path.to_owned() });
    }
    tables::refuse_other_versions(path)?;
    let input = ParquetInput::open(path)?;
    match input.version() {
        Some(reference::VERSION) => Ok(Inspected::Part(table::part(path)?)),
        Some(signals::VERSION) => Ok(Inspected::Signals(table::file(&input)?)),
        Some(rejects::VERSION | rejects::V1) => Ok(Inspected::Rejects(table::file(&input)?)),
        Some(findings::VERSION) => Ok(Inspected::Findings(table::file(&input)?)),
        Some(evals::VERSION) => Ok(Inspected::Evals(table::file(&input)?)),
        Some(sweep::VERSION) => Ok(Inspected::Sweep(table::file(&input)?)),
        _ => Err(InspectError::NotOurs { path: path.to_owned(), columns: table::names(&input) }),
    }
}

/// Bytes of a file.
fn size(path: &Path) -> Result<u64, IoError> {
    let metadata = crate::io::open(path)?.metadata();
    metadata.map(|metadata| metadata.len()).map_err(|source| IoError::new("read", path, source))
}

/// A path that is told only where there is something.
fn existing(path: PathBuf) -> Option<PathBuf> {
    Some(path).filter(|path| path.exists())
}
