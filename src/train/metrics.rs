//! What is recorded of a step: `metrics.jsonl`, one object a step under TRL's names (`schemas/metrics.v1.toml`).

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::TrainError;
use crate::io::{self, IoError};

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
    schema: &'static str,
    file: File,
}

/// A line as it is written: the version of its contract first.
#[derive(Serialize)]
struct VersionedLine<'a, M> {
    schema: &'static str,
    #[serde(flatten)]
    metrics: &'a M,
}

/// What resuming reads of a line.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    schema: serde_json::Value,
    step: u64,
}

impl MetricsFile {
    /// Opens the file for the steps after `step`, where the newest checkpoint stands: what a killed run wrote after it
    /// is dropped unread, since it may end anywhere in a line. Its lines follow the contract `schema`.
    pub(super) fn open(path: &Path, schema: &'static str, step: u64) -> Result<Self, TrainError> {
        let mut kept = Vec::new();
        if step > 0 && path.is_file() {
            let bytes = io::read(path)?;
            for (index, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
                match serde_json::from_slice::<Line>(line) {
                    Ok(found) if found.schema != schema => {
                        let found = match found.schema {
                            serde_json::Value::Null => "none".to_owned(),
                            found => found.to_string(),
                        };
                        let (path, line) = (path.to_owned(), index + 1);
                        return Err(TrainError::MetricsVersion { path, line, expected: schema, found });
                    }
                    Ok(found) if found.step < step => kept.extend(line),
                    Ok(found) => {
                        if found.step == step {
                            kept.extend(line);
                        }
                        break;
                    }
                    Err(_) => return Err(TrainError::Metrics { path: path.to_owned(), line: index + 1 }),
                }
            }
        }
        io::write(path, &kept)?;
        Ok(Self { path: path.to_owned(), schema, file: io::append(path)? })
    }

    /// Makes the lines durable: before a checkpoint is, so that one that is found has its metrics.
    pub(super) fn sync(&self) -> Result<(), TrainError> {
        Ok(self.file.sync_data().map_err(|source| IoError::new("sync", &self.path, source))?)
    }

    pub(super) fn push(&mut self, metrics: &impl Serialize) -> Result<(), TrainError> {
        let wrap = |source| IoError::new("write", &self.path, source);
        let mut line =
            serde_json::to_vec(&VersionedLine { schema: self.schema, metrics }).map_err(|error| wrap(error.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(wrap)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::schema::metrics::VERSION;

    /// As much of a line as resuming reads.
    fn line(step: u64) -> String {
        format!("{{\"schema\":\"{VERSION}\",\"step\":{step}}}\n")
    }

    #[track_caller]
    fn check(found: &[u8], step: u64, kept: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        io::write(&path, found).unwrap();
        MetricsFile::open(&path, VERSION, step).unwrap();
        assert_eq!(io::read_text(&path).unwrap(), kept);
    }

    #[test]
    fn what_follows_the_checkpoint_is_dropped_however_it_ends() {
        let kept = &(line(1) + &line(2));
        for tail in ["", &(line(3) + "{\"st"), &("\0\0\0\n".to_owned() + &line(3)), "\n", "{"] {
            check(format!("{kept}{tail}").as_bytes(), 2, kept);
        }
        check(&[kept.as_bytes(), b"\xff\xfe"].concat(), 2, kept);
        check(kept.as_bytes(), 1, &line(1));
        check(kept.as_bytes(), 0, "");
    }

    #[test]
    fn a_line_before_the_checkpoint_that_is_not_ours_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        io::write(&path, (line(1) + "loss 0.3\n" + &line(3)).as_bytes()).unwrap();
        let error = MetricsFile::open(&path, VERSION, 3).unwrap_err();
        assert!(error.to_string().contains("metrics.jsonl`, line 2"), "{error}");
    }

    #[test]
    fn lines_of_another_version_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        io::write(&path, b"{\"step\":1}\n").unwrap();
        let error = MetricsFile::open(&path, VERSION, 1).unwrap_err();
        assert!(error.to_string().contains("line 1: expected `schema` `metrics.v1`, found none"), "{error}");
    }
}
