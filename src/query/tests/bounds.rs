//! Files and statements of strangers: what would overflow a stack or fill the memory is an error.

use super::*;

/// What is said of a file.
#[track_caller]
fn refused(path: &Path, want: &str) {
    let mut session = Session::new().unwrap();
    let error = session.register(path).unwrap_err();
    assert!(chain(&error).contains(want), "{}", chain(&error));
}

/// What is said of a statement.
#[track_caller]
pub(super) fn stopped(session: &Session, sql: &str, want: &str) {
    let error = failure(session, sql);
    let shown: String = sql.chars().take(100).collect();
    assert!(chain(&error).contains(want), "{shown}: {}", chain(&error));
}

#[test]
fn a_row_beyond_the_limit_is_refused_in_every_kind_of_text() {
    let folder = folder();
    let long = "x".repeat(70 << 20);
    let packed = |text: String| zstd::encode_all(text.as_bytes(), 1).unwrap();
    let csv = file(&folder, "a.csv.zst", &packed(format!("a,b\n1,{long}\n")));
    refused(&csv, "a row of more than 67108864 bytes");
    let quoted = file(&folder, "b.csv.zst", &packed(format!("a,b\n1,\"{}\"\n", "x\n".repeat(35 << 20))));
    refused(&quoted, "a row of more than 67108864 bytes");
    let json = file(&folder, "a.jsonl.zst", &packed(format!("{{\"a\": \"{long}\"}}\n")));
    refused(&json, "expected at most 67108864 bytes in an object");
    let run = folder.path().join("run");
    io::create_dir(&run.join("train")).unwrap();
    io::write(&run.join("train/metrics.jsonl"), &packed(format!("{{\"schema\": \"{long}\"}}\n"))).unwrap();
    refused(&run, "expected at most 67108864 bytes in an object");
}

#[test]
fn columns_are_bounded_in_every_kind_of_file() {
    let folder = folder();
    let names: Vec<String> = (0..200_000).map(|idx| format!("c{idx}")).collect();
    refused(&file(&folder, "a.csv", names.join(",").as_bytes()), "a row of more than 4096 columns");
    let wide = format!("a,b\n{}\n", ",".repeat(200_000));
    refused(&file(&folder, "b.csv", wide.as_bytes()), "a row of more than 4096 columns");
    let members: Vec<String> = names.iter().map(|name| format!("\"{name}\":1")).collect();
    refused(&file(&folder, "a.json", format!("{{{}}}", members.join(",")).as_bytes()), "one of 4096 columns");
}

#[test]
fn statements_as_deep_as_they_are_long_are_refused_and_leave_a_session_that_answers() {
    let session = Session::new().unwrap();
    let many = |n: usize, part: &str, between: &str| vec![part; n].join(between);
    let deep = "are in each other: expected at most 1000";
    for sql in [
        format!("SELECT {}", many(8000, "1 = 1", " OR ")),
        many(3000, "SELECT 1", " UNION ALL "),
        format!("SELECT {}", many(100_000, "1", "+")),
        format!("SELECT {}1{}", many(50_000, "(", ""), many(50_000, ")", "")),
        format!("SELECT {} true", many(50_000, "NOT", " ")),
        format!("SELECT {}1{}", many(20_000, "CASE WHEN true THEN ", ""), many(20_000, " END", "")),
        format!("SELECT {}1{}", many(20_000, "abs(", ""), many(20_000, ")", "")),
        format!("SELECT * FROM {}", many(5000, "(VALUES (1))", " CROSS JOIN ")),
        format!("SELECT a{} FROM (SELECT [[1]] AS a)", many(20_000, "[1]", "")),
    ] {
        stopped(&session, &sql, deep);
    }
    // Below the limit they are answered.
    check(&session, &format!("SELECT {} AS a", many(900, "1", "+")), "a\n900\n");
    check(&session, &format!("SELECT {} AS a FROM (VALUES (1)) AS t(b)", many(900, "b", "+")), "a\n900\n");
    let either = many(450, "b = 1", " OR ");
    check(&session, &format!("SELECT count(*) AS n FROM (VALUES (1), (2)) AS t(b) WHERE {either}"), "n\n1\n");
    let all = many(300, "SELECT 1 AS a", " UNION ALL ");
    check(&session, &format!("SELECT sum(a) AS n FROM ({all})"), "n\n300\n");
}

#[test]
fn functions_that_make_much_of_little_are_measured_before_they_are_called() {
    let session = Session::new().unwrap();
    for sql in [
        "SELECT repeat('x', 2000000000)",
        "SELECT length(repeat(a, 100000)) FROM (SELECT repeat('x', value) AS a FROM generate_series(1, 5000))",
        "SELECT lpad('x', 2000000000)",
        "SELECT rpad('x', 1000000000, 'yz')",
        "SELECT array_repeat(1, 1000000000)",
        "SELECT array_repeat(repeat('x', 1000000), 1000000)",
        "SELECT array_resize([1], 1000000000)",
        "SELECT range(1, 1000000000000)",
        "SELECT generate_series(1, 1000000000000, 2)",
        "SELECT generate_series(1000000000000, 1, -1)",
        "SELECT range(TIMESTAMP '2000-01-01', TIMESTAMP '2001-01-01', INTERVAL '1 millisecond')",
        "SELECT array_to_string(range(1, 100000), repeat('x', 100000))",
        "SELECT replace(repeat('a', 100000), 'a', repeat('b', 100000))",
        "SELECT replace(repeat('a', 100000), '', repeat('b', 100000))",
        "SELECT regexp_replace(repeat('a', 100000), 'a', repeat('b', 100000), 'g')",
    ] {
        stopped(&session, sql, "expected at most 268435456");
    }
    check(&session, "SELECT repeat('ab', 2) AS a, lpad('x', 3, 'y') AS b, rpad('x', 3) AS c", "a,b,c\nabab,yyx,x  \n");
    check(&session, "SELECT range(3) AS a, generate_series(5, 1, -2) AS b", "a,b\n\"[0,1,2]\",\"[5,3,1]\"\n");
    check(
        &session,
        "SELECT replace('a-b', '-', '+') AS a, regexp_replace('a1b2', '[0-9]', '<$0>', 'g') AS b, array_repeat(1, 2) AS c",
        "a,b,c\na+b,a<1>b<2>,\"[1,1]\"\n",
    );
    check(&session, "SELECT array_to_string([1, 2], '-') AS a, array_resize([1], 2, 3) AS b", "a,b\n1-2,\"[1,3]\"\n");
    check(
        &session,
        "SELECT count(*) AS n FROM (SELECT repeat('x', value) AS a FROM generate_series(1, 1000)) WHERE length(a) > 500",
        "n\n500\n",
    );
}
