//! What can be wrong with a pipeline file, or with settings that do not make a plan.

use std::path::PathBuf;

use super::loss_settings::LossSettingsError;
use super::optim_settings::OptimSettingsError;
use super::overrides::SetError;
use super::values::ValueError;
use crate::data::DataError;
use crate::error::Hint;
use crate::io::IoError;
use crate::ops::DeviceError;
use crate::storage::StorageError;
use crate::table::TableError;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// A pipeline file that cannot be used.
    #[error("cannot load pipeline `{}`", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        #[source]
        source: FileError,
    },
    /// A list of runs that cannot be used.
    #[error("cannot load list of runs `{}`", path.display())]
    List {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        #[source]
        source: FileError,
    },
    /// A `--set` that sets nothing.
    #[error("cannot use `--set {given}`")]
    Set {
        /// As given.
        given: String,
        /// What is wrong with it.
        #[source]
        source: SetError,
    },
    /// A key without a default that neither file nor flags give.
    #[error("`{key}` is not set")]
    Missing {
        /// The key with its section: `data.files`.
        key: &'static str,
        /// The flag that sets it.
        flag: &'static str,
    },
    /// A data file that is not there.
    #[error("data file `{}` does not exist", path.display())]
    NoData {
        /// As given.
        path: PathBuf,
        /// A file of nearly that name in the same folder.
        nearest: Option<PathBuf>,
    },
    /// Data under a URL.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Data that is not what its name says, or not there.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A log-prob table that is not there.
    #[error("log-prob table `{}` does not exist", path.display())]
    NoTable {
        /// As given.
        path: PathBuf,
    },
    /// A pipeline whose results are asked for before there are any.
    #[error("pipeline `{}` has no run yet: expected folder `{}`", pipeline.display(), run.display())]
    NoRun {
        /// The pipeline file.
        pipeline: PathBuf,
        /// Where its run would be.
        run: PathBuf,
    },
    /// A further reference whose name is taken.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A name that is none of a run.
    #[error("`name` cannot be used")]
    RunName {
        /// Why not.
        #[source]
        source: ValueError,
    },
    /// A device that cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Settings of `[train.loss]` that make no objective.
    #[error(transparent)]
    Loss {
        /// Why not.
        source: LossSettingsError,
    },
    /// Settings of `[train]` that make no optimiser or no schedule.
    #[error(transparent)]
    Optim(#[from] OptimSettingsError),
    /// A setting of `[train.lora]` that nothing reads.
    #[error("`train.lora.{setting}` is set, and {reason}")]
    Lora {
        /// The setting.
        setting: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// A setting of `[train.pairs]` that contradicts another.
    #[error("`train.pairs.{setting}` is set, and {reason}")]
    Pairs {
        /// The setting.
        setting: &'static str,
        /// What it contradicts.
        reason: &'static str,
    },
    /// Weights that do not fit the tables.
    #[error("{}", table_weights(*n_tables, *n_weights))]
    TableWeights {
        /// Tables there are.
        n_tables: usize,
        /// Weights there are.
        n_weights: usize,
    },
    /// A setting of `[train.eval]` that nothing reads.
    #[error("`train.eval.{setting}` is set, and {reason}")]
    Eval {
        /// The setting.
        setting: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// A setting that `piref sft` would not read.
    #[error("`{setting}` is set, and {reason}")]
    Sft {
        /// The setting, with its section.
        setting: &'static str,
        /// Why it is not read.
        reason: &'static str,
    },
    /// The record of the settings in the run folder cannot be read or written.
    #[error("cannot keep a record of the plan")]
    Record {
        /// Why not.
        #[source]
        source: IoError,
    },
    /// A number type for an adapter.
    #[error("`train.save_dtype` is of a whole policy: an adapter is written in f32")]
    SaveDtype,
    /// A text written by this module that it cannot read, or the other way round.
    #[error("internal error: settings that were checked cannot be combined; please report it")]
    Internal {
        /// What serde says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What is wrong in a pipeline file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(IoError),
    /// No TOML.
    #[error("line {line}: {message}")]
    Syntax {
        /// 1-based.
        line: usize,
        /// What the TOML reader says.
        message: String,
    },
    /// A setting that is none, or has a wrong value.
    #[error("line {line}: {source}")]
    Setting {
        /// 1-based.
        line: usize,
        /// What is wrong with it.
        source: SettingError,
    },
    /// The file has no `name`, and its own is no name of a folder.
    #[error("`name` is not set, and the file's own name cannot stand for it: {source}")]
    Name {
        /// Why not.
        source: ValueError,
    },
}

/// What is wrong with one setting, wherever it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingError {
    /// A key or a section nobody knows.
    #[error("unknown {kind} in {}", section_name(section))]
    Unknown {
        /// The key or section.
        kind: UnknownName,
        /// The section it stands in, dotted; empty at the top.
        section: String,
        /// What it may have been meant to be.
        advice: String,
    },
    /// A value of the wrong type or outside its range.
    #[error("`{key}` in {}: {message}", section_name(section))]
    Value {
        /// The key.
        key: String,
        /// The section it stands in, dotted; empty at the top.
        section: String,
        /// Expected and found.
        message: String,
    },
}

/// A name nobody knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnknownName {
    /// Of a key.
    Key(String),
    /// Of a section.
    Section(String),
}

impl std::fmt::Display for UnknownName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(name) => write!(f, "key `{name}`"),
            Self::Section(name) => write!(f, "section `{name}`"),
        }
    }
}

