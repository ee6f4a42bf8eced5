//! Where a model is: a Hugging Face folder, a GGUF file, or a name in the local Hugging Face cache.

mod gguf;
mod gguf_header;

use std::path::{Path, PathBuf};

use crate::error::Hint;
use crate::io::IoError;
use crate::storage::Location;
pub use gguf::Gguf;
pub(crate) use gguf_header::code as gguf_code;
pub use gguf_header::{Entry as GgufEntry, Header as GgufHeader, HeaderError};

/// A model that was found on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// A folder with `config.json`, safetensors weights and `tokenizer.json`.
    Folder(PathBuf),
    /// A GGUF file: weights, configuration, tokenizer and chat template in one.
    Gguf(PathBuf),
}

/// Why a model cannot be found or its container not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelSourceError {
    /// Nothing of that name, neither on disk nor in the cache.
    #[error("model `{name}` not found: expected a folder with `config.json`, a `.gguf` file or a name in `{}`", cache.display())]
    NotFound {
        /// As the user gave it.
        name: String,
        /// The Hugging Face cache that was searched.
        cache: PathBuf,
    },
    /// A model under a URL.
    #[error(
        "model `{name}` is under a URL: expected a local folder, a `.gguf` file or a name in the Hugging Face cache"
    )]
    Url {
        /// As the user gave it.
        name: String,
    },
    /// A folder that is no model.
    #[error("`{}` is not a model folder: expected `config.json` in it", path.display())]
    NoConfig {
        /// The folder.
        path: PathBuf,
    },
    /// A file that is no GGUF.
    #[error("`{}` is a file, but not a `.gguf` one", path.display())]
    NotGguf {
        /// The file.
        path: PathBuf,
    },
    /// A GGUF whose header is damaged, or promises what the file does not hold.
    #[error("GGUF file `{}`: {source}", path.display())]
    GgufHeader {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: HeaderError,
    },
    /// A GGUF that candle cannot read.
    #[error("cannot read GGUF file `{}`", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What candle says.
        #[source]
        source: candle_core::Error,
    },
    /// A part of a split GGUF that is not what the others say of it.
    #[error("part `{}` of a split GGUF: expected {expected}, found {found}", path.display())]
    GgufPart {
        /// The part.
        path: PathBuf,
        /// By its name or by the first part.
        expected: String,
        /// In the part.
        found: String,
    },
    /// A part of a split GGUF that is not there.
    #[error("`{}` is one of the {count} parts of a model, and part {number} is missing: expected `{}`", path.display(), missing.display())]
    GgufPartMissing {
        /// The part that was opened.
        path: PathBuf,
        /// How many there are.
        count: u64,
        /// Which one is missing, from 1 on.
        number: u64,
        /// Where it would be.
        missing: PathBuf,
    },
    /// A file of the model.
    #[error(transparent)]
    Io(#[from] IoError),
}

impl Hint for ModelSourceError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { name, .. } if name.split('/').count() == 2 && !name.starts_with(['.', '/']) => {
                Some(format!("`hf download {name}` fetches it into the cache; piref itself downloads nothing"))
            }
            Self::NotFound { .. } => Some("check the path".into()),
            Self::Url { .. } => Some("copy it first, e.g. by `aws s3 cp --recursive URL FOLDER`; tables and data may stay there".into()),
            Self::NotGguf { .. } => Some("name the folder that holds `config.json`, not a file in it".into()),
            Self::Io(error) => error.hint(),
            Self::GgufHeader { .. } | Self::Gguf { .. } => {
                Some("the file is damaged or cut short: fetch it again".into())
            }
            Self::GgufPart { .. } => Some("the parts are not of one model, or one was changed: fetch all of them again".into()),
            Self::GgufPartMissing { .. } => Some("fetch the missing part into the same folder".into()),
            Self::NoConfig { path } if path.join("adapter_config.json").is_file() => Some(
                "the folder holds an adapter: `piref export --merge` makes a model of it, `piref train --adapter` goes on \
                 from it"
                    .into(),
            ),
            Self::NoConfig { .. } => None,
        }
    }
}

impl ModelSource {
    /// Finds the model a user names.
    ///
    /// # Errors
    /// If there is no such folder, `.gguf` file or cached repository.
    pub fn resolve(name: &str) -> Result<Self, ModelSourceError> {
        let path = Path::new(name);
        if Location::is_object(path) {
            return Err(ModelSourceError::Url { name: name.to_owned() });
        }
        if path.is_dir() {
            return if path.join("config.json").is_file() {
                Ok(Self::Folder(path.to_owned()))
            } else {
                Err(ModelSourceError::NoConfig { path: path.to_owned() })
            };
        }
        if path.is_file() {
            let is_gguf = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
            return if is_gguf {
                Ok(Self::Gguf(path.to_owned()))
            } else {
                Err(ModelSourceError::NotGguf { path: path.to_owned() })
            };
        }
        let cache = cache();
        cache
            .model(name.to_owned())
            .get("config.json")
            .and_then(|config| config.parent().map(|folder| Self::Folder(folder.to_owned())))
            .ok_or_else(|| ModelSourceError::NotFound { name: name.to_owned(), cache: cache.path().clone() })
    }

    /// The folder or file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::Gguf(path) => path,
        }
    }
}

/// The local Hugging Face cache: `HF_HUB_CACHE`, else `HF_HOME/hub`, else the default of huggingface_hub.
pub fn cache() -> hf_hub::Cache {
    match std::env::var_os("HF_HUB_CACHE") {
        Some(path) => hf_hub::Cache::new(path.into()),
        None => hf_hub::Cache::from_env(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io;

    #[test]
    fn a_name_that_is_nowhere_is_answered_with_the_download_command() {
        let error = ModelSource::resolve("s3://bucket/model").unwrap_err();
        assert!(matches!(error, ModelSourceError::Url { .. }) && error.hint().unwrap().contains("copy it first"));
        let error = ModelSource::resolve("nobody/no-such-model").unwrap_err();
        assert!(error.hint().unwrap().contains("hf download nobody/no-such-model"), "{error}");
    }

    #[test]
    fn a_folder_without_config_and_a_stray_file_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let error = ModelSource::resolve(path).unwrap_err();
        assert!(matches!(error, ModelSourceError::NoConfig { .. }) && error.hint().is_none());
        io::write(&folder.path().join("adapter_config.json"), b"{}").unwrap();
        assert!(ModelSource::resolve(path).unwrap_err().hint().unwrap().contains("`piref export --merge`"));
        let file = folder.path().join("weights.bin");
        io::write(&file, b"x").unwrap();
        assert!(matches!(ModelSource::resolve(file.to_str().unwrap()), Err(ModelSourceError::NotGguf { .. })));
    }
}
