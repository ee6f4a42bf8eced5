//! The decoders of candle-transformers, which keep keys and values of the tokens before.
//!
//! Read in version 0.11: none takes biases where its family has none by default, a rotary scaling other than Llama 3's,
//! or, but for Mistral's and Qwen3's, heads of another width than `hidden_size / num_attention_heads`; a single token sees
//! all before it, whatever the window. What they would compute differently is not theirs to compute.

use std::collections::HashMap;

use candle_core::{DType, Device, Result as CandleResult, Tensor};
use candle_nn::{Activation, VarBuilder};
use candle_transformers::models::{llama, mistral, qwen2, qwen3};

use crate::guard;
use crate::model::{Architecture, Decoder, DecoderConfig, ModelError, RopeScaling};

/// Positions of the rotary tables at most: those of 64 numbers a row take 64 MB.
const MAX_POSITIONS: usize = 1 << 17;

/// Tokens of a prompt in one pass: scores of the prompt with itself would take the square of its length.
const CHUNK: usize = 512;

const HEAD: &str = "lm_head.weight";

/// A decoder with its cache.
pub(super) struct Cached {
    family: Family,
    device: Device,
    limit: usize,
}

enum Family {
    Llama { model: llama::Llama, config: llama::Config, cache: llama::Cache },
    Mistral(mistral::Model),
    Qwen2(qwen2::ModelForCausalLM),
    Qwen3(qwen3::ModelForCausalLM),
}

/// Why a model has no decoder with a cache.
pub(super) fn unserved(config: &DecoderConfig) -> Option<&'static str> {
    let llama = config.architecture == Architecture::Llama;
    let (expected_qkv, expected_output) = match config.architecture {
        Architecture::Llama | Architecture::Mistral => (false, false),
        Architecture::Qwen2 => (true, false),
        Architecture::Qwen3 => (config.qkv_bias, config.qkv_bias),
    };
    if (config.qkv_bias, config.output_bias, config.mlp_bias) != (expected_qkv, expected_output, false) {
        return Some("its linear maps have biases where candle-transformers' decoder has none");
    }
    match config.rope.scaling {
        RopeScaling::None => {}
        RopeScaling::Llama3 { .. } if llama => {}
        _ => return Some("candle-transformers' decoder does not know its rotary scaling"),
    }
    let has_own_width = matches!(config.architecture, Architecture::Mistral | Architecture::Qwen3);
    if !has_own_width && config.head_dim * config.n_heads != config.hidden_size {
        return Some("its heads have another width than candle-transformers' decoder gives them");
    }
    None
}

impl Cached {
    /// The decoder for a model without an adapter, sharing its weights; [`unserved`] has nothing against it.
    pub(super) fn new(model: &Decoder, max_length: usize) -> Result<Self, ModelError> {
        let config = model.config();
        let window = config.windows.iter().flatten().min().copied().unwrap_or(usize::MAX);
        let limit = max_length.min(window).min(MAX_POSITIONS);
        let mut tensors: HashMap<String, Tensor> =
            model.params().iter().map(|(_, name, tensor)| (name.to_owned(), tensor.clone())).collect();
        // Where the two are tied, not every decoder looks for it in the embedding.
        tensors.entry(HEAD.to_owned()).or_insert_with(|| model.head().1.clone());
        let weights = VarBuilder::from_tensors(tensors, DType::F32, model.device());
        // Llama's constructor panics where others return an error.
        let family = guard::catch(|| Family::new(config, limit, weights))
            .unwrap_or_else(|panicked| Err(candle_core::Error::wrap(panicked)))
            .map_err(ModelError::tensor("making a decoder with a cache"))?;
        Ok(Self { family, device: model.device().clone(), limit })
    }

    /// Tokens of prompt and answer it computes rightly: as many as its tables have positions, and as many as every layer
    /// sees all of.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Forgets all tokens, for a text of at most `length`.
    pub(super) fn reset(&mut self, length: usize) -> CandleResult<()> {
        match &mut self.family {
            Family::Llama { config, cache, .. } => {
                *config = llama::Config { max_position_embeddings: length, ..config.clone() };
                *cache = llama::Cache::new(true, DType::F32, config, &self.device)?;
            }
            Family::Mistral(model) => model.clear_kv_cache(),
            Family::Qwen2(model) => model.clear_kv_cache(),
            Family::Qwen3(model) => model.clear_kv_cache(),
        }
        Ok(())
    }

    /// Reads at least one token after the `n_before` tokens read since the last reset; logits of the one after. // (V)
    pub(super) fn read(&mut self, ids: &[u32], n_before: usize) -> CandleResult<Tensor> {
        self.read_in_chunks(ids, n_before, CHUNK)
    }

