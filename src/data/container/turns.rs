//! Turns as an object of lists, which is how `datasets` stores a `Sequence` of objects: as a list of objects.

use serde_json::{Map, Value};

use super::object::Object;

/// The names of a turn's role and text.
const TURN: [[&str; 2]; 2] = [["role", "content"], ["from", "value"]];

/// A row in which each column that is turns by list is a list of turns.
///
/// A turn's role is a text, never a list: so nothing else is taken for it. Lists of different lengths stay what they are.
pub(super) fn as_lists(row: Object) -> Object {
    if row.values().all(|value| !value.is_object()) {
        return row;
    }
    row.into_iter().map(|(name, value)| (name, transposed(value))).collect()
}

fn transposed(value: Value) -> Value {
    let Value::Object(members) = &value else { return value };
    let list = |name: &str| members.get(name).and_then(Value::as_array);
    let Some(roles) = TURN.iter().find_map(|[role, text]| list(text).and(list(role))) else { return value };
    let columns: Option<Vec<(&String, &Vec<Value>)>> = members
        .iter()
        .filter(|(_, values)| !values.is_null())
        .map(|(name, values)| Some((name, values.as_array().filter(|values| values.len() == roles.len())?)))
        .collect();
    let Some(columns) = columns else { return value };
    let turn = |at: usize| -> Map<String, Value> {
        columns.iter().filter_map(|(name, values)| Some(((*name).clone(), values.get(at)?.clone()))).collect()
    };
    (0..roles.len()).map(turn).map(Value::Object).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_of_roles_and_texts_are_turns() {
        let of = |value: Value| transposed(value);
        assert_eq!(
            of(json!({"role": ["user", "assistant"], "content": ["q", "a"], "name": null})),
            json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}])
        );
        assert_eq!(of(json!({"from": ["human"], "value": ["q"]})), json!([{"from": "human", "value": "q"}]));
        for other in [
            json!({"role": ["user"], "content": ["q", "a"]}),
            json!({"role": "user", "content": [{"type": "text", "text": "q"}]}),
            json!({"role": ["user"], "content": ["q"], "weight": 1}),
            json!([["user"], ["q"]]),
        ] {
            assert_eq!(of(other.clone()), other);
        }
    }
}
