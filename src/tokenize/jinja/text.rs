//! Python's notions of text: white space, case, lines, `repr`.

use std::fmt::Write as _;
use std::sync::LazyLock;

use regex::Regex;

/// Categories of characters that `repr` escapes.
static NOT_PRINTABLE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^[\p{C}\p{Z}]$").ok());
static LETTER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\p{L}$").ok());
static DECIMAL: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\p{Nd}$").ok());
static TITLE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\p{Lt}$").ok());

fn is_of(category: &LazyLock<Option<Regex>>, c: char) -> bool {
    category.as_ref().is_some_and(|category| category.is_match(c.encode_utf8(&mut [0; 4])))
}

/// `str.isspace` of a character: Unicode's white space and four separators of ASCII.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}

/// `str.isalpha` of a character.
pub(super) fn is_letter(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphabetic() } else { is_of(&LETTER, c) }
}

/// `str.isdecimal` of a character.
pub(super) fn is_decimal(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_digit() } else { is_of(&DECIMAL, c) }
}

/// `str.isdigit` of a character: decimals, and digits in a frame or out of line.
pub(super) fn is_digit(c: char) -> bool {
    is_decimal(c)
        || matches!(c, '²' | '³' | '¹' | '⁰' | '⁴'..='⁹' | '₀'..='₉' | '①'..='⑨' | '⑴'..='⑼' | '⒈'..='⒐' | '⓪'
            | '⓵'..='⓽' | '⓿' | '❶'..='❾' | '➀'..='➈' | '➊'..='➒')
}

/// Whether a character has case.
fn is_cased(c: char) -> bool {
    c.is_lowercase() || c.is_uppercase() || is_title(c)
}

fn is_title(c: char) -> bool {
    !c.is_ascii() && is_of(&TITLE, c)
}

pub(super) fn is_printable(c: char) -> bool {
    if c.is_ascii() { matches!(c, ' '..='~') } else { !is_of(&NOT_PRINTABLE, c) }
}

/// `repr` of a text.
pub(super) fn repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if is_printable(c) => out.push(c),
            c => {
                let code = u32::from(c);
                // Writing into a text does not fail.
                let _ = match code {
                    0..=0xff => write!(out, "\\x{code:02x}"),
                    0x100..=0xffff => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push(quote);
    out
}

/// `ascii` of a text.
pub(super) fn ascii(text: &str) -> String {
    let mut out = String::new();
    for c in repr(text).chars() {
        let code = u32::from(c);
        let _ = match code {
            0..=0x7f => write!(out, "{c}"),
            0x80..=0xff => write!(out, "\\x{code:02x}"),
            0x100..=0xffff => write!(out, "\\u{code:04x}"),
            _ => write!(out, "\\U{code:08x}"),
        };
    }
    out
}

fn push_title(out: &mut String, c: char) {
    match c {
        'Ǆ'..='ǆ' => out.push('ǅ'),
        'Ǉ'..='ǉ' => out.push('ǈ'),
        'Ǌ'..='ǌ' => out.push('ǋ'),
        'Ǳ'..='ǳ' => out.push('ǲ'),
        // Georgian has capitals, and no titles.
        '\u{10d0}'..='\u{10ff}' => out.push(c),
        '\u{1f80}'..='\u{1faf}' => out.extend(char::from_u32(u32::from(c) | 8)),
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => out.extend(char::from_u32(u32::from(c) + 9)),
        'ŉ' => out.push_str("ʼN"),
        c if is_title(c) => out.push(c),
        c => {
            let mut upper = c.to_uppercase();
            out.extend(upper.next());
            upper.for_each(|more| out.extend(more.to_lowercase()));
        }
    }
}

/// `str.title`.
pub(super) fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut after_cased = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if !after_cased {
            push_title(&mut out, c);
        } else if c == 'Σ' && chars.peek().is_none_or(|next| !is_cased(*next)) {
            out.push('ς');
        } else {
            out.extend(c.to_lowercase());
        }
        after_cased = is_cased(c);
    }
    out
}

/// `str.capitalize`.
pub(super) fn capitalize(text: &str) -> String {
    let Some(first) = text.chars().next() else { return String::new() };
    let mut out = String::with_capacity(text.len());
    push_title(&mut out, first);
    // Lowered as a whole: a final sigma depends on what is before it.
    out.extend(text.to_lowercase().chars().skip(first.to_lowercase().count()));
    out
}

/// The filter `title`: words start after white space, `-` and opening brackets.
pub(super) fn words_capitalized(text: &str) -> String {
    let is_separator = |c: char| is_space(c) || matches!(c, '-' | '(' | '{' | '[' | '<');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(is_separator).unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        if let Some(first) = word.chars().next() {
            out.extend(first.to_uppercase());
            out.push_str(&word[first.len_utf8()..].to_lowercase());
        }
        let n_separators = tail.len() - tail.trim_start_matches(is_separator).len();
        out.push_str(&tail[..n_separators]);
        rest = &tail[n_separators..];
    }
    out
}

/// `str.swapcase`.
pub(super) fn swapcase(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_uppercase() {
            out.extend(c.to_lowercase());
        } else if c.is_lowercase() {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
    }
    out
}

/// `str.casefold`.
pub(super) fn casefold(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            'ı' => out.push(c),
            // Cherokee folds to its capitals.
            '\u{13f8}'..='\u{13fd}' => out.extend(char::from_u32(u32::from(c) - 8)),
            '\u{ab70}'..='\u{abbf}' => out.extend(char::from_u32(u32::from(c) - 0x97d0)),
            '\u{13a0}'..='\u{13f5}' => out.push(c),
            c => c.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase).for_each(|c| out.push(c)),
        }
    }
    out
}

/// `str.islower` (of lower-case letters) and `str.isupper`.
pub(super) fn is_all(text: &str, is_right: fn(char) -> bool) -> bool {
    text.chars().any(is_right) && text.chars().all(|c| !is_cased(c) || is_right(c))
}

/// `str.istitle`.
pub(super) fn is_titled(text: &str) -> bool {
    let (mut any, mut after_cased) = (false, false);
    for c in text.chars() {
        let starts = c.is_uppercase() || is_title(c);
        if (starts && after_cased) || (c.is_lowercase() && !after_cased) {
            return false;
        }
        after_cased = is_cased(c);
        any |= after_cased;
    }
    any
}

/// `str.splitlines`.
pub(super) fn lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let is_end = |c: char| matches!(c, '\n'..='\r' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let Some(end) = rest.find(is_end) else {
            lines.push(rest);
            break;
        };
        let mark =
            if rest[end..].starts_with("\r\n") { 2 } else { rest[end..].chars().next().map_or(1, char::len_utf8) };
        lines.push(&rest[..if keep_ends { end + mark } else { end }]);
        rest = &rest[end + mark..];
    }
    lines
}

/// Text without the given characters at its ends; without white space for none.
pub(super) fn strip<'a>(text: &'a str, characters: Option<&str>, left: bool, right: bool) -> &'a str {
    let is_stripped = |c: char| characters.map_or_else(|| is_space(c), |characters| characters.contains(c));
    let text = if left { text.trim_start_matches(is_stripped) } else { text };
    if right { text.trim_end_matches(is_stripped) } else { text }
}

/// `markupsafe.escape` of a text.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            c => out.push(c),
        }
    }
    out
}
