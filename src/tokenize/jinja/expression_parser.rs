//! The grammar of expressions.

use std::sync::Arc;

use super::ast::{Arguments, Comparison, Const, Expr, ExprKind, Filter, Operator, Test};
use super::failure::{Outcome, failed};
use super::lexer::TokenKind;
use super::parser::{MAX_CHAIN, Parser};

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
    /// An expression, or several with commas between as a tuple; `explicit` is inside parentheses, where none is one too.
    pub(super) fn tuple(&mut self, with_condition: bool, ends: &[&str], explicit: bool) -> Outcome<Expr> {
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

    pub(super) fn expression(&mut self) -> Outcome<Expr> {
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

    pub(super) fn or(&mut self) -> Outcome<Expr> {
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
    pub(super) fn filters(&mut self, starts_inline: bool) -> Outcome<Vec<Filter>> {
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
