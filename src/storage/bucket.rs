//! Objects of one bucket: read, written under a condition, deleted. Every call blocks until it is answered.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use object_store::Error::{AlreadyExists, Generic, Precondition};
use object_store::path::Path as Key;
use object_store::{
    GetResult, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload, UpdateVersion, WriteMultipart,
};
use tokio::runtime::Runtime;

use super::connect::connect;
use super::error::{Failure, StorageError};
use super::location::ObjectUrl;
use super::reach;
use crate::digest::{Digest, Hasher};
use crate::guard;
use crate::io::{self, AtomicFile, IoError};

/// Threads that wait for the answers of a bucket; what they receive is written and hashed by whoever asked.
const THREADS: usize = 2;

/// Objects up to this size are written by one request, which can be conditional.
const SINGLE_PUT_BYTES: usize = 64 << 20;

/// Bytes of a request of a larger one, whose parts become visible together.
const MULTIPART_BYTES: usize = 16 << 20;

/// Requests of a larger one under way at once.
const MULTIPART_CONCURRENCY: usize = 4;

/// Times a write or a deletion is begun again after an answer was lost.
const LOST_ANSWERS: u64 = 3;

/// Which content an object had, in the words of its service. Two are equal if their entity tags are; a service that has
/// none numbers its versions.
#[derive(Debug, Clone, Eq)]
pub struct Version(UpdateVersion);

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0.e_tag, &other.0.e_tag) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => self.0 == other.0,
        }
    }
}

/// What a service says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its size.
    pub bytes: u64,
    /// Which content it has.
    pub version: Version,
    /// When it was written, by the clock of the service, in seconds since 1970.
    pub modified: i64,
}

/// What has to be there for a write to take place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// No object of that name.
    Absent,
    /// The object with this content.
    Unchanged(Version),
}

/// A bucket, and the threads that wait for it. Clones share both.
///
/// Its methods must not be called from inside an asynchronous runtime.
#[derive(Debug, Clone)]
pub struct Bucket {
    runtime: Arc<Runtime>,
    store: Arc<dyn ObjectStore>,
}

/// The buckets this process has met, by their root: connections and credentials of roles are kept.
static OPEN: Mutex<BTreeMap<String, Bucket>> = Mutex::new(BTreeMap::new());

impl Version {
    /// As text that differs where the content does.
    pub fn text(&self) -> String {
        let UpdateVersion { e_tag, version } = &self.0;
        [e_tag, version].into_iter().flatten().cloned().collect::<Vec<_>>().join(" ")
    }
}

impl From<ObjectMeta> for Object {
    fn from(meta: ObjectMeta) -> Self {
        let ObjectMeta { last_modified, size, e_tag, version, .. } = meta;
        let version = Version(UpdateVersion { e_tag, version });
        Self { bytes: size, version, modified: last_modified.timestamp() }
    }
}

impl Object {
    /// Time since it was written, by the clock of this machine.
    pub fn age(&self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.saturating_sub(Duration::from_secs(u64::try_from(self.modified).unwrap_or(0)))
    }
}

