//! What can be wrong with a model that a user names.

use std::path::{Path, PathBuf};

use crate::error::Hint;
use crate::model::ModelError;
use crate::model_source::ModelSourceError;
use crate::tokenize::TokenizeError;

/// Why there is no such model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A whole model where an adapter is asked for.
    #[error("no adapter in `{}`: expected `adapter_config.json` in it or in its `policy`", path.display())]
    NoAdapter {
        /// The folder.
        path: PathBuf,
    },
    /// An adapter that names no base model.
    #[error("the adapter in `{}` names no base model", path.display())]
    NoBase {
        /// Its folder.
        path: PathBuf,
    },
    /// An adapter whose base model is not here.
    #[error("the base model `{name}` of the adapter in `{}` is not here", path.display())]
    BaseNotFound {
        /// Folder of the adapter.
        path: PathBuf,
        /// As the adapter names it, with its revision.
        name: String,
        /// What was found in its place.
        #[source]
        source: ModelSourceError,
    },
    /// An adapter whose base model is found twice.
    #[error(
        "the base model `{name}` of the adapter in `{}` is both `{}` and `{}`",
        path.display(),
        one.display(),
        other.display()
    )]
    TwoBases {
        /// Folder of the adapter.
        path: PathBuf,
        /// As the adapter names it.
        name: String,
        /// From the working directory.
        one: PathBuf,
        /// From the adapter.
        other: PathBuf,
    },
    /// An adapter over an adapter.
    #[error("the base model of the adapter in `{}` is an adapter itself: `{}`", path.display(), base.display())]
    BaseIsAdapter {
        /// Folder of the adapter.
        path: PathBuf,
        /// Folder of the other.
        base: PathBuf,
    },
    /// An adapter that belongs to another model than it is laid over.
    #[error(
        "the adapter in `{}` belongs to `{expected}`, whose weights or configuration are others than those of `{found}`",
        path.display()
    )]
    OtherBase {
        /// Folder of the adapter.
        path: PathBuf,
        /// The base model it names.
        expected: String,
        /// The model it is to go over.
        found: String,
    },
    /// An adapter as the model that another goes over.
    #[error(
        "`{}` is an adapter, and so is `{}`: an adapter goes over a whole model",
        model.display(),
        adapter.display()
    )]
    TwoAdapters {
        /// Named as the model.
        model: PathBuf,
        /// Named as the adapter.
        adapter: PathBuf,
    },
    /// A tokenizer beside an adapter that numbers tokens otherwise than the base model's.
    #[error(
        "the tokenizer beside the adapter in `{}` is of another vocabulary than that of `{base}`: token {id} is `{expected}` \
         there, `{found}` here",
        path.display()
    )]
    OtherVocabulary {
        /// Folder of the adapter.
        path: PathBuf,
        /// The base model.
        base: String,
        /// A token id.
        id: u32,
        /// What it is in the base model.
        expected: String,
        /// What it is beside the adapter.
        found: String,
    },
    /// A chat template beside an adapter, without its tokenizer.
    #[error(
        "`{}` is another chat template than that of `{base}`, and the tokenizer it belongs to is not beside it",
        path.display()
    )]
    TemplateAlone {
        /// The file.
        path: PathBuf,
        /// The base model.
        base: String,
    },
    /// The model or its adapter cannot be read.
    #[error("cannot use model `{model}`")]
    Model {
        /// The model, or the folder of the adapter.
        model: String,
        /// Why not.
        #[source]
        source: ModelError,
    },
    /// Its tokenizer.
    #[error(transparent)]
    Tokenize(#[from] TokenizeError),
    /// Where the model is.
    #[error(transparent)]
    Source(#[from] ModelSourceError),
}

impl Hint for PolicyError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoAdapter { .. } => Some("a run with `--lora-r` ends with one; other policies are whole".into()),
            Self::NoBase { .. } => Some(
                "name it with `--model`, and the adapter with `--adapter`; or write it into `adapter_config.json`, as \
                 `base_model_name_or_path`"
                    .into(),
            ),
            // How it is fetched, its source says.
            Self::BaseNotFound { source: ModelSourceError::NotFound { .. }, .. } => {
                Some("if it is elsewhere now, name it with `--model`, and the adapter with `--adapter`".into())
            }
            Self::BaseNotFound { .. } => None,
            Self::TwoBases { .. } => {
                Some("name the one that is meant with `--model`, and the adapter with `--adapter`".into())
            }
            Self::BaseIsAdapter { base, .. } => Some(format!(
                "`piref export --merge {} --out FOLDER` makes a whole model of that one, to be named with `--model`",
                base.display()
            )),
            Self::OtherBase { expected, .. } => Some(format!(
                "name that one with `--model {expected}`; if the adapter is meant for the other, change \
                 `base_model_name_or_path` in its `adapter_config.json`"
            )),
            Self::TwoAdapters { model, .. } => Some(format!(
                "`piref export --merge {} --out FOLDER` makes a whole model of the first, which the other can go over if it \
                 was trained there",
                model.display()
            )),
            Self::OtherVocabulary { .. } => {
                Some("the tokenizer that the adapter was trained with belongs beside it, or none".into())
            }
            Self::TemplateAlone { base, .. } => Some(format!(
                "copy `tokenizer.json` and `tokenizer_config.json` from `{base}` beside it: transformers, too, reads the \
                 template of an adapter only with its tokenizer"
            )),
            Self::Model { source, .. } => source.hint(),
            Self::Tokenize(error) => error.hint(),
            Self::Source(error) => error.hint(),
        }
    }
}

pub(super) fn in_folder(folder: &Path, source: ModelError) -> PolicyError {
    PolicyError::Model { model: folder.display().to_string(), source }
}
