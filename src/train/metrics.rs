//! What is recorded of a step: `metrics.jsonl`, one object a step under TRL's names (`schemas/metrics.v1.toml`).

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::TrainError;
use crate::io::{self, IoError};
use crate::table::schema::metrics::VERSION;

/// The metrics file of a run folder.
pub const METRICS: &str = "train/metrics.jsonl";

/// Metrics of one optimiser step; means are over its pairs, values are those before the update.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// Optimiser steps done, this one included.
    pub step: u64,
    /// Passes over the table done, this step included.
    pub epoch: f64,
    /// Mean of the objective.
    pub loss: f64,
    /// L2 norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Learning rate of the update.
    pub learning_rate: f64,
    /// Mean of β·(ln π_θ − ln π_ref) of the chosen completions.
    #[serde(rename = "rewards/chosen")]
    pub rewards_chosen: f64,
    /// The same of the rejected ones.
    #[serde(rename = "rewards/rejected")]
    pub rewards_rejected: f64,
    /// Mean difference of the two.
    #[serde(rename = "rewards/margins")]
    pub rewards_margins: f64,
    /// Share of pairs whose chosen reward is above the rejected one; a tie counts as below, as in TRL.
    #[serde(rename = "rewards/accuracies")]
    pub rewards_accuracies: f64,
    /// Mean of ln π_θ(y_w | x), in nats.
    #[serde(rename = "logps/chosen")]
    pub logps_chosen: f64,
    /// Mean of ln π_θ(y_l | x), in nats.
    #[serde(rename = "logps/rejected")]
    pub logps_rejected: f64,
    /// Tokens since the start of the run, each prompt counted once per completion, as in TRL.
    pub num_tokens: u64,
    /// Pairs of the step.
    pub n_pairs: usize,
    /// Share of pairs whose chosen log-prob is below the reference's.
    pub displacement: f64,
    /// Tokens of the step by its wall time.
    pub tokens_per_second: f64,
    /// Wall time of the step, in seconds.
    pub step_seconds: f64,
}

/// The open metrics file.
#[derive(Debug)]
pub(super) struct MetricsFile {
    path: PathBuf,
    file: File,
}

/// A line as it is written: the version of its contract first.
#[derive(Serialize)]
struct VersionedLine<'a> {
    schema: &'static str,
    #[serde(flatten)]
    metrics: &'a StepMetrics,
}

/// What resuming reads of a line.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    schema: serde_json::Value,
    step: u64,
}

impl MetricsFile {
    /// Opens the file for the steps after `step`: lines of later steps, which a killed run wrote after its last
    /// checkpoint, are dropped.
    pub(super) fn open(path: &Path, step: u64) -> Result<Self, TrainError> {
        let mut kept = String::new();
        if step > 0 && path.is_file() {
            let text = io::read_text(path)?;
            for (index, line) in text.lines().enumerate() {
                match serde_json::from_str::<Line>(line) {
                    Ok(found) if found.schema != VERSION => {
                        let found = match found.schema {
                            serde_json::Value::Null => "none".to_owned(),
                            found => found.to_string(),
                        };
                        let (path, line) = (path.to_owned(), index + 1);
                        return Err(TrainError::MetricsVersion { path, line, expected: VERSION, found });
                    }
                    Ok(found) if found.step <= step => kept.extend([line, "\n"]),
                    Ok(_) => break,
                    // The last line of a killed run may be cut short; anything else is not ours.
                    Err(_) if index + 1 == text.lines().count() => break,
                    Err(_) => return Err(TrainError::Metrics { path: path.to_owned(), line: index + 1 }),
                }
            }
        }
        io::write(path, kept.as_bytes())?;
        Ok(Self { path: path.to_owned(), file: io::append(path)? })
    }

    pub(super) fn push(&mut self, metrics: &StepMetrics) -> Result<(), TrainError> {
        let wrap = |source| IoError::new("write", &self.path, source);
        let mut line =
            serde_json::to_vec(&VersionedLine { schema: VERSION, metrics }).map_err(|error| wrap(error.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(wrap)?;
        Ok(())
    }
}
