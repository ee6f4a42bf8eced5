//! The columns of JSON rows: one type for each, in the order of first appearance.
//!
//! Arrow's own inference loses that order in a hash map, so `SELECT *` would differ from run to run; and like every reader
//! that goes through `f64` it rounds integers beyond 2⁵³ where another row has a fraction, or beyond 2⁶³. Here a number keeps
//! its digits: what fits no number type as a whole is text.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema};

use crate::named_floats;
use crate::query::json_cursor::Cursor;
use crate::query::numbers::Numbers;

/// Columns of a file, and of each object in it, at most: rows that all have others would be a column each.
pub(super) const MAX_COLUMNS: usize = 4096;

/// What is known of a column so far.
#[derive(Debug, Clone)]
enum Shape {
    Null,
    Bool,
    Number(Numbers),
    Text,
    List(Box<Shape>),
    Object(Columns),
}

/// Columns in the order of their first appearance.
#[derive(Debug, Clone, Default)]
pub(super) struct Columns {
    columns: Vec<Column>,
    /// Objects looked at so far.
    n_objects: u64,
}

#[derive(Debug, Clone)]
struct Column {
    name: String,
    shape: Shape,
    /// Number of the object that had it last.
    seen: u64,
}

/// Two rows that cannot share a column.
#[derive(Debug, PartialEq)]
pub(super) struct Conflict {
    pub(super) column: String,
    pub(super) expected: &'static str,
    pub(super) found: &'static str,
}

impl Columns {
    /// Widens the columns so that the object in `text`, valid JSON, fits: integers become floats where both are exact, unlike
    /// scalars become text.
    ///
    /// # Errors
    /// If a value is a scalar, a list or an object where a row before had another of the three, or an object has a key twice.
    pub(super) fn widen(&mut self, text: &str) -> Result<(), Conflict> {
        self.widen_object(&mut Cursor::new(text))
    }

    /// Whether there is a column of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column.name == name)
    }

    fn widen_object(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Conflict> {
        self.n_objects += 1;
        cursor.enter();
        let mut position = 0;
        while let Some(name) = cursor.key() {
            // Rows mostly have the same keys in the same order.
            let known = match self.columns.get(position) {
                Some(column) if column.name == name => Some(position),
                _ => self.columns.iter().position(|column| column.name == name),
            };
            position += 1;
            if known.is_none() && self.columns.len() == MAX_COLUMNS {
                return Err(Conflict { column: name, expected: "one of 4096 columns", found: "one more" });
            }
            let idx = known.unwrap_or_else(|| {
                self.columns.push(Column { name, shape: Shape::Null, seen: 0 });
                self.columns.len() - 1
            });
            let column = &mut self.columns[idx];
            if column.seen == self.n_objects {
                return Err(Conflict { column: column.name.clone(), expected: "there once", found: "it twice" });
            }
            column.seen = self.n_objects;
            column.shape.widen(cursor).map_err(|conflict| conflict.inside(&column.name))?;
        }
        Ok(())
    }

    /// The schema; every column may be null.
    pub(super) fn schema(&self) -> Schema {
        Schema::new(self.fields())
    }

    fn fields(&self) -> Fields {
        self.columns.iter().map(|column| Field::new(&column.name, column.shape.data_type(), true)).collect()
    }
}

