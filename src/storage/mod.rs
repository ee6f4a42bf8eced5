//! Objects in buckets (`s3://`, `gs://`, `az://`, `abfs://`) by way of local copies.
//!
//! Everything else of the crate reads and writes files. What lives under a URL is fetched into a [`Cache`] first, a copy a
//! version, and read from there, by map and by range, as often as is needed; what is to live there is written to a local
//! folder and sent on piece by piece. Who may write, and what may be overwritten, is decided by the service: a [`Lease`] is
//! an object that only one run can create, and every write names the content it expects to find ([`Condition`]).
//!
//! Credentials, regions and endpoints are those of the environment, in the variables that the services' own tools read.
//! Requests that fail with a status of the 5xx kind, or with their connection, are tried nine times within two minutes at
//! most; a download that breaks goes on where it broke. An address at which nobody listens, and credentials that
//! nobody has, are said before the first request.
//!
//! Invariant: no credential is in an error, a file or the name of a copy; nothing is found by listing.

mod bucket;
mod cache;
mod connect;
mod error;
mod lease;
mod location;
mod parallel;
mod reach;
mod variables;

use std::path::{Path, PathBuf};

pub use bucket::{Bucket, Condition, Object, Version, body};
pub use cache::{Cache, link};
pub use error::{Failure, StorageError};
pub use lease::{EXPIRES, Lease};
pub use location::{Location, ObjectUrl};
pub use parallel::in_parallel;

use crate::digest::Id;

/// Times an object that is replaced while it is fetched is begun again.
const REPLACED: usize = 3;

/// A local file with the bytes of what a user named: the file itself, or the copy of an object.
///
/// # Errors
/// If there is no such object, or it cannot be fetched. A local path is not looked at.
pub fn local_file(name: &Path) -> Result<PathBuf, StorageError> {
    match Location::of(name)? {
        Location::Local(path) => Ok(path),
        Location::Object(url) => fetch_file(&Bucket::of(&url)?, &url, &Cache::of_user()?),
    }
}

/// The copy of an object, fetched unless this version of it is there.
///
/// # Errors
/// If there is no such object, or it cannot be fetched.
pub fn fetch_file(bucket: &Bucket, url: &ObjectUrl, cache: &Cache) -> Result<PathBuf, StorageError> {
    for _ in 0..REPLACED {
        let Some(object) = bucket.head(url)? else { break };
        let file = cache.copy(url, &version_id(&object))?.join(url.file_name());
        if file.is_file() {
            return Ok(file);
        }
        cache.make_room(object.bytes)?;
        let is_same = |found: &Object| found.version == object.version && found.bytes == object.bytes;
        match bucket.fetch(url, &file, |_, found| is_same(found))? {
            Some((_, found)) if is_same(&found) => return Ok(file),
            // It was replaced meanwhile.
            Some(_) => {}
            None => break,
        }
    }
    Err(StorageError::Missing { url: url.clone() })
}

/// A name for a version of an object.
fn version_id(object: &Object) -> String {
    let (version, numbers) = (object.version.text(), format!("{} {}", object.bytes, object.modified));
    let mut id = Id::of_parts("object", [version.as_bytes(), numbers.as_bytes()]).to_string();
    id.truncate(12);
    id
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::io;

    #[test]
    fn a_copy_is_of_one_version_and_is_fetched_once() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path(), u64::MAX);
        let Location::Object(url) = Location::of(Path::new("memory://fetched/data/pairs.jsonl")).unwrap() else {
            panic!()
        };
        let bucket = Bucket::of(&url).unwrap();
        let error = fetch_file(&bucket, &url, &cache).unwrap_err();
        assert_eq!(error.to_string(), "`memory://fetched/data/pairs.jsonl` does not exist");

        let version = bucket.put(&url, &Bytes::from("one"), &Condition::Absent).unwrap();
        let first = fetch_file(&bucket, &url, &cache).unwrap();
        assert_eq!(
            (first.file_name().unwrap().to_str(), io::read(&first).unwrap()),
            (Some("pairs.jsonl"), b"one".to_vec())
        );
        // Whoever changes a copy sees that it is not fetched again.
        io::write(&first, b"ONE").unwrap();
        assert_eq!(io::read(&fetch_file(&bucket, &url, &cache).unwrap()).unwrap(), b"ONE");

        bucket.put(&url, &Bytes::from("two"), &Condition::Unchanged(version)).unwrap();
        let second = fetch_file(&bucket, &url, &cache).unwrap();
        assert_eq!(io::read(&second).unwrap(), b"two");
        assert_eq!(io::read(&first).unwrap(), b"ONE", "the copy of the other version stays");
    }

    #[test]
    fn a_local_name_is_itself() {
        assert_eq!(local_file(Path::new("a/b.jsonl")).unwrap(), Path::new("a/b.jsonl"));
        assert_eq!(local_file(Path::new("file:///a/b%20c")).unwrap(), Path::new("/a/b c"));
    }
}
