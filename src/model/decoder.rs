//! The decoder: token ids of a batch of groups to hidden states of its scored rows, and back.

use std::collections::HashMap;

use candle_core::{Device, Result as CandleResult, Tensor};

use super::ScoringDtype;
use super::config::DecoderConfig;
use super::error::ModelError;
use super::layer::{self, Context, Layer, LayerTape};
use super::lora::{self, Adapter, Change, Lora, LowRank};
use super::memory::TrainingMemory;
use super::params::{Gradients, ParamId, Params};
use super::weights::{self, Spec};
use crate::batch::GroupBatch;
use crate::model_source::ModelSource;
use crate::ops::dropout::Dropout;
use crate::ops::rope::Rotation;
use crate::ops::{Backend, Compute, Precision, embedding, norm};

pub(super) const EMBEDDING: &str = "model.embed_tokens.weight";
const NORM: &str = "model.norm.weight";
pub(super) const HEAD: &str = "lm_head.weight";
const FORWARD: &str = "running the decoder forward";
const BACKWARD: &str = "running the decoder backward";

/// A decoder with its weights in `f32`; it computes in `f32` unless told otherwise. A clone shares them.
#[derive(Debug, Clone)]
pub struct Decoder {
    config: DecoderConfig,
    params: Params,
    embedding: ParamId,
    layers: Vec<Layer>,
    norm: ParamId,
    head: ParamId,
    frequencies: Vec<f32>,
    lora: Option<Lora>,
    device: Device,
    precision: Precision,
}

/// Whether a forward pass keeps what a backward pass needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Scoring: nothing.
    Nothing,
    /// Training: the tape, but for the first layers, of which only the input is kept: the backward runs them again.
    Tape {
        /// How many; the result does not depend on it, to the last bit.
        n_recomputed: usize,
        /// Of the input of an adapter; without one, or at a share of 0, nothing is dropped.
        dropout: Dropout,
    },
}

/// The result of a forward pass.
#[derive(Debug)]
pub struct Pass {
    /// Normed hidden states of the scored rows. // (N, D)
    pub hidden: Tensor,
    /// What the backward pass reads, if it was asked for.
    pub tape: Option<Tape>,
}

/// What a backward pass reads: one entry a layer.
#[derive(Debug)]
pub struct Tape {
    ids: Tensor, // (T)
    rotation: Rotation,
    dropout: Dropout,
    layers: Vec<Kept>,
    last: Tensor,        // (T, D)
    scored_rows: Tensor, // (N)
}

/// What a forward pass keeps of a layer.
#[derive(Debug)]
enum Kept {
    Tape(LayerTape),
    /// Its input. // (T, D)
    Input(Tensor),
}

impl Decoder {
    /// Loads a model; all its passes run on this backend.
    ///
    /// # Errors
    /// If the configuration or a tensor is not one the decoder honours; nothing is guessed.
    pub fn load(source: &ModelSource, backend: &Backend) -> Result<Self, ModelError> {
        let config = weights::config(source)?;
        let specs = specs(&config);
        let tensors = weights::load(source, &config, &specs, backend.device())?;
        Self::of(source, config, specs.into_iter().zip(tensors), backend)
    }

    /// A model of this configuration and these parameters, in their order.
    pub(super) fn of(
        source: &ModelSource,
        config: DecoderConfig,
        tensors: impl Iterator<Item = (Spec, Tensor)>,
        backend: &Backend,
    ) -> Result<Self, ModelError> {
        let mut params = Params::new(backend.kernels());
        for (spec, tensor) in tensors {
            params.push(spec.name, tensor);
        }
        let id = |name: &str| {
            params
                .id(name)
                .ok_or_else(|| ModelError::MissingTensor { path: source.path().to_owned(), name: name.to_owned() })
        };
        let layers = (0..config.n_layers()).map(|index| Layer::new(&config, index, id)).collect::<Result<_, _>>()?;
        let embedding = id(EMBEDDING)?;
        let head = if config.tie_word_embeddings { embedding } else { id(HEAD)? };
        let norm = id(NORM)?;
        let frequencies = config.frequencies();
        let (device, precision) = (backend.device().clone(), Precision::F32);
        Ok(Self { config, params, embedding, layers, norm, head, frequencies, lora: None, device, precision })
    }

