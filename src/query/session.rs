//! A DataFusion context, the threads it runs on, and the tables it knows by name.

use std::collections::{BTreeSet, VecDeque};
use std::panic;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{DynamicFileCatalog, TableProvider};
use datafusion::common::TableReference;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{FairSpillPool, GreedyMemoryPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use tokio::runtime::Runtime;

use crate::guard;
use crate::interrupt::Interrupt;
use crate::memory;
use crate::query::float_statistics::FloatStatistics;
use crate::query::functions::Measures;
use crate::query::gate::PLANNING_STACK;
use crate::query::in_order::InOrder;
use crate::query::path_tables::{self, PathTables};
use crate::query::permitted::{self, Freedom, Refusal};
use crate::query::source::{RunFiles, Source, table_name};
use crate::query::views::FurtherReference;
use crate::query::{
    Elsewhere, Extra, FUNCTIONS, Function, QueryError, Stop, functions, gate, parquet_table, text_table, views,
};
use crate::table::{REJECTS, ReferenceTable, check_reference_name, references, sql_name};
use crate::tokenize::TokenizerFiles;

/// How often a query that computes looks whether it was stopped.
const TICK: Duration = Duration::from_millis(50);

/// Bytes of stack of each thread that computes, which goes down into expressions.
const COMPUTING_STACK: usize = 16 << 20;

/// Memory that each part of a query which runs beside others should have at least, in bytes: with less there are fewer
/// such parts.
const PART_BYTES: u64 = 64 << 20;

/// Most that a sort sets aside for merging what it spilt, in bytes: what DataFusion does by itself.
const MERGE_BYTES: u64 = 10 << 20;

/// The zone of times that have one, unless SQL says another: `now()` is in it, and casts to `TIMESTAMPTZ` are.
const TIME_ZONE: &str = "+00:00";

/// What a session may use.
#[derive(Debug, Default)]
pub struct Resources {
    /// Bytes that sorts, groups and joins may hold together, `None` for as many as the machine has. Beyond them sorts and groups
    /// go to files in the temporary folder of the system; what cannot, as the smaller side of a join, is an error. What is
    /// on the way from one operator to the next is not counted.
    pub memory_limit: Option<u64>,
    /// What `n_tokens`, `tokenize` and `token_text` ask, and the tokens of `logps`.
    pub tokenizer: Option<TokenizerFiles>,
    /// Functions beside those of [`FUNCTIONS`].
    pub functions: Vec<Extra>,
    /// Runs the queries elsewhere; `None` for here.
    pub elsewhere: Option<Arc<dyn Elsewhere>>,
    /// Stops the query at hand.
    pub interrupt: Interrupt,
    /// In which order rows are taken in where SQL leaves it open.
    pub row_order: RowOrder,
}

/// In which order rows are taken in where SQL leaves it open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RowOrder {
    /// As they come, from files that are read side by side: sums of floats differ in their last bits from one time to the
    /// next.
    #[default]
    AsTheyCome,
    /// As they stand, one file after the other: the same answer to the bit each time, on one thread.
    OfFiles,
}

/// Answers SQL over the paths it was given.
///
/// Its methods block, on threads of their own: they must not be called from inside another asynchronous runtime.
pub struct Session {
    runtime: Runtime,
    ctx: SessionContext,
    tokenizer: Option<Arc<TokenizerFiles>>,
    functions: Vec<Function>,
    elsewhere: Option<Arc<dyn Elsewhere>>,
    interrupt: Interrupt,
    /// Names that statements cannot give to something else.
    fixed: BTreeSet<String>,
    /// What was read so far.
    read: ReadPaths,
}

/// The paths that a session has opened, as the file system spells them.
#[derive(Debug, Clone, Default)]
pub(super) struct ReadPaths(Arc<Mutex<BTreeSet<PathBuf>>>);

impl ReadPaths {
    pub(super) fn add(&self, path: &Path) {
        if let Ok(path) = path.canonicalize() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(path);
        }
    }

    fn has(&self, path: &Path) -> bool {
        let Ok(path) = path.canonicalize() else { return false };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|read| path.starts_with(read))
    }
}

impl Session {
    /// A session without tables, without a tokenizer and without limits.
    pub fn new() -> Result<Self, QueryError> {
        Self::with(Resources::default())
    }

