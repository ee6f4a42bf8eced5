//! Which names belong to which part of a template, as `jinja2.idtracking` decides it before anything is rendered.

use std::collections::HashSet;
use std::sync::Arc;

use super::ast::{
    Arguments, CALLER, Expr, ExprKind, Filter, For, KWARGS, LOOP, Macro, Name, Scope, Stmt, StmtKind, Target, VARARGS,
};
use super::failure::{Outcome, failed};
use super::{filters, tests_of_values};

/// Fills in what a parsed template's scopes hide and what its loops and macros read, and refuses what Jinja2 refuses
/// when it compiles: unknown filters and tests, and jumps out of no loop.
pub(super) fn analyse(root: &mut Scope) -> Outcome<()> {
    Symbols::default().scope(root, None, Place { in_loop: false, soft: false })
}

/// Where a statement stands.
#[derive(Clone, Copy)]
struct Place {
    in_loop: bool,
    /// Whether it may never be reached, so that what it names is looked up only then.
    soft: bool,
}

/// Names of one scope.
#[derive(Debug, Default, Clone)]
struct Symbols {
    known: HashSet<Name>,
    stored: HashSet<Name>,
    /// Stored before anything reads them, with no such name further out.
    undefined: Vec<Name>,
}

/// Scopes from the innermost to the outermost.
#[derive(Clone, Copy)]
struct Chain<'a> {
    symbols: &'a Symbols,
    outer: Option<&'a Chain<'a>>,
}

impl Chain<'_> {
    fn knows(&self, name: Name) -> bool {
        self.symbols.known.contains(&name) || self.outer.is_some_and(|outer| outer.knows(name))
    }
}

impl Symbols {
    fn of_parameters(names: impl IntoIterator<Item = Name>) -> Self {
        let known: HashSet<Name> = names.into_iter().collect();
        Self { stored: known.clone(), known, undefined: Vec::new() }
    }

    fn load(&mut self, name: Name, outer: Option<&Chain<'_>>) {
        if !outer.is_some_and(|outer| outer.knows(name)) {
            self.known.insert(name);
        }
    }

    fn store(&mut self, name: Name, outer: Option<&Chain<'_>>) {
        self.stored.insert(name);
        if self.known.insert(name) && !outer.is_some_and(|outer| outer.knows(name)) {
            self.undefined.push(name);
        }
    }

    /// Analyses a scope whose parameters are in `self` already.
    fn scope(mut self, scope: &mut Scope, outer: Option<&Chain<'_>>, place: Place) -> Outcome<()> {
        self.visit_all(&scope.body, outer);
        scope.hidden.clone_from(&self.undefined);
        let chain = Chain { symbols: &self, outer };
        descend(&mut scope.body, &chain, place)
    }

    fn visit_all(&mut self, body: &[Stmt], outer: Option<&Chain<'_>>) {
        for stmt in body {
            self.visit(stmt, outer);
        }
    }

    fn visit_expr(&mut self, expr: &Expr, outer: Option<&Chain<'_>>) {
        names_of(expr, &mut |name| self.load(name, outer));
    }

    fn visit_target(&mut self, target: &Target, outer: Option<&Chain<'_>>) {
        match target {
            Target::Name(name) => self.store(*name, outer),
            Target::Tuple(targets) => targets.iter().for_each(|target| self.visit_target(target, outer)),
            Target::Namespace(name, _) => self.load(*name, outer),
        }
    }

    fn visit_filters(&mut self, filters: &[Filter], outer: Option<&Chain<'_>>) {
        for filter in filters {
            names_of_arguments(&filter.arguments, &mut |name| self.load(name, outer));
        }
    }

    /// What a statement does to the scope it stands in; inner scopes are another matter.
    fn visit(&mut self, stmt: &Stmt, outer: Option<&Chain<'_>>) {
        match &stmt.kind {
            StmtKind::Print(value) => self.visit_expr(value, outer),
            StmtKind::For(each) => self.visit_expr(&each.iter, outer),
            StmtKind::If(branches, otherwise) => {
                let mut inner = Vec::new();
                for (test, body) in branches {
                    self.visit_expr(test, outer);
                    let mut symbols = self.clone();
                    symbols.visit_all(body, outer);
                    inner.push(symbols);
                }
                let mut symbols = self.clone();
                symbols.visit_all(otherwise, outer);
                inner.push(symbols);
                self.join(inner);
            }
            StmtKind::Set(target, value) => {
                self.visit_expr(value, outer);
                self.visit_target(target, outer);
            }
            StmtKind::SetBlock { target, .. } => self.visit_target(target, outer),
            StmtKind::With { values, .. } => values.iter().for_each(|(_, value)| self.visit_expr(value, outer)),
            StmtKind::Macro(node) => node.number.into_iter().for_each(|name| self.store(name, outer)),
            StmtKind::Call { call, .. } => self.visit_expr(call, outer),
            StmtKind::FilterBlock { filters, .. } => self.visit_filters(filters, outer),
            StmtKind::Autoescape(..)
            | StmtKind::Generation(_)
            | StmtKind::Block { .. }
            | StmtKind::Data(_)
            | StmtKind::Break
            | StmtKind::Continue
            | StmtKind::NoLoader(_) => {}
        }
    }

