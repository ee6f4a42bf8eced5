//! Models: a folder or a `.gguf` file, without loading the weights.

use std::path::PathBuf;

use serde::Serialize;

use super::InspectError;
use crate::digest::{Digest, ModelIdentity};
use crate::model::{self, Digests};
use crate::model_source::ModelSource;
use crate::tokenize::TokenizerFiles;

/// A model.
#[derive(Debug, Serialize)]
pub struct ModelInfo {
    /// Folder or file.
    pub path: PathBuf,
    /// `folder` or `gguf`.
    pub container: &'static str,
    /// Family of the model.
    pub architecture: String,
    /// Numbers in its weights.
    pub n_parameters: usize,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Layers.
    pub n_layers: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key/value heads.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
    /// Longest sequence the model was made for, in tokens, if it says so.
    pub max_position_embeddings: Option<usize>,
    /// Digest of the weights, as a table records it.
    pub weights_digest: Digest,
    /// Digest of the configuration, as a table records it.
    pub config_digest: Digest,
    /// Digests of what weights and configuration mean: those of the same model saved again, or cut into other files, are
    /// equal.
    pub identity: ModelIdentity,
    /// Digest of the tokenizer, as a table records it.
    pub tokenizer_digest: Option<Digest>,
    /// Digest of the chat template, as a table records it; `None` if there is none.
    pub template_digest: Option<Digest>,
    /// Text of the token that ends a completion.
    pub eos_token: Option<String>,
    /// Why there is no tokenizer, where there is none.
    pub tokenizer_error: Option<String>,
    /// Every parameter, in the order of the layers.
    pub tensors: Vec<TensorInfo>,
}

/// A parameter, as the configuration asks for it.
#[derive(Debug, Serialize)]
pub struct TensorInfo {
    /// Hugging Face name.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
}

pub(super) fn info(source: &ModelSource) -> Result<ModelInfo, InspectError> {
    let (config, shapes) = model::shapes(source)?;
    let digests = Digests::of(source)?;
    let (tokenizer, tokenizer_error) = match TokenizerFiles::load(source) {
        Ok(tokenizer) => (Some(tokenizer), None),
        Err(error) => (None, Some(error.to_string())),
    };
    Ok(ModelInfo {
        path: source.path().to_owned(),
        container: match source {
            ModelSource::Folder(_) => "folder",
            ModelSource::Gguf(_) => "gguf",
        },
        architecture: config.architecture.to_string(),
        n_parameters: shapes.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum(),
        vocab_size: config.vocab_size,
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        n_layers: config.n_layers(),
        n_heads: config.n_heads,
        n_kv_heads: config.n_kv_heads,
        head_dim: config.head_dim,
        rope_theta: config.rope.theta,
        tie_word_embeddings: config.tie_word_embeddings,
        max_position_embeddings: config.max_position_embeddings,
        weights_digest: digests.weights,
        config_digest: digests.config,
        identity: digests.identity,
        tokenizer_digest: tokenizer.as_ref().map(TokenizerFiles::digest),
        template_digest: tokenizer.as_ref().and_then(TokenizerFiles::template_digest),
        eos_token: tokenizer.as_ref().and_then(|tokenizer| tokenizer.eos_token().map(str::to_owned)),
        tokenizer_error,
        tensors: shapes.into_iter().map(|(name, shape)| TensorInfo { name, shape }).collect(),
    })
}
