//! Tokens as rows, runs beside each other, Arrow files, and what a session may use.

use std::fs::File;

use arrow::array::StringArray;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::writer::{FileWriter, StreamWriter};

use super::*;
use crate::interrupt::Interrupt;

fn limited(bytes: u64) -> Session {
    Session::with(Resources { memory_limit: Some(bytes), ..Resources::default() }).unwrap()
}

/// Pair `i` has `i + 1` chosen tokens of −0.5 nats and 2 rejected ones of −1.25, with ids from 100 on.
#[test]
fn each_completion_token_is_a_row() {
    let folder = folder();
    write_table(folder.path());
    let session = session(&[folder.path()]);
    check(
        &session,
        "SELECT * FROM logps WHERE pair_id = 'pair-1' ORDER BY side, position",
        "pair_id,source,row_idx,side,position,token_id,logp\n\
         pair-1,train.jsonl,1,chosen,0,100,-0.5\npair-1,train.jsonl,1,chosen,1,101,-0.5\n\
         pair-1,train.jsonl,1,rejected,0,100,-1.25\npair-1,train.jsonl,1,rejected,1,101,-1.25\n",
    );
    check(
        &session,
        "SELECT side, count(*) AS n FROM logps GROUP BY side ORDER BY side",
        "side,n\nchosen,15\nrejected,10\n",
    );
    check(
        &session,
        "SELECT count(*) AS n FROM (SELECT pair_id, side, sum(logp) AS s FROM logps GROUP BY pair_id, side) AS l \
         JOIN pairs AS p ON l.pair_id = p.pair_id \
         WHERE s = CASE side WHEN 'chosen' THEN ref_chosen_logps ELSE ref_rejected_logps END",
        "n\n10\n",
    );
}

#[test]
fn runs_stand_beside_each_other_with_all_they_have() {
    let (one, two) = (folder(), folder());
    let metrics = b"{\"schema\": \"metrics.v1\", \"step\": 1, \"loss\": 0.5}\n";
    write_table(&one.path().join("reference"));
    for run in [&one, &two] {
        io::create_dir(&run.path().join("train")).unwrap();
        file(run, "train/metrics.jsonl", metrics);
    }
    let mut session = Session::new().unwrap();
    assert_eq!(session.register_as("a", one.path()).unwrap(), ["a", "a_scored", "a_logps", "a_rejects", "a_metrics"]);
    assert_eq!(session.register_as("b", two.path()).unwrap(), ["b_metrics"]);
    check(
        &session,
        "SELECT a.loss - b.loss AS d FROM a_metrics AS a JOIN b_metrics AS b ON a.step = b.step",
        "d\n0.0\n",
    );
}

fn rows() -> RecordBatch {
    // What `datasets` writes beside the columns.
    let metadata = [("huggingface".to_owned(), "{}".to_owned())].into();
    let fields = vec![Field::new("prompt", DataType::Utf8, true), Field::new("n", DataType::Int64, false)];
    let schema = Arc::new(Schema::new(fields).with_metadata(metadata));
    let texts = Arc::new(StringArray::from(vec![Some("a"), None, Some("c")]));
    RecordBatch::try_new(schema, vec![texts, Arc::new(Int64Array::from(vec![1, 2, 3]))]).unwrap()
}

#[test]
fn arrow_files_are_tables_in_both_formats() {
    let folder = folder();
    let rows = rows();
    let (stream, file) = (folder.path().join("data-00000-of-00001.arrow"), folder.path().join("file.arrow"));
    let mut writer = StreamWriter::try_new(File::create(&stream).unwrap(), rows.schema_ref()).unwrap();
    writer.write(&rows).unwrap();
    writer.write(&rows).unwrap();
    writer.finish().unwrap();
    let mut writer = FileWriter::try_new(File::create(&file).unwrap(), rows.schema_ref()).unwrap();
    writer.write(&rows).unwrap();
    writer.finish().unwrap();

    let session = session(&[&stream]);
    assert_eq!(session.tables(), ["data_00000_of_00001"]);
    check(&session, "SELECT count(prompt) AS n, sum(n) AS s FROM data_00000_of_00001", "n,s\n4,12\n");
    check(&session, &format!("SELECT * FROM '{}' WHERE n > 1", file.display()), "prompt,n\n,2\nc,3\n");
}

