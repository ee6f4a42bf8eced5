//! Statements that are short and stand for much.

use std::fmt::Write;

use super::bounds::stopped;
use super::*;

const COPIES: &str = "copies of operators: expected at most 20000";

/// `WITH p0 AS (first), p1 AS (next of p0), … SELECT … FROM` the last.
fn parts(n: usize, first: &str, next: impl Fn(&str) -> String) -> String {
    let mut sql = format!("WITH p0 AS ({first})");
    for idx in 1..=n {
        write!(sql, ", p{idx} AS ({})", next(&format!("p{}", idx - 1))).unwrap();
    }
    sql
}

#[test]
fn parts_and_views_that_double_are_refused_before_they_are_planned() {
    let session = Session::new().unwrap();
    for next in [
        "SELECT * FROM @ UNION ALL SELECT * FROM @",
        "SELECT a.x FROM @ AS a, @ AS b",
        "SELECT x FROM @ WHERE x IN (SELECT x FROM @)",
        "SELECT x + (SELECT max(x) FROM @) AS x FROM @",
        "SELECT x FROM @ WHERE EXISTS (SELECT 1 FROM @)",
        "WITH y AS (SELECT * FROM @) SELECT * FROM y UNION ALL SELECT * FROM Y",
    ] {
        let sql = parts(40, "SELECT 1 AS x", |before| next.replace('@', before));
        stopped(&session, &format!("{sql} SELECT count(*) FROM p40"), COPIES);
        stopped(&session, &format!("EXPLAIN {sql} SELECT count(*) FROM p40"), COPIES);
        stopped(&session, &format!("CREATE VIEW v AS {sql} SELECT count(*) FROM p40"), COPIES);
        stopped(&session, &format!("CREATE TABLE t AS {sql} SELECT count(*) FROM p40"), COPIES);
        stopped(&session, &format!("SELECT * FROM ({sql} SELECT * FROM p40)"), COPIES);
    }
    session.query("CREATE VIEW v0 AS SELECT 1 AS x").unwrap();
    let made = (1..40).find_map(|idx| {
        let before = idx - 1;
        let sql = format!("CREATE VIEW V{idx} AS SELECT * FROM v{before} UNION ALL SELECT * FROM V{before}");
        session.query(&sql).err().map(|error| (idx, chain(&error)))
    });
    let (n_views, error) = made.unwrap();
    assert!(error.contains(COPIES) && n_views > 5, "{n_views}: {error}");
    session.query("CREATE VIEW \"Quoted\" AS SELECT * FROM v8").unwrap();
    let many = vec!["SELECT * FROM \"Quoted\""; 200].join(" UNION ALL ");
    stopped(&session, &many, COPIES);
    // Below the limit they are answered, and so is what follows.
    let eight = parts(8, "SELECT 1 AS x", |before| format!("SELECT * FROM {before} UNION ALL SELECT * FROM {before}"));
    check(&session, &format!("{eight} SELECT sum(x) AS n FROM p8"), "n\n256\n");
    check(&session, "SELECT count(*) AS n FROM v8", "n\n256\n");
}

#[test]
fn parts_that_follow_each_other_are_as_deep_as_there_are_many() {
    let session = Session::new().unwrap();
    let chain_of = |n| parts(n, "SELECT 1 AS x", |before| format!("SELECT x + 1 AS x FROM {before}"));
    stopped(&session, &format!("{} SELECT x FROM p5000", chain_of(5000)), "are in each other: expected at most 1000");
    check(&session, &format!("{} SELECT x FROM p150", chain_of(150)), "x\n151\n");
    // What is written once is no copy, however long it is.
    let all: Vec<String> = (0..30_000).map(|n| format!("-{n}")).collect();
    check(
        &session,
        &format!("SELECT count(*) AS n FROM (VALUES (-1), (1)) AS t(a) WHERE a IN ({})", all.join(",")),
        "n\n1\n",
    );
}

