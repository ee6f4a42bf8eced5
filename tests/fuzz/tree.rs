//! Mutations of JSON as a tree: what comes of them still parses, and reaches whoever reads the values.

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

/// Most copies of an item.
const COPIES: usize = 1 << 10;

/// Changes one place of a tree; `other` is where pieces come from, and `words` are some more, in JSON.
pub(super) fn mutate(tree: &mut Value, other: &Value, words: &[&str], rng: &mut ChaCha8Rng) {
    let at = place(tree, rng);
    match rng.random_range(0..9) {
        0 | 1 => *at = word(words, rng),
        2 => *at = piece(other, rng),
        3 => {
            let n_levels = [1, 2, 60, 130, 500][rng.random_range(0..5)];
            let is_named = rng.random_bool(0.5);
            for _ in 0..n_levels {
                // `json!` would copy what is within.
                let inner = at.take();
                *at = if is_named {
                    Value::Object(Map::from_iter([("a".to_owned(), inner)]))
                } else {
                    Value::Array(vec![inner])
                };
            }
        }
        4 => repeat(at, rng),
        5 => remove(at, rng),
        6 => *at = extreme(at, rng),
        7 => {
            // A key that another place has.
            let new = piece(other, rng);
            match at {
                Value::Object(members) => {
                    let names: Vec<String> = other.as_object().into_iter().flat_map(Map::keys).cloned().collect();
                    let name = names.choose(rng).cloned().unwrap_or_default();
                    members.insert(name, new);
                }
                Value::Array(items) => items.push(new),
                _ => *at = new,
            }
        }
        _ => {
            let found = piece(other, rng);
            match (at, found) {
                (Value::Object(members), Value::Object(more)) => members.extend(more),
                (Value::Array(items), Value::Array(more)) => items.extend(more),
                (at, found) => *at = found,
            }
        }
    }
}

/// A place, those near the root more often.
fn place<'a>(tree: &'a mut Value, rng: &mut ChaCha8Rng) -> &'a mut Value {
    let mut at = tree;
    loop {
        let n_children = match at {
            Value::Array(items) => items.len(),
            Value::Object(members) => members.len(),
            _ => 0,
        };
        if n_children == 0 || rng.random_bool(0.25) {
            return at;
        }
        let child = rng.random_range(0..n_children);
        at = match at {
            Value::Array(items) => &mut items[child],
            Value::Object(members) => members.values_mut().nth(child).unwrap(),
            leaf => return leaf,
        };
    }
}

fn piece(tree: &Value, rng: &mut ChaCha8Rng) -> Value {
    place(&mut tree.clone(), rng).clone()
}

fn word(words: &[&str], rng: &mut ChaCha8Rng) -> Value {
    words.choose(rng).and_then(|word| serde_json::from_str(word).ok()).unwrap_or(Value::Null)
}

fn repeat(at: &mut Value, rng: &mut ChaCha8Rng) {
    let n_times = 1 << rng.random_range(1..10);
    match at {
        Value::Array(items) if !items.is_empty() => {
            let item = items[rng.random_range(0..items.len())].clone();
            items.extend(std::iter::repeat_n(item, n_times.min(COPIES)));
        }
        Value::Object(members) => {
            let Some((name, value)) = members.iter().next().map(|(name, value)| (name.clone(), value.clone())) else {
                return;
            };
            for copy in 0..n_times.min(COPIES) {
                members.insert(format!("{name}{copy}"), value.clone());
            }
        }
        Value::String(text) if text.len() < 1 << 10 => *text = text.repeat(n_times),
        _ => {}
    }
}

fn remove(at: &mut Value, rng: &mut ChaCha8Rng) {
    match at {
        Value::Array(items) if !items.is_empty() => {
            let at = rng.random_range(0..items.len());
            items.remove(at);
        }
        Value::Object(members) if !members.is_empty() => {
            let at = rng.random_range(0..members.len());
            if let Some(name) = members.keys().nth(at).cloned() {
                members.shift_remove(&name);
            }
        }
        _ => *at = Value::Null,
    }
}

/// Another value of the same kind, at the edge of what it may be.
fn extreme(at: &Value, rng: &mut ChaCha8Rng) -> Value {
    let choices: Vec<Value> = match at {
        Value::Number(_) => vec![
            json!(0),
            json!(-1),
            json!(1),
            json!(i64::MAX),
            json!(i64::MIN),
            json!(u64::MAX),
            json!(u32::MAX),
            json!(1_u64 << 40),
            json!(f64::MAX),
            json!(-0.0),
            json!(1e-320),
            json!(0.5),
        ],
        Value::String(_) => [
            "",
            " ",
            "\0",
            "a",
            "é",
            "e\u{301}",
            "▁",
            "\u{1f600}",
            "\u{202e}",
            "\u{feff}",
            "..",
            "/",
            "<s>",
            "{{ x }}",
            "(a+)+$",
            "(?=a)*",
            "\\",
            "0",
            "null",
        ]
        .map(Value::from)
        .to_vec(),
        Value::Bool(value) => vec![json!(!value)],
        Value::Array(_) => vec![json!([])],
        Value::Object(_) => vec![json!({})],
        Value::Null => vec![json!(true), json!(0), json!(""), json!([]), json!({})],
    };
    choices.choose(rng).cloned().unwrap_or_default()
}