    /// A session without tables that may use so much.
    pub fn with(resources: Resources) -> Result<Self, QueryError> {
        let Resources { memory_limit, tokenizer, functions: extras, elsewhere, interrupt, row_order } = resources;
        let runtime = guard::runtime(None, COMPUTING_STACK);
        let runtime = runtime.map_err(|source| QueryError::Runtime { source })?;
        let wrap = |source| QueryError::engine(source);
        let (mut config, environment) = bounded(memory_limit).map_err(wrap)?;
        if row_order == RowOrder::OfFiles {
            config = config.with_target_partitions(1);
        }
        let ctx = SessionContext::new_with_config_rt(config.with_information_schema(true), environment);
        let read = ReadPaths::default();
        let measures = Measures::of(&ctx);
        let inner = Arc::clone(ctx.state_ref().read().catalog_list());
        let catalogs = Arc::new(DynamicFileCatalog::new(inner, Arc::new(PathTables::new(&read))));
        let state = ctx.into_state_builder().with_catalog_list(catalogs);
        let state = state.with_analyzer_rule(Arc::new(measures));
        let state = state.with_physical_optimizer_rule(Arc::new(FloatStatistics));
        let state = match row_order {
            RowOrder::AsTheyCome => state,
            RowOrder::OfFiles => state.with_physical_optimizer_rule(Arc::new(InOrder)),
        };
        let state = state.build();
        let ctx: SessionContext = match &elsewhere {
            None => state.into(),
            Some(elsewhere) => elsewhere.upgrade(state).map_err(wrap)?.into(),
        };
        let tokenizer = tokenizer.map(Arc::new);
        functions::register_functions(&ctx, tokenizer.as_ref());
        let mut functions = FUNCTIONS.to_vec();
        for Extra { function, udf } in extras {
            functions.push(function);
            ctx.register_udf(udf);
        }
        functions.sort_by_key(Function::name);
        Ok(Self { runtime, ctx, tokenizer, functions, elsewhere, interrupt, fixed: BTreeSet::new(), read })
    }

    /// Registers a table, a run or a data file under the names that [the module](super) lists; returns them.
    ///
    /// # Errors
    /// If the path is none of these, cannot be read, or has a name that is taken.
    pub fn register(&mut self, path: &Path) -> Result<Vec<String>, QueryError> {
        match Source::of(path)? {
            Source::Table => self.register_table(path, &Names::plain()),
            Source::Run(run) => self.register_run(path, &run, &Names::plain()),
            Source::File(_) | Source::Files(..) => {
                self.add(&table_name(path), path, path_tables::open(path)?).map(|name| vec![name])
            }
        }
    }

    /// Registers a table, a run or a data file under a name of the user's: what would be `pairs` is `name`, and whatever
    /// else comes with it, as `scored`, `logps` or the `metrics` of a run, is `<name>_scored` and so on.
    ///
    /// # Errors
    /// As [`register`](Self::register).
    pub fn register_as(&mut self, name: &str, path: &Path) -> Result<Vec<String>, QueryError> {
        match Source::of(path)? {
            Source::Table => self.register_table(path, &Names::under(name)),
            Source::Run(run) => self.register_run(path, &run, &Names::under(name)),
            Source::File(_) | Source::Files(..) => {
                self.add(name, path, path_tables::open(path)?).map(|name| vec![name])
            }
        }
    }

    /// Registers a log-prob table, or one part of one, as `pairs` and what comes with it.
    ///
    /// # Errors
    /// As [`register`](Self::register).
    pub fn register_pairs(&mut self, path: &Path) -> Result<Vec<String>, QueryError> {
        self.register_table(path, &Names::plain())
    }

    /// The names a query can use, sorted; paths work besides.
    pub fn tables(&self) -> Vec<String> {
        let schema = self.ctx.catalog("datafusion").and_then(|catalog| catalog.schema("public"));
        let mut names = schema.map(|schema| schema.table_names()).unwrap_or_default();
        names.sort();
        names
    }

    /// The functions it has beside those of DataFusion, in the order of their names.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// All rows of the last of the statements in `sql`.
    pub fn query(&self, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
        let mut rows = Vec::new();
        for statement in self.parse(sql)? {
            rows = self.execute(statement)?.collect::<Result<_, _>>()?;
        }
        Ok(rows)
    }

