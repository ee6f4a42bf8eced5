//! The columns of JSON rows: one type for each, in the order of first appearance.
//!
//! Arrow's own inference loses that order in a hash map, so `SELECT *` would differ from run to run.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema};
use serde_json::{Map, Value};

/// Columns of a file, and of each object in it, at most: rows that all have others would be a column each.
const MAX_COLUMNS: usize = 4096;

/// What is known of a column so far.
#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Null,
    Bool,
    Int,
    Float,
    Text,
    List(Box<Shape>),
    Object(Columns),
}

/// Columns in the order of their first appearance.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Columns(Vec<(String, Shape)>);

/// Two rows that cannot share a column.
#[derive(Debug, PartialEq)]
pub(super) struct Conflict {
    pub(super) column: String,
    pub(super) expected: &'static str,
    pub(super) found: &'static str,
}

impl Columns {
    /// Widens the columns so that `row` fits: integers become floats, unlike scalars become text.
    ///
    /// # Errors
    /// If a value is a scalar, a list or an object where a row before had another of the three.
    pub(super) fn widen(&mut self, row: &Map<String, Value>) -> Result<(), Conflict> {
        for (position, (name, value)) in row.iter().enumerate() {
            // Rows mostly have the same keys in the same order.
            let known = match self.0.get(position) {
                Some((column, _)) if column == name => Some(position),
                _ => self.0.iter().position(|(column, _)| column == name),
            };
            if known.is_none() && self.0.len() == MAX_COLUMNS {
                let expected = "one of 4096 columns";
                return Err(Conflict { column: name.clone(), expected, found: "one more" });
            }
            let idx = known.unwrap_or_else(|| {
                self.0.push((name.clone(), Shape::Null));
                self.0.len() - 1
            });
            self.0[idx].1.widen(value).map_err(|conflict| conflict.inside(name))?;
        }
        Ok(())
    }

    /// The schema; every column may be null.
    pub(super) fn schema(&self) -> Schema {
        Schema::new(self.fields())
    }

    fn fields(&self) -> Fields {
        self.0.iter().map(|(name, shape)| Field::new(name, shape.data_type(), true)).collect()
    }
}

impl Shape {
    fn widen(&mut self, value: &Value) -> Result<(), Conflict> {
        let new = match value {
            Value::Null => return Ok(()),
            Value::Bool(_) => Self::Bool,
            Value::Number(number) if number.is_i64() => Self::Int,
            Value::Number(_) => Self::Float,
            Value::String(_) => Self::Text,
            Value::Array(_) => Self::List(Box::new(Self::Null)),
            Value::Object(_) => Self::Object(Columns::default()),
        };
        match (&*self, &new) {
            (Self::Null, _) => *self = new,
            (Self::Int | Self::Float, Self::Int | Self::Float) => {
                if *self != new {
                    *self = Self::Float;
                }
            }
            (Self::List(_), Self::List(_)) | (Self::Object(_), Self::Object(_)) => {}
            (old, new) if old.is_scalar() && new.is_scalar() => {
                if old != new {
                    *self = Self::Text;
                }
            }
            (old, new) => {
                return Err(Conflict { column: String::new(), expected: old.kind(), found: new.kind() });
            }
        }
        match (self, value) {
            (Self::List(item), Value::Array(values)) => values.iter().try_for_each(|value| item.widen(value)),
            (Self::Object(columns), Value::Object(row)) => columns.widen(row),
            _ => Ok(()),
        }
    }

    fn is_scalar(&self) -> bool {
        matches!(self, Self::Bool | Self::Int | Self::Float | Self::Text)
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool | Self::Int | Self::Float | Self::Text => "a scalar",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    fn data_type(&self) -> DataType {
        match self {
            Self::Null => DataType::Null,
            Self::Bool => DataType::Boolean,
            Self::Int => DataType::Int64,
            Self::Float => DataType::Float64,
            Self::Text => DataType::Utf8,
            Self::List(item) => DataType::List(Arc::new(Field::new("element", item.data_type(), true))),
            Self::Object(columns) => DataType::Struct(columns.fields()),
        }
    }
}

impl Conflict {
    fn inside(self, name: &str) -> Self {
        let column = if self.column.is_empty() { name.to_owned() } else { format!("{name}.{}", self.column) };
        Self { column, ..self }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn columns(rows: &[Value]) -> Result<Columns, Conflict> {
        let mut columns = Columns::default();
        for row in rows {
            columns.widen(row.as_object().unwrap())?;
        }
        Ok(columns)
    }

    #[test]
    fn columns_keep_their_order_and_widen() {
        let columns = columns(&[
            json!({"z": 1, "a": null, "m": {"score": 5}, "l": []}),
            json!({"a": "x", "z": 1.5, "m": {"score": "five", "by": true}, "l": [1]}),
            json!({"new": true, "l": [null, 2.5]}),
        ])
        .unwrap();
        let schema = columns.schema();
        let types: Vec<String> =
            schema.fields().iter().map(|field| format!("{}: {}", field.name(), field.data_type())).collect();
        assert_eq!(
            types,
            [
                "z: Float64",
                "a: Utf8",
                r#"m: Struct("score": Utf8, "by": Boolean)"#,
                r"l: List(Float64, field: 'element')",
                "new: Boolean",
            ]
        );
    }

    #[test]
    fn an_integer_beyond_64_signed_bits_is_a_float() {
        let columns = columns(&[json!({"a": u64::MAX}), json!({"a": 1})]).unwrap();
        assert_eq!(columns.schema().field(0).data_type(), &DataType::Float64);
    }

    #[test]
    fn a_conflict_is_named_through_its_parents() {
        let conflict = columns(&[json!({"m": [{"s": 1}]}), json!({"m": [{"s": {}}]})]).unwrap_err();
        assert_eq!(conflict, Conflict { column: "m.s".into(), expected: "a scalar", found: "an object" });
    }
}
