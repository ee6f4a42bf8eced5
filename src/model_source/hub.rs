//! Models by name, in the local cache of huggingface_hub: `org/name` or `org/name@revision`.
//!
//! A revision is looked up as `try_to_load_from_cache` of huggingface_hub does it: `refs/<revision>` names the commit, or
//! the revision is a commit itself, whose files stand in `snapshots/<commit>`. As on the hub, the beginning of a commit
//! stands for it where no other begins so.

use std::path::{Path, PathBuf};

use super::{ModelSourceError, folder, home};
use crate::io;

/// The revision that is meant where none is named.
const MAIN: &str = "main";

/// Fewest digits of a commit that stand for it.
const SHORT_COMMIT: usize = 7;

/// A repository of models, and which state of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// `org/name`, or `name` alone.
    pub id: String,
    /// Branch, tag or commit; `None` for `main`.
    pub revision: Option<String>,
}

impl Repository {
    /// The repository of a name, if it can be the name of one (`validate_repo_id` of huggingface_hub).
    pub fn parse(name: &str) -> Option<Self> {
        let (id, revision) = match name.split_once('@') {
            Some((id, revision)) => (id, Some(revision.to_owned()).filter(|revision| !revision.is_empty())),
            None => (name, None),
        };
        let id = id.trim_end_matches('/');
        let is_part = |part: &str| {
            let is_known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !part.is_empty()
                && part.chars().all(is_known)
                && !part.starts_with(['.', '-'])
                && !part.ends_with(['.', '-'])
        };
        let is_id =
            id.split('/').count() <= 2 && id.split('/').all(is_part) && !id.contains("--") && !id.contains("..");
        is_id.then(|| Self { id: id.to_owned(), revision })
    }

    /// The name as `--model` takes it.
    pub fn name(&self) -> String {
        match &self.revision {
            Some(revision) => format!("{}@{revision}", self.id),
            None => self.id.clone(),
        }
    }

    /// The command that fetches it.
    pub fn download(&self) -> String {
        match &self.revision {
            Some(revision) => format!("hf download {} --revision {revision}", self.id),
            None => format!("hf download {}", self.id),
        }
    }

    /// Its folder of the state that is meant; `None` if the cache has nothing of the repository.
    ///
    /// # Errors
    /// If the cache has the repository, but not that state of it, or only a part of its files.
    pub(super) fn find(&self, cache: &Path) -> Result<Option<PathBuf>, ModelSourceError> {
        let place = cache.join(hf_hub::Repo::model(self.id.clone()).folder_name());
        if !place.is_dir() {
            return Ok(None);
        }
        let revision = self.revision.as_deref().unwrap_or(MAIN);
        let snapshots = place.join("snapshots");
        let commits = names(&snapshots);
        let reference = Some(place.join("refs").join(revision)).filter(|path| path.is_file());
        let commit = match reference.map(|path| io::read_text_up_to(&path, io::SETTINGS_BYTES)).transpose()? {
            Some(commit) => Some(commit.trim().to_owned()),
            None if commits.iter().any(|commit| commit == revision) => Some(revision.to_owned()),
            None => match commits.iter().filter(|commit| is_short(revision, commit)).collect::<Vec<_>>()[..] {
                [commit] => Some(commit.clone()),
                _ => None,
            },
        };
        let Some(snapshot) = commit.map(|commit| snapshots.join(commit)).filter(|snapshot| snapshot.is_dir()) else {
            return Err(ModelSourceError::NoRevision {
                repository: self.clone(),
                revision: revision.to_owned(),
                cached: self.cached(&place.join("refs"), commits),
                place,
            });
        };
        match io::list(&snapshot)?.into_iter().find(|path| folder::is_read(path) && !path.exists()) {
            // The link of a file whose content was not fetched, or was deleted.
            Some(path) => Err(ModelSourceError::NotFetched { repository: self.clone(), path }),
            None => Ok(Some(snapshot)),
        }
    }

    /// What the cache has of the repository: names of revisions, else commits.
    fn cached(&self, refs: &Path, commits: Vec<String>) -> Vec<String> {
        let named = names(refs);
        let revisions = if named.is_empty() { commits } else { named };
        let named = |revision| Self { id: self.id.clone(), revision: Some(revision) }.name();
        revisions.into_iter().map(named).collect()
    }
}

/// The repository whose cache this folder belongs to: itself, its `snapshots`, or one of these.
pub(super) fn repository_of(path: &Path) -> Option<Repository> {
    let id_of = |folder: &Path| {
        let id = folder.file_name()?.to_str()?.strip_prefix("models--")?.replace("--", "/");
        Some(Repository { id, revision: None })
    };
    let of_snapshots = |folder: &Path| {
        if folder.file_name()? != "snapshots" {
            return None;
        }
        id_of(folder.parent()?)
    };
    id_of(path).or_else(|| of_snapshots(path)).or_else(|| {
        let repository = of_snapshots(path.parent()?)?;
        Some(Repository { revision: Some(path.file_name()?.to_str()?.to_owned()), ..repository })
    })
}

