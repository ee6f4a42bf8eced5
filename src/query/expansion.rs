//! How large a statement becomes, told from its words before a plan is made of it.
//!
//! The engine copies a part of `WITH`, and a view, into every place that names it. Forty parts, each of which names the one
//! before twice, are 2^40 copies: planning them takes all memory, and nothing stops it. So do forty columns, each of
//! which names the one before twice, where a condition on the last is moved down to the first.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::parser::{CopyToSource, Statement};
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, ObjectName, Query, Visit, Visitor};

use super::permitted::Refusal;

/// Operators, tables and queries that copies of parts may make of a statement, beside those that are written in it. Twelve
/// parts of `SELECT * FROM p UNION ALL SELECT * FROM p` over one row, some 12 000 of these, are planned in 1.5 s and 30 MB.
const MAX_COPIED: u64 = 20_000;

/// Parts and views that name each other, at most.
const MAX_DEPTH: u64 = 1000;

/// How large a plan is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Size {
    /// Operators, tables and queries.
    nodes: u64,
    /// Queries in each other.
    depth: u64,
}

impl Size {
    /// As much of each as the larger of the two has.
    pub(super) fn max(self, other: Self) -> Self {
        Self { nodes: self.nodes.max(other.nodes), depth: self.depth.max(other.depth) }
    }

    /// That of a view.
    pub(super) fn of(plan: &LogicalPlan) -> Self {
        size(plan, &mut HashMap::new())
    }
}

fn size(plan: &LogicalPlan, known: &mut HashMap<*const LogicalPlan, Size>) -> Size {
    // Copies share what they are copies of.
    if let Some(size) = known.get(&std::ptr::from_ref(plan)) {
        return *size;
    }
    let mut found = Size { nodes: 1, depth: 0 };
    let mut inside = |plan: &LogicalPlan| {
        let inner = size(plan, known);
        found.nodes = found.nodes.saturating_add(inner.nodes);
        found.depth = found.depth.max(inner.depth);
    };
    plan.inputs().into_iter().for_each(&mut inside);
    let mut n_parts = 0_u64;
    // Nothing in the visit fails.
    _ = plan.apply_expressions(|expression| {
        expression.apply(|part| {
            n_parts += u64::from(!matches!(part, Expr::Literal(..)));
            if let Some(subquery) = subquery(part) {
                inside(subquery);
            }
            Ok(TreeNodeRecursion::Continue)
        })
    });
    found.nodes = found.nodes.saturating_add(n_parts);
    found.depth += 1;
    known.insert(std::ptr::from_ref(plan), found);
    found
}

fn subquery(expression: &Expr) -> Option<&Arc<LogicalPlan>> {
    match expression {
        Expr::ScalarSubquery(subquery) => Some(&subquery.subquery),
        Expr::Exists(exists) => Some(&exists.subquery.subquery),
        Expr::InSubquery(within) => Some(&within.subquery.subquery),
        _ => None,
    }
}

/// The names that a statement reads from, as tables of a session spell them.
pub(super) fn names(statement: &Statement) -> Vec<String> {
    struct Names(Vec<String>);
    impl Visitor for Names {
        type Break = ();
        fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
            self.0.extend(last(relation));
            ControlFlow::Continue(())
        }
    }
    let mut names = Names(Vec::new());
    visit(statement, &mut names);
    names.0.sort();
    names.0.dedup();
    names.0
}

/// Refuses a statement that becomes too large, or too deep, where its parts and these views stand in for their names.
///
/// # Errors
/// [`Refusal::Expanded`] and [`Refusal::Nested`].
pub(super) fn check(statement: &Statement, views: &BTreeMap<String, Size>) -> Result<(), Refusal> {
    let mut walk = Walk { views, frames: vec![Frame::default()], written: 0 };
    visit(statement, &mut walk);
    let total = walk.frames.first().map(|frame| frame.size).unwrap_or_default();
    let copied = total.nodes.saturating_sub(walk.written);
    if copied > MAX_COPIED {
        return Err(Refusal::Expanded { limit: MAX_COPIED, found: copied });
    }
    within_depth(total.depth)
}

fn within_depth(found: u64) -> Result<(), Refusal> {
    if found <= MAX_DEPTH {
        return Ok(());
    }
    let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    Err(Refusal::Nested { limit: number(MAX_DEPTH), found: number(found) })
}

fn visit<V: Visitor>(statement: &Statement, visitor: &mut V) {
    // Whoever visits goes on to the end.
    match statement {
        Statement::Statement(statement) => _ = statement.visit(visitor),
        Statement::CopyTo(copy) => match &copy.source {
            CopyToSource::Query(query) => _ = query.visit(visitor),
            CopyToSource::Relation(name) => _ = visitor.pre_visit_relation(name),
        },
        Statement::Explain(explain) => visit(&explain.statement, visitor),
        Statement::CreateExternalTable(_) | Statement::Reset(_) => {}
    }
}

/// The last part of a name, as SQL folds it.
fn last(name: &ObjectName) -> Option<String> {
    name.0.last().and_then(|part| part.as_ident()).map(|part| part.value.to_lowercase())
}

