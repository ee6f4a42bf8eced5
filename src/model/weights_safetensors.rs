//! Weights from `model.safetensors` or from the shards of `model.safetensors.index.json`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use candle_core::safetensors::Load;
use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::config::DecoderConfig;
use super::error::ModelError;
use super::params::Params;
use super::weights::Spec;
use crate::digest::Digest;
use crate::io;
use crate::ops::{Kernels, reduce};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Most bytes of the index: some hundred for each of half a million tensors.
const INDEX_BYTES: u64 = 64 << 20;

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The weight files of a folder, sorted by name.
pub(super) fn files(folder: &Path) -> Result<BTreeSet<PathBuf>, ModelError> {
    let index_path = folder.join(INDEX);
    if folder.join(SINGLE).is_file() {
        return Ok(BTreeSet::from([folder.join(SINGLE)]));
    }
    if !index_path.is_file() {
        return Err(ModelError::NoWeights { path: folder.to_owned() });
    }
    let text = io::read_text_up_to(&index_path, INDEX_BYTES)?;
    let index: Index =
        serde_json::from_str(&text).map_err(|source| ModelError::Json { path: index_path.clone(), source })?;
    let inside = |name: &str| Path::new(name).file_name().is_some_and(|file| file == name);
    match index.weight_map.values().find(|name| !inside(name)) {
        Some(outside) => Err(ModelError::ConfigValue {
            path: index_path,
            key: "weight_map".into(),
            expected: "file names in the same folder".into(),
            found: outside.clone(),
        }),
        None => Ok(index.weight_map.values().map(|name| folder.join(name)).collect()),
    }
}

/// Digest of all weight files, in the order of their names.
pub(super) fn digest(folder: &Path) -> Result<Digest, ModelError> {
    let mut parts = Vec::new();
    for path in files(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        parts.push((name, io::digest(&path)?.0));
    }
    Ok(Digest::of_parts(parts.iter().map(|(name, digest)| (name.as_str(), digest.as_bytes().as_slice()))))
}

pub(super) fn load(
    folder: &Path,
    config: &DecoderConfig,
    specs: &[Spec],
    device: &Device,
) -> Result<Vec<Tensor>, ModelError> {
    let mut slots = Slots::new(specs, "");
    for path in files(folder)? {
        slots.fill(&path, config, device)?;
    }
    slots.finish(folder)
}

/// Tensors that are asked for, and those that were found.
pub(super) struct Slots<'a> {
    specs: &'a [Spec],
    by_name: HashMap<&'a str, usize>,
    prefix: &'static str,
    tensors: Vec<Option<Tensor>>,
}

impl<'a> Slots<'a> {
    /// Nothing found yet; files have `prefix` before the names of `specs`.
    pub(super) fn new(specs: &'a [Spec], prefix: &'static str) -> Self {
        let by_name = specs.iter().enumerate().map(|(slot, spec)| (spec.name.as_str(), slot)).collect();
        Self { specs, by_name, prefix, tensors: vec![None; specs.len()] }
    }

    /// Loads the tensors of a file, as `f32`.
    ///
    /// # Errors
    /// If one has another shape or type than is asked for, was found before, or is not asked for.
    pub(super) fn fill(&mut self, path: &Path, config: &DecoderConfig, device: &Device) -> Result<(), ModelError> {
        let map = io::map(path)?;
        let file = SafeTensors::deserialize(&map)
            .map_err(|source| ModelError::Safetensors { path: path.to_owned(), source })?;
        for (name, view) in file.iter() {
            let known = name.strip_prefix(self.prefix).and_then(|name| self.by_name.get(name).copied());
            let Some(slot) = known else {
                if is_derived(name, config) {
                    continue;
                }
                return Err(ModelError::UnknownTensor {
                    path: path.to_owned(),
                    name: name.to_owned(),
                    architecture: config.architecture.to_string(),
                });
            };
            let (path, name, spec) = (path.to_owned(), name.to_owned(), &self.specs[slot]);
            if !matches!(view.dtype(), Dtype::F32 | Dtype::F16 | Dtype::BF16) {
                return Err(ModelError::TensorDtype { path, name, found: format!("{:?}", view.dtype()) });
            }
            if view.shape() != spec.shape {
                let (expected, found) = (spec.shape.clone(), view.shape().to_vec());
                return Err(ModelError::TensorShape { path, name, expected, found });
            }
            if self.tensors[slot].is_some() {
                return Err(ModelError::TensorTwice { path, name });
            }
            let tensor = view.load(device).and_then(|tensor| tensor.to_dtype(DType::F32));
            self.tensors[slot] = Some(tensor.map_err(ModelError::tensor("loading weights"))?);
            io::forget(&map);
        }
        Ok(())
    }

    /// All tensors, in the order they are asked for; `path` is what an error names.
    ///
    /// # Errors
    /// If one was not found.
    pub(super) fn finish(self, path: &Path) -> Result<Vec<Tensor>, ModelError> {
        let Self { specs, prefix, tensors, .. } = self;
        let name = |spec: &Spec| format!("{prefix}{}", spec.name);
        let missing = |spec: &Spec| ModelError::MissingTensor { path: path.to_owned(), name: name(spec) };
        tensors.into_iter().zip(specs).map(|(tensor, spec)| tensor.ok_or_else(|| missing(spec))).collect()
    }
}

/// How far parameters are from those of a folder, `‖W − W₀‖/‖W₀‖`; `None` where the folder does not have them. One tensor
/// at a time is in memory.
pub(super) fn distance(folder: &Path, params: &Params) -> Result<Option<f64>, ModelError> {
    let files = match files(folder) {
        Err(ModelError::NoWeights { .. }) => return Ok(None),
        files => files?,
    };
    let wrap = || ModelError::tensor("comparing weights");
    let by_name: HashMap<&str, &Tensor> = params.iter().map(|(_, name, tensor)| (name, tensor)).collect();
    let (mut moved, mut norm) = (0.0, 0.0);
    for path in files {
        let map = io::map(&path)?;
        let file =
            SafeTensors::deserialize(&map).map_err(|source| ModelError::Safetensors { path: path.clone(), source })?;
        for (name, view) in file.iter() {
            let Some(tensor) = by_name.get(name).filter(|tensor| tensor.dims() == view.shape()) else { continue };
            let base = view.load(&Device::Cpu).and_then(|base| base.to_dtype(DType::F32)).map_err(wrap())?;
            let change = tensor.to_device(&Device::Cpu).and_then(|tensor| tensor - &base).map_err(wrap())?;
            moved += reduce::sum_of_squares(&change, Kernels::Own).map_err(wrap())?;
            norm += reduce::sum_of_squares(&base, Kernels::Own).map_err(wrap())?;
            io::forget(&map);
        }
    }
    Ok((norm > 0.0).then(|| (moved / norm).sqrt()))
}

/// Tensors some checkpoints carry although they follow from others.
fn is_derived(name: &str, config: &DecoderConfig) -> bool {
    name.ends_with("rotary_emb.inv_freq") || (name == "lm_head.weight" && config.tie_word_embeddings)
}