impl Bucket {
    /// The bucket of an object.
    ///
    /// # Errors
    /// If the environment does not say how to reach it, or nobody answers there.
    pub fn of(url: &ObjectUrl) -> Result<Self, StorageError> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = open.get(&url.root()) {
            return Ok(bucket.clone());
        }
        let runtime = guard::runtime(NonZeroUsize::new(THREADS), guard::STACK);
        let runtime = runtime.map_err(|source| StorageError::Runtime { bucket: url.root(), source })?;
        let bucket = Self { runtime: Arc::new(runtime), store: connect(url)? };
        reach::check(url)?;
        open.insert(url.root(), bucket.clone());
        Ok(bucket)
    }

    /// What is known of an object; `None` if there is none.
    pub fn head(&self, url: &ObjectUrl) -> Result<Option<Object>, StorageError> {
        let key = key(url)?;
        found(self.runtime.block_on(self.store.head(&key)), "look for", url).map(|meta| meta.map(Object::from))
    }

    /// All bytes of an object that has at most `limit` of them; `None` if there is none.
    pub fn read(&self, url: &ObjectUrl, limit: u64) -> Result<Option<(Bytes, Object)>, StorageError> {
        let key = key(url)?;
        let read = async {
            let result = self.store.get(&key).await?;
            if result.meta.size > limit {
                return Ok(None);
            }
            let meta = result.meta.clone();
            Ok(Some((result.bytes().await?, Object::from(meta))))
        };
        match found(self.runtime.block_on(read), "read", url)? {
            None => Ok(None),
            Some(None) => Err(StorageError::TooLarge { url: url.clone(), limit }),
            Some(Some(read)) => Ok(Some(read)),
        }
    }

    /// Copies an object into the file `to`, which is there when all of it is; returns its digest. `is_wanted` is asked of
    /// the digest before the file gets its name. `None` if there is no such object.
    pub fn fetch(
        &self,
        url: &ObjectUrl,
        to: &Path,
        is_wanted: impl FnOnce(&Digest, &Object) -> bool,
    ) -> Result<Option<(Digest, Object)>, StorageError> {
        let Some(result) = self.get(url)? else { return Ok(None) };
        let object = Object::from(result.meta.clone());
        let mut file = AtomicFile::create(to)?;
        let digest = self.stream(result, url, |bytes| {
            file.write_all(bytes).map_err(|source| IoError::new("write", to, source).into())
        })?;
        if is_wanted(&digest, &object) {
            file.commit()?;
        }
        Ok(Some((digest, object)))
    }

    fn get(&self, url: &ObjectUrl) -> Result<Option<GetResult>, StorageError> {
        let key = key(url)?;
        found(self.runtime.block_on(self.store.get(&key)), "read", url)
    }

    /// Hands the bytes of an object on as they come; a connection that breaks is taken up again where it broke.
    fn stream(
        &self,
        result: GetResult,
        url: &ObjectUrl,
        mut take: impl FnMut(&[u8]) -> Result<(), StorageError>,
    ) -> Result<Digest, StorageError> {
        let mut stream = result.into_stream();
        let mut hasher = Hasher::default();
        while let Some(bytes) = self.runtime.block_on(poll_fn(|ctx| stream.as_mut().poll_next(ctx))) {
            let bytes = bytes.map_err(|error| failed(&error, "read", url))?;
            hasher.update(&bytes);
            take(&bytes)?;
        }
        Ok(hasher.finish())
    }

    /// Writes an object under a condition; returns its version. An object that already is what would be written is as good
    /// as written: so an answer that was lost does no harm.
    ///
    /// # Errors
    /// [`StorageError::Changed`] if the condition does not hold and another content is there.
    pub fn put(&self, url: &ObjectUrl, body: &Bytes, condition: &Condition) -> Result<Version, StorageError> {
        if body.len() > SINGLE_PUT_BYTES {
            return self.put_large(url, body, condition);
        }
        let key = key(url)?;
        let (mode, expected) = match condition {
            Condition::Absent => (PutMode::Create, "absent"),
            Condition::Unchanged(version) => (PutMode::Update(version.0.clone()), "as it was"),
        };
        let mut n_lost = 0_u64;
        loop {
            let put = self.store.put_opts(&key, PutPayload::from(body.clone()), mode.clone().into());
            let error = match self.runtime.block_on(put) {
                Ok(result) => return Ok(Version(result.into())),
                Err(error) => error,
            };
            match &error {
                AlreadyExists { .. } | Precondition { .. } => {
                    return match self.version_of(url, body)? {
                        Found::Same(version) => Ok(version),
                        Found::Other | Found::Nothing => Err(StorageError::Changed { url: url.clone(), expected }),
                    };
                }
                // Whether it was carried out is not known: what is there tells.
                Generic { .. } if n_lost < LOST_ANSWERS => match self.version_of(url, body) {
                    Ok(Found::Same(version)) => return Ok(version),
                    Ok(Found::Other | Found::Nothing) => n_lost += 1,
                    Err(_) => return Err(failed_after(n_lost, &error, "write", url)),
                },
                _ => return Err(failed_after(n_lost, &error, "write", url)),
            }
        }
    }

    /// Writes an object in several requests: its parts become the object all at once. Services take no condition for
    /// these, so it is held against what is there before the first and before the last.
    fn put_large(&self, url: &ObjectUrl, body: &Bytes, condition: &Condition) -> Result<Version, StorageError> {
        let key = key(url)?;
        if let Some(version) = self.check(url, body, condition)? {
            return Ok(version);
        }
        let wrap = |error: object_store::Error| failed(&error, "write", url);
        let upload = self.runtime.block_on(self.store.put_multipart(&key)).map_err(wrap)?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, MULTIPART_BYTES);
        let mut sent = Ok(());
        for start in (0..body.len()).step_by(MULTIPART_BYTES) {
            let end = body.len().min(start + MULTIPART_BYTES);
            sent = self.runtime.block_on(async {
                upload.wait_for_capacity(MULTIPART_CONCURRENCY).await?;
                upload.put(body.slice(start..end));
                Ok(())
            });
            if sent.is_err() {
                break;
            }
        }
        // `finish` waits for the last parts: the condition is asked for once more as late as can be.
        let sent = sent.and_then(|()| self.runtime.block_on(upload.wait_for_capacity(1)));
        let checked = sent.map_err(wrap).and_then(|()| self.check(url, body, condition));
        match checked {
            Ok(None) => {
                let result = self.runtime.block_on(upload.finish()).map_err(wrap)?;
                Ok(Version(result.into()))
            }
            refused => {
                // What was sent is invisible, and the service's own rules delete it in the end.
                let _ = self.runtime.block_on(upload.abort());
                refused.and_then(|version| {
                    version.ok_or_else(|| StorageError::Changed { url: url.clone(), expected: "as it was" })
                })
            }
        }
    }

    /// Holds what is there against a condition: the version of an object that already is what is to be written, `None` if
    /// it may be written.
    fn check(&self, url: &ObjectUrl, body: &Bytes, condition: &Condition) -> Result<Option<Version>, StorageError> {
        let changed = |expected| Err(StorageError::Changed { url: url.clone(), expected });
        match (self.head(url)?, condition) {
            (None, Condition::Absent) => Ok(None),
            (None, Condition::Unchanged(_)) => changed("as it was"),
            (Some(object), Condition::Unchanged(version)) if object.version == *version => Ok(None),
            (Some(_), condition) => match self.version_of(url, body)? {
                Found::Same(version) => Ok(Some(version)),
                Found::Other | Found::Nothing => {
                    changed(if *condition == Condition::Absent { "absent" } else { "as it was" })
                }
            },
        }
    }

    /// Whether an object is these bytes.
    fn version_of(&self, url: &ObjectUrl, body: &Bytes) -> Result<Found, StorageError> {
        let Some(result) = self.get(url)? else { return Ok(Found::Nothing) };
        let object = Object::from(result.meta.clone());
        if object.bytes != body.len() as u64 || self.stream(result, url, |_| Ok(()))? != Digest::of(body) {
            return Ok(Found::Other);
        }
        Ok(Found::Same(object.version))
    }

    /// Deletes an object; one that is not there is as good as deleted.
    pub fn delete(&self, url: &ObjectUrl) -> Result<(), StorageError> {
        let key = key(url)?;
        let mut n_lost = 0;
        loop {
            match self.runtime.block_on(self.store.delete(&key)) {
                // Nothing is deleted by a second request that was not to be deleted by the first.
                Err(Generic { .. }) if n_lost < LOST_ANSWERS => n_lost += 1,
                result => return found(result, "delete", url).map(drop),
            }
        }
    }
}

