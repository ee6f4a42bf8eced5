//! A DataFusion context, the threads it runs on, and the tables it knows by name.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{DynamicFileCatalog, TableProvider};
use datafusion::common::TableReference;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::{DFParser, Statement};
use tokio::runtime::{Builder, Runtime};

use crate::guard;
use crate::query::path_tables::{self, PathTables};
use crate::query::source::{RunFiles, Source, identifier, table_name};
use crate::query::views::FurtherReference;
use crate::query::{QueryError, parquet_table, text_table, views};
use crate::table::{REJECTS, ReferenceTable, references};

/// Answers SQL over the paths it was given.
///
/// Its methods block, on threads of their own: they must not be called from inside another asynchronous runtime.
pub struct Session {
    runtime: Runtime,
    ctx: SessionContext,
}

impl Session {
    /// A session without tables.
    pub fn new() -> Result<Self, QueryError> {
        let runtime =
            Builder::new_multi_thread().enable_all().build().map_err(|source| QueryError::Runtime { source })?;
        let ctx = SessionContext::new_with_config(SessionConfig::new().with_information_schema(true));
        let inner = Arc::clone(ctx.state_ref().read().catalog_list());
        let catalogs = Arc::new(DynamicFileCatalog::new(inner, Arc::new(PathTables)));
        let ctx = ctx.into_state_builder().with_catalog_list(catalogs).build().into();
        Ok(Self { runtime, ctx })
    }

    /// Registers a table, a run or a data file under the names that [the module](super) lists; returns them.
    ///
    /// # Errors
    /// If the path is none of these, cannot be read, or has a name that is taken.
    pub fn register(&mut self, path: &Path) -> Result<Vec<String>, QueryError> {
        match Source::of(path)? {
            Source::Table => self.register_table(path, &TableNames::plain()),
            Source::Run(run) => self.register_run(path, &run),
            Source::File(kind) => {
                self.add(&table_name(path), path, path_tables::open_file(path, kind)?).map(|name| vec![name])
            }
        }
    }

    /// Registers a table or a data file under a name of the user's: `name`, for a table also `<name>_scored`,
    /// `<name>_rejects` and, where it has further references, `<name>_<reference>` and `<name>_by_reference`. Of a run
    /// it takes the table.
    ///
    /// # Errors
    /// As [`register`](Self::register).
    pub fn register_as(&mut self, name: &str, path: &Path) -> Result<Vec<String>, QueryError> {
        match Source::of(path)? {
            Source::Table => self.register_table(path, &TableNames::under(name)),
            Source::Run(RunFiles { reference: Some(reference), .. }) => self.register_as(name, &reference),
            Source::Run(_) => Err(QueryError::UnknownFolder { path: path.to_owned() }),
            Source::File(kind) => self.add(name, path, path_tables::open_file(path, kind)?).map(|name| vec![name]),
        }
    }

    /// The names a query can use, sorted; paths work besides.
    pub fn tables(&self) -> Vec<String> {
        let schema = self.ctx.catalog("datafusion").and_then(|catalog| catalog.schema("public"));
        let mut names = schema.map(|schema| schema.table_names()).unwrap_or_default();
        names.sort();
        names
    }

    /// All rows of the last of the statements in `sql`.
    pub fn query(&self, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
        let mut rows = Vec::new();
        for statement in self.parse(sql)? {
            rows = self.execute(statement)?.collect::<Result<_, _>>()?;
        }
        Ok(rows)
    }

    /// The statements in `sql`.
    pub(super) fn parse(&self, sql: &str) -> Result<VecDeque<Statement>, QueryError> {
        DFParser::parse_sql(sql).map_err(|source| self.error(source))
    }

