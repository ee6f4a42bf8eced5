//! Counted floating-point operations of a batch: those of its matrix products, two a multiply-add.
//!
//! Element-wise work, norms and the softmax are left out, as is what an implementation does besides (recomputation,
//! padding): the count is of the task, so that times of different implementations compare.

use super::config::DecoderConfig;
use crate::batch::GroupBatch;
use crate::ops::attention::visible_keys;

/// Operations by where they are done.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Flops {
    /// Linear maps of the layers.
    pub linear: f64,
    /// The head, on scored rows.
    pub head: f64,
    /// Attention scores and weighted values.
    pub attention: f64,
    /// Adapters beside the linear maps.
    pub adapter: f64,
}

impl Flops {
    /// One forward pass: `2·params` a row and layer, `2·D·V` a scored row, `4·H·d` a visible (query, key) pair and layer.
    pub fn forward(config: &DecoderConfig, batch: &GroupBatch) -> Self {
        let (width, heads) = (config.hidden_size as f64, (config.n_heads * config.head_dim) as f64);
        let kv_heads = (config.n_kv_heads * config.head_dim) as f64;
        let layer = width * (2.0 * heads + 2.0 * kv_heads + 3.0 * config.intermediate_size as f64);
        let n_layers = config.n_layers() as f64;
        let visible: f64 = config.windows.iter().map(|&window| visible_keys(&batch.segments, window)).sum();
        Self {
            linear: 2.0 * layer * n_layers * batch.ids.len() as f64,
            head: 2.0 * width * config.vocab_size as f64 * batch.scored.targets.len() as f64,
            attention: 4.0 * heads * visible,
            adapter: 0.0,
        }
    }

    /// The same with an adapter of so many numbers: `2·numbers` a row.
    #[must_use]
    pub fn with_adapter(self, n_parameters: usize, batch: &GroupBatch) -> Self {
        Self { adapter: 2.0 * n_parameters as f64 * batch.ids.len() as f64, ..self }
    }

    /// One forward and backward pass with all weights trained: a product has two in its backward; the five of attention
    /// count 2.5 times its two.
    #[must_use]
    pub fn training(self) -> Self {
        Self {
            linear: 3.0 * self.linear,
            head: 3.0 * self.head,
            attention: 3.5 * self.attention,
            adapter: 3.0 * self.adapter,
        }
    }

    /// The same with the weights frozen and the adapter trained: a product with a frozen weight has one in its
    /// backward.
    #[must_use]
    pub fn training_adapter(self) -> Self {
        Self { linear: 2.0 * self.linear, head: 2.0 * self.head, ..self.training() }
    }

    /// All of them.
    pub fn total(self) -> f64 {
        self.linear + self.head + self.attention + self.adapter
    }
}

impl std::ops::Add for Flops {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            linear: self.linear + other.linear,
            head: self.head + other.head,
            attention: self.attention + other.attention,
            adapter: self.adapter + other.adapter,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Group;
    use crate::model::{Architecture, Rope, RopeScaling};

    fn smollm2_135m() -> DecoderConfig {
        DecoderConfig {
            architecture: Architecture::Llama,
            vocab_size: 49152,
            hidden_size: 576,
            intermediate_size: 1536,
            n_heads: 9,
            n_kv_heads: 3,
            head_dim: 64,
            rms_norm_eps: 1e-5,
            rope: Rope { theta: 1e5, scaling: RopeScaling::None },
            tie_word_embeddings: true,
            qkv_bias: false,
            output_bias: false,
            mlp_bias: false,
            qk_norm: false,
            windows: vec![None; 30],
            max_position_embeddings: None,
        }
    }

    fn flops(config: &DecoderConfig, prompt: usize, chosen: usize, rejected: usize) -> Flops {
        let ids = vec![1; prompt.max(chosen).max(rejected)];
        let group = Group { prompt: &ids[..prompt], completions: vec![&ids[..chosen], &ids[..rejected]] };
        Flops::forward(config, &GroupBatch::new(&[group]).unwrap())
    }

    /// By hand: 3 538 944 weights a layer, 49152 · 576 in the head, 4 · 576 a key, query and layer.
    #[test]
    fn smollm2_counts_are_those_of_its_shapes() {
        let found = flops(&smollm2_135m(), 3, 2, 1);
        assert_eq!(found.linear, 2.0 * 3_538_944.0 * 30.0 * 4.0, "the last token of a completion is not read");
        assert_eq!(found.head, 2.0 * 49_152.0 * 576.0 * 3.0);
        assert_eq!(found.attention, 4.0 * 576.0 * 30.0 * (6.0 + 4.0));
        assert_eq!(found.training().linear, 3.0 * found.linear);
    }

    /// By hand: rank 16 beside the seven maps of 30 layers is 4 884 480 numbers.
    #[test]
    fn an_adapter_adds_its_products_and_spares_the_gradients_of_the_weights() {
        let ids = [1; 3];
        let batch = GroupBatch::new(&[Group { prompt: &ids, completions: vec![&ids[..2], &ids[..1]] }]).unwrap();
        let forward = Flops::forward(&smollm2_135m(), &batch).with_adapter(4_884_480, &batch);
        assert_eq!(forward.adapter, 2.0 * 4_884_480.0 * 4.0);
        let step = forward.training_adapter();
        assert_eq!((step.linear, step.head), (2.0 * forward.linear, 2.0 * forward.head));
        assert_eq!((step.attention, step.adapter), (3.5 * forward.attention, 3.0 * forward.adapter));
    }

    #[test]
    fn a_window_hides_keys() {
        let config = DecoderConfig { windows: vec![Some(2)], ..smollm2_135m() };
        // Prompt 1 + 2 + 2, completion 2.
        assert_eq!(flops(&config, 3, 2, 1).attention, 4.0 * 576.0 * 7.0);
    }
}
