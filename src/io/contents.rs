//! What is in a file, or in what has a name as one.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::{IoError, open};

/// What a path is that is neither a file nor a folder: a pipe, a device, which give their bytes once, or not at all.
///
/// # Errors
/// If there is nothing.
pub fn special(path: &Path) -> Result<Option<&'static str>, IoError> {
    let metadata = fs::metadata(path).map_err(|source| IoError::new("open", path, source))?;
    Ok(if metadata.is_file() || metadata.is_dir() { None } else { Some(kind_of(&metadata)) })
}

#[cfg(unix)]
fn kind_of(metadata: &fs::Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(not(unix))]
fn kind_of(_: &fs::Metadata) -> &'static str {
    "no file"
}

/// A buffered reader of the bytes inside a file: gzip and zstd, told by the first bytes of the file whatever its name, are
/// decompressed as they are read.
pub fn open_decoded(path: &Path) -> Result<Box<dyn BufRead + Send>, IoError> {
    const BUFFER: usize = 1 << 16;
    const GZIP: &[u8] = &[0x1f, 0x8b];
    const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
    let mut file = BufReader::with_capacity(BUFFER, open(path)?);
    let head = file.fill_buf().map_err(|source| IoError::new("read", path, source))?;
    let reader: Box<dyn Read + Send> = if head.starts_with(GZIP) {
        Box::new(flate2::bufread::MultiGzDecoder::new(file))
    } else if head.starts_with(ZSTD) {
        let decoder = zstd::Decoder::with_buffer(file);
        Box::new(decoder.map_err(|source| IoError::new("decompress", path, source))?)
    } else {
        return Ok(Box::new(file));
    };
    Ok(Box::new(BufReader::with_capacity(BUFFER, reader)))
}
