//! Tokens to statements and expressions, by the grammar of `jinja2.parser`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::ast::{Expr, ExprKind, For, Macro, Name, SPECIAL_NAMES, Scope, Stmt, StmtKind, Target};
use super::failure::{Outcome, failed};
use super::lexer::{Token, TokenKind, tokenize};
use super::scope;

/// Expressions and blocks in one another. Python gives up on fewer, with its own stack.
const MAX_DEPTH: usize = 150;

/// Operands of a chain (`a + b + …`), which is as deep a tree. Python gives up on fewer.
pub(super) const MAX_CHAIN: usize = 1000;

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

/// Parameters, and the defaults of the last of them.
type Signature = (Vec<(Name, Arc<str>)>, Vec<Expr>);

pub(super) struct Parser {
    tokens: Vec<Token>,
    pub(super) position: usize,
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, Name>,
    blocks: HashSet<Arc<str>>,
    depth: usize,
}

impl Parser {
    pub(super) fn line(&self) -> usize {
        self.tokens.get(self.position).map_or(1, |token| token.line)
    }

    pub(super) fn current(&self) -> &TokenKind {
        self.tokens.get(self.position).map_or(&TokenKind::End, |token| &token.kind)
    }

    pub(super) fn next_is(&self, kind: &TokenKind) -> bool {
        self.tokens.get(self.position + 1).is_some_and(|token| token.kind == *kind)
    }

    pub(super) fn is_operator(&self, operator: &str) -> bool {
        matches!(self.current(), TokenKind::Operator(found) if *found == operator)
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(self.current(), TokenKind::Name(found) if found == word)
    }

    pub(super) fn skip(&mut self) {
        self.position += 1;
    }

    pub(super) fn skip_operator(&mut self, operator: &str) -> bool {
        let found = self.is_operator(operator);
        self.position += usize::from(found);
        found
    }

    pub(super) fn skip_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.position += usize::from(found);
        found
    }

    pub(super) fn unexpected<T>(&self, expected: &str) -> Outcome<T> {
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

    pub(super) fn expect_operator(&mut self, operator: &str) -> Outcome<()> {
        if self.skip_operator(operator) { Ok(()) } else { self.unexpected(&format!("`{operator}`")) }
    }

    fn expect_word(&mut self, word: &str) -> Outcome<()> {
        if self.skip_word(word) { Ok(()) } else { self.unexpected(&format!("`{word}`")) }
    }

    pub(super) fn expect_name(&mut self) -> Outcome<Arc<str>> {
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

    pub(super) fn intern(&mut self, name: &Arc<str>) -> Name {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = Name::try_from(self.names.len()).unwrap_or(Name::MAX);
        self.names.push(name.clone());
        self.numbers.insert(name.clone(), number);
        number
    }

    pub(super) fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
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

    fn signature(&mut self) -> Outcome<Signature> {
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

    pub(super) fn is_tuple_end(&self, ends: &[&str]) -> bool {
        matches!(self.current(), TokenKind::VariableEnd | TokenKind::BlockEnd)
            || self.is_operator(")")
            || ends.iter().any(|end| self.is_word(end))
    }
}