#[test]
fn columns_that_double_are_refused_where_a_condition_would_be_moved_to_the_first() {
    let session = Session::new().unwrap();
    let doubled = parts(60, "SELECT value AS x FROM generate_series(1, 3)", |before| {
        format!("SELECT CASE WHEN x > 5 THEN x ELSE x END AS x FROM {before}")
    });
    for rest in ["SELECT x FROM p60 WHERE x > 2", "SELECT x FROM p60 ORDER BY x DESC LIMIT 1", "SELECT max(x) FROM p60"]
    {
        stopped(&session, &format!("{doubled} {rest}"), COPIES);
    }
    // Without a condition each is worked out once.
    check(&session, &format!("{doubled} SELECT x FROM p60"), "x\n1\n2\n3\n");
}

#[test]
fn values_that_double_in_each_part_are_measured() {
    let session = Session::new().unwrap();
    let rows = "SELECT repeat('x', 1000) AS x FROM generate_series(1, 2)";
    for next in [
        "SELECT x || x AS x FROM @",
        "SELECT concat(x, x) AS x FROM @",
        "SELECT concat_ws(x, x, x) AS x FROM @",
        "SELECT replace(x, 'x', 'xx') AS x FROM @",
        "SELECT regexp_replace(x, 'x', 'xx', 'g') AS x FROM @",
        "SELECT overlay(x PLACING x FROM 1 FOR 0) AS x FROM @",
        "SELECT array_to_string([x, x], '') AS x FROM @",
        "SELECT array_to_string(array_concat([x], [x]), '') AS x FROM @",
        "SELECT repeat(x, 2) AS x FROM @",
        "SELECT string_agg(x, '') AS x FROM (SELECT * FROM @ UNION ALL SELECT * FROM @)",
    ] {
        let n = if next.contains("UNION") { 9 } else { 40 };
        let sql = parts(n, rows, |before| next.replace('@', before));
        if n == 40 {
            let sql = format!("{sql} SELECT length(x) FROM p{n}");
            let told = run(&session, &sql, Format::Csv, &mut Vec::new()).expect_err(next);
            assert!(chain(&told).contains("expected at most 268435456"), "{next}: {}", chain(&told));
        } else {
            check(&session, &format!("{sql} SELECT length(x) AS n FROM p{n}"), "n\n1024000\n");
        }
    }
    let lists = parts(40, "SELECT [value] AS x FROM generate_series(1, 2)", |before| {
        format!("SELECT array_concat(x, x) AS x FROM {before}")
    });
    stopped(&session, &format!("{lists} SELECT array_length(x) FROM p40"), "expected at most 268435456");
    let operators = lists.replace("array_concat(x, x)", "x || x");
    stopped(&session, &format!("{operators} SELECT array_length(x) FROM p40"), "expected at most 268435456");
    // Nothing is found, and nothing is put there.
    let nowhere = parts(40, rows, |before| format!("SELECT replace(x, '', 'yyyy') AS x FROM {before}"));
    check(&session, &format!("{nowhere} SELECT max(length(x)) AS n FROM p40"), "n\n1000\n");
    // In one expression.
    let chained = vec!["x"; 900].join(" || ");
    stopped(&session, &format!("SELECT length({chained}) FROM (SELECT repeat('x', 1000000) AS x)"), "268435456");
    // What is measured is called as before, and answers as before.
    check(
        &session,
        "SELECT a || 'c', concat(a, 'd'), [a, 'e'], a || NULL IS NULL AS n, [1] || [2] AS l FROM (VALUES ('b')) AS t(a)",
        "\"t.a || Utf8(\"\"c\"\")\",\"concat(t.a,Utf8(\"\"d\"\"))\",\"make_array(t.a,Utf8(\"\"e\"\"))\",n,l\nbc,bd,\"[\"\"b\"\",\"\"e\"\"]\",true,\"[1,2]\"\n",
    );
    check(
        &session,
        "SELECT a || 'c' AS k, count(*) AS n FROM (VALUES ('b'), ('b')) AS t(a) GROUP BY a || 'c'",
        "k,n\nbc,2\n",
    );
}
