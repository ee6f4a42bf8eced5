//! Columns of every Arrow type: what a row says, or why the file is refused.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, Decimal128Array, DictionaryArray, FixedSizeBinaryArray,
    Float32Array, Float64Array, Int8Array, Int32Array, LargeBinaryArray, LargeStringArray, ListArray, MapArray,
    RecordBatch, RunArray, StringArray, StringViewArray, StructArray, TimestampMillisecondArray, UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use arrow::ipc::writer::StreamWriter;
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use crate::data::{DataError, open_objects};
use crate::error::Hint;

const EXTENSION: &str = "ARROW:extension:name";

/// A column, and the mark beside it.
fn column(name: &str, array: &ArrayRef, extension: Option<&str>) -> Field {
    let metadata: HashMap<String, String> =
        extension.into_iter().map(|extension| (EXTENSION.to_owned(), extension.to_owned())).collect();
    Field::new(name, array.data_type().clone(), true).with_metadata(metadata)
}

/// The rows of an Arrow and of a Parquet file with this column `x`; both have to say the same.
fn rows(field: &Field, array: &ArrayRef) -> Result<Vec<Value>, DataError> {
    let arrow = read("a.arrow", field, array);
    let parquet = read("a.parquet", field, array);
    if let (Ok(arrow), Ok(parquet)) = (&arrow, &parquet) {
        assert_eq!(arrow, parquet, "{field:?}");
    }
    assert_eq!(arrow.is_ok(), parquet.is_ok(), "{arrow:?} {parquet:?}");
    arrow
}

fn read(name: &str, field: &Field, array: &ArrayRef) -> Result<Vec<Value>, DataError> {
    let schema = Arc::new(Schema::new(vec![field.clone()]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::clone(array)]).unwrap();
    let bytes = if name.ends_with("parquet") {
        let mut writer = ArrowWriter::try_new(Vec::new(), schema, None).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    } else {
        let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    open_objects(&path)?.map(|row| Ok(row?.object.unwrap()["x"].clone())).collect()
}

#[track_caller]
fn check(array: impl Array + 'static, want: &Value) {
    let array: ArrayRef = Arc::new(array);
    let field = column("x", &array, None);
    assert_eq!(Value::Array(rows(&field, &array).unwrap()), *want);
}

#[test]
fn bytes_that_are_text_are_text() {
    let want = json!(["ä", null, ""]);
    check(BinaryArray::from(vec![Some("ä".as_bytes()), None, Some(b"")]), &want);
    check(LargeBinaryArray::from(vec![Some("ä".as_bytes()), None, Some(b"")]), &want);
    check(BinaryViewArray::from_iter([Some("ä".as_bytes()), None, Some(b"")]), &want);
    let fixed = FixedSizeBinaryArray::try_from_sparse_iter_with_size([Some(b"ab"), None].into_iter(), 2).unwrap();
    check(fixed, &json!(["ab", null]));
}

#[test]
fn bytes_that_are_no_text_are_never_taken_for_one() {
    let want = json!([{"bytes": "ff00"}, null, {"bytes": "61"}]);
    check(BinaryArray::from(vec![Some(&b"\xff\0"[..]), None, Some(b"a")]), &want);
    check(BinaryViewArray::from_iter([Some(&b"\xff\0"[..]), None, Some(b"a")]), &want);
}

#[test]
fn text_of_every_kind_is_text() {
    let texts = vec![Some("a"), None];
    let want = json!(["a", null]);
    check(LargeStringArray::from(texts.clone()), &want);
    check(StringViewArray::from(texts.clone()), &want);
    check(texts.into_iter().collect::<DictionaryArray<Int32Type>>(), &want);
    let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![&b"a"[..], b"b"]));
    let keys = Int32Array::from(vec![Some(1), None, Some(0)]);
    check(DictionaryArray::new(keys, bytes), &json!(["b", null, "a"]));
}

#[test]
fn runs_are_the_values_they_repeat() {
    let runs = RunArray::try_new(&Int32Array::from(vec![2, 3]), &StringArray::from(vec!["a", "b"])).unwrap();
    let array: ArrayRef = Arc::new(runs);
    // Parquet has no such type.
    assert_eq!(read("a.arrow", &column("x", &array, None), &array).unwrap(), ["a", "a", "b"].map(Value::from));
}

#[test]
fn numbers_lose_nothing() {
    check(UInt64Array::from(vec![u64::MAX]), &json!([u64::MAX]));
    check(Float32Array::from(vec![0.1]), &json!([f64::from(0.1_f32)]));
    let floats = vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 1e300];
    check(Float64Array::from(floats), &json!(["NaN", "Infinity", "-Infinity", -0.0, 1e300]));
    let decimal = |digits, value| Decimal128Array::from(vec![value]).with_precision_and_scale(digits, 2).unwrap();
    check(decimal(10, 150), &json!([1.5]));
    check(decimal(38, 12_345_678_901_234_567_890), &json!(["123456789012345678.90"]));
    check(TimestampMillisecondArray::from(vec![0]), &json!(["1970-01-01T00:00:00"]));
}

