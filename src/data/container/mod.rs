//! Files as rows: JSON, separated values, Parquet, Arrow IPC; gzip and zstd around the first two.
//!
//! Every container gives [`RawRow`]s one by one and keeps no more than one of them (or one batch) in memory.

mod cells;
mod columnar;
mod delimited;
mod ipc;
mod kind;
mod lines;
mod list;
mod object;
mod retype;
mod turns;

use std::io::{self, BufRead, Read};
use std::path::Path;

use super::DataError;
use crate::io::{IoError, open as open_file, open_decoded, special};
use kind::{Content, Extension, JsonShape};
use object::Object;
pub(super) use object::parse_value;

pub(crate) use ipc::Messages;

/// Longest row in bytes that is read; a longer one is a reject. Read, it takes up to thirty times as much memory, and a
/// conversation of two million words stays below it.
const ROW_LIMIT: usize = 16 << 20;

/// The names that are read.
pub(super) const EXTENSIONS: &str =
    "`.jsonl`, `.ndjson`, `.json`, `.csv`, `.tsv` (also with `.gz` or `.zst`), `.parquet`, `.arrow`";

/// Bytes from which the shape of a text file is told.
const HEAD: usize = 1 << 16;

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

/// Opens a file by its first bytes, and by the end of its name where these tell nothing.
pub(super) fn open(path: &Path) -> Result<RawRows, DataError> {
    let rows = open_as_it_is(path)?;
    Ok(Box::new(rows.map(|row| row.map(|row| RawRow { object: row.object.map(turns::as_lists), ..row }))))
}

fn open_as_it_is(path: &Path) -> Result<RawRows, DataError> {
    if path.is_dir() {
        return Err(DataError::Folder { path: path.to_owned() });
    }
    check_file(path)?;
    let extension = Extension::of(path);
    match Content::of(&first_bytes(path)?) {
        Content::Foreign(kind::Foreign { found, hint }) => {
            return Err(DataError::Foreign { path: path.to_owned(), found, hint });
        }
        Content::Parquet => return columnar::open_parquet(path),
        Content::Arrow => return columnar::open_arrow(path),
        Content::Text => {}
    }
    match extension {
        // What they hold is nothing of the kind: their readers say so.
        Some(Extension::Parquet) => return columnar::open_parquet(path),
        Some(Extension::Arrow) => return columnar::open_arrow(path),
        _ => {}
    }
    let (head, reader) = open_text(path)?;
    match extension {
        Some(Extension::Delimited(separator)) => delimited::open(path, reader, &head, separator, ROW_LIMIT),
        None if !is_json(path, &head) => Err(DataError::Extension { path: path.to_owned(), expected: EXTENSIONS }),
        _ => Ok(match JsonShape::of(&head) {
            JsonShape::Lines(end) => Box::new(lines::Lines::new(path, reader, end, ROW_LIMIT)),
            JsonShape::List => Box::new(list::Elements::new(path, reader, ROW_LIMIT)),
            JsonShape::Objects => Box::new(list::Elements::without_list(path, reader, ROW_LIMIT)),
        }),
    }
}

/// Whether a file that does not say so in its name holds JSON. A `.txt` file is one text, whatever it holds: so it is to
/// supervised training.
fn is_json(path: &Path, head: &[u8]) -> bool {
    let is_text = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("txt"));
    !is_text && matches!(head.trim_ascii_start().first(), Some(b'{' | b'['))
}

/// Refuses what is no file but has a name as one: data is read twice, first for its digest, and a pipe has it once.
pub(super) fn check_file(path: &Path) -> Result<(), DataError> {
    match special(path)? {
        Some(found) => Err(DataError::NoFile { path: path.to_owned(), found }),
        None => Ok(()),
    }
}

/// Whether the name of a file is one that [`open`] reads.
pub(super) fn is_readable(path: &Path) -> bool {
    Extension::of(path).is_some()
}

/// The kind of file that a name says, in words.
pub(super) fn kind_of(path: &Path) -> Option<&'static str> {
    Extension::of(path).map(|extension| match extension {
        Extension::Json => "JSON",
        Extension::Delimited(_) => "separated values",
        Extension::Parquet => "Parquet",
        Extension::Arrow => "Arrow",
    })
}

/// The first bytes of a file as it lies on disk.
fn first_bytes(path: &Path) -> Result<Vec<u8>, DataError> {
    let mut head = Vec::new();
    let read = open_file(path)?.take(64).read_to_end(&mut head);
    read.map_err(|source| IoError::new("read", path, source))?;
    Ok(head)
}

/// What some programs begin UTF-8 with.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

type Text = Box<dyn BufRead + Send>;

/// The beginning of a text file, and all of it, both without its byte order mark.
fn open_text(path: &Path) -> Result<(Vec<u8>, Text), DataError> {
    let mut reader = open_decoded(path)?;
    let mut head = Vec::new();
    (&mut reader).take(HEAD as u64).read_to_end(&mut head).map_err(|source| damaged(path, 0, source))?;
    if head.starts_with(BYTE_ORDER_MARK) {
        head.drain(..BYTE_ORDER_MARK.len());
    }
    Ok((head.clone(), Box::new(io::Cursor::new(head).chain(reader))))
}

fn damaged(path: &Path, rows: u64, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> DataError {
    DataError::Damaged { path: path.to_owned(), rows, source: source.into() }
}

/// The reason for a row over the limit.
fn too_long(limit: usize) -> String {
    format!("the row is longer than {limit} bytes")
}
