//! Where a statement ends, told without parsing it: a line that goes on is no error yet.

/// What the end of a text is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// SQL.
    Code,
    /// A text in single quotes, which begin at this byte.
    Text(usize),
    /// A name in double quotes, which begin at this byte.
    Name(usize),
    /// A comment to the end of the line.
    LineComment,
    /// A comment of that many levels.
    BlockComment(usize),
}

/// Whether an entry is to be taken as it is, or goes on in the next line.
///
/// Commands are one line, statements end with a semicolon.
pub(super) fn is_complete(entry: &str) -> bool {
    let text = entry.trim();
    if text.is_empty() || is_command(text) {
        return true;
    }
    let (place, last) = scan(text);
    matches!(place, Place::Code | Place::LineComment) && last.is_none_or(|c| c == ';')
}

/// Whether an entry is a command of the console and not SQL.
pub(super) fn is_command(entry: &str) -> bool {
    let text = entry.trim();
    let word = text.trim_end_matches(';').trim_end().to_lowercase();
    text.starts_with(['.', '\\']) || matches!(word.as_str(), "quit" | "exit" | "help" | "?")
}

/// Where the text ends, and the last character of its code that is no blank.
pub(super) fn scan(text: &str) -> (Place, Option<char>) {
    let (mut place, mut last) = (Place::Code, None);
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, c)| *c);
        let (new, is_pair) = step(place, at, c, next);
        if is_pair {
            chars.next();
        }
        // The end of a text or a name is code, too; a comment is not.
        let is_comment = |place| matches!(place, Place::LineComment | Place::BlockComment(_));
        if !c.is_whitespace() && !is_comment(place) && !is_comment(new) {
            last = Some(c);
        }
        place = new;
    }
    (place, last)
}

/// The place after a character, and whether the one behind it belongs to it. A doubled quote closes and opens again.
fn step(place: Place, at: usize, c: char, next: Option<char>) -> (Place, bool) {
    match (place, c, next) {
        (Place::Code, '\'', _) => (Place::Text(at), false),
        (Place::Code, '"', _) => (Place::Name(at), false),
        (Place::Code, '-', Some('-')) => (Place::LineComment, true),
        (Place::Code, '/', Some('*')) => (Place::BlockComment(1), true),
        (Place::Text(_), '\'', _) | (Place::Name(_), '"', _) | (Place::LineComment, '\n', _) => (Place::Code, false),
        (Place::BlockComment(depth), '/', Some('*')) => (Place::BlockComment(depth + 1), true),
        (Place::BlockComment(1), '*', Some('/')) => (Place::Code, true),
        (Place::BlockComment(depth), '*', Some('/')) => (Place::BlockComment(depth - 1), true),
        _ => (place, false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_semicolon_in_code_ends_a_statement() {
        for (entry, want) in [
            ("", true),
            (".tables", true),
            ("\\q", true),
            ("exit", true),
            ("help", true),
            ("EXIT", true),
            ("quit;", true),
            ("help me", false),
            ("SELECT 1", false),
            ("SELECT 1;", true),
            ("SELECT 1; -- one\n", true),
            ("SELECT 1; /* one */ ", true),
            ("SELECT 1 -- one;", false),
            ("SELECT 1 /* one; ", false),
            ("SELECT 1; /* /* deep */ ", false),
            ("SELECT 1; SELECT 2", false),
            ("SELECT ';", false),
            ("SELECT ';'", false),
            ("SELECT 'it''s;' AS \"a;\"", false),
            ("SELECT 'it''s;' AS \"a;\";", true),
            ("SELECT 1 - 2 / 3;", true),
            ("-- nothing yet", true),
            ("/* a", false),
        ] {
            assert_eq!(is_complete(entry), want, "{entry}");
        }
    }

    #[test]
    fn the_quote_that_is_open_is_known() {
        assert_eq!(scan("FROM 'data/x").0, Place::Text(5));
        assert_eq!(scan("SELECT 'é', \"rew").0, Place::Name(13));
    }
}
