//! What can be wrong with a model.

use std::path::PathBuf;

use crate::batch::BatchError;
use crate::digest::Digest;
use crate::error::Hint;
use crate::io::IoError;
use crate::model_source::ModelSourceError;

/// Why a checkpoint is refused, or a pass over it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// `config.json` is not JSON.
    #[error("cannot parse `{}`", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line and column.
        #[source]
        source: serde_json::Error,
    },
    /// An architecture this decoder does not implement.
    #[error("`{}`: unknown architecture `{found}`, expected one of {known}", path.display())]
    UnknownArchitecture {
        /// `config.json` or the GGUF file.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What could be loaded.
        known: String,
    },
    /// A configuration value the decoder would not honour.
    #[error("`{}`, key `{key}`: expected {expected}, found `{found}`", path.display())]
    ConfigValue {
        /// `config.json` or the GGUF file.
        path: PathBuf,
        /// The key, with its section.
        key: String,
        /// What the decoder can do.
        expected: String,
        /// What the file says.
        found: String,
    },
    /// A configuration value that is needed and not there.
    #[error("`{}`: key `{key}` is missing", path.display())]
    ConfigMissing {
        /// `config.json` or the GGUF file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A folder without weights.
    #[error("no weights in `{}`: expected `model.safetensors` or `model.safetensors.index.json`", path.display())]
    NoWeights {
        /// The folder.
        path: PathBuf,
    },
    /// A model to be drawn from a file that says nothing of how.
    #[error("`{}` has no configuration to draw weights by: expected a folder with `config.json`", path.display())]
    NothingToDraw {
        /// The file.
        path: PathBuf,
    },
    /// A damaged safetensors file.
    #[error("cannot read safetensors file `{}`", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        #[source]
        source: safetensors::SafeTensorError,
    },
    /// A tensor the architecture needs and the checkpoint lacks.
    #[error("`{}`: tensor `{name}` is missing", path.display())]
    MissingTensor {
        /// Folder or file.
        path: PathBuf,
        /// Its name.
        name: String,
    },
    /// A tensor the architecture has no place for.
    #[error("`{}`: tensor `{name}` has no place in a {architecture} model of this configuration", path.display())]
    UnknownTensor {
        /// Folder or file.
        path: PathBuf,
        /// Its name.
        name: String,
        /// The architecture.
        architecture: String,
    },
    /// A tensor that two shards hold.
    #[error("`{}`: tensor `{name}` is in another shard as well", path.display())]
    TensorTwice {
        /// The shard it was found in last.
        path: PathBuf,
        /// Its name.
        name: String,
    },
    /// A tensor of another shape than the configuration asks for.
    #[error("`{}`, tensor `{name}`: expected shape {expected:?}, found {found:?}", path.display())]
    TensorShape {
        /// Folder or file.
        path: PathBuf,
        /// Its name.
        name: String,
        /// By the configuration.
        expected: Vec<usize>,
        /// In the file.
        found: Vec<usize>,
    },
    /// A tensor of a type weights do not have.
    #[error("`{}`, tensor `{name}`: expected f32, f16 or bf16, found {found}", path.display())]
    TensorDtype {
        /// Folder or file.
        path: PathBuf,
        /// Its name.
        name: String,
        /// In the file.
        found: String,
    },
    /// A policy folder that would be another model than the one that is trained.
    #[error("the policy would be read back as another model: `{key}`: expected `{expected}`, found `{found}`")]
    ReadBack {
        /// The setting.
        key: &'static str,
        /// Of the model that is trained.
        expected: String,
        /// As it would be read back.
        found: String,
    },
    /// A weight that the type it is to be written in has no number for.
    #[error("tensor `{name}` has a number that {dtype} cannot hold")]
    TooLarge {
        /// The tensor.
        name: String,
        /// The type.
        dtype: String,
    },
    /// An adapter for something that is no linear map of a layer.
    #[error("`{found}` is no linear map of a layer of this model: expected `{known}`, or the end of a longer name")]
    TargetModule {
        /// As given.
        found: String,
        /// Names of the maps.
        known: String,
    },
    /// An adapter that is wider than what it is added to.
    #[error("an adapter of rank {found} is wider than the model: expected at most {limit}")]
    Rank {
        /// As given.
        found: usize,
        /// Width of the widest linear map.
        limit: usize,
    },
    /// An adapter that was trained over another model.
    #[error("the adapter of `{}` belongs to other {what}: expected `{expected}`, found `{found}`", path.display())]
    OtherBase {
        /// What says so.
        path: PathBuf,
        /// Weights or configuration.
        what: &'static str,
        /// Digest of those it was trained over.
        expected: Digest,
        /// Digest of those of the model.
        found: Digest,
    },
    /// A token id the embedding has no row for.
    #[error("token id {id} is outside of the model's vocabulary of {vocab_size}")]
    TokenOutOfRange {
        /// The id.
        id: u32,
        /// Rows of the embedding.
        vocab_size: usize,
    },
    /// A batch that cannot be scored.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// Where the model is.
    #[error(transparent)]
    Source(#[from] ModelSourceError),
    /// A file of the model.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A tensor operation failed.
    #[error("tensor operation failed while {doing}")]
    Tensor {
        /// What was being done.
        doing: &'static str,
        /// What candle says.
        #[source]
        source: candle_core::Error,
    },
}

impl ModelError {
    /// Wraps an error of candle with what was being done.
    pub(crate) fn tensor(doing: &'static str) -> impl FnOnce(candle_core::Error) -> Self {
        move |source| Self::Tensor { doing, source }
    }
}

/// A value a file gives, short enough for a message.
pub(super) fn shown(mut text: String) -> String {
    const LIMIT: usize = 200;
    if text.len() > LIMIT {
        text.truncate(text.floor_char_boundary(LIMIT));
        text.push('…');
    }
    text
}

impl Hint for ModelError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::TokenOutOfRange { .. } => {
                Some("the tokenizer is another model's: use the `tokenizer.json` that came with the weights".into())
            }
            Self::Safetensors { .. } => Some("the file is damaged or cut short: fetch it again".into()),
            Self::UnknownTensor { .. } => {
                Some("the weights belong to another architecture or configuration than `config.json` says".into())
            }
            Self::TargetModule { .. } => Some("`all-linear` stands for all of them".into()),
            Self::TooLarge { .. } => Some(
                "f32 holds every number as it is: `--save-dtype f32` of a policy, `--outtype f32` of a GGUF file; the same \
                 command with it goes on from the last checkpoint"
                    .into(),
            ),
            Self::ReadBack { .. } => {
                Some("please report it with the `config.json` of the model; an adapter (`--lora-r`) can be trained".into())
            }
            Self::OtherBase { .. } => Some("name the model the adapter was trained over with `--model`".into()),
            Self::Source(error) => error.hint(),
            Self::Io(error) => error.hint(),
            _ => None,
        }
    }
}
