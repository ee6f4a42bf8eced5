//! Runs and their checkpoints.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

use super::model::{self, ModelInfo};
use super::table::{self, TableInfo};
use super::{InspectError, existing, size};
use crate::checkpoint::Checkpoint;
use crate::digest::Digest;
use crate::io;
use crate::model::{Lora, adapter_base, adapter_config, adapter_digest, is_adapter};
use crate::model_source::ModelSource;
use crate::table::schema::{metrics, sft_metrics};
use crate::train::METRICS;

/// A run folder: those of its parts that are there.
#[derive(Debug, Serialize)]
pub struct RunInfo {
    /// The folder.
    pub path: PathBuf,
    /// Every setting it was made with.
    pub plan: Option<PathBuf>,
    /// Its log-prob table.
    pub reference: Option<TableInfo>,
    /// What was recorded of its steps.
    pub metrics: Option<MetricsInfo>,
    /// Its checkpoints, by step.
    pub checkpoints: Vec<CheckpointInfo>,
    /// The trained policy, where it is a whole model.
    pub policy: Option<Box<ModelInfo>>,
    /// The trained policy, where it is an adapter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapter: Option<AdapterInfo>,
}

/// An adapter: a folder of PEFT.
#[derive(Debug, Serialize)]
pub struct AdapterInfo {
    /// The folder.
    pub path: PathBuf,
    /// The base model, by the name it was trained under.
    pub base: Option<String>,
    /// What it is like.
    #[serde(flatten)]
    pub lora: Lora,
    /// Digest of configuration and tensors.
    pub digest: Digest,
}

/// A metrics file.
#[derive(Debug, Serialize)]
pub struct MetricsInfo {
    /// The file.
    pub path: PathBuf,
    /// Version of its contract.
    pub schema: &'static str,
    /// Steps in it.
    pub n_steps: usize,
    /// The last of them.
    pub last: Option<Map<String, Value>>,
    /// The last evaluation, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_evaluation: Option<Map<String, Value>>,
}

/// A checkpoint.
#[derive(Debug, Serialize)]
pub struct CheckpointInfo {
    /// The folder.
    pub path: PathBuf,
    /// Optimiser steps done.
    pub step: u64,
    /// Tokens seen, each prompt counted once per completion.
    pub n_tokens: u64,
    /// Size of its files.
    pub bytes: u64,
    /// Everything that decides the course of the run.
    pub trajectory: Map<String, Value>,
}

pub(super) fn run(path: &Path) -> Result<RunInfo, InspectError> {
    let folder = |name: &str| Some(path.join(name)).filter(|folder| folder.is_dir());
    let metrics = Some(path.join(METRICS)).filter(|file| file.is_file());
    let (adapter, policy) = match folder("policy") {
        Some(folder) if is_adapter(&folder) => (Some(adapter(&folder)?), None),
        Some(folder) => (None, Some(model::info(&ModelSource::Folder(folder))?)),
        None => (None, None),
    };
    let checkpoints = match folder("train/checkpoints") {
        None => Vec::new(),
        Some(folder) => {
            let entries = io::list(&folder)?.into_iter().filter(|entry| Checkpoint::is_one(entry));
            entries.map(|entry| checkpoint(&entry)).collect::<Result<_, _>>()?
        }
    };
    let mut info = RunInfo {
        path: path.to_owned(),
        plan: existing(path.join("plan.toml")),
        reference: folder("reference").map(|folder| table::table(&folder)).transpose()?,
        metrics: metrics.map(|file| steps(&file)).transpose()?,
        checkpoints,
        policy: policy.map(Box::new),
        adapter,
    };
    info.checkpoints.sort_by_key(|checkpoint| checkpoint.step);
    Ok(info)
}

pub(super) fn adapter(path: &Path) -> Result<AdapterInfo, InspectError> {
    Ok(AdapterInfo {
        path: path.to_owned(),
        base: adapter_base(path)?.0,
        lora: adapter_config(path)?,
        digest: adapter_digest(path)?,
    })
}

pub(super) fn checkpoint(path: &Path) -> Result<CheckpointInfo, InspectError> {
    let checkpoint = Checkpoint::open(path)?;
    let mut bytes = 0;
    for file in io::list(path)? {
        bytes += size(&file)?;
    }
    let state = checkpoint.state();
    Ok(CheckpointInfo {
        path: path.to_owned(),
        step: state.step,
        n_tokens: state.n_tokens,
        bytes,
        trajectory: state.trajectory.clone(),
    })
}

fn steps(path: &Path) -> Result<MetricsInfo, InspectError> {
    let (mut n_steps, mut last, mut last_evaluation, mut schema) = (0, None, None, metrics::VERSION);
    for (line, text) in (1..).zip(io::read_text(path)?.lines()) {
        let row = serde_json::from_str::<Map<String, Value>>(text).ok();
        let found = row.as_ref().and_then(|row| row.get("schema"));
        // A file is of one kind of run.
        if line == 1 && found.is_some_and(|version| version == sft_metrics::VERSION) {
            schema = sft_metrics::VERSION;
        }
        if found.is_none_or(|version| version != schema) {
            return Err(InspectError::Metrics {
                path: path.to_owned(),
                line,
                expected: schema,
                found: found.map_or_else(|| "none".into(), Value::to_string),
            });
        }
        if row.as_ref().is_some_and(|row| row.contains_key("eval_loss")) {
            last_evaluation = row;
        } else {
            n_steps += 1;
            last = row;
        }
    }
    Ok(MetricsInfo { path: path.to_owned(), schema, n_steps, last, last_evaluation })
}
