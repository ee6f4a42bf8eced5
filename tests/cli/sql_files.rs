//! `sql` and files: which it reads, which it writes, and which nothing can make it write.

use std::fs;

use crate::support::Case;

fn table() -> Case {
    let pairs = "{\"prompt\": \"Is it?\", \"chosen\": \" Yes.\", \"rejected\": \" No.\", \"judge\": {\"chosen\": {\"score\": 9}}}\n";
    let case = Case::new().file("pairs.jsonl", pairs);
    let model = format!("{}/fixtures/tiny", env!("CARGO_MANIFEST_DIR"));
    case.run(["precompute", "--model", &model, "--data", "pairs.jsonl", "--out", "t"]).success();
    case
}

#[track_caller]
fn rows(case: &Case, sql: &str, want: &str) {
    let outcome = case.run(["sql", "-c", sql, "--format", "csv"]).success();
    assert_eq!(outcome.stdout, want, "{sql}");
}

#[track_caller]
fn refused(case: &Case, arguments: &[&str], parts: &[&str]) {
    let outcome = case.run(arguments.iter().copied());
    assert_ne!(outcome.code, Some(0), "{arguments:?}: {outcome}");
    for part in parts {
        assert!(outcome.stderr.contains(part), "{arguments:?}: expected `{part}` in {outcome}");
    }
}

#[test]
fn a_file_has_the_format_of_its_extension_and_all_of_the_rows() {
    let case = Case::new();
    let long = "x".repeat(300);
    let sql = format!("SELECT 1 AS a, '{long}' AS t");
    for (name, want) in [
        ("o.csv", format!("a,t\n1,{long}\n")),
        ("o.tsv", format!("a\tt\n1\t{long}\n")),
        ("o.json", format!("[\n{{\"a\":1,\"t\":\"{long}\"}}\n]\n")),
        ("o.jsonl", format!("{{\"a\":1,\"t\":\"{long}\"}}\n")),
        ("o.md", format!("| a | t |\n| --- | --- |\n| 1 | {long} |\n")),
    ] {
        case.run(["sql", "-c", &sql, "-o", name]).success();
        assert_eq!(fs::read_to_string(case.path().join(name)).unwrap(), want, "{name}");
        rows(&case, "SELECT count(*) AS n FROM range(1, 2)", "n\n1\n");
    }
    case.run(["sql", "-c", &sql, "-o", "o.txt"]).success();
    assert!(fs::read_to_string(case.path().join("o.txt")).unwrap().contains(&long));
    for name in ["o.parquet", "o.arrow"] {
        case.run(["sql", "-c", &sql, "-o", name]).success();
        rows(&case, &format!("SELECT a, length(t) AS n, arrow_typeof(a) AS ty FROM '{name}'"), "a,n,ty\n1,300,Int64\n");
    }
    // An earlier answer is replaced.
    case.run(["sql", "-c", "SELECT 2 AS b", "-o", "o.csv"]).success();
    assert_eq!(fs::read_to_string(case.path().join("o.csv")).unwrap(), "b\n2\n");
    refused(
        &case,
        &["sql", "-c", "SELECT 1", "-o", "o.csv", "--format", "json"],
        &["its extension says CSV", "hint: leave out"],
    );
    refused(&case, &["sql", "-c", "SELECT 1", "-o", "o.xlsx"], &["cannot tell the format of `o.xlsx`"]);
    refused(&case, &["sql", "-c", "SELECT 1; SELECT 2", "-o", "two.json"], &["a file of JSON holds one"]);
    refused(&case, &["sql", "-c", "SELECT 1", "--format", "parquet"], &["expected `-o FILE`"]);
    assert!(!case.path().join("two.json").exists());
}

