//! LoRA (Hu et al. 2021, arXiv:2106.09685, eq. 3): `W·x + s·B·A·x`, where `W` is frozen, `A` and `B` are trained.
//!
//! Names, shapes and the start are PEFT's, so an adapter of ours is one of its own and the other way round.

use std::num::NonZeroUsize;

use candle_core::{Device, Result as CandleResult, Tensor};
use rand::Rng;
use serde::Serialize;

use super::config::DecoderConfig;
use super::error::ModelError;
use super::layer;
use super::lora_modules::{MAPS, Matcher, Modules, Patterns, is_named};
use super::weights::Spec;

/// The linear maps of a layer that can have an adapter, by their names in PEFT.
pub const LORA_MODULES: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// PEFT's word for all of them.
pub const ALL_LINEAR: &str = "all-linear";

/// What an adapter is like, as `adapter_config.json` says it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lora {
    /// Rank of `B·A`, where no pattern says another.
    pub r: NonZeroUsize,
    /// `lora_alpha`, where no pattern says another.
    pub alpha: f64,
    /// Share of the numbers of `x` that is dropped before `A` while training, in [0, 1).
    pub dropout: f64,
    /// Whether `s` is `alpha/√r` (Kalajdzievski 2023, arXiv:2312.03732) in place of `alpha/r`.
    pub use_rslora: bool,
    /// The modules that have an adapter. [`ALL_LINEAR`] is not one of them.
    pub target_modules: Modules,
    /// Modules that have none all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude_modules: Option<Modules>,
    /// The layers whose modules have one, where these are told by names; `None` for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers_to_transform: Option<Vec<usize>>,
    /// What stands before the number of a layer in the name of a module: regular expressions; none for anything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers_pattern: Vec<String>,
    /// Ranks of some modules.
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    pub rank_pattern: Patterns<NonZeroUsize>,
    /// `alpha` of some modules.
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    pub alpha_pattern: Patterns<f64>,
    /// Modules that the adapter has whole, in place of a change of theirs: regular expressions for a part of the name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modules_to_save: Vec<String>,
}

/// An adapter in memory, of one model.
#[derive(Debug, Clone)]
pub struct Adapter {
    pub(super) lora: Lora,
    /// What is beside the linear maps of the layers, in their order.
    pub(super) maps: Vec<LowRank>,
    /// What it changes in other parameters of the model, by their names; not trained.
    pub(super) changes: Vec<(String, Change)>,
}

/// `s·B·A` of a linear map of a layer.
#[derive(Debug, Clone)]
pub(super) struct LowRank {
    /// The map: `model.layers.0.self_attn.q_proj`.
    pub(super) module: String,
    pub(super) a: Tensor, // (r, in)
    pub(super) b: Tensor, // (out, r)
    pub(super) scaling: f64,
}

/// What becomes of a parameter.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// It is this.
    Replaced(Tensor),
    /// This is added to it.
    Added(Tensor),
    /// It is this, some rows of which are not as before: where embedding and head share it, both change.
    Rows(Tensor),
}

impl Change {
    pub(super) fn apply(&self, to: &Tensor) -> CandleResult<Tensor> {
        match self {
            Self::Replaced(tensor) | Self::Rows(tensor) => Ok(tensor.clone()),
            Self::Added(tensor) => to + tensor,
        }
    }
}

impl LowRank {
    /// `s·B·A`. // (out, in)
    pub(super) fn product(&self) -> CandleResult<Tensor> {
        self.b.matmul(&self.a)? * self.scaling
    }
}

impl Lora {
    /// An adapter of one rank on these modules, without dropout.
    pub fn new(r: NonZeroUsize, alpha: f64, target_modules: Modules) -> Self {
        Self {
            r,
            alpha,
            dropout: 0.0,
            use_rslora: false,
            target_modules,
            exclude_modules: None,
            layers_to_transform: None,
            layers_pattern: Vec::new(),
            rank_pattern: Patterns::default(),
            alpha_pattern: Patterns::default(),
            modules_to_save: Vec::new(),
        }
    }

    /// Name and shape of the matrices of an adapter that is trained, in the order of the layers, with what the product of
    /// two is multiplied with.
    ///
    /// # Errors
    /// If a target is no linear map of a layer of the model, or the rank is larger than any of those is wide.
    fn trained_specs(&self, config: &DecoderConfig) -> Result<Vec<([Spec; 2], String, f64)>, ModelError> {
        let matcher = Matcher::new(self)?;
        let maps = maps(config);
        if let Modules::Names(names) = &self.target_modules {
            let has_map = |target: &&String| maps.iter().any(|(module, _)| is_named(module, target));
            if let Some(found) = names.iter().find(|target| !has_map(target)) {
                return Err(ModelError::TargetModule { found: found.clone(), known: LORA_MODULES.join("`, `") });
            }
        }
        let limit = maps.iter().flat_map(|(_, shape)| *shape).max().unwrap_or_default();
        let mut specs = Vec::new();
        for module in matcher.targets(config)? {
            let Some((_, shape)) = maps.iter().find(|(map, _)| *map == module) else {
                return Err(ModelError::TargetModule { found: module, known: LORA_MODULES.join("`, `") });
            };
            let r = matcher.rank(&module);
            if r > limit {
                return Err(ModelError::Rank { found: r, limit });
            }
            specs.push((low_rank_specs(&module, *shape, r), module.clone(), matcher.scaling(&module)));
        }
        Ok(specs)
    }
}

