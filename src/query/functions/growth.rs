//! Functions of the engine that make much of little: how much is worked out before they are called.
//!
//! What a function makes of a batch of rows is in memory as a whole, and no limit of a session sees it on its way:
//! `repeat('x', 2000000000)` is two gigabytes a row.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, LargeStringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Int64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit};
use datafusion::common::exec_err;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::error::DataFusionError;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Documentation, Expr, LogicalPlan, Operator, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;

/// Bytes that one call may make of a batch of rows.
const MADE_BYTES: u64 = 256 << 20;

/// The same of functions that replace a part of a text, for every byte they are given: `replace` makes as much as it finds,
/// and what it may find at most is all there is to go by.
const MADE_OF_GIVEN: u64 = 64;

/// An upper bound of what a call makes, in bytes, from what it is given.
type Measure = fn(&Given<'_>) -> Result<u64, DataFusionError>;

/// Functions and what they make at most.
const MEASURED: [(&str, Measure); 19] = [
    ("array_append", together),
    ("array_concat", together),
    ("array_prepend", together),
    ("array_repeat", repeated_values),
    ("array_replace_all", replaced_values),
    ("array_resize", resized),
    ("array_to_string", joined),
    ("concat", together),
    ("concat_ws", separated),
    ("generate_series", series),
    ("lpad", padded),
    ("make_array", together),
    ("map", together),
    ("overlay", together),
    ("range", series),
    ("regexp_replace", replaced_anywhere),
    ("repeat", repeated),
    ("replace", replaced),
    ("rpad", padded),
];

/// Has every statement call these functions, whoever calls them: literals of arrays and operators of SQL become calls of
/// functions that no registry knows. What `||` makes is measured when it is made, for it is as much as it was given.
///
/// A function whose results may be given to itself, a thousand times in one statement, makes a power of what it was given;
/// all of them are here, and whatever else there is makes a small multiple, once.
#[derive(Debug)]
pub(in crate::query) struct Measures {
    by_name: HashMap<String, Arc<ScalarUDF>>,
    within: Arc<ScalarUDF>,
}

impl Measures {
    /// Those of the functions that a context has.
    pub(in crate::query) fn of(registry: &dyn FunctionRegistry) -> Self {
        let measured = udfs(registry).into_iter().map(|udf| (udf.name().to_owned(), Arc::new(udf)));
        Self { by_name: measured.collect(), within: Arc::new(within()) }
    }

    fn measured(&self, expression: Expr) -> Transformed<Expr> {
        match expression {
            Expr::ScalarFunction(mut call) if self.by_name.contains_key(call.func.name()) => {
                call.func = Arc::clone(&self.by_name[call.func.name()]);
                Transformed::yes(Expr::ScalarFunction(call))
            }
            Expr::BinaryExpr(BinaryExpr { op: Operator::StringConcat, .. }) => Transformed::yes(Expr::ScalarFunction(
                ScalarFunction::new_udf(Arc::clone(&self.within), vec![expression]),
            )),
            expression => Transformed::no(expression),
        }
    }
}

impl AnalyzerRule for Measures {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan, DataFusionError> {
        let measured = plan.transform_up_with_subqueries(|node| {
            node.map_expressions(|expression| expression.transform_up(|part| Ok(self.measured(part))))
        })?;
        Ok(measured.data)
    }

    fn name(&self) -> &'static str {
        "measures"
    }
}