#[test]
fn no_statement_writes_into_a_table_a_run_a_model_or_a_file_that_is_there() {
    let case = table()
        .file("run/plan.toml", "")
        .file("run/train/metrics.jsonl", "")
        .file("model/config.json", "{}")
        .file("model/tokenizer.json", "{}")
        .file("mine.csv", "a\n1\n")
        .file("notes.yaml", "a: 1\n");
    let before = files(&case);
    for target in [
        "t/part-00000.parquet",
        "t/new.parquet",
        "t/references/x.csv",
        "./t/../t/manifest.json",
        "run/new.csv",
        "run/train/metrics.jsonl",
        "model/new.csv",
        "mine.csv",
        "s3://b/k.csv",
        "t",
    ] {
        let sql = format!("COPY (SELECT 1 AS x) TO '{target}' STORED AS CSV");
        refused(&case, &["sql", "-c", &sql], &["cannot write"]);
    }
    let at = case.path().join("t/part-00000.parquet");
    refused(
        &case,
        &["sql", "-c", &format!("COPY (SELECT 1 AS x) TO 'file://{}'", at.display())],
        &["a log-prob table"],
    );
    for (arguments, part) in [
        (&["sql", "-c", "SELECT 1", "-o", "t/part-00000.parquet"][..], "inside a log-prob table"),
        (&["sql", "-c", "SELECT 1", "-o", "run/train/metrics.jsonl"], "inside a run folder"),
        (&["sql", "-c", "SELECT 1", "-o", "model/config.json"], "inside a model folder"),
        (&["sql", "-c", "SELECT a FROM 'mine.csv'", "-o", "mine.csv"], "it is read here"),
        (&["sql", "mine.csv", "-c", "SELECT 1", "-o", "./mine.csv"], "it is read here"),
        (&["sql", "-c", "SELECT * FROM './'", "-o", "mine.csv"], "`./`"),
        (&["sql", "-c", "SELECT 1", "-o", "notes.yaml", "--format", "csv"], "its extension is none of rows"),
        (&["sql", "-c", "COPY (SELECT 1) TO '/dev/null' STORED AS CSV"], "it exists already"),
    ] {
        refused(&case, arguments, &[part]);
    }
    for sql in [
        "INSERT INTO pairs SELECT * FROM pairs",
        "DELETE FROM pairs",
        "UPDATE pairs SET split = 'x'",
        "TRUNCATE TABLE pairs",
        "DROP TABLE pairs",
        "DROP VIEW scored",
        "CREATE OR REPLACE VIEW scored AS SELECT 1 AS a",
        "CREATE OR REPLACE TABLE pairs AS SELECT 1 AS a",
        "CREATE VIEW \"mine.csv\" AS SELECT 2 AS a",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION 'mine.csv'",
        "CREATE SCHEMA s",
        "EXPLAIN ANALYZE COPY (SELECT 1 AS x) TO 'new.csv'",
        "PREPARE p AS INSERT INTO pairs SELECT * FROM pairs",
        "SET datafusion.runtime.memory_limit = '1G'",
        "SET datafusion.catalog.information_schema = false",
        "COPY pairs TO 'new/' PARTITIONED BY (split)",
    ] {
        let outcome = case.run(["sql", "t", "-c", sql]);
        assert_eq!(outcome.code, Some(1), "{sql}: {outcome}");
    }
    assert_eq!(files(&case), before);
    case.run(["verify", "t"]).success();
}

#[test]
fn a_new_file_by_copy_is_written_whole_and_once() {
    let case = table();
    let sql = "COPY (SELECT pair_id FROM pairs) TO 'new.csv'; COPY pairs TO 'new.parquet'; COPY (SELECT 1 AS a) TO 'n.jsonl' STORED AS JSON";
    let outcome = case.run(["sql", "t", "-c", sql, "--format", "csv"]).success();
    assert_eq!(outcome.stdout, "count\n1\ncount\n1\ncount\n1\n");
    rows(&case, "SELECT count(*) AS n FROM 'new.parquet'", "n\n1\n");
    assert_eq!(fs::read_to_string(case.path().join("n.jsonl")).unwrap(), "{\"a\":1}\n");
    refused(&case, &["sql", "t", "-c", "COPY pairs TO 'new.csv'"], &["it exists already"]);
    refused(&case, &["sql", "-c", "COPY (SELECT 1 AS a) TO 'b.csv' STORED AS PARQUET"], &["its extension says CSV"]);
    // What is a session's own may change.
    let sql = "CREATE TABLE m AS SELECT 1 AS a; INSERT INTO m VALUES (2); CREATE OR REPLACE VIEW v AS SELECT sum(a) AS s FROM m; \
               SELECT * FROM v; DROP TABLE m";
    let outcome = case.run(["sql", "t", "-c", sql, "--format", "csv"]).success();
    assert!(outcome.stdout.ends_with("s\n3\n"), "{outcome}");
}

fn files(case: &Case) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    crate::support::stages::files(case.path())
}

