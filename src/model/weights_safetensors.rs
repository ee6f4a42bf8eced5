//! Weights from `model.safetensors` or from the shards of `model.safetensors.index.json`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use candle_core::safetensors::Load;
use candle_core::{DType, Device, Tensor};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::config::DecoderConfig;
use super::decoder::{EMBEDDING, HEAD};
use super::error::{Instead, ModelError};
use super::params::Params;
use super::weights::Spec;
use crate::digest::Digest;
use crate::io;
use crate::ops::{Kernels, reduce};

pub(super) const SINGLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// The embedding, in a whole model and in a bare decoder.
const EMBEDDING_NAMES: [&str; 2] = [EMBEDDING, "embed_tokens.weight"];

/// Most bytes of the index: some hundred for each of half a million tensors.
const INDEX_BYTES: u64 = 64 << 20;

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The weight files of a folder, sorted by name.
///
/// transformers takes `model.safetensors` where the shards of an index lie beside it, vLLM all of them: one of the two is
/// left over from something else, and which one the folder does not say.
pub(super) fn files(folder: &Path) -> Result<BTreeSet<PathBuf>, ModelError> {
    let index_path = folder.join(INDEX);
    match (folder.join(SINGLE).is_file(), index_path.is_file()) {
        (true, true) => return Err(ModelError::TwoWeights { path: folder.to_owned() }),
        (true, false) => return Ok(BTreeSet::from([folder.join(SINGLE)])),
        (false, true) => {}
        (false, false) => return Err(ModelError::NoWeights { path: folder.to_owned(), instead: Instead::of(folder) }),
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
    let files = files(folder)?;
    if config.tie_word_embeddings && only_head(&files)? {
        slots.head_is_embedding();
    }
    for path in files {
        slots.fill(&path, config, device)?;
    }
    slots.finish(folder)
}

/// Whether the files hold a head that differs from their embedding.
///
/// `PreTrainedModel.tie_weights` of transformers 5 ties the two, whatever `tie_word_embeddings` says, only if they are
/// equal; earlier versions and vLLM drop the head. It is what `merge_and_unload` of PEFT leaves of an adapter that was
/// trained with `modules_to_save=["lm_head"]` on a model whose two are one. Without weights there is none.
pub(super) fn has_own_head(folder: &Path) -> Result<bool, ModelError> {
    let files = match files(folder) {
        Err(ModelError::NoWeights { .. }) => return Ok(false),
        files => files?,
    };
    let maps = files.iter().map(|path| Ok((path, io::map(path)?))).collect::<Result<Vec<_>, ModelError>>()?;
    let (mut embedding, mut head) = (None, None);
    for (path, map) in &maps {
        for (name, view) in parsed(path, map)?.tensors() {
            if name == HEAD {
                head = Some(view);
            } else if EMBEDDING_NAMES.contains(&name.as_str()) {
                embedding = Some(view);
            }
        }
    }
    let (Some(head), Some(embedding)) = (head, embedding) else { return Ok(false) };
    if head.shape() != embedding.shape() {
        return Ok(true);
    }
    if head.dtype() == embedding.dtype() && head.data() == embedding.data() {
        return Ok(false);
    }
    let numbers = |view: &TensorView<'_>| view.load(&Device::Cpu)?.to_dtype(DType::F32);
    let differ = || numbers(&head)?.ne(&numbers(&embedding)?)?.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>();
    Ok(differ().map_err(ModelError::tensor("comparing the head with the embedding"))? > 0.0)
}

/// Whether the files have a head and no embedding: `tie_weights` of transformers ties to the one that is there.
fn only_head(files: &BTreeSet<PathBuf>) -> Result<bool, ModelError> {
    let (mut has_head, mut has_embedding) = (false, false);
    for path in files {
        let map = io::map(path)?;
        let file = parsed(path, &map)?;
        for name in file.names() {
            has_head |= name == HEAD;
            has_embedding |= EMBEDDING_NAMES.contains(&name);
        }
    }
    Ok(has_head && !has_embedding)
}

fn parsed<'a>(path: &Path, map: &'a [u8]) -> Result<SafeTensors<'a>, ModelError> {
    SafeTensors::deserialize(map).map_err(|source| ModelError::Safetensors { path: path.to_owned(), source })
}

/// Tensors that are asked for, and those that were found.
pub(super) struct Slots<'a> {
    specs: &'a [Spec],
    by_name: HashMap<&'a str, usize>,
    prefix: &'static str,
    is_head_embedding: bool,
    tensors: Vec<Option<Tensor>>,
}

impl<'a> Slots<'a> {
    /// Nothing found yet; files have `prefix` before the names of `specs`.
    pub(super) fn new(specs: &'a [Spec], prefix: &'static str) -> Self {
        let by_name = specs.iter().enumerate().map(|(slot, spec)| (spec.name.as_str(), slot)).collect();
        Self { specs, by_name, prefix, is_head_embedding: false, tensors: vec![None; specs.len()] }
    }

    /// The head of the files is the embedding, too.
    fn head_is_embedding(&mut self) {
        self.is_head_embedding = true;
    }

    /// Where a tensor of a file belongs. One of a bare decoder (`LlamaModel`) is named without `model.`, which
    /// transformers puts in front (`base_model_prefix`).
    fn slot(&self, name: &str) -> Option<usize> {
        let name = name.strip_prefix(self.prefix)?;
        let name = if self.is_head_embedding && name == HEAD { EMBEDDING } else { name };
        let of_bare = || self.by_name.get(format!("model.{name}").as_str()).filter(|_| self.prefix.is_empty());
        self.by_name.get(name).or_else(of_bare).copied()
    }

    /// Loads the tensors of a file, as `f32`.
    ///
    /// # Errors
    /// If one has another shape or type than is asked for, was found before, or is not asked for.
    pub(super) fn fill(&mut self, path: &Path, config: &DecoderConfig, device: &Device) -> Result<(), ModelError> {
        let map = io::map(path)?;
        let file = parsed(path, &map)?;
        for (name, view) in file.iter() {
            let Some(slot) = self.slot(name) else {
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
            if !matches!(view.dtype(), Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16) {
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

/// Tensors some checkpoints carry although they follow from others: frequencies, which are those of the configuration, and
/// a head that equals the embedding.
fn is_derived(name: &str, config: &DecoderConfig) -> bool {
    name.ends_with("rotary_emb.inv_freq") || (name == HEAD && config.tie_word_embeddings)
}

#[cfg(test)]
mod tests;
