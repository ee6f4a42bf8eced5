//! What can be wrong with a model.

use std::path::{Path, PathBuf};

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
    /// A key of the configuration that may change the model and is not implemented.
    #[error("`{}`, key `{key}`: not known to piref, found `{found}`: it may change what the model computes", path.display())]
    UnknownKey {
        /// `config.json` or the GGUF file.
        path: PathBuf,
        /// The key, with its section.
        key: String,
        /// What the file says.
        found: String,
    },
    /// A `config.json` that is no table.
    #[error("`{}`: expected a JSON object", path.display())]
    NoObject {
        /// The file.
        path: PathBuf,
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
    #[error("no weights in `{}`: expected `model.safetensors` or `model.safetensors.index.json`{instead}", path.display())]
    NoWeights {
        /// The folder.
        path: PathBuf,
        /// What is there in their place.
        instead: Instead,
    },
    /// A folder with two sets of weights.
    #[error("two sets of weights in `{}`: `model.safetensors`, and the shards of `model.safetensors.index.json`", path.display())]
    TwoWeights {
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
    #[error("`{}`, tensor `{name}`: expected f64, f32, f16 or bf16, found {found}", path.display())]
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
    /// A configuration whose parameters no machine holds.
    #[error("`{}`: its sizes ask for {found} parameters, expected at most {limit}", path.display())]
    TooManyParameters {
        /// Folder or file.
        path: PathBuf,
        /// Most that are taken.
        limit: u128,
        /// What its sizes multiply to.
        found: u128,
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
    /// An adapter on none of the modules of the model.
    #[error("`{found}` is no module of this model")]
    NoTarget {
        /// What is to have an adapter.
        found: String,
    },
    /// A regular expression that is none.
    #[error("`{key}`: `{found}` is no regular expression")]
    Pattern {
        /// The key of `adapter_config.json`.
        key: &'static str,
        /// As given.
        found: String,
        /// Why not.
        #[source]
        source: Box<fancy_regex::Error>,
    },
    /// A key of an adapter that changes what it computes in a way that is not known here.
    #[error("`{}`, key `{key}`: expected {expected}, found `{found}`", path.display())]
    AdapterKey {
        /// `adapter_config.json`.
        path: PathBuf,
        /// The key.
        key: String,
        /// What can be read.
        expected: String,
        /// What the file says.
        found: String,
    },
    /// An adapter without weights that can be read.
    #[error("no weights in `{}`: expected `adapter_model.safetensors`", folder.display())]
    NoAdapterWeights {
        /// Its folder.
        folder: PathBuf,
        /// Whether they are there in a format that runs code when it is read.
        has_pickle: bool,
    },
    /// A tensor of an adapter that belongs to no module it is on.
    #[error("`{}`: tensor `{name}` has no place: it is of no module that `adapter_config.json` names", path.display())]
    AdapterTensor {
        /// The file.
        path: PathBuf,
        /// Its name.
        name: String,
    },
    /// A part of an adapter that is not of low rank, where only those can be used.
    #[error("the adapter changes `{name}` as a whole")]
    FixedPart {
        /// The parameter.
        name: String,
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

/// Weights in a form that is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instead {
    /// None.
    Nothing,
    /// PyTorch's, which are programs as much as data.
    Pickle(String),
    /// Shards without their index.
    Shards(String),
    /// A GGUF file.
    Gguf(String),
}

impl Instead {
    /// What a folder without weights that are read holds.
    pub(super) fn of(folder: &Path) -> Self {
        let mut names: Vec<String> = crate::io::list(folder)
            .unwrap_or_default()
            .iter()
            .filter_map(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()))
            .collect();
        names.sort_unstable();
        let first = |is: &dyn Fn(&str) -> bool| names.iter().find(|name| is(name)).cloned();
        let ends = |name: &str, extension: &str| Path::new(name).extension().is_some_and(|found| found == extension);
        let is_shard = |name: &str| name.starts_with("model-") && ends(name, "safetensors");
        let is_pickle = |name: &str| name.starts_with("pytorch_model") && ends(name, "bin");
        first(&is_shard)
            .map(Self::Shards)
            .or_else(|| first(&is_pickle).map(Self::Pickle))
            .or_else(|| first(&|name| ends(name, "gguf")).map(Self::Gguf))
            .unwrap_or(Self::Nothing)
    }
}

impl std::fmt::Display for Instead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Pickle(name) | Self::Shards(name) | Self::Gguf(name) => write!(f, ", found `{name}`"),
        }
    }
}

