//! `adapter_model.safetensors` of PEFT: the tensors of an adapter, each in its place.
//!
//! What is beside the linear maps of the layers goes into the weights when the adapter is read, as PEFT's `merge` would
//! put it there: modules that the adapter has whole, biases, rows of embeddings, matrices on embedding and head, and DoRA.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::safetensors::Load;
use candle_core::{DType, Device, Result as CandleResult, Tensor};
use safetensors::{Dtype, SafeTensors};

use super::adapter_config::{AdapterConfig, CONFIG};
use super::decoder::{Decoder, specs};
use super::error::ModelError;
use super::lora::{Adapter, Change, LowRank, low_rank_specs, maps};
use super::lora_modules::{EMBEDDING, HEAD, Matcher, is_named};
use crate::io;

/// The name of the file, and that of the one before it, which is a pickle.
pub(super) const WEIGHTS: &str = "adapter_model.safetensors";
pub(super) const PICKLE: &str = "adapter_model.bin";

/// What PEFT puts before the names of the base model.
pub(super) const PREFIX: &str = "base_model.model.";

const READING: &str = "reading an adapter";

/// Reads the adapter of a folder, which is laid over `model`.
///
/// # Errors
/// If a tensor is missing, has another shape or type than its place, or has no place.
pub(super) fn read(folder: &Path, config: AdapterConfig, model: &Decoder) -> Result<Adapter, ModelError> {
    let path = folder.join(WEIGHTS);
    if !path.is_file() {
        let has_pickle = folder.join(PICKLE).is_file();
        return Err(ModelError::NoAdapterWeights { folder: folder.to_owned(), has_pickle });
    }
    let tensors = Tensors::read(&path, model.device())?;
    let mut reader =
        Reader { config: &config, matcher: Matcher::new(&config.lora)?, model, tensors, changes: Vec::new() };
    let maps = reader.read()?;
    let Reader { tensors, changes, .. } = reader;
    if let Some(name) = tensors.by_name.into_keys().next() {
        return Err(ModelError::AdapterTensor { path, name: format!("{PREFIX}{name}") });
    }
    Ok(Adapter { maps, changes, lora: config.lora })
}

/// The tensors of a file, by their names in the base model; those that have found their place are gone.
struct Tensors<'a> {
    path: &'a Path,
    by_name: BTreeMap<String, Tensor>,
}

impl<'a> Tensors<'a> {
    fn read(path: &'a Path, device: &Device) -> Result<Self, ModelError> {
        let map = io::map(path)?;
        let file = SafeTensors::deserialize(&map)
            .map_err(|source| ModelError::Safetensors { path: path.to_owned(), source })?;
        let mut by_name = BTreeMap::new();
        for (name, view) in file.iter() {
            if !matches!(view.dtype(), Dtype::F32 | Dtype::F16 | Dtype::BF16) {
                let found = format!("{:?}", view.dtype());
                return Err(ModelError::TensorDtype { path: path.to_owned(), name: name.to_owned(), found });
            }
            let Some(short) = name.strip_prefix(PREFIX) else {
                return Err(ModelError::AdapterTensor { path: path.to_owned(), name: name.to_owned() });
            };
            let tensor = view.load(device).and_then(|tensor| tensor.to_dtype(DType::F32));
            by_name.insert(short.to_owned(), tensor.map_err(ModelError::tensor(READING))?);
        }
        Ok(Self { path, by_name })
    }

    /// Takes a tensor of this shape, if it is there.
    fn take_if_there(&mut self, name: &str, shape: &[usize]) -> Result<Option<Tensor>, ModelError> {
        let Some(tensor) = self.by_name.remove(name) else { return Ok(None) };
        if tensor.dims() != shape {
            let (path, name) = (self.path.to_owned(), format!("{PREFIX}{name}"));
            let (expected, found) = (shape.to_vec(), tensor.dims().to_vec());
            return Err(ModelError::TensorShape { path, name, expected, found });
        }
        Ok(Some(tensor))
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let missing = || ModelError::MissingTensor { path: self.path.to_owned(), name: format!("{PREFIX}{name}") };
        let missing = missing();
        self.take_if_there(name, shape)?.ok_or(missing)
    }
}

struct Reader<'a> {
    config: &'a AdapterConfig,
    matcher: Matcher<'a>,
    model: &'a Decoder,
    tensors: Tensors<'a>,
    changes: Vec<(String, Change)>,
}

