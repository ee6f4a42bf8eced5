//! A template's source to tokens, by the rules of `jinja2.lexer` with `trim_blocks` and `lstrip_blocks`.

use std::sync::LazyLock;

use num_bigint::BigInt;
use regex::Regex;

use super::failure::{Failure, Outcome, failed};
use super::text::is_space;

/// A token and the line it starts on.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) line: usize,
    pub(super) kind: TokenKind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    Data(String),
    VariableBegin,
    VariableEnd,
    BlockBegin,
    BlockEnd,
    Name(String),
    Str(String),
    Int(i64),
    Big(BigInt),
    Float(f64),
    Operator(&'static str),
    End,
}

/// Longest first, as the lexer tries them.
const OPERATORS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".",
    ":", "|", ",", ";",
];

static FLOAT: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^(?i:(?:\d+_)*\d+(?:(?:\.(?:\d+_)*\d+)?e[+\-]?(?:\d+_)*\d+|\.(?:\d+_)*\d+))").ok());
static INTEGER: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^(?i:0b(?:_?[01])+|0o(?:_?[0-7])+|0x(?:_?[\da-f])+|[1-9](?:_?\d)*|0(?:_?0)*)").ok());

/// What a tag's start says about the white space before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Strip,
    Keep,
    Default,
}

/// Tokens of a template, the last of them [`TokenKind::End`].
pub(super) fn tokenize(source: &str) -> Outcome<Vec<Token>> {
    let source = normal_newlines(source);
    let source = source.strip_suffix('\n').unwrap_or(&source);
    let mut lexer = Lexer { source, position: 0, line: 1, line_starting: true, tokens: Vec::new() };
    match lexer.run() {
        Ok(()) => Ok(lexer.tokens),
        Err(failure) => Err(failure.at(lexer.line)),
    }
}

/// `\r\n` and `\r` are line ends to Jinja2, and it writes `\n` for all.
fn normal_newlines(source: &str) -> String {
    source.replace("\r\n", "\n").replace('\r', "\n")
}

