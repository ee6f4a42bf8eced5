//! The tensors a decoder needs, and where they come from.

use candle_core::{Device, Tensor};

use super::config::{Architecture, DecoderConfig};
use super::error::ModelError;
use super::{config_gguf, config_hf, identity, weights_gguf, weights_safetensors};
use crate::digest::{Digest, ModelIdentity};
use crate::io;
use crate::model_source::{Gguf, ModelSource};

/// Most parameters of a model that are taken: a thousand times those of the largest, and a number whose bytes can be
/// counted.
const MAX_PARAMETERS: u128 = 1 << 50;

/// Name and shape of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spec {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
}

/// What was loaded, as provenance records it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    /// Of the weight files (of the GGUF file as a whole, with all its parts).
    pub weights: Digest,
    /// Of `config.json` (of the GGUF file as a whole).
    pub config: Digest,
    /// Of what they mean: what two models are compared by, where both are known by it.
    pub identity: ModelIdentity,
}

impl Digests {
    /// Digests the files of a model, without loading it.
    pub fn of(source: &ModelSource) -> Result<Self, ModelError> {
        let identity = identity::of(source)?;
        match source {
            ModelSource::Gguf(path) => {
                let digest = Gguf::digest(path)?;
                Ok(Self { weights: digest, config: digest, identity })
            }
            ModelSource::Folder(folder) => {
                Ok(Self { weights: weights_safetensors::digest(folder)?, config: config_digest(source)?, identity })
            }
        }
    }

    /// Those of a model of which there is nothing but its configuration, and a digest of how its weights are drawn.
    ///
    /// # Errors
    /// If the configuration cannot be read.
    pub fn of_drawn(source: &ModelSource, weights: Digest) -> Result<Self, ModelError> {
        let identity = ModelIdentity { weights, config: identity::of_config(source)? };
        Ok(Self { weights, config: config_digest(source)?, identity })
    }
}

/// Digest of `config.json` (of the GGUF file as a whole, with all its parts); there may be no weights.
fn config_digest(source: &ModelSource) -> Result<Digest, ModelError> {
    Ok(match source {
        ModelSource::Gguf(path) => Gguf::digest(path)?,
        ModelSource::Folder(folder) => Digest::of(&io::read_up_to(&folder.join("config.json"), io::SETTINGS_BYTES)?),
    })
}

/// The family of a model, without loading its weights.
pub fn architecture(source: &ModelSource) -> Result<Architecture, ModelError> {
    Ok(config(source)?.architecture)
}

/// How many tokens a model knows, without loading its weights: ids are below it.
pub fn vocab_size(source: &ModelSource) -> Result<usize, ModelError> {
    Ok(config(source)?.vocab_size)
}

/// Reads the configuration of a model. That the head is the embedding holds only if the weights do not say otherwise.
///
/// # Errors
/// If it is none, or if its sizes multiply to more than [`MAX_PARAMETERS`]: whoever multiplies them need not look then.
pub(super) fn config(source: &ModelSource) -> Result<DecoderConfig, ModelError> {
    let config = match source {
        ModelSource::Folder(folder) => {
            let mut config = config_hf::read(&folder.join("config.json"))?;
            config.tie_word_embeddings = config.tie_word_embeddings && !weights_safetensors::has_own_head(folder)?;
            config
        }
        ModelSource::Gguf(path) => config_gguf::read(&Gguf::open(path)?)?,
    };
    match config.n_matrix_parameters() {
        found if found <= MAX_PARAMETERS => Ok(config),
        found => Err(ModelError::TooManyParameters { path: source.path().to_owned(), limit: MAX_PARAMETERS, found }),
    }
}

/// Loads the tensors of `specs`, in their order, as `f32`.
///
/// # Errors
/// If one is missing, has another shape or type, or if the checkpoint holds one that is not asked for.
pub(super) fn load(
    source: &ModelSource,
    config: &DecoderConfig,
    specs: &[Spec],
    device: &Device,
) -> Result<Vec<Tensor>, ModelError> {
    match source {
        ModelSource::Folder(folder) => weights_safetensors::load(folder, config, specs, device),
        ModelSource::Gguf(path) => weights_gguf::load(&Gguf::open(path)?, config, specs, device),
    }
}