    /// The same model with its weights frozen and an adapter of it beside them, which is trained; one that it had is
    /// gone. What the adapter changes in other parameters is in the weights from now on.
    ///
    /// # Errors
    /// Only if a tensor operation fails.
    pub fn with_adapter(mut self, adapter: Adapter) -> Result<Self, ModelError> {
        if self.lora.is_some() {
            self.params.only_frozen();
        }
        self.change(&adapter)?;
        self.params.freeze();
        let mut scalings = HashMap::new();
        for LowRank { module, a, b, scaling } in adapter.maps {
            let [a_name, b_name] = lora::parameters(&module);
            self.params.push(a_name, a);
            self.params.push(b_name, b);
            scalings.insert(module, scaling);
        }
        for (index, layer) in self.layers.iter_mut().enumerate() {
            layer.attach(index, |name| self.params.id(name), |module| scalings.get(module).copied());
        }
        self.lora = Some(adapter.lora);
        Ok(self)
    }

    /// Changes the parameters that an adapter changes otherwise than by low rank beside a linear map.
    ///
    /// A head that was the embedding is a parameter of its own from then on: PEFT wraps one of the two modules, and the
    /// other keeps the weight they shared. Rows of tokens are changed in both.
    fn change(&mut self, adapter: &Adapter) -> Result<(), ModelError> {
        let changing = || ModelError::tensor("changing weights by an adapter");
        let splits = |(name, change): &(String, Change)| {
            (name == EMBEDDING || name == HEAD) && !matches!(change, Change::Rows(_))
        };
        if self.config.tie_word_embeddings && adapter.changes.iter().any(splits) {
            self.params.push(HEAD.to_owned(), self.params.get(self.embedding).clone());
            self.head = self.params.id(HEAD).unwrap_or(self.embedding);
            self.config.tie_word_embeddings = false;
        }
        for (name, change) in &adapter.changes {
            // Of the two names of a tied weight, the one it has here.
            let Some(id) = self.params.id(name) else { continue };
            let changed = change.apply(self.params.get(id)).map_err(changing())?;
            self.params.set(id, changed);
        }
        Ok(())
    }

    /// Its adapter as it is now, if it has one.
    pub fn adapter(&self) -> Option<Adapter> {
        let lora = self.lora.clone()?;
        let of_layer = |(index, layer): (usize, &Layer)| layer.adapters(index).collect::<Vec<_>>();
        let maps = self.layers.iter().enumerate().flat_map(of_layer).map(|(module, low)| LowRank {
            module,
            a: self.params.get(low.a).clone(),
            b: self.params.get(low.b).clone(),
            scaling: low.scaling,
        });
        Some(Adapter { lora, maps: maps.collect(), changes: Vec::new() })
    }

    /// The same model with its adapter added to its weights, `W + s·B·A` in `f32`; as it is if it has none.
    ///
    /// # Errors
    /// Only if a tensor operation fails.
    pub fn merged(mut self) -> Result<Self, ModelError> {
        if self.lora.take().is_none() {
            return Ok(self);
        }
        for layer in &mut self.layers {
            layer.merge(&mut self.params).map_err(ModelError::tensor("merging an adapter"))?;
        }
        self.params.only_frozen();
        Ok(self)
    }

    /// What its adapter is like, if it has one.
    pub fn lora(&self) -> Option<&Lora> {
        self.lora.as_ref()
    }

    /// The same model, computing in another precision; its weights stay `f32`.
    #[must_use]
    pub fn with_dtype(self, dtype: ScoringDtype) -> Self {
        Self { precision: dtype.precision(), ..self }
    }

    pub(crate) fn compute(&self) -> Compute {
        Compute { kernels: self.params.kernels(), precision: self.precision }
    }

    /// What it is made of.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// What a training step of it holds in memory.
    pub fn training_memory(&self) -> TrainingMemory {
        TrainingMemory::of(&self.config, &self.params)
    }

    /// Its weights.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Its weights, to be changed.
    pub(crate) fn params_mut(&mut self) -> &mut Params {
        &mut self.params
    }

    /// Where it runs.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The head that turns hidden states into logits: the embedding where the two are tied. // (V, D)
    pub fn head(&self) -> (ParamId, &Tensor) {
        (self.head, self.params.get(self.head))
    }

    /// Hidden states of the scored rows of a batch.
    ///
    /// # Errors
    /// If the batch holds an id the embedding has no row for.
    pub fn forward(&self, batch: &GroupBatch, keep: Keep) -> Result<Pass, ModelError> {
        let vocab_size = self.config.vocab_size;
        let outside = |id: &&u32| **id as usize >= vocab_size;
        if let Some(&id) = batch.ids.iter().chain(&batch.scored.targets).find(outside) {
            return Err(ModelError::TokenOutOfRange { id, vocab_size });
        }
        self.run_forward(batch, keep).map_err(ModelError::tensor(FORWARD))
    }