fn table_weights(n_tables: usize, n_weights: usize) -> String {
    if n_tables < 2 {
        return format!("expected at least 2 tables for {n_weights} weights, found {n_tables}");
    }
    format!("expected a weight for each of {n_tables} tables, found {n_weights}")
}

pub(super) fn section_name(section: &str) -> String {
    if section.is_empty() { "the top level".into() } else { format!("`[{section}]`") }
}

impl Hint for PipelineError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { key, flag } => Some(format!("set `{key}` in the pipeline file, or pass `{flag}`")),
            Self::NoData { nearest: Some(path), .. } => Some(format!("did you mean `{}`?", path.display())),
            Self::NoData { nearest: None, path } if path.is_relative() => {
                Some("paths are relative to the folder the command runs in".into())
            }
            Self::NoTable { .. } => Some("`piref precompute` makes it: stage one comes first".into()),
            Self::NoRun { pipeline, .. } => Some(format!("run `piref precompute {}` first", pipeline.display())),
            Self::Table(error) => error.hint(),
            // The error of a file is the next in the chain and gives its own.
            Self::Load { .. }
            | Self::List { .. }
            | Self::Set { .. }
            | Self::RunName { .. }
            | Self::Internal { .. }
            | Self::NoData { .. }
            | Self::Lora { .. }
            | Self::Pairs { .. }
            | Self::Eval { .. }
            | Self::Sft { .. } => None,
            Self::TableWeights { .. } => Some(
                "repeat `--table` for each table, and name their weights in that order: `--table-weights 0.7,0.3`"
                    .into(),
            ),
            Self::SaveDtype => Some("`piref export --merge --save-dtype` makes a whole model of it".into()),
            Self::Storage(error) => error.hint(),
            Self::Data(error) => error.hint(),
            Self::Device(error) => error.hint(),
            Self::Optim(error) => error.hint(),
            Self::Loss { source } => source.hint(),
            Self::Record { source } => source.hint(),
        }
    }
}

impl Hint for FileError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Io(error) => error.hint(),
            Self::Setting { source, .. } => source.hint(),
            Self::Name { .. } => Some("add `name = \"…\"` at the top of the file".into()),
            Self::Syntax { .. } => None,
        }
    }
}

impl Hint for SettingError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { advice, .. } => Some(advice.clone()),
            Self::Value { .. } => None,
        }
    }
}
