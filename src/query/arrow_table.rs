//! Arrow IPC files as tables: the stream that Hugging Face `save_to_disk` writes, and the file format.

use std::path::Path;
use std::sync::Arc;

use arrow::error::ArrowError;
use datafusion::catalog::TableProvider;

use crate::data::ArrowMessages;
use crate::query::QueryError;
use crate::query::file_stream::FileStream;
use crate::{guard, io};

/// The table in a file.
pub(super) fn open(path: &Path) -> Result<Arc<dyn TableProvider>, QueryError> {
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
    FileStream::new(schema).with_file(path.to_owned(), open).into_table()
}

/// Runs a decoder that may panic on a damaged file.
fn guarded<T>(decode: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, ArrowError> {
    guard::catch(decode).unwrap_or_else(|panicked| Err(ArrowError::ExternalError(panicked.into())))
}
