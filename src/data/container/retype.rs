//! Columns as other types with the same bytes, so that the JSON writer says what they mean.
//!
//! A file may hold text as bytes without a word of it (Parquet's BYTE_ARRAY, as Spark and Impala write it), and JSON as
//! text with a mark beside it: the extension type `arrow.json`, Parquet's logical type JSON, both of which the feature
//! `Json` of `datasets` has. Here bytes become text, once all of them are UTF-8, and marked text becomes bytes, once all of
//! it is JSON; so whatever is bytes afterwards is JSON. Bytes that are no text become `{"bytes": "…"}`, hexadecimal, which
//! nothing takes for a text, and are refused where a text belongs. As in `datasets.features.Json.decode_example`, JSON is parsed
//! wherever it is, also within lists and structs.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, AsArray, FixedSizeBinaryArray, LargeBinaryArray, RecordBatch, StringArray, make_array,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use parquet::basic::{ConvertedType, LogicalType};
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};
use serde::de::IgnoredAny;

/// Where Arrow keeps the name of an extension type.
const EXTENSION: &str = "ARROW:extension:name";

/// Text that is JSON.
const JSON: &str = "arrow.json";

/// Sixteen bytes that are a UUID.
const UUID: &str = "arrow.uuid";

/// A column of a kind that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("column `{column}` {problem}")]
pub(super) struct Unreadable {
    /// With the names of the columns it is in, separated by dots.
    pub(super) column: String,
    pub(super) problem: String,
}

impl Unreadable {
    /// The same within another column.
    fn inside(mut self, column: &str) -> Self {
        self.column = if self.column.is_empty() { column.to_owned() } else { format!("{column}.{}", self.column) };
        self
    }
}

fn unreadable(problem: impl Into<String>) -> Unreadable {
    Unreadable { column: String::new(), problem: problem.into() }
}

/// The columns of a Parquet file with the marks that its own schema has, and Arrow's has not.
pub(super) fn marked(schema: &Schema, parquet: &SchemaDescriptor) -> SchemaRef {
    let mut leaves = parquet.columns().iter();
    let fields: Fields = schema.fields().iter().map(|field| marked_field(field, &mut leaves)).collect();
    // Columns that are not one to one are not told by their order.
    let fields = if leaves.next().is_some() { schema.fields().clone() } else { fields };
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn marked_field<'a>(field: &FieldRef, leaves: &mut impl Iterator<Item = &'a Arc<ColumnDescriptor>>) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|field| marked_field(field, leaves)).collect()),
        DataType::List(item) => DataType::List(marked_field(item, leaves)),
        DataType::LargeList(item) => DataType::LargeList(marked_field(item, leaves)),
        DataType::ListView(item) => DataType::ListView(marked_field(item, leaves)),
        DataType::LargeListView(item) => DataType::LargeListView(marked_field(item, leaves)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(marked_field(item, leaves), *size),
        DataType::Map(entries, sorted) => DataType::Map(marked_field(entries, leaves), *sorted),
        _ => {
            let extension = leaves.next().and_then(|leaf| match (leaf.logical_type_ref(), leaf.converted_type()) {
                (Some(LogicalType::Json), _) | (None, ConvertedType::JSON) => Some(JSON),
                (Some(LogicalType::Uuid), _) => Some(UUID),
                (Some(LogicalType::Bson), _) | (None, ConvertedType::BSON) => Some("parquet.bson"),
                _ => None,
            });
            return match extension {
                Some(extension) if !field.metadata().contains_key(EXTENSION) => {
                    let mut metadata = field.metadata().clone();
                    metadata.insert(EXTENSION.to_owned(), extension.to_owned());
                    Arc::new(field.as_ref().clone().with_metadata(metadata))
                }
                _ => Arc::clone(field),
            };
        }
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

/// Rows whose bytes are all JSON, and whose text is all text; `schema` has their marks.
pub(super) fn retyped(batch: &RecordBatch, schema: &Schema) -> Result<RecordBatch, ArrowError> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        let (field, data) = retyped_field(field, column.to_data())?;
        fields.push(field);
        columns.push(make_array(data));
    }
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}

/// A column under another type, its own columns included.
fn retyped_field(field: &FieldRef, data: ArrayData) -> Result<(FieldRef, ArrayData), ArrowError> {
    let data = retyped_data(field, data).map_err(|error| match error {
        Problem::Column(error) => ArrowError::from_external_error(Box::new(error.inside(field.name()))),
        Problem::Arrow(error) => error,
    })?;
    Ok((Arc::new(Field::new(field.name(), data.data_type().clone(), true)), data))
}

/// Why a column cannot be had under another type.
enum Problem {
    Column(Unreadable),
    Arrow(ArrowError),
}

impl From<ArrowError> for Problem {
    fn from(error: ArrowError) -> Self {
        Self::Arrow(error)
    }
}

impl From<Unreadable> for Problem {
    fn from(error: Unreadable) -> Self {
        Self::Column(error)
    }
}

fn retyped_data(field: &Field, data: ArrayData) -> Result<ArrayData, Problem> {
    let extension = field.metadata().get(EXTENSION).map(String::as_str);
    match extension {
        None | Some(JSON | UUID) => {}
        Some(other) => return Err(unreadable(format!("is of the extension type `{other}`, which is not read")).into()),
    }
    leaf_or_nested(field.data_type(), extension, data)
}

