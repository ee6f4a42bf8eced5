//! The one way into the engine for the text of a statement: whoever answers SQL, for a user or for a stranger, has it parsed
//! and planned here, or asks here before somebody else does.
//!
//! What plans goes down into whatever is in each other, so it needs [`PLANNING_STACK`].

use std::collections::{BTreeMap, VecDeque};

use datafusion::common::TableReference;
use datafusion::datasource::ViewTable;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::{DFParser, Statement};

use super::expansion::{self, Size};
use super::nesting;
use super::permitted::{self, Refusal};
#[cfg(feature = "cluster")]
use super::served;

/// Bytes of stack for whoever plans a statement, of which only what is used is taken: the engine goes down into whatever is
/// in each other.
pub(crate) const PLANNING_STACK: usize = 256 << 20;

/// The statements in `sql`.
///
/// # Errors
/// [`Refusal`] among those of the engine, or what is wrong with the text.
pub(super) fn parse(sql: &str) -> Result<VecDeque<Statement>, DataFusionError> {
    nesting::check(sql).map_err(refused)?;
    DFParser::parse_sql(sql)
}

/// The plan of a statement, within the bounds of what a statement may be.
///
/// # Errors
/// As [`parse`].
pub(super) async fn plan(state: &SessionState, statement: Statement) -> Result<LogicalPlan, DataFusionError> {
    check_statement(state, &statement).await?;
    let plan = state.statement_to_plan(statement).await?;
    check_plan(&plan)?;
    Ok(plan)
}

/// Refuses the text of a client's query that would not be planned by [`plan`], or does more than read, where somebody else
/// plans it.
///
/// # Errors
/// As [`parse`].
#[cfg(feature = "cluster")]
pub(crate) async fn check(state: &SessionState, sql: &str) -> Result<(), DataFusionError> {
    let statements: Vec<Statement> = parse(sql)?.into();
    served::check(&statements).map_err(refused)?;
    for statement in &statements {
        check_statement(state, statement).await?;
    }
    Ok(())
}

/// Refuses a plan that becomes too large while it is optimised.
///
/// # Errors
/// [`Refusal`] as an error of the engine.
pub(crate) fn check_plan(plan: &LogicalPlan) -> Result<(), DataFusionError> {
    expansion::check_columns(plan).map_err(refused)
}

async fn check_statement(state: &SessionState, statement: &Statement) -> Result<(), DataFusionError> {
    permitted::check_clauses(statement).map_err(refused)?;
    let mut views = BTreeMap::new();
    for name in expansion::names(statement) {
        let Ok(schema) = state.schema_for_ref(TableReference::bare(name.as_str())) else { continue };
        // A statement may spell a name in any case, so that all that fold to it are held against it.
        for spelt in schema.table_names().into_iter().filter(|spelt| spelt.to_lowercase() == name) {
            let table = schema.table(&spelt).await?;
            if let Some(view) = table.as_ref().and_then(|table| table.downcast_ref::<ViewTable>()) {
                let size: &mut Size = views.entry(name.clone()).or_default();
                *size = size.max(Size::of(view.logical_plan()));
            }
        }
    }
    expansion::check(statement, &views).map_err(refused)
}

/// What is refused, as an error of the engine.
pub(super) fn refused(refusal: Refusal) -> DataFusionError {
    DataFusionError::External(Box::new(refusal))
}
