//! What becomes a table under which name, what comes out in each format, and what errors say.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::compute::concat_batches;
use tempfile::TempDir;

use super::*;
use crate::error::Hint;
use crate::io;
use crate::table::tests::{batch, provenance, write_table};
use crate::table::{Manifest, TableFolder, write_part};

mod bounds;
mod expansion;
mod false_statistics;
mod resources;
mod row_order;

fn session(paths: &[&Path]) -> Session {
    let mut session = Session::new().unwrap();
    for path in paths {
        session.register(path).unwrap();
    }
    session
}

#[track_caller]
fn answer(session: &Session, sql: &str, format: Format) -> String {
    let mut out = Vec::new();
    run(session, sql, format, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[track_caller]
fn check(session: &Session, sql: &str, expected: &str) {
    assert_eq!(answer(session, sql, Format::Csv), expected, "{sql}");
}

fn failure(session: &Session, sql: &str) -> QueryError {
    run(session, sql, Format::Csv, &mut Vec::new()).unwrap_err()
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

fn file(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    io::write(&path, bytes).unwrap();
    path
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A finished table of these pairs, in this order.
fn write_rows(folder: &Path, pairs: &[u32]) {
    let rows: Vec<RecordBatch> = pairs.iter().map(|&pair| batch(pair..pair + 1)).collect();
    let rows = concat_batches(&rows[0].schema(), &rows).unwrap();
    let mut columns = rows.columns().to_vec();
    let at = rows.schema().index_of("row_idx").unwrap();
    columns[at] = Arc::new(Int64Array::from_iter_values((0..).take(pairs.len())));
    let rows = RecordBatch::try_new(rows.schema(), columns).unwrap();
    let table = TableFolder::claim(folder).unwrap();
    let part = write_part(&table.part_path(0), &rows, &provenance()).unwrap();
    table.finish(&Manifest::new(provenance(), vec![part], None)).unwrap();
}

#[test]
fn a_table_is_pairs_scored_and_rejects() {
    let folder = folder();
    write_table(folder.path());
    let mut session = Session::new().unwrap();
    assert_eq!(session.register(folder.path()).unwrap(), ["pairs", "scored", "logps", "rejects"]);
    assert_eq!(session.tables(), ["logps", "pairs", "rejects", "scored"]);
    check(&session, "SELECT count(*) AS n FROM pairs", "n\n5\n");
    check(&session, "SELECT line, reason FROM rejects", "line,reason\n6,no `chosen`\n");
    check(
        &session,
        "SELECT avg((ref_chosen_logps > ref_rejected_logps)::int) AS accuracy FROM pairs",
        "accuracy\n0.8\n",
    );
    check(
        &session,
        "SELECT pair_id, ref_margin, ref_rejected_logps_mean, rejected_chars FROM scored ORDER BY pair_id LIMIT 2",
        "pair_id,ref_margin,ref_rejected_logps_mean,rejected_chars\npair-0,2.0,-1.25,6\npair-1,1.5,-1.25,6\n",
    );
    check(
        &session,
        "SELECT sum(score_chosen) AS s, min(metadata['source']) AS m FROM pairs",
        "s,m\n10.0,truthful_qa\n",
    );
}

#[test]
fn a_run_is_its_table_and_its_metrics() {
    let folder = folder();
    io::create_dir(&folder.path().join("train")).unwrap();
    write_table(&folder.path().join("reference"));
    file(
        &folder,
        "train/metrics.jsonl",
        b"{\"schema\": \"metrics.v1\", \"step\": 1, \"rewards/margins\": 0.0}\n\
          {\"schema\": \"metrics.v1\", \"step\": 2, \"rewards/margins\": 0.5}\n",
    );
    let mut session = Session::new().unwrap();
    assert_eq!(session.register(folder.path()).unwrap(), ["pairs", "scored", "logps", "rejects", "metrics"]);
    check(&session, r#"SELECT max("rewards/margins") AS m FROM metrics"#, "m\n0.5\n");

    let error = failure(&session, "SELECT rewards/margins FROM metrics");
    assert_eq!(
        error.hint().unwrap(),
        "names with capitals, slashes, dots or blanks need double quotes: `SELECT \"rewards/margins\" FROM metrics`"
    );
}

#[test]
fn two_tables_stand_beside_each_other_under_names() {
    let (one, two) = (folder(), folder());
    write_table(one.path());
    write_table(two.path());
    let mut session = Session::new().unwrap();
    session.register(one.path()).unwrap();
    let error = session.register(two.path()).unwrap_err();
    assert!(error.hint().unwrap().starts_with("`--table NAME="), "{error}");

    assert_eq!(
        session.register_as("Second", two.path()).unwrap(),
        ["Second", "Second_scored", "Second_logps", "Second_rejects"]
    );
    check(
        &session,
        r#"SELECT count(*) AS n FROM pairs JOIN "Second" s USING (pair_id) WHERE pairs.ref_chosen_logps = s.ref_chosen_logps"#,
        "n\n5\n",
    );
}

#[test]
fn every_layout_of_json_gives_the_same_rows() {
    let folder = folder();
    let lines = "{\"z\": 1, \"m\": {\"s\": [1, 2]}, \"t\": \"a\"}\n\n{\"z\": 2.5, \"m\": null, \"t\": 7}\n";
    let array = "\n [{\"z\": 1, \"m\": {\"s\": [1, 2]}, \"t\": \"a\"},\n{\"z\": 2.5, \"m\": null, \"t\": 7}]";
    let spread = "{\n\"z\": 1,\n\"m\": {\"s\": [1, 2]}, \"t\": \"a\"}{\"z\": 2.5, \"m\": null, \"t\": 7}";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(lines.as_bytes()).unwrap();
    let files = [
        file(&folder, "lines.jsonl", lines.as_bytes()),
        file(&folder, "array.json", array.as_bytes()),
        file(&folder, "spread.json", spread.as_bytes()),
        file(&folder, "zipped.jsonl.gz", &gzip.finish().unwrap()),
        file(&folder, "zst.ndjson.zst", &zstd::encode_all(lines.as_bytes(), 1).unwrap()),
    ];
    for path in &files {
        let session = session(&[path]);
        let sql = format!("SELECT *, m['s'][2] AS second FROM {}", session.tables()[0]);
        check(&session, &sql, "z,m,t,second\n1.0,\"{\"\"s\"\":[1,2]}\",a,2\n2.5,,7,\n");
    }
}

#[test]
fn separated_values_are_typed_and_quoted() {
    let folder = folder();
    let path = file(&folder, "my scores.csv", b"id,score,note\n1,0.5,\"a, b\"\n2,,x\n");
    check(&session(&[&path]), "SELECT sum(score) AS s, max(note) AS n FROM my_scores", "s,n\n0.5,x\n");
    let path = file(&folder, "tabs.tsv", b"id\tnote\n1\ta, b\n");
    check(&session(&[&path]), "SELECT * FROM tabs", "id,note\n1,\"a, b\"\n");
}

#[test]
fn a_path_in_quotes_is_a_table() {
    let folder = folder();
    let table = folder.path().join("it's 100% [odd]*?");
    write_table(&table);
    let session = Session::new().unwrap();
    let quoted = table.to_str().unwrap().replace('\'', "''");
    check(&session, &format!("SELECT count(*) AS n FROM '{quoted}'"), "n\n5\n");
    check(&session, &format!("SELECT count(*) AS n FROM '{quoted}/part-00001.parquet'"), "n\n2\n");
    let lines = file(&folder, "x.jsonl", b"{\"a\": 3}\n");
    check(&session, &format!("SELECT a FROM '{}'", lines.display()), "a\n3\n");
}

#[test]
fn a_limit_ends_the_reading_of_a_file() {
    let folder = folder();
    let lines: Vec<String> = (0..100_000).map(|row| format!("{{\"row\": {row}}}")).collect();
    let text = lines.join("\n");
    let session = session(&[&file(&folder, "long.jsonl", text.as_bytes())]);
    check(&session, "SELECT row FROM long LIMIT 1", "row\n0\n");
    check(&session, "SELECT count(*) AS n, max(row) AS m FROM long", "n,m\n100000,99999\n");
}

#[test]
fn statements_follow_each_other() {
    let session = Session::new().unwrap();
    check(&session, "CREATE VIEW v AS SELECT 1 AS a; SELECT a + 1 AS b FROM v; SELECT 3 AS c;", "b\n2\nc\n3\n");
    let batches = session.query("SELECT 1; SELECT 2 AS x").unwrap();
    assert_eq!(batches[0].schema().field(0).name(), "x");
}

#[test]
fn each_format_says_the_same() {
    let session = Session::new().unwrap();
    let sql = "SELECT 1 AS n, 'a|b' || chr(10) || 'c' AS t, make_array(1, NULL) AS l \
               UNION ALL SELECT NULL, 'x', NULL ORDER BY n";
    assert_eq!(answer(&session, sql, Format::Csv), "n,t,l\n1,\"a|b\nc\",\"[1,null]\"\n,x,\n");
    assert_eq!(
        answer(&session, sql, Format::Ndjson),
        "{\"n\":1,\"t\":\"a|b\\nc\",\"l\":[1,null]}\n{\"n\":null,\"t\":\"x\",\"l\":null}\n"
    );
    assert_eq!(
        answer(&session, sql, Format::Json),
        "[\n{\"n\":1,\"t\":\"a|b\\nc\",\"l\":[1,null]},\n{\"n\":null,\"t\":\"x\",\"l\":null}\n]\n"
    );
    assert_eq!(
        answer(&session, sql, Format::Markdown),
        "| n | t | l |\n| --- | --- | --- |\n| 1 | a\\|b<br>c | [1,null] |\n|  | x |  |\n"
    );
    assert_eq!(
        answer(&session, sql, Format::Table),
        "\
+------+--------+----------+
| n    | t      | l        |
+------+--------+----------+
| 1    | a|b\\nc | [1,null] |
| NULL | x      | NULL     |
+------+--------+----------+
"
    );
}

#[test]
fn no_rows_are_no_error_in_any_format() {
    let session = Session::new().unwrap();
    let sql = "SELECT 1 AS a, [1] AS b WHERE false";
    for (format, expected) in [
        (Format::Csv, "a,b\n"),
        (Format::Ndjson, ""),
        (Format::Json, "[]\n"),
        (Format::Markdown, "| a | b |\n| --- | --- |\n"),
        (Format::Table, "+---+---+\n| a | b |\n+---+---+\n+---+---+\n"),
    ] {
        assert_eq!(answer(&session, sql, format), expected, "{format:?}");
    }
}

#[test]
fn many_batches_are_one_array_and_one_header() {
    let session = Session::new().unwrap();
    let sql = "SELECT value AS v FROM generate_series(1, 20000)";
    let json: Vec<serde_json::Value> = serde_json::from_str(&answer(&session, sql, Format::Json)).unwrap();
    assert_eq!(json.len(), 20_000);
    assert_eq!(answer(&session, sql, Format::Csv).lines().count(), 20_001);
    assert!(answer(&session, sql, Format::Table).lines().count() > 20_000);
}

#[test]
fn a_terminal_sees_no_control_characters_and_no_endless_cell() {
    let session = Session::new().unwrap();
    let sql = "SELECT chr(27) || '[31m' || repeat('é', 100) AS t FROM generate_series(1, 5)";
    let mut out = Vec::new();
    let form = Form { format: Format::Table, cells: Cells::Cut, max_rows: Some(2) };
    run_each(&session, sql, Sink::Stream(&mut out, form), &mut |answered| {
        assert_eq!((answered.n_rows, answered.n_left_out), (5, 3));
    })
    .unwrap();
    let table = String::from_utf8(out).unwrap();
    assert!(table.contains("(2 of 5 rows shown, 3 left out: `--max-rows 0`"), "{table}");
    let whole = answer(&session, sql, Format::Table);
    assert!(whole.contains(&"é".repeat(100)) && !whole.contains("left out"), "{whole}");
    assert!(table.contains("␛[31m") && table.contains('…'), "{table}");
    assert!(table.lines().all(|line| line.chars().count() < 110), "{table}");
}

#[test]
fn a_reader_that_has_gone_is_told_apart() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let session = Session::new().unwrap();
    for format in [Format::Table, Format::Csv, Format::Json, Format::Ndjson, Format::Markdown] {
        let error = run(&session, "SELECT 1", format, &mut Closed).unwrap_err();
        assert!(error.is_closed_pipe(), "{format:?}");
    }
    assert!(!failure(&session, "SELECT nothing").is_closed_pipe());
}

#[test]
fn an_unknown_table_or_column_names_its_neighbour() {
    let folder = folder();
    write_table(folder.path());
    let session = session(&[folder.path()]);
    let hint = |sql: &str| failure(&session, sql).hint().unwrap_or_default();
    assert_eq!(hint("SELECT * FROM pair"), "did you mean `pairs`?");
    assert_eq!(hint("SELECT * FROM nonsense"), "there are `logps`, `pairs`, `rejects`, `scored`");
    assert_eq!(hint("SELECT ref_chosen_logp FROM pairs"), "did you mean `ref_chosen_logps`?");
    assert_eq!(hint("SELECT * FROM 'no/such/file.parquet'"), "as a path, `no/such/file.parquet` leads nowhere");
    let error = failure(&session, "SELEC 1");
    assert!(chain(&error).contains("SELEC"), "{}", chain(&error));
}

#[test]
fn a_path_that_is_nothing_we_read_is_named() {
    let folder = folder();
    let mut session = Session::new().unwrap();
    let mut error = |path: &Path| session.register(path).unwrap_err().to_string();
    assert!(error(&folder.path().join("gone.jsonl")).contains("does not exist"));
    assert!(error(folder.path()).contains("neither a log-prob table nor a run folder"));
    assert!(error(&file(&folder, "w.safetensors", b"x")).contains("none of the known extensions: .parquet, .jsonl"));
}

#[test]
fn damaged_files_are_named_with_the_place() {
    let folder = folder();
    let mut session = Session::new().unwrap();
    let mut check = |name: &str, bytes: &[u8], expected: &str| {
        let error = session.register(&file(&folder, name, bytes)).unwrap_err();
        let message = chain(&error);
        assert!(message.contains(name) && message.contains(expected), "{message}");
    };
    check("torn.parquet", b"PAR1 torn PAR1", "torn");
    check("torn.jsonl", b"{\"a\": 1}\n{\"a\": \n", "the object that begins in line 2");
    check("list.jsonl", b"{\"a\": 1}\n17\n", "line 2: expected a JSON object, found a number");
    check(
        "mixed.jsonl",
        b"{\"a\": 1}\n{\"a\": [1]}\n",
        "line 2: expected `a` to be a scalar as in the rows before, found a list",
    );
    check("torn.json", b"[{\"a\": 1}, ", "found an end of the file");
    check("torn.jsonl.gz", b"\x1f\x8b\x08\x00garbage", "torn.jsonl.gz");
    check("ragged.csv", b"a,b\n1\n2,3,4\n", "line 2: expected 2 fields as in the header, found 1");
    check("twice.csv", b"a,a\n1,2\n", "line 1: expected the name `a` once, found it as column 1 and 2");
    check(
        "twice.jsonl",
        b"{\"a\": 1}\n{\"a\": 1, \"a\": 2}\n",
        "line 2: expected `a` to be there once, found it twice",
    );
    check("word.jsonl", b"{\"a\": None}\n", "line 1");
    check("utf16.csv", b"\xff\xfea\x00\n\x00", "it is UTF-16");
    check("latin.csv", b"a\nM\xfcller\n", "a wrong byte in the row of line 2");
}

#[test]
fn an_unfinished_table_is_refused() {
    let folder = folder();
    write_table(folder.path());
    io::remove(&folder.path().join("manifest.json")).unwrap();
    let error = Session::new().unwrap().register(folder.path()).unwrap_err();
    assert!(error.hint().unwrap().contains("precompute` again"), "{error}");
}

/// Pair 1 twice in the data, and a further reference that has its pairs in another order, one more and one less.
#[test]
fn references_stand_beside_each_other_pair_by_pair() {
    let folder = folder();
    write_rows(folder.path(), &[0, 1, 2, 1]);
    let further = folder.path().join("references/My-Model.2");
    write_rows(&further, &[7, 1, 0, 1, 1]);
    let mut session = Session::new().unwrap();
    assert_eq!(
        session.register(folder.path()).unwrap(),
        ["pairs", "scored", "logps", "pairs_my_model_2", "by_reference"]
    );
    check(
        &session,
        "SELECT pair_id, row_idx, chosen_tokens, ref_margin, my_model_2_chosen_logps, my_model_2_margin, \
         my_model_2_rejected_tokens FROM by_reference ORDER BY row_idx",
        "pair_id,row_idx,chosen_tokens,ref_margin,my_model_2_chosen_logps,my_model_2_margin,my_model_2_rejected_tokens\n\
         pair-0,0,1,2.0,-0.5,2.0,2\npair-1,1,2,1.5,-1.0,1.5,2\npair-2,2,3,1.0,,,\npair-1,3,2,1.5,-1.0,1.5,2\n",
    );
    check(
        &session,
        "SELECT max(abs(my_model_2_chosen_logps - ref_chosen_logps)) AS drift, count(*) AS n, \
         count(my_model_2_margin) AS n_both FROM by_reference",
        "drift,n,n_both\n0.0,4,3\n",
    );

    let named = session.register_as("t", folder.path()).unwrap();
    assert_eq!(named, ["t", "t_scored", "t_logps", "t_my_model_2", "t_by_reference"]);
}

#[test]
fn a_reference_whose_columns_would_be_the_tables_own_is_refused() {
    let folder = folder();
    write_rows(folder.path(), &[0]);
    write_rows(&folder.path().join("references/REF"), &[0]);
    let error = Session::new().unwrap().register(folder.path()).unwrap_err();
    assert!(error.to_string().contains("reference `REF` of table"), "{error}");
}

#[test]
fn two_references_that_are_the_same_in_sql_are_refused() {
    let folder = folder();
    for name in ["", "references/a-b", "references/a_b"] {
        write_rows(&folder.path().join(name), &[0]);
    }
    let error = Session::new().unwrap().register(folder.path()).unwrap_err();
    assert!(error.to_string().ends_with("is `a_b` in SQL, and so is reference `a_b`"), "{error}");
}

/// Python's `json` writes floats that are no numbers as words.
#[test]
fn words_for_what_is_no_number_are_floats() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scores.jsonl");
    io::write(
        &path,
        b"{\"a\": NaN, \"t\": \"NaN\", \"l\": [1, -Infinity]}\n{\"a\": 2, \"t\": \"\\\" Infinity\", \"l\": []}\n",
    )
    .unwrap();
    let mut session = Session::new().unwrap();
    session.register(&path).unwrap();
    assert_eq!(
        answer(&session, "SELECT a, t, l[2] AS l, arrow_typeof(a) AS y FROM scores ORDER BY a", Format::Csv),
        "a,t,l,y\n2.0,\"\"\" Infinity\",,Float64\nNaN,NaN,-inf,Float64\n"
    );
}

/// Whatever a data set calls `ref_margin`, `scored` has what the reference said, and the data's beside it.
#[test]
fn columns_of_the_data_stand_in_for_none_that_is_computed() {
    let session = Session::new().unwrap();
    session
        .query(
            "CREATE TABLE pairs AS SELECT -1.0 AS ref_chosen_logps, -3.0 AS ref_rejected_logps, 1 AS chosen_tokens, \
             2 AS rejected_tokens, 'a' AS prompt, 'b' AS chosen, 'c' AS rejected, 99 AS ref_margin, \
             98 AS ref_margin_in_data, 97 AS ref_ches",
        )
        .unwrap();
    let schema = session.query("SELECT * FROM pairs").unwrap()[0].schema();
    session.query(&views::scored("scored", "pairs", &schema, None)).unwrap();
    check(
        &session,
        "SELECT ref_margin, ref_margin_in_data, ref_margin_in_data_in_data AS moved, ref_ches_in_data FROM scored",
        "ref_margin,ref_margin_in_data,moved,ref_ches_in_data\n2.0,98,99,97\n",
    );
    // Without signals there is none, and the data's is not taken for it.
    failure(&session, "SELECT ref_ches FROM scored");
}

#[test]
fn what_is_another_thing_each_time_selects_nothing() {
    let session = Session::new().unwrap();
    for sql in ["SELECT random()", "SELECT 1 WHERE now() > '2020-01-01'", "SELECT 1 WHERE 'x' IN (SELECT uuid())"] {
        let error = session.read(sql).err().unwrap();
        assert!(error.to_string().contains("answers differently each time"), "{sql}: {error}");
    }
    assert!(session.read("SELECT abs(-1), lower('A')").is_ok());
}