struct Lexer<'a> {
    source: &'a str,
    position: usize,
    line: usize,
    /// Whether what was matched last ends a line.
    line_starting: bool,
    tokens: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.position..]
    }

    fn push(&mut self, kind: TokenKind) {
        self.tokens.push(Token { line: self.line, kind });
    }

    fn advance(&mut self, n_bytes: usize) {
        let passed = &self.source[self.position..self.position + n_bytes];
        self.line += passed.matches('\n').count();
        self.line_starting = passed.ends_with('\n');
        self.position += n_bytes;
    }

    fn run(&mut self) -> Outcome<()> {
        while let Some(start) = next_tag(self.rest()) {
            let tag = &self.rest()[start..start + 2];
            let after = &self.rest()[start + 2..];
            if tag == "{%"
                && let Some((n_bytes, sign)) = raw_begin(after)
            {
                self.data_before(start, sign, true);
                self.advance(start + 2 + n_bytes);
                self.raw()?;
                continue;
            }
            let sign = sign_of(after);
            self.data_before(start, sign, tag != "{{");
            self.advance(start + 2 + usize::from(sign != Sign::Default));
            match tag {
                "{#" => self.comment()?,
                "{%" => {
                    self.push(TokenKind::BlockBegin);
                    self.tag(true)?;
                }
                _ => {
                    self.push(TokenKind::VariableBegin);
                    self.tag(false)?;
                }
            }
        }
        if !self.rest().is_empty() {
            self.push(TokenKind::Data(self.rest().to_owned()));
            self.advance(self.rest().len());
        }
        self.push(TokenKind::End);
        Ok(())
    }

    /// The text before a tag, without what the tag strips of it.
    fn data_before(&mut self, n_bytes: usize, sign: Sign, may_strip_line: bool) {
        let text = &self.rest()[..n_bytes];
        let data = self.stripped(text, sign, may_strip_line);
        if !data.is_empty() {
            self.push(TokenKind::Data(data.to_owned()));
        }
    }

    fn stripped<'t>(&self, text: &'t str, sign: Sign, may_strip_line: bool) -> &'t str {
        match sign {
            Sign::Strip => text.trim_end_matches(is_space),
            Sign::Default if may_strip_line => {
                let line_start = text.rfind('\n').map_or(0, |newline| newline + 1);
                let of_line = &text[line_start..];
                let starts_line = line_start > 0 || self.line_starting;
                if starts_line && !of_line.is_empty() && of_line.chars().all(is_space) {
                    &text[..line_start]
                } else {
                    text
                }
            }
            _ => text,
        }
    }

    fn comment(&mut self) -> Outcome<()> {
        let rest = self.rest();
        let Some(end) = rest.find("#}") else { return failed("a comment that does not end") };
        let n_bytes = end + 2 + after_end(rest, end, true);
        self.advance(n_bytes);
        Ok(())
    }

    fn raw(&mut self) -> Outcome<()> {
        let rest = self.rest();
        for (start, _) in rest.match_indices("{%") {
            let after = &rest[start + 2..];
            let sign = sign_of(after);
            let word = after[usize::from(sign != Sign::Default)..].trim_start_matches(is_space);
            let Some(tail) = word.strip_prefix("endraw") else { continue };
            let tail = tail.trim_start_matches(is_space);
            let end = rest.len() - tail.len();
            let mark = usize::from(tail.starts_with(['-', '+']));
            if !tail[mark..].starts_with("%}") {
                continue;
            }
            self.data_before(start, sign, true);
            self.advance(end + mark + 2 + after_end(rest, end + mark, true));
            return Ok(());
        }
        failed("a `raw` block that does not end")
    }

    /// Tokens up to the end of a tag.
    fn tag(&mut self, is_block: bool) -> Outcome<()> {
        let mut open = Vec::new();
        loop {
            let rest = self.rest();
            let Some(first) = rest.chars().next() else {
                self.push(TokenKind::End);
                return failed("syntax error: unexpected end of the template inside a tag");
            };
            if open.is_empty()
                && let Some(n_bytes) = tag_end(rest, is_block)
            {
                self.push(if is_block { TokenKind::BlockEnd } else { TokenKind::VariableEnd });
                self.advance(n_bytes);
                return Ok(());
            }
            if is_space(first) {
                self.advance(rest.len() - rest.trim_start_matches(is_space).len());
            } else if let Some((kind, n_bytes)) = self.number()? {
                self.push(kind);
                self.advance(n_bytes);
            } else if is_word(first) {
                let n_bytes = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                if first.is_numeric() {
                    return failed("syntax error: invalid character in an identifier");
                }
                self.push(TokenKind::Name(rest[..n_bytes].to_owned()));
                self.advance(n_bytes);
            } else if matches!(first, '\'' | '"') {
                let Some(n_bytes) = string_length(rest) else {
                    return failed(format!("syntax error: unexpected char {first:?}"));
                };
                let text = unescaped(&rest[1..n_bytes - 1])?;
                self.push(TokenKind::Str(text));
                self.advance(n_bytes);
            } else {
                let Some(operator) = OPERATORS.into_iter().find(|operator| rest.starts_with(operator)) else {
                    return failed(format!("syntax error: unexpected char {first:?}"));
                };
                balance(&mut open, operator)?;
                self.push(TokenKind::Operator(operator));
                self.advance(operator.len());
            }
        }
    }

    fn number(&self) -> Outcome<Option<(TokenKind, usize)>> {
        let rest = self.rest();
        let after_dot = self.source[..self.position].ends_with('.');
        if !after_dot && let Some(found) = FLOAT.as_ref().and_then(|float| float.find(rest)) {
            let digits = found.as_str().replace('_', "");
            return match digits.parse() {
                Ok(value) => Ok(Some((TokenKind::Float(value), found.end()))),
                Err(_) => failed(format!("syntax error: `{digits}` is no number")),
            };
        }
        let Some(found) = INTEGER.as_ref().and_then(|integer| integer.find(rest)) else { return Ok(None) };
        let digits = found.as_str().replace('_', "").to_ascii_lowercase();
        let (radix, digits) = match digits.get(..2) {
            Some("0b") => (2, &digits[2..]),
            Some("0o") => (8, &digits[2..]),
            Some("0x") => (16, &digits[2..]),
            _ => (10, digits.as_str()),
        };
        let kind = match i64::from_str_radix(digits, radix) {
            Ok(value) => TokenKind::Int(value),
            Err(_) => match BigInt::parse_bytes(digits.as_bytes(), radix) {
                Some(value) => TokenKind::Big(value),
                None => return failed(format!("syntax error: `{digits}` is no number")),
            },
        };
        Ok(Some((kind, found.end())))
    }
}

fn next_tag(text: &str) -> Option<usize> {
    text.match_indices('{').map(|(start, _)| start).find(|start| {
        let after = &text[start + 1..];
        after.starts_with(['{', '%', '#'])
    })
}

fn sign_of(after: &str) -> Sign {
    match after.as_bytes().first() {
        Some(b'-') => Sign::Strip,
        Some(b'+') => Sign::Keep,
        _ => Sign::Default,
    }
}