    /// After branches: what only some of them store comes from further out in the others.
    fn join(&mut self, branches: Vec<Self>) {
        let before = self.stored.clone();
        for branch in branches {
            self.known.extend(branch.known);
            self.stored.extend(branch.stored);
        }
        self.undefined.retain(|name| before.contains(name));
    }
}

/// Goes into the scopes inside of statements.
fn descend(body: &mut [Stmt], chain: &Chain<'_>, place: Place) -> Outcome<()> {
    body.iter_mut().try_for_each(|stmt| {
        let line = stmt.line;
        into(&mut stmt.kind, chain, place).map_err(|failure| failure.at(line))
    })
}

fn into(kind: &mut StmtKind, chain: &Chain<'_>, place: Place) -> Outcome<()> {
    let hard = Place { soft: false, ..place };
    let function = Place { in_loop: false, soft: false };
    match kind {
        StmtKind::Print(value) => known_names(value, place.soft),
        StmtKind::If(branches, otherwise) => {
            let soft = Place { soft: true, ..place };
            for (test, body) in branches {
                known_names(test, true)?;
                descend(body, chain, soft)?;
            }
            descend(otherwise, chain, soft)
        }
        StmtKind::For(each) => into_loop(each, chain, place),
        StmtKind::Set(_, value) => known_names(value, place.soft),
        StmtKind::SetBlock { filters, scope, .. } | StmtKind::FilterBlock { filters, scope } => {
            known_filters(filters)?;
            Symbols::default().scope(scope, Some(chain), hard)
        }
        StmtKind::With { values, scope } => {
            let mut symbols = Symbols::default();
            for (target, value) in values {
                known_names(value, place.soft)?;
                stored_names(target, &mut |name| {
                    symbols.known.insert(name);
                    symbols.stored.insert(name);
                });
            }
            symbols.scope(scope, Some(chain), hard)
        }
        StmtKind::Macro(node) => into_macro(node, chain, function),
        StmtKind::Call { call, body } => {
            known_names(call, place.soft)?;
            into_macro(body, chain, function)
        }
        StmtKind::Autoescape(on, scope) => {
            known_names(on, place.soft)?;
            Symbols::default().scope(scope, Some(chain), hard)
        }
        StmtKind::Generation(scope) => Symbols::default().scope(scope, Some(chain), function),
        StmtKind::Block { scoped, scope } => {
            let outer = if *scoped { Some(chain) } else { None };
            Symbols::default().scope(scope, outer, function)
        }
        StmtKind::Break | StmtKind::Continue if !place.in_loop => failed("syntax error: a jump outside of a loop"),
        StmtKind::Break | StmtKind::Continue | StmtKind::Data(_) | StmtKind::NoLoader(_) => Ok(()),
    }
}

fn into_loop(each: &mut Arc<For>, chain: &Chain<'_>, place: Place) -> Outcome<()> {
    let Some(each) = Arc::get_mut(each) else { return failed("internal error: a loop in two places") };
    let mut stores_loop = false;
    let mut check = |name: Name, stored: bool| stores_loop |= stored && name == LOOP;
    stored_names(&each.target, &mut |name| check(name, true));
    let bodies = each.body.body.iter().chain(&each.otherwise.body);
    bodies.for_each(|stmt| all_names(stmt, &mut check));
    if stores_loop {
        return failed("syntax error: the special variable `loop` cannot be assigned to in a loop");
    }
    each.reads_loop = each.recursive || reads(&each.body.body, LOOP) || has_scoped_block(&each.body.body);
    known_names(&each.iter, place.soft)?;
    if let Some(test) = &each.test {
        known_names(test, false)?;
    }
    let mut parameters = vec![];
    stored_names(&each.target, &mut |name| parameters.push(name));
    if each.reads_loop {
        parameters.push(LOOP);
    }
    Symbols::of_parameters(parameters).scope(&mut each.body, Some(chain), Place { in_loop: true, soft: false })?;
    Symbols::default().scope(&mut each.otherwise, Some(chain), Place { soft: false, ..place })
}