    pub(super) fn read_in_chunks(&mut self, ids: &[u32], n_before: usize, chunk: usize) -> CandleResult<Tensor> {
        let mut logits = None;
        for (index, ids) in ids.chunks(chunk).enumerate() {
            let input = Tensor::new(ids, &self.device)?.unsqueeze(0)?; // (1, T)
            logits = Some(self.pass(&input, n_before + index * chunk)?);
        }
        logits.ok_or_else(|| candle_core::Error::msg("expected at least one token to read"))?.flatten_all()
    }

    fn pass(&mut self, input: &Tensor, position: usize) -> CandleResult<Tensor> {
        match &mut self.family {
            Family::Llama { model, cache, .. } => model.forward(input, position, cache),
            Family::Mistral(model) => model.forward(input, position),
            Family::Qwen2(model) => model.forward(input, position),
            Family::Qwen3(model) => model.forward(input, position),
        }
    }
}

impl Family {
    fn new(config: &DecoderConfig, n_positions: usize, weights: VarBuilder<'_>) -> CandleResult<Self> {
        match config.architecture {
            Architecture::Llama => {
                // The model would cut keys that are longer than its positions, and takes the number of heads for theirs.
                let config = llama_config(config, n_positions.max(config.n_kv_heads));
                let model = llama::Llama::load(weights.clone(), &config)?;
                let cache = llama::Cache::new(true, DType::F32, &config, weights.device())?;
                Ok(Self::Llama { model, config, cache })
            }
            Architecture::Mistral => {
                mistral::Model::new(&mistral_config(config, n_positions), weights).map(Self::Mistral)
            }
            Architecture::Qwen2 => {
                qwen2::ModelForCausalLM::new(&qwen2_config(config, n_positions), weights).map(Self::Qwen2)
            }
            Architecture::Qwen3 => {
                qwen3::ModelForCausalLM::new(&qwen3_config(config, n_positions), weights).map(Self::Qwen3)
            }
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "frequencies are f32, and a length is a whole number above 0"
)]
fn llama_config(config: &DecoderConfig, n_positions: usize) -> llama::Config {
    let rope_scaling = match config.rope.scaling {
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => Some(llama::Llama3RopeConfig {
            factor: factor as f32,
            low_freq_factor: low_freq_factor as f32,
            high_freq_factor: high_freq_factor as f32,
            original_max_position_embeddings: original as usize,
            rope_type: llama::Llama3RopeType::Llama3,
        }),
        _ => None,
    };
    llama::Config {
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        vocab_size: config.vocab_size,
        num_hidden_layers: config.n_layers(),
        num_attention_heads: config.n_heads,
        num_key_value_heads: config.n_kv_heads,
        use_flash_attn: false,
        rms_norm_eps: config.rms_norm_eps,
        rope_theta: config.rope.theta as f32,
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling,
        max_position_embeddings: n_positions,
        tie_word_embeddings: config.tie_word_embeddings,
    }
}

fn mistral_config(config: &DecoderConfig, n_positions: usize) -> mistral::Config {
    mistral::Config {
        vocab_size: config.vocab_size,
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        num_hidden_layers: config.n_layers(),
        num_attention_heads: config.n_heads,
        head_dim: Some(config.head_dim),
        num_key_value_heads: config.n_kv_heads,
        hidden_act: Activation::Silu,
        max_position_embeddings: n_positions,
        rms_norm_eps: config.rms_norm_eps,
        rope_theta: config.rope.theta,
        // Nothing longer than the window gets here.
        sliding_window: None,
        use_flash_attn: false,
    }
}

fn qwen2_config(config: &DecoderConfig, n_positions: usize) -> qwen2::Config {
    qwen2::Config {
        vocab_size: config.vocab_size,
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        num_hidden_layers: config.n_layers(),
        num_attention_heads: config.n_heads,
        num_key_value_heads: config.n_kv_heads,
        max_position_embeddings: n_positions,
        // The decoder masks by it whether or not a window is used.
        sliding_window: n_positions,
        max_window_layers: config.n_layers(),
        tie_word_embeddings: config.tie_word_embeddings,
        rope_theta: config.rope.theta,
        rms_norm_eps: config.rms_norm_eps,
        use_sliding_window: false,
        hidden_act: Activation::Silu,
    }
}

fn qwen3_config(config: &DecoderConfig, n_positions: usize) -> qwen3::Config {
    qwen3::Config {
        vocab_size: config.vocab_size,
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        num_hidden_layers: config.n_layers(),
        num_attention_heads: config.n_heads,
        head_dim: config.head_dim,
        attention_bias: config.qkv_bias,
        num_key_value_heads: config.n_kv_heads,
        max_position_embeddings: n_positions,
        sliding_window: None,
        max_window_layers: config.n_layers(),
        tie_word_embeddings: config.tie_word_embeddings,
        rope_theta: config.rope.theta,
        rms_norm_eps: config.rms_norm_eps,
        use_sliding_window: false,
        hidden_act: Activation::Silu,
    }
}
