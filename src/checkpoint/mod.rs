//! A training run on disk: parameters, optimiser moments, and where in the data the run stands.
//!
//! Invariant: a folder `step-N` is complete. It is written beside its name, synced and renamed, and it holds all that
//! decides the rest of the run, so a resumed run goes on to the same bits. What is loaded is what was saved, by digest.
//!
//! ```text
//! checkpoints/step-40/
//!   weights.safetensors      trained parameters, f32, Hugging Face names; of frozen ones the trajectory has digests
//!   moments.safetensors      first.<name>, second.<name>
//!   state.json               step, tokens seen, what the objective and the evaluations remember, what the run was
//!                            told (its trajectory), digests of the other two
//! ```

mod error;
mod retention;
mod tensor_file;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use error::CheckpointError;
pub use retention::rotate;

use crate::digest::Digest;
use crate::eval::EvalState;
use crate::io;
use crate::loss::ObjectiveState;
use crate::model::{Params, write_safetensors};
use crate::optim::{AdamW, AdamWParams, Moments};
use tensor_file::TensorFile;

const WEIGHTS: &str = "weights.safetensors";
const MOMENTS: &str = "moments.safetensors";
const STATE: &str = "state.json";

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Optimiser steps done.
    pub step: u64,
    /// Tokens seen, as `num_tokens` of the metrics counts them.
    pub n_tokens: u64,
    /// What the objective remembers; not written where that is nothing.
    #[serde(default, skip_serializing_if = "ObjectiveState::is_new")]
    pub objective: ObjectiveState,
    /// What the run remembers of its evaluations; not written where there were none.
    #[serde(default, skip_serializing_if = "EvalState::is_new")]
    pub eval: EvalState,
    /// Everything that decides the course of the run, by name.
    pub trajectory: serde_json::Map<String, serde_json::Value>,
}

/// Why a checkpoint is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// The plan asks for one at this step.
    Planned,
    /// The run was interrupted; the checkpoint is deleted when a later one is there.
    Interrupted,
    /// No evaluation was better; the checkpoint is deleted when a later one is.
    Best,
}

/// `state.json`, but for the digest of it.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// Version of piref that wrote it.
    crate_version: String,
    occasion: Occasion,
    #[serde(flatten)]
    state: State,
    weights_digest: Digest,
    moments_digest: Digest,
}

impl Record {
    fn digest(&self) -> serde_json::Result<Digest> {
        Ok(Digest::of(&serde_json::to_vec(self)?))
    }
}

/// `state.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Sealed {
    #[serde(flatten)]
    record: Record,
    /// Of the record, as JSON without blanks.
    digest: Digest,
}

/// A complete checkpoint that was found on disk.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    record: Record,
}

/// What a checkpoint is made of.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot<'a> {
    /// The parameters.
    pub params: &'a Params,
    /// The optimiser, whose moments are those of the parameters.
    pub optimizer: &'a AdamW,
    /// Where the run stands.
    pub state: &'a State,
    /// Why it is written.
    pub occasion: Occasion,
}

/// Writes a checkpoint `step-N` into `folder`, complete or not at all, and deletes those it supersedes: what an
/// interrupted run left at an earlier step, and what was kept as the best and no longer is.
///
/// # Errors
/// If the disk refuses; the checkpoints before it are not touched then.
pub fn save(folder: &Path, snapshot: &Snapshot<'_>) -> Result<PathBuf, CheckpointError> {
    let Snapshot { params, optimizer, state, occasion } = *snapshot;
    let path = path_of(folder, state.step);
    io::write_dir(&path, |path| {
        let (weights, moments, state_path) = (path.join(WEIGHTS), path.join(MOMENTS), path.join(STATE));
        write_safetensors(&weights, params.trained().map(|(_, name, tensor)| (name.to_owned(), tensor)), [])?;
        let named = params.trained().zip(optimizer.moments()).flat_map(|((_, name, _), moments)| {
            [(format!("first.{name}"), &moments.first), (format!("second.{name}"), &moments.second)]
        });
        write_safetensors(&moments, named, [])?;
        let in_state = |source| CheckpointError::State { path: state_path.clone(), source };
        let record = Record {
            crate_version: env!("CARGO_PKG_VERSION").into(),
            occasion,
            state: state.clone(),
            weights_digest: io::digest(&weights)?.0,
            moments_digest: io::digest(&moments)?.0,
        };
        let digest = record.digest().map_err(in_state)?;
        let text = serde_json::to_vec_pretty(&Sealed { record, digest }).map_err(in_state)?;
        Ok::<_, CheckpointError>(io::write(&state_path, &text)?)
    })?;
    tidy(folder)?;
    Ok(path)
}

/// The checkpoint of the most steps in `folder`, if there is any.
///
/// # Errors
/// If its `state.json` is missing or damaged.
pub fn newest(folder: &Path) -> Result<Option<Checkpoint>, CheckpointError> {
    steps(folder)?.pop().map(|(_, path)| Checkpoint::open(&path)).transpose()
}

