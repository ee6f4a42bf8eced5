//! The messages of an Arrow IPC file, each checked against the length of the file before it is read.
//!
//! Arrow's own readers allocate what a message says of its length, and a damaged message may say any number. So may the
//! length that a compressed buffer says it has once it is unpacked, and the number of rows, which columns of nulls and of
//! runs have without a byte.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::{FieldNode, Message, RecordBatch as Batch, root_as_message};

use super::object::MAX_COLUMNS;

/// What begins and ends the file format; between them it is a stream and a footer.
const FILE_MAGIC: &[u8] = b"ARROW1";

/// Comes before the length of a message, and with length 0 at the end of a stream.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// Bytes of a message before its metadata: the mark and the length.
const HEAD: usize = 8;

/// Bytes that a compressed batch may unpack to, however few it has; text never comes to more than this many times what it
/// is packed in.
const UNPACKED_BYTES: u64 = 1 << 30;
const UNPACKED_OF_PACKED: u64 = 32;

/// Values of all columns for each byte of a file; columns that say something need more than that.
const VALUES_PER_BYTE: u64 = 1000;

/// What stands before a compressed buffer that was left as it is.
const NOT_PACKED: i64 = -1;

/// Record batches of an Arrow IPC file, stream or file format.
pub(crate) struct Messages {
    file: BufReader<File>,
    decoder: StreamDecoder,
    /// What the decoder has not taken yet.
    pending: Buffer,
    /// Bytes up to the end of the stream.
    n_left: u64,
    /// Values that the batches to come may have.
    n_values_left: u64,
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
        let n_values_left = n_bytes.saturating_mul(VALUES_PER_BYTE);
        Ok(Self { file, decoder, pending: Buffer::from(&[]), n_left, n_values_left, is_ended: false })
    }

    /// The columns, which come before all rows: asked for first, if at all.
    ///
    /// # Errors
    /// If the file does not begin with them, or is damaged there.
    pub(crate) fn schema(&mut self) -> Result<SchemaRef, ArrowError> {
        let message = self.message()?;
        let header = root_as_message(message.get(HEAD..).unwrap_or_default()).ok();
        let schema = header.as_ref().and_then(Message::header_as_schema).map(fb_to_schema);
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
        let body = message.len();
        self.read(&mut message, u64::try_from(n_body).map_err(|_| too_short())?)?;
        self.check(message.get(start..).unwrap_or_default(), message.get(body..).unwrap_or_default())?;
        Ok(message)
    }

    /// Refuses a message that says more than its bytes can hold.
    fn check(&mut self, metadata: &[u8], body: &[u8]) -> Result<(), ArrowError> {
        let message = root_as_message(metadata).map_err(|error| ArrowError::IpcError(error.to_string()))?;
        let n_columns = message.header_as_schema().and_then(|schema| schema.fields()).map_or(0, |fields| fields.len());
        if n_columns > MAX_COLUMNS {
            return Err(ArrowError::IpcError(format!("expected at most {MAX_COLUMNS} columns, found {n_columns}")));
        }
        let dictionary = message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data());
        let Some(batch) = message.header_as_record_batch().or(dictionary) else { return Ok(()) };
        let lengths = batch.nodes().into_iter().flatten().map(FieldNode::length).chain([batch.length()]);
        let n_values = lengths.map(|length| u64::try_from(length).unwrap_or(0)).fold(0, u64::saturating_add);
        self.n_values_left = self.n_values_left.checked_sub(n_values).ok_or_else(|| {
            let limit = "1000 for each byte of the file";
            ArrowError::IpcError(format!("more values than the file can hold: expected at most {limit}"))
        })?;
        let n_unpacked = unpacked_bytes(&batch, body)?;
        let n_packed = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let limit = UNPACKED_BYTES.max(n_packed.saturating_mul(UNPACKED_OF_PACKED));
        if n_unpacked > limit {
            let sizes = format!("expected at most {limit} bytes of {n_packed}, found {n_unpacked}");
            return Err(ArrowError::IpcError(format!("a compressed batch unpacks to too much: {sizes}")));
        }
        Ok(())
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

