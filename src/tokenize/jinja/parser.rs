//! Tokens to statements and expressions, by the grammar of `jinja2.parser`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::ast::{
    Arguments, Comparison, Const, Expr, ExprKind, Filter, For, Macro, Name, Operator, SPECIAL_NAMES, Scope, Stmt,
    StmtKind, Target, Test,
};
use super::failure::{Outcome, failed};
use super::lexer::{Token, TokenKind, tokenize};
use super::scope;

/// Expressions and blocks in one another. Python gives up on fewer, with its own stack.
const MAX_DEPTH: usize = 150;

/// Operands of a chain (`a + b + …`), which is as deep a tree. Python gives up on fewer.
const MAX_CHAIN: usize = 1000;

/// A template's statements and its names.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) scope: Scope,
    pub(super) names: Vec<Arc<str>>,
}

/// Parses a template.
pub(super) fn parse(source: &str) -> Outcome<Parsed> {
    let tokens = tokenize(source)?;
    let mut parser =
        Parser { tokens, position: 0, names: Vec::new(), numbers: HashMap::new(), blocks: HashSet::new(), depth: 0 };
    for name in SPECIAL_NAMES {
        parser.intern(&Arc::from(name));
    }
    let body = parser.statements(&[]).map_err(|failure| failure.at(parser.line()))?;
    if *parser.current() != TokenKind::End {
        return failed("syntax error: a block that ends before it begins")
            .map_err(|failure: Box<_>| failure.at(parser.line()));
    }
    let mut scope = Scope { body, hidden: Vec::new() };
    scope::analyse(&mut scope)?;
    Ok(Parsed { scope, names: parser.names })
}

struct Parser {
    tokens: Vec<Token>,
    position: usize,
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, Name>,
    blocks: HashSet<Arc<str>>,
    depth: usize,
}

/// Binary operators of the two levels that Jinja2 has around `~`.
const SUMS: [(&str, Operator); 2] = [("+", Operator::Add), ("-", Operator::Sub)];
const PRODUCTS: [(&str, Operator); 4] =
    [("*", Operator::Mul), ("/", Operator::Div), ("//", Operator::FloorDiv), ("%", Operator::Mod)];
const COMPARISONS: [(&str, Comparison); 6] = [
    ("==", Comparison::Eq),
    ("!=", Comparison::Ne),
    ("<", Comparison::Lt),
    ("<=", Comparison::Le),
    (">", Comparison::Gt),
    (">=", Comparison::Ge),
];

impl Parser {
    fn line(&self) -> usize {
        self.tokens.get(self.position).map_or(1, |token| token.line)
    }

    fn current(&self) -> &TokenKind {
        self.tokens.get(self.position).map_or(&TokenKind::End, |token| &token.kind)
    }

    fn next_is(&self, kind: &TokenKind) -> bool {
        self.tokens.get(self.position + 1).is_some_and(|token| token.kind == *kind)
    }