fn into_macro(node: &mut Arc<Macro>, chain: &Chain<'_>, place: Place) -> Outcome<()> {
    // Nobody else holds it before the template is rendered.
    let Some(node) = Arc::get_mut(node) else { return failed("internal error: a macro in two places") };
    for default in &node.defaults {
        known_names(default, false)?;
    }
    let is_parameter = |special: Name| node.parameters.iter().any(|(name, _)| *name == special);
    let body = &node.scope.body;
    node.reads_caller = reads(body, CALLER);
    if let Some(at) = node.parameters.iter().position(|(name, _)| *name == CALLER)
        && node.reads_caller
        && at < node.parameters.len() - node.defaults.len()
    {
        return failed("the special argument `caller` must be omitted or be given a default");
    }
    node.reads_kwargs = reads(body, KWARGS) && !is_parameter(KWARGS);
    node.reads_varargs = reads(body, VARARGS) && !is_parameter(VARARGS);
    let mut names: Vec<Name> = node.parameters.iter().map(|(name, _)| *name).collect();
    let special = [(node.reads_caller, CALLER), (node.reads_kwargs, KWARGS), (node.reads_varargs, VARARGS)];
    names.extend(special.into_iter().filter_map(|(read, name)| read.then_some(name)));
    let mut symbols = Symbols::of_parameters(names);
    for default in &node.defaults {
        symbols.visit_expr(default, Some(chain));
    }
    symbols.scope(&mut node.scope, Some(chain), place)
}

/// Whether statements read a name that nothing before has stored.
fn reads(body: &[Stmt], wanted: Name) -> bool {
    let (mut is_read, mut is_stored) = (false, false);
    for stmt in body {
        all_names(stmt, &mut |name, stored| {
            if name == wanted {
                is_stored |= stored;
                is_read |= !stored && !is_stored;
            }
        });
    }
    is_read
}

fn has_scoped_block(body: &[Stmt]) -> bool {
    let any = |scope: &Scope| has_scoped_block(&scope.body);
    body.iter().any(|stmt| match &stmt.kind {
        StmtKind::Block { scoped, scope } => *scoped || any(scope),
        StmtKind::For(each) => any(&each.body) || any(&each.otherwise),
        StmtKind::If(branches, otherwise) => {
            branches.iter().any(|(_, body)| has_scoped_block(body)) || has_scoped_block(otherwise)
        }
        StmtKind::SetBlock { scope, .. }
        | StmtKind::With { scope, .. }
        | StmtKind::FilterBlock { scope, .. }
        | StmtKind::Autoescape(_, scope)
        | StmtKind::Generation(scope) => any(scope),
        StmtKind::Macro(node) | StmtKind::Call { body: node, .. } => any(&node.scope),
        _ => false,
    })
}

fn stored_names(target: &Target, each: &mut impl FnMut(Name)) {
    match target {
        Target::Name(name) => each(*name),
        Target::Tuple(targets) => targets.iter().for_each(|target| stored_names(target, each)),
        Target::Namespace(..) => {}
    }
}

/// Every name of a statement and of all inside it, in the order of Jinja2's nodes, and whether it is stored.
fn all_names(stmt: &Stmt, each: &mut dyn FnMut(Name, bool)) {
    fn scope(scope: &Scope, each: &mut dyn FnMut(Name, bool)) {
        scope.body.iter().for_each(|stmt| all_names(stmt, each));
    }
    fn target(node: &Target, each: &mut dyn FnMut(Name, bool)) {
        stored_names(node, &mut |name| each(name, true));
    }
    fn expr(node: &Expr, each: &mut dyn FnMut(Name, bool)) {
        names_of(node, &mut |name| each(name, false));
    }
    fn function(node: &Macro, each: &mut dyn FnMut(Name, bool)) {
        node.parameters.iter().for_each(|(name, _)| each(*name, true));
        node.defaults.iter().for_each(|default| expr(default, each));
        scope(&node.scope, each);
    }
    fn filters(nodes: &[Filter], each: &mut dyn FnMut(Name, bool)) {
        nodes.iter().for_each(|filter| names_of_arguments(&filter.arguments, &mut |name| each(name, false)));
    }
    match &stmt.kind {
        StmtKind::Print(value) => expr(value, each),
        StmtKind::For(node) => {
            target(&node.target, each);
            expr(&node.iter, each);
            scope(&node.body, each);
            scope(&node.otherwise, each);
            node.test.iter().for_each(|test| expr(test, each));
        }
        StmtKind::If(branches, otherwise) => {
            for (test, body) in branches {
                expr(test, each);
                body.iter().for_each(|stmt| all_names(stmt, each));
            }
            otherwise.iter().for_each(|stmt| all_names(stmt, each));
        }
        StmtKind::Set(node, value) => {
            target(node, each);
            expr(value, each);
        }
        StmtKind::SetBlock { target: node, filters: nodes, scope: inner } => {
            target(node, each);
            filters(nodes, each);
            scope(inner, each);
        }
        StmtKind::With { values, scope: inner } => {
            values.iter().for_each(|(node, _)| target(node, each));
            values.iter().for_each(|(_, value)| expr(value, each));
            scope(inner, each);
        }
        StmtKind::Macro(node) => function(node, each),
        StmtKind::Call { call, body } => {
            expr(call, each);
            function(body, each);
        }
        StmtKind::FilterBlock { filters: nodes, scope: inner } => {
            scope(inner, each);
            filters(nodes, each);
        }
        StmtKind::Autoescape(on, inner) => {
            expr(on, each);
            scope(inner, each);
        }
        StmtKind::Generation(inner) => scope(inner, each),
        StmtKind::Block { .. } | StmtKind::Data(_) | StmtKind::Break | StmtKind::Continue | StmtKind::NoLoader(_) => {}
    }
}

