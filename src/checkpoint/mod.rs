//! A training run on disk: parameters, optimiser moments, and where in the data the run stands.
//!
//! Invariant: a folder `step-N` is complete. It is written beside its name, synced and renamed, and it holds all that
//! decides the rest of the run, so a resumed run goes on to the same bits. What is loaded is what was saved, by digest.
//!
//! ```text
//! checkpoints/step-40/
//!   weights.safetensors      trained parameters, f32, Hugging Face names; of frozen ones the trajectory has digests
//!   moments.safetensors      what the optimiser keeps of each, if it keeps anything: <slot>.<name>; of AdamW first and
//!                            second, of RMSprop square_avg, with momentum (of SGD too) momentum_buffer
//!   ema.safetensors          running means of the trained parameters under their names, if the run keeps them
//!   state.json               step, tokens seen, what the objective and the evaluations remember, what the run was
//!                            told (its trajectory), digests of the others
//! ```

mod error;
mod retention;
mod tensor_file;

use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use error::CheckpointError;
pub use retention::rotate;

use crate::digest::Digest;
use crate::eval::EvalState;
use crate::io;
use crate::loss::ObjectiveState;
use crate::model::{Params, write_safetensors};
use crate::optim::{Ema, Optimizer, OptimizerParams};
use tensor_file::TensorFile;

const WEIGHTS: &str = "weights.safetensors";
const MOMENTS: &str = "moments.safetensors";
const EMA: &str = "ema.safetensors";
const STATE: &str = "state.json";

/// Most steps or tokens that a run may have behind it: more than any has, and room to count on.
const MAX_COUNT: u64 = 1 << 53;

/// Under which a trajectory has the name of its optimiser, unless that is the default.
pub const OPTIM: &str = "optim";

/// Under which it has its schedule.
const SCHEDULE: &str = "lr_scheduler_type";

/// Under which it has the files of a model, and what they mean: not of earlier versions.
const OF_MODEL: [(&str, &str); 2] = [("model_digest", "model_identity"), ("config_digest", "config_identity")];

/// Everything that decides the course of a run, by name.
pub type Trajectory = serde_json::Map<String, Value>;

/// A setting that a run that goes on has been told anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Its name.
    pub key: String,
    /// Its value when the checkpoint was made.
    pub then: String,
    /// Its value now.
    pub now: String,
}

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
    pub trajectory: Trajectory,
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
    /// None of an optimiser that keeps nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    moments_digest: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ema_digest: Option<Digest>,
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
    /// The optimiser, which keeps what it keeps of the parameters.
    pub optimizer: &'a Optimizer,
    /// Running means of the parameters, if the run keeps them.
    pub ema: Option<&'a Ema>,
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
    let Snapshot { params, optimizer, ema, state, occasion } = *snapshot;
    let path = path_of(folder, state.step);
    io::write_dir(&path, |path| {
        let state_path = path.join(STATE);
        let weights = params.trained().map(|(_, name, tensor)| (name.to_owned(), tensor)).collect();
        let means = ema.map(Ema::tensors).unwrap_or_default();
        let means = params.trained().zip(means).map(|((_, name, _), mean)| (name.to_owned(), mean)).collect();
        let weights_digest = write(&path.join(WEIGHTS), weights)?;
        let moments_digest = write_any(&path.join(MOMENTS), optimizer.named(params))?;
        let ema_digest = write_any(&path.join(EMA), means)?;
        let in_state = |source| CheckpointError::State { path: state_path.clone(), source };
        let record = Record {
            crate_version: env!("CARGO_PKG_VERSION").into(),
            occasion,
            state: state.clone(),
            weights_digest,
            moments_digest,
            ema_digest,
        };
        let digest = record.digest().map_err(in_state)?;
        let text = serde_json::to_vec_pretty(&Sealed { record, digest }).map_err(in_state)?;
        Ok::<_, CheckpointError>(io::write(&state_path, &text)?)
    })?;
    tidy(folder)?;
    Ok(path)
}

/// Writes named tensors and returns the digest of their file.
fn write(path: &Path, tensors: Vec<(String, &Tensor)>) -> Result<Digest, CheckpointError> {
    write_safetensors(path, tensors.into_iter(), [])?;
    Ok(io::digest(path)?.0)
}

