//! Files as a table whose rows come batch by batch from one thread, read anew by each query, file after file.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::PartitionStream;

use crate::query::QueryError;

/// Batches that wait for the query at most.
const BATCHES_AHEAD: usize = 2;

/// The rows of a file.
pub(super) type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>>>;

/// How a file is opened, once a query.
type Open = dyn Fn() -> Result<Batches, QueryError> + Send + Sync;

/// Files that are read again by each query, one after another.
#[derive(Clone)]
pub(super) struct FileStream {
    schema: SchemaRef,
    files: Vec<(PathBuf, Arc<Open>)>,
}

impl FileStream {
    /// No file yet; all will have these columns.
    pub(super) fn new(schema: SchemaRef) -> Self {
        Self { schema, files: Vec::new() }
    }

    /// The columns of all files.
    pub(super) fn columns(&self) -> &SchemaRef {
        &self.schema
    }

    /// The same with one more file.
    pub(super) fn with_file(
        mut self,
        path: PathBuf,
        open: impl Fn() -> Result<Batches, QueryError> + Send + Sync + 'static,
    ) -> Self {
        self.files.push((path, Arc::new(open)));
        self
    }

    /// As a table.
    pub(super) fn into_table(self) -> Result<Arc<dyn TableProvider>, QueryError> {
        let table =
            StreamingTable::try_new(Arc::clone(&self.schema), vec![Arc::new(self)]).map_err(QueryError::engine)?;
        Ok(Arc::new(table))
    }
}

impl fmt::Debug for FileStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<_> = self.files.iter().map(|(path, _)| path).collect();
        f.debug_struct("FileStream").field("paths", &paths).finish_non_exhaustive()
    }
}

impl PartitionStream for FileStream {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream = RecordBatchReceiverStreamBuilder::new(Arc::clone(&self.schema), BATCHES_AHEAD);
        let (sender, this) = (stream.tx(), self.clone());
        stream.spawn_blocking(move || {
            let outer = |error: QueryError| DataFusionError::External(Box::new(error));
            for (path, open) in &this.files {
                for batch in open().map_err(outer)? {
                    let batch = batch.map_err(|source| outer(QueryError::Rows { path: path.clone(), source }))?;
                    if sender.blocking_send(Ok(batch)).is_err() {
                        // The query has what it wanted (LIMIT).
                        return Ok(());
                    }
                }
            }
            Ok(())
        });
        stream.build()
    }
}