/// A query under way.
#[derive(Default)]
struct Frame {
    /// The queries of its `WITH`, by address, and their names.
    parts: Vec<(*const Query, String)>,
    /// Those that are read.
    known: BTreeMap<String, Size>,
    /// What was found in it so far; the depth without itself.
    size: Size,
}

impl Frame {
    fn add(&mut self, size: Size) {
        self.size.nodes = self.size.nodes.saturating_add(size.nodes);
        self.size.depth = self.size.depth.max(size.depth);
    }
}

struct Walk<'a> {
    views: &'a BTreeMap<String, Size>,
    frames: Vec<Frame>,
    /// What the text itself has.
    written: u64,
}

impl Walk<'_> {
    fn one(&mut self) {
        self.written += 1;
        if let Some(frame) = self.frames.last_mut() {
            frame.add(Size { nodes: 1, depth: 0 });
        }
    }
}

impl Visitor for Walk<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let parts = query.with.iter().flat_map(|with| &with.cte_tables);
        let parts = parts.map(|part| (std::ptr::from_ref(part.query.as_ref()), part.alias.name.value.to_lowercase()));
        self.frames.push(Frame { parts: parts.collect(), ..Frame::default() });
        self.one();
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let Some(Frame { mut size, .. }) = self.frames.pop() else { return ControlFlow::Continue(()) };
        size.depth += 1;
        let Some(outer) = self.frames.last_mut() else { return ControlFlow::Continue(()) };
        match outer.parts.iter().find(|(part, _)| std::ptr::eq(*part, query)) {
            // It is copied to where it is named.
            Some((_, name)) => {
                let known = outer.known.entry(name.clone()).or_default();
                *known = known.max(size);
            }
            None => outer.add(size),
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        self.one();
        let Some(name) = last(relation) else { return ControlFlow::Continue(()) };
        let part = self.frames.iter().rev().find_map(|frame| frame.known.get(&name));
        if let Some(size) = part.or_else(|| self.views.get(&name)).copied()
            && let Some(frame) = self.frames.last_mut()
        {
            frame.add(size);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &SqlExpr) -> ControlFlow<()> {
        if !matches!(expression, SqlExpr::Value(_)) {
            self.one();
        }
        ControlFlow::Continue(())
    }
}

/// Refuses a plan in which a condition on a column becomes too large where the column is replaced by what it is made of.
///
/// # Errors
/// [`Refusal::Expanded`].
pub(super) fn check_columns(plan: &LogicalPlan) -> Result<(), Refusal> {
    let mut largest = 0;
    columns(plan, &mut HashMap::new(), &mut largest);
    if largest > MAX_COPIED {
        return Err(Refusal::Expanded { limit: MAX_COPIED, found: largest });
    }
    Ok(())
}

type Columns = Rc<[u64]>;

/// The size of each column of a plan in terms of its tables; `largest` is that of what is asked about columns.
fn columns(plan: &LogicalPlan, known: &mut HashMap<*const LogicalPlan, Columns>, largest: &mut u64) -> Columns {
    if let Some(found) = known.get(&std::ptr::from_ref(plan)) {
        return Rc::clone(found);
    }
    let inputs: Vec<(&LogicalPlan, Columns)> =
        plan.inputs().into_iter().map(|input| (input, columns(input, known, largest))).collect();
    let mut inner = Vec::new();
    let mut expression_size = |expression: &Expr| {
        let mut size = 0_u64;
        // Nothing in the visit fails.
        _ = expression.apply(|part| {
            let of_part = match part {
                Expr::Column(column) => inputs.iter().find_map(|(input, sizes)| {
                    input.schema().maybe_index_of_column(column).and_then(|at| sizes.get(at)).copied()
                }),
                Expr::Literal(..) => Some(0),
                _ => None,
            };
            size = size.saturating_add(of_part.unwrap_or(1));
            if let Some(subquery) = subquery(part) {
                inner.push(Arc::clone(subquery));
            }
            Ok::<_, DataFusionError>(TreeNodeRecursion::Continue)
        });
        size
    };
    let n_columns = plan.schema().fields().len();
    let found: Vec<u64> = match plan {
        LogicalPlan::Projection(projection) => projection.expr.iter().map(&mut expression_size).collect(),
        LogicalPlan::Union(_) => {
            let of = |at: usize| inputs.iter().filter_map(|(_, sizes)| sizes.get(at)).copied().max().unwrap_or(1);
            (0..n_columns).map(of).collect()
        }
        LogicalPlan::Aggregate(aggregate) => {
            aggregate.group_expr.iter().chain(&aggregate.aggr_expr).map(&mut expression_size).collect()
        }
        // Those of its inputs, in their order.
        _ => inputs.iter().flat_map(|(_, sizes)| sizes.iter().copied()).collect(),
    };
    if !matches!(plan, LogicalPlan::Projection(_)) {
        let mut asked = 0_u64;
        _ = plan.apply_expressions(|expression| {
            asked = asked.saturating_add(expression_size(expression));
            Ok(TreeNodeRecursion::Continue)
        });
        *largest = (*largest).max(asked);
    }
    for subquery in &inner {
        columns(subquery, known, largest);
    }
    let mut found = found;
    found.resize(n_columns, 1);
    let found: Columns = found.into();
    known.insert(std::ptr::from_ref(plan), Rc::clone(&found));
    found
}
