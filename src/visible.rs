//! Characters that hide, or that change how others are read, spelt out: the one way of a text from outside to a reader.
//!
//! Escaping keeps a text from becoming markup. It does not keep it from deceiving its reader: sequences of controls move the
//! cursor of a terminal, marks of direction reorder what stands beside them (CVE-2021-42574, "Trojan Source"), tag
//! characters carry words that nobody sees, and a line end lets the rest pass for a line of the program's own.

use std::borrow::Cow;
use std::fmt::Write;

/// Before each line of a message but its first: no line of ours begins so.
const WITHIN: &str = "    ";

/// The text with such characters as visible ones: `␛` for a control, `⟨U+202E⟩` for any other. Line ends and tabs stay.
pub fn visible(text: &str) -> Cow<'_, str> {
    spelt(text, is_hidden)
}

/// The same as one line: line ends and tabs are spelt out too.
pub fn line(text: &str) -> Cow<'_, str> {
    spelt(text, |c| is_hidden(c) || matches!(c, '\n' | '\r' | '\t'))
}

/// The same for a terminal, where a carriage return writes over what stands before it.
pub fn screen(text: &str) -> Cow<'_, str> {
    spelt(text, |c| is_hidden(c) || c == '\r')
}

/// A message as it is printed: what it quotes may have line ends, and none of its further lines can pass for another
/// message.
pub fn message(text: &str) -> String {
    let lines = text.split('\n').map(screen);
    let mut message = String::with_capacity(text.len());
    for (number, line) in lines.enumerate() {
        if number > 0 {
            message.push('\n');
            message.push_str(if line.is_empty() { "" } else { WITHIN });
        }
        message.push_str(&line);
    }
    message
}

fn spelt(text: &str, is_hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !is_hidden(c) => shown.push(c),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            // The pictures of controls stand in their order from U+2400 on.
            '\0'..='\u{1f}' => shown.extend(char::from_u32(0x2400 + u32::from(c))),
            '\u{7f}' => shown.push('\u{2421}'),
            // Writing to a string does not fail.
            c => _ = write!(shown, "⟨U+{:04X}⟩", u32::from(c)),
        }
    }
    Cow::Owned(shown)
}

/// Controls, marks of direction, separators of lines, and what has no width. The joiners of Persian and of emoji are
/// what their writing needs, and stay.
fn is_hidden(c: char) -> bool {
    let is_known = matches!(
        c,
        '\u{61c}'
            | '\u{200b}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    );
    is_known || (c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: &str) {
        assert_eq!(visible(text), want);
    }

    #[test]
    fn what_hides_is_spelt_out() {
        check("a\0b\u{1b}[2J\u{7f}", "a␀b␛[2J␡");
        check("\u{9b}1m", "⟨U+009B⟩1m");
        check("user\u{202e}nimda", "user⟨U+202E⟩nimda");
        check("\u{2066}x\u{2069}\u{200f}", "⟨U+2066⟩x⟨U+2069⟩⟨U+200F⟩");
        check("\u{e0041}\u{200b}\u{feff}\u{2028}", "⟨U+E0041⟩⟨U+200B⟩⟨U+FEFF⟩⟨U+2028⟩");
    }

    #[test]
    fn a_line_is_one_line_and_a_message_one_message() {
        assert_eq!(line("a\nhint: b\r\t\u{1b}"), "a\\nhint: b\\r\\t␛");
        assert!(matches!(line("a b"), Cow::Borrowed("a b")));
        assert_eq!(
            message("cannot read `a\nhint: b`\r\n  caused by: c"),
            "cannot read `a\n    hint: b`\\r\n      caused by: c"
        );
        assert_eq!(message("a\n\nb\tc"), "a\n\n    b\tc");
    }

    #[test]
    fn writing_stays_as_it_is() {
        for text in ["a\n\tb\r\n", "שלום", "می\u{200c}خواهم", "👩\u{200d}💻", "non\u{a0}breaking"] {
            assert!(matches!(visible(text), Cow::Borrowed(found) if found == text), "{text:?}");
        }
    }
}
