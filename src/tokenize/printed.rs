//! Whether an answer is in the text that a chat template makes of it.
//!
//! A template may leave out what it does not know: a string where it reads parts, parts where it reads a string, tool calls.
//! Then both completions of a pair are the same few tokens, and nothing fails. So each answer is looked for in the text.
//! What templates do to an answer on purpose is no loss: they trim it, drop or move its thoughts, escape its signs.

use crate::data::Message;

/// Ends of thoughts, in the ways models write them. What is before them templates move and drop.
const THOUGHT_ENDS: [&str; 6] =
    ["</think>", "</thinking>", "</thought>", "</seed:think>", "[/THINK]", "<|end_of_thought|>"];

/// Characters of an answer that are quoted where it is missing.
const QUOTED: usize = 40;

/// What of an assistant's turns is not in `text` beyond `after`, as words for an error.
pub(super) fn missing(turns: &[Message], text: &str, after: usize) -> Option<String> {
    let mut answers = turns.iter().filter(|turn| turn.role == "assistant");
    answers.find_map(|turn| missing_of(turn, text, after))
}

fn missing_of(turn: &Message, text: &str, after: usize) -> Option<String> {
    if !is_printed(&turn.content, text, after) {
        let said = without_thoughts(&turn.content);
        let quoted: String = said.chars().take(QUOTED).collect();
        let dots = if quoted.len() < said.len() { "…" } else { "" };
        return Some(format!("`{quoted}{dots}`"));
    }
    let calls = turn.extra.get("tool_calls").and_then(serde_json::Value::as_array);
    calls.into_iter().flatten().find_map(|call| {
        let name = call.pointer("/function/name").or_else(|| call.get("name"))?.as_str()?;
        (!is_printed(name, text, after)).then(|| format!("the call of `{name}`"))
    })
}

/// Whether `text` has what is said, ending beyond `after`.
pub(super) fn is_printed(said: &str, text: &str, after: usize) -> bool {
    let said = without_thoughts(said);
    if said.is_empty() || reaches(text, said, after) {
        return true;
    }
    let (letters, after) = (letters_of(text), letters_of(text.get(..after).unwrap_or(text)).len());
    let is_in = |part: &str| {
        let part = letters_of(part);
        !part.is_empty() && reaches(&letters, &part, after)
    };
    // A template may take out a mark or a line of its own.
    let lines = || said.lines().filter(|line| !letters_of(line).is_empty());
    is_in(said) || (lines().count() > 1 && lines().filter(|line| is_in(line)).count() * 2 > lines().count())
}

/// What is said after the thoughts.
pub(super) fn without_thoughts(said: &str) -> &str {
    let end = THOUGHT_ENDS.iter().filter_map(|mark| said.rfind(mark).map(|at| at + mark.len())).max();
    said[end.unwrap_or(0)..].trim()
}

/// The thoughts, without the mark that opens and the one that ends them.
pub(super) fn thoughts(said: &str) -> &str {
    let end = THOUGHT_ENDS.iter().filter_map(|mark| said.rfind(mark)).max();
    let thought = said[..end.unwrap_or(0)].trim();
    let opened = THOUGHT_ENDS.iter().find_map(|mark| thought.strip_prefix(&mark.replace('/', "")));
    opened.unwrap_or(thought).trim()
}

fn reaches(text: &str, part: &str, after: usize) -> bool {
    text.rfind(part).is_some_and(|at| at + part.len() > after)
}

/// Letters and digits alone, in lower case: what is left of a text however it is escaped or spaced.
fn letters_of(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(said: &str, text: &str, want: bool) {
        assert_eq!(
            is_printed(said, &format!("<user> answer? {text}"), "<user> answer? ".len()),
            want,
            "{said:?} in {text:?}"
        );
    }

    #[test]
    fn an_answer_is_found_however_a_template_writes_it() {
        check(" Yes.\n", "<assistant>Yes.<end>", true);
        check("<think>\nlong\n</think>\n\nYes", "<assistant>Yes<end>", true);
        check("<think>\nonly thoughts\n</think>", "<assistant><end>", true);
        check("a \"b\"\nc", r#"{"text": "a \"b\"  c"}"#, true);
        check("", "<end>", true);
        check("🙂", "<assistant>🙂<end>", true);
        check("one\n<|end|>\ntwo\nthree", "<assistant>one two three", true);
    }

    #[test]
    fn an_answer_that_is_not_there_is_missed_even_if_the_prompt_has_it() {
        check("answer?", "<assistant><end>", false);
        check("No", "<assistant>[]<end>", false);
        check("🙂", "<assistant><end>", false);
        check("first line\nsecond line", "<assistant>other<end>", false);
    }
}