/// What is under a name, compared with some bytes.
enum Found {
    Nothing,
    Same(Version),
    Other,
}

/// The bytes of a file, mapped: they are sent from where they are.
pub fn body(path: &Path) -> Result<Bytes, StorageError> {
    Ok(Bytes::from_owner(io::map(path)?))
}

fn key(url: &ObjectUrl) -> Result<Key, StorageError> {
    Key::parse(url.key()).map_err(|_| StorageError::Url {
        url: url.to_string(),
        expected: "a key without control characters and empty parts",
    })
}

/// A result whose absence is no error.
fn found<T>(
    result: Result<T, object_store::Error>,
    action: &'static str,
    url: &ObjectUrl,
) -> Result<Option<T>, StorageError> {
    match result {
        Ok(value) => Ok(Some(value)),
        // A bucket that is not there has no such object either, and saying so helps nobody.
        Err(error @ object_store::Error::NotFound { .. }) if !Failure::of(&error).said.contains("NoSuchBucket") => {
            Ok(None)
        }
        Err(error) => Err(failed(&error, action, url)),
    }
}

fn failed(error: &object_store::Error, action: &'static str, url: &ObjectUrl) -> StorageError {
    failed_after(0, error, action, url)
}

/// The failure of a request that was begun again so often before.
fn failed_after(n_before: u64, error: &object_store::Error, action: &'static str, url: &ObjectUrl) -> StorageError {
    let failure = Failure::of(error);
    let attempts = failure.attempts.map(|attempts| attempts + n_before);
    StorageError::Request { action, url: url.clone(), failure: Failure { attempts, ..failure } }
}

