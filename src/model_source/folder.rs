//! What a folder or a file is that a user names as a model: told by its files, and where it is none, what is near it.

use std::path::{Path, PathBuf};

use super::gguf::name_of_part;
use super::{ModelSource, ModelSourceError, hub};
use crate::io::{self, IoError};

pub(super) const CONFIG: &str = "config.json";
const ADAPTER_CONFIG: &str = "adapter_config.json";
const ADAPTER_WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];
const WEIGHTS: [&str; 2] = ["model.safetensors", "model.safetensors.index.json"];

/// First line of a pointer of Git LFS (its specification, version 1), which is shorter than 1024 bytes.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1";
const POINTER_BYTES: u64 = 1024;

/// What stands at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A whole model.
    Model(ModelSource),
    /// The folder of an adapter of PEFT.
    Adapter(PathBuf),
}

impl Found {
    /// What the folder or file at `path` is: a model, an adapter, or the run that made one of them.
    ///
    /// # Errors
    /// If it is none of them, both a model and an adapter, or a file of it is a pointer of Git LFS.
    pub fn at(path: &Path) -> Result<Self, ModelSourceError> {
        if path.is_file() {
            return file(path).map(Self::Model);
        }
        let of_run = path.join("policy");
        for folder in [path, of_run.as_path()] {
            if let Some(found) = Self::in_folder(folder)? {
                return Ok(found);
            }
        }
        Err(ModelSourceError::NoModel { path: path.to_owned(), near: Near::of(path) })
    }

    /// The model or the adapter that a folder itself is.
    ///
    /// transformers (`AutoModelForCausalLM.from_pretrained`) lays an adapter over the whole model beside it, PEFT
    /// (`AutoPeftModelForCausalLM`) over the model the adapter names: which one is meant is for the user to say. A
    /// `config.json` beside an adapter without weights of a model is a copy of its base model's, which some trainers leave.
    fn in_folder(folder: &Path) -> Result<Option<Self>, ModelSourceError> {
        let has = |name: &str| folder.join(name).is_file();
        let (is_model, is_adapter) = (has(CONFIG), has(ADAPTER_CONFIG));
        if !is_model && !is_adapter {
            return Ok(None);
        }
        refuse_pointers(folder)?;
        if !is_adapter {
            return Ok(Some(Self::Model(ModelSource::Folder(folder.to_owned()))));
        }
        match WEIGHTS.into_iter().find(|name| is_model && has(name)) {
            Some(weights) => Err(ModelSourceError::Both { path: folder.to_owned(), weights }),
            None => Ok(Some(Self::Adapter(folder.to_owned()))),
        }
    }
}

/// A model in one file, or in several of which one is named.
fn file(path: &Path) -> Result<ModelSource, ModelSourceError> {
    refuse_pointer(path)?;
    let is_gguf = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
    if is_gguf {
        return first_part(path).map(ModelSource::Gguf);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = [CONFIG, ADAPTER_CONFIG].iter().any(|name| folder.join(name).is_file()).then(|| folder.to_owned());
    Err(ModelSourceError::NotGguf { path: path.to_owned(), folder })
}

/// The first part of a split GGUF file, by which the whole is known, or a file that is whole by itself.
fn first_part(path: &Path) -> Result<PathBuf, ModelSourceError> {
    let Some((name, _, count)) = name_of_part(path) else { return Ok(path.to_owned()) };
    let part = |number: u64| path.with_file_name(format!("{name}-{number:05}-of-{count:05}.gguf"));
    for number in 1..=count {
        if !part(number).is_file() {
            let (path, missing) = (path.to_owned(), part(number));
            return Err(ModelSourceError::GgufPartMissing { path, count, number, missing });
        }
        refuse_pointer(&part(number))?;
    }
    Ok(if count > 0 { part(1) } else { path.to_owned() })
}

/// What there is about a folder that is no model, for the hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Near {
    /// It belongs to the cache, which has this.
    Repository(hub::Repository),
    /// `.gguf` files in it, each the first of its parts.
    Gguf(Vec<PathBuf>),
    /// Folders in it that are models or adapters.
    Inside(Vec<PathBuf>),
    /// The folder above is a model or an adapter.
    Above(PathBuf),
    /// It is a run that has not finished.
    Run,
    /// It is a checkpoint of a run.
    Checkpoint,
    /// It has weights of a model, and nothing that says which.
    Weights(PathBuf),
    /// Nothing.
    Nothing,
}

impl Near {
    fn of(path: &Path) -> Self {
        let entries = io::list(path).unwrap_or_default();
        let is_one = |folder: &Path| [CONFIG, ADAPTER_CONFIG].iter().any(|name| folder.join(name).is_file());
        let has_extension = |path: &Path, extension: &str| path.extension().is_some_and(|found| found == extension);
        let is_first = |path: &Path| name_of_part(path).is_none_or(|(_, number, _)| number == 1);
        let gguf: Vec<PathBuf> =
            entries.iter().filter(|path| has_extension(path, "gguf") && is_first(path)).cloned().collect();
        if let Some(repository) = hub::repository_of(path).filter(|_| gguf.is_empty()) {
            return Self::Repository(repository);
        }
        if !gguf.is_empty() {
            return Self::Gguf(gguf);
        }
        if path.join("train/checkpoints").is_dir() {
            return Self::Run;
        }
        if path.join("state.json").is_file() {
            return Self::Checkpoint;
        }
        let inside: Vec<PathBuf> = entries.iter().filter(|entry| is_one(entry)).cloned().collect();
        if !inside.is_empty() {
            return Self::Inside(inside);
        }
        if let Some(weights) =
            entries.iter().find(|path| has_extension(path, "safetensors") || has_extension(path, "bin"))
        {
            return Self::Weights(weights.clone());
        }
        // `.` and `..` have no name to take away.
        let above = path.canonicalize().ok().and_then(|path| Some(path.parent()?.to_owned()));
        match above.filter(|above| is_one(above)) {
            Some(above) => Self::Above(above),
            None => Self::Nothing,
        }
    }
}

/// Whether a file of a model folder is one that is read: configuration, tokenizer, weights.
pub(super) fn is_read(path: &Path) -> bool {
    const NAMES: [&str; 12] = [
        CONFIG,
        ADAPTER_CONFIG,
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.jinja",
        "chat_template.json",
        "tokenizer.model",
        "vocab.json",
        "merges.txt",
    ];
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_shard = name.starts_with("model-") && name.contains("-of-") && name.ends_with(".safetensors");
    is_shard || [NAMES.as_slice(), &WEIGHTS, &ADAPTER_WEIGHTS[..1]].concat().contains(&name.as_ref())
}

fn refuse_pointers(folder: &Path) -> Result<(), ModelSourceError> {
    io::list(folder)?.iter().filter(|path| is_read(path) && path.is_file()).try_for_each(|path| refuse_pointer(path))
}

/// Refuses the file that Git leaves in place of one that Git LFS has not fetched.
fn refuse_pointer(path: &Path) -> Result<(), ModelSourceError> {
    let metadata = path.metadata().map_err(|source| IoError::new("read", path, source))?;
    if metadata.len() >= POINTER_BYTES || !io::read_up_to(path, POINTER_BYTES)?.starts_with(POINTER) {
        return Ok(());
    }
    Err(ModelSourceError::Pointer { path: path.to_owned() })
}