    /// The rows of the last of the statements in `sql`, computed as they are asked for.
    ///
    /// # Errors
    /// If a statement is wrong, or one before the last fails.
    pub fn rows(
        &self,
        sql: &str,
    ) -> Result<impl Iterator<Item = Result<RecordBatch, QueryError>> + use<'_>, QueryError> {
        let mut statements = self.parse(sql)?;
        let last = statements.pop_back();
        for statement in statements {
            self.execute(statement)?.collect::<Result<Vec<_>, _>>()?;
        }
        Ok(last.map(|statement| self.execute(statement)).transpose()?.into_iter().flatten())
    }

    /// The rows of the one query in `sql`, which changes nothing: SQL of somebody else's.
    ///
    /// # Errors
    /// [`Refusal`] if it is more than a query, or anything else than one; otherwise as [`rows`](Self::rows).
    pub fn read(&self, sql: &str) -> Result<Rows<'_>, QueryError> {
        let mut statements = self.parse(sql)?;
        let n_statements = statements.len();
        match statements.pop_front() {
            Some(statement) if n_statements == 1 => self.start(statement, Freedom::Nothing),
            _ => Err(Refusal::NotOneQuery { found: format!("{n_statements} statements") }.into()),
        }
    }

    /// The columns of the one query in `sql` that [`read`](Self::read) would answer: it is planned, and none of it is run.
    ///
    /// # Errors
    /// As [`read`](Self::read), as far as a plan tells.
    pub fn look_at(&self, sql: &str) -> Result<SchemaRef, QueryError> {
        let mut statements = self.parse(sql)?;
        let n_statements = statements.len();
        let statement = match statements.pop_front() {
            Some(statement) if n_statements == 1 => statement,
            _ => return Err(Refusal::NotOneQuery { found: format!("{n_statements} statements") }.into()),
        };
        let text = statement.to_string();
        on_planning_stack(move || {
            let planned = async {
                let plan = self.permitted(statement, Freedom::Nothing).await?;
                Ok(self.ctx.state().create_physical_plan(&plan).await?.schema())
            };
            self.wait(planned).map_err(|error| self.with_text(error, text))
        })
    }

    /// Whether a query or a registered name has opened this path, or a folder it is in.
    pub(super) fn has_read(&self, path: &Path) -> bool {
        self.read.has(path)
    }

    /// The statements in `sql`.
    pub(super) fn parse(&self, sql: &str) -> Result<VecDeque<Statement>, QueryError> {
        gate::parse(sql).map_err(|source| self.error_in(source, Some(sql.to_owned())))
    }

    /// Plans a statement and starts it.
    ///
    /// # Errors
    /// [`Refusal`] if it would change what is not the session's own.
    pub(super) fn execute(&self, statement: Statement) -> Result<Rows<'_>, QueryError> {
        self.start(statement, Freedom::Session)
    }

    fn start(&self, statement: Statement, freedom: Freedom) -> Result<Rows<'_>, QueryError> {
        on_planning_stack(move || self.plan(statement, freedom))
    }

    fn plan(&self, statement: Statement, freedom: Freedom) -> Result<Rows<'_>, QueryError> {
        let text = statement.to_string();
        let stop = Stop::new(&self.interrupt);
        let start = async {
            let rows = match self.permitted(statement, freedom).await? {
                // These change the session itself.
                plan @ (LogicalPlan::Ddl(_) | LogicalPlan::Statement(_)) => self.ctx.execute_logical_plan(plan).await?,
                plan => self.stopped_by(&stop).execute_logical_plan(plan).await?,
            };
            let context = Arc::new(rows.task_ctx());
            let plan = rows.create_physical_plan().await?;
            Ok((execute_stream(Arc::clone(&plan), context)?, plan))
        };
        let (stream, plan) = self.wait(start).map_err(|error| self.with_text(error, text))?;
        Ok(Rows { session: self, plan, stream, stop, has_ended: false })
    }

    /// The plan of a statement that changes no more than it may.
    async fn permitted(&self, statement: Statement, freedom: Freedom) -> Result<LogicalPlan, DataFusionError> {
        let own = self.tables();
        let is_own = |name: &str| !self.fixed.contains(name) && own.iter().any(|table| table == name);
        let plan = gate::plan(&self.ctx.state(), statement).await?;
        permitted::check_plan(&plan, freedom, &self.fixed, is_own).map_err(gate::refused)?;
        Ok(plan)
    }

    /// The same tables, functions and limits for one statement, whose functions see when it is stopped.
    fn stopped_by(&self, stop: &Stop) -> SessionContext {
        let mut state = self.ctx.state();
        state.config_mut().options_mut().extensions.insert(stop.clone());
        SessionContext::new_with_state(state)
    }

    /// What `work` comes to, unless somebody stops it before.
    ///
    /// Operators yield between batches, so that it is looked often enough; dropping the work ends the tasks it started.
    pub(super) fn wait<T>(&self, work: impl Future<Output = Result<T, DataFusionError>>) -> Result<T, QueryError> {
        let watched = async {
            let mut work = pin!(work);
            loop {
                if self.interrupt.is_set() {
                    return Err(QueryError::Interrupted);
                }
                if let Ok(done) = tokio::time::timeout(TICK, &mut work).await {
                    return match done {
                        // What fails then has noticed it by itself.
                        Err(_) if self.interrupt.is_set() => Err(QueryError::Interrupted),
                        done => done.map_err(|source| self.error(source)),
                    };
                }
            }
        };
        guard::catch(|| self.runtime.block_on(watched)).unwrap_or_else(|panicked| Err(self.error(external(panicked))))
    }

    /// The engine's own view of the session.
    pub(super) fn context(&self) -> &SessionContext {
        &self.ctx
    }

    fn register_table(&mut self, path: &Path, names: &Names) -> Result<Vec<String>, QueryError> {
        let table = ReferenceTable::open(path)?;
        let pairs = names.of("pairs");
        let mut added = vec![self.add(&pairs, path, path_tables::open_pairs(&table)?)?];
        let files = table.signals();
        let signals = if files.is_empty() {
            None
        } else {
            Some(self.add(&names.of("signals"), path, parquet_table::open_signals(&files)?)?)
        };
        added.extend(signals.clone());
        let scored = names.of("scored");
        self.add_view(&scored, path, &views::scored(&scored, &pairs, table.schema(), signals.as_deref()))?;
        let logps = names.of("logps");
        self.add_view(&logps, path, &views::logps(&logps, &pairs, self.has_tokenizer_of(&table)))?;
        added.extend([scored, logps]);
        if let Some(file) = table.rejects() {
            added.push(self.add(&names.of("rejects"), &path.join(REJECTS), parquet_table::open(&[file])?)?);
        }
        let mut further = Vec::new();
        for (name, folder) in references(path)? {
            check_reference_name(path, &name)?;
            let prefix = sql_name(&name);
            let pairs = format!("{pairs}_{prefix}");
            let reference = ReferenceTable::open(&folder)?;
            added.push(self.add(&pairs, &folder, path_tables::open_pairs(&reference)?)?);
            further.push(FurtherReference { pairs, prefix });
        }
        if !further.is_empty() {
            let by_reference = names.of("by_reference");
            self.add_view(&by_reference, path, &views::by_reference(&by_reference, &pairs, &further))?;
            added.push(by_reference);
        }
        Ok(added)
    }

    /// Whether the tokens of a table are those of the tokenizer at hand.
    fn has_tokenizer_of(&self, table: &ReferenceTable) -> bool {
        self.tokenizer.as_ref().is_some_and(|tokenizer| tokenizer.digest() == table.provenance().tokenizer_digest)
    }

    fn register_run(&mut self, path: &Path, run: &RunFiles, names: &Names) -> Result<Vec<String>, QueryError> {
        let mut added = Vec::new();
        if let Some(reference) = &run.reference {
            added.extend(self.register_table(reference, names)?);
        }
        if let Some(file) = &run.metrics {
            text_table::check_metrics(file)?;
            added.push(self.add(&names.of("metrics"), path, path_tables::open(file)?)?);
        }
        if let Some(file) = &run.findings {
            added.push(self.add(&names.of("findings"), path, path_tables::open(file)?)?);
        }
        if !run.evals.is_empty() {
            added.push(self.add(&names.of("evals"), path, parquet_table::open_evals(&run.evals)?)?);
        }
        if !run.samples.is_empty() {
            added.push(self.add(&names.of("samples"), path, text_table::open_samples(&run.samples)?)?);
        }
        Ok(added)
    }

    pub(super) fn add(&mut self, name: &str, path: &Path, table: Arc<dyn TableProvider>) -> Result<String, QueryError> {
        self.check_free(name, path)?;
        // A bare reference: dots in a name stay part of it.
        self.ctx.register_table(TableReference::bare(name), table).map_err(|source| self.error(source))?;
        self.fixed.insert(name.to_owned());
        self.read.add(path);
        Ok(name.to_owned())
    }

    pub(super) fn add_view(&mut self, name: &str, path: &Path, sql: &str) -> Result<(), QueryError> {
        self.check_free(name, path)?;
        self.query(sql)?;
        self.fixed.insert(name.to_owned());
        Ok(())
    }

    fn check_free(&self, name: &str, path: &Path) -> Result<(), QueryError> {
        if self.tables().iter().any(|taken| taken == name) {
            return Err(QueryError::NameTaken { name: name.to_owned(), path: path.to_owned() });
        }
        Ok(())
    }

    pub(super) fn error(&self, source: DataFusionError) -> QueryError {
        self.error_in(source, None)
    }

    /// An error of the engine with the statement it is of.
    fn with_text(&self, error: QueryError, text: String) -> QueryError {
        match error {
            QueryError::Sql { source, .. } => self.error_in(*source, Some(text)),
            error => error,
        }
    }

    /// The same of a statement.
    fn error_in(&self, source: DataFusionError, sql: Option<String>) -> QueryError {
        // One of ours that the engine only hands on.
        if let DataFusionError::External(inner) = &source
            && let Some(refusal) = inner.downcast_ref::<Refusal>()
        {
            return refusal.clone().into();
        }
        QueryError::Sql { source: Box::new(source), tables: self.tables(), sql }
    }
}

