//! LoRA (Hu et al. 2021, arXiv:2106.09685, eq. 3): `W·x + s·B·A·x`, where `W` is frozen, `A` and `B` are trained.
//!
//! Names, shapes and the start are PEFT's, so an adapter of ours is one of its own and the other way round.

use std::num::NonZeroUsize;

use candle_core::{Device, Tensor};
use rand::Rng;
use serde::Serialize;

use super::config::DecoderConfig;
use super::error::ModelError;
use super::layer;
use super::weights::Spec;

/// The linear maps of a layer that can have an adapter, by their names in PEFT.
pub const LORA_MODULES: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// PEFT's word for all of them.
pub const ALL_LINEAR: &str = "all-linear";

/// What an adapter is like, as `adapter_config.json` says it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lora {
    /// Rank of `B·A`.
    pub r: NonZeroUsize,
    /// `lora_alpha`.
    pub alpha: f64,
    /// Share of the numbers of `x` that is dropped before `A` while training, in [0, 1).
    pub dropout: f64,
    /// Whether `s` is `alpha/√r` (Kalajdzievski 2023, arXiv:2312.03732) in place of `alpha/r`.
    pub use_rslora: bool,
    /// The maps that have an adapter: their names, or the ends of them after a dot. [`ALL_LINEAR`] is not one of them.
    pub target_modules: Vec<String>,
}

/// An adapter in memory, of one model.
#[derive(Debug)]
pub struct Adapter {
    pub(super) lora: Lora,
    /// By parameter, in the order of the layers.
    pub(super) tensors: Vec<(String, Tensor)>,
}

impl Lora {
    /// `s`, what `B·A` is multiplied with.
    pub fn scaling(&self) -> f64 {
        let r = self.r.get() as f64;
        self.alpha / if self.use_rslora { r.sqrt() } else { r }
    }

    /// Whether a map has an adapter. As in PEFT, a name is that of the map or the end of it after a dot.
    fn has_target(&self, module: &str) -> bool {
        self.target_modules.iter().any(|target| is_named(module, target))
    }

    /// Name and shape of every matrix of an adapter, in the order of the layers.
    ///
    /// # Errors
    /// If a target is no linear map of a layer of the model, or the rank is larger than any of those is wide.
    pub(super) fn specs(&self, config: &DecoderConfig) -> Result<Vec<Spec>, ModelError> {
        let maps: Vec<(String, [usize; 2])> =
            (0..config.n_layers()).flat_map(|index| layer::specs(config, index)).filter_map(linear_map).collect();
        let has_map = |target: &&String| maps.iter().any(|(module, _)| is_named(module, target));
        if let Some(found) = self.target_modules.iter().find(|target| !has_map(target)) {
            return Err(ModelError::TargetModule { found: found.clone(), known: LORA_MODULES.join("`, `") });
        }
        let r = self.r.get();
        let limit = maps.iter().flat_map(|(_, shape)| *shape).max().unwrap_or_default();
        if r > limit {
            return Err(ModelError::Rank { found: r, limit });
        }
        let adapted = maps.into_iter().filter(|(module, _)| self.has_target(module));
        Ok(adapted
            .flat_map(|(module, [output, input])| {
                let [a, b] = parameters(&module);
                [Spec { name: a, shape: vec![r, input] }, Spec { name: b, shape: vec![output, r] }]
            })
            .collect())
    }
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
        let mut tensors = Vec::new();
        for Spec { name, shape } in lora.specs(config)? {
            let n_values: usize = shape.iter().product();
            let values: Vec<f32> = if name.ends_with(A) {
                let bound = (*shape.last().unwrap_or(&1) as f32).sqrt().recip();
                let mut rng = rng(&name);
                (0..n_values).map(|_| rng.random_range(-bound..bound)).collect()
            } else {
                vec![0.0; n_values]
            };
            let tensor = Tensor::from_vec(values, shape, device).map_err(ModelError::tensor("drawing an adapter"))?;
            tensors.push((name, tensor));
        }
        Ok(Self { lora: lora.clone(), tensors })
    }

    /// What it is like.
    pub fn lora(&self) -> &Lora {
        &self.lora
    }

    /// The same with another dropout, which is no part of what an adapter computes.
    #[must_use]
    pub fn with_dropout(mut self, dropout: f64) -> Self {
        self.lora.dropout = dropout;
        self
    }
}

const A: &str = ".lora_A.weight";
const B: &str = ".lora_B.weight";

/// The parameters of the adapter of a map: `A` `(r, in)` and `B` `(out, r)`.
pub(super) fn parameters(module: &str) -> [String; 2] {
    [A, B].map(|end| format!("{module}{end}"))
}

/// Name and shape of a linear map, where the parameter is the weight of one.
fn linear_map(Spec { name, shape }: Spec) -> Option<(String, [usize; 2])> {
    let shape = <[usize; 2]>::try_from(shape).ok()?;
    Some((name.strip_suffix(".weight")?.to_owned(), shape))
}

fn is_named(module: &str, target: &str) -> bool {
    module.strip_suffix(target).is_some_and(|start| start.is_empty() || start.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lora(r: usize, use_rslora: bool) -> Lora {
        let target_modules = vec!["q_proj".to_owned()];
        Lora { r: NonZeroUsize::new(r).unwrap(), alpha: 32.0, dropout: 0.0, use_rslora, target_modules }
    }

    /// By hand: 32/16 and 32/√16.
    #[test]
    fn scaling_is_by_rank_or_by_its_root() {
        assert_eq!(lora(16, false).scaling(), 2.0);
        assert_eq!(lora(16, true).scaling(), 8.0);
    }

    #[test]
    fn a_target_is_a_name_or_the_end_of_it_after_a_dot() {
        let module = "model.layers.1.self_attn.q_proj";
        for target in ["q_proj", "self_attn.q_proj", "layers.1.self_attn.q_proj", module] {
            assert!(is_named(module, target), "{target}");
        }
        for target in ["proj", "_proj", "k_proj", "mlp.q_proj", "layers.11.self_attn.q_proj", "x.model.layers.1"] {
            assert!(!is_named(module, target), "{target}");
        }
    }
}