/// Every name an expression reads.
fn names_of(expr: &Expr, each: &mut dyn FnMut(Name)) {
    if let ExprKind::Name(name) = &expr.kind {
        each(*name);
    }
    children(expr, &mut |child| names_of(child, each));
}

fn names_of_arguments(arguments: &Arguments, each: &mut dyn FnMut(Name)) {
    children_of_arguments(arguments, &mut |child| names_of(child, each));
}

fn children<'a>(expr: &'a Expr, each: &mut dyn FnMut(&'a Expr)) {
    match &expr.kind {
        ExprKind::Const(_) | ExprKind::Name(_) => {}
        ExprKind::List(items) | ExprKind::Tuple(items) | ExprKind::Concat(items) => items.iter().for_each(each),
        ExprKind::Dict(items) => {
            for (key, value) in items {
                each(key);
                each(value);
            }
        }
        ExprKind::Attribute(inner, _)
        | ExprKind::Not(inner)
        | ExprKind::Negative(inner)
        | ExprKind::Positive(inner) => each(inner),
        ExprKind::Item(left, right)
        | ExprKind::And(left, right)
        | ExprKind::Or(left, right)
        | ExprKind::Binary(_, left, right) => {
            each(left);
            each(right);
        }
        ExprKind::Slice(parts) => parts.iter().flatten().for_each(|part| each(part)),
        ExprKind::Call(callee, arguments) => {
            each(callee);
            children_of_arguments(arguments, each);
        }
        ExprKind::Filter(value, Filter { arguments, .. }) => {
            each(value);
            children_of_arguments(arguments, each);
        }
        ExprKind::Test(value, test) => {
            each(value);
            children_of_arguments(&test.arguments, each);
        }
        ExprKind::Compare(first, rest) => {
            each(first);
            rest.iter().for_each(|(_, operand)| each(operand));
        }
        ExprKind::Conditional { test, then, otherwise } => {
            each(test);
            each(then);
            otherwise.iter().for_each(|otherwise| each(otherwise));
        }
    }
}

fn children_of_arguments<'a>(arguments: &'a Arguments, each: &mut dyn FnMut(&'a Expr)) {
    let named = arguments.named.iter().map(|(_, value)| value);
    let more = arguments.more.iter().chain(&arguments.more_named).map(|expr| &**expr);
    arguments.positional.iter().chain(named).chain(more).for_each(each);
}

/// Refuses filters and tests nobody knows, unless they may never be reached.
fn known_names(expr: &Expr, soft: bool) -> Outcome<()> {
    let soft = soft || matches!(expr.kind, ExprKind::Conditional { .. });
    if !soft {
        match &expr.kind {
            ExprKind::Filter(_, filter) => known_filter(filter)?,
            ExprKind::Test(_, test) if !tests_of_values::is_known(&test.name) => {
                return tests_of_values::unknown(&test.name).map_err(|failure| failure.at(expr.line));
            }
            _ => {}
        }
    }
    let mut found = Ok(());
    children(expr, &mut |child| {
        if found.is_ok() {
            found = known_names(child, soft);
        }
    });
    found
}

fn known_filters(filters: &[Filter]) -> Outcome<()> {
    filters.iter().try_for_each(known_filter)
}

fn known_filter(filter: &Filter) -> Outcome<()> {
    if filters::is_known(&filter.name) {
        return Ok(());
    }
    filters::unknown(&filter.name).map_err(|failure| failure.at(filter.line))
}