/// What `plan` comes to, on a stack that is large enough for it.
fn on_planning_stack<T: Send>(plan: impl FnOnce() -> Result<T, QueryError> + Send) -> Result<T, QueryError> {
    thread::scope(|scope| {
        let planner = thread::Builder::new().stack_size(PLANNING_STACK).spawn_scoped(scope, plan);
        let planner = planner.map_err(|source| QueryError::Runtime { source })?;
        planner.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked))
    })
}

/// What the tables and views of a path are called.
struct Names {
    /// The name of the user's, if there is one.
    name: Option<String>,
}

impl Names {
    fn plain() -> Self {
        Self { name: None }
    }

    fn under(name: &str) -> Self {
        Self { name: Some(name.to_owned()) }
    }

    fn of(&self, what: &str) -> String {
        match &self.name {
            None => what.to_owned(),
            Some(name) if what == "pairs" => name.clone(),
            Some(name) => format!("{name}_{what}"),
        }
    }
}

/// A configuration and an environment in which operators hold so many bytes at most.
fn bounded(memory_limit: Option<u64>) -> Result<(SessionConfig, Arc<RuntimeEnv>), DataFusionError> {
    let mut config = SessionConfig::new();
    // Without it a time with a zone would be one without, and a day of a zone a day of UTC.
    config.options_mut().execution.time_zone = Some(TIME_ZONE.to_owned());
    // What files say of their rows is not what is in them: a count or a bound would be answered without a look.
    config.options_mut().execution.collect_statistics = false;
    let Some(limit) = memory_limit else {
        let Some(available) = memory::available_bytes() else { return Ok((config, Arc::new(RuntimeEnv::default()))) };
        let pool = GreedyMemoryPool::new(usize::try_from(available).unwrap_or(usize::MAX));
        return Ok((config, RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool)).build_arc()?));
    };
    let most = usize::try_from(limit / PART_BYTES).unwrap_or(usize::MAX).max(1);
    let n_parts = config.target_partitions().min(most);
    let merge = MERGE_BYTES.min(limit / (4 * n_parts as u64));
    let config = config
        .with_target_partitions(n_parts)
        .with_sort_spill_reservation_bytes(usize::try_from(merge).unwrap_or(usize::MAX));
    let pool = FairSpillPool::new(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok((config, RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool)).build_arc()?))
}

