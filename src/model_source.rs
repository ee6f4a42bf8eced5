//! Where a model is: a Hugging Face folder, a GGUF file, or a name in the local Hugging Face cache.

mod folder;
mod gguf;
mod gguf_header;
mod hub;

use std::path::{Path, PathBuf};

use crate::error::{Hint, nearest};
use crate::io::{self, IoError};
use crate::storage::Location;
pub use folder::{Found, Near};
pub use gguf::Gguf;
pub(crate) use gguf_header::code as gguf_code;
pub use gguf_header::{Entry as GgufEntry, Header as GgufHeader, HeaderError};
pub use hub::{Repository, cache};

/// A model that was found on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// A folder with `config.json`, safetensors weights and `tokenizer.json`.
    Folder(PathBuf),
    /// A GGUF file: weights, configuration, tokenizer and chat template in one. Of a split one, the first part.
    Gguf(PathBuf),
}

/// Why a model cannot be found or its container not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelSourceError {
    /// Nothing of that name, neither on disk nor in the cache.
    #[error(
        "model `{name}` not found: expected a model folder, a `.gguf` file, the folder of an adapter or of a run, or a name \
         in `{}`",
        cache.display()
    )]
    NotFound {
        /// As the user gave it.
        name: String,
        /// The Hugging Face cache that was searched.
        cache: PathBuf,
    },
    /// A repository that is in the cache, but not in that state.
    #[error("`{}` is in the cache (`{}`), but not its revision `{revision}`", repository.id, place.display())]
    NoRevision {
        /// As the user named it.
        repository: Repository,
        /// The revision that is meant.
        revision: String,
        /// What there is of it, as `--model` takes it.
        cached: Vec<String>,
        /// Its place in the cache.
        place: PathBuf,
    },
    /// A file that the cache has a link to, and not the content of.
    #[error("the content of `{}` is not in the cache", path.display())]
    NotFetched {
        /// The repository.
        repository: Repository,
        /// The file.
        path: PathBuf,
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
    #[error(
        "`{}` is no model: expected `config.json` or `adapter_config.json` in it, or in its `policy` where it is a run",
        path.display()
    )]
    NoModel {
        /// The folder.
        path: PathBuf,
        /// What there is in its place.
        near: Near,
    },
    /// A folder that is a whole model and an adapter.
    #[error(
        "`{}` holds a whole model (`config.json`, `{weights}`) and an adapter (`adapter_config.json`): which of them is \
         meant is not clear",
        path.display()
    )]
    Both {
        /// The folder.
        path: PathBuf,
        /// Weights of the model.
        weights: &'static str,
    },
    /// A file that is no GGUF.
    #[error("`{}` is a file, but not a `.gguf` one", path.display())]
    NotGguf {
        /// The file.
        path: PathBuf,
        /// Its folder, where that is a model or an adapter.
        folder: Option<PathBuf>,
    },
    /// A file that Git LFS has not fetched.
    #[error("`{}` is a pointer of Git LFS, not the file itself", path.display())]
    Pointer {
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
            Self::NotFound { name, .. } => Some(not_found_hint(name)),
            Self::NoRevision { repository, cached, .. } => {
                let there = match cached.as_slice() {
                    [] => String::new(),
                    cached => format!("; what is there: `{}`", cached.join("`, `")),
                };
                Some(format!("`{}` fetches it{there}", repository.download()))
            }
            Self::NotFetched { repository, .. } => Some(format!("`{}` fetches it", repository.download())),
            Self::Url { name } => Some(match hub_url(name) {
                Some(repository) => format!(
                    "`{}` fetches it into the cache, then `--model {}` names it; piref itself downloads nothing",
                    repository.download(),
                    repository.name()
                ),
                None => {
                    "copy it first, e.g. by `aws s3 cp --recursive URL FOLDER`; tables and data may stay there".into()
                }
            }),
            Self::NoModel { near, .. } => near.hint(),
            Self::Both { .. } => Some(
                "move `adapter_config.json` and `adapter_model.safetensors` into a folder of their own: this one is the \
                 model then, and `--adapter` of `train`, `eval` and `generate` lays that one over it"
                    .into(),
            ),
            Self::NotGguf { folder: Some(folder), .. } => Some(format!("name its folder: `{}`", folder.display())),
            Self::NotGguf { .. } => Some("name the folder that holds `config.json`, not a file in it".into()),
            Self::Pointer { path } => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let folder = folder.unwrap_or(Path::new("."));
                Some(format!("`git -C {} lfs pull` fetches the file", folder.display()))
            }
            Self::Io(error) => error.hint(),
            Self::GgufHeader { .. } | Self::Gguf { .. } => {
                Some("the file is damaged or cut short: fetch it again".into())
            }
            Self::GgufPart { .. } => {
                Some("the parts are not of one model, or one was changed: fetch all of them again".into())
            }
            Self::GgufPartMissing { .. } => Some("fetch the missing part into the same folder".into()),
        }
    }
}

