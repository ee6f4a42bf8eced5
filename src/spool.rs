//! Record batches put aside on disk and read back by row: what is too much for memory, for as long as a process lives.
//!
//! Invariant: a spool has no name. Its file is deleted as it is made, so a killed process leaves nothing behind and
//! nobody can open, or go on with, the spool of an earlier run. Reading copies nothing: the columns are slices of the
//! mapped file, which the system takes out of memory and back as it likes.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::{FileDecoder, read_footer_length};
use arrow::ipc::root_as_footer;
use arrow::ipc::writer::FileWriter;
use bytes::Bytes;

use crate::error::Hint;
use crate::io::{self, IoError};

/// Why rows cannot be put aside.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// The file.
    #[error(transparent)]
    Io(#[from] IoError),
    /// Rows that Arrow cannot write, or not read back.
    #[error("cannot keep rows in a temporary file in `{}`", folder.display())]
    Rows {
        /// The folder of the file, which has no name.
        folder: PathBuf,
        /// What Arrow says.
        #[source]
        source: ArrowError,
    },
}

impl Hint for SpoolError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Io(error) => error.hint(),
            Self::Rows { .. } => None,
        }
    }
}

impl SpoolError {
    /// A refusal of the disk is one of the disk, whatever Arrow was doing.
    fn new(folder: &Path, source: ArrowError) -> Self {
        match source {
            ArrowError::IoError(_, source) => IoError::new("write a temporary file in", folder, source).into(),
            source => Self::Rows { folder: folder.to_owned(), source },
        }
    }
}

/// Takes batches, in order.
pub struct SpoolWriter {
    folder: PathBuf,
    schema: SchemaRef,
    writer: FileWriter<BufWriter<File>>,
}

impl SpoolWriter {
    /// Starts a spool for rows of `schema`, on the disk of `folder`.
    pub fn create(folder: &Path, schema: SchemaRef) -> Result<Self, SpoolError> {
        let file = BufWriter::with_capacity(1 << 20, io::scratch(folder)?);
        let writer = FileWriter::try_new(file, &schema).map_err(|source| SpoolError::new(folder, source))?;
        Ok(Self { folder: folder.to_owned(), schema, writer })
    }

    /// Adds the rows of a batch. Batches stay as they come: the spool keeps a few hundred bytes a column of each in
    /// memory, so they should not be small.
    ///
    /// # Errors
    /// If the disk refuses, or if the batch has another schema.
    pub fn push(&mut self, batch: &RecordBatch) -> Result<(), SpoolError> {
        self.writer.write(batch).map_err(|source| SpoolError::new(&self.folder, source))
    }

    /// Maps what was written; `typed` makes of each batch what its reader wants to hold.
    pub fn finish<B, E: From<SpoolError>>(
        self,
        mut typed: impl FnMut(RecordBatch) -> Result<B, E>,
    ) -> Result<Spool<B>, E> {
        let Self { folder, schema, writer } = self;
        let refused = |source| IoError::new("write a temporary file in", &folder, source);
        let file = writer.into_inner().map_err(|source| SpoolError::new(&folder, source))?;
        let file = file.into_inner().map_err(|error| SpoolError::from(refused(error.into_error())))?;
        let map = io::map_file(&file, &folder).map_err(SpoolError::from)?;

        let batches = mapped(&schema, &Buffer::from(Bytes::from_owner(map)));
        let mut spool = Spool { batches: Vec::new(), starts: vec![0] };
        for batch in batches.map_err(|source| SpoolError::new(&folder, source))? {
            spool.starts.push(spool.len() + batch.num_rows());
            spool.batches.push(typed(batch)?);
        }
        Ok(spool)
    }
}

/// Rows put aside, in batches of type `B`.
#[derive(Debug)]
pub struct Spool<B> {
    batches: Vec<B>,
    /// First row of each batch, and the number of all rows at the end.
    starts: Vec<usize>,
}