impl Reader<'_> {
    fn read(&mut self) -> Result<Vec<LowRank>, ModelError> {
        let shapes = maps(self.model.config());
        let is_changed = |module: &&str| self.matcher.is_target(module) || self.matcher.is_whole(module);
        if self.config.is_tied
            && let Some(module) = [EMBEDDING, HEAD].into_iter().find(is_changed)
        {
            return Err(self.wrong(
                "ensure_weight_tying",
                format!("`false` where `{module}` is changed"),
                "true".into(),
            ));
        }
        self.replaced()?;
        let mut beside = Vec::new();
        for module in self.matcher.targets(self.model.config())? {
            if let Some((_, shape)) = shapes.iter().find(|(map, _)| *map == module) {
                beside.extend(self.of_map(module, *shape)?);
            } else if module == HEAD {
                self.of_head()?;
            } else {
                self.of_embedding()?;
            }
        }
        self.token_rows()?;
        Ok(beside)
    }

    fn low_rank(&mut self, module: String, shape: [usize; 2]) -> Result<LowRank, ModelError> {
        let [a, b] = low_rank_specs(&module, shape, self.matcher.rank(&module));
        let (a, b) = (self.tensors.take(&a.name, &a.shape)?, self.tensors.take(&b.name, &b.shape)?);
        let scaling = self.matcher.scaling(&module);
        Ok(LowRank { module, a, b, scaling })
    }

    /// A linear map of a layer: what stays beside it.
    fn of_map(&mut self, module: String, shape: [usize; 2]) -> Result<Option<LowRank>, ModelError> {
        let low = self.low_rank(module, shape)?;
        let [output, _] = shape;
        if self.config.lora_bias {
            let bias = self.tensors.take(&format!("{}.lora_B.bias", low.module), &[output])?;
            let name = format!("{}.bias", low.module);
            if self.model.params().id(&name).is_none() {
                // PEFT cannot merge it either.
                let expected = format!("`false` where a map has no bias, as `{}` has none", low.module);
                return Err(self.wrong("lora_bias", expected, "true".into()));
            }
            self.changes.push((name, Change::Added((bias * low.scaling).map_err(ModelError::tensor(READING))?)));
        }
        if !self.config.use_dora {
            return Ok(Some(low));
        }
        let magnitude = self.tensors.take(&format!("{}.lora_magnitude_vector", low.module), &[output])?;
        let name = format!("{}.weight", low.module);
        let weight = self.tensor_of(&name)?;
        let merged = dora(weight, &low, &magnitude).map_err(ModelError::tensor(READING))?;
        self.changes.push((name, Change::Replaced(merged)));
        Ok(None)
    }

    fn of_head(&mut self) -> Result<(), ModelError> {
        let shape = self.table_shape();
        self.base_layer(HEAD, shape)?;
        let low = self.low_rank(HEAD.to_owned(), shape)?;
        self.refuse_dora(HEAD)?;
        self.add(HEAD, low.product())
    }

    /// `A` `(r, V)` and `B` `(D, r)` of the embedding: the table gains `(s·B·A)ᵀ`.
    fn of_embedding(&mut self) -> Result<(), ModelError> {
        let [vocab_size, width] = self.table_shape();
        self.base_layer(EMBEDDING, [vocab_size, width])?;
        let r = self.matcher.rank(EMBEDDING);
        let a = self.tensors.take(&format!("{EMBEDDING}.lora_embedding_A"), &[r, vocab_size])?;
        let b = self.tensors.take(&format!("{EMBEDDING}.lora_embedding_B"), &[width, r])?;
        self.refuse_dora(EMBEDDING)?;
        let scaling = self.matcher.scaling(EMBEDDING);
        let product = b.matmul(&a).and_then(|product| product.t()?.contiguous()? * scaling);
        self.add(EMBEDDING, product)
    }

    fn refuse_dora(&self, module: &str) -> Result<(), ModelError> {
        if self.config.use_dora {
            return Err(self.wrong("use_dora", format!("`false` with `{module}` among the targets"), "true".into()));
        }
        Ok(())
    }

    fn wrong(&self, key: &str, expected: String, found: String) -> ModelError {
        let path = self.tensors.path.with_file_name(CONFIG);
        ModelError::AdapterKey { path, key: key.to_owned(), expected, found }
    }

    fn add(&mut self, module: &str, product: CandleResult<Tensor>) -> Result<(), ModelError> {
        let product = product.map_err(ModelError::tensor(READING))?;
        self.changes.push((format!("{module}.weight"), Change::Added(product)));
        Ok(())
    }

    /// The weight under an adapter on embedding or head, which PEFT saves with it, and loads in place of the model's.
    fn base_layer(&mut self, module: &str, shape: [usize; 2]) -> Result<(), ModelError> {
        if let Some(tensor) = self.tensors.take_if_there(&format!("{module}.base_layer.weight"), &shape)? {
            self.replace(format!("{module}.weight"), tensor)?;
        }
        Ok(())
    }

    /// A parameter that the adapter has as it is; of one that the model has just so, nothing is to be done.
    fn replace(&mut self, name: String, tensor: Tensor) -> Result<(), ModelError> {
        let head = format!("{HEAD}.weight");
        // A head that is the embedding has no name of its own.
        let known = if name == head && self.model.params().id(&head).is_none() {
            self.model.head().1
        } else {
            self.tensor_of(&name)?
        };
        if !is_same(known, &tensor).map_err(ModelError::tensor(READING))? {
            self.changes.push((name, Change::Replaced(tensor)));
        }
        Ok(())
    }

    /// Modules that are saved whole, and biases, before and after PEFT puts a layer around them. Embedding and head are
    /// saved, too, where their module was changed in size or stands in the way of an adapter.
    fn replaced(&mut self) -> Result<(), ModelError> {
        let mut shapes: Vec<(String, Vec<usize>)> =
            specs(self.model.config()).into_iter().map(|spec| (spec.name, spec.shape)).collect();
        if self.model.config().tie_word_embeddings {
            shapes.push((format!("{HEAD}.weight"), self.table_shape().to_vec()));
        }
        for (name, shape) in shapes {
            let Some((module, part)) = name.rsplit_once('.') else { continue };
            let is_bias = part == "bias";
            let is_end = [EMBEDDING, HEAD].contains(&module);
            if self.matcher.is_whole(module) {
                let tensor = self.tensors.take(&name, &shape)?;
                self.replace(name, tensor)?;
            } else if is_bias && self.config.has_biases {
                for key in [name.clone(), format!("{module}.base_layer.bias")] {
                    if let Some(tensor) = self.tensors.take_if_there(&key, &shape)? {
                        self.replace(name.clone(), tensor)?;
                    }
                }
            } else if is_end && let Some(tensor) = self.tensors.take_if_there(&name, &shape)? {
                self.replace(name, tensor)?;
            }
        }
        Ok(())
    }

    /// `trainable_tokens_delta`: in spite of its name, the rows themselves. Of a head that is the embedding, too.
    fn token_rows(&mut self) -> Result<(), ModelError> {
        let [vocab_size, width] = self.table_shape();
        for (named, rows) in &self.config.token_rows {
            let module = [EMBEDDING, HEAD].into_iter().find(|module| is_named(module, named));
            let known = module.filter(|_| rows.iter().all(|row| *row < vocab_size));
            let Some(module) = known else {
                let expected = format!("ids below {vocab_size} of `{EMBEDDING}` or `{HEAD}`");
                return Err(self.wrong("trainable_token_indices", expected, format!("{rows:?} of `{named}`")));
            };
            let key = format!("{module}.token_adapter.trainable_tokens_delta");
            let is_tied = self.model.config().tie_word_embeddings;
            let values = if is_tied && module == HEAD {
                self.tensors.take_if_there(&key, &[rows.len(), width])?
            } else {
                Some(self.tensors.take(&key, &[rows.len(), width])?)
            };
            let Some(values) = values else { continue };
            let name = format!("{}.weight", if is_tied { EMBEDDING } else { module });
            let table = self.tensor_of(&name)?;
            let added = added_rows(table, rows, &values).map_err(ModelError::tensor(READING))?;
            self.changes.push((name, Change::Rows(added)));
        }
        Ok(())
    }

    fn table_shape(&self) -> [usize; 2] {
        let config = self.model.config();
        [config.vocab_size, config.hidden_size]
    }

    fn tensor_of(&self, name: &str) -> Result<&Tensor, ModelError> {
        let params = self.model.params();
        let id = params.id(name);
        id.map(|id| params.get(id))
            .ok_or_else(|| ModelError::MissingTensor { path: self.tensors.path.to_owned(), name: name.to_owned() })
    }
}

/// `m·(W + s·B·A)/‖W + s·B·A‖`, the norm by row (`DoraLinearLayer` of PEFT 0.21). // (out, in)
fn dora(weight: &Tensor, low: &LowRank, magnitude: &Tensor) -> CandleResult<Tensor> {
    let sum = (weight + low.product()?)?;
    let norm = sum.sqr()?.sum_keepdim(1)?.sqrt()?; // (out, 1)
    sum.broadcast_mul(&magnitude.unsqueeze(1)?.broadcast_div(&norm)?)
}

/// What the rows of a table gain to be these. // (V, D)
fn added_rows(table: &Tensor, rows: &[usize], values: &Tensor) -> CandleResult<Tensor> {
    let mut changed = table.clone();
    for (at, row) in rows.iter().enumerate() {
        changed = changed.slice_assign(&[*row..*row + 1, 0..table.dim(1)?], &values.narrow(0, at, 1)?)?;
    }
    Ok(changed)
}

fn is_same(one: &Tensor, other: &Tensor) -> CandleResult<bool> {
    if one.dims() != other.dims() {
        return Ok(false);
    }
    Ok((one - other)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()? == 0.0)
}
