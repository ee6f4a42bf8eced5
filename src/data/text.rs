//! A pair as the columns of a table show it: text for reading and searching, JSON where nothing may be lost.

use serde_json::{Map, Value, json};

use super::{Message, PairText, PreferencePair};

impl PreferencePair {
    /// Bytes of its texts and of its other columns, about: what it takes in memory is a small multiple.
    pub fn n_bytes(&self) -> usize {
        let text = match &self.text {
            PairText::Plain { prompt, chosen, rejected } => prompt.len() + chosen.len() + rejected.len(),
            PairText::Messages { prompt, chosen, rejected, tools } => {
                let turns = prompt.iter().chain(chosen).chain(rejected);
                let turn = |turn: &Message| turn.role.len() + turn.content.len() + members_bytes(&turn.extra);
                turns.map(turn).sum::<usize>() + tools.as_ref().map_or(0, value_bytes)
            }
        };
        text + members_bytes(&self.extra)
    }
}

fn members_bytes(members: &Map<String, Value>) -> usize {
    members.iter().map(|(name, value)| name.len() + value_bytes(value)).sum()
}

fn value_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(value_bytes).sum::<usize>() + items.len(),
        Value::Object(members) => members_bytes(members),
        Value::Null | Value::Bool(_) | Value::Number(_) => size_of::<Value>(),
    }
}

impl PairText {
    /// What the author wrote as the prompt: a plain prompt and a single user turn as they are, other conversations as
    /// paragraphs tagged with the role (`user: …`).
    pub fn prompt_text(&self) -> String {
        match self {
            Self::Plain { prompt, .. } => prompt.clone(),
            Self::Messages { prompt, .. } => turns_text(prompt, "user"),
        }
    }

    /// The preferred completion: a plain text and a single assistant turn as they are, several turns as paragraphs
    /// tagged with the role.
    pub fn chosen_text(&self) -> String {
        match self {
            Self::Plain { chosen, .. } => chosen.clone(),
            Self::Messages { chosen, .. } => turns_text(chosen, "assistant"),
        }
    }

    /// The other completion, in the form of [`chosen_text`](Self::chosen_text).
    pub fn rejected_text(&self) -> String {
        match self {
            Self::Plain { rejected, .. } => rejected.clone(),
            Self::Messages { rejected, .. } => turns_text(rejected, "assistant"),
        }
    }

    /// The messages as they were read, as one JSON object; `None` for plain text.
    pub fn conversation_json(&self) -> Option<String> {
        match self {
            Self::Plain { .. } => None,
            Self::Messages { prompt, chosen, rejected, tools } => {
                let mut object = Map::new();
                object.insert("prompt".into(), json!(prompt));
                object.insert("chosen".into(), json!(chosen));
                object.insert("rejected".into(), json!(rejected));
                if let Some(tools) = tools {
                    object.insert("tools".into(), tools.clone());
                }
                Some(Value::Object(object).to_string())
            }
        }
    }
}

/// The content of a single turn of the role that goes without saying; tagged paragraphs of anything else.
pub(super) fn turns_text(turns: &[Message], untagged: &str) -> String {
    match turns {
        [turn] if turn.role == untagged => turn_text(turn),
        _ => turns.iter().map(|turn| format!("{}: {}", turn.role, turn_text(turn))).collect::<Vec<_>>().join("\n\n"),
    }
}

/// A turn that calls tools and says nothing shows its calls: it is not an empty answer.
fn turn_text(turn: &Message) -> String {
    match turn.extra.get("tool_calls") {
        Some(calls) if turn.content.is_empty() => calls.to_string(),
        _ => turn.content.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(role: &str, content: &str) -> Message {
        Message { role: role.into(), content: content.into(), extra: Map::new() }
    }

    #[test]
    fn plain_text_is_shown_as_it_is() {
        let text = PairText::Plain { prompt: "q ".into(), chosen: " y".into(), rejected: String::new() };
        assert_eq!(
            (text.prompt_text(), text.chosen_text(), text.rejected_text()),
            ("q ".into(), " y".into(), String::new())
        );
        assert_eq!(text.conversation_json(), None);
    }

    #[test]
    fn one_turn_goes_untagged_and_several_do_not() {
        let mut calls = turn("assistant", "");
        calls.extra.insert("tool_calls".into(), json!([{"name": "f"}]));
        let text = PairText::Messages {
            prompt: vec![turn("system", "s"), turn("user", "q")],
            chosen: vec![turn("assistant", "y")],
            rejected: vec![calls, turn("tool", "3"), turn("assistant", "n")],
            tools: Some(json!([{"name": "f"}])),
        };
        assert_eq!(text.prompt_text(), "system: s\n\nuser: q");
        assert_eq!(text.chosen_text(), "y");
        assert_eq!(text.rejected_text(), "assistant: [{\"name\":\"f\"}]\n\ntool: 3\n\nassistant: n");
        let json: Value = serde_json::from_str(&text.conversation_json().unwrap()).unwrap();
        assert_eq!(json["rejected"][0], json!({"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]}));
        assert_eq!(json["tools"], json!([{"name": "f"}]));
    }

    #[test]
    fn a_lone_user_turn_is_the_prompt_itself() {
        let prompt = |turns| PairText::Messages { prompt: turns, chosen: vec![], rejected: vec![], tools: None };
        assert_eq!(prompt(vec![turn("user", "q")]).prompt_text(), "q");
        assert_eq!(prompt(vec![turn("system", "s")]).prompt_text(), "system: s");
    }
}
