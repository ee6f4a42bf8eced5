//! Columns of the source that are not ours: carried as they are, typed once all rows are known.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use serde_json::{Map, Value as Json};

use crate::named_floats;

/// A source column and the column of a table it becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassThrough {
    /// Name in the table.
    pub name: String,
    /// Name in the source: another one where the table's own columns have that name.
    pub source_name: String,
    /// Type that holds all its values.
    pub kind: PassThroughKind,
}

/// The narrowest type that holds every value of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassThroughKind {
    /// Integers of 64 bits.
    Int64,
    /// Numbers, those of Arrow's floats that are none by name (`NaN`, `Infinity`); integers among them are rounded to 53
    /// bits.
    Float64,
    /// `true` and `false`.
    Boolean,
    /// Texts; whatever else there is (objects, lists, a mixture) as JSON.
    Utf8,
}

impl PassThroughKind {
    fn of(value: &Json) -> Option<Self> {
        match value {
            Json::Null => None,
            Json::Bool(_) => Some(Self::Boolean),
            Json::Number(number) if number.is_i64() => Some(Self::Int64),
            Json::Number(number) if number.is_f64() => Some(Self::Float64),
            // An integer beyond 64 signed bits keeps its digits as text.
            _ => Some(Self::Utf8),
        }
    }

    fn widened(self, other: Self) -> Self {
        match (self, other) {
            _ if self == other => self,
            (Self::Int64, Self::Float64) | (Self::Float64, Self::Int64) => Self::Float64,
            _ => Self::Utf8,
        }
    }

    fn data_type(self) -> DataType {
        match self {
            Self::Int64 => DataType::Int64,
            Self::Float64 => DataType::Float64,
            Self::Boolean => DataType::Boolean,
            Self::Utf8 => DataType::Utf8,
        }
    }
}

/// The columns seen so far, in the order they first appeared.
#[derive(Debug, Default)]
pub(super) struct PassThroughTypes {
    names: Vec<(String, Seen)>,
    positions: HashMap<String, usize>,
}

/// What the values of a column were so far.
#[derive(Debug, Default)]
struct Seen {
    /// Of all but the floats that are no number.
    kind: Option<PassThroughKind>,
    /// Whether there was a float that is no number, by its name.
    has_named_floats: bool,
}

impl Seen {
    fn observe(&mut self, value: &Json) {
        if value.as_str().and_then(named_floats::value).is_some() {
            self.has_named_floats = true;
            return;
        }
        self.kind = match (self.kind, PassThroughKind::of(value)) {
            (Some(known), Some(found)) => Some(known.widened(found)),
            (known, found) => known.or(found),
        };
    }

    /// A column without a value is text, and so are names of floats without numbers beside them.
    fn kind(&self) -> PassThroughKind {
        match self.kind {
            Some(PassThroughKind::Int64 | PassThroughKind::Float64) if self.has_named_floats => {
                PassThroughKind::Float64
            }
            Some(kind) if !self.has_named_floats => kind,
            _ => PassThroughKind::Utf8,
        }
    }
}

impl PassThroughTypes {
    pub(super) fn observe(&mut self, row: &Map<String, Json>) {
        for (name, value) in row {
            let at = if let Some(at) = self.positions.get(name) {
                *at
            } else {
                self.positions.insert(name.clone(), self.names.len());
                self.names.push((name.clone(), Seen::default()));
                self.names.len() - 1
            };
            self.names[at].1.observe(value);
        }
    }

    /// The columns with names that none of the `reserved` and no other column has.
    pub(super) fn finish(self, reserved: &[&str]) -> Vec<PassThrough> {
        let mut columns: Vec<PassThrough> = Vec::with_capacity(self.names.len());
        for (source_name, seen) in &self.names {
            let mut name = source_name.clone();
            while reserved.contains(&name.as_str())
                || (name != *source_name && self.positions.contains_key(&name))
                || columns.iter().any(|column| column.name == name)
            {
                name.push_str("_in_data");
            }
            columns.push(PassThrough { name, source_name: source_name.clone(), kind: seen.kind() });
        }
        columns
    }
}