#[test]
fn marked_json_is_what_it_says_wherever_it_is() {
    let texts = ["{\"a\":\n [1, 2.50]}", "null", "\"t\"", "[]"];
    let want = json!([{"a": [1, 2.5]}, null, "t", []]);
    let array: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
    assert_eq!(Value::Array(rows(&column("x", &array, Some("arrow.json")), &array).unwrap()), want);
    let array: ArrayRef = Arc::new(BinaryViewArray::from_iter_values(texts.map(str::as_bytes)));
    assert_eq!(Value::Array(rows(&column("x", &array, Some("arrow.json")), &array).unwrap()), want);

    let texts: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
    let item = Arc::new(column("item", &texts, Some("arrow.json")));
    let inner = StructArray::from(vec![(item, texts)]);
    let item = Arc::new(Field::new("element", inner.data_type().clone(), true));
    let list: ArrayRef = Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([1, 3]), Arc::new(inner), None));
    let want = json!([[{"item": {"a": [1, 2.5]}}], [{"item": null}, {"item": "t"}, {"item": []}]]);
    assert_eq!(Value::Array(rows(&column("x", &list, None), &list).unwrap()), want);
}

#[test]
fn the_logical_type_of_parquet_is_a_mark_too() {
    use parquet::data_type::ByteArrayType;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    let schema = "message m { required binary x (JSON); required binary y; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for value in ["{\"a\": 1}", "{\"b\": 2}"] {
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&[value.into()], None, None).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    std::fs::write(&path, writer.into_inner().unwrap()).unwrap();
    let row = open_objects(&path).unwrap().next().unwrap().unwrap().object.unwrap();
    assert_eq!(Value::Object(row), json!({"x": {"a": 1}, "y": "{\"b\": 2}"}));
}

#[test]
fn maps_and_turns_by_list_are_objects_and_lists() {
    let entries = StructArray::from(vec![
        (Arc::new(Field::new("keys", DataType::Utf8, false)), Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef),
        (
            Arc::new(Field::new("values", DataType::Binary, true)),
            Arc::new(BinaryArray::from(vec![&b"1"[..], b"2"])) as _,
        ),
    ]);
    let field = Arc::new(Field::new("entries", entries.data_type().clone(), false));
    check(MapArray::new(field, OffsetBuffer::from_lengths([2]), entries, None, false), &json!([{"a": "1", "b": "2"}]));

    let list = |texts: Vec<&str>| -> ArrayRef {
        let item = Arc::new(Field::new("item", DataType::Utf8, true));
        let texts: ArrayRef = Arc::new(StringArray::from(texts));
        Arc::new(ListArray::new(item, OffsetBuffer::from_lengths([2]), texts, None))
    };
    let field = |name: &str, array: &ArrayRef| Arc::new(Field::new(name, array.data_type().clone(), true));
    let (roles, texts) = (list(vec!["user", "assistant"]), list(vec!["q", "a"]));
    let turns = StructArray::from(vec![(field("role", &roles), roles), (field("content", &texts), texts)]);
    check(turns, &json!([[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]]));
}

#[test]
fn a_uuid_has_its_usual_form() {
    let bytes: Vec<u8> = (0..16).collect();
    let array: ArrayRef = Arc::new(FixedSizeBinaryArray::try_from_iter(std::iter::once(bytes)).unwrap());
    let want = json!("00010203-0405-0607-0809-0a0b0c0d0e0f");
    assert_eq!(rows(&column("x", &array, Some("arrow.uuid")), &array).unwrap(), [want]);
}

#[test]
fn what_a_mark_says_and_nothing_here_reads_is_refused_by_name() {
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["{\"a\": 1}", "{a}"]));
    let refused = |extension, array: &ArrayRef| {
        let error = rows(&column("x", array, Some(extension)), array).unwrap_err();
        let text = error.to_string();
        (text[text.find("column").unwrap()..].to_owned(), error.hint().unwrap())
    };
    let (error, hint) = refused("arrow.json", &texts);
    assert_eq!(error, "column `x` is marked as JSON and holds text that is none: `{a}`");
    assert!(hint.contains(r#"SELECT * EXCLUDE (\"x\") FROM"#), "{hint}");
    let bools: ArrayRef = Arc::new(Int8Array::from(vec![1]));
    let (error, _) = refused("arrow.bool8", &bools);
    assert_eq!(error, "column `x` is of the extension type `arrow.bool8`, which is not read");
    // A row cannot be broken out of.
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["1, \"prompt\": \"p\""]));
    assert!(refused("arrow.json", &texts).0.contains("text that is none"));
}