#[test]
fn folders_patterns_and_urls_are_tables() {
    let case = Case::new()
        .file("d/p1.jsonl", "{\"a\": 1, \"b\": \"x\"}\n")
        .file("d/p2.jsonl", "{\"a\": 2.5}\n")
        .file("d/._p3.jsonl", "no rows")
        .file("c/1.csv", "a,b\n1,x\n")
        .file("c/2.csv", "a,b\n2,y\n")
        .file("other/1.csv", "a,b\n1,x\n")
        .file("other/2.csv", "b,a\n2,y\n")
        .file("mixed/1.csv", "a\n1\n")
        .file("mixed/2.jsonl", "{\"a\": 1}\n")
        .file("x[1].csv", "a\n7\n")
        .file("f/train.jsonl", "{\"a\": 1}\n")
        .file("g/train.jsonl", "{\"a\": 2}\n");
    for from in ["d/*.jsonl", "d/p?.jsonl", "d/p[12].jsonl", "d/", "./d"] {
        rows(&case, &format!("SELECT a, b FROM '{from}' ORDER BY a"), "a,b\n1.0,x\n2.5,\n");
    }
    rows(&case, "SELECT sum(a) AS s FROM 'c/*.csv'", "s\n3\n");
    rows(&case, "SELECT a FROM 'x[1].csv'", "a\n7\n");
    let url = format!("file://{}/c/1.csv", case.path().display());
    rows(&case, &format!("SELECT a FROM '{url}'"), "a\n1\n");
    let outcome =
        case.run(["sql", "d/p*.jsonl", "c", "-c", "SELECT count(*) AS n FROM p", "--format", "csv"]).success();
    assert_eq!(outcome.stdout, "n\n2\n");
    for (sql, part) in [
        ("SELECT * FROM 'other/'", "expected the header `a,b` of the files before, found `b,a`"),
        ("SELECT * FROM 'mixed/'", "its files are of several kinds"),
        ("SELECT * FROM 'd/*.csv'", "the pattern matches no file"),
        ("SELECT * FROM 'd'", "hint: `FROM './d'` reads"),
        ("SELECT * FROM 'file:///nope/x.csv'", "`/nope/x.csv` does not exist"),
        ("SELECT * FROM 'https://h/x.csv'", "unknown scheme `https`"),
    ] {
        refused(&case, &["sql", "-c", sql], &[part]);
    }
    refused(
        &case,
        &["sql", "f/train.jsonl", "g/train.jsonl", "-c", "SELECT 1"],
        &["hint: `--table NAME=g/train.jsonl`"],
    );
}

#[test]
fn values_of_text_files_keep_what_is_written() {
    let case = Case::new()
        .file("big.jsonl", "{\"x\": 9223372036854775808}\n{\"x\": -1}\n{\"x\": 1180591620717411303424}\n")
        .file("late.jsonl", &format!("{}{{\"x\": 1.5}}\n", "{\"x\": 7}\n".repeat(5000)))
        .file("zip.csv", "zip,big\n01234,18446744073709551615\n98765,1\n")
        .file("semi.csv", "a;b\n1;x,y\n2;z\n")
        .file("tab.csv", "a\tb\n1\tx\n")
        .file("bom.csv", "\u{feff}\"id\",name\n1,Ann\n")
        .file("bom.jsonl", "\u{feff}{\"id\": 1}\n")
        .file("bom.json", "\u{feff}[{\"id\": 1}]")
        .file("null.csv", "a,b\n1,\n2,\n")
        .file("null.jsonl", "{\"a\": null, \"b\": 1}\n")
        .file("cr.csv", "a,b\r\n1,\"x\r\ny\"\r\n")
        .file("pandas.csv", ",a\n0,5\n");
    rows(&case, "SELECT x FROM 'big.jsonl' ORDER BY x DESC", "x\n1180591620717411303424\n9223372036854775808\n-1\n");
    rows(&case, "SELECT max(x) AS m, sum(x) AS s FROM 'late.jsonl'", "m,s\n7.0,35001.5\n");
    rows(&case, "SELECT * FROM 'zip.csv' ORDER BY zip", "zip,big\n01234,18446744073709551615\n98765,1\n");
    rows(&case, "SELECT sum(a) AS a, max(b) AS b FROM 'semi.csv'", "a,b\n3,z\n");
    rows(&case, "SELECT a, b FROM 'tab.csv'", "a,b\n1,x\n");
    for file in ["bom.csv", "bom.jsonl", "bom.json"] {
        rows(&case, &format!("SELECT id FROM '{file}'"), "id\n1\n");
    }
    rows(&case, "SELECT count(*) AS n FROM 'null.csv' WHERE b = 'x' OR upper(b) = 'X'", "n\n0\n");
    rows(&case, "SELECT count(*) AS n, sum(coalesce(a, 5)) AS s FROM 'null.jsonl' WHERE a IS NULL", "n,s\n1,5\n");
    case.run(["sql", "-c", "SELECT * FROM 'null.jsonl'", "-o", "null.parquet"]).success();
    rows(&case, "SELECT a IS NULL AS a, b FROM 'null.parquet'", "a,b\ntrue,1\n");
    rows(&case, "SELECT length(b) AS n FROM 'cr.csv'", "n\n4\n");
    rows(&case, "SELECT column1, a FROM 'pandas.csv'", "column1,a\n0,5\n");
}