    fn context<'a>(&'a self, batch: &'a GroupBatch, rotation: &'a Rotation, dropout: Dropout) -> Context<'a> {
        let rate = self.lora.as_ref().map_or(0.0, |lora| lora.dropout);
        Context {
            config: &self.config,
            params: &self.params,
            rotation,
            segments: &batch.segments,
            compute: self.compute(),
            dropout: match dropout {
                Dropout::On(stream) if rate > 0.0 => Some((rate, stream)),
                Dropout::On(_) | Dropout::Off => None,
            },
        }
    }

    fn run_forward(&self, batch: &GroupBatch, keep: Keep) -> CandleResult<Pass> {
        let ids = Tensor::from_slice(&batch.ids, batch.ids.len(), &self.device)?; // (T)
        let rotation = Rotation::new(&batch.positions, &self.frequencies, &self.device)?;
        let dropout = match keep {
            Keep::Nothing => Dropout::Off,
            Keep::Tape { dropout, .. } => dropout,
        };
        let ctx = self.context(batch, &rotation, dropout);
        let mut x = embedding::forward(self.params.get(self.embedding), &ids)?; // (T, D)
        let mut layers = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            let (y, tape) = layer.forward(&ctx, &x)?;
            let x = std::mem::replace(&mut x, y);
            match keep {
                Keep::Nothing => {}
                Keep::Tape { n_recomputed, .. } if index < n_recomputed => layers.push(Kept::Input(x)),
                Keep::Tape { .. } => layers.push(Kept::Tape(tape)),
            }
        }
        let scored_rows = Tensor::from_slice(&batch.scored.rows, batch.scored.rows.len(), &self.device)?; // (N)
        let rows = x.index_select(&scored_rows, 0)?; // (N, D)
        let hidden = norm::forward(&rows, self.params.get(self.norm), self.config.rms_norm_eps, ctx.compute.kernels)?;
        let tape = match keep {
            Keep::Nothing => None,
            Keep::Tape { .. } => Some(Tape { ids, rotation, dropout, layers, last: x, scored_rows }),
        };
        Ok(Pass { hidden, tape })
    }

    /// Adds the gradients of all trained parameters but the head's, for the gradient in the hidden states of the scored
    /// rows.
    ///
    /// # Shapes
    /// `d_hidden` `(N, D)`.
    pub fn backward(
        &self,
        batch: &GroupBatch,
        tape: Tape,
        d_hidden: &Tensor,
        gradients: &mut Gradients,
    ) -> Result<(), ModelError> {
        self.run_backward(batch, tape, d_hidden, gradients).map_err(ModelError::tensor(BACKWARD))
    }

    fn run_backward(
        &self,
        batch: &GroupBatch,
        tape: Tape,
        d_hidden: &Tensor,
        gradients: &mut Gradients,
    ) -> CandleResult<()> {
        let ctx = self.context(batch, &tape.rotation, tape.dropout);
        let rows = tape.last.index_select(&tape.scored_rows, 0)?; // (N, D)
        let d_rows = ctx.norm_backward(d_hidden, &rows, self.norm, gradients)?;
        let mut dx = tape.last.zeros_like()?.index_add(&tape.scored_rows, &d_rows, 0)?; // (T, D)
        drop(tape.last);
        for (layer, kept) in self.layers.iter().zip(tape.layers).rev() {
            let tape = match kept {
                Kept::Tape(tape) => tape,
                Kept::Input(x) => layer.forward(&ctx, &x)?.1,
            };
            dx = layer.backward(&ctx, &dx, &tape, gradients)?;
        }
        if !self.params.is_trained(self.embedding) {
            return Ok(());
        }
        let (table, kernels) = (self.params.get(self.embedding), ctx.compute.kernels);
        gradients.update(self.embedding, table, |sum| embedding::backward_into(sum, &dx, &tape.ids, kernels))
    }
}

/// Name and shape of a parameter.
pub type Shape = (String, Vec<usize>);

/// What a model is made of, and name and shape of every parameter that asks for, without loading the weights.
pub fn shapes(source: &ModelSource) -> Result<(DecoderConfig, Vec<Shape>), ModelError> {
    let config = weights::config(source)?;
    let shapes = specs(&config).into_iter().map(|spec| (spec.name, spec.shape)).collect();
    Ok((config, shapes))
}

/// Names and shapes of all parameters, in their order.
pub(super) fn specs(config: &DecoderConfig) -> Vec<Spec> {
    let table = vec![config.vocab_size, config.hidden_size];
    let mut specs = vec![Spec { name: EMBEDDING.into(), shape: table.clone() }];
    specs.extend((0..config.n_layers()).flat_map(|index| layer::specs(config, index)));
    specs.push(Spec { name: NORM.into(), shape: vec![config.hidden_size] });
    if !config.tie_word_embeddings {
        specs.push(Spec { name: HEAD.into(), shape: table });
    }
    specs
}