#[cfg(test)]
mod tests {
    use super::super::Location;
    use super::*;

    /// An object in the memory of this process; each test has a bucket of its own.
    fn object(name: &str) -> (Bucket, ObjectUrl) {
        let Location::Object(url) = Location::of(name.as_ref()).unwrap() else { panic!("{name}") };
        (Bucket::of(&url).unwrap(), url)
    }

    #[test]
    fn an_object_is_written_once_and_then_only_over_what_is_known() {
        let (bucket, url) = object("memory://conditional/a/b");
        assert!(bucket.head(&url).unwrap().is_none() && bucket.read(&url, 10).unwrap().is_none());
        let put = |text: &'static str, condition: &Condition| bucket.put(&url, &Bytes::from(text), condition);
        let first = put("one", &Condition::Absent).unwrap();
        assert_eq!(put("one", &Condition::Absent).unwrap(), first, "the same bytes are as good as written");
        let refused = put("two", &Condition::Absent).unwrap_err();
        assert!(matches!(refused, StorageError::Changed { expected: "absent", .. }), "{refused}");
        let second = put("two", &Condition::Unchanged(first.clone())).unwrap();
        assert_ne!(second, first);
        let refused = put("three", &Condition::Unchanged(first)).unwrap_err();
        assert!(matches!(refused, StorageError::Changed { expected: "as it was", .. }), "{refused}");
        let (bytes, object) = bucket.read(&url, 3).unwrap().unwrap();
        assert_eq!((bytes.as_ref(), object.bytes, object.version), (b"two".as_slice(), 3, second));
        assert!(matches!(bucket.read(&url, 2), Err(StorageError::TooLarge { limit: 2, .. })));
        bucket.delete(&url).unwrap();
        assert!(bucket.head(&url).unwrap().is_none());
    }

    #[test]
    fn a_large_object_is_the_same_in_several_requests() {
        let (bucket, url) = object("memory://large/a");
        let bytes: Vec<u8> = (0..=250).cycle().take(SINGLE_PUT_BYTES + 12_345).collect();
        let body = Bytes::from(bytes);
        let version = bucket.put(&url, &body, &Condition::Absent).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        let (digest, object) = bucket.fetch(&url, &file, |_, _| true).unwrap().unwrap();
        assert_eq!((digest, object.bytes), (Digest::of(&body), body.len() as u64));
        assert_eq!(io::digest(&file).unwrap().0, digest);
        assert_eq!(bucket.put(&url, &body, &Condition::Absent).unwrap(), version);
        let other = Bytes::from(vec![0; SINGLE_PUT_BYTES + 1]);
        assert!(matches!(bucket.put(&url, &other, &Condition::Absent), Err(StorageError::Changed { .. })));
    }

    #[test]
    fn what_is_not_wanted_gets_no_name() {
        let (bucket, url) = object("memory://unwanted/a");
        bucket.put(&url, &Bytes::from("bytes"), &Condition::Absent).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        bucket.fetch(&url, &file, |digest, _| *digest == Digest::of(b"other")).unwrap();
        assert!(io::list(folder.path()).unwrap().is_empty());
        assert!(bucket.fetch(&url.join("none"), &file, |_, _| true).unwrap().is_none());
    }
}
