//! What is recorded of a run: `metrics.jsonl`, one object a step and one an evaluation, under TRL's names
//! (`schemas/metrics.v1.toml`), and the same numbers for TensorBoard, where the plan reports to it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::TrainError;
use super::plan::ReportTo;
use super::watch::{Progress, Signs};
use crate::eval::EvalMetrics;
use crate::io::{self, IoError};
use crate::tensorboard::{EventFile, Kept};

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

impl Progress for StepMetrics {
    fn signs(&self) -> Signs {
        let Self { step, loss, grad_norm, learning_rate, .. } = *self;
        Signs { step, loss, grad_norm, learning_rate }
    }
}

/// Metrics of an evaluation, after so many steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationMetrics {
    /// Optimiser steps done.
    pub step: u64,
    /// Passes over the table done.
    pub epoch: f64,
    /// Means over the held-out pairs.
    #[serde(flatten)]
    pub metrics: EvalMetrics,
}

/// What the last line that counts is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastLine {
    /// A step.
    Step,
    /// The evaluation after it.
    Evaluation,
}

/// The open metrics file.
#[derive(Debug)]
pub(super) struct MetricsFile {
    path: PathBuf,
    schema: &'static str,
    file: File,
    /// What was there already and stays.
    kept: Kept,
    /// TensorBoard's, beside it.
    events: Option<EventFile>,
}

/// A line as it is written: the version of its contract first.
#[derive(Serialize)]
struct VersionedLine<'a, T> {
    schema: &'static str,
    #[serde(flatten)]
    metrics: &'a T,
}

/// What resuming reads of a line.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    schema: Value,
    step: u64,
    /// An evaluation has it.
    eval_loss: Option<serde::de::IgnoredAny>,
}

impl Line {
    fn kind(&self) -> LastLine {
        if self.eval_loss.is_some() { LastLine::Evaluation } else { LastLine::Step }
    }
}

impl MetricsFile {
    /// Opens the file for what follows the line of `step`, or of the evaluation after it, where the newest checkpoint
    /// stands: what a killed run wrote after it is dropped unread, since it may end anywhere in a line. Its lines follow the
    /// contract `schema`.
    pub(super) fn open(path: &Path, schema: &'static str, step: u64, last: LastLine) -> Result<Self, TrainError> {
        let (mut kept, mut n_of_step) = (Vec::new(), 0);
        if step > 0 && path.is_file() {
            let bytes = io::read(path)?;
            for (index, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
                match serde_json::from_slice::<Line>(line) {
                    Ok(found) if found.schema != schema => {
                        let found = match found.schema {
                            Value::Null => "none".to_owned(),
                            found => found.to_string(),
                        };
                        let (path, line) = (path.to_owned(), index + 1);
                        return Err(TrainError::MetricsVersion { path, line, expected: schema, found });
                    }
                    Ok(found) if found.step < step => kept.extend(line),
                    Ok(found) => {
                        if found.step == step {
                            kept.extend(line);
                            n_of_step += 1;
                        }
                        // An evaluation of this step is still to come.
                        if found.step > step || found.kind() == last {
                            break;
                        }
                    }
                    Err(_) => return Err(TrainError::Metrics { path: path.to_owned(), line: index + 1 }),
                }
            }
        }
        io::write(path, &kept)?;
        let (path, file, kept) = (path.to_owned(), io::append(path)?, Kept { step, n_of_step });
        Ok(Self { path, schema, file, kept, events: None })
    }

    /// Reports what follows to TensorBoard as well, or not.
    pub(super) fn reporting_to(
        mut self,
        report_to: ReportTo,
        note: &mut dyn FnMut(String),
    ) -> Result<Self, TrainError> {
        let (folder, step) = (self.path.parent().unwrap_or(Path::new("")), self.kept.step);
        match report_to {
            // What an earlier start of the run reported stays, as far as the run stays.
            ReportTo::None if step == 0 => EventFile::remove(folder)?,
            ReportTo::None => {}
            ReportTo::Tensorboard => {
                let resumed = EventFile::open(folder, self.kept)?;
                let last_step = resumed.last_step.unwrap_or(0);
                if last_step < step {
                    let after = last_step + 1;
                    note(format!(
                        "TensorBoard's event file lacks the steps {after} to {step}: they are in `{}` alone",
                        self.path.display()
                    ));
                }
                self.events = Some(resumed.file);
            }
        }
        Ok(self)
    }