/// Name and shape of the two matrices of a module.
pub(super) fn low_rank_specs(module: &str, [output, input]: [usize; 2], r: usize) -> [Spec; 2] {
    let [a, b] = parameters(module);
    [Spec { name: a, shape: vec![r, input] }, Spec { name: b, shape: vec![output, r] }]
}

/// Name and shape of the linear maps of all layers.
pub(super) fn maps(config: &DecoderConfig) -> Vec<(String, [usize; 2])> {
    let of_map = |Spec { name, shape }: Spec| {
        let shape = <[usize; 2]>::try_from(shape).ok()?;
        let module = name.strip_suffix(".weight")?;
        MAPS.iter().any(|map| is_named(module, map)).then(|| (module.to_owned(), shape))
    };
    (0..config.n_layers()).flat_map(|index| layer::specs(config, index)).filter_map(of_map).collect()
}

impl Adapter {
    /// A new adapter, which changes nothing yet: `A` is drawn from `±1/√in`, uniformly (Kaiming with `a = √5`, as PEFT
    /// does by default), `B` is 0. `rng` makes the generator of a parameter.
    ///
    /// # Errors
    /// If a target is no linear map of a layer of the model, or the rank is larger than any of those is wide.
    pub fn new<R: Rng>(
        lora: &Lora,
        config: &DecoderConfig,
        device: &Device,
        rng: impl Fn(&str) -> R,
    ) -> Result<Self, ModelError> {
        let mut maps = Vec::new();
        for ([a, b], module, scaling) in lora.trained_specs(config)? {
            let bound = (*a.shape.last().unwrap_or(&1) as f32).sqrt().recip();
            let mut rng = rng(&a.name);
            let n_values: usize = a.shape.iter().product();
            let values: Vec<f32> = (0..n_values).map(|_| rng.random_range(-bound..bound)).collect();
            let drawn = Tensor::from_vec(values, a.shape, device);
            let zeros = Tensor::zeros(b.shape, candle_core::DType::F32, device);
            let drawing = || ModelError::tensor("drawing an adapter");
            maps.push(LowRank { module, a: drawn.map_err(drawing())?, b: zeros.map_err(drawing())?, scaling });
        }
        Ok(Self { lora: lora.clone(), maps, changes: Vec::new() })
    }

    /// What it is like.
    pub fn lora(&self) -> &Lora {
        &self.lora
    }

    /// Parameters it changes otherwise than by low rank beside a linear map of a layer: they are used as they are, and
    /// not trained.
    pub fn fixed(&self) -> impl Iterator<Item = &str> {
        self.changes.iter().map(|(name, _)| name.as_str())
    }

    /// The same with another dropout, which is no part of what an adapter computes.
    #[must_use]
    pub fn with_dropout(mut self, dropout: f64) -> Self {
        self.lora.dropout = dropout;
        self
    }

    /// One adapter that does what two do together, over the same model: the matrices of a module stand beside each other,
    /// `[s₁B₁ s₂B₂]·[A₁; A₂]` (`combination_type="cat"` of PEFT's `add_weighted_adapter`).
    ///
    /// # Errors
    /// If the first has a part that is not of low rank, or a tensor operation fails.
    pub(super) fn joined(&self, other: &Self) -> Result<Self, ModelError> {
        if let Some(name) = self.fixed().chain(other.fixed()).next() {
            return Err(ModelError::FixedPart { name: name.to_owned() });
        }
        let joining = || ModelError::tensor("joining two adapters");
        let mut maps: Vec<LowRank> = Vec::new();
        for low in self.maps.iter().chain(&other.maps) {
            let b = (&low.b * low.scaling).map_err(joining())?;
            match maps.iter_mut().find(|known| known.module == low.module) {
                Some(known) => {
                    known.a = Tensor::cat(&[&known.a, &low.a], 0).map_err(joining())?;
                    known.b = Tensor::cat(&[&known.b, &b], 1).map_err(joining())?;
                }
                None => maps.push(LowRank { module: low.module.clone(), a: low.a.clone(), b, scaling: 1.0 }),
            }
        }
        let ranks: Vec<NonZeroUsize> =
            maps.iter().filter_map(|low| NonZeroUsize::new(low.a.dims().first().copied()?)).collect();
        let r = ranks.iter().copied().max().unwrap_or(other.lora.r);
        let names = maps.iter().map(|low| low.module.clone());
        let mut lora = Lora::new(r, r.get() as f64, Modules::named(names)).with_dropout(other.lora.dropout);
        for (low, rank) in maps.iter().zip(ranks).filter(|(_, rank)| *rank != r) {
            let pattern = regex::escape(&low.module);
            lora.rank_pattern.0.push((pattern.clone(), rank));
            lora.alpha_pattern.0.push((pattern, rank.get() as f64));
        }
        Ok(Self { lora, maps, changes: Vec::new() })
    }
}

impl Lora {
    fn with_dropout(self, dropout: f64) -> Self {
        Self { dropout, ..self }
    }
}

const A: &str = ".lora_A.weight";
const B: &str = ".lora_B.weight";

/// The parameters of the adapter of a map: `A` `(r, in)` and `B` `(out, r)`.
pub(super) fn parameters(module: &str) -> [String; 2] {
    [A, B].map(|end| format!("{module}{end}"))
}
