//! The folder of a run: whose it is, who works in it, what stands in it.
//!
//! Invariant: one process at a time writes to a run, and what it does not replace it does not touch. Killed at any
//! instant, the run goes on from its newest checkpoint, or finds itself finished and writes its policy again.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::error::TrainError;
use super::metrics::METRICS;
use super::plan::{Event, Plan, Start};
use crate::checkpoint::{self, Checkpoint};
use crate::io::{self, Lock};
use crate::model::{DEFAULT_SHARD_BYTES, Decoder, Digests, ModelError, export, export_adapter};
use crate::model_source::ModelSource;
use crate::tokenize::TokenizerFiles;

/// The held-out pairs of a run, in its folder.
pub const HELD_OUT: &str = "train/held_out.csv";

/// A run folder that is ours, and nobody else's as long as this value lives.
#[derive(Debug)]
pub(super) struct RunFolder<'a> {
    plan: &'a Plan,
    _lock: Lock,
}

impl<'a> RunFolder<'a> {
    /// Takes the folder of the plan.
    ///
    /// # Errors
    /// If it holds something a run does not make, or if another process is at work in it.
    pub(super) fn claim(plan: &'a Plan) -> Result<Self, TrainError> {
        refuse_folders_of_others(plan)?;
        io::create_dir(&plan.train_folder())?;
        Ok(Self { plan, _lock: Lock::acquire(&plan.train_folder().join(".piref.lock"))? })
    }

    /// Finds the checkpoint to go on from, or deletes the earlier run where the plan starts again.
    ///
    /// # Errors
    /// If the newest checkpoint is damaged, or belongs to a run that was told something else.
    pub(super) fn newest_checkpoint(
        &self,
        trajectory: &Map<String, Value>,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Option<Checkpoint>, TrainError> {
        let (checkpoints, policy) = (self.plan.checkpoints(), self.plan.policy());
        if self.plan.start == Start::Fresh {
            self.clear()?;
        }
        for path in [&policy, &checkpoints, &self.plan.out.join(METRICS)] {
            io::remove_halves(path)?;
        }
        for path in ["plan.toml", "report.html"].map(|name| self.plan.out.join(name)) {
            io::remove_halves(&path)?;
        }
        io::create_dir(&checkpoints)?;
        let Some(newest) = checkpoint::newest(&checkpoints)? else { return Ok(None) };
        newest.check(trajectory)?;
        checkpoint::tidy(&checkpoints)?;
        if newest.crate_version() != env!("CARGO_PKG_VERSION") {
            observe(Event::Note(format!(
                "the checkpoint was written by piref {}, this is {}: the rest may differ in the last bits",
                newest.crate_version(),
                env!("CARGO_PKG_VERSION")
            )));
        }
        Ok(Some(newest))
    }

    /// Writes the ids of the held-out pairs, one a line under a header, so that SQL can ask for them; deletes those of an
    /// earlier run where there are none.
    pub(super) fn save_held_out<'p>(&self, pair_ids: impl Iterator<Item = &'p str>) -> Result<(), TrainError> {
        let path = self.plan.out.join(HELD_OUT);
        io::remove_halves(&path)?;
        let lines: String = pair_ids.flat_map(|pair_id| [pair_id, "\n"]).collect();
        if lines.is_empty() {
            return Ok(io::remove(&path)?);
        }
        Ok(io::write(&path, format!("pair_id\n{lines}").as_bytes())?)
    }

    fn clear(&self) -> Result<(), TrainError> {
        io::remove_dir(&self.plan.policy())?;
        Ok(io::remove_dir(&self.plan.checkpoints())?)
    }

    /// Writes the trained policy as a Hugging Face folder, or its adapter as one of PEFT: all of it under its name, or
    /// none.
    pub(super) fn save_policy(
        &self,
        model: &Decoder,
        source: &ModelSource,
        digests: &Digests,
        tokenizer: &TokenizerFiles,
    ) -> Result<PathBuf, TrainError> {
        let policy = self.plan.policy();
        io::write_dir(&policy, |folder| {
            let in_model = |source: ModelError| TrainError::Model { model: self.plan.model.clone(), source };
            let written = match model.lora() {
                None => export(model, source, folder, DEFAULT_SHARD_BYTES),
                Some(_) => export_adapter(model, &self.plan.model, digests, folder),
            };
            written.map_err(in_model)?;
            Ok::<_, TrainError>(tokenizer.save(source, folder)?)
        })?;
        Ok(policy)
    }
}

/// Deletes what an earlier run of the plan could go on from, and its policy.
///
/// # Errors
/// If the folder holds something a run does not make, or if another process is at work in it.
pub fn clear(plan: &Plan) -> Result<(), TrainError> {
    if plan.train_folder().is_dir() { RunFolder::claim(plan)?.clear() } else { Ok(()) }
}

/// A run replaces `policy/` and its own checkpoints, so it must be sure that they are its own.
fn refuse_folders_of_others(plan: &Plan) -> Result<(), TrainError> {
    if !plan.out.is_dir() {
        return Ok(());
    }
    for entry in io::list(&plan.out)? {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_ours = match name.as_str() {
            "policy" => plan.train_folder().is_dir(),
            "plan.toml" | "report.html" | "reference" | "train" | ".policy.partial" | ".policy.removed" => true,
            // A file before its rename.
            name => {
                [".plan.toml.", ".report.html."].iter().any(|start| name.starts_with(start))
                    && name.ends_with(".partial")
            }
        };
        if !is_ours {
            return Err(TrainError::NotOurs { path: plan.out.clone(), found: name });
        }
    }
    Ok(())
}