/// Where the checkpoint of a step is, in the folder of a run's checkpoints.
pub fn path_of(folder: &Path, step: u64) -> PathBuf {
    folder.join(format!("step-{step}"))
}

/// Deletes what killed and interrupted runs left in `folder` and nobody needs: halves under hidden names, checkpoints of
/// an interruption that are not the newest, and checkpoints of a best evaluation that the newest knows a better one than.
pub fn tidy(folder: &Path) -> Result<(), CheckpointError> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in io::list(folder)? {
        if entry.is_dir() && entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
            io::remove_dir(&entry)?;
        }
    }
    let mut older = steps(folder)?;
    let newest = older.pop().and_then(|(_, path)| read_record(&path).ok());
    let best = newest.and_then(|record| record.state.eval.best).map(|best| best.step);
    for (step, path) in older {
        // One that cannot be read is not ours to judge: it may be looked at before it is deleted.
        let is_needless = read_record(&path).is_ok_and(|record| match record.occasion {
            Occasion::Planned => false,
            Occasion::Interrupted => true,
            Occasion::Best => best.is_some_and(|best| best != step),
        });
        if is_needless {
            io::remove_dir(&path)?;
        }
    }
    Ok(())
}

/// The checkpoints in `folder`, by step.
fn steps(folder: &Path) -> Result<Vec<(u64, PathBuf)>, CheckpointError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut found: Vec<_> =
        io::list(folder)?.into_iter().filter_map(|path| step(&path).map(|step| (step, path))).collect();
    found.sort();
    Ok(found)
}

/// Number in a name like `step-40`.
fn step(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok()
}

fn read_record(checkpoint: &Path) -> Result<Record, CheckpointError> {
    let path = checkpoint.join(STATE);
    let bytes = io::read(&path).map_err(CheckpointError::read)?;
    let in_state = |source| CheckpointError::State { path: path.clone(), source };
    let Sealed { record, digest: expected } = serde_json::from_slice(&bytes).map_err(in_state)?;
    match record.digest().map_err(in_state)? {
        found if found == expected => Ok(record),
        found => Err(CheckpointError::Digest { path, expected, found }),
    }
}

impl Checkpoint {
    /// Whether a folder has the name of a checkpoint; such a folder is complete.
    pub fn is_one(path: &Path) -> bool {
        step(path).is_some()
    }

    /// Opens the checkpoint in a folder; its tensors stay on disk.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        Ok(Self { path: path.to_owned(), record: read_record(path)? })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the run stood.
    pub fn state(&self) -> &State {
        &self.record.state
    }

    /// Version of piref that wrote it.
    pub fn crate_version(&self) -> &str {
        &self.record.crate_version
    }

    /// Refuses to go on with a run that was told something else.
    ///
    /// # Errors
    /// Names the first setting that differs, then and now.
    pub fn check(&self, trajectory: &serde_json::Map<String, serde_json::Value>) -> Result<(), CheckpointError> {
        let then = &self.record.state.trajectory;
        let key = trajectory.keys().chain(then.keys()).find(|key| trajectory.get(*key) != then.get(*key));
        let text =
            |value: Option<&serde_json::Value>| value.map_or_else(|| "not set".into(), |value| format!("`{value}`"));
        match key {
            None => Ok(()),
            Some(key) => Err(CheckpointError::OtherRun {
                path: self.path.clone(),
                key: key.clone(),
                expected: text(trajectory.get(key)),
                found: text(then.get(key)),
            }),
        }
    }

