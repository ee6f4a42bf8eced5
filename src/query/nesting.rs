//! How deep a statement nests, told from its words before anything is made of it.
//!
//! The engine goes down into what it parses: to copy it, to print it, to compute it, to drop it. `a OR b OR …` is parsed in a
//! loop and is as deep as it is long, and so are chains of `UNION` and of joins; a few thousand of them overflow a stack,
//! which ends the process.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::permitted::Refusal;

/// Operators, queries and brackets in each other at most.
const MAX_NESTING: usize = 1000;

/// Refuses SQL that nests too deep. What is no SQL is left to the parser to say.
///
/// # Errors
/// [`Refusal::Nested`].
pub(super) fn check(sql: &str) -> Result<(), Refusal> {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize() else { return Ok(()) };
    match deepest(&tokens) {
        found if found > MAX_NESTING => Err(Refusal::Nested { limit: MAX_NESTING, found }),
        _ => Ok(()),
    }
}

/// What is open at a place: a bracket, a `CASE`, or the statement itself.
#[derive(Debug, Default)]
struct Level {
    /// How deep it begins.
    base: usize,
    is_case: bool,
    /// Operators of the expression at hand.
    operators: usize,
    /// Queries and tables of the query at hand that are joined to each other.
    joined: usize,
    /// Whether a comma joins tables.
    in_from: bool,
}

impl Level {
    fn depth(&self) -> usize {
        self.base + self.operators + self.joined
    }

    fn inside(&self, is_case: bool) -> Self {
        Self { base: self.depth() + 1, is_case, ..Self::default() }
    }
}

/// Where a walk over the tokens of a text is.
#[derive(Debug, Default)]
struct Walk {
    outer: Vec<Level>,
    level: Level,
    /// Whether a value or a name comes next, not an operator.
    expects_operand: bool,
    /// Whether the word before was `DISTINCT`.
    follows_distinct: bool,
}

/// An upper bound: operators of one expression are taken to be in each other.
fn deepest(tokens: &[Token]) -> usize {
    let mut walk = Walk { expects_operand: true, ..Walk::default() };
    let mut deepest = 0;
    for token in tokens.iter().filter(|token| !matches!(token, Token::Whitespace(_))) {
        walk.token(token);
        deepest = deepest.max(walk.level.depth());
    }
    deepest
}