    /// Makes the lines durable: before a checkpoint is, so that one that is found has its metrics.
    pub(super) fn sync(&self) -> Result<(), TrainError> {
        self.file.sync_data().map_err(|source| IoError::new("sync", &self.path, source))?;
        Ok(self.events.as_ref().map_or(Ok(()), EventFile::sync)?)
    }

    pub(super) fn push(&mut self, metrics: &impl Serialize) -> Result<(), TrainError> {
        let wrap = |source| IoError::new("write", &self.path, source);
        let mut line =
            serde_json::to_vec(&VersionedLine { schema: self.schema, metrics }).map_err(|error| wrap(error.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(wrap)?;
        if let Some(events) = &mut self.events {
            let line = serde_json::to_value(metrics).map_err(|error| wrap(error.into()))?;
            let step = line.get("step").and_then(Value::as_u64).unwrap_or(0);
            events.push(step, &scalars(line))?;
        }
        Ok(())
    }
}

/// The numbers of a line under the tags transformers gives them (`rewrite_logs`): `loss` is `train/loss`, `eval_loss` is
/// `eval/loss`. Of an evaluation only its own numbers, or `train/epoch` would have its step twice.
fn scalars(line: Value) -> Vec<(String, f64)> {
    let Value::Object(members) = line else { return Vec::new() };
    let is_evaluation = members.keys().any(|name| name.starts_with("eval_"));
    let tag = |name: &str| match name.strip_prefix("eval_") {
        Some(name) => Some(format!("eval/{name}")),
        None if is_evaluation || name == "step" => None,
        None => Some(format!("train/{name}")),
    };
    members.iter().filter_map(|(name, value)| Some((tag(name)?, value.as_f64()?))).collect()
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
        MetricsFile::open(&path, VERSION, step, LastLine::Step).unwrap();
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
    fn the_evaluation_of_the_last_step_stays_if_the_checkpoint_knows_of_it() {
        let evaluation = |step: u64| format!("{{\"schema\":\"metrics.v1\",\"step\":{step},\"eval_loss\":0.5}}\n");
        let text = evaluation(0) + &line(1) + &line(2) + &evaluation(2) + &line(3) + "{\"sch";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        for (step, last, want) in [
            (1, LastLine::Step, evaluation(0) + &line(1)),
            (2, LastLine::Step, evaluation(0) + &line(1) + &line(2)),
            (2, LastLine::Evaluation, evaluation(0) + &line(1) + &line(2) + &evaluation(2)),
        ] {
            io::write(&path, text.as_bytes()).unwrap();
            MetricsFile::open(&path, VERSION, step, last).unwrap();
            assert_eq!(io::read_text(&path).unwrap(), want, "step {step}, {last:?}");
        }
    }

    #[test]
    fn scalars_have_the_tags_of_transformers() {
        let tags = |line: Value| scalars(line).into_iter().map(|(tag, _)| tag).collect::<Vec<_>>();
        let step = serde_json::json!({ "step": 3, "epoch": 0.5, "loss": 0.6, "rewards/margins": 0.1, "name": "x" });
        assert_eq!(tags(step), ["train/epoch", "train/loss", "train/rewards/margins"]);
        let evaluation = serde_json::json!({ "step": 3, "epoch": 0.5, "eval_loss": 0.6, "eval_rewards/margins": 0.1 });
        assert_eq!(tags(evaluation), ["eval/loss", "eval/rewards/margins"]);
    }

    #[test]
    fn a_line_before_the_checkpoint_that_is_not_ours_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        io::write(&path, (line(1) + "loss 0.3\n" + &line(3)).as_bytes()).unwrap();
        let error = MetricsFile::open(&path, VERSION, 3, LastLine::Step).unwrap_err();
        assert!(error.to_string().contains("metrics.jsonl`, line 2"), "{error}");
    }

    #[test]
    fn lines_of_another_version_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        io::write(&path, b"{\"step\":1}\n").unwrap();
        let error = MetricsFile::open(&path, VERSION, 1, LastLine::Step).unwrap_err();
        assert!(error.to_string().contains("line 1: expected `schema` `metrics.v1`, found none"), "{error}");
    }
}