/// What hands on what it is given, unless that is too much: called like what it is given.
pub(super) fn within() -> ScalarUDF {
    ScalarUDF::new_from_impl(Within { signature: Signature::any(1, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Within {
    signature: Signature,
}

impl ScalarUDFImpl for Within {
    fn name(&self) -> &'static str {
        "piref_within_bounds"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String, DataFusionError> {
        Ok(args.first().map(|arg| arg.schema_name().to_string()).unwrap_or_default())
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType, DataFusionError> {
        Ok(types.first().cloned().unwrap_or(DataType::Null))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef, DataFusionError> {
        let [field] = args.arg_fields else { return exec_err!("expected one value") };
        Ok(Arc::clone(field))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let ScalarFunctionArgs { mut args, number_rows, .. } = args;
        let given = Given { args: &args, n_rows: number_rows };
        let lengths = given.lengths(0)?;
        check_made("||", given.sum(|row| at(&lengths, row).unwrap_or(0)), given.rows())?;
        let Some(value) = args.pop() else { return exec_err!("expected one value") };
        Ok(value)
    }
}

fn check_made(function: &str, made: u64, n_rows: usize) -> Result<(), DataFusionError> {
    if made > MADE_BYTES {
        return exec_err!("`{function}` may make {made} bytes of {n_rows} rows: expected at most {MADE_BYTES}");
    }
    Ok(())
}

/// The functions of a context that are measured from now on.
pub(super) fn udfs(registry: &dyn FunctionRegistry) -> Vec<ScalarUDF> {
    let measured = |(name, measure): (&str, Measure)| {
        let inner = registry.udf(name).ok()?;
        Some(ScalarUDF::new_from_impl(Measured { inner, measure }))
    };
    MEASURED.into_iter().filter_map(measured).collect()
}

/// One of them, as it is but for the question before it.
#[derive(Debug)]
struct Measured {
    inner: Arc<ScalarUDF>,
    measure: Measure,
}

impl PartialEq for Measured {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
    }
}

impl Eq for Measured {}

impl Hash for Measured {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl ScalarUDFImpl for Measured {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType, DataFusionError> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef, DataFusionError> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>, DataFusionError> {
        self.inner.coerce_types(types)
    }

    fn is_strict(&self) -> bool {
        self.inner.is_strict()
    }

    fn evaluate_bounds(&self, inputs: &[&Interval]) -> Result<Interval, DataFusionError> {
        self.inner.evaluate_bounds(inputs)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties, DataFusionError> {
        self.inner.output_ordering(inputs)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        let given = Given { args: &args.args, n_rows: args.number_rows };
        check_made(self.name(), (self.measure)(&given)?, given.rows())?;
        let n_rows = given.rows();
        let made = self.inner.invoke_with_args(args)?;
        // What a measure lets pass because it is not much more than was given.
        let found = [made];
        let given = Given { args: &found, n_rows };
        let lengths = given.lengths(0)?;
        check_made(self.name(), given.sum(|row| at(&lengths, row).unwrap_or(0)), n_rows)?;
        let [made] = found;
        Ok(made)
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String, DataFusionError> {
        self.inner.schema_name(args)
    }
}

/// What a function is given for a batch of rows. A value that all rows share is there once.
struct Given<'a> {
    args: &'a [ColumnarValue],
    n_rows: usize,
}

impl Given<'_> {
    /// Rows that are made: one where nothing differs from row to row.
    fn rows(&self) -> usize {
        let is_array = |arg: &ColumnarValue| matches!(arg, ColumnarValue::Array(_));
        if self.args.iter().any(is_array) { self.n_rows } else { 1 }
    }

    fn array(&self, at: usize) -> Result<Option<ArrayRef>, DataFusionError> {
        self.args.get(at).map(|arg| arg.to_array(1)).transpose()
    }

    /// Whole numbers; none where the function was not given any, or something else.
    fn numbers(&self, at: usize) -> Result<Option<Int64Array>, DataFusionError> {
        let Some(array) = self.array(at)? else { return Ok(None) };
        if !array.data_type().is_integer() {
            return Ok(None);
        }
        // What is beyond the range is null, and beyond every limit of the function itself.
        Ok(Some(cast(&array, &DataType::Int64)?.as_primitive::<Int64Type>().clone()))
    }

    /// Bytes of each value; nothing without one.
    fn lengths(&self, at: usize) -> Result<Vec<u64>, DataFusionError> {
        let Some(array) = self.array(at)? else { return Ok(Vec::new()) };
        let of_text = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        Ok(match array.data_type() {
            DataType::Utf8 => array.as_string::<i32>().iter().map(|text| of_text(text.map_or(0, str::len))).collect(),
            DataType::LargeUtf8 => {
                array.as_string::<i64>().iter().map(|text| of_text(text.map_or(0, str::len))).collect()
            }
            DataType::Utf8View => array.as_string_view().iter().map(|text| of_text(text.map_or(0, str::len))).collect(),
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                of_elements(list.offsets().lengths(), list.values())
            }
            DataType::LargeList(_) => {
                let list = array.as_list::<i64>();
                of_elements(list.offsets().lengths(), list.values())
            }
            _ => vec![mean_bytes(&array); array.len()],
        })
    }

    /// Texts; none of something else.
    fn texts(&self, at: usize) -> Result<Option<LargeStringArray>, DataFusionError> {
        let Some(array) = self.array(at)? else { return Ok(None) };
        Ok(cast(&array, &DataType::LargeUtf8)?.as_string_opt::<i64>().cloned())
    }

    /// The sum over all rows of what `of` makes of a row.
    fn sum(&self, of: impl Fn(usize) -> u64) -> u64 {
        (0..self.rows()).map(of).fold(0, u64::saturating_add)
    }
}

/// Bytes of lists of so many elements.
fn of_elements(lengths: impl Iterator<Item = usize>, elements: &ArrayRef) -> Vec<u64> {
    let each = mean_bytes(elements);
    lengths.map(|length| u64::try_from(length).unwrap_or(u64::MAX).saturating_mul(each)).collect()
}

/// Bytes of a value of an array, at least one.
fn mean_bytes(array: &ArrayRef) -> u64 {
    u64::try_from(array.get_buffer_memory_size() / array.len().max(1)).unwrap_or(u64::MAX).max(1)
}

/// The value of a row: all rows share a single one.
fn at<T: Copy>(values: &[T], row: usize) -> Option<T> {
    values.get(if values.len() == 1 { 0 } else { row }).copied()
}

/// The same of a text.
fn value(texts: &LargeStringArray, row: usize) -> Option<&str> {
    let row = if texts.len() == 1 { 0 } else { row };
    (row < texts.len() && texts.is_valid(row)).then(|| texts.value(row))
}

/// A number of times; none below zero.
fn times(numbers: Option<&Int64Array>, row: usize) -> u64 {
    numbers.and_then(|numbers| at(numbers.values(), row)).map_or(0, |n| u64::try_from(n).unwrap_or(0))
}

/// All that is given: `concat(text, …)`, `make_array(value, …)`
fn together(given: &Given<'_>) -> Result<u64, DataFusionError> {
    let lengths = (0..given.args.len()).map(|arg| given.lengths(arg)).collect::<Result<Vec<_>, _>>()?;
    let of_row = |row| lengths.iter().map(|lengths| at(lengths, row).unwrap_or(0)).fold(0, u64::saturating_add);
    Ok(given.sum(of_row))
}

/// `concat_ws(separator, text, …)`
fn separated(given: &Given<'_>) -> Result<u64, DataFusionError> {
    let (separators, n) = (given.lengths(0)?, u64::try_from(given.args.len()).unwrap_or(u64::MAX));
    let between = given.sum(|row| at(&separators, row).unwrap_or(0).saturating_mul(n));
    Ok(together(given)?.saturating_add(between))
}

/// `array_replace_all(array, from, to)`
fn replaced_values(given: &Given<'_>) -> Result<u64, DataFusionError> {
    let (arrays, to) = (given.lengths(0)?, given.lengths(2)?);
    Ok(given.sum(|row| {
        let array = at(&arrays, row).unwrap_or(0);
        array.saturating_add(array.saturating_mul(at(&to, row).unwrap_or(0)))
    }))
}

/// `repeat(text, n)`
fn repeated(given: &Given<'_>) -> Result<u64, DataFusionError> {
    let (lengths, n) = (given.lengths(0)?, given.numbers(1)?);
    Ok(given.sum(|row| at(&lengths, row).unwrap_or(0).saturating_mul(times(n.as_ref(), row))))
}

/// `lpad(text, n, fill)`: so many characters.
fn padded(given: &Given<'_>) -> Result<u64, DataFusionError> {
    const CHARACTER_BYTES: u64 = 4;
    let n = given.numbers(1)?;
    Ok(given.sum(|row| times(n.as_ref(), row).saturating_mul(CHARACTER_BYTES)))
}

/// `array_repeat(value, n)`
fn repeated_values(given: &Given<'_>) -> Result<u64, DataFusionError> {
    let (lengths, n) = (given.lengths(0)?, given.numbers(1)?);
    Ok(given.sum(|row| at(&lengths, row).unwrap_or(0).max(1).saturating_mul(times(n.as_ref(), row))))
}

/// `array_resize(array, n, value)`
fn resized(given: &Given<'_>) -> Result<u64, DataFusionError> {
    let (n, value) = (given.numbers(1)?, given.lengths(2)?);
    Ok(given.sum(|row| at(&value, row).unwrap_or(0).max(8).saturating_mul(times(n.as_ref(), row))))
}

/// `array_to_string(array, separator)`: of what an array takes, no more than a byte is needed for an element.
fn joined(given: &Given<'_>) -> Result<u64, DataFusionError> {
    let (arrays, separators) = (given.lengths(0)?, given.lengths(1)?);
    let lengths = given.array(0)?.map(|array| match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().offsets().lengths().collect(),
        DataType::LargeList(_) => array.as_list::<i64>().offsets().lengths().collect(),
        _ => Vec::new(),
    });
    let lengths = lengths.unwrap_or_default();
    Ok(given.sum(|row| {
        let n = at(&lengths, row).map_or(0, |n| u64::try_from(n).unwrap_or(u64::MAX));
        let separators = at(&separators, row).unwrap_or(0).saturating_mul(n);
        at(&arrays, row).filter(|_| separators > 0).unwrap_or(0).saturating_add(separators)
    }))
}

/// `replace(text, from, to)`
fn replaced(given: &Given<'_>) -> Result<u64, DataFusionError> {
    let (texts, from, to) = (given.lengths(0)?, given.lengths(1)?, given.lengths(2)?);
    let most = given.sum(|row| {
        let (text, from, to) = (at(&texts, row), at(&from, row), at(&to, row));
        let n_found = text.unwrap_or(0) / from.unwrap_or(0).max(1) + 1;
        n_found.saturating_mul(to.unwrap_or(0)).saturating_add(text.unwrap_or(0))
    });
    if most <= MADE_BYTES {
        return Ok(most);
    }
    // What is found has to be counted.
    let (texts, from) = (given.texts(0)?, given.texts(1)?);
    let (Some(texts), Some(from)) = (texts, from) else { return Ok(most) };
    Ok(given.sum(|row| {
        let (Some(text), Some(from)) = (value(&texts, row), value(&from, row)) else { return 0 };
        let n_found = u64::try_from(text.matches(from).count()).unwrap_or(u64::MAX);
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        n_found.saturating_mul(at(&to, row).unwrap_or(0)).saturating_add(length)
    }))
}

/// `regexp_replace(text, pattern, to)`, which may match at every place, and whose `to` may hold all of the match.
fn replaced_anywhere(given: &Given<'_>) -> Result<u64, DataFusionError> {
    let (texts, to) = (given.lengths(0)?, given.lengths(2)?);
    Ok(beyond_given(given, &texts, &to, |row| Some((at(&texts, row)? + 1).saturating_mul(at(&to, row)? + 1))))
}

/// The sum where it is far beyond what was given, else nothing.
fn beyond_given(given: &Given<'_>, texts: &[u64], to: &[u64], of: impl Fn(usize) -> Option<u64>) -> u64 {
    let n_given = [texts, to].into_iter().flatten().copied().fold(0, u64::saturating_add);
    let made = given.sum(|row| of(row).unwrap_or(0));
    if made > n_given.saturating_mul(MADE_OF_GIVEN) { made } else { 0 }
}

/// `range(start, stop, step)` of whole numbers, or of times and an interval.
fn series(given: &Given<'_>) -> Result<u64, DataFusionError> {
    const VALUE_BYTES: u128 = 8;
    let first = instants(given.array(0)?)?.unwrap_or_default();
    let (second, step) = (instants(given.array(1)?)?, steps(given.array(2)?)?);
    let of = |row| -> Option<u64> {
        let (start, stop) = match &second {
            None => (0, at(&first, row)?),
            Some(second) => (at(&first, row)?, at(second, row)?),
        };
        let step = step.as_ref().map_or(Some(1), |steps| at(steps, row))?;
        let n = (i128::from(stop) - i128::from(start)).unsigned_abs() / step.unsigned_abs().max(1) + 1;
        let goes_there = (stop >= start) == (step > 0);
        Some(u64::try_from(if goes_there { n * VALUE_BYTES } else { 0 }).unwrap_or(u64::MAX))
    };
    Ok(given.sum(|row| of(row).unwrap_or(0)))
}

/// Whole numbers, or times in nanoseconds; none of a value that is not there.
fn instants(array: Option<ArrayRef>) -> Result<Option<Vec<i64>>, DataFusionError> {
    let Some(array) = array else { return Ok(None) };
    let whole = match array.data_type() {
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
            cast(&array, &DataType::Timestamp(TimeUnit::Nanosecond, None))?
        }
        found if found.is_integer() => array,
        _ => return Ok(Some(Vec::new())),
    };
    Ok(Some(cast(&whole, &DataType::Int64)?.as_primitive::<Int64Type>().values().to_vec()))
}

/// Whole numbers, or intervals in nanoseconds.
fn steps(array: Option<ArrayRef>) -> Result<Option<Vec<i128>>, DataFusionError> {
    const DAY: i128 = 24 * 3600 * 1_000_000_000;
    let Some(array) = array else { return Ok(None) };
    if !matches!(array.data_type(), DataType::Interval(_)) {
        return Ok(instants(Some(array))?.map(|steps| steps.into_iter().map(i128::from).collect()));
    }
    let intervals = cast(&array, &DataType::Interval(IntervalUnit::MonthDayNano))?;
    let intervals = intervals.as_primitive::<IntervalMonthDayNanoType>().values();
    let length = |months: i32, days: i32, nanoseconds: i64| {
        (i128::from(months) * 30 + i128::from(days)) * DAY + i128::from(nanoseconds)
    };
    Ok(Some(intervals.iter().map(|step| length(step.months, step.days, step.nanoseconds)).collect()))
}
