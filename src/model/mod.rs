//! One trainable decoder, configured: Llama, Mistral, Qwen2 and Qwen3 checkpoints from safetensors or GGUF.
//!
//! Invariant: what is loaded is what the checkpoint says. An architecture, a configuration value or a tensor that the
//! decoder would not honour is refused by name, never guessed or ignored; so is a part of an adapter.
//!
//! Absent on purpose: a cache of keys and values (see [`crate::generate`]), padding and masks (see [`crate::batch`]), autograd
//! (see [`crate::ops`]).

mod adapter_config;
mod adapter_folder;
mod adapter_weights;
mod config;
mod config_gguf;
mod config_hf;
mod decoder;
mod draw;
mod error;
mod export;
mod export_gguf;
mod flops;
mod identity;
mod layer;
mod lora;
mod lora_modules;
mod memory;
mod params;
mod tensor_writer;
mod weights;
mod weights_gguf;
mod weights_safetensors;

pub use adapter_config::{AdapterConfig, adapter_base};
pub use adapter_folder::{
    BaseName, adapter_config, adapter_digest, check_adapter_base, export_adapter, find_adapter, is_adapter,
    names_digests,
};
pub use config::{Architecture, DecoderConfig, Rope, RopeScaling};
pub use decoder::{Decoder, Keep, Pass, Shape, Tape, shapes};
pub use error::ModelError;
pub use export::{
    DEFAULT_SHARD_BYTES, Export, NamedIds, SaveDtype, SavedWeights, check_config, check_export, export, export_config,
    exports,
};
pub use export_gguf::{GgufWeights, OutType, export_gguf};
pub use flops::Flops;
pub use lora::{ALL_LINEAR, Adapter, LORA_MODULES, Lora};
pub use lora_modules::{Modules, Patterns};
pub use memory::TrainingMemory;
pub use params::{Gradients, ParamId, Params};
pub(crate) use tensor_writer::write_safetensors;
pub use weights::{Digests, architecture, vocab_size};

use crate::ops::Precision;

/// The precision of the passes that make log-probs and their gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoringDtype {
    /// Weights, activations and reductions in `f32`.
    #[default]
    F32,
    /// Weights and activations rounded to bf16 where they are multiplied with each other, everything else in `f32`.
    Bf16,
}

impl ScoringDtype {
    /// The one of this name, as [`Display`](std::fmt::Display) writes it.
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::F32, Self::Bf16].into_iter().find(|dtype| dtype.to_string() == name)
    }

    pub(crate) fn precision(self) -> Precision {
        match self {
            Self::F32 => Precision::F32,
            Self::Bf16 => Precision::Bf16,
        }
    }
}

impl std::fmt::Display for ScoringDtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::F32 => f.write_str("f32"),
            Self::Bf16 => f.write_str("bf16"),
        }
    }
}
