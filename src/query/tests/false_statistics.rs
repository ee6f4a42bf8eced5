//! Parquet files that say of themselves what is not so.

use arrow::array::{ArrayRef, StringArray};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, GzipLevel};
use parquet::data_type::ByteArray;
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnChunkMetaDataBuilder, ParquetMetaDataReader, ParquetMetaDataWriter, RowGroupMetaData,
};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::statistics::Statistics;

use super::*;

/// Rows 0 to 999 in ten row groups, of whose columns the footer says what `lie` makes of them.
fn liar(folder: &TempDir, lie: impl Fn(ColumnChunkMetaDataBuilder, &str) -> ColumnChunkMetaDataBuilder) -> PathBuf {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..1000).map(|n| format!("t{n}"))));
    let rows = RecordBatch::try_from_iter([("a", numbers), ("t", texts)]).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(100))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .build();
    let mut good = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut good, rows.schema(), Some(properties)).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();

    let metadata = ParquetMetaDataReader::new().parse_and_finish(&Bytes::from(good.clone())).unwrap();
    let of_column = |column: &ColumnChunkMetaData| {
        lie(column.clone().into_builder(), &column.column_path().string()).build().unwrap()
    };
    let groups: Vec<RowGroupMetaData> = metadata
        .row_groups()
        .iter()
        .map(|group| {
            let columns = group.columns().iter().map(of_column).collect();
            group.clone().into_builder().set_column_metadata(columns).build().unwrap()
        })
        .collect();
    let metadata = metadata.into_builder().set_row_groups(groups).build();
    let tail: [u8; 4] = good[good.len() - 8..good.len() - 4].try_into().unwrap();
    let mut bad = good[..good.len() - 8 - usize::try_from(u32::from_le_bytes(tail)).unwrap()].to_vec();
    ParquetMetaDataWriter::new(&mut bad, &metadata).finish().unwrap();
    file(folder, "liar.parquet", &bad)
}

/// That each row group has the numbers 0 to 10, the texts `a` to `b`, and nothing but nulls.
fn false_statistics(column: ColumnChunkMetaDataBuilder, name: &str) -> ColumnChunkMetaDataBuilder {
    let (none, text) = (Some(100), |text: &str| Some(ByteArray::from(text)));
    column.set_statistics(match name {
        "a" => Statistics::int64(Some(0), Some(10), Some(1), none, false),
        _ => Statistics::byte_array(text("a"), text("b"), Some(1), none, false),
    })
}

#[test]
fn a_compression_that_is_not_read_is_named_with_its_column() {
    let folder = folder();
    let path = liar(&folder, |column, name| match name {
        "t" => column.set_compression(Compression::GZIP(GzipLevel::default())),
        _ => column,
    });
    let error = chain(&Session::new().unwrap().register(&path).unwrap_err());
    let want = "row group 0, column `t`: compression: expected SNAPPY, ZSTD or none, found GZIP";
    assert!(error.contains("liar.parquet") && error.contains(want), "{error}");
}

#[test]
fn what_a_parquet_file_says_of_its_rows_hides_none_of_them() {
    let folder = folder();
    let path = liar(&folder, false_statistics);
    let by_name = session(&[&path]);
    let by_path = Session::new().unwrap();
    for (sql, want) in [
        ("SELECT count(*) AS n FROM @ WHERE a > 500", "n\n499\n"),
        ("SELECT count(*) AS n FROM @ WHERE a IN (700, 800)", "n\n2\n"),
        ("SELECT count(*) AS n FROM @ WHERE t = 't77'", "n\n1\n"),
        ("SELECT count(*) AS n FROM @ WHERE a IS NULL", "n\n0\n"),
        ("SELECT count(*) AS n FROM @ WHERE a IS NOT NULL", "n\n1000\n"),
        ("SELECT count(a) AS n, min(a) AS l, max(a) AS m, max(t) AS t FROM @", "n,l,m,t\n1000,0,999,t999\n"),
        ("SELECT count(DISTINCT a) AS n FROM @", "n\n1000\n"),
        ("SELECT a FROM @ ORDER BY a DESC LIMIT 2", "a\n999\n998\n"),
        ("SELECT a FROM @ WHERE a > 990 LIMIT 1", "a\n991\n"),
        ("SELECT l.a FROM @ AS l JOIN @ AS r ON l.a = r.a + 900 WHERE r.a = 20", "a\n920\n"),
    ] {
        check(&by_name, &sql.replace('@', "liar"), want);
        check(&by_path, &sql.replace('@', &format!("'{}'", path.display())), want);
    }
    // Nor when somebody asks for it.
    stop_asking(&by_name, "SET datafusion.execution.collect_statistics = true");
    by_name.query("SET datafusion.execution.parquet.pruning = true").unwrap();
    check(&by_name, "SELECT count(*) AS n FROM liar WHERE a > 500", "n\n499\n");
}

#[track_caller]
fn stop_asking(session: &Session, sql: &str) {
    assert!(matches!(failure(session, sql), QueryError::Refused(Refusal::Setting { .. })));
}
