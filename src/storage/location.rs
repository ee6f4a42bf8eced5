//! Where something lives: on a local path, or in a bucket under a URL.

use std::fmt;
use std::path::{Path, PathBuf};

use super::error::StorageError;

/// Where something lives, by the name a user gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A path, or what a `file://` URL stands for.
    Local(PathBuf),
    /// An object, or what objects have as the first part of their names.
    Object(ObjectUrl),
}

/// The service that a bucket is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Service {
    /// Amazon S3, and whatever speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage.
    Azure,
    /// The memory of this process.
    #[cfg(test)]
    Memory,
}

/// URL of an object: `SCHEME://BUCKET/KEY`. The key is taken as it is written, percent signs included.
///
/// Invariant: no credentials, no query, a key that is not empty, without empty, `.` and `..` parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectUrl {
    service: Service,
    scheme: String,
    bucket: String,
    key: String,
}

/// Schemes of URLs that are read, with their services.
const SCHEMES: &[(&str, Service)] = &[
    ("s3", Service::S3),
    ("s3a", Service::S3),
    ("gs", Service::Google),
    ("az", Service::Azure),
    ("abfs", Service::Azure),
    ("abfss", Service::Azure),
    #[cfg(test)]
    ("memory", Service::Memory),
];

impl Location {
    /// What a name of a user's stands for; what does not begin as a URL is a path.
    ///
    /// # Errors
    /// If it is a URL of a scheme that is not read, or one that no object has.
    pub fn of(name: &Path) -> Result<Self, StorageError> {
        let Some((scheme, rest)) = name.to_str().and_then(scheme) else { return Ok(Self::Local(name.to_owned())) };
        if scheme == "file" {
            return local_path(rest).map(Self::Local).ok_or_else(|| StorageError::Url {
                url: shown(scheme, rest),
                expected: "`file:///PATH`, with `%XX` for what is no plain character",
            });
        }
        ObjectUrl::new(scheme, rest).map(Self::Object)
    }

    /// Whether a name is that of an object.
    pub fn is_object(name: &Path) -> bool {
        name.to_str().and_then(scheme).is_some_and(|(scheme, _)| scheme != "file")
    }
}

impl ObjectUrl {
    fn new(scheme: &str, rest: &str) -> Result<Self, StorageError> {
        let wrong = |expected| Err(StorageError::Url { url: shown(scheme, rest), expected });
        let Some((_, service)) = SCHEMES.iter().find(|(known, _)| *known == scheme) else {
            return Err(StorageError::Scheme { url: shown(scheme, rest), scheme: scheme.to_owned() });
        };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.contains(':') {
            return wrong("no credentials in it: they are in the environment");
        }
        if rest.contains(['?', '#']) {
            return wrong("no query in it: credentials are in the environment");
        }
        let key = key.trim_end_matches('/');
        if bucket.is_empty() || key.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return wrong("`SCHEME://BUCKET/KEY`, without empty, `.` and `..` parts");
        }
        Ok(Self { service: *service, scheme: scheme.to_owned(), bucket: bucket.to_owned(), key: key.to_owned() })
    }

    /// The object `name` under this one, as a file in a folder.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        Self { key: format!("{}/{name}", self.key), ..self.clone() }
    }

    /// The last part of the key.
    pub fn file_name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or(&self.key)
    }

    /// The key, without a slash at either end.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// `SCHEME://BUCKET`, which all objects of a bucket share.
    pub(super) fn root(&self) -> String {
        format!("{}://{}", self.scheme, self.bucket)
    }

    pub(super) fn service(&self) -> Service {
        self.service
    }

    /// Scheme, bucket and key as folders.
    pub(super) fn to_relative_path(&self) -> PathBuf {
        [self.scheme.as_str(), self.bucket.as_str(), self.key.as_str()].iter().collect()
    }

    /// As an error names it.
    pub fn to_path(&self) -> PathBuf {
        PathBuf::from(self.to_string())
    }
}