impl Walk {
    fn token(&mut self, token: &Token) {
        let was_distinct = std::mem::take(&mut self.follows_distinct);
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                // Subscripts follow each other, and each is of what stands before it.
                self.level.operators += usize::from(!self.expects_operand && *token != Token::LParen);
                self.enter(false);
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                // Whatever `CASE` was no `CASE` ends with the bracket it is in.
                while let Some(before) = self.outer.pop() {
                    if !std::mem::replace(&mut self.level, before).is_case {
                        break;
                    }
                }
                self.expects_operand = false;
            }
            Token::Comma => {
                self.level.operators = 0;
                self.level.joined += usize::from(self.level.in_from);
                self.expects_operand = true;
            }
            Token::SemiColon => *self = Self { expects_operand: true, ..Self::default() },
            Token::Word(word) => self.word(word.keyword, was_distinct),
            Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::DollarQuotedString(_)
            | Token::Placeholder(_)
            | Token::EOF => self.expects_operand = false,
            Token::Period => {}
            // All columns.
            Token::Mul if self.expects_operand => self.expects_operand = false,
            // Operators, and whatever else there may be.
            _ => self.operator(),
        }
    }

    fn enter(&mut self, is_case: bool) {
        let inside = self.level.inside(is_case);
        self.outer.push(std::mem::replace(&mut self.level, inside));
        self.expects_operand = true;
    }

    fn operator(&mut self) {
        self.level.operators += 1;
        self.expects_operand = true;
    }

    fn word(&mut self, keyword: Keyword, was_distinct: bool) {
        match keyword {
            Keyword::CASE => self.enter(true),
            Keyword::END if self.level.is_case && !self.expects_operand => {
                if let Some(before) = self.outer.pop() {
                    self.level = before;
                }
            }
            Keyword::AND
            | Keyword::OR
            | Keyword::XOR
            | Keyword::NOT
            | Keyword::IS
            | Keyword::IN
            | Keyword::LIKE
            | Keyword::ILIKE
            | Keyword::SIMILAR
            | Keyword::BETWEEN
            | Keyword::COLLATE
            | Keyword::OVERLAPS
            | Keyword::DIV => self.operator(),
            Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::MINUS | Keyword::JOIN => {
                self.level.joined += 1;
                self.level.operators = 0;
                self.level.in_from = keyword == Keyword::JOIN;
                self.expects_operand = true;
            }
            // A word of the grammar in the place of an operand is a name, and begins nothing.
            Keyword::FROM if was_distinct => self.expects_operand = true,
            Keyword::FROM
            | Keyword::SELECT
            | Keyword::WHERE
            | Keyword::HAVING
            | Keyword::GROUP
            | Keyword::ORDER
            | Keyword::ON
            | Keyword::WHEN
            | Keyword::THEN
            | Keyword::ELSE
                if !self.expects_operand || self.level.operators == 0 =>
            {
                self.level.operators = 0;
                match keyword {
                    Keyword::FROM => self.level.in_from = true,
                    Keyword::SELECT | Keyword::WHERE | Keyword::HAVING | Keyword::GROUP | Keyword::ORDER => {
                        self.level.in_from = false;
                    }
                    _ => {}
                }
                self.expects_operand = true;
            }
            keyword => {
                self.follows_distinct = keyword == Keyword::DISTINCT;
                self.expects_operand = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth(sql: &str) -> usize {
        deepest(&Tokenizer::new(&GenericDialect {}, sql).tokenize().unwrap())
    }

    #[test]
    fn what_stands_side_by_side_is_not_deep() {
        let many = |part: &str, between: &str| vec![part; 5000].join(between);
        for sql in [
            format!("SELECT * FROM t WHERE a IN ({})", many("'x'", ", ")),
            format!("SELECT {} FROM t", many("a + 1 AS b", ", ")),
            format!("INSERT INTO t VALUES {}", many("(1, -2)", ", ")),
            format!("SELECT CASE {} ELSE 0 END", many("WHEN a = 1 AND b = 2 THEN 'x' || 'y'", " ")),
            many("SELECT a * 2 FROM t WHERE b = 1", ";"),
            format!("SELECT {} FROM t", many("CASE WHEN a = 1 THEN 2 END", ", ")),
            format!("SELECT {} FROM t ORDER BY {}", many("f(a, b - 1)", ", "), many("c", ", ")),
            format!("WITH {} SELECT 1", many("a AS (SELECT 1 FROM t WHERE b = 1)", ", ")),
        ] {
            assert!(depth(&sql) < 20, "{}: {}", depth(&sql), &sql[..80]);
        }
    }

    #[test]
    fn chains_and_brackets_are_as_deep_as_they_are_long() {
        let many = |part: &str, between: &str| vec![part; 2000].join(between);
        for sql in [
            format!("SELECT * FROM t WHERE {}", many("a = 1", " OR ")),
            many("SELECT 1", " UNION ALL "),
            format!("SELECT {}", many("a", "||")),
            format!("SELECT {}1{}", many("(", ""), many(")", "")),
            format!("SELECT {}1{}", many("CASE WHEN true THEN ", ""), many(" END", "")),
            format!("SELECT {} 1", many("NOT", " ")),
            format!("SELECT a{}", many("[1]", "")),
            format!("SELECT a{}", many("::text", "")),
            format!("SELECT * FROM {}", many("t", ", ")),
            format!("SELECT * FROM {}", many("t", " JOIN ")),
            format!("SELECT * FROM t WHERE {}", many("a", " IS DISTINCT FROM ")),
            format!("SELECT {}", many("a", " IS NOT DISTINCT FROM ")),
            // Words of the grammar as names of columns.
            format!("SELECT * FROM t WHERE {}", many("group", " OR ")),
            format!("SELECT * FROM t WHERE {}", many("when", " OR ")),
            format!("SELECT * FROM t WHERE {}", many("case", " OR ")),
            format!("SELECT {}1{}", many("(SELECT ", ""), many(")", "")),
        ] {
            assert!(depth(&sql) >= 1999, "{}: {}", depth(&sql), &sql[..80]);
            assert!(matches!(check(&sql), Err(Refusal::Nested { .. })));
        }
    }
}
