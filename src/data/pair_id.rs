//! The canonical encoding of a pair, and its id.

use serde_json::{Map, Value};

use super::{Message, PairId, PairText};
use crate::digest::Id;

/// Domain of the ids; a changed encoding is a new domain.
const DOMAIN: &str = "piref.pair.v1";

impl PairId {
    /// Id of a text pair, whatever file, format or row it was read from.
    ///
    /// Hashed are these parts, each with its length in front:
    ///
    /// ```text
    /// plain      "plain", prompt, chosen, rejected
    /// messages   "messages", then for prompt, chosen, rejected: number of turns, and for each turn role, content, rest;
    ///            at the end the tools
    /// ```
    ///
    /// `rest` (the other keys of a message) and the tools are JSON with sorted keys and without members that are null,
    /// since Parquet keeps no key order and writes absent members as null; both are empty where there are none.
    /// A plain prompt and the same text as a user turn are different pairs: a chat template stands between them.
    pub fn of(text: &PairText) -> Self {
        let mut parts: Vec<Vec<u8>> = Vec::new();
        match text {
            PairText::Plain { prompt, chosen, rejected } => {
                parts.extend([&b"plain"[..], prompt.as_bytes(), chosen.as_bytes(), rejected.as_bytes()].map(Vec::from));
            }
            PairText::Messages { prompt, chosen, rejected, tools } => {
                parts.push(b"messages".to_vec());
                for turns in [prompt, chosen, rejected] {
                    push_turns(&mut parts, turns);
                }
                parts.push(tools.as_ref().map(canonical).unwrap_or_default());
            }
        }
        Self(Id::of_parts(DOMAIN, parts.iter().map(Vec::as_slice)))
    }
}

fn push_turns(parts: &mut Vec<Vec<u8>>, turns: &[Message]) {
    parts.push(turns.len().to_string().into_bytes());
    for turn in turns {
        parts.push(turn.role.clone().into_bytes());
        parts.push(turn.content.as_bytes().to_vec());
        let rest = without_nulls(&turn.extra);
        parts.push(if rest.is_empty() { Vec::new() } else { Value::Object(rest).to_string().into_bytes() });
    }
}

fn canonical(value: &Value) -> Vec<u8> {
    sorted(value).to_string().into_bytes()
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(without_nulls(members)),
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

fn without_nulls(members: &Map<String, Value>) -> Map<String, Value> {
    let mut kept: Vec<_> = members.iter().filter(|(_, value)| !value.is_null()).collect();
    kept.sort_by_key(|(name, _)| name.as_str());
    kept.into_iter().map(|(name, value)| (name.clone(), sorted(value))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn plain(prompt: &str, chosen: &str, rejected: &str) -> PairText {
        PairText::Plain { prompt: prompt.into(), chosen: chosen.into(), rejected: rejected.into() }
    }

    fn messages(turns: &Value) -> PairText {
        let part = |name: &str| serde_json::from_value(turns[name].clone()).unwrap();
        let tools = turns.get("tools").cloned();
        PairText::Messages { prompt: part("prompt"), chosen: part("chosen"), rejected: part("rejected"), tools }
    }

    fn base() -> Value {
        json!({
            "prompt": [{"role": "user", "content": "q", "name": "ada", "meta": {"a": 1, "b": [{"c": 2, "d": 3}]}}],
            "chosen": [{"role": "assistant", "content": "y"}],
            "rejected": [{"role": "assistant", "content": "n"}],
            "tools": [{"name": "f", "parameters": {"x": 1, "y": 2}}],
        })
    }

    #[test]
    fn the_encoding_is_pinned() {
        // Ids are stored in tables: a change here orphans every one of them, so it needs a new domain.
        assert_eq!(PairId::of(&plain("q", " y", " n")).to_string(), "8db5ffe306cbe3800f2dfc0d8ab1400a");
        assert_eq!(PairId::of(&messages(&base())).to_string(), "96fe1b85f72196a96462ad3aca252905");
    }

    #[test]
    fn key_order_and_nulls_do_not_count() {
        let want = PairId::of(&messages(&base()));
        let mut other = base();
        other["prompt"][0] = json!({
            "meta": {"b": [{"d": 3, "c": 2, "e": null}], "a": 1}, "name": "ada", "content": "q", "role": "user", "z": null
        });
        other["tools"] = json!([{"parameters": {"y": 2, "x": 1, "z": null}, "name": "f"}]);
        assert_eq!(PairId::of(&messages(&other)), want);
    }

    #[test]
    fn every_part_counts() {
        let want = PairId::of(&messages(&base()));
        for (pointer, value) in [
            ("/prompt/0/role", json!("system")),
            ("/prompt/0/content", json!("q ")),
            ("/prompt/0/name", json!("bob")),
            ("/prompt/0/meta/b/0/c", json!(3)),
            ("/chosen/0/content", json!("n")),
            ("/rejected/0/content", json!("y")),
            ("/tools/0/name", json!("g")),
        ] {
            let mut other = base();
            *other.pointer_mut(pointer).unwrap() = value;
            assert_ne!(PairId::of(&messages(&other)), want, "{pointer}");
        }
    }

    #[test]
    fn a_plain_pair_is_not_a_conversation_of_the_same_words() {
        let talk = json!({
            "prompt": [{"role": "user", "content": "q"}],
            "chosen": [{"role": "assistant", "content": "y"}],
            "rejected": [{"role": "assistant", "content": "n"}],
        });
        assert_ne!(PairId::of(&plain("q", "y", "n")), PairId::of(&messages(&talk)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn moving_text_between_parts_changes_the_id(a in "[ab]{0,4}", b in "[ab]{0,4}", c in "[ab]{0,4}", d in "[ab]{0,4}", e in "[ab]{0,4}", f in "[ab]{0,4}") {
            let same = (&a, &b, &c) == (&d, &e, &f);
            prop_assert_eq!(PairId::of(&plain(&a, &b, &c)) == PairId::of(&plain(&d, &e, &f)), same);
        }
    }
}