fn is_short(revision: &str, commit: &str) -> bool {
    revision.len() >= SHORT_COMMIT
        && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
        && commit.starts_with(revision)
}

/// Names in a folder, sorted; none if there is no such folder.
fn names(folder: &Path) -> Vec<String> {
    let name = |path: PathBuf| Some(path.file_name()?.to_string_lossy().into_owned());
    io::list(folder).unwrap_or_default().into_iter().filter_map(name).collect()
}

/// The folder of the cache, as huggingface_hub has it: `HF_HUB_CACHE`, else `HUGGINGFACE_HUB_CACHE`, else `HF_HOME/hub`,
/// else `huggingface/hub` in `XDG_CACHE_HOME` or `~/.cache`.
pub fn cache() -> PathBuf {
    let set =
        |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(|value| home(Path::new(&value)));
    set("HF_HUB_CACHE")
        .or_else(|| set("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| set("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("huggingface/hub")))
        .unwrap_or_else(|| home(Path::new("~/.cache/huggingface/hub")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    /// A cache that has one repository, at `v1.0` and `feature/x`.
    fn cached() -> tempfile::TempDir {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("models--org--tiny");
        io::create_dir(&folder.join("snapshots").join(COMMIT)).unwrap();
        io::create_dir(&folder.join("refs/feature")).unwrap();
        io::write(&folder.join("snapshots").join(COMMIT).join("config.json"), b"{}").unwrap();
        io::write(&folder.join("refs/v1.0"), COMMIT.as_bytes()).unwrap();
        io::write(&folder.join("refs/feature/x"), format!("{COMMIT}\n").as_bytes()).unwrap();
        cache
    }

    fn find(cache: &Path, name: &str) -> Result<Option<PathBuf>, ModelSourceError> {
        Repository::parse(name).unwrap().find(cache)
    }

    #[test]
    fn a_revision_is_a_reference_a_commit_or_the_beginning_of_one() {
        let cache = cached();
        let snapshot = cache.path().join("models--org--tiny/snapshots").join(COMMIT);
        for revision in ["v1.0", "feature/x", COMMIT, &COMMIT[..7], &COMMIT[..12]] {
            let found = find(cache.path(), &format!("org/tiny@{revision}")).unwrap();
            assert_eq!(found.as_ref(), Some(&snapshot), "{revision}");
        }
        assert_eq!(find(cache.path(), "org/other").unwrap(), None);
    }

    #[test]
    fn a_revision_that_is_not_there_is_told_with_those_that_are() {
        let cache = cached();
        for (name, revision) in [("org/tiny", "main"), ("org/tiny@v2", "v2"), ("org/tiny@01234", "01234")] {
            let error = find(cache.path(), name).unwrap_err();
            let ModelSourceError::NoRevision { revision: found, cached, .. } = &error else { panic!("{error}") };
            assert_eq!((found.as_str(), cached.join(" ").as_str()), (revision, "org/tiny@feature org/tiny@v1.0"));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_a_file_that_was_not_fetched_is_told() {
        let cache = cached();
        let snapshot = cache.path().join("models--org--tiny/snapshots").join(COMMIT);
        std::os::unix::fs::symlink("../../blobs/gone", snapshot.join("model.safetensors")).unwrap();
        let error = find(cache.path(), "org/tiny@v1.0").unwrap_err();
        assert!(matches!(error, ModelSourceError::NotFetched { .. }), "{error}");
    }

    #[test]
    fn names_of_repositories_are_those_the_hub_allows() {
        let parse = |name: &str| Repository::parse(name).map(|found| (found.id, found.revision));
        assert_eq!(parse("org/name"), Some(("org/name".into(), None)));
        assert_eq!(parse("name"), Some(("name".into(), None)));
        assert_eq!(parse("org/name/"), Some(("org/name".into(), None)));
        assert_eq!(parse("org/name@refs/pr/1"), Some(("org/name".into(), Some("refs/pr/1".into()))));
        for name in ["./org/name", "/org/name", "a/b/c", "", "org/", "org/na me", "../name", "org/-name", "~/name"] {
            assert_eq!(parse(name).filter(|_| name != "org/"), None, "{name}");
        }
        let named = |path: &str| repository_of(Path::new(path)).map(|found| found.name());
        assert_eq!(named("hub/models--org--tiny"), Some("org/tiny".into()));
        assert_eq!(named("hub/models--org--tiny/snapshots"), Some("org/tiny".into()));
        assert_eq!(named("hub/models--org--tiny/snapshots/abc"), Some("org/tiny@abc".into()));
        assert_eq!(named("hub/tiny"), None);
    }
}