    fn is_operator(&self, operator: &str) -> bool {
        matches!(self.current(), TokenKind::Operator(found) if *found == operator)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.current(), TokenKind::Name(found) if found == word)
    }

    fn skip(&mut self) {
        self.position += 1;
    }

    fn skip_operator(&mut self, operator: &str) -> bool {
        let found = self.is_operator(operator);
        self.position += usize::from(found);
        found
    }

    fn skip_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.position += usize::from(found);
        found
    }

    fn unexpected<T>(&self, expected: &str) -> Outcome<T> {
        let found = match self.current() {
            TokenKind::Data(_) => "text".to_owned(),
            TokenKind::VariableBegin => "`{{`".to_owned(),
            TokenKind::VariableEnd => "`}}`".to_owned(),
            TokenKind::BlockBegin => "`{%`".to_owned(),
            TokenKind::BlockEnd => "`%}`".to_owned(),
            TokenKind::Name(name) => format!("`{name}`"),
            TokenKind::Str(_) => "a string".to_owned(),
            TokenKind::Int(_) | TokenKind::Big(_) | TokenKind::Float(_) => "a number".to_owned(),
            TokenKind::Operator(operator) => format!("`{operator}`"),
            TokenKind::End => "the end of the template".to_owned(),
        };
        failed(format!("syntax error: expected {expected}, found {found}"))
    }

    fn expect_operator(&mut self, operator: &str) -> Outcome<()> {
        if self.skip_operator(operator) { Ok(()) } else { self.unexpected(&format!("`{operator}`")) }
    }

    fn expect_word(&mut self, word: &str) -> Outcome<()> {
        if self.skip_word(word) { Ok(()) } else { self.unexpected(&format!("`{word}`")) }
    }

    fn expect_name(&mut self) -> Outcome<Arc<str>> {
        match self.current() {
            TokenKind::Name(name) => {
                let name = Arc::from(name.as_str());
                self.skip();
                Ok(name)
            }
            _ => self.unexpected("a name"),
        }
    }

    fn expect_block_end(&mut self) -> Outcome<()> {
        if *self.current() == TokenKind::BlockEnd {
            self.skip();
            Ok(())
        } else {
            self.unexpected("the end of the statement")
        }
    }

    fn intern(&mut self, name: &Arc<str>) -> Name {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = Name::try_from(self.names.len()).unwrap_or(Name::MAX);
        self.names.push(name.clone());
        self.numbers.insert(name.clone(), number);
        number
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        if self.depth >= MAX_DEPTH {
            return failed("nested too deeply");
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    // Statements.

    /// Statements up to one of the words, which stays the current token; up to the end for no words.
    fn statements(&mut self, ends: &[&str]) -> Outcome<Vec<Stmt>> {
        let mut body = Vec::new();
        loop {
            let line = self.line();
            match self.current() {
                TokenKind::Data(text) => {
                    body.push(Stmt { line, kind: StmtKind::Data(Arc::from(text.as_str())) });
                    self.skip();
                }
                TokenKind::VariableBegin => {
                    self.skip();
                    let value = self.tuple(true, &[], false)?;
                    if *self.current() != TokenKind::VariableEnd {
                        return self.unexpected("the end of the print statement");
                    }
                    self.skip();
                    body.push(Stmt { line, kind: StmtKind::Print(value) });
                }
                TokenKind::BlockBegin => {
                    self.skip();
                    if ends.iter().any(|end| self.is_word(end)) {
                        return Ok(body);
                    }
                    let line = self.line();
                    self.deeper(|parser| parser.statement(&mut body))
                        .map_err(|failure| failure.at(self.line().max(line)))?;
                    self.expect_block_end()?;
                }
                _ if ends.is_empty() => return Ok(body),
                _ => {
                    return failed(format!(
                        "syntax error: unexpected end of the template, looking for `{}`",
                        ends.join("` or `")
                    ));
                }
            }
        }
    }

    /// What a block statement holds, from its `%}` to one of the words.
    fn block(&mut self, ends: &[&str]) -> Outcome<Vec<Stmt>> {
        self.skip_operator(":");
        self.expect_block_end()?;
        self.statements(ends)
    }

    /// As [`block`](Self::block), over the one word that ends it.
    fn block_until(&mut self, end: &str) -> Outcome<Vec<Stmt>> {
        let body = self.block(&[end])?;
        self.skip();
        Ok(body)
    }

    fn scope_until(&mut self, end: &str) -> Outcome<Scope> {
        Ok(Scope { body: self.block_until(end)?, hidden: Vec::new() })
    }

    fn statement(&mut self, body: &mut Vec<Stmt>) -> Outcome<()> {
        let line = self.line();
        let word = self.expect_name()?;
        let kind = match &*word {
            "set" => self.set()?,
            "for" => self.for_loop()?,
            "if" => self.if_block()?,
            "macro" => self.macro_block()?,
            "call" => self.call_block()?,
            "filter" => {
                let filters = self.filters(true)?;
                StmtKind::FilterBlock { filters, scope: self.scope_until("endfilter")? }
            }
            "with" => self.with()?,
            "print" => {
                while *self.current() != TokenKind::BlockEnd {
                    let value = self.expression()?;
                    body.push(Stmt { line, kind: StmtKind::Print(value) });
                    if *self.current() != TokenKind::BlockEnd {
                        self.expect_operator(",")?;
                    }
                }
                return Ok(());
            }
            "autoescape" => {
                let on = self.expression()?;
                StmtKind::Autoescape(on, self.scope_until("endautoescape")?)
            }
            "generation" => StmtKind::Generation(self.scope_until("endgeneration")?),
            "break" => StmtKind::Break,
            "continue" => StmtKind::Continue,
            "block" => self.named_block()?,
            "include" | "extends" | "import" | "from" => self.foreign(&word)?,
            _ => return failed(format!("syntax error: unknown tag `{word}`")),
        };
        body.push(Stmt { line, kind });
        Ok(())
    }

    /// A statement about another template, read for its syntax.
    fn foreign(&mut self, word: &str) -> Outcome<StmtKind> {
        self.expression()?;
        let what = match word {
            "include" => {
                if self.skip_word("ignore") {
                    self.expect_word("missing")?;
                }
                "include"
            }
            "import" => {
                self.expect_word("as")?;
                self.expect_name()?;
                "import"
            }
            "from" => {
                self.expect_word("import")?;
                self.expect_name()?;
                while !matches!(self.current(), TokenKind::BlockEnd | TokenKind::End) {
                    self.skip();
                }
                "from"
            }
            _ => "extends",
        };
        if self.skip_word("with") || self.skip_word("without") {
            self.expect_word("context")?;
        }
        Ok(StmtKind::NoLoader(what))
    }

    fn named_block(&mut self) -> Outcome<StmtKind> {
        let name = self.expect_name()?;
        let scoped = self.skip_word("scoped");
        if self.skip_word("required") {
            return failed("a required block needs a template that extends this one");
        }
        if !self.blocks.insert(name.clone()) {
            return failed(format!("syntax error: block `{name}` is defined twice"));
        }
        let scope = self.scope_until("endblock")?;
        self.skip_word(&name);
        Ok(StmtKind::Block { scoped, scope })
    }

    fn set(&mut self) -> Outcome<StmtKind> {
        let target = self.target(true, &[])?;
        if self.skip_operator("=") {
            return Ok(StmtKind::Set(target, self.tuple(true, &[], false)?));
        }
        let filters = self.filters(false)?;
        Ok(StmtKind::SetBlock { target, filters, scope: self.scope_until("endset")? })
    }

    fn for_loop(&mut self) -> Outcome<StmtKind> {
        let target = self.target(false, &["in"])?;
        self.expect_word("in")?;
        let iter = self.tuple(false, &["recursive"], false)?;
        let test = if self.skip_word("if") { Some(self.expression()?) } else { None };
        let recursive = self.skip_word("recursive");
        let body = self.block(&["endfor", "else"])?;
        let has_else = self.is_word("else");
        self.skip();
        let otherwise = if has_else { self.block_until("endfor")? } else { Vec::new() };
        Ok(StmtKind::For(Arc::new(For {
            target,
            iter,
            test,
            recursive,
            reads_loop: recursive,
            body: Scope { body, hidden: Vec::new() },
            otherwise: Scope { body: otherwise, hidden: Vec::new() },
        })))
    }

    fn if_block(&mut self) -> Outcome<StmtKind> {
        let mut branches = Vec::new();
        loop {
            let test = self.tuple(false, &[], false)?;
            let body = self.block(&["elif", "else", "endif"])?;
            branches.push((test, body));
            if self.skip_word("elif") {
                continue;
            }
            let otherwise = if self.skip_word("else") {
                self.block_until("endif")?
            } else {
                self.skip();
                Vec::new()
            };
            return Ok(StmtKind::If(branches, otherwise));
        }
    }

    fn with(&mut self) -> Outcome<StmtKind> {
        let mut values = Vec::new();
        while *self.current() != TokenKind::BlockEnd {
            if !values.is_empty() {
                self.expect_operator(",")?;
            }
            let target = self.target(false, &[])?;
            self.expect_operator("=")?;
            values.push((target, self.expression()?));
        }
        Ok(StmtKind::With { values, scope: self.scope_until("endwith")? })
    }

    fn macro_block(&mut self) -> Outcome<StmtKind> {
        let name = self.assignable_name()?;
        let number = Some(self.intern(&name));
        let (parameters, defaults) = self.signature()?;
        let scope = self.scope_until("endmacro")?;
        Ok(StmtKind::Macro(Arc::new(Macro {
            number,
            name: Some(name),
            parameters,
            defaults,
            scope,
            ..Macro::default()
        })))
    }

    fn call_block(&mut self) -> Outcome<StmtKind> {
        let (parameters, defaults) = if self.is_operator("(") { self.signature()? } else { (Vec::new(), Vec::new()) };
        let call = self.expression()?;
        if !matches!(call.kind, ExprKind::Call(..)) {
            return failed("syntax error: expected a call after `call`");
        }
        let scope = self.scope_until("endcall")?;
        Ok(StmtKind::Call { call, body: Arc::new(Macro { parameters, defaults, scope, ..Macro::default() }) })
    }

    fn signature(&mut self) -> Outcome<(Vec<(Name, Arc<str>)>, Vec<Expr>)> {
        let (mut parameters, mut defaults) = (Vec::new(), Vec::new());
        self.expect_operator("(")?;
        while !self.is_operator(")") {
            if !parameters.is_empty() {
                self.expect_operator(",")?;
            }
            let name = self.assignable_name()?;
            if self.skip_operator("=") {
                defaults.push(self.expression()?);
            } else if !defaults.is_empty() {
                return failed("syntax error: non-default argument follows default argument");
            }
            parameters.push((self.intern(&name), name));
        }
        self.skip();
        Ok((parameters, defaults))
    }

    fn assignable_name(&mut self) -> Outcome<Arc<str>> {
        let name = self.expect_name()?;
        if matches!(&*name, "true" | "false" | "none" | "True" | "False" | "None") {
            return failed(format!("syntax error: can't assign to `{name}`"));
        }
        Ok(name)
    }

    /// One name, or several with commas between; with dots into a namespace where that is allowed.
    fn target(&mut self, may_be_namespace: bool, ends: &[&str]) -> Outcome<Target> {
        let mut targets = Vec::new();
        let mut is_tuple = false;
        loop {
            if self.is_tuple_end(ends) {
                break;
            }
            targets.push(self.one_target(may_be_namespace)?);
            if !self.skip_operator(",") {
                break;
            }
            is_tuple = true;
        }
        match targets.pop() {
            None => self.unexpected("a name to assign to"),
            Some(target) if !is_tuple => Ok(target),
            Some(last) => {
                targets.push(last);
                Ok(Target::Tuple(targets))
            }
        }
    }

    fn one_target(&mut self, may_be_namespace: bool) -> Outcome<Target> {
        if self.skip_operator("(") {
            return self.deeper(|parser| {
                let mut targets = Vec::new();
                let mut is_tuple = false;
                while !parser.is_operator(")") {
                    targets.push(parser.one_target(may_be_namespace)?);
                    if !parser.skip_operator(",") {
                        break;
                    }
                    is_tuple = true;
                }
                parser.expect_operator(")")?;
                match targets.pop() {
                    Some(target) if !is_tuple => Ok(target),
                    last => {
                        targets.extend(last);
                        Ok(Target::Tuple(targets))
                    }
                }
            });
        }
        if may_be_namespace && self.next_is(&TokenKind::Operator(".")) {
            let name = self.expect_name()?;
            self.skip();
            let attribute = self.expect_name()?;
            return Ok(Target::Namespace(self.intern(&name), attribute));
        }
        let name = self.assignable_name()?;
        Ok(Target::Name(self.intern(&name)))
    }

    fn is_tuple_end(&self, ends: &[&str]) -> bool {
        matches!(self.current(), TokenKind::VariableEnd | TokenKind::BlockEnd)
            || self.is_operator(")")
            || ends.iter().any(|end| self.is_word(end))
    }

    // Expressions.

    /// An expression, or several with commas between as a tuple; `explicit` is inside parentheses, where none is one too.
    fn tuple(&mut self, with_condition: bool, ends: &[&str], explicit: bool) -> Outcome<Expr> {
        let line = self.line();
        let mut items = Vec::new();
        let mut is_tuple = false;
        loop {
            if self.is_tuple_end(ends) {
                break;
            }
            items.push(if with_condition { self.expression()? } else { self.deeper(Self::or)? });
            if !self.skip_operator(",") {
                break;
            }
            is_tuple = true;
        }
        match items.pop() {
            Some(item) if !is_tuple => Ok(item),
            None if !explicit => self.unexpected("an expression"),
            last => {
                items.extend(last);
                Ok(Expr { line, kind: ExprKind::Tuple(items) })
            }
        }
    }

    fn expression(&mut self) -> Outcome<Expr> {
        self.deeper(|parser| {
            let line = parser.line();
            parser.conditional().map_err(|failure| failure.at(line.max(parser.line())))
        })
    }

    fn conditional(&mut self) -> Outcome<Expr> {
        let mut line = self.line();
        let mut value = self.or()?;
        let mut n = 0;
        while self.skip_word("if") {
            let test = Box::new(self.or()?);
            let otherwise = if self.skip_word("else") { Some(Box::new(self.deeper(Self::conditional)?)) } else { None };
            value = Expr { line, kind: ExprKind::Conditional { test, then: Box::new(value), otherwise } };
            line = self.line();
            short_enough(&mut n)?;
        }
        Ok(value)
    }

    fn or(&mut self) -> Outcome<Expr> {
        let line = self.line();
        let mut left = self.and()?;
        let mut n = 0;
        while self.skip_word("or") {
            left = Expr { line, kind: ExprKind::Or(Box::new(left), Box::new(self.and()?)) };
            short_enough(&mut n)?;
        }
        Ok(left)
    }

    fn and(&mut self) -> Outcome<Expr> {
        let line = self.line();
        let mut left = self.not()?;
        let mut n = 0;
        while self.skip_word("and") {
            left = Expr { line, kind: ExprKind::And(Box::new(left), Box::new(self.not()?)) };
            short_enough(&mut n)?;
        }
        Ok(left)
    }

    fn not(&mut self) -> Outcome<Expr> {
        let line = self.line();
        if self.skip_word("not") {
            let inner = self.deeper(Self::not)?;
            return Ok(Expr { line, kind: ExprKind::Not(Box::new(inner)) });
        }
        self.compare()
    }

    fn compare(&mut self) -> Outcome<Expr> {
        let line = self.line();
        let first = self.sum()?;
        let mut rest = Vec::new();
        loop {
            let comparison = COMPARISONS.into_iter().find(|(operator, _)| self.is_operator(operator));
            let comparison = if let Some((_, comparison)) = comparison {
                self.skip();
                comparison
            } else if self.skip_word("in") {
                Comparison::In
            } else if self.is_word("not") && self.next_is(&TokenKind::Name("in".to_owned())) {
                self.position += 2;
                Comparison::NotIn
            } else {
                break;
            };
            rest.push((comparison, self.sum()?));
        }
        if rest.is_empty() {
            return Ok(first);
        }
        Ok(Expr { line, kind: ExprKind::Compare(Box::new(first), rest) })
    }

    fn chain(&mut self, operators: &[(&str, Operator)], operand: impl Fn(&mut Self) -> Outcome<Expr>) -> Outcome<Expr> {
        let line = self.line();
        let mut left = operand(self)?;
        let mut n = 0;
        while let Some((_, operator)) = operators.iter().find(|(operator, _)| self.is_operator(operator)) {
            self.skip();
            let right = operand(self)?;
            left = Expr { line, kind: ExprKind::Binary(*operator, Box::new(left), Box::new(right)) };
            short_enough(&mut n)?;
        }
        Ok(left)
    }

    fn sum(&mut self) -> Outcome<Expr> {
        self.chain(&SUMS, Self::concat)
    }

    fn concat(&mut self) -> Outcome<Expr> {
        let line = self.line();
        let first = self.product()?;
        if !self.is_operator("~") {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.skip_operator("~") {
            parts.push(self.product()?);
        }
        Ok(Expr { line, kind: ExprKind::Concat(parts) })
    }

    fn product(&mut self) -> Outcome<Expr> {
        self.chain(&PRODUCTS, Self::power)
    }

    fn power(&mut self) -> Outcome<Expr> {
        self.chain(&[("**", Operator::Pow)], |parser| parser.unary(true))
    }

    fn unary(&mut self, with_filters: bool) -> Outcome<Expr> {
        let line = self.line();
        let node = if self.skip_operator("-") {
            let inner = self.deeper(|parser| parser.unary(false))?;
            Expr { line, kind: ExprKind::Negative(Box::new(inner)) }
        } else if self.skip_operator("+") {
            let inner = self.deeper(|parser| parser.unary(false))?;
            Expr { line, kind: ExprKind::Positive(Box::new(inner)) }
        } else {
            self.primary()?
        };
        let node = self.postfix(node)?;
        if with_filters { self.filters_and_tests(node) } else { Ok(node) }
    }

    fn primary(&mut self) -> Outcome<Expr> {
        let line = self.line();
        let kind = match self.current().clone() {
            TokenKind::Name(name) => {
                self.skip();
                match name.as_str() {
                    "true" | "True" => ExprKind::Const(Const::Bool(true)),
                    "false" | "False" => ExprKind::Const(Const::Bool(false)),
                    "none" | "None" => ExprKind::Const(Const::None),
                    _ => ExprKind::Name(self.intern(&Arc::from(name))),
                }
            }
            TokenKind::Str(mut text) => {
                self.skip();
                while let TokenKind::Str(more) = self.current() {
                    text.push_str(more);
                    self.position += 1;
                }
                ExprKind::Const(Const::Str(text.into()))
            }
            TokenKind::Int(value) => {
                self.skip();
                ExprKind::Const(Const::Int(value))
            }
            TokenKind::Big(value) => {
                self.skip();
                ExprKind::Const(Const::Big(value))
            }
            TokenKind::Float(value) => {
                self.skip();
                ExprKind::Const(Const::Float(value))
            }
            TokenKind::Operator("(") => {
                self.skip();
                let inner = self.deeper(|parser| parser.tuple(true, &[], true))?;
                self.expect_operator(")")?;
                return Ok(inner);
            }
            TokenKind::Operator("[") => {
                self.skip();
                ExprKind::List(self.items("]", Self::expression)?)
            }
            TokenKind::Operator("{") => {
                self.skip();
                ExprKind::Dict(self.items("}", |parser| {
                    let key = parser.expression()?;
                    parser.expect_operator(":")?;
                    Ok((key, parser.expression()?))
                })?)
            }
            _ => return self.unexpected("an expression"),
        };
        Ok(Expr { line, kind })
    }

    /// Items with commas between, the last of which may stand alone, over the bracket that ends them.
    fn items<T>(&mut self, end: &str, item: impl Fn(&mut Self) -> Outcome<T>) -> Outcome<Vec<T>> {
        let mut items = Vec::new();
        while !self.is_operator(end) {
            if !items.is_empty() {
                self.expect_operator(",")?;
            }
            if self.is_operator(end) {
                break;
            }
            items.push(item(self)?);
        }
        self.expect_operator(end)?;
        Ok(items)
    }

    fn postfix(&mut self, mut node: Expr) -> Outcome<Expr> {
        let mut n = 0;
        loop {
            if self.is_operator(".") || self.is_operator("[") {
                node = self.subscript(node)?;
            } else if self.is_operator("(") {
                node = self.call(node)?;
            } else {
                return Ok(node);
            }
            short_enough(&mut n)?;
        }
    }

    fn call(&mut self, node: Expr) -> Outcome<Expr> {
        let line = self.line();
        let arguments = self.arguments()?;
        Ok(Expr { line, kind: ExprKind::Call(Box::new(node), arguments) })
    }

    fn subscript(&mut self, node: Expr) -> Outcome<Expr> {
        let line = self.line();
        let node = Box::new(node);
        if self.skip_operator(".") {
            let kind = match self.current().clone() {
                TokenKind::Name(name) => ExprKind::Attribute(node, name.into()),
                TokenKind::Int(index) => {
                    let index = Expr { line, kind: ExprKind::Const(Const::Int(index)) };
                    ExprKind::Item(node, Box::new(index))
                }
                _ => return self.unexpected("a name or a number"),
            };
            self.skip();
            return Ok(Expr { line, kind });
        }
        self.skip();
        let mut parts = Vec::new();
        while !self.is_operator("]") {
            if !parts.is_empty() {
                self.expect_operator(",")?;
            }
            parts.push(self.subscribed()?);
        }
        self.skip();
        let index = match parts.pop() {
            Some(part) if parts.is_empty() => part,
            last => {
                parts.extend(last);
                Expr { line, kind: ExprKind::Tuple(parts) }
            }
        };
        Ok(Expr { line, kind: ExprKind::Item(node, Box::new(index)) })
    }

    fn subscribed(&mut self) -> Outcome<Expr> {
        let line = self.line();
        let start = if self.is_operator(":") {
            None
        } else {
            let index = self.expression()?;
            if !self.is_operator(":") {
                return Ok(index);
            }
            Some(Box::new(index))
        };
        self.skip();
        let is_end = |parser: &Self| parser.is_operator("]") || parser.is_operator(",");
        let stop = if self.is_operator(":") || is_end(self) { None } else { Some(Box::new(self.expression()?)) };
        let step = if self.skip_operator(":") && !is_end(self) { Some(Box::new(self.expression()?)) } else { None };
        Ok(Expr { line, kind: ExprKind::Slice([start, stop, step]) })
    }

    fn arguments(&mut self) -> Outcome<Arguments> {
        let mut arguments = Arguments::default();
        let invalid = || failed("syntax error: invalid syntax for a call");
        self.expect_operator("(")?;
        let mut is_first = true;
        while !self.is_operator(")") {
            if !is_first {
                self.expect_operator(",")?;
                if self.is_operator(")") {
                    break;
                }
            }
            is_first = false;
            if self.is_operator("*") {
                if arguments.more.is_some() || arguments.more_named.is_some() {
                    return invalid();
                }
                self.skip();
                arguments.more = Some(Box::new(self.expression()?));
            } else if self.is_operator("**") {
                if arguments.more_named.is_some() {
                    return invalid();
                }
                self.skip();
                arguments.more_named = Some(Box::new(self.expression()?));
            } else if matches!(self.current(), TokenKind::Name(_)) && self.next_is(&TokenKind::Operator("=")) {
                if arguments.more_named.is_some() {
                    return invalid();
                }
                let name = self.expect_name()?;
                self.skip();
                if arguments.named.iter().any(|(known, _)| *known == name) {
                    return failed(format!("syntax error: keyword argument repeated: `{name}`"));
                }
                arguments.named.push((name, self.expression()?));
            } else {
                if arguments.more.is_some() || arguments.more_named.is_some() || !arguments.named.is_empty() {
                    return invalid();
                }
                arguments.positional.push(self.expression()?);
            }
        }
        self.skip();
        Ok(arguments)
    }

    /// Filters with `|` before each; for a filter block, without it before the first.
    fn filters(&mut self, starts_inline: bool) -> Outcome<Vec<Filter>> {
        let mut filters = Vec::new();
        while (starts_inline && filters.is_empty()) || self.skip_operator("|") {
            filters.push(self.filter()?);
            if filters.len() > MAX_CHAIN {
                return failed("nested too deeply");
            }
        }
        Ok(filters)
    }

    fn filter(&mut self) -> Outcome<Filter> {
        let line = self.line();
        let name = self.dotted_name()?;
        let arguments = if self.is_operator("(") { self.arguments()? } else { Arguments::default() };
        Ok(Filter { line, name, arguments })
    }

    fn dotted_name(&mut self) -> Outcome<Arc<str>> {
        let mut name = self.expect_name()?.to_string();
        while self.skip_operator(".") {
            name.push('.');
            name.push_str(&self.expect_name()?);
        }
        Ok(name.into())
    }

    fn filters_and_tests(&mut self, mut node: Expr) -> Outcome<Expr> {
        let mut n = 0;
        loop {
            if self.skip_operator("|") {
                let filter = self.filter()?;
                node = Expr { line: filter.line, kind: ExprKind::Filter(Box::new(node), filter) };
            } else if self.is_word("is") {
                node = self.test(node)?;
            } else if self.is_operator("(") {
                node = self.call(node)?;
            } else {
                return Ok(node);
            }
            short_enough(&mut n)?;
        }
    }

    fn test(&mut self, node: Expr) -> Outcome<Expr> {
        let line = self.line();
        self.skip();
        let negated = self.skip_word("not");
        let name = self.dotted_name()?;
        let mut arguments = Arguments::default();
        if self.is_operator("(") {
            arguments = self.arguments()?;
        } else if self.starts_argument_of_test() {
            if self.is_word("is") {
                return failed("syntax error: tests cannot be chained with `is`");
            }
            let argument = self.primary()?;
            arguments.positional.push(self.postfix(argument)?);
        }
        let test = Expr { line, kind: ExprKind::Test(Box::new(node), Test { name, arguments }) };
        Ok(if negated { Expr { line, kind: ExprKind::Not(Box::new(test)) } } else { test })
    }

    fn starts_argument_of_test(&self) -> bool {
        match self.current() {
            TokenKind::Name(name) => !matches!(name.as_str(), "else" | "or" | "and"),
            TokenKind::Str(_) | TokenKind::Int(_) | TokenKind::Big(_) | TokenKind::Float(_) => true,
            TokenKind::Operator(operator) => matches!(*operator, "[" | "{"),
            _ => false,
        }
    }
}

fn short_enough(n: &mut usize) -> Outcome<()> {
    *n += 1;
    if *n > MAX_CHAIN { failed("nested too deeply") } else { Ok(()) }
}
