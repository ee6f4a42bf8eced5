//! The messages of an Arrow IPC file, each checked against the length of the file before it is read.
//!
//! Arrow's own readers allocate what a message says of its length, and a damaged message may say any number.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::root_as_message;

/// What begins and ends the file format; between them it is a stream and a footer.
const FILE_MAGIC: &[u8] = b"ARROW1";

/// Comes before the length of a message, and with length 0 at the end of a stream.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// Bytes of a message before its metadata: the mark and the length.
const HEAD: usize = 8;

/// Record batches of an Arrow IPC file, stream or file format.
pub(crate) struct Messages {
    file: BufReader<File>,
    decoder: StreamDecoder,
    /// What the decoder has not taken yet.
    pending: Buffer,
    /// Bytes up to the end of the stream.
    n_left: u64,
    is_ended: bool,
}

impl Messages {
    /// Of a file, wherever it stands.
    ///
    /// # Errors
    /// If it begins or ends as no such file does.
    pub(crate) fn open(mut file: File) -> Result<Self, ArrowError> {
        let n_bytes = file.seek(SeekFrom::End(0))?;
        let (start, end) = stream_range(&mut file, n_bytes)?;
        file.seek(SeekFrom::Start(start))?;
        let n_left = end.checked_sub(start).ok_or_else(too_short)?;
        let (file, decoder) = (BufReader::new(file), StreamDecoder::new());
        Ok(Self { file, decoder, pending: Buffer::from(&[]), n_left, is_ended: false })
    }

    /// The columns, which come before all rows: asked for first, if at all.
    ///
    /// # Errors
    /// If the file does not begin with them, or is damaged there.
    pub(crate) fn schema(&mut self) -> Result<SchemaRef, ArrowError> {
        let message = self.message()?;
        let header = root_as_message(message.get(HEAD..).unwrap_or_default()).ok();
        let schema = header.as_ref().and_then(|header| header.header_as_schema()).map(fb_to_schema);
        let schema = schema.ok_or_else(|| ArrowError::IpcError("the file does not begin with its columns".into()))?;
        self.pending = message.into();
        Ok(schema.into())
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        loop {
            if let Some(batch) = self.decoder.decode(&mut self.pending)? {
                return Ok(Some(batch));
            }
            if self.is_ended {
                self.decoder.finish()?;
                return Ok(None);
            }
            self.pending = self.message()?.into();
        }
    }

    /// The next message with its head and its body; the end mark if there is none.
    fn message(&mut self) -> Result<Vec<u8>, ArrowError> {
        let mut message = CONTINUATION.to_vec();
        let mut n_metadata = 0;
        if self.n_left > 0 {
            let mut length = self.length()?;
            if length == CONTINUATION {
                length = self.length()?;
            }
            n_metadata = u32::from_le_bytes(length);
        }
        message.extend(n_metadata.to_le_bytes());
        if n_metadata == 0 {
            self.is_ended = true;
            return Ok(message);
        }
        let start = message.len();
        self.read(&mut message, u64::from(n_metadata))?;
        let metadata = message.get(start..).unwrap_or_default();
        let n_body = root_as_message(metadata).map(|message| message.bodyLength());
        let n_body = n_body.map_err(|error| ArrowError::IpcError(error.to_string()))?;
        self.read(&mut message, u64::try_from(n_body).map_err(|_| too_short())?)?;
        Ok(message)
    }

    fn length(&mut self) -> Result<[u8; 4], ArrowError> {
        let mut length = [0; 4];
        self.n_left = self.n_left.checked_sub(4).ok_or_else(too_short)?;
        self.file.read_exact(&mut length)?;
        Ok(length)
    }

    fn read(&mut self, message: &mut Vec<u8>, n_bytes: u64) -> Result<(), ArrowError> {
        self.n_left = self.n_left.checked_sub(n_bytes).ok_or_else(too_short)?;
        (&mut self.file).take(n_bytes).read_to_end(message)?;
        Ok(())
    }
}

impl Iterator for Messages {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().transpose()
    }
}

/// Where the stream is: the whole file, or in the file format what lies between the magic and the footer.
fn stream_range(file: &mut File, n_bytes: u64) -> Result<(u64, u64), ArrowError> {
    const SHORTEST_HEAD: u64 = 8;
    const LONGEST_HEAD: u64 = 64;
    const TAIL: u64 = 10;
    let mut start = [0; FILE_MAGIC.len()];
    file.seek(SeekFrom::Start(0))?;
    file.read_exact(&mut start)?;
    if start != FILE_MAGIC {
        return Ok((0, n_bytes));
    }
    let mut footer_length = [0; 4];
    let tail = n_bytes.checked_sub(TAIL).ok_or_else(too_short)?;
    file.seek(SeekFrom::Start(tail))?;
    file.read_exact(&mut footer_length)?;
    file.read_exact(&mut start)?;
    if start != FILE_MAGIC {
        return Err(ArrowError::IpcError("the file does not end as an Arrow file".into()));
    }
    let end = tail.checked_sub(u32::from_le_bytes(footer_length).into()).ok_or_else(too_short)?;

    // Writers fill the head with zeros, to whatever they align to; no message begins with them.
    let mut head = SHORTEST_HEAD;
    let mut word = [0; 4];
    file.seek(SeekFrom::Start(head))?;
    while word == [0; 4] && head < LONGEST_HEAD {
        file.read_exact(&mut word)?;
        head += 4;
    }
    Ok((if word == [0; 4] { head } else { head - 4 }, end))
}

fn too_short() -> ArrowError {
    ArrowError::IpcError("a message is longer than the file".into())
}
