//! `json_get` and its like: values inside JSON text, by keys and positions.
//!
//! Columns that a data set has as objects or lists are JSON text in a log-prob table. A value keeps the digits it is written
//! with. Names are those of `datafusion-functions-json`; `->` and `->>` are those of PostgreSQL.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{DFSchema, exec_err, plan_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::{Function, Kind};
use crate::query::json_cursor::{Step, at_path, unquoted};

pub(super) const AS_TEXT: Function = Function {
    call: "json_as_text(json, key, …)",
    kind: Kind::Scalar,
    doc: "The value at a path of keys and of positions from 0, as a text: a string without its quotes, anything else as it \
          is written; null where there is none. `json ->> key` is the same.",
    example: r#"SELECT json_as_text('{"a": [1, "x"]}', 'a', 1)"#,
    answer: "x",
};

pub(super) const EXTRACT: Function = Function {
    call: "json_extract(json, path)",
    kind: Kind::Scalar,
    doc: "The value at a path like `$.a.b[0]`, as JSON text.",
    example: r#"SELECT json_extract('{"a": {"b": [7]}}', '$.a.b[0]')"#,
    answer: "7",
};

pub(super) const GET: Function = Function {
    call: "json_get(json, key, …)",
    kind: Kind::Scalar,
    doc: "The value at a path of keys and of positions from 0, as JSON text. `json -> key` is the same.",
    example: r#"SELECT json_get('{"a": {"b": "x"}}', 'a')"#,
    answer: r#"{"b": "x"}"#,
};

pub(super) const GET_BOOL: Function = Function {
    call: "json_get_bool(json, key, …)",
    kind: Kind::Scalar,
    doc: "The value at a path, if it is true or false, else null.",
    example: r#"SELECT json_get_bool('{"a": true}', 'a')"#,
    answer: "true",
};

pub(super) const GET_FLOAT: Function = Function {
    call: "json_get_float(json, key, …)",
    kind: Kind::Scalar,
    doc: "The value at a path, if it is a number, else null.",
    example: r#"SELECT json_get_float('{"a": 0.5}', 'a')"#,
    answer: "0.5",
};

pub(super) const GET_INT: Function = Function {
    call: "json_get_int(json, key, …)",
    kind: Kind::Scalar,
    doc: "The value at a path, if it is an integer of 64 bits, else null.",
    example: r#"SELECT json_get_int('{"a": 3}', 'a')"#,
    answer: "3",
};

pub(super) const GET_STR: Function = Function {
    call: "json_get_str(json, key, …)",
    kind: Kind::Scalar,
    doc: "The value at a path, if it is a string, without its quotes, else null.",
    example: r#"SELECT json_get_str('{"a": "x"}', 'a')"#,
    answer: "x",
};

/// All of them.
pub(super) fn udfs() -> Vec<ScalarUDF> {
    let kinds = [Wanted::Json, Wanted::Text, Wanted::Extract, Wanted::Bool, Wanted::Float, Wanted::Int, Wanted::Str];
    kinds.into_iter().map(|wanted| ScalarUDF::new_from_impl(Json::new(wanted))).collect()
}

/// What is made of the value at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Wanted {
    Json,
    Text,
    /// JSON, by a path in one text.
    Extract,
    Bool,
    Float,
    Int,
    Str,
}

#[derive(Debug)]
struct Json {
    wanted: Wanted,
    signature: Signature,
}

impl Json {
    fn new(wanted: Wanted) -> Self {
        Self { wanted, signature: Signature::variadic_any(Volatility::Immutable) }
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.wanted == other.wanted
    }
}

impl Eq for Json {}

impl Hash for Json {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.wanted.hash(state);
    }
}

