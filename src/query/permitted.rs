//! What a statement may do beside reading: SQL here changes no file, and no table of the user's.
//!
//! DataFusion plans much that writes (`COPY`, `INSERT`, `CREATE EXTERNAL TABLE`) and drops parts of a query that it does not
//! know (`TABLESAMPLE`, `FOR UPDATE`, `PREWHERE`) without a word. The first would destroy a table, the second answers another
//! question than was asked; both are refused by name before anything runs.
//!
//! A console may have views, tables in memory and settings of its own. What was registered under a name keeps it: a view of
//! that name would stand in for the table in every query that follows.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::common::TableReference;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{DdlStatement, Expr, LogicalPlan, Statement as PlanStatement, Volatility};
use datafusion::sql::parser::{CopyToSource, Statement};
use datafusion::sql::sqlparser::ast::{Query, Select, SetExpr, TableFactor, Visit, Visitor};

use crate::error::Hint;

/// What statements may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freedom {
    /// Views, tables in memory and settings of the session: a console.
    Session,
    /// Nothing: SQL of somebody else, as a check of a user's.
    Nothing,
}

/// Why a statement is not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A statement that writes into files or tables.
    #[error("`{statement}` writes, and SQL only reads here")]
    Writes {
        /// Its first words.
        statement: String,
    },
    /// A file as a table of the session.
    #[error("`CREATE EXTERNAL TABLE` is not supported: a file is read by its path")]
    ExternalTable,
    /// A name that stands for what was registered.
    #[error("`{name}` is a table of this session and is not replaced, dropped or written to")]
    Taken {
        /// The name.
        name: String,
    },
    /// A name that would stand in for a path.
    #[error("`{name}` is no name of a table: in `FROM`, what has a dot or a slash is a path")]
    Path {
        /// The name.
        name: String,
    },
    /// A setting that is not the user's to change.
    #[error("setting `{name}` is fixed while the session runs")]
    Setting {
        /// The name.
        name: String,
    },
    /// Something of the engine's that a session does not need.
    #[error("`{statement}` is not supported")]
    Unsupported {
        /// Its first words.
        statement: String,
    },
    /// A part of a query that the engine would ignore.
    #[error("`{clause}` is not supported: the query would be answered without it")]
    Ignored {
        /// As SQL spells it.
        clause: &'static str,
    },
    /// A statement as deep as it is long.
    #[error("{found} operators, queries and brackets are in each other: expected at most {limit}")]
    Nested {
        /// As many as are taken.
        limit: usize,
        /// As many as there are.
        found: usize,
    },
    /// A statement whose parts name each other so often that it is much larger than it is written.
    #[error(
        "parts of `WITH`, views and columns that are used more than once make {found} copies of operators: expected at most {limit}"
    )]
    Expanded {
        /// As many as are taken.
        limit: u64,
        /// As many as there are; the largest number for more than it can say.
        found: u64,
    },
    /// A function whose answer is another one each time, in SQL that selects or judges pairs.
    #[error("`{function}()` answers differently each time, so what it selects could not be selected again")]
    Volatile {
        /// Its name.
        function: String,
    },
    /// More than a query where only one is read.
    #[error("expected one query, found {found}")]
    NotOneQuery {
        /// What is there.
        found: String,
    },
}

impl Hint for Refusal {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Writes { .. } => Some(
                "`piref sql -c 'SELECT …' -o FILE`, or `COPY (SELECT …) TO 'FILE'`, writes rows to a new file".into(),
            ),
            Self::ExternalTable => {
                Some("`FROM 'FILE'` reads a file, `CREATE VIEW name AS SELECT * FROM 'FILE'` names it".into())
            }
            Self::Taken { .. } | Self::Path { .. } => Some("choose another name".into()),
            Self::Setting { name } if name.starts_with("datafusion.runtime") => {
                Some("`--memory-limit` and the variable `TMPDIR` say what a session may use".into())
            }
            Self::Ignored { clause: "TABLESAMPLE" } => {
                Some("`ORDER BY random() LIMIT n` draws n rows, `WHERE random() < 0.1` about a tenth of them".into())
            }
            Self::Nested { .. } => Some(
                "`x IN (…)` takes any number of values, and `FROM 'FOLDER'` or `FROM 'data/*.parquet'` any number of files"
                    .into(),
            ),
            Self::Expanded { .. } => Some(
                "`CREATE TABLE name AS SELECT …` computes a part once, and what follows reads its rows".into(),
            ),
            Self::Volatile { .. } => Some(
                "`md5(pair_id)`, or any other function of the columns, draws pairs that are the same in every run"
                    .into(),
            ),
            Self::Setting { .. } | Self::Unsupported { .. } | Self::Ignored { .. } | Self::NotOneQuery { .. } => None,
        }
    }
}