impl Near {
    fn hint(&self) -> Option<String> {
        let names = |paths: &[PathBuf]| {
            let names: Vec<String> = paths.iter().take(5).map(|path| format!("`{}`", path.display())).collect();
            names.join(", ")
        };
        match self {
            Self::Repository(repository) => Some(format!(
                "it is a folder of the Hugging Face cache: `--model {}` finds the model in it; `{}` fetches what is missing",
                repository.name(),
                repository.download()
            )),
            Self::Gguf(files) => Some(format!("name the file: {}", names(files))),
            Self::Inside(folders) => Some(format!("name one of the folders in it: {}", names(folders))),
            Self::Above(folder) => Some(format!("the folder above is one: `{}`", folder.display())),
            Self::Run => Some("it is a run, which has a policy when it has finished: run its command again".into()),
            Self::Checkpoint => Some(
                "it is a checkpoint, which a run goes on from; the model is the `policy` of the finished run".into(),
            ),
            Self::Weights(path) => Some(format!(
                "`{}` alone does not say what model it is of: the `config.json` that came with it belongs beside it",
                path.display()
            )),
            Self::Nothing => None,
        }
    }
}

/// What to do about a name that is nowhere.
fn not_found_hint(name: &str) -> String {
    let path = Path::new(name);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let of_folder: Vec<String> = io::list(folder.unwrap_or(Path::new(".")))
        .unwrap_or_default()
        .iter()
        .filter_map(|entry| Some(entry.file_name()?.to_string_lossy().into_owned()))
        .collect();
    let last = path.file_name().unwrap_or_default().to_string_lossy();
    if let Some(near) = nearest(&last, of_folder.iter().map(String::as_str)) {
        return format!("`{}` is there", path.with_file_name(near).display());
    }
    // A path whose folder is there is meant as one.
    let is_path = folder.is_some_and(Path::is_dir);
    match Repository::parse(name).filter(|repository| !is_path && repository.id.contains('/')) {
        Some(repository) => {
            format!("`{}` fetches it into the cache; piref itself downloads nothing", repository.download())
        }
        None => "check the path".into(),
    }
}

/// The repository that a URL of the hub shows: `https://huggingface.co/org/name`, `…/tree/revision`, `hf://org/name`.
fn hub_url(url: &str) -> Option<Repository> {
    let rest =
        ["https://huggingface.co/", "https://hf.co/", "hf://"].iter().find_map(|start| url.strip_prefix(start))?;
    let (id, revision) = match rest.split_once("/tree/") {
        Some((id, revision)) => (id, Some(revision.trim_end_matches('/').to_owned())),
        None => (rest, None),
    };
    Repository::parse(id).map(|found| Repository { revision: revision.or(found.revision), ..found })
}