/// Bytes of all buffers of a batch once they are unpacked, as each of them says before its first byte.
fn unpacked_bytes(batch: &Batch<'_>, body: &[u8]) -> Result<u64, ArrowError> {
    if batch.compression().is_none() {
        return Ok(0);
    }
    let mut n_unpacked = 0_u64;
    for buffer in batch.buffers().into_iter().flatten().filter(|buffer| buffer.length() != 0) {
        let start = usize::try_from(buffer.offset()).map_err(|_| too_short())?;
        let said = body.get(start..).and_then(|rest| rest.first_chunk::<8>()).ok_or_else(too_short)?;
        match i64::from_le_bytes(*said) {
            NOT_PACKED => {}
            said => {
                let negative = |_| ArrowError::IpcError(format!("a compressed buffer says it has {said} bytes"));
                n_unpacked = n_unpacked.saturating_add(u64::try_from(said).map_err(negative)?);
            }
        }
    }
    Ok(n_unpacked)
}

fn too_short() -> ArrowError {
    ArrowError::IpcError("a message is longer than the file".into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, NullArray, StringArray};
    use arrow::datatypes::{Field, Schema};
    use arrow::ipc::CompressionType;
    use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

    use super::*;

    fn stream(columns: Vec<(&str, ArrayRef)>, compression: Option<CompressionType>) -> Vec<u8> {
        let fields: Vec<Field> =
            columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let rows = RecordBatch::try_new(schema, columns.into_iter().map(|(_, array)| array).collect()).unwrap();
        let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), rows.schema_ref(), options).unwrap();
        writer.write(&rows).unwrap();
        writer.into_inner().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<usize, ArrowError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Messages::open(file)?.map(|batch| Ok(batch?.num_rows())).sum()
    }

    /// Where the length of a buffer of this many bytes stands before its packed bytes.
    fn place_of(length: u64, bytes: &[u8]) -> usize {
        bytes.windows(8).rposition(|window| window == length.to_le_bytes()).unwrap()
    }

    #[test]
    fn a_compressed_buffer_that_says_a_terabyte_is_refused_before_it_is_taken() {
        for compression in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
            let texts: ArrayRef = Arc::new(StringArray::from(vec!["a".repeat(3333)]));
            let sound = stream(vec![("prompt", texts)], Some(compression));
            assert_eq!(read(&sound).unwrap(), 1, "{compression:?}");
            let mut bomb = sound.clone();
            let at = place_of(3333, &bomb);
            for (said, want) in [
                (1_u64 << 40, "unpacks to too much"),
                (u64::MAX - 1, "says it has -2 bytes"),
                (u64::MAX / 2, "unpacks to too much"),
            ] {
                bomb[at..at + 8].copy_from_slice(&said.to_le_bytes());
                let error = read(&bomb).unwrap_err().to_string();
                assert!(error.contains(want), "{compression:?}, {said}: {error}");
            }
        }
    }

    #[test]
    fn rows_without_bytes_are_bounded_by_the_length_of_the_file() {
        let nulls = |n: usize| stream(vec![("a", Arc::new(NullArray::new(n)) as ArrayRef)], None);
        assert_eq!(read(&nulls(1000)).unwrap(), 1000);
        let error = read(&nulls(1 << 40)).unwrap_err().to_string();
        assert!(error.contains("more values than the file can hold"), "{error}");
    }

    #[test]
    fn columns_are_bounded() {
        let one: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let names: Vec<String> = (0..=MAX_COLUMNS).map(|idx| format!("c{idx}")).collect();
        let columns = |n: usize| names.iter().take(n).map(|name| (name.as_str(), Arc::clone(&one))).collect();
        assert_eq!(read(&stream(columns(MAX_COLUMNS), None)).unwrap(), 1);
        let error = read(&stream(columns(MAX_COLUMNS + 1), None)).unwrap_err().to_string();
        assert!(error.contains("expected at most 4096 columns, found 4097"), "{error}");
    }
}
