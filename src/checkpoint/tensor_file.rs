//! A mapped safetensors file, checked by digest before anything of it is used.

use std::path::PathBuf;

use candle_core::safetensors::Load;
use candle_core::{Device, Tensor};
use safetensors::SafeTensors;

use super::error::CheckpointError;
use crate::digest::Digest;
use crate::io;

/// A mapped safetensors file.
pub(super) struct TensorFile {
    path: PathBuf,
    map: memmap2::Mmap,
}

impl TensorFile {
    /// Maps a file that had this digest when it was saved.
    pub(super) fn open(path: PathBuf, expected: Digest) -> Result<Self, CheckpointError> {
        let (found, _) = io::digest(&path).map_err(CheckpointError::read)?;
        if found != expected {
            return Err(CheckpointError::Digest { path, expected, found });
        }
        let map = io::map(&path).map_err(CheckpointError::read)?;
        Ok(Self { path, map })
    }

    /// One tensor, of the shape the model has. Pages of the file do not stay in memory.
    pub(super) fn tensor(&self, name: &str, shape: &[usize], device: &Device) -> Result<Tensor, CheckpointError> {
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
        let tensor = view.load(device);
        io::forget(&self.map);
        tensor.map_err(|source| CheckpointError::Tensor { path: self.path.clone(), source })
    }
}