/// A path whose `~` is the home directory, as a shell has it: files of settings are read without one.
fn home(path: &Path) -> PathBuf {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => Path::new(&home).join(rest),
        _ => path.to_owned(),
    }
}

/// Where a name leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The folder or file.
    pub path: PathBuf,
    /// The repository of the cache, where that is what was named.
    pub repository: Option<Repository>,
}

/// The folder or file that a user names: a path, or else a repository in the local cache. What is on disk comes first, as
/// in transformers.
///
/// # Errors
/// If there is nothing of that name.
pub fn locate(name: &str) -> Result<Located, ModelSourceError> {
    let name = name.strip_prefix("file://").unwrap_or(name);
    let path = home(Path::new(name));
    if Location::is_object(&path) {
        return Err(ModelSourceError::Url { name: name.to_owned() });
    }
    if path.exists() {
        return Ok(Located { path, repository: None });
    }
    let (cache, repository) = (cache(), Repository::parse(name));
    match repository.as_ref().map(|repository| repository.find(&cache)).transpose()?.flatten() {
        Some(path) => Ok(Located { path, repository }),
        None => Err(ModelSourceError::NotFound { name: name.to_owned(), cache }),
    }
}

impl ModelSource {
    /// Finds the whole model a user names; what is no model or an adapter, `PolicySource` of [`policy`](crate::policy)
    /// finds.
    ///
    /// # Errors
    /// If there is no such folder, `.gguf` file or cached repository, or it is an adapter.
    pub fn resolve(name: &str) -> Result<Self, ModelSourceError> {
        match Found::at(&locate(name)?.path)? {
            Found::Model(source) => Ok(source),
            Found::Adapter(path) => Err(ModelSourceError::NoModel { path, near: Near::Nothing }),
        }
    }

    /// The folder or file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::Gguf(path) => path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message and the hint about a place below a folder.
    fn said(folder: &Path, name: &str) -> String {
        let error = ModelSource::resolve(folder.join(name).to_str().unwrap()).unwrap_err();
        format!("{error}; {}", error.hint().unwrap_or_default())
    }

