//! What files and arguments hold that moves the cursor, hides, or passes for a line of ours, and what comes of it on the way
//! to a reader.

use std::fs;

use crate::support::{Case, Outcome};

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny");

/// A title of the terminal, colours, a line of advice, direction, no width, one byte of C1, separators, rubout.
const HOSTILE: &str =
    "\u{1b}]0;x\u{7}\u{1b}[31m\r\nhint: rm -rf\n  caused by: me\u{202e}\u{2066}\u{200b}\u{9b}2J\u{2028}\u{7f}";

#[track_caller]
fn is_harmless(outcome: &Outcome) {
    let hides = |c: char| {
        c.is_control() && !matches!(c, '\n' | '\t')
            || matches!(c, '\u{200b}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    for text in [&outcome.stdout, &outcome.stderr] {
        assert!(!text.chars().any(hides), "{text:?}");
        assert!(
            !text.lines().any(|line| line.starts_with("hint: rm") || line.starts_with("  caused by: me")),
            "{text}"
        );
    }
}

/// A table of pairs whose texts, ids, columns and file are hostile.
fn case() -> Case {
    let text = serde_json::Value::from(HOSTILE);
    let name = serde_json::Value::from(format!("topic{HOSTILE}"));
    let row = |i: u32| {
        format!(
            "{{\"prompt\": \"Q{i}? \", \"chosen\": {text}, \"rejected\": \"no {i}\", {name}: {text}, \"score\": {i}}}\n"
        )
    };
    let rows: String = (0..4).map(row).collect();
    let case = Case::new();
    fs::write(case.path().join(format!("{HOSTILE}.jsonl").replace('/', "")), rows).unwrap();
    case
}

fn file() -> String {
    format!("{HOSTILE}.jsonl").replace('/', "")
}

#[test]
fn nothing_of_a_file_reaches_a_reader_as_more_than_text() {
    let case = case();
    let made = case.run(["precompute", "--model", TINY, "--data", &file(), "--out", "t"]);
    is_harmless(&made);
    made.success();
    for arguments in [
        &["verify", "t"][..],
        &["verify", "t", "--model", TINY],
        &["inspect", "t"],
        &["audit", "t", "--findings", "f.parquet", "--report", "a.html", "--sarif", "a.sarif"],
        &["diff", "t", "t"],
        &["sql", "t", "-c", "SELECT * FROM pairs"],
        &["sql", "t", "-c", "SELECT source, chosen FROM pairs", "--format", "table"],
        &["sql", "t", "-c", "EXPLAIN SELECT * FROM pairs"],
        &["sql", "t", "-c", "SHOW COLUMNS FROM pairs"],
        &["train", "--model", TINY, "--table", "t", "--out", "r", "--max-steps", "1", "--check-pairs", "0"],
        &["report", "r"],
    ] {
        let outcome = case.run(arguments.iter().copied());
        is_harmless(&outcome);
        assert!(outcome.code.is_some(), "{arguments:?}: {outcome}");
    }
}

#[test]
fn nothing_of_an_argument_reaches_a_reader_as_more_than_text() {
    let case = case();
    let (file, missing) = (file(), format!("{HOSTILE}.none"));
    let query = format!("SELECT '{HOSTILE}' FROM nowhere");
    for arguments in [
        &["precompute", "--model", TINY, "--data", &missing, "--out", "t"][..],
        &["precompute", "--model", HOSTILE, "--data", &file, "--out", "t"],
        &["precompute", "--model", TINY, "--data", &file, "--out", "t", "--map", HOSTILE],
        &["precompute", HOSTILE],
        &["train", "--model", TINY, "--table", HOSTILE, "--out", "r"],
        &["inspect", &missing],
        &["verify", &missing],
        &["audit", &missing],
        &["sql", &missing, "-c", "SELECT 1"],
        &["sql", "-c", &query],
        &["sql", "-c", "SELECT 1", "--format", HOSTILE],
        &["sql", "-c", HOSTILE],
        &["export", &missing, "--to", "trl", "--out", "o"],
        &["import", &file, "--model", TINY, "--out", "i"],
        &[HOSTILE],
        &["train", "--beta", HOSTILE],
        &["sql", HOSTILE, "--format=x\nhint: rm -rf"],
    ] {
        let outcome = case.run(arguments.iter().copied());
        is_harmless(&outcome);
        assert!(outcome.code.is_some_and(|code| code != 0), "{arguments:?}: {outcome}");
    }
}

/// What goes to a file or a pipe for a program is the data.
#[test]
fn rows_for_programs_are_what_they_are() {
    let case = case();
    case.run(["precompute", "--model", TINY, "--data", &file(), "--out", "t"]).success();
    let query = ["sql", "t", "-c", "SELECT chosen FROM pairs LIMIT 1", "--format"];
    let json = case.command(query.into_iter().chain(["ndjson"])).output().unwrap();
    let row: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(row["chosen"], HOSTILE);
    let csv = case.command(query.into_iter().chain(["csv"])).output().unwrap();
    assert_eq!(String::from_utf8(csv.stdout).unwrap(), format!("chosen\n\"{HOSTILE}\"\n"));
}

/// On a screen they are safe: `script` gives the program one.
#[test]
#[cfg(target_os = "linux")]
fn rows_on_a_screen_do_not_move_its_cursor() {
    let case = case();
    case.run(["precompute", "--model", TINY, "--data", &file(), "--out", "t"]).success();
    for format in ["csv", "tsv", "json", "ndjson", "markdown", "table"] {
        let piref = case.command([]).get_program().to_string_lossy().into_owned();
        let command = format!("{piref} sql t -c 'SELECT chosen FROM pairs' --format {format}");
        let mut script = std::process::Command::new("script");
        let output = script.args(["-qec", &command, "/dev/null"]).current_dir(case.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("31m"), "{format}: {text:?}");
        let hostile = ["\u{1b}]0;", "\u{1b}[31m", "\u{202e}", "\u{9b}", "\u{7f}"];
        assert!(hostile.iter().all(|part| !text.contains(part)), "{format}: {text:?}");
    }
}
