//! HTML, as `markupsafe` reads it.

use super::failure::{Outcome, failed};
use super::text::is_space;

/// Text without comments and tags, with single spaces.
///
/// # Errors
/// If it has entities: their names are a table of thousands.
pub(super) fn striptags(text: &str) -> Outcome<String> {
    let mut text = text.to_owned();
    for (open, close) in [("<!--", "-->"), ("<", ">")] {
        let mut from = 0;
        while let Some(start) = text[from..].find(open).map(|at| from + at) {
            let Some(end) = text[start..].find(close).map(|at| start + at + close.len()) else { break };
            text.replace_range(start..end, "");
            // What was cut out may have stood inside of another mark.
            from = text.floor_char_boundary(start.saturating_sub(open.len()));
        }
    }
    if text.contains('&') {
        return failed("`striptags` of a text with `&` is not supported");
    }
    let words: Vec<&str> = text.split(is_space).filter(|word| !word.is_empty()).collect();
    Ok(words.join(" "))
}