fn leaf_or_nested(data_type: &DataType, extension: Option<&str>, data: ArrayData) -> Result<ArrayData, Problem> {
    let child = |field: &FieldRef, at: usize| -> Result<(FieldRef, ArrayData), Problem> {
        let child = data.child_data().get(at).cloned();
        let child = child.ok_or_else(|| unreadable("has no values where its type has some"))?;
        let child = retyped_data(field, child).map_err(|problem| match problem {
            Problem::Column(error) => Problem::Column(error.inside(field.name())),
            arrow @ Problem::Arrow(_) => arrow,
        })?;
        Ok((Arc::new(Field::new(field.name(), child.data_type().clone(), field.is_nullable())), child))
    };
    let (data_type, children) = match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View if extension == Some(JSON) => {
            let bytes = match data_type {
                DataType::Utf8 => DataType::Binary,
                DataType::LargeUtf8 => DataType::LargeBinary,
                _ => DataType::BinaryView,
            };
            check_json(&data)?;
            (bytes, data.child_data().to_vec())
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
            let text = match data_type {
                DataType::Binary => DataType::Utf8,
                DataType::LargeBinary => DataType::LargeUtf8,
                _ => DataType::Utf8View,
            };
            let text = data.clone().into_builder().data_type(text).build();
            return match (extension, text) {
                (Some(_), Ok(text)) => leaf_or_nested(&text.data_type().clone(), extension, text),
                (None, Ok(text)) => Ok(text),
                (Some(_), Err(_)) => Err(unreadable("is marked as what its bytes cannot be").into()),
                (None, Err(_)) => {
                    let bytes = cast(&make_array(data.clone()), &DataType::LargeBinary)?;
                    Ok(hexadecimal(bytes.as_binary::<i64>().iter()))
                }
            };
        }
        DataType::FixedSizeBinary(_) => return fixed(extension, data),
        DataType::Struct(fields) => {
            let children = fields.iter().enumerate().map(|(at, field)| child(field, at));
            let (fields, children): (Vec<_>, Vec<_>) = children.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
            (DataType::Struct(fields.into()), children)
        }
        DataType::List(item) => of_one(child(item, 0)?, DataType::List),
        DataType::LargeList(item) => of_one(child(item, 0)?, DataType::LargeList),
        DataType::ListView(item) => of_one(child(item, 0)?, DataType::ListView),
        DataType::LargeListView(item) => of_one(child(item, 0)?, DataType::LargeListView),
        DataType::FixedSizeList(item, size) => of_one(child(item, 0)?, |item| DataType::FixedSizeList(item, *size)),
        DataType::Map(entries, sorted) => of_one(child(entries, 0)?, |entries| DataType::Map(entries, *sorted)),
        DataType::Dictionary(keys, values) => {
            let entries = data.child_data().first().cloned();
            let entries = entries.ok_or_else(|| unreadable("has no values where its type has some"))?;
            let entries = leaf_or_nested(values, extension, entries)?;
            (DataType::Dictionary(keys.clone(), Box::new(entries.data_type().clone())), vec![entries])
        }
        DataType::RunEndEncoded(ends, values) => {
            let (values, entries) = match extension {
                None => child(values, 1)?,
                Some(_) => return Err(unreadable("is JSON in runs, which is not read").into()),
            };
            let ends_data = data.child_data().first().cloned();
            let ends_data = ends_data.ok_or_else(|| unreadable("has no values where its type has some"))?;
            (DataType::RunEndEncoded(Arc::clone(ends), values), vec![ends_data, entries])
        }
        DataType::Union(..) => return Err(unreadable("is a union, which is not read").into()),
        _ => return Ok(data),
    };
    if data_type == *data.data_type() {
        return Ok(data);
    }
    Ok(data.into_builder().data_type(data_type).child_data(children).build()?)
}

fn of_one((field, child): (FieldRef, ArrayData), of: impl FnOnce(FieldRef) -> DataType) -> (DataType, Vec<ArrayData>) {
    (of(field), vec![child])
}

/// Values of a fixed number of bytes: a UUID in its usual form, or text.
fn fixed(extension: Option<&str>, data: ArrayData) -> Result<ArrayData, Problem> {
    let array = FixedSizeBinaryArray::from(data);
    match extension {
        Some(UUID) if array.value_length() == 16 => {
            Ok(array.iter().map(|bytes| bytes.map(uuid)).collect::<StringArray>().to_data())
        }
        Some(_) => Err(unreadable("is marked as what its bytes cannot be").into()),
        None => {
            let texts =
                array.iter().map(|bytes| bytes.map(str::from_utf8).transpose()).collect::<Result<StringArray, _>>();
            Ok(texts.map_or_else(|_| hexadecimal(array.iter()), |texts| texts.to_data()))
        }
    }
}

/// Bytes as JSON that says they are bytes.
fn hexadecimal<'a>(values: impl Iterator<Item = Option<&'a [u8]>>) -> ArrayData {
    let json = |bytes: &[u8]| serde_json::json!({"bytes": digits(bytes)}).to_string();
    let texts: LargeBinaryArray = values.map(|bytes| bytes.map(json)).collect();
    texts.to_data()
}

fn digits(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn uuid(bytes: &[u8]) -> String {
    let digits = digits(bytes);
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

/// Marked text that is not JSON would be taken for a part of the row it is in.
fn check_json(data: &ArrayData) -> Result<(), Problem> {
    let texts = cast(&make_array(data.clone()), &DataType::LargeUtf8)?;
    let texts = texts.as_string::<i64>();
    match texts.iter().flatten().find(|text| serde_json::from_str::<IgnoredAny>(text).is_err()) {
        None => Ok(()),
        Some(text) => {
            let shown: String = text.chars().take(40).collect();
            Err(unreadable(format!("is marked as JSON and holds text that is none: `{shown}`")).into())
        }
    }
}
