//! The folder of a run: whose it is, who works in it, what stands in it.
//!
//! Invariant: one process at a time writes to a run, and what it does not replace it does not touch. Killed at any
//! instant, the run goes on from its newest checkpoint, or finds itself finished and writes its policy again. A run that
//! starts again deletes nothing before it has a policy: what stood there lies in `.previous` until then.

use std::path::{Path, PathBuf};

use super::base::Base;
use super::course::Course;
use super::error::TrainError;
use super::metrics::METRICS;
use super::plan::Start;
use super::{policy_folder, run_contents};
use crate::checkpoint::{self, Changed, Checkpoint, CheckpointError, State, Trajectory};
use crate::io::{self, Lock};
use crate::model::{DEFAULT_SHARD_BYTES, Decoder, Export, ModelError, export_adapter};
use crate::policy::PolicyTokenizer;

/// The held-out pairs of a run, in its folder.
pub const HELD_OUT: &str = "train/held_out.csv";

/// The file that the process at work holds, in the folder `train`.
pub(super) const LOCK: &str = ".piref.lock";

/// The file by which a run knows the folder again, in the folder `train`: there before anything else is.
pub(super) const MARKER: &str = ".piref-run";

/// Where an earlier run is set aside until the one that takes its place has a policy.
pub(super) const PREVIOUS: &str = ".previous";

/// A run folder that is ours, and nobody else's as long as this value lives.
#[derive(Debug)]
pub(crate) struct RunFolder<'a> {
    course: &'a Course,
    _lock: Lock,
}

impl<'a> RunFolder<'a> {
    /// Takes the folder of the course, which reads these `inputs`.
    ///
    /// # Errors
    /// If it holds something a run does not make, if an input lies in what a run replaces, or if another process is at work
    /// in it.
    pub(crate) fn claim(course: &'a Course, inputs: &[&Path]) -> Result<Self, TrainError> {
        for folder in [course.policy(), course.checkpoints()] {
            if let Some(input) = inputs.iter().find(|input| io::is_within(input, &folder)) {
                return Err(TrainError::InputReplaced { input: input.to_path_buf(), folder });
            }
        }
        Self::take(course)
    }

    fn take(course: &'a Course) -> Result<Self, TrainError> {
        run_contents::check(course)?;
        let train = course.train_folder();
        io::create_dir(&train)?;
        let lock = Lock::acquire(&train.join(LOCK))?;
        if !train.join(MARKER).is_file() {
            io::write(&train.join(MARKER), b"made by `piref train` or `piref sft`\n")?;
        }
        Ok(Self { course, _lock: lock })
    }

    /// What the run in it is told.
    pub(super) fn course(&self) -> &'a Course {
        self.course
    }

    /// Finds the checkpoint to go on from; none where the course starts again. `may_change` says what of the trajectory a
    /// run that stands there may be told anew.
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
        for path in [&policy, &checkpoints, &self.course.out.join(METRICS)] {
            io::remove_halves(path)?;
        }
        for path in ["plan.toml", "report.html"].map(|name| self.course.out.join(name)) {
            io::remove_halves(&path)?;
        }
        if self.course.start == Start::Fresh {
            return Ok(None);
        }
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

    /// Makes room for the first step: an earlier run is set aside where the course starts again.
    pub(super) fn begin(&self, note: &mut dyn FnMut(String)) -> Result<(), TrainError> {
        if self.course.start == Start::Fresh && self.set_aside()? {
            let previous = self.course.out.join(PREVIOUS);
            note(format!("the earlier run is kept in `{}` until this one has its policy", previous.display()));
        }
        Ok(io::create_dir(&self.course.checkpoints())?)
    }

    /// Moves policy, checkpoints and metrics into `.previous`, or deletes them where they are of a run that was to take the
    /// place of what lies there; whether anything lies there then.
    fn set_aside(&self) -> Result<bool, TrainError> {
        let previous = self.course.out.join(PREVIOUS);
        if self.course.policy().is_dir() {
            // The run that took its place has ended.
            io::remove_dir(&previous)?;
        }
        let parts = [
            (self.course.policy(), "policy"),
            (self.course.checkpoints(), "checkpoints"),
            (self.course.out.join(METRICS), "metrics.jsonl"),
        ];
        let is_kept = previous.is_dir();
        for (path, name) in parts {
            match (path.is_dir(), path.is_file(), is_kept) {
                (false, false, _) => {}
                (true, _, true) => io::remove_dir(&path)?,
                (_, true, true) => io::remove(&path)?,
                (_, _, false) => {
                    io::create_dir(&previous)?;
                    io::rename(&path, &previous.join(name))?;
                }
            }
        }
        Ok(previous.is_dir())
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
        io::remove_dir(&self.course.out.join(PREVIOUS))?;
        Ok(policy)
    }
}

/// Sets aside what an earlier run of the course could go on from, and its policy, until the course has one.
///
/// # Errors
/// If the folder holds something a run does not make, or if another process is at work in it.
pub fn set_aside(course: &Course) -> Result<(), TrainError> {
    if course.train_folder().is_dir() { RunFolder::take(course)?.set_aside().map(|_| ()) } else { Ok(()) }
}