    /// Plans a statement and starts it.
    pub(super) fn execute(&self, statement: Statement) -> Result<Rows<'_>, QueryError> {
        let start = async {
            let plan = self.ctx.state().statement_to_plan(statement).await?;
            self.ctx.execute_logical_plan(plan).await?.execute_stream().await
        };
        let started = guard::catch(|| self.runtime.block_on(start)).unwrap_or_else(|panicked| Err(external(panicked)));
        Ok(Rows { session: self, stream: started.map_err(|source| self.error(source))? })
    }

    fn register_table(&mut self, path: &Path, names: &TableNames) -> Result<Vec<String>, QueryError> {
        let table = ReferenceTable::open(path)?;
        let mut added = vec![self.add(&names.pairs, path, path_tables::open_pairs(&table)?)?];
        self.add_view(&names.scored, path, &views::scored(&names.scored, &names.pairs, table.schema()))?;
        added.push(names.scored.clone());
        if let Some(file) = table.rejects() {
            added.push(self.add(&names.rejects, &path.join(REJECTS), parquet_table::open(&file)?)?);
        }
        let mut further = Vec::new();
        for (name, folder) in references(path)? {
            let prefix = identifier(&name);
            let pairs = format!("{}_{prefix}", names.pairs);
            if prefix == OWN_PREFIX {
                return Err(QueryError::NameTaken { name: format!("{prefix}_…"), path: folder });
            }
            let reference = ReferenceTable::open(&folder)?;
            added.push(self.add(&pairs, &folder, path_tables::open_pairs(&reference)?)?);
            further.push(FurtherReference { pairs, prefix });
        }
        if !further.is_empty() {
            let view = views::by_reference(&names.by_reference, &names.pairs, &further);
            self.add_view(&names.by_reference, path, &view)?;
            added.push(names.by_reference.clone());
        }
        Ok(added)
    }

    fn register_run(&mut self, path: &Path, run: &RunFiles) -> Result<Vec<String>, QueryError> {
        let mut names = Vec::new();
        if let Some(reference) = &run.reference {
            names.extend(self.register_table(reference, &TableNames::plain())?);
        }
        for (name, file) in [("metrics", &run.metrics), ("findings", &run.findings)] {
            if let Some(file) = file {
                if name == "metrics" {
                    text_table::check_metrics(file)?;
                }
                names.push(self.add(name, path, path_tables::open(file)?)?);
            }
        }
        if !run.evals.is_empty() {
            names.push(self.add("evals", path, parquet_table::open_evals(&run.evals)?)?);
        }
        if !run.samples.is_empty() {
            names.push(self.add("samples", path, text_table::open_samples(&run.samples)?)?);
        }
        Ok(names)
    }

    pub(super) fn add(&mut self, name: &str, path: &Path, table: Arc<dyn TableProvider>) -> Result<String, QueryError> {
        self.check_free(name, path)?;
        // A bare reference: dots in a name stay part of it.
        self.ctx.register_table(TableReference::bare(name), table).map_err(|source| self.error(source))?;
        Ok(name.to_owned())
    }

    pub(super) fn add_view(&mut self, name: &str, path: &Path, sql: &str) -> Result<(), QueryError> {
        self.check_free(name, path)?;
        self.query(sql).map(drop)
    }

    fn check_free(&self, name: &str, path: &Path) -> Result<(), QueryError> {
        if self.tables().iter().any(|taken| taken == name) {
            return Err(QueryError::NameTaken { name: name.to_owned(), path: path.to_owned() });
        }
        Ok(())
    }

    pub(super) fn error(&self, source: DataFusionError) -> QueryError {
        QueryError::Sql { source: Box::new(source), tables: self.tables() }
    }
}

/// What the columns of a table's own reference begin with in the view over all references.
const OWN_PREFIX: &str = "ref";

/// The names of what comes with a table.
struct TableNames {
    pairs: String,
    scored: String,
    rejects: String,
    by_reference: String,
}

impl TableNames {
    fn plain() -> Self {
        let [pairs, scored, rejects, by_reference] = ["pairs", "scored", "rejects", "by_reference"].map(str::to_owned);
        Self { pairs, scored, rejects, by_reference }
    }

    fn under(name: &str) -> Self {
        let [scored, rejects, by_reference] =
            ["scored", "rejects", "by_reference"].map(|suffix| format!("{name}_{suffix}"));
        Self { pairs: name.to_owned(), scored, rejects, by_reference }
    }
}

/// A panic of the engine: what a damaged file does to some of its readers.
fn external(panicked: guard::Panicked) -> DataFusionError {
    DataFusionError::External(Box::new(panicked))
}

/// The rows of one statement, computed as they are asked for.
pub struct Rows<'a> {
    session: &'a Session,
    stream: SendableRecordBatchStream,
}

impl Rows<'_> {
    /// The columns; none for a statement that answers nothing.
    pub fn schema(&self) -> SchemaRef {
        self.stream.schema()
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<RecordBatch, QueryError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = std::future::poll_fn(|ctx| self.stream.as_mut().poll_next(ctx));
        let batch = guard::catch(|| self.session.runtime.block_on(next))
            .unwrap_or_else(|panicked| Some(Err(external(panicked))))?;
        Some(batch.map_err(|source| self.session.error(source)))
    }
}