/// The same; of no tensors there is no file.
fn write_any(path: &Path, tensors: Vec<(String, &Tensor)>) -> Result<Option<Digest>, CheckpointError> {
    if tensors.is_empty() { Ok(None) } else { write(path, tensors).map(Some) }
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
    let is_half = |entry: &&PathBuf| {
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        io::is_half(&name, &|name| step(Path::new(name)).is_some())
    };
    for half in io::list(folder)?.iter().filter(is_half) {
        // What it is the half of may be there, whole.
        io::remove_half(half)?;
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

/// Whether a checkpoint has a file of that name.
pub fn is_file_of_one(name: &str) -> bool {
    [STATE, WEIGHTS, MOMENTS, EMA].contains(&name)
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
    let found = record.digest().map_err(in_state)?;
    if found != expected {
        return Err(CheckpointError::Digest { path, expected, found });
    }
    // Sealed by whoever: steps and tokens are counted on from here.
    for (name, found) in [("step", record.state.step), ("n_tokens", record.state.n_tokens)] {
        if found > MAX_COUNT {
            let problem = format!("`{name}`: expected at most {MAX_COUNT}, found {found}");
            return Err(in_state(serde::de::Error::custom(problem)));
        }
    }
    Ok(record)
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

    /// Refuses to go on with a run that was told something else; what `may_change` is not compared, and neither are the
    /// files of a model where both runs know what is in them. Returns which of the settings that may change did, then and
    /// now.
    ///
    /// # Errors
    /// Names the first setting that one of the two does not have, or else the first that differs, then and now.
    pub fn check(&self, trajectory: &Trajectory, may_change: &[&str]) -> Result<Vec<Changed>, CheckpointError> {
        let then = &self.record.state.trajectory;
        let is_other = |key: &str| trajectory.get(key) != then.get(key);
        let has_both = |key: &str| trajectory.contains_key(key) && then.contains_key(key);
        let is_compared = |key: &&String| {
            let of_model = OF_MODEL.iter().find(|(digest, identity)| key == digest || key == identity);
            let is_the_one = of_model.is_none_or(|(_, identity)| has_both(identity) == (key == identity));
            is_the_one && !may_change.contains(&key.as_str())
        };
        let differing = || trajectory.keys().chain(then.keys()).filter(is_compared).filter(|key| is_other(key));
        // A setting that one of the two does not have explains the others: a predicate, say, the number of steps. So does
        // another optimiser its constants, and another schedule a length.
        let is_alone = |key: &&String| trajectory.contains_key(*key) != then.contains_key(*key);
        let key = differing().find(is_alone).or_else(|| differing().find(|key| *key == OPTIM));
        let key = key.or_else(|| differing().find(|key| *key == SCHEDULE)).or_else(|| differing().next());
        let text = |key: &str, value: Option<&Value>| match value {
            Some(value) => format!("`{value}`"),
            None if key == OPTIM => format!("`\"{}\"`", OptimizerParams::default().name()),
            None => "not set".into(),
        };
        let Some(key) = key else {
            let changed = may_change.iter().filter(|key| has_both(key) && is_other(key));
            let changed = changed.map(|key| Changed {
                key: (*key).to_owned(),
                then: text(key, then.get(*key)),
                now: text(key, trajectory.get(*key)),
            });
            return Ok(changed.collect());
        };
        Err(CheckpointError::OtherRun {
            path: self.path.clone(),
            key: key.to_owned(),
            expected: text(key, trajectory.get(key)),
            found: text(key, then.get(key)),
        })
    }

    /// Puts the weights into the trained ones of `params` and returns the optimiser as it was.
    ///
    /// # Errors
    /// If a file is not the one that was saved; `params` is as it was then.
    pub fn load(
        &self,
        params: &mut Params,
        constants: impl Into<OptimizerParams>,
    ) -> Result<Optimizer, CheckpointError> {
        let constants = constants.into();
        let weights = TensorFile::open(self.path.join(WEIGHTS), self.record.weights_digest)?;
        let moments = match constants.slots() {
            [] => None,
            _ => Some(self.open_any(MOMENTS, self.record.moments_digest)?),
        };
        let restored = trained(&weights, params)?;
        let optimizer = Optimizer::resume(constants, self.record.state.step, params, |name, theta| match &moments {
            Some(moments) => moments.tensor(name, theta.dims(), theta.device()),
            None => Err(CheckpointError::Missing { path: self.path.join(MOMENTS) }),
        })?;
        params.replace_trained(restored);
        Ok(optimizer)
    }

    /// The running means of the trained parameters, as they were.
    ///
    /// # Errors
    /// If there are none, or if their file is not the one that was saved.
    pub fn load_ema(&self, params: &Params, decay: f64) -> Result<Ema, CheckpointError> {
        let means = self.open_any(EMA, self.record.ema_digest)?;
        Ok(Ema::resume(decay, trained(&means, params)?))
    }

    /// A file of tensors that not every checkpoint has.
    fn open_any(&self, name: &str, digest: Option<Digest>) -> Result<TensorFile, CheckpointError> {
        let path = self.path.join(name);
        match digest {
            Some(digest) => TensorFile::open(path, digest),
            None => Err(CheckpointError::Missing { path }),
        }
    }
}

/// What a file has of every trained parameter, in their order.
fn trained(file: &TensorFile, params: &Params) -> Result<Vec<Tensor>, CheckpointError> {
    params.trained().map(|(_, name, tensor)| file.tensor(name, tensor.dims(), tensor.device())).collect()
}

#[cfg(test)]
mod tests;
