//! Messages in the ways data sets write them: `role`/`content`, ShareGPT's `from`/`value`, content in typed parts, each an
//! object or the JSON text of one.
//!
//! Errors are reasons for a [`Reject`](super::Reject); they name column and turn.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::container::parse_value;
use super::{Content, Message};

/// Turns of a column: a list of messages, or a single one.
pub(super) fn parse_turns(column: &str, value: &Value) -> Result<Vec<Message>, String> {
    let turns = match value {
        Value::Array(turns) => turns.as_slice(),
        Value::Object(_) => std::slice::from_ref(value),
        other => return Err(format!("column `{column}`: expected messages, found {}", kind(other))),
    };
    if turns.is_empty() {
        return Err(format!("column `{column}`: expected messages, found an empty list"));
    }
    let place = |turn_idx: usize, reason| format!("column `{column}`, turn {}: {reason}", turn_idx + 1);
    turns.iter().enumerate().map(|(i, turn)| parse_turn(turn).map_err(|reason| place(i, reason))).collect()
}

/// Whether a value is a message or a list of them, by its first element.
pub(super) fn is_turns(value: &Value) -> bool {
    match value {
        Value::Array(turns) => turns.first().is_some_and(is_turn),
        other => is_turn(other),
    }
}

/// Whether turns are written with `from` and `value`.
pub(super) fn is_sharegpt(value: &Value) -> bool {
    let first = if let Value::Array(turns) = value { turns.first() } else { Some(value) };
    let members = first.and_then(members);
    members.is_some_and(|turn| turn.get("role").is_none_or(Value::is_null) && turn.contains_key("from"))
}

fn is_turn(value: &Value) -> bool {
    let Some(members) = members(value) else { return false };
    let has = |name| members.get(name).is_some_and(|member: &Value| !member.is_null());
    has("role") || (has("from") && has("value"))
}

/// The members of a turn: columns of lists hold turns as JSON text where their objects differ.
fn members(turn: &Value) -> Option<Cow<'_, Map<String, Value>>> {
    match turn {
        Value::Object(members) => Some(Cow::Borrowed(members)),
        Value::String(text) if text.trim_start().starts_with('{') => match parse_value(text) {
            Ok(Value::Object(members)) => Some(Cow::Owned(members)),
            _ => None,
        },
        _ => None,
    }
}

/// What a JSON value is, for `expected X, found Y`.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn parse_turn(turn: &Value) -> Result<Message, String> {
    let members = members(turn).ok_or_else(|| format!("expected a message, found {}", kind(turn)))?;
    let mut extra: Map<String, Value> = members
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    match (extra.shift_remove("role"), extra.contains_key("from")) {
        (Some(Value::String(role)), _) => {
            let content = match extra.shift_remove("content") {
                Some(content) => parse_content(content)?,
                None if extra.contains_key("tool_calls") || extra.contains_key("function_call") => Content::nothing(),
                None => return Err("`content` is missing".into()),
            };
            Ok(Message { role, content, extra })
        }
        (Some(other), _) => Err(format!("expected `role` to be a string, found {}", kind(&other))),
        (None, true) => parse_sharegpt_turn(extra),
        (None, false) => Err("`role` is missing".into()),
    }
}

/// What a message says: a string, or parts that are all text.
pub(super) fn parse_content(content: Value) -> Result<Content, String> {
    match content {
        Value::String(text) => Ok(text.into()),
        Value::Array(parts) => {
            let text = parts.iter().map(part_text).collect::<Result<String, _>>()?;
            // Only parts as templates know them are handed to one; others are text.
            let is_known =
                |part: &Value| part.get("type").is_some_and(|kind| kind == "text") && part.get("text").is_some();
            if parts.iter().all(is_known) { Ok(Content::of_parts(text, parts)) } else { Ok(text.into()) }
        }
        other => Err(format!("expected `content` to be a string, found {}", kind(&other))),
    }
}

/// Text of a content part: `text` (OpenAI, transformers) or `value` (LLaMA-Factory v1).
fn part_text(part: &Value) -> Result<&str, String> {
    let member = |name| part.get(name).and_then(Value::as_str);
    match (part, member("type")) {
        (Value::String(text), _) => Ok(text),
        (Value::Object(_), None | Some("text")) => {
            member("text").or_else(|| member("value")).ok_or_else(|| "a content part has no text".to_owned())
        }
        (Value::Object(_), Some(other)) => Err(format!("a content part is of type `{other}`: only text is read")),
        (other, _) => Err(format!("expected a content part, found {}", kind(other))),
    }
}

