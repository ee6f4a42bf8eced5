//! Files as rows: JSON lines, a JSON list, Parquet, Arrow IPC; gzip and zstd around the first two.
//!
//! Every container gives [`RawRow`]s one by one and keeps no more than one of them (or one batch) in memory.

mod columnar;
mod ipc;
mod lines;
mod list;
mod object;

use std::io::{self, BufRead, Read};
use std::path::Path;

use super::DataError;
use crate::io::open_decoded;
use object::Object;

pub(crate) use ipc::Messages;

/// Longest row in bytes that is read; a longer one is a reject. Read, it takes up to thirty times as much memory, and a
/// conversation of two million words stays below it.
const ROW_LIMIT: usize = 16 << 20;

/// The names that are read.
pub(super) const EXTENSIONS: &str = "`.jsonl`, `.ndjson`, `.json` (also with `.gz` or `.zst`), `.parquet`, `.arrow`";

/// A row before anything is known of its columns.
#[derive(Debug)]
pub(super) struct RawRow {
    /// 0-based.
    pub(super) row_idx: u64,
    /// 1-based, where the container has lines.
    pub(super) line: Option<u64>,
    /// Length in the file, or as JSON.
    pub(super) n_bytes: usize,
    /// The columns, or the reason why there are none.
    pub(super) object: Result<Object, String>,
}

/// Rows of a file; after an error there are none.
pub(super) type RawRows = Box<dyn Iterator<Item = Result<RawRow, DataError>> + Send>;

/// Opens a file by the end of its name.
pub(super) fn open(path: &Path) -> Result<RawRows, DataError> {
    if path.is_dir() {
        return Err(DataError::Folder { path: path.to_owned() });
    }
    match extension(path) {
        Some(Extension::Lines) => Ok(Box::new(lines::Lines::new(path, open_text(path)?, ROW_LIMIT))),
        Some(Extension::Json) => {
            let mut reader = open_text(path)?;
            if first_byte(path, &mut reader)? == Some(b'[') {
                Ok(Box::new(list::Elements::new(path, reader, ROW_LIMIT)))
            } else {
                Ok(Box::new(lines::Lines::new(path, reader, ROW_LIMIT)))
            }
        }
        Some(Extension::Parquet) => columnar::open_parquet(path),
        Some(Extension::Arrow) => columnar::open_arrow(path),
        None => Err(DataError::Extension { path: path.to_owned(), expected: EXTENSIONS }),
    }
}

/// Whether the name of a file is one that [`open`] reads.
pub(super) fn is_readable(path: &Path) -> bool {
    extension(path).is_some()
}

enum Extension {
    Lines,
    Json,
    Parquet,
    Arrow,
}

fn extension(path: &Path) -> Option<Extension> {
    let name = path.file_name()?.to_str()?;
    let plain = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name);
    let is_compressed = plain.len() < name.len();
    match plain.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
        "jsonl" | "ndjson" => Some(Extension::Lines),
        "json" => Some(Extension::Json),
        "parquet" if !is_compressed => Some(Extension::Parquet),
        "arrow" if !is_compressed => Some(Extension::Arrow),
        _ => None,
    }
}

type Text = Box<dyn BufRead + Send>;

/// A text file without its byte order mark.
fn open_text(path: &Path) -> Result<Text, DataError> {
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    let mut reader = open_decoded(path)?;
    let mut start = Vec::new();
    (&mut reader).take(3).read_to_end(&mut start).map_err(|source| damaged(path, 0, source))?;
    if start == BYTE_ORDER_MARK {
        return Ok(reader);
    }
    Ok(Box::new(io::Cursor::new(start).chain(reader)))
}

/// The first byte that is no space, left in the reader.
fn first_byte(path: &Path, reader: &mut Text) -> Result<Option<u8>, DataError> {
    loop {
        let bytes = reader.fill_buf().map_err(|source| damaged(path, 0, source))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if let Some(byte) = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            return Ok(Some(*byte));
        }
        let n_bytes = bytes.len();
        reader.consume(n_bytes);
    }
}

fn damaged(path: &Path, rows: u64, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> DataError {
    DataError::Damaged { path: path.to_owned(), rows, source: source.into() }
}

/// The reason for a row over the limit.
fn too_long(limit: usize) -> String {
    format!("the row is longer than {limit} bytes")
}