impl Shape {
    fn widen(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Conflict> {
        let found = match cursor.peek() {
            b'n' => {
                cursor.scalar();
                return Ok(());
            }
            b'{' => Self::Object(Columns::default()),
            b'[' => Self::List(Box::new(Self::Null)),
            b'"' => {
                cursor.string();
                Self::Text
            }
            b't' | b'f' => {
                cursor.scalar();
                Self::Bool
            }
            _ => {
                let mut numbers = Numbers::default();
                match cursor.scalar() {
                    word if named_floats::value(word).is_some() => numbers.add_float(),
                    number => numbers.add(number),
                }
                Self::Number(numbers)
            }
        };
        match (&mut *self, found) {
            (known @ Self::Null, found) => *known = found,
            (Self::Number(known), Self::Number(found)) => known.merge(&found),
            (Self::Bool, Self::Bool)
            | (Self::Text, Self::Text)
            | (Self::List(_), Self::List(_))
            | (Self::Object(_), Self::Object(_)) => {}
            (known, found) if known.is_scalar() && found.is_scalar() => *known = Self::Text,
            (known, found) => {
                return Err(Conflict { column: String::new(), expected: known.expected(), found: found.kind() });
            }
        }
        match self {
            Self::List(item) => {
                cursor.enter();
                while cursor.has_item() {
                    item.widen(cursor)?;
                }
                Ok(())
            }
            Self::Object(columns) => columns.widen_object(cursor),
            _ => Ok(()),
        }
    }

    fn is_scalar(&self) -> bool {
        matches!(self, Self::Bool | Self::Number(_) | Self::Text)
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool | Self::Number(_) | Self::Text => "a scalar",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    fn expected(&self) -> &'static str {
        match self {
            Self::List(_) => "a list as in the rows before",
            Self::Object(_) => "an object as in the rows before",
            _ => "a scalar as in the rows before",
        }
    }

    fn data_type(&self) -> DataType {
        match self {
            // It takes the type of whatever it meets.
            Self::Null => DataType::Null,
            Self::Text => DataType::Utf8,
            Self::Bool => DataType::Boolean,
            Self::Number(numbers) => numbers.data_type(),
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
    use super::*;

    fn columns(rows: &[&str]) -> Result<Columns, Conflict> {
        let mut columns = Columns::default();
        for row in rows {
            let _: serde_json::Value = serde_json::from_str(row).unwrap();
            columns.widen(row)?;
        }
        Ok(columns)
    }

    fn types(rows: &[&str]) -> Vec<String> {
        let schema = columns(rows).unwrap().schema();
        schema.fields().iter().map(|field| format!("{}: {}", field.name(), field.data_type())).collect()
    }

    #[test]
    fn columns_keep_their_order_and_widen() {
        let types = types(&[
            r#"{"z": 1, "a": null, "m": {"score": 5}, "l": []}"#,
            r#"{"a": "x\"}", "z": 1.5, "m": {"score": "five", "by": true}, "l": [1]}"#,
            r#"{"new": true, "l": [null, 2.5], "e": [[ ]], "o": {} , "\u0061b": 1 }"#,
        ]);
        assert_eq!(
            types,
            [
                "z: Float64",
                "a: Utf8",
                r#"m: Struct("score": Utf8, "by": Boolean)"#,
                r"l: List(Float64, field: 'element')",
                "new: Boolean",
                r"e: List(List(Null, field: 'element'), field: 'element')",
                "o: Struct()",
                "ab: Int64",
            ]
        );
    }

    #[test]
    fn an_integer_keeps_its_digits_whatever_its_size() {
        for (rows, want) in [
            (vec!["18446744073709551615", "1"], "a: UInt64"),
            (vec!["9223372036854775808", "-1"], "a: Decimal128(38, 0)"),
            (vec!["1180591620717411303424", "1"], "a: Decimal128(38, 0)"),
            (vec!["1234567890123456789012345678901234567890"], "a: Utf8"),
            (vec!["9007199254740993", "1.5"], "a: Utf8"),
            (vec!["9007199254740992", "1.5"], "a: Float64"),
            (vec!["1e3", "2"], "a: Float64"),
            (vec!["1e999"], "a: Utf8"),
            (vec!["1", "NaN", "-Infinity"], "a: Float64"),
            (vec!["\"x\"", "NaN"], "a: Utf8"),
            (vec!["1", "true"], "a: Utf8"),
        ] {
            let rows: Vec<String> = rows.iter().map(|value| format!("{{\"a\": {value}}}")).collect();
            let mut columns = Columns::default();
            for row in &rows {
                columns.widen(row).unwrap();
            }
            let schema = columns.schema();
            assert_eq!(format!("a: {}", schema.field(0).data_type()), want, "{rows:?}");
        }
    }

    #[test]
    fn a_conflict_is_named_through_its_parents() {
        let conflict = columns(&[r#"{"m": [{"s": 1}]}"#, r#"{"m": [{"s": {}}]}"#]).unwrap_err();
        let expected = "a scalar as in the rows before";
        assert_eq!((conflict.column.as_str(), conflict.expected), ("m.s", expected));
    }

    #[test]
    fn a_key_that_occurs_twice_is_a_conflict_and_in_two_objects_is_none() {
        let mut twice = Columns::default();
        assert_eq!(twice.widen(r#"{"m": {"a": 1, "b": 2, "a": 2}}"#).unwrap_err().column, "m.a");
        let mut once = Columns::default();
        once.widen(r#"{"m": [{"a": 1}, {"a": 2}], "a": 3}"#).unwrap();
    }
}