/// ShareGPT turn: roles under their usual names; a function call becomes `tool_calls`, which chat templates know.
fn parse_sharegpt_turn(mut extra: Map<String, Value>) -> Result<Message, String> {
    let role = match extra.shift_remove("from") {
        Some(Value::String(role)) => role,
        other => return Err(format!("expected `from` to be a string, found {}", kind(&other.unwrap_or_default()))),
    };
    let content: Content = match extra.shift_remove("value") {
        Some(Value::String(text)) => text.into(),
        Some(other) => return Err(format!("expected `value` to be a string, found {}", kind(&other))),
        None => return Err("`value` is missing".into()),
    };
    let role = match role.as_str() {
        "human" | "user" => "user",
        "gpt" | "assistant" => "assistant",
        "system" => "system",
        "observation" | "tool" | "function_response" => "tool",
        "function_call" => {
            if let Some(calls) = tool_calls(&content)? {
                extra.insert("tool_calls".into(), calls);
                return Ok(Message { role: "assistant".into(), content: "".into(), extra });
            }
            "assistant"
        }
        other => return Err(format!("unknown role `{other}`")),
    };
    Ok(Message { role: role.into(), content, extra })
}

/// The calls in the text of a `function_call` turn: one object with `name`, or a list of them; none in any other text.
///
/// # Errors
/// If the text is JSON with a number that would not be the one that is written.
fn tool_calls(text: &str) -> Result<Option<Value>, String> {
    let calls = match parse_value(text) {
        Ok(Value::Array(calls)) => calls,
        Ok(call) => vec![call],
        Err(reason) if reason.starts_with("not JSON") => return Ok(None),
        Err(reason) => return Err(format!("the call: {reason}")),
    };
    let is_call = |call: &Value| call.get("name").is_some_and(Value::is_string);
    let are_calls = !calls.is_empty() && calls.iter().all(is_call);
    Ok(are_calls.then(|| calls.into_iter().map(|call| json!({"type": "function", "function": call})).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &Value, want: &Value) {
        assert_eq!(json!(parse_turns("c", value).unwrap()), *want);
    }

    #[test]
    fn role_and_content_keep_their_other_keys_but_nulls() {
        check(
            &json!([{"content": "a", "role": "user", "name": "ada", "tool_calls": null}]),
            &json!([{"role": "user", "content": "a", "name": "ada"}]),
        );
    }

    #[test]
    fn typed_parts_stay_parts_where_templates_know_them() {
        let parts =
            json!([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]);
        check(&parts, &parts);
        assert_eq!(&*parse_turns("c", &parts).unwrap()[0].content, "ab");
        check(
            &json!([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "value": " b"}, " c"]}]),
            &json!([{"role": "user", "content": "a b c"}]),
        );
    }

    #[test]
    fn a_tool_call_may_say_nothing() {
        check(
            &json!({"role": "assistant", "content": null, "tool_calls": [{"id": "1"}]}),
            &json!([{"role": "assistant", "content": null, "tool_calls": [{"id": "1"}]}]),
        );
        assert!(
            parse_turns("c", &json!([{"role": "assistant", "tool_calls": [{"id": "1"}]}])).unwrap()[0]
                .content
                .is_empty()
        );
    }

    #[test]
    fn sharegpt_roles_get_their_usual_names() {
        check(
            &json!([
                {"from": "system", "value": "s"},
                {"from": "human", "value": "q"},
                {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {\"x\": 1}}"},
                {"from": "observation", "value": "3"},
                {"from": "function_call", "value": "not json"},
                {"from": "gpt", "value": "a", "weight": 0},
            ]),
            &json!([
                {"role": "system", "content": "s"},
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": "",
                 "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]},
                {"role": "tool", "content": "3"},
                {"role": "assistant", "content": "not json"},
                {"role": "assistant", "content": "a", "weight": 0},
            ]),
        );
    }

    #[test]
    fn each_fault_is_named_with_its_turn() {
        let check = |value: Value, want: &str| assert_eq!(parse_turns("c", &value).unwrap_err(), want);
        check(json!(3), "column `c`: expected messages, found a number");
        check(json!([]), "column `c`: expected messages, found an empty list");
        check(json!([{"role": "user", "content": "a"}, "b"]), "column `c`, turn 2: expected a message, found a string");
        check(json!([{"content": "a"}]), "column `c`, turn 1: `role` is missing");
        check(
            json!([{"role": 1, "content": "a"}]),
            "column `c`, turn 1: expected `role` to be a string, found a number",
        );
        check(json!([{"role": "user"}]), "column `c`, turn 1: `content` is missing");
        check(
            json!([{"role": "user", "content": 1}]),
            "column `c`, turn 1: expected `content` to be a string, found a number",
        );
        check(
            json!([{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]),
            "column `c`, turn 1: a content part is of type `image_url`: only text is read",
        );
        check(
            json!([{"role": "user", "content": [{"type": "text"}]}]),
            "column `c`, turn 1: a content part has no text",
        );
        check(json!([{"from": "alien", "value": "x"}]), "column `c`, turn 1: unknown role `alien`");
        check(json!([{"from": "gpt"}]), "column `c`, turn 1: `value` is missing");
    }
}
