//! Arrow IPC files as tables: the stream that Hugging Face `save_to_disk` writes, and the file format.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use datafusion::catalog::TableProvider;

use crate::data::ArrowMessages;
use crate::query::QueryError;
use crate::query::file_stream::FileStream;
use crate::{guard, io};

/// The table in files that have the same columns.
///
/// # Errors
/// If one of them is damaged, or has other columns than the first.
pub(super) fn open(files: &[PathBuf]) -> Result<Arc<dyn TableProvider>, QueryError> {
    let mut stream: Option<FileStream> = None;
    for path in files {
        let wrap = |source| QueryError::Rows { path: path.to_owned(), source };
        let schema = {
            let mut messages = ArrowMessages::open(io::open(path)?).map_err(wrap)?;
            guarded(|| messages.schema()).map_err(wrap)?
        };
        let file = path.to_owned();
        let open = move || -> Result<_, QueryError> {
            let wrap = |source| QueryError::Rows { path: file.clone(), source };
            let mut messages = ArrowMessages::open(io::open(&file)?).map_err(wrap)?;
            Ok(Box::new(std::iter::from_fn(move || guarded(|| messages.next().transpose()).transpose())) as _)
        };
        let before = stream.take().unwrap_or_else(|| FileStream::new(schema.clone()));
        if before.columns().fields() != schema.fields() {
            return Err(QueryError::Files {
                path: path.clone(),
                why: "it has other columns than the files before".into(),
            });
        }
        stream = Some(before.with_file(path.to_owned(), open));
    }
    match stream {
        Some(stream) => stream.into_table(),
        None => FileStream::new(Arc::new(Schema::empty())).into_table(),
    }
}

/// Runs a decoder that may panic on a damaged file.
fn guarded<T>(decode: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, ArrowError> {
    guard::catch(decode).unwrap_or_else(|panicked| Err(ArrowError::ExternalError(panicked.into())))
}