/// A panic of the engine: what a damaged file does to some of its readers.
fn external(panicked: guard::Panicked) -> DataFusionError {
    DataFusionError::External(Box::new(panicked))
}

/// The rows of one statement, computed as they are asked for.
pub struct Rows<'a> {
    session: &'a Session,
    plan: Arc<dyn ExecutionPlan>,
    stream: SendableRecordBatchStream,
    stop: Stop,
    /// Whether the last row or an error has come.
    has_ended: bool,
}

impl Rows<'_> {
    /// The columns; none for a statement that answers nothing.
    pub fn schema(&self) -> SchemaRef {
        self.stream.schema()
    }
}

impl Drop for Rows<'_> {
    fn drop(&mut self) {
        self.stop.ask();
        if let Some(elsewhere) = self.session.elsewhere.as_ref().filter(|_| !self.has_ended) {
            self.session.runtime.block_on(elsewhere.give_up(&self.plan));
        }
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<RecordBatch, QueryError>;

    fn next(&mut self) -> Option<Self::Item> {
        let stream = &mut self.stream;
        let next = std::future::poll_fn(|ctx| stream.as_mut().poll_next(ctx).map(Option::transpose));
        let next = self.session.wait(next).transpose();
        self.has_ended = !matches!(next, Some(Ok(_) | Err(QueryError::Interrupted)));
        next
    }
}