/// Length of what follows `{%` up to the end of the tag, if it is `raw`.
fn raw_begin(after: &str) -> Option<(usize, Sign)> {
    let sign = sign_of(after);
    let word = after[usize::from(sign != Sign::Default)..].trim_start_matches(is_space);
    let tail = word.strip_prefix("raw")?.trim_start_matches(is_space);
    let rest = match tail.strip_prefix("-%}") {
        Some(rest) => rest.trim_start_matches(is_space),
        None => tail.strip_prefix("%}")?,
    };
    Some((after.len() - rest.len(), sign))
}

/// Bytes that go with an end mark at `end` (two bytes long): white space after `-`, one line end otherwise.
fn after_end(text: &str, end: usize, trims_newline: bool) -> usize {
    let rest = &text[end + 2..];
    match text[..end].bytes().next_back() {
        Some(b'-') => rest.len() - rest.trim_start_matches(is_space).len(),
        Some(b'+') => 0,
        _ => usize::from(trims_newline && rest.starts_with('\n')),
    }
}

fn tag_end(rest: &str, is_block: bool) -> Option<usize> {
    let end = if is_block { "%}" } else { "}}" };
    let mark = usize::from(rest.starts_with('-') || (is_block && rest.starts_with('+')));
    if !rest[mark..].starts_with(end) {
        return None;
    }
    Some(mark + 2 + after_end(rest, mark, is_block))
}

fn balance(open: &mut Vec<&'static str>, operator: &'static str) -> Outcome<()> {
    match operator {
        "{" => open.push("}"),
        "(" => open.push(")"),
        "[" => open.push("]"),
        "}" | ")" | "]" => match open.pop() {
            Some(expected) if expected == operator => {}
            Some(expected) => return failed(format!("syntax error: unexpected `{operator}`, expected `{expected}`")),
            None => return failed(format!("syntax error: unexpected `{operator}`")),
        },
        _ => {}
    }
    Ok(())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Length of a string with its quotes.
fn string_length(text: &str) -> Option<usize> {
    let mut chars = text.char_indices();
    let (_, quote) = chars.next()?;
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some(at + 1);
        }
        if c == '\\' {
            chars.next()?;
        }
    }
    None
}

/// Python's `unicode-escape` of a string whose other characters went through `backslashreplace` before: an unknown
/// escape stays as it is written, and a backslash before a character beyond ASCII makes text of that one's escape.
fn unescaped(text: &str) -> Outcome<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let Some(escape) = chars.next() else { return failed("syntax error: a string ends with a backslash") };
        match escape {
            '\n' => {}
            '\\' | '\'' | '"' => out.push(escape),
            'a' => out.push('\x07'),
            'b' => out.push('\x08'),
            'f' => out.push('\x0c'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'v' => out.push('\x0b'),
            '0'..='7' => {
                let mut code = escape.to_digit(8).unwrap_or_default();
                for _ in 0..2 {
                    let Some(digit) = chars.peek().and_then(|c| c.to_digit(8)) else { break };
                    code = code * 8 + digit;
                    chars.next();
                }
                out.push(character(code)?);
            }
            'x' | 'u' | 'U' => {
                let n_digits = match escape {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                let mut code: u32 = 0;
                for _ in 0..n_digits {
                    let Some(digit) = chars.next().and_then(|c| c.to_digit(16)) else {
                        return failed(format!("syntax error: truncated `\\{escape}` escape in a string"));
                    };
                    code = code.wrapping_mul(16).wrapping_add(digit);
                }
                out.push(character(code)?);
            }
            'N' if chars.peek() == Some(&'{') => {
                chars.next();
                let mut name = String::new();
                loop {
                    match chars.next() {
                        Some('}') => break,
                        Some(c) => name.push(c),
                        None => return failed("syntax error: malformed `\\N` character escape in a string"),
                    }
                }
                return failed(format!("`\\N{{{name}}}` is not supported: write the character itself"));
            }
            'N' => return failed("syntax error: malformed `\\N` character escape in a string"),
            c if c.is_ascii() => out.extend(['\\', c]),
            c => {
                let code = u32::from(c);
                out.push('\\');
                out.push_str(&match code {
                    0..=0xff => format!("x{code:02x}"),
                    0x100..=0xffff => format!("u{code:04x}"),
                    _ => format!("U{code:08x}"),
                });
            }
        }
    }
    Ok(out)
}

fn character(code: u32) -> Outcome<char> {
    char::from_u32(code).map_or_else(
        || Err(Failure::of(super::failure::Cause::Failed, format!("syntax error: `\\u{code:04x}` is no character"))),
        Ok,
    )
}