    /// A folder with these empty files; a name that ends with a stroke is a folder.
    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            io::create_dir(if file.ends_with('/') { &path } else { path.parent().unwrap() }).unwrap();
            if !file.ends_with('/') {
                io::write(&path, b"{}").unwrap();
            }
        }
        folder
    }

    #[test]
    fn a_name_that_is_nowhere_is_answered_with_the_command_that_helps() {
        for (name, hint) in [
            ("s3://bucket/model", "copy it first"),
            ("https://huggingface.co/org/name/tree/v2", "`hf download org/name --revision v2`"),
            ("hf://org/name", "`hf download org/name`"),
            ("nobody/no-such-model", "`hf download nobody/no-such-model` fetches it"),
            ("nobody/no-such-model@v2", "`hf download nobody/no-such-model --revision v2` fetches it"),
            ("src/no-such-model", "check the path"),
            ("src/model_sourc", "`src/model_source` is there"),
            ("./nobody/no-such-model", "check the path"),
        ] {
            let error = ModelSource::resolve(name).unwrap_err();
            assert!(error.hint().unwrap().contains(hint), "{name}: {:?}", error.hint());
        }
    }

    #[test]
    fn a_folder_that_is_no_model_is_answered_with_what_is_near_it() {
        for (files, name, want) in [
            (vec!["m/"], "m", "`config.json` or `adapter_config.json` in it"),
            (vec!["m/checkpoint-5/config.json"], "m", "name one of the folders in it: `"),
            (vec!["m/dpo/adapter_config.json"], "m", "/m/dpo`"),
            (vec!["m/config.json", "m/onnx/"], "m/onnx", "the folder above is one: `"),
            (vec!["m/a-00001-of-00002.gguf", "m/a-00002-of-00002.gguf"], "m", "name the file: `"),
            (vec!["m/model.safetensors"], "m", "alone does not say what model it is of"),
            (vec!["m/train/checkpoints/"], "m", "it is a run, which has a policy when it has finished"),
            (vec!["m/state.json"], "m", "it is a checkpoint"),
            (vec!["models--org--tiny/snapshots/abc/config.json"], "models--org--tiny", "`--model org/tiny` finds"),
            (vec!["models--org--tiny/snapshots/abc/config.json"], "models--org--tiny/snapshots", "`--model org/tiny`"),
            (vec!["models--org--tiny/snapshots/abc/"], "models--org--tiny/snapshots/abc", "`--model org/tiny@abc`"),
            (vec!["m/config.json", "m/model.safetensors"], "m/model.safetensors", "name its folder: `"),
            (vec!["m/config.json"], "m/config.json", "name its folder: `"),
            (vec!["m/adapter_config.json", "m/adapter_model.bin"], "m/adapter_model.bin", "name its folder: `"),
            (vec!["weights.bin"], "weights.bin", "name the folder that holds `config.json`"),
            (
                vec!["m/config.json", "m/model.safetensors", "m/adapter_config.json"],
                "m",
                "holds a whole model (`config.json`, `model.safetensors`) and an adapter",
            ),
            (
                vec!["a-00002-of-00003.gguf", "a-00001-of-00003.gguf"],
                "a-00001-of-00003.gguf",
                "is one of the 3 parts of a model, and part 3 is missing: expected `",
            ),
        ] {
            let folder = folder(&files);
            let said = said(folder.path(), name);
            assert!(said.contains(want), "{files:?}, {name}: {said}");
        }
    }

    #[test]
    fn any_part_of_a_split_file_stands_for_the_whole() {
        let folder = folder(&["a-00001-of-00002.gguf", "a-00002-of-00002.gguf", "b.gguf"]);
        let first = folder.path().join("a-00001-of-00002.gguf");
        for (name, want) in [("a-00001-of-00002.gguf", &first), ("a-00002-of-00002.gguf", &first)] {
            let found = ModelSource::resolve(folder.path().join(name).to_str().unwrap()).unwrap();
            assert_eq!(found, ModelSource::Gguf(want.clone()), "{name}");
        }
    }

    #[test]
    fn a_run_is_its_policy_and_an_adapter_with_a_copied_configuration_an_adapter() {
        let folder = folder(&["r/policy/config.json", "r/plan.toml", "a/config.json", "a/adapter_config.json"]);
        let policy = folder.path().join("r/policy");
        assert_eq!(Found::at(&folder.path().join("r")).unwrap(), Found::Model(ModelSource::Folder(policy)));
        let adapter = folder.path().join("a");
        assert_eq!(Found::at(&adapter).unwrap(), Found::Adapter(adapter));
    }

    #[test]
    fn pointers_of_git_lfs_are_refused_where_the_file_would_be_read() {
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
        for (name, is_refused) in [
            ("config.json", true),
            ("model.safetensors", true),
            ("model-00002-of-00003.safetensors", true),
            ("tokenizer.json", true),
            ("picture.png", false),
            ("onnx.bin", false),
        ] {
            let folder = folder(&["m/config.json"]);
            let path = folder.path().join("m").join(name);
            io::write(&path, pointer.as_bytes()).unwrap();
            let found = ModelSource::resolve(folder.path().join("m").to_str().unwrap());
            assert_eq!(found.is_err(), is_refused, "{name}");
            if let Err(error) = found {
                assert!(error.to_string().contains(&path.display().to_string()), "{error}");
                assert!(error.hint().unwrap().contains("lfs pull"), "{:?}", error.hint());
            }
        }
        let folder = folder(&[]);
        io::write(&folder.path().join("m.gguf"), pointer.as_bytes()).unwrap();
        assert!(said(folder.path(), "m.gguf").contains("lfs pull"));
    }
}