#[test]
fn a_damaged_arrow_file_is_named() {
    let folder = folder();
    let rows = rows();
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, rows.schema_ref()).unwrap();
    writer.write(&rows).unwrap();
    writer.finish().unwrap();
    drop(writer);
    let mut session = Session::new().unwrap();
    let error = session.register(&file(&folder, "none.arrow", b"")).unwrap_err();
    assert!(chain(&error).contains("none.arrow"), "{}", chain(&error));
    let error = session.register(&file(&folder, "noise.arrow", b"not an arrow file at all")).unwrap_err();
    assert!(chain(&error).contains("noise.arrow"), "{}", chain(&error));
    // The schema is whole, the rows are not.
    session.register(&file(&folder, "torn.arrow", &bytes[..bytes.len() - 40])).unwrap();
    let error = failure(&session, "SELECT * FROM torn");
    assert!(chain(&error).contains("torn.arrow"), "{}", chain(&error));
}

#[test]
fn a_query_that_is_stopped_leaves_a_session_that_answers() {
    let interrupt = Interrupt::default();
    let session = Session::with(Resources { interrupt: interrupt.clone(), ..Resources::default() }).unwrap();
    let endless = "SELECT a.value FROM generate_series(1, 1000000) AS a CROSS JOIN generate_series(1, 1000000) AS b";
    let mut rows = session.execute(session.parse(endless).unwrap().pop_front().unwrap()).unwrap();
    assert!(rows.next().unwrap().unwrap().num_rows() > 0);
    interrupt.set();
    assert!(matches!(rows.next(), Some(Err(QueryError::Interrupted))));
    drop(rows);
    assert!(matches!(failure(&session, "SELECT 1"), QueryError::Interrupted));
    interrupt.clear();
    check(&session, "SELECT 1 AS a", "a\n1\n");
}

/// Two columns of two million numbers are 32 MB.
#[test]
fn a_sort_beyond_the_limit_goes_to_disk() {
    let session = limited(16 << 20);
    let sql = "SELECT value AS v, -value AS w FROM generate_series(1, 2000000) ORDER BY w";
    let rows = answer(&session, sql, Format::Csv);
    assert_eq!(rows.lines().count(), 2_000_001);
    assert!(rows.starts_with("v,w\n2000000,-2000000\n1999999,-1999999\n"));
    let plan = answer(&session, &format!("EXPLAIN ANALYZE {sql}"), Format::Ndjson);
    assert!(plan.contains("spill_count=") && !plan.contains("spill_count=0"), "{plan}");
}

#[test]
fn what_cannot_go_to_disk_names_the_limit() {
    let error = failure(&limited(16 << 20), "SELECT mad(value) FROM generate_series(1, 4000000)");
    assert!(error.hint().unwrap_or_default().contains("--memory-limit"), "{}", chain(&error));
    // Rows that double with each step of a recursion, and texts of all rows in one.
    let limited = limited(64 << 20);
    for sql in [
        "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT r.i FROM r CROSS JOIN (VALUES (1), (2)) AS t(j)) \
         SELECT count(*) FROM r",
        "SELECT length(string_agg(repeat('x', 1000), '')) FROM generate_series(1, 10000000)",
        "SELECT array_length(array_agg(a.value)) FROM generate_series(1, 10000) AS a CROSS JOIN generate_series(1, 10000) AS b",
    ] {
        let error = failure(&limited, sql);
        assert!(error.hint().unwrap_or_default().contains("--memory-limit"), "{sql}: {}", chain(&error));
    }
}