/// How weights of PyTorch become safetensors: into a folder of their own, by a library that reads them as data only.
fn conversion(folder: &Path) -> String {
    let folder = folder.display().to_string();
    let folder = folder.trim_end_matches('/');
    // Within two kinds of quotes nothing of a usual path has a meaning.
    let is_plain = !folder.contains(['"', '\'', '$', '`', '\\', '!', '\n']);
    let (from, to) =
        if is_plain { (folder, format!("{folder}-safetensors")) } else { ("FOLDER", "FOLDER-safetensors".into()) };
    format!(
        "`python -c \"from transformers import AutoModelForCausalLM, AutoTokenizer; [c.from_pretrained('{from}').\
         save_pretrained('{to}') for c in (AutoModelForCausalLM, AutoTokenizer)]\"` writes the same model as \
         safetensors into `{to}`"
    )
}

impl ModelError {
    /// Wraps an error of candle with what was being done.
    pub(crate) fn tensor(doing: &'static str) -> impl FnOnce(candle_core::Error) -> Self {
        move |source| Self::Tensor { doing, source }
    }
}

/// How a model without an adapter is made of one that only PEFT can read.
fn merge_hint(folder: &Path) -> String {
    let has_tokenizer = folder.join("tokenizer.json").is_file();
    let tokenizer = if has_tokenizer { format!("'{}'", folder.display()) } else { "m.config._name_or_path".into() };
    format!(
        "PEFT makes a whole model of it: `python -c \"from peft import AutoPeftModelForCausalLM as M; from transformers import \
         AutoTokenizer as T; m = M.from_pretrained('{0}').merge_and_unload(); m.save_pretrained('MERGED'); \
         T.from_pretrained({tokenizer}).save_pretrained('MERGED')\"`, then `--model MERGED`",
        folder.display()
    )
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

fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

impl Hint for ModelError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::TokenOutOfRange { .. } => {
                Some("the tokenizer is another model's: use the `tokenizer.json` that came with the weights".into())
            }
            Self::Safetensors { .. } => Some("the file is damaged or cut short: fetch it again".into()),
            Self::UnknownTensor { path, .. } => {
                let says = if is_gguf(path) { "its metadata say" } else { "`config.json` says" };
                Some(format!("the weights belong to another architecture or configuration than {says}"))
            }
            Self::UnknownKey { path, key, .. } if is_gguf(path) => Some(format!(
                "if it has no effect on this model, `gguf-new-metadata --remove-metadata {key} MODEL.gguf COPY.gguf` writes \
                 a copy without it"
            )),
            Self::UnknownKey { .. } => Some(
                "if it has no effect on this model, leave it out of the `config.json` of a copy of the folder".into(),
            ),
            Self::NoWeights { path, instead: Instead::Pickle(_) } => Some(conversion(path)),
            Self::NoWeights { instead: Instead::Shards(_), .. } => {
                Some("`model.safetensors.index.json`, which names the shards, is missing: fetch it, too".into())
            }
            Self::NoWeights { path, instead: Instead::Gguf(name) } => {
                Some(format!("name the file itself: `{}`", path.join(name).display()))
            }
            Self::MissingTensor { name, .. } if name == "lm_head.weight" => Some(
                "the file has no head of its own: if the head is the embedding, `config.json` has to say so by \
                 `\"tie_word_embeddings\": true`"
                    .into(),
            ),
            Self::TwoWeights { .. } => Some("move the set that is not meant into another folder".into()),
            Self::TargetModule { .. } => Some("`all-linear` stands for all of them".into()),
            // Not even PEFT makes a whole model of these.
            Self::AdapterKey { key, .. }
                if ["lora_bias", "layer_replication", "alora_invocation_tokens"].contains(&key.as_str()) =>
            {
                None
            }
            Self::AdapterKey { path, .. } => Some(merge_hint(path.parent().unwrap_or(path))),
            Self::NoAdapterWeights { folder, has_pickle: true } => Some(format!(
                "convert them without running code from the file: `python -c \"import torch; from safetensors.torch import \
                 save_file; w = torch.load('{0}/adapter_model.bin', map_location='cpu', weights_only=True); \
                 save_file({{k: v.clone().contiguous() for k, v in w.items()}}, '{0}/adapter_model.safetensors', \
                 {{'format': 'pt'}})\"`",
                folder.display()
            )),
            Self::FixedPart { .. } => Some(
                "`piref export --merge` makes a whole model of it, which a new adapter (`--lora-r`) can be trained over".into(),
            ),
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
