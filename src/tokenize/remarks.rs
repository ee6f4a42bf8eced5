//! What a chat template does to answers that a user may not expect, counted over the rows that are tokenised.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value as Json;

use super::printed::{is_printed, thoughts};
use crate::data::Message;

/// Counts of rows.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    thoughts_dropped: AtomicU64,
    arguments_quoted: AtomicU64,
}

/// Names a turn's thoughts go by beside its content.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

impl Remarks {
    /// Counts a row by its answers and their texts.
    pub(super) fn count(&self, answers: &[(&[Message], &str)]) {
        let any = |holds: fn(&Message, &str) -> bool| {
            answers.iter().any(|(turns, text)| turns.iter().any(|turn| holds(turn, text)))
        };
        for (holds, count) in [
            (drops_thoughts as fn(&Message, &str) -> bool, &self.thoughts_dropped),
            (quotes_arguments, &self.arguments_quoted),
        ] {
            count.fetch_add(u64::from(any(holds)), Ordering::Relaxed);
        }
    }

    /// What was counted, in words; `rows` is what they are called.
    pub(super) fn lines(&self, rows: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let mut say = |count: &AtomicU64, what: &str| match count.load(Ordering::Relaxed) {
            0 => {}
            n_rows => lines.push(format!("{n_rows} {rows}: {what}")),
        };
        say(&self.thoughts_dropped, "the chat template leaves the thoughts of an answer out; they are not scored");
        say(
            &self.arguments_quoted,
            "the arguments of a call are text, which the chat template writes as a quoted string; give them as an object",
        );
        lines
    }
}

fn drops_thoughts(turn: &Message, text: &str) -> bool {
    let aside = REASONING.iter().find_map(|name| turn.extra.get(*name)).and_then(Json::as_str);
    [thoughts(&turn.content), aside.unwrap_or("")].iter().any(|thought| !is_printed(thought, text, 0))
}

fn quotes_arguments(turn: &Message, text: &str) -> bool {
    let calls = turn.extra.get("tool_calls").and_then(Json::as_array);
    calls.into_iter().flatten().any(|call| {
        let arguments = call.pointer("/function/arguments").or_else(|| call.get("arguments")).and_then(Json::as_str);
        arguments.is_some_and(|arguments| {
            let quoted = Json::from(arguments).to_string();
            quoted.contains("\\\"") && text.contains(&quoted)
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(turn: Json, text: &str, want: &[&str]) {
        let turn: Message = serde_json::from_value(turn).unwrap();
        let remarks = Remarks::default();
        remarks.count(&[(std::slice::from_ref(&turn), text), (&[], "")]);
        let lines = remarks.lines("pairs");
        assert_eq!(lines.len(), want.len(), "{lines:?}");
        assert!(lines.iter().zip(want).all(|(line, want)| line.contains(want)), "{lines:?}");
    }

    #[test]
    fn thoughts_that_are_not_written_are_told() {
        let turn = json!({"role": "assistant", "content": "<think>\nHmm.\n</think>\n\nYes"});
        check(turn.clone(), "<a>Yes</a>", &["thoughts"]);
        check(turn, "<a><think>\nHmm.\n</think>\n\nYes</a>", &[]);
        let aside = json!({"role": "assistant", "content": "Yes", "reasoning_content": "Hmm"});
        check(aside.clone(), "<a>Yes</a>", &["thoughts"]);
        check(aside, "<a>[Hmm]Yes</a>", &[]);
        check(json!({"role": "assistant", "content": "<think>\n\n</think>\n\nYes"}), "<a>Yes</a>", &[]);
    }

    #[test]
    fn arguments_that_become_a_quoted_string_are_told() {
        let call = json!({"function": {"name": "f", "arguments": "{\"a\": 1}"}});
        let turn = json!({"role": "assistant", "content": "", "tool_calls": [call]});
        check(turn.clone(), r#"{"name": "f", "arguments": "{\"a\": 1}"}"#, &["quoted string"]);
        check(turn, r#"{"name": "f", "arguments": {"a": 1}}"#, &[]);
    }
}
