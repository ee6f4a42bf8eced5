//! What a decoder is made of, whatever file said so.

use std::fmt;

/// Layers of a decoder at most; the deepest published ones have some hundreds.
pub(super) const MAX_LAYERS: usize = 4096;

/// A family of checkpoints the decoder implements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Llama and what shares its layout (SmolLM2).
    Llama,
    /// Llama with a sliding window.
    Mistral,
    /// Biases on queries, keys and values.
    Qwen2,
    /// Norms on queries and keys.
    Qwen3,
}

impl Architecture {
    /// Every family.
    pub const ALL: [Self; 4] = [Self::Llama, Self::Mistral, Self::Qwen2, Self::Qwen3];

    /// The name under `architectures` in `config.json`.
    pub fn hf_name(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
        }
    }

    /// The name under `model_type` in `config.json`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.hf_name())
    }
}

/// Rotary embedding of a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// How they are changed for longer contexts.
    pub scaling: RopeScaling,
}

/// Changes of the rotary frequencies.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// None.
    None,
    /// All divided by a factor.
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Long wavelengths divided by a factor, short ones kept, blended between (Llama 3.1).
    Llama3 {
        /// The factor.
        factor: f64,
        /// Wavelengths above `original / low_freq_factor` are divided.
        low_freq_factor: f64,
        /// Wavelengths below `original / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context length the model was first trained with, in tokens.
        original: f64,
    },
    /// Each frequency divided by its own factor (the `rope_freqs` tensor of a GGUF).
    PerFrequency {
        /// One per pair of dimensions. // (d/2)
        factors: Vec<f32>,
    },
}

/// A decoder's shape and constants.
#[expect(clippy::struct_excessive_bools, reason = "each is a key of `config.json` of that type")]
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderConfig {
    /// Which family.
    pub architecture: Architecture,
    /// Rows of the embedding, V.
    pub vocab_size: usize,
    /// Width, D.
    pub hidden_size: usize,
    /// Width of the feed-forward layer, F.
    pub intermediate_size: usize,
    /// Query heads, H.
    pub n_heads: usize,
    /// Key/value heads, G.
    pub n_kv_heads: usize,
    /// Width of a head, d.
    pub head_dim: usize,
    /// `eps` of the norms.
    pub rms_norm_eps: f64,
    /// Rotary embedding.
    pub rope: Rope,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
    /// Biases on the query, key and value projections.
    pub qkv_bias: bool,
    /// Bias on the output projection of attention.
    pub output_bias: bool,
    /// Biases on the feed-forward projections.
    pub mlp_bias: bool,
    /// Norms on queries and keys, per head.
    pub qk_norm: bool,
    /// Sliding window of each layer, in tokens; `None` sees all. Its length is the number of layers.
    pub windows: Vec<Option<usize>>,
    /// Longest sequence the model was made for, in tokens, if the file says so.
    pub max_position_embeddings: Option<usize>,
}

impl DecoderConfig {
    /// Number of layers.
    pub fn n_layers(&self) -> usize {
        self.windows.len()
    }

    /// Numbers in its matrices, head and embedding counted both, as if no sum of them could be too large.
    pub(super) fn n_matrix_parameters(&self) -> u128 {
        let [vocab, width, inner, heads, kv_heads, head_dim] =
            [self.vocab_size, self.hidden_size, self.intermediate_size, self.n_heads, self.n_kv_heads, self.head_dim]
                .map(|size| size as u128);
        // Queries and their way back, keys and values, and the three of the feed-forward layer.
        let rows = [heads.saturating_mul(head_dim), kv_heads.saturating_mul(head_dim), inner]
            .into_iter()
            .zip([2, 2, 3])
            .fold(0_u128, |rows, (size, n)| rows.saturating_add(size.saturating_mul(n)));
        let of_layers = rows.saturating_mul(self.n_layers() as u128);
        of_layers.saturating_add(vocab.saturating_mul(2)).saturating_mul(width)
    }

    /// Rotary frequencies, in `f32` like the reference implementations. // (d/2)
    #[expect(clippy::cast_possible_truncation, reason = "frequencies are f32 by definition of the checkpoints")]
    pub fn frequencies(&self) -> Vec<f32> {
        let theta = self.rope.theta as f32;
        let base = (0..self.head_dim / 2).map(|i| theta.powf((2 * i) as f32 / self.head_dim as f32).recip());
        match &self.rope.scaling {
            RopeScaling::None => base.collect(),
            RopeScaling::Linear { factor } => base.map(|frequency| frequency / *factor as f32).collect(),
            RopeScaling::PerFrequency { factors } => {
                base.zip(factors).map(|(frequency, factor)| frequency / factor).collect()
            }
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => base
                .map(|frequency| llama3(frequency, *factor, *low_freq_factor, *high_freq_factor, *original))
                .collect(),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "frequencies are f32 by definition of the checkpoints")]
fn llama3(frequency: f32, factor: f64, low_freq_factor: f64, high_freq_factor: f64, original: f64) -> f32 {
    let exact = f64::from(frequency);
    let wavelength = 2.0 * std::f64::consts::PI / exact;
    // In the order of `_compute_llama3_parameters` of transformers, which matters where the two limits are swapped.
    if wavelength > original / low_freq_factor {
        (exact / factor) as f32
    } else if wavelength < original / high_freq_factor {
        frequency
    } else {
        let smooth = (original / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
        ((1.0 - smooth) * exact / factor + smooth * exact) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_keeps_short_waves_and_stretches_long_ones() {
        let scaled = |frequency| llama3(frequency, 8.0, 1.0, 4.0, 8192.0);
        assert_eq!(scaled(1.0), 1.0);
        assert_eq!(scaled(1e-5), 1e-5 / 8.0);
        let between = scaled(0.0015);
        assert!(between < 0.0015 && between > 0.0015 / 8.0, "{between}");
    }
}