impl<B> Spool<B> {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batches in order, each with its first row.
    pub fn batches(&self) -> impl ExactSizeIterator<Item = (usize, &B)> {
        self.starts.iter().copied().zip(&self.batches)
    }

    /// The batch that has a row below [`len`](Self::len), and the row's place in it.
    pub fn locate(&self, row: usize) -> (&B, usize) {
        let at = self.starts.partition_point(|start| *start <= row) - 1;
        (&self.batches[at], row - self.starts[at])
    }
}

fn damaged(what: &str) -> ArrowError {
    ArrowError::IpcError(what.to_owned())
}

/// All batches of an Arrow IPC file, as views of it.
fn mapped(schema: &Arc<Schema>, file: &Buffer) -> Result<Vec<RecordBatch>, ArrowError> {
    let short = || damaged("the file is too short");
    let trailer_start = file.len().checked_sub(10).ok_or_else(short)?;
    let trailer = file[trailer_start..].try_into().map_err(|_| short())?;
    let footer_start = trailer_start.checked_sub(read_footer_length(trailer)?).ok_or_else(short)?;
    let footer = root_as_footer(&file[footer_start..trailer_start]).map_err(|error| damaged(&error.to_string()))?;

    let decoder = FileDecoder::new(Arc::clone(schema), footer.version()).with_require_alignment(true);
    let mut batches = Vec::new();
    for block in footer.recordBatches().into_iter().flatten() {
        let size = |size: i64| usize::try_from(size).map_err(|_| damaged("a batch of negative size"));
        let length = size(block.metaDataLength().into())? + size(block.bodyLength())?;
        let message = file.slice_with_length(size(block.offset())?, length);
        batches.push(decoder.read_record_batch(block, &message)?.ok_or_else(|| damaged("a batch is missing"))?);
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::{DataType, Field, Int64Type};

    use super::*;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("row", DataType::Int64, false)]))
    }

    fn batch(rows: std::ops::Range<i64>) -> RecordBatch {
        let rows: ArrayRef = Arc::new(Int64Array::from_iter_values(rows));
        RecordBatch::try_new(schema(), vec![rows]).unwrap()
    }

    fn spool(folder: &Path, batches: &[RecordBatch]) -> Spool<RecordBatch> {
        let mut writer = SpoolWriter::create(folder, schema()).unwrap();
        for batch in batches {
            writer.push(batch).unwrap();
        }
        writer.finish(Ok::<_, SpoolError>).unwrap()
    }

    #[test]
    fn rows_are_found_across_batches_of_any_size() {
        let folder = tempfile::tempdir().unwrap();
        // A slice is written as what it shows.
        let spool = spool(folder.path(), &[batch(0..3), batch(3..3), batch(0..100).slice(3, 4)]);
        assert_eq!((spool.len(), spool.batches().len()), (7, 3));
        for row in 0..7 {
            let (batch, at) = spool.locate(row);
            assert_eq!(batch.column(0).as_primitive::<Int64Type>().value(at), i64::try_from(row).unwrap());
        }
    }

    #[test]
    fn no_moment_has_a_file_with_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let is_empty = || io::list(folder.path()).unwrap().is_empty();
        let mut writer = SpoolWriter::create(folder.path(), schema()).unwrap();
        writer.push(&batch(0..3)).unwrap();
        assert!(is_empty());
        let spool = writer.finish(Ok::<_, SpoolError>).unwrap();
        assert!(is_empty() && !spool.is_empty());
    }

    #[test]
    fn nothing_put_aside_is_a_spool_too() {
        let folder = tempfile::tempdir().unwrap();
        assert!(spool(folder.path(), &[]).is_empty());
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let Err(error) = SpoolWriter::create(Path::new("no/such/folder"), schema()) else {
            panic!("a spool in no folder");
        };
        assert!(error.to_string().contains("no/such/folder"), "{error}");
    }
}