/// Refuses what the parser takes and the engine would drop.
///
/// # Errors
/// [`Refusal::Ignored`] with the first such clause.
pub(super) fn check_clauses(statement: &Statement) -> Result<(), Refusal> {
    let mut clauses = Clauses;
    let found = match statement {
        Statement::Statement(statement) => statement.visit(&mut clauses),
        Statement::CopyTo(copy) => match &copy.source {
            CopyToSource::Query(query) => query.visit(&mut clauses),
            CopyToSource::Relation(_) => ControlFlow::Continue(()),
        },
        Statement::Explain(explain) => return check_clauses(&explain.statement),
        Statement::CreateExternalTable(_) | Statement::Reset(_) => ControlFlow::Continue(()),
    };
    match found {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(clause) => Err(Refusal::Ignored { clause }),
    }
}

/// Refuses what may go on without end: a stranger's query has nobody who stops it.
///
/// # Errors
/// [`Refusal::Unsupported`].
#[cfg(feature = "cluster")]
pub(super) fn check_endless(statement: &Statement) -> Result<(), Refusal> {
    struct Recursion;
    impl Visitor for Recursion {
        type Break = ();
        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            match &query.with {
                Some(with) if with.recursive => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    let found = match statement {
        Statement::Statement(statement) => statement.visit(&mut Recursion),
        Statement::Explain(explain) => return check_endless(&explain.statement),
        _ => ControlFlow::Continue(()),
    };
    match found {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Refusal::Unsupported { statement: "WITH RECURSIVE".to_owned() }),
    }
}

struct Clauses;

impl Visitor for Clauses {
    type Break = &'static str;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        let ignored = [
            (!query.locks.is_empty(), "FOR UPDATE"),
            (query.for_clause.is_some(), "FOR XML"),
            (query.settings.is_some(), "SETTINGS"),
            (query.format_clause.is_some(), "FORMAT"),
        ];
        first(&ignored)?;
        selects(&query.body)
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Self::Break> {
        match factor {
            TableFactor::Table {
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample,
                index_hints,
                ..
            } => first(&[
                (sample.is_some(), "TABLESAMPLE"),
                (version.is_some(), "FOR SYSTEM_TIME"),
                (*with_ordinality, "WITH ORDINALITY"),
                (!partitions.is_empty(), "PARTITION"),
                (json_path.is_some(), "a JSON path after a table"),
                (!with_hints.is_empty() || !index_hints.is_empty(), "a hint after a table"),
            ]),
            TableFactor::Derived { sample: Some(_), .. } => ControlFlow::Break("TABLESAMPLE"),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// The same of the selects of a query; queries inside them are visited by themselves.
fn selects(body: &SetExpr) -> ControlFlow<&'static str> {
    match body {
        SetExpr::Select(select) => check_select(select),
        SetExpr::SetOperation { left, right, .. } => {
            selects(left)?;
            selects(right)
        }
        _ => ControlFlow::Continue(()),
    }
}

fn check_select(select: &Select) -> ControlFlow<&'static str> {
    first(&[
        (select.prewhere.is_some(), "PREWHERE"),
        (!select.connect_by.is_empty(), "CONNECT BY"),
        (select.value_table_mode.is_some(), "SELECT AS"),
        (select.exclude.is_some(), "EXCLUDE after the columns"),
    ])
}

fn first(ignored: &[(bool, &'static str)]) -> ControlFlow<&'static str> {
    match ignored.iter().find(|(is_there, _)| *is_there) {
        Some((_, clause)) => ControlFlow::Break(*clause),
        None => ControlFlow::Continue(()),
    }
}

/// Refuses a plan that changes more than it may; `fixed` are the names that were registered, `own` those made since.
///
/// # Errors
/// With what the plan would change.
pub(super) fn check_plan(
    plan: &LogicalPlan,
    freedom: Freedom,
    fixed: &BTreeSet<String>,
    is_own: impl Fn(&str) -> bool,
) -> Result<(), Refusal> {
    let mut refusal = None;
    if freedom == Freedom::Nothing
        && let Some(function) = volatile(plan)
    {
        return Err(Refusal::Volatile { function });
    }
    // `EXPLAIN ANALYZE` and `PREPARE` have what they run as an input.
    let visited = plan.apply_with_subqueries(|node| {
        match check_node(node, freedom, fixed, &is_own) {
            Ok(()) => return Ok(TreeNodeRecursion::Continue),
            Err(found) => refusal = Some(found),
        }
        Ok::<_, DataFusionError>(TreeNodeRecursion::Stop)
    });
    match (refusal, visited) {
        (Some(refusal), _) => Err(refusal),
        // Nothing in the visit above fails.
        (None, _) => Ok(()),
    }
}

/// The first function of a plan that is none of its arguments alone: of chance, of the clock, of how files are read.
fn volatile(plan: &LogicalPlan) -> Option<String> {
    let mut found = None;
    let visited = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                if let Expr::ScalarFunction(call) = part
                    && call.func.signature().volatility != Volatility::Immutable
                {
                    found = Some(call.func.name().to_owned());
                    return Ok(TreeNodeRecursion::Stop);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    // Nothing in the visit above fails.
    visited.ok().and(found)
}

fn check_node(
    node: &LogicalPlan,
    freedom: Freedom,
    fixed: &BTreeSet<String>,
    is_own: &impl Fn(&str) -> bool,
) -> Result<(), Refusal> {
    let writes = |statement: &str| Err(Refusal::Writes { statement: statement.to_owned() });
    let taken = |name: &TableReference| Err(Refusal::Taken { name: name.table().to_owned() });
    match (node, freedom) {
        (LogicalPlan::Copy(_), _) => writes("COPY"),
        (LogicalPlan::Dml(dml), Freedom::Session) if is_own(dml.table_name.table()) => Ok(()),
        (LogicalPlan::Dml(dml), _) => writes(&dml.op.name().to_uppercase()),
        (LogicalPlan::Ddl(ddl), Freedom::Nothing) => writes(&first_words(ddl.name())),
        (LogicalPlan::Statement(statement), Freedom::Nothing) => {
            Err(Refusal::NotOneQuery { found: format!("`{}`", statement.name()) })
        }
        (LogicalPlan::Ddl(ddl), Freedom::Session) => match ddl {
            DdlStatement::CreateExternalTable(_) => Err(Refusal::ExternalTable),
            DdlStatement::CreateMemoryTable(table) => check_name(&table.name, fixed),
            DdlStatement::CreateView(view) => check_name(&view.name, fixed),
            DdlStatement::DropTable(drop) if fixed.contains(drop.name.table()) => taken(&drop.name),
            DdlStatement::DropView(drop) if fixed.contains(drop.name.table()) => taken(&drop.name),
            DdlStatement::DropTable(_) | DdlStatement::DropView(_) => Ok(()),
            ddl => Err(Refusal::Unsupported { statement: first_words(ddl.name()) }),
        },
        (LogicalPlan::Statement(PlanStatement::SetVariable(set)), _) => check_setting(&set.variable),
        (LogicalPlan::Statement(PlanStatement::ResetVariable(reset)), _) => check_setting(&reset.variable),
        _ => Ok(()),
    }
}

fn check_name(name: &TableReference, fixed: &BTreeSet<String>) -> Result<(), Refusal> {
    let name = name.table();
    if fixed.contains(name) {
        return Err(Refusal::Taken { name: name.to_owned() });
    }
    if name.contains(['.', '/']) {
        return Err(Refusal::Path { name: name.to_owned() });
    }
    Ok(())
}

/// Limits of the process, and where names are looked up, are not for SQL.
fn check_setting(name: &str) -> Result<(), Refusal> {
    let name = name.to_lowercase();
    if ["datafusion.runtime", "datafusion.catalog", "datafusion.execution.collect_statistics", "piref"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
    {
        return Err(Refusal::Setting { name });
    }
    Ok(())
}

/// `CREATE VIEW` of `CreateView`.
fn first_words(name: &str) -> String {
    let mut words = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(c.to_uppercase());
    }
    words
}
