//! Tables named by their path or URL in a query: `FROM 'runs/demo/reference'`, `FROM 'train.jsonl.gz'`, `FROM 's3://…'`.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::thread;

use datafusion::catalog::{TableProvider, UrlTableFactory};
use datafusion::error::DataFusionError;

use crate::query::session::ReadPaths;
use crate::query::source::{FileKind, Source};
use crate::query::{QueryError, arrow_table, delimited_table, files, parquet_table, text_table};
use crate::table::{ReferenceTable, hosted};

/// Opens what a table name points at, if it is a path.
#[derive(Debug)]
pub(super) struct PathTables {
    read: ReadPaths,
}

impl PathTables {
    /// Opens paths and keeps in mind which.
    pub(super) fn new(read: &ReadPaths) -> Self {
        Self { read: read.clone() }
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn TableProvider>, QueryError> {
        let source = Source::of(path)?;
        if let Source::Files(_, files) = &source {
            for file in files {
                self.read.add(file);
            }
        }
        self.read.add(path);
        open_source(path, &source)
    }
}

/// The table at `path`: a file, several files, or the pairs of a log-prob table.
pub(super) fn open(path: &Path) -> Result<Arc<dyn TableProvider>, QueryError> {
    open_source(path, &Source::of(path)?)
}

fn open_source(path: &Path, source: &Source) -> Result<Arc<dyn TableProvider>, QueryError> {
    match source {
        Source::Table => open_pairs(&ReferenceTable::open(path)?),
        Source::File(kind) => open_files(*kind, &[path.to_owned()]),
        Source::Files(kind, files) => open_files(*kind, files),
        Source::Run(_) => Err(QueryError::UnknownFolder { path: path.to_owned() }),
    }
}

/// The rows of these files, one file after the other; a column that some of them lack is null there.
pub(super) fn open_files(kind: FileKind, files: &[PathBuf]) -> Result<Arc<dyn TableProvider>, QueryError> {
    match kind {
        FileKind::Parquet => parquet_table::open(files),
        FileKind::Arrow => arrow_table::open(files),
        FileKind::Json => text_table::open_json(files),
        FileKind::Delimited(delimiter) => delimited_table::open(files, delimiter),
    }
}

/// All parts of a log-prob table.
pub(super) fn open_pairs(table: &ReferenceTable) -> Result<Arc<dyn TableProvider>, QueryError> {
    let schema = table.schema().as_ref().clone().with_metadata([].into());
    parquet_table::of_files(table.parts(), Arc::new(schema))
}

/// The copy of what is under a URL. It is waited for on a thread of its own: that of a query has a runtime already, which
/// is one too many.
fn fetched(url: &Path) -> Result<PathBuf, QueryError> {
    let fetched = thread::scope(|scope| {
        let fetching = thread::Builder::new().spawn_scoped(scope, || hosted::local(url));
        fetching.map(thread::ScopedJoinHandle::join)
    });
    match fetched.map_err(|source| QueryError::Runtime { source })? {
        Ok(path) => Ok(path?),
        Err(panicked) => std::panic::resume_unwind(panicked),
    }
}

type Opening<'a> = Pin<Box<dyn Future<Output = Result<Option<Arc<dyn TableProvider>>, DataFusionError>> + Send + 'a>>;

impl UrlTableFactory for PathTables {
    /// What `async_trait` makes of the trait's method. A name without a dot or a slash is no path, so that a folder
    /// `pairs` in the working directory does not stand in for a table of that name.
    fn try_new<'life0, 'life1, 'async_trait>(&'life0 self, name: &'life1 str) -> Opening<'async_trait>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        let path = Path::new(name);
        let table = if hosted::is_remote(path) {
            fetched(path).and_then(|path| self.open(&path)).map(Some)
        } else if name.contains("://") {
            // `file://`; other schemes are refused by name.
            hosted::local(path).map_err(QueryError::from).and_then(|path| self.open(&path)).map(Some)
        } else if name.contains(['.', '/']) && (path.exists() || name.contains(files::WILDCARDS)) {
            self.open(path).map(Some)
        } else {
            Ok(None)
        };
        Box::pin(std::future::ready(table.map_err(|error| DataFusionError::External(Box::new(error)))))
    }
}
