//! A finished table under a URL, as a local folder.

use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::io;
use crate::storage::{self, Bucket, Cache, Location, ObjectUrl, StorageError, in_parallel};
use crate::table::manifest::{MANIFEST, MANIFEST_BYTES};
use crate::table::{FileRecord, Manifest, TableError, part_name};

/// Ends of names that are of files with rows; anything else under a URL is a table.
const FILES: [&str; 8] = [".parquet", ".arrow", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt"];

/// Whether a user named something under a URL, and no local path.
pub fn is_remote(name: &Path) -> bool {
    Location::is_object(name)
}

/// A local path of what a user named: the path itself, or the copy of a table or of a file with rows.
///
/// # Errors
/// If there is no such object, or it cannot be fetched. A local path is not looked at.
pub fn local(name: &Path) -> Result<PathBuf, TableError> {
    match Location::of(name)? {
        Location::Local(path) => Ok(path),
        Location::Object(url) => {
            let (bucket, cache) = (Bucket::of(&url)?, Cache::of_user()?);
            if is_file(&url) {
                Ok(storage::fetch_file(&bucket, &url, &cache)?)
            } else {
                fetch_table(&bucket, &url, &cache)
            }
        }
    }
}

fn is_file(url: &ObjectUrl) -> bool {
    let name = url.file_name();
    let plain = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name).to_ascii_lowercase();
    FILES.iter().any(|end| plain.ends_with(end))
}

/// The copy of a finished table: its files are those the manifest lists, and were held against it.
///
/// # Errors
/// If there is no finished table, if a file is gone or is not the one that is listed, or if the service does not answer.
pub fn fetch_table(bucket: &Bucket, url: &ObjectUrl, cache: &Cache) -> Result<PathBuf, TableError> {
    let Some((bytes, _)) = bucket.read(&url.join(MANIFEST), MANIFEST_BYTES)? else {
        return Err(match bucket.head(&url.join(&part_name(0)))? {
            Some(_) => TableError::Incomplete { path: url.to_path(), n_shards: None },
            None => StorageError::Missing { url: url.join(MANIFEST) }.into(),
        });
    };
    let manifest = Manifest::parse(&url.to_path(), &bytes)?;
    let copy = cache.copy(url, &copy_id(&bytes))?;
    if copy.join(MANIFEST).is_file() {
        return Ok(copy);
    }
    let files: Vec<&FileRecord> = manifest.files().collect();
    cache.make_room(missing_bytes(&files, &copy))?;
    let found = in_parallel(&files, |file| fetch_listed(bucket, url, file, &copy))?;
    if let Some((gone, _)) = files.iter().zip(found).find(|(_, is_there)| !is_there) {
        return Err(TableError::PartMissing { path: url.join(&gone.name).to_path() });
    }
    io::write(&copy.join(MANIFEST), &bytes)?;
    Ok(copy)
}

/// Name of the copy of a table: of what its manifest says, digests of all files included.
pub(super) fn copy_id(manifest: &[u8]) -> String {
    let mut id = Digest::of(manifest).to_string();
    id.truncate(12);
    id
}

/// Bytes of the files that a copy does not have yet.
pub(super) fn missing_bytes(files: &[&FileRecord], copy: &Path) -> u64 {
    files.iter().filter(|file| !copy.join(&file.name).is_file()).map(|file| file.bytes).fold(0, u64::saturating_add)
}

/// Fetches a file of a table into its copy, unless it is there; `false` if there is none under the URL.
pub(super) fn fetch_listed(
    bucket: &Bucket,
    url: &ObjectUrl,
    file: &FileRecord,
    copy: &Path,
) -> Result<bool, TableError> {
    let to = copy.join(&file.name);
    if to.is_file() {
        return Ok(true);
    }
    let url = url.join(&file.name);
    match bucket.fetch(&url, &to, |digest, _| *digest == file.digest)? {
        None => Ok(false),
        Some((digest, _)) if digest == file.digest => Ok(true),
        Some((digest, _)) => Err(TableError::NotAsListed {
            path: url.to_path(),
            what: "digest",
            expected: file.digest.to_string(),
            found: digest.to_string(),
        }),
    }
}
