//! The folder of a run: whose it is, who works in it, what stands in it.
//!
//! Invariant: one process at a time writes to a run, and what it does not replace it does not touch. Killed at any
//! instant, the run goes on from its newest checkpoint, or finds itself finished and writes its policy again.

use std::path::PathBuf;

use super::base::Base;
use super::course::Course;
use super::error::TrainError;
use super::metrics::METRICS;
use super::plan::Start;
use super::policy_folder;
use crate::checkpoint::{self, Changed, Checkpoint, CheckpointError, State, Trajectory};
use crate::io::{self, Lock};
use crate::model::{DEFAULT_SHARD_BYTES, Decoder, Export, ModelError, export_adapter};
use crate::policy::PolicyTokenizer;

/// The held-out pairs of a run, in its folder.
pub const HELD_OUT: &str = "train/held_out.csv";

/// Files that a run, its report and an audit of its table leave in its folder.
const FILES: [&str; 4] = ["plan.toml", "report.html", "findings.parquet", "audit.html"];

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

    /// Finds the checkpoint to go on from, or deletes the earlier run where the course starts again. `may_change` says what
    /// of the trajectory a run that stands there may be told anew.
    ///
    /// # Errors
    /// If the newest checkpoint is damaged, or belongs to a run that was told something else.
    pub(super) fn newest_checkpoint(
        &self,
        trajectory: &Trajectory,
        n_steps: u64,
        may_change: &dyn Fn(&State) -> Vec<&'static str>,
        note: &mut dyn FnMut(String),
    ) -> Result<Option<Checkpoint>, TrainError> {
        let (checkpoints, policy) = (self.course.checkpoints(), self.course.policy());
        if self.course.start == Start::Fresh {
            self.clear()?;
        }
        for path in [&policy, &checkpoints, &self.course.out.join(METRICS)] {
            io::remove_halves(path)?;
        }
        for path in ["plan.toml", "report.html"].map(|name| self.course.out.join(name)) {
            io::remove_halves(&path)?;
        }
        io::create_dir(&checkpoints)?;
        let Some(newest) = checkpoint::newest(&checkpoints)? else { return Ok(None) };
        for Changed { key, then, now } in newest.check(trajectory, &may_change(newest.state()))? {
            let bits = if key == "max_tokens" { ": the rest may differ in the last bits" } else { "" };
            note(format!("`{key}` was {then} when the checkpoint was written, now it is {now}{bits}"));
        }
        let (path, step) = (newest.path().to_owned(), newest.state().step);
        if step > n_steps {
            return Err(CheckpointError::PastTheEnd { path, step, n_steps }.into());
        }
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

    /// Writes the ids of the held-out pairs, one a line under a header, so that SQL can ask for them; deletes those of an
    /// earlier run where there are none.
    pub(super) fn save_held_out<'p>(&self, pair_ids: impl Iterator<Item = &'p str>) -> Result<(), TrainError> {
        let path = self.course.out.join(HELD_OUT);
        io::remove_halves(&path)?;
        let lines: String = pair_ids.flat_map(|pair_id| [pair_id, "\n"]).collect();
        if lines.is_empty() {
            return Ok(io::remove(&path)?);
        }
        Ok(io::write(&path, format!("pair_id\n{lines}").as_bytes())?)
    }

    fn clear(&self) -> Result<(), TrainError> {
        io::remove_dir(&self.course.policy())?;
        Ok(io::remove_dir(&self.course.checkpoints())?)
    }

    /// Writes the trained policy as a Hugging Face folder, or its adapter as one of PEFT: all of it under its name, or
    /// none.
    pub(super) fn save_policy(
        &self,
        model: &Decoder,
        base: &Base,
        note: &mut dyn FnMut(String),
    ) -> Result<PathBuf, TrainError> {
        let policy = self.course.policy();
        let how = Export { dtype: self.course.save_dtype, shard_bytes: DEFAULT_SHARD_BYTES };
        let mut lost = None;
        io::write_dir(&policy, |folder| {
            let in_model = |source: ModelError| TrainError::Model { model: self.course.model.clone(), source };
            let Some(adapter) = base.adapter_of(model).map_err(in_model)? else {
                let source = base.source.base();
                let saved = policy_folder::write_whole(model, source, &base.tokenizer, &base.ids, how, folder)?;
                lost = policy_folder::lost(&saved);
                return Ok(());
            };
            export_adapter(&adapter, &base.source.base_name(), &base.digests.base, folder).map_err(in_model)?;
            let PolicyTokenizer { files, source, .. } = &base.tokenizer;
            Ok::<_, TrainError>(files.save(source, folder)?)
        })?;
        lost.into_iter().for_each(note);
        Ok(policy)
    }
}

/// Deletes what an earlier run of the course could go on from, and its policy.
///
/// # Errors
/// If the folder holds something a run does not make, or if another process is at work in it.
pub fn clear(course: &Course) -> Result<(), TrainError> {
    if course.train_folder().is_dir() { RunFolder::claim(course)?.clear() } else { Ok(()) }
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
            "reference" | "train" | ".policy.partial" | ".policy.removed" => true,
            // Whole, or before its rename.
            name => FILES.iter().any(|file| {
                let partial = name.strip_prefix('.').and_then(|name| name.strip_prefix(file));
                name == *file || partial.is_some_and(|rest| rest.starts_with('.') && rest.ends_with(".partial"))
            }),
        };
        if !is_ours {
            return Err(TrainError::NotOurs { path: course.out.clone(), found: name });
        }
    }
    Ok(())
}
