//! The folder of a run: whose it is, who works in it, what stands in it.
//!
//! Invariant: one process at a time writes to a run, and what it does not replace it does not touch. Killed at any
//! instant, the run goes on from its newest checkpoint, or finds itself finished and writes its policy again.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::base::Base;
use super::course::Course;
use super::error::TrainError;
use super::metrics::METRICS;
use super::plan::Start;
use crate::checkpoint::{self, Checkpoint};
use crate::io::{self, Lock};
use crate::model::{Decoder, ModelError, export, export_adapter};

/// A run folder that is ours, and nobody else's as long as this value lives.
#[derive(Debug)]
pub(crate) struct RunFolder<'a> {
    course: &'a Course,
    _lock: Lock,
}

impl<'a> RunFolder<'a> {
    /// Takes the folder of the course.
    ///
    /// # Errors
    /// If it holds something a run does not make, or if another process is at work in it.
    pub(crate) fn claim(course: &'a Course) -> Result<Self, TrainError> {
        refuse_folders_of_others(course)?;
        io::create_dir(&course.train_folder())?;
        Ok(Self { course, _lock: Lock::acquire(&course.train_folder().join(".piref.lock"))? })
    }

    /// What the run in it is told.
    pub(super) fn course(&self) -> &'a Course {
        self.course
    }

    /// Finds the checkpoint to go on from, or deletes the earlier run where the course starts again.
    ///
    /// # Errors
    /// If the newest checkpoint is damaged, or belongs to a run that was told something else.
    pub(super) fn newest_checkpoint(
        &self,
        trajectory: &Map<String, Value>,
        note: &mut dyn FnMut(String),
    ) -> Result<Option<Checkpoint>, TrainError> {
        let (checkpoints, policy) = (self.course.checkpoints(), self.course.policy());
        if self.course.start == Start::Fresh {
            io::remove_dir(&policy)?;
            io::remove_dir(&checkpoints)?;
        }
        for path in [&policy, &checkpoints, &self.course.out.join(METRICS), &self.course.out.join("plan.toml")] {
            io::remove_halves(path)?;
        }
        io::create_dir(&checkpoints)?;
        let Some(newest) = checkpoint::newest(&checkpoints)? else { return Ok(None) };
        newest.check(trajectory)?;
        checkpoint::tidy(&checkpoints)?;
        if newest.crate_version() != env!("CARGO_PKG_VERSION") {
            note(format!(
                "the checkpoint was written by piref {}, this is {}: the rest may differ in the last bits",
                newest.crate_version(),
                env!("CARGO_PKG_VERSION")
            ));
        }
        Ok(Some(newest))
    }

    /// Writes the trained policy as a Hugging Face folder, or its adapter as one of PEFT: all of it under its name, or
    /// none.
    pub(super) fn save_policy(&self, model: &Decoder, base: &Base) -> Result<PathBuf, TrainError> {
        let policy = self.course.policy();
        io::write_dir(&policy, |folder| {
            let in_model = |source: ModelError| TrainError::Model { model: self.course.model.clone(), source };
            let written = match model.lora() {
                None => export(model, &base.source, folder),
                Some(_) => export_adapter(model, &self.course.model, &base.digests, folder),
            };
            written.map_err(in_model)?;
            Ok::<_, TrainError>(base.tokenizer.save(&base.source, folder)?)
        })?;
        Ok(policy)
    }
}

/// A run replaces `policy/` and its own checkpoints, so it must be sure that they are its own.
fn refuse_folders_of_others(course: &Course) -> Result<(), TrainError> {
    if !course.out.is_dir() {
        return Ok(());
    }
    for entry in io::list(&course.out)? {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_ours = match name.as_str() {
            "policy" => course.train_folder().is_dir(),
            "plan.toml" | "reference" | "train" | ".policy.partial" | ".policy.removed" => true,
            // `plan.toml` before its rename.
            name => name.starts_with(".plan.toml.") && name.ends_with(".partial"),
        };
        if !is_ours {
            return Err(TrainError::NotOurs { path: course.out.clone(), found: name });
        }
    }
    Ok(())
}