    /// Puts the weights into the trained ones of `params` and returns the optimiser as it was.
    ///
    /// # Errors
    /// If a file is not the one that was saved; `params` is as it was then.
    pub fn load(&self, params: &mut Params, constants: AdamWParams) -> Result<AdamW, CheckpointError> {
        let weights = TensorFile::open(self.path.join(WEIGHTS), self.record.weights_digest)?;
        let moments = TensorFile::open(self.path.join(MOMENTS), self.record.moments_digest)?;
        let (mut restored, mut all_moments) = (Vec::new(), Vec::new());
        for (_, name, tensor) in params.trained() {
            let device = tensor.device();
            restored.push(weights.tensor(name, tensor.dims(), device)?);
            all_moments.push(Moments {
                first: moments.tensor(&format!("first.{name}"), tensor.dims(), device)?,
                second: moments.tensor(&format!("second.{name}"), tensor.dims(), device)?,
            });
        }
        params.replace_trained(restored);
        Ok(AdamW::resume(constants, self.record.state.step, all_moments))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Hint;
    use crate::loss::RunningMean;
    use crate::ops::Kernels;
    use candle_core::{Device, Tensor};

    fn params() -> Params {
        let mut params = Params::new(Kernels::Own);
        params.push("w".into(), Tensor::new(&[1_f32, 2.0], &Device::Cpu).unwrap());
        params
    }

    fn state(step: u64, objective: ObjectiveState) -> State {
        State { step, n_tokens: 10 * step, objective, eval: EvalState::default(), trajectory: serde_json::Map::new() }
    }

    fn save_at(folder: &Path, step: u64, occasion: Occasion) -> PathBuf {
        let optimizer = AdamW::new(AdamWParams::default(), &params()).unwrap();
        let state = state(step, ObjectiveState::default());
        let snapshot = Snapshot { params: &params(), optimizer: &optimizer, state: &state, occasion };
        save(folder, &snapshot).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        io::list(folder).unwrap().iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn what_an_interruption_left_goes_when_a_later_checkpoint_is_there() {
        let folder = tempfile::tempdir().unwrap();
        for (step, occasion) in [(2, Occasion::Planned), (3, Occasion::Interrupted), (9, Occasion::Interrupted)] {
            save_at(folder.path(), step, occasion);
        }
        assert_eq!(names(folder.path()), ["step-2", "step-9"]);
        // As kills leave them.
        io::create_dir(&folder.path().join(".step-10.partial")).unwrap();
        io::create_dir(&folder.path().join(".step-3.removed")).unwrap();
        save_at(folder.path(), 10, Occasion::Planned);
        assert_eq!(names(folder.path()), ["step-10", "step-2"]);
        assert_eq!(newest(folder.path()).unwrap().unwrap().state().step, 10);
    }

    #[test]
    fn frozen_parameters_are_not_in_a_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let frozen = || {
            let mut params = params();
            params.freeze();
            params.push("a".into(), Tensor::new(&[3_f32], &Device::Cpu).unwrap());
            params
        };
        let params = frozen();
        let optimizer = AdamW::new(AdamWParams::default(), &params).unwrap();
        assert_eq!(optimizer.moments().len(), 1);
        let state = state(1, ObjectiveState::default());
        let snapshot = Snapshot { params: &params, optimizer: &optimizer, state: &state, occasion: Occasion::Planned };
        let path = save(folder.path(), &snapshot).unwrap();
        let bytes = io::read(&path.join(WEIGHTS)).unwrap();
        let names: Vec<String> =
            safetensors::SafeTensors::deserialize(&bytes).unwrap().iter().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(names, ["a"]);

        let mut other = frozen();
        let [w, a] = ["w", "a"].map(|name| other.id(name).unwrap());
        other.replace_trained(vec![Tensor::new(&[9_f32], &Device::Cpu).unwrap()]);
        newest(folder.path()).unwrap().unwrap().load(&mut other, AdamWParams::default()).unwrap();
        assert_eq!(other.get(w).to_vec1::<f32>().unwrap(), [1.0, 2.0]);
        assert_eq!(other.get(a).to_vec1::<f32>().unwrap(), [3.0]);
        assert!(!other.is_trained(w) && other.is_trained(a));
    }

    #[test]
    fn what_an_objective_remembers_survives_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let optimizer = AdamW::new(AdamWParams::default(), &params()).unwrap();
        let objective = |mean, n_batches| ObjectiveState { bco_shift: RunningMean { mean, n_batches } };
        for (step, objective) in
            [(1, objective(0.1 + 0.2, 3)), (2, objective(-1e-300 / 3.0, 7)), (3, objective(0.0, 0))]
        {
            let state = state(step, objective);
            let snapshot =
                Snapshot { params: &params(), optimizer: &optimizer, state: &state, occasion: Occasion::Planned };
            let path = save(folder.path(), &snapshot).unwrap();
            assert_eq!(Checkpoint::open(&path).unwrap().state(), &state);
            // A checkpoint without a memory is what it was before objectives had one.
            let text = io::read_text(&path.join(STATE)).unwrap();
            assert_eq!(text.contains("bco_shift"), !objective.is_new(), "{text}");
        }
    }

    /// Any byte of any file: the checkpoint is refused by name, with the way out.
    #[test]
    fn a_damaged_checkpoint_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let step = save_at(folder.path(), 1, Occasion::Planned);
        let load =
            || newest(folder.path()).and_then(|found| found.unwrap().load(&mut params(), AdamWParams::default()));
        load().unwrap();
        for name in [WEIGHTS, MOMENTS, STATE] {
            let path = step.join(name);
            let bytes = io::read(&path).unwrap();
            let digits = (0..bytes.len()).filter(|&at| name != STATE || bytes[at].is_ascii_digit());
            for at in digits {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1;
                io::write(&path, &damaged).unwrap();
                let error = load().err().unwrap_or_else(|| panic!("{name}, byte {at} passed"));
                assert!(error.to_string().contains(name) && error.to_string().contains("damaged"), "{error}");
                assert!(error.hint().unwrap().contains("step-1` to go on from the checkpoint before it"), "{error}");
            }
            io::remove(&path).unwrap();
            assert!(load().unwrap_err().hint().unwrap().contains("delete `"), "{name}");
            io::write(&path, &bytes).unwrap();
        }
        load().unwrap();
    }
}