#[test]
fn a_data_file_where_a_table_belongs_is_told_which_command_takes_it() {
    let case = Case::new()
        .file("p.jsonl", "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n")
        .file("p.csv", "prompt,chosen,rejected\na,b,c\n")
        .file("my pairs.json", "[]")
        .file("m.gguf", "GGUF")
        .file("folder/p.jsonl", "{}\n")
        .file("model/config.json", "{}")
        .file("part-00000.parquet", "no part of a table");
    case.run(["sql", "-c", "SELECT 'a' AS prompt", "-o", "p.parquet"]).success();
    let model = format!("{}/fixtures/tiny", env!("CARGO_MANIFEST_DIR"));
    for file in ["p.jsonl", "p.csv", "p.parquet", "my pairs.json", "folder", "part-00000.parquet"] {
        for arguments in [
            &["audit", file][..],
            &["verify", file],
            &["diff", file, file],
            &["train", "--model", &model, "--table", file, "--out", "out"],
            &["eval", "--model", &model, "--table", file],
            &["export", file, "--to", "trl", "--out", "o.parquet"],
        ] {
            let outcome = case.run(arguments.iter().copied());
            assert_ne!(outcome.code, Some(0), "{arguments:?}: {outcome}");
            let said = outcome.stderr.to_lowercase();
            assert!(!said.contains("delete") && !said.contains("mv "), "{arguments:?}: {outcome}");
            let name = if file.contains(' ') { "'my pairs.json'" } else { file };
            let hint = format!("hint: `piref precompute --model MODEL --data {name} --out TABLE`");
            assert!(outcome.stderr.contains(&hint), "{arguments:?}: {outcome}");
        }
    }
    refused(&case, &["audit", "m.gguf"], &["it is a model", "piref precompute --model m.gguf"]);
    refused(&case, &["audit", "model"], &["it is a model"]);
    refused(&case, &["inspect", "p.jsonl"], &["piref sql -c \"DESCRIBE 'p.jsonl'\""]);
    assert!(case.path().join("p.jsonl").exists());
}

#[test]
fn tables_that_differ_are_an_exit_code_where_it_is_asked_for() {
    let case = table();
    let model = format!("{}/fixtures/tiny", env!("CARGO_MANIFEST_DIR"));
    fs::copy(case.path().join("pairs.jsonl"), case.path().join("same.jsonl")).unwrap();
    fs::write(
        case.path().join("other.jsonl"),
        "{\"prompt\": \"Is it?\", \"chosen\": \" Ja.\", \"rejected\": \" No.\"}\n",
    )
    .unwrap();
    for name in ["same", "other"] {
        case.run(["precompute", "--model", &model, "--data", &format!("{name}.jsonl"), "--out", name]).success();
    }
    assert_eq!(case.run(["diff", "t", "same", "--exit-code"]).code, Some(0));
    assert_eq!(case.run(["diff", "t", "other", "--exit-code"]).code, Some(1));
    assert_eq!(case.run(["diff", "t", "other"]).code, Some(0));
}