/// The columns of some rows, each row given as a JSON object; `None` where a row is not one.
pub(super) fn columns(pass_through: &[PassThrough], rows: &StringArray) -> Option<Vec<(FieldRef, ArrayRef)>> {
    let rows: Vec<Map<String, Json>> = rows.iter().map(|row| serde_json::from_str(row?).ok()).collect::<Option<_>>()?;
    let column = |column: &PassThrough| {
        let values = rows.iter().map(|row| row.get(&column.source_name).filter(|value| !value.is_null()));
        let array: ArrayRef = match column.kind {
            PassThroughKind::Int64 => Arc::new(values.map(|value| value?.as_i64()).collect::<Int64Array>()),
            PassThroughKind::Float64 => Arc::new(values.map(|value| number(value?)).collect::<Float64Array>()),
            PassThroughKind::Boolean => Arc::new(values.map(|value| value?.as_bool()).collect::<BooleanArray>()),
            PassThroughKind::Utf8 => Arc::new(values.map(|value| Some(text(value?))).collect::<StringArray>()),
        };
        (Arc::new(Field::new(&column.name, column.kind.data_type(), true)), array)
    };
    Some(pass_through.iter().map(column).collect())
}

fn number(value: &Json) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str().and_then(named_floats::value))
}

fn text(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(values: &[Json], kind: PassThroughKind) {
        let mut types = PassThroughTypes::default();
        for value in values {
            types.observe(&Map::from_iter([("x".to_owned(), value.clone())]));
        }
        assert_eq!(types.finish(&[])[0].kind, kind, "{values:?}");
    }

    #[test]
    fn types_are_as_narrow_as_all_values_allow() {
        check(&[json!(1), json!(null), json!(-3)], PassThroughKind::Int64);
        check(&[json!(1), json!(2.5)], PassThroughKind::Float64);
        check(&[json!(2.5), json!(1)], PassThroughKind::Float64);
        check(&[json!(true), json!(null)], PassThroughKind::Boolean);
        check(&[json!("a"), json!(1)], PassThroughKind::Utf8);
        check(&[json!(true), json!(1)], PassThroughKind::Utf8);
        check(&[json!([1])], PassThroughKind::Utf8);
        check(&[json!(null)], PassThroughKind::Utf8);
        check(&[json!(u64::MAX)], PassThroughKind::Utf8);
        check(&[json!("NaN"), json!(1)], PassThroughKind::Float64);
        check(&[json!(0.5), json!("-Infinity")], PassThroughKind::Float64);
        check(&[json!("NaN"), json!("a")], PassThroughKind::Utf8);
        check(&[json!("NaN")], PassThroughKind::Utf8);
    }

    #[test]
    fn a_name_of_ours_is_moved_aside_once_or_twice() {
        let mut types = PassThroughTypes::default();
        types.observe(json!({"prompt": 1, "prompt_in_data": 2, "score": 3}).as_object().unwrap());
        let columns = types.finish(&["prompt"]);
        let names: Vec<_> = columns.iter().map(|column| (&*column.source_name, &*column.name)).collect();
        assert_eq!(
            names,
            [("prompt", "prompt_in_data_in_data"), ("prompt_in_data", "prompt_in_data"), ("score", "score")]
        );
    }

    #[test]
    fn rows_become_typed_columns() {
        let rows = [json!({"n": 1, "s": "a", "m": {"k": [1]}}), json!({"s": null, "m": "b"}), json!({"n": 2.5})];
        let mut types = PassThroughTypes::default();
        for row in &rows {
            types.observe(row.as_object().unwrap());
        }
        let texts: StringArray = rows.iter().map(|row| Some(row.to_string())).collect();
        let columns = columns(&types.finish(&[]), &texts).unwrap();

        assert_eq!(
            columns[0].1.as_ref(),
            &Float64Array::from(vec![Some(1.0), None, Some(2.5)]) as &dyn arrow::array::Array
        );
        assert_eq!(columns[1].1.as_ref(), &StringArray::from(vec![Some("a"), None, None]) as &dyn arrow::array::Array);
        assert_eq!(
            columns[2].1.as_ref(),
            &StringArray::from(vec![Some("{\"k\":[1]}"), Some("b"), None]) as &dyn arrow::array::Array
        );
    }
}
