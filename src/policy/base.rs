//! The base model of an adapter: found by the name in `adapter_config.json`, and held against the one a user names.

use std::path::{Path, PathBuf};

use super::error::{PolicyError, in_folder};
use crate::model::{Digests, adapter_base, check_adapter_base, names_digests};
use crate::model_source::{Found, ModelSource, ModelSourceError, Repository, locate};

/// A base model that was found.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) source: ModelSource,
    pub(super) repository: Option<Repository>,
}

/// The base model that an adapter names.
///
/// A relative path is looked for from the working directory, as PEFT does, and from the folder of the adapter and those
/// above it: a run that was told `models/base` leaves such an adapter below the place where that was right.
pub(super) fn named_by(folder: &Path) -> Result<Named, PolicyError> {
    let (name, revision) = adapter_base(folder).map_err(|source| in_folder(folder, source))?;
    let name = name.ok_or_else(|| PolicyError::NoBase { path: folder.to_owned() })?;
    let full = match &revision {
        Some(revision) => format!("{name}@{revision}"),
        None => name.clone(),
    };
    let missing = |source| PolicyError::BaseNotFound { path: folder.to_owned(), name: full.clone(), source };
    let nearby = nearby(folder, &name);
    // On disk the revision is none of the name's.
    let from_here = if Path::new(&name).exists() { locate(&name) } else { locate(&full) };
    let located = match (from_here, nearby) {
        (Ok(located), Some(near)) if !is_same_place(&located.path, &near) => {
            return choose(folder, &name, located.path, near);
        }
        (Ok(located), _) => located,
        (Err(ModelSourceError::NotFound { .. }), Some(path)) => {
            return at(folder, &path).map(|source| Named {
                name: path.display().to_string(),
                source,
                repository: None,
            });
        }
        (Err(error), _) => return Err(missing(error)),
    };
    let source = at(folder, &located.path)?;
    Ok(Named { name: full, source, repository: located.repository })
}

/// The whole model at a place.
fn at(folder: &Path, path: &Path) -> Result<ModelSource, PolicyError> {
    match Found::at(path)? {
        Found::Model(source) => Ok(source),
        Found::Adapter(base) => Err(PolicyError::BaseIsAdapter { path: folder.to_owned(), base }),
    }
}

/// Of two models of one name, the one whose digests the adapter knows.
fn choose(folder: &Path, name: &str, one: PathBuf, other: PathBuf) -> Result<Named, PolicyError> {
    if names_digests(folder) {
        for path in [&one, &other] {
            let Ok(source) = at(folder, path) else { continue };
            let digests = Digests::of(&source).map_err(|error| in_folder(path, error))?;
            if check_adapter_base(folder, &digests).is_ok() {
                return Ok(Named { name: path.display().to_string(), source, repository: None });
            }
        }
    }
    Err(PolicyError::TwoBases { path: folder.to_owned(), name: name.to_owned(), one, other })
}

/// A model of this relative name in the folder of an adapter or in one above it.
fn nearby(folder: &Path, name: &str) -> Option<PathBuf> {
    if Path::new(name).is_absolute() || name.starts_with('~') {
        return None;
    }
    let folder = std::path::absolute(folder).ok()?;
    let found = folder.ancestors().map(|above| above.join(name)).find(|path| Found::at(path).is_ok())?;
    // `models/../models/base` is told as it is.
    Some(found.canonicalize().unwrap_or(found))
}

/// Holds the model that an adapter names against the one it is to go over; what a user should know of that.
///
/// # Errors
/// If both are here, and their weights or configurations differ.
pub(super) fn compare(folder: &Path, model: &str, given: &ModelSource) -> Result<Option<String>, PolicyError> {
    // Its digests are compared when it is read.
    if names_digests(folder) {
        return Ok(None);
    }
    let named = match named_by(folder) {
        Ok(named) => named,
        Err(PolicyError::NoBase { .. }) => return Ok(None),
        Err(PolicyError::BaseNotFound { name, .. }) => {
            return Ok(Some(format!(
                "the adapter in `{}` names `{name}` as its base model, which is not here to be compared: it goes over \
                 `{model}`",
                folder.display()
            )));
        }
        Err(error) => return Err(error),
    };
    if is_same_place(named.source.path(), given.path()) {
        return Ok(None);
    }
    let digests = |source: &ModelSource| Digests::of(source).map_err(|error| in_folder(source.path(), error));
    if digests(&named.source)? == digests(given)? {
        return Ok(None);
    }
    Err(PolicyError::OtherBase { path: folder.to_owned(), expected: named.name, found: model.to_owned() })
}

pub(super) fn is_same_place(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    one == other || (real(one).is_some() && real(one) == real(other))
}