impl fmt::Display for ObjectUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/{}", self.scheme, self.bucket, self.key)
    }
}

/// Scheme and rest of what begins as a URL.
fn scheme(name: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = name.split_once("://")?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c));
    is_scheme.then_some((scheme, rest))
}

/// A URL as an error may show it: what may be a credential is left out.
fn shown(scheme: &str, rest: &str) -> String {
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
    let host = match host.rsplit_once('@') {
        Some((user, host)) if user.contains(':') => format!("…@{host}"),
        _ => host.to_owned(),
    };
    match path {
        Some(path) => format!("{scheme}://{host}/{path}"),
        None => format!("{scheme}://{host}"),
    }
}

/// The path of a `file://` URL; only this machine has one.
fn local_path(rest: &str) -> Option<PathBuf> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return None;
    }
    let (mut bytes, mut left) = (Vec::with_capacity(path.len()), path.bytes());
    while let Some(byte) = left.next() {
        if byte == b'%' {
            let mut digit = || char::from(left.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            bytes.push(u8::try_from(16 * high + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> Result<Location, String> {
        Location::of(Path::new(name)).map_err(|error| error.to_string())
    }

    fn url(name: &str) -> ObjectUrl {
        match of(name) {
            Ok(Location::Object(url)) => url,
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn paths_and_urls_are_told_apart() {
        for path in ["runs/a", "/tmp/a.jsonl", "C:/data", "a:b://c", "://x", "S3://x/y"] {
            assert_eq!(of(path), Ok(Location::Local(path.into())), "{path}");
            assert!(!Location::is_object(Path::new(path)), "{path}");
        }
        for name in ["s3://b/k", "gs://b/a/k.jsonl", "az://c/k", "abfss://c@account.dfs.core.windows.net/k"] {
            assert_eq!(url(name).to_string(), name);
            assert!(Location::is_object(Path::new(name)), "{name}");
        }
        assert_eq!(url("s3://b/table/").to_string(), "s3://b/table");
        assert_eq!(url("s3://b/t").join("part-00000.parquet").to_string(), "s3://b/t/part-00000.parquet");
        assert_eq!(url("s3://b/a/x%20y.jsonl").file_name(), "x%20y.jsonl");
        assert_eq!(url("s3://b/a/t").to_relative_path(), Path::new("s3/b/a/t"));
    }

    #[test]
    fn file_urls_are_local_paths() {
        assert_eq!(of("file:///tmp/a%20b.jsonl"), Ok(Location::Local("/tmp/a b.jsonl".into())));
        assert_eq!(of("file://localhost/tmp/a"), Ok(Location::Local("/tmp/a".into())));
        for wrong in ["file://host/a", "file:///a%2", "file:///a%zz", "file:///%ff"] {
            assert!(of(wrong).unwrap_err().contains("expected `file:///PATH`"), "{wrong}");
        }
    }

    #[test]
    fn what_no_object_has_is_refused_without_a_word_of_its_credentials() {
        for (name, want) in [
            ("https://host/a", "`https://host/a`: unknown scheme `https`"),
            ("s3://", "`s3://`: expected `SCHEME://BUCKET/KEY`, without empty, `.` and `..` parts"),
            ("s3://b", "`s3://b`: expected `SCHEME://BUCKET/KEY`, without empty, `.` and `..` parts"),
            ("s3://b//k", "`s3://b//k`: expected `SCHEME://BUCKET/KEY`, without empty, `.` and `..` parts"),
            ("s3://b/../k", "`s3://b/../k`: expected `SCHEME://BUCKET/KEY`, without empty, `.` and `..` parts"),
            ("s3://id:key@b/k", "`s3://…@b/k`: expected no credentials in it: they are in the environment"),
            ("az://c/k?sig=abc", "`az://c/k`: expected no query in it: credentials are in the environment"),
        ] {
            let found = of(name).unwrap_err();
            assert!(found.starts_with(&format!("cannot use URL {want}")), "{name}: {found}");
        }
    }
}
