//! A training run on disk: parameters, optimiser moments, and where in the data the run stands.
//!
//! Invariant: a folder `step-N` is complete. It is written beside its name, synced and renamed, and it holds all that
//! decides the rest of the run, so a resumed run goes on to the same bits.
//!
//! ```text
//! checkpoints/step-40/
//!   weights.safetensors      parameters, f32, Hugging Face names
//!   moments.safetensors      first.<name>, second.<name>
//!   state.json               step, tokens seen, and what the run was told (its trajectory)
//! ```

use std::path::{Path, PathBuf};

use candle_core::safetensors::Load;
use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use crate::error::Hint;
use crate::io::{self, IoError};
use crate::model::{ModelError, Params, write_safetensors};
use crate::optim::{AdamW, AdamWParams, Moments};

const WEIGHTS: &str = "weights.safetensors";
const MOMENTS: &str = "moments.safetensors";
const STATE: &str = "state.json";

/// What is wrong with a checkpoint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The run was told something else when the checkpoint was made.
    #[error("checkpoint `{}` belongs to another run: `{key}` was {found}, now it is {expected}", path.display())]
    OtherRun {
        /// The checkpoint.
        path: PathBuf,
        /// First setting that differs.
        key: String,
        /// Its value now.
        expected: String,
        /// Its value then.
        found: String,
    },
    /// A damaged tensor file.
    #[error("checkpoint file `{}` is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        #[source]
        source: safetensors::SafeTensorError,
    },
    /// A damaged state file.
    #[error("checkpoint file `{}` is damaged", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// Line and column.
        #[source]
        source: serde_json::Error,
    },
    /// A tensor of another shape than the model's.
    #[error("checkpoint file `{}`, tensor `{name}`: expected shape {expected:?}, found {found:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The model's.
        expected: Vec<usize>,
        /// The file's.
        found: Vec<usize>,
    },
    /// A tensor could not be made.
    #[error("cannot load checkpoint file `{}`", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// What candle says.
        #[source]
        source: candle_core::Error,
    },
    /// Tensors could not be written.
    #[error(transparent)]
    Write(#[from] ModelError),
    /// A file of the checkpoint.
    #[error(transparent)]
    Io(#[from] IoError),
}

impl Hint for CheckpointError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::OtherRun { .. } => {
                Some("`--fresh` starts again and deletes the old run's checkpoints; another `--out` keeps both".into())
            }
            Self::Damaged { path, .. } | Self::State { path, .. } | Self::Shape { path, .. } => {
                let folder = path.parent().unwrap_or(path);
                Some(format!("delete `{}` to go on from the checkpoint before it", folder.display()))
            }
            Self::Tensor { .. } => None,
            Self::Write(error) => error.hint(),
            Self::Io(error) => error.hint(),
        }
    }
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Optimiser steps done.
    pub step: u64,
    /// Tokens seen, as `num_tokens` of the metrics counts them.
    pub n_tokens: u64,
    /// Everything that decides the course of the run, by name.
    pub trajectory: serde_json::Map<String, serde_json::Value>,
}

/// A complete checkpoint that was found on disk.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    /// Where the run stood.
    pub state: State,
}

/// Writes a checkpoint `step-N` into `folder`, complete or not at all.
///
/// # Errors
/// If the disk refuses; the checkpoints before it are not touched.
pub fn save(folder: &Path, params: &Params, optimizer: &AdamW, state: &State) -> Result<PathBuf, CheckpointError> {
    let path = folder.join(format!("step-{}", state.step));
    let partial = folder.join(format!(".step-{}.partial", state.step));
    io::remove_dir(&partial)?;
    io::create_dir(&partial)?;
    write_safetensors(&partial.join(WEIGHTS), params.iter().map(|(_, name, tensor)| (name.to_owned(), tensor)), [])?;
    let moments = params.iter().zip(optimizer.moments()).flat_map(|((_, name, _), moments)| {
        [(format!("first.{name}"), &moments.first), (format!("second.{name}"), &moments.second)]
    });
    write_safetensors(&partial.join(MOMENTS), moments, [])?;
    let state_path = partial.join(STATE);
    let text = serde_json::to_vec_pretty(state)
        .map_err(|source| CheckpointError::State { path: state_path.clone(), source })?;
    io::write(&state_path, &text)?;
    io::remove_dir(&path)?;
    io::rename(&partial, &path)?;
    Ok(path)
}

/// The checkpoint of the most steps in `folder`, if there is any.
pub fn newest(folder: &Path) -> Result<Option<Checkpoint>, CheckpointError> {
    if !folder.is_dir() {
        return Ok(None);
    }
    let newest = io::list(folder)?.into_iter().filter_map(|path| Some((step(&path)?, path))).max();
    newest.map(|(_, path)| Checkpoint::open(&path)).transpose()
}

/// Number in a name like `step-40`.
fn step(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok()
}

impl Checkpoint {
    /// Whether a folder has the name of a checkpoint; such a folder is complete.
    pub fn is_one(path: &Path) -> bool {
        step(path).is_some()
    }

    /// Opens the checkpoint in a folder; its tensors stay on disk.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let state_path = path.join(STATE);
        let state = serde_json::from_slice(&io::read(&state_path)?)
            .map_err(|source| CheckpointError::State { path: state_path, source })?;
        Ok(Self { path: path.to_owned(), state })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses to go on with a run that was told something else.
    ///
    /// # Errors
    /// Names the first setting that differs, then and now.
    pub fn check(&self, trajectory: &serde_json::Map<String, serde_json::Value>) -> Result<(), CheckpointError> {
        let then = &self.state.trajectory;
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

    /// Puts the weights into `params` and returns the optimiser as it was.
    pub fn load(&self, params: &mut Params, constants: AdamWParams) -> Result<AdamW, CheckpointError> {
        let weights = TensorFile::open(self.path.join(WEIGHTS))?;
        let moments = TensorFile::open(self.path.join(MOMENTS))?;
        let mut restored = Vec::with_capacity(params.len());
        let mut all_moments = Vec::with_capacity(params.len());
        for (_, name, tensor) in params.iter() {
            let device = tensor.device();
            restored.push(weights.tensor(name, tensor.dims(), device)?);
            all_moments.push(Moments {
                first: moments.tensor(&format!("first.{name}"), tensor.dims(), device)?,
                second: moments.tensor(&format!("second.{name}"), tensor.dims(), device)?,
            });
        }
        params.replace(restored);
        Ok(AdamW::resume(constants, self.state.step, all_moments))
    }
}

/// A mapped safetensors file.
struct TensorFile {
    path: PathBuf,
    map: memmap2::Mmap,
}

impl TensorFile {
    fn open(path: PathBuf) -> Result<Self, CheckpointError> {
        Ok(Self { map: io::map(&path)?, path })
    }

    fn tensor(&self, name: &str, shape: &[usize], device: &Device) -> Result<Tensor, CheckpointError> {
        let damaged = |source| CheckpointError::Damaged { path: self.path.clone(), source };
        let file = SafeTensors::deserialize(&self.map).map_err(damaged)?;
        let view = file.tensor(name).map_err(damaged)?;
        if view.shape() != shape {
            return Err(CheckpointError::Shape {
                path: self.path.clone(),
                name: name.to_owned(),
                expected: shape.to_vec(),
                found: view.shape().to_vec(),
            });
        }
        view.load(device).map_err(|source| CheckpointError::Tensor { path: self.path.clone(), source })
    }
}