impl ScalarUDFImpl for Json {
    fn name(&self) -> &'static str {
        match self.wanted {
            Wanted::Json => "json_get",
            Wanted::Text => "json_as_text",
            Wanted::Extract => "json_extract",
            Wanted::Bool => "json_get_bool",
            Wanted::Float => "json_get_float",
            Wanted::Int => "json_get_int",
            Wanted::Str => "json_get_str",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType, DataFusionError> {
        let [json, path @ ..] = arguments else { return plan_err!("`{}` needs a JSON text", self.name()) };
        if !(json.is_string() || json.is_null()) {
            return plan_err!("`{}` needs a JSON text, found {json}: fields of a struct are `s['key']`", self.name());
        }
        if self.wanted == Wanted::Extract && path.len() != 1 {
            return plan_err!("`json_extract` needs one path, as '$.a.b[0]'");
        }
        for step in path {
            if !(step.is_string() || step.is_integer() || step.is_null()) {
                return plan_err!("`{}` needs keys and positions, found {step}", self.name());
            }
        }
        Ok(match self.wanted {
            Wanted::Json | Wanted::Text | Wanted::Extract | Wanted::Str => DataType::Utf8,
            Wanted::Bool => DataType::Boolean,
            Wanted::Float => DataType::Float64,
            Wanted::Int => DataType::Int64,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        let Some((json, path)) = columns.split_first() else { return exec_err!("`{}` needs a JSON text", self.name()) };
        let json = cast(json, &DataType::Utf8)?;
        let json = json.as_string::<i32>();
        let path = path.iter().map(|column| Steps::of(column, self.wanted)).collect::<Result<Vec<_>, _>>()?;
        let at = |row: usize| -> Result<Option<&str>, DataFusionError> {
            let mut steps = Vec::with_capacity(path.len());
            for column in &path {
                match column.at(row)? {
                    Some(found) => steps.extend(found),
                    None => return Ok(None),
                }
            }
            Ok(json.is_valid(row).then(|| at_path(json.value(row), &steps)).flatten())
        };
        let rows = 0..json.len();
        let array: ArrayRef = match self.wanted {
            Wanted::Json | Wanted::Text | Wanted::Extract | Wanted::Str => {
                let mut texts = StringBuilder::new();
                for row in rows {
                    let value = at(row)?;
                    texts.append_option(match self.wanted {
                        Wanted::Json | Wanted::Extract => value.map(str::to_owned),
                        Wanted::Str => value.filter(|value| value.starts_with('"')).and_then(unquoted),
                        _ => value.and_then(unquoted),
                    });
                }
                Arc::new(texts.finish())
            }
            Wanted::Bool => {
                let mut values = BooleanBuilder::new();
                for row in rows {
                    values.append_option(at(row)?.and_then(|value| value.parse().ok()));
                }
                Arc::new(values.finish())
            }
            Wanted::Float => {
                let mut values = Float64Builder::new();
                for row in rows {
                    values.append_option(at(row)?.and_then(|value| value.parse().ok()));
                }
                Arc::new(values.finish())
            }
            Wanted::Int => {
                let mut values = Int64Builder::new();
                for row in rows {
                    values.append_option(at(row)?.and_then(|value| value.parse().ok()));
                }
                Arc::new(values.finish())
            }
        };
        Ok(ColumnarValue::Array(array))
    }
}

/// The steps that an argument names, row by row.
enum Steps {
    Keys(ArrayRef),
    Items(ArrayRef),
    /// `$.a.b[0]`.
    Paths(ArrayRef),
}

impl Steps {
    fn of(column: &ArrayRef, wanted: Wanted) -> Result<Self, DataFusionError> {
        if column.data_type().is_integer() {
            return Ok(Self::Items(cast(column, &DataType::Int64)?));
        }
        let texts = cast(column, &DataType::Utf8)?;
        Ok(if wanted == Wanted::Extract { Self::Paths(texts) } else { Self::Keys(texts) })
    }

    fn at(&self, row: usize) -> Result<Option<Vec<Step>>, DataFusionError> {
        let (Self::Keys(column) | Self::Items(column) | Self::Paths(column)) = self;
        if column.is_null(row) {
            return Ok(None);
        }
        match self {
            Self::Keys(keys) => Ok(Some(vec![Step::Key(keys.as_string::<i32>().value(row).to_owned())])),
            Self::Items(items) => {
                let at = items.as_primitive::<Int64Type>().value(row);
                Ok(usize::try_from(at).ok().map(|at| vec![Step::Item(at)]))
            }
            Self::Paths(paths) => {
                let path = paths.as_string::<i32>().value(row);
                let Some(steps) = steps(path) else {
                    return exec_err!("expected a path as '$.a.b[0]', found '{path}'");
                };
                Ok(Some(steps))
            }
        }
    }
}

/// The steps of `$.a."b c"[0]`.
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(item) = rest.strip_prefix('[') {
            let (at, behind) = item.split_once(']')?;
            steps.push(Step::Item(at.parse().ok()?));
            rest = behind;
        } else if let Some(quoted) = rest.strip_prefix(".\"") {
            let (key, behind) = quoted.split_once('"')?;
            steps.push(Step::Key(key.to_owned()));
            rest = behind;
        } else {
            let key = rest.strip_prefix('.')?;
            let end = key.find(['.', '[']).unwrap_or(key.len());
            if end == 0 {
                return None;
            }
            steps.push(Step::Key(key[..end].to_owned()));
            rest = &key[end..];
        }
    }
    Some(steps)
}

/// `json -> key` and `json ->> key`.
#[derive(Debug)]
pub(super) struct Arrows;

impl ExprPlanner for Arrows {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        _: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>, DataFusionError> {
        let wanted = match expr.op {
            BinaryOperator::Arrow => Wanted::Json,
            BinaryOperator::LongArrow => Wanted::Text,
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let function = ScalarUDF::new_from_impl(Json::new(wanted));
        let call = ScalarFunction::new_udf(Arc::new(function), vec![expr.left, expr.right]);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_keys_and_positions_are_read() {
        let key = |name: &str| Step::Key(name.into());
        assert_eq!(steps("$"), Some(vec![]));
        assert_eq!(steps("$.a.b[12]"), Some(vec![key("a"), key("b"), Step::Item(12)]));
        assert_eq!(steps("$.\"a.b\"[0].c"), Some(vec![key("a.b"), Step::Item(0), key("c")]));
        for wrong in ["a", "$a", "$.", "$..a", "$[x]", "$[-1]", "$[0"] {
            assert_eq!(steps(wrong), None, "{wrong}");
        }
    }
}