#[test]
fn flags_that_take_sql_may_begin_with_a_hyphen() {
    let case = table();
    let outcome = case.run(["sql", "-c", "-- how many\nSELECT 1 AS a", "--format", "csv"]).success();
    assert_eq!(outcome.stdout, "a\n1\n");
    let model = format!("{}/fixtures/tiny", env!("CARGO_MANIFEST_DIR"));
    let train = ["train", "--model", &model, "--table", "t", "--out", "run", "--max-steps", "1"];
    let with = |flags: [&'static str; 2]| case.run(train.iter().copied().chain(flags));
    let outcome = with(["--where", "-chosen_tokens > 0"]);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(!outcome.stderr.contains("unexpected argument"), "{outcome}");
    with(["--order-by", "-ref_margin"]).success();
    // Only a query: nothing before it runs, nothing behind it.
    refused(
        &case,
        &["train", "--model", &model, "--table", "t", "--out", "r", "--order-by", "1; COPY pairs TO 'x.csv'"],
        &["error"],
    );
    assert!(!case.path().join("x.csv").exists());
}

#[test]
fn values_in_json_text_are_found_by_their_path() {
    let case = table();
    let sql = "SELECT judge -> 'chosen' ->> 'score' AS a, json_get_int(judge, 'chosen', 'score') AS b, \
               json_extract(judge, '$.chosen.score') AS c, json_as_text(judge, 'nowhere') AS d FROM pairs";
    let outcome = case.run(["sql", "t", "-c", sql, "--format", "csv"]).success();
    assert_eq!(outcome.stdout, "a,b,c,d\n9,9,9,\n");
    rows(
        &case,
        "SELECT md5('a') = '0cc175b9c0f1b6a831c399e269772661' AS m, encode(sha256('a'), 'hex') = \
          'ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb' AS s",
        "m,s\ntrue,true\n",
    );
}

#[test]
fn times_keep_their_zone_and_nan_is_above_every_number() {
    let case = Case::new().file("t.csv", "t\n2026-07-01T23:30:00+02:00\n2026-07-02T00:30:00+02:00\n");
    rows(
        &case,
        "SELECT t, to_char(date_trunc('day', t), '%m-%d') AS day FROM 't.csv' ORDER BY t",
        "t,day\n2026-07-01T23:30:00+02:00,07-01\n2026-07-02T00:30:00+02:00,07-02\n",
    );
    let sql = "SELECT to_char(date_trunc('day', t::timestamptz AT TIME ZONE 'Europe/Berlin'), '%m-%d') AS day, \
               t::timestamptz AS utc FROM (VALUES ('2026-07-01T22:30:00Z')) AS v(t)";
    rows(&case, sql, "day,utc\n07-02,2026-07-01T22:30:00Z\n");
    let sql = "SELECT g, max(x) AS mx, min(x) AS mn FROM (VALUES (1, 'NaN'::double), (2, 'NaN'::double), (2, 1.0::double), \
               (3, 1.0::double), (3, 'NaN'::double), (4, 2.0::double)) AS t(g, x) GROUP BY g ORDER BY g";
    rows(&case, sql, "g,mx,mn\n1,NaN,NaN\n2,NaN,1.0\n3,NaN,1.0\n4,2.0,2.0\n");
}

#[test]
fn what_the_engine_would_ignore_is_refused() {
    let case = Case::new();
    for (sql, clause) in [
        ("SELECT * FROM range(0, 9) TABLESAMPLE (50 PERCENT)", "TABLESAMPLE"),
        ("SELECT * FROM (SELECT * FROM range(0, 9) TABLESAMPLE (5 ROWS)) AS t", "TABLESAMPLE"),
        ("WITH t AS (SELECT * FROM range(0, 9) TABLESAMPLE (5 ROWS)) SELECT * FROM t", "TABLESAMPLE"),
        ("SELECT * FROM range(0, 9) FOR UPDATE", "FOR UPDATE"),
        ("SELECT 1 WHERE 1 IN (SELECT 1 FROM range(0, 9) TABLESAMPLE (5 ROWS))", "TABLESAMPLE"),
    ] {
        refused(&case, &["sql", "-c", sql], &[&format!("`{clause}` is not supported")]);
    }
}

#[test]
fn the_hint_of_a_column_is_the_query_that_works() {
    let case = Case::new()
        .file("d.jsonl", "{\"userId\": 1, \"Rating\": 5, \"a b\": 2, \"x.y\": 4, \"rewards/margins\": 0.5}\n");
    for sql in [
        "SELECT userId FROM 'd.jsonl'",
        "SELECT \"userid\" FROM 'd.jsonl'",
        "SELECT d.userId FROM 'd.jsonl' AS d",
        "SELECT avg(userId) FROM 'd.jsonl' GROUP BY Rating",
        "SELECT x.y FROM 'd.jsonl'",
        "SELECT a b FROM 'd.jsonl'",
        "SELECT rewards/margins FROM 'd.jsonl'",
        "SELECT * FROM 'd.jsonl' WHERE Rating > 3 ORDER BY userId",
    ] {
        let outcome = case.run(["sql", "-c", sql]);
        assert_eq!(outcome.code, Some(1), "{outcome}");
        let hint = outcome
            .stderr
            .lines()
            .find_map(|line| line.split_once("double quotes: `"))
            .unwrap_or_else(|| panic!("{outcome}"));
        case.run(["sql", "-c", hint.1.trim_end_matches('`')]).success();
    }
}
