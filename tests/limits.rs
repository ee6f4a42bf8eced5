//! A machine that gives little, and names and numbers that are unusual: everything works, or is refused by name.

use std::ffi::{OsStr, OsString};
use std::fs;

use crate::support::{Case, Outcome};

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny");

/// So many short pairs.
fn rows(n: usize) -> String {
    let row = |i: usize| format!("{{\"prompt\": \"p {i}\", \"chosen\": \"a {i}\", \"rejected\": \"b {i}\"}}\n");
    (0..n).map(row).collect()
}

#[track_caller]
fn refused(outcome: &Outcome, parts: &[&str]) {
    assert!(matches!(outcome.code, Some(1 | 2)), "{outcome}");
    assert!(parts.iter().all(|part| outcome.stderr.contains(part)), "{outcome}");
    assert!(!outcome.stderr.contains("panicked"), "{outcome}");
}

/// A table of 150 parts with signals, under 64 files at once.
#[cfg(unix)]
#[test]
fn a_table_of_more_parts_than_files_may_be_open_is_made_and_read() {
    let case = Case::new().file("pairs.jsonl", &rows(150));
    let run = |arguments: &[&str]| case.run_limited("ulimit -n 64", arguments.iter().copied()).success();
    let precompute =
        ["precompute", "--model", TINY, "--data", "pairs.jsonl", "--out", "t", "--rows-per-part", "1", "-q"];
    run(&precompute);
    run(&["verify", "t"]);
    run(&["inspect", "t"]);
    run(&["diff", "t", "t"]);
    // The engine of queries opens the files that it will read next, too: it says so where it may not.
    let sum = "SELECT count(*) AS n, sum(ref_chosen_logps) FROM pairs";
    let outcome = case.run_limited("ulimit -n 64", ["sql", "t", "-c", sum]);
    if outcome.code == Some(0) {
        assert!(outcome.stdout.contains("150"), "{outcome}");
    } else {
        refused(&outcome, &["Too many open files", "hint: `ulimit -n` shows how many files"]);
    }
    assert!(case.run(["sql", "t", "-c", sum]).success().stdout.contains("150"));
    let train =
        ["train", "--model", TINY, "--table", "t", "--out", "run", "--max-steps", "1", "--batch-size", "2", "-q"];
    run(&train);
}

/// The soft limit is a habit of shells, the hard one what a process may have.
#[cfg(target_os = "linux")]
#[test]
fn a_process_takes_the_files_it_may_have() {
    let case = Case::new().file("pairs.jsonl", &rows(1));
    // Hundreds of files at once, which the soft limit would not allow.
    let names: Vec<String> = (0..200).map(|i| format!("f{i}.jsonl")).collect();
    for name in &names {
        fs::write(case.path().join(name), rows(1)).unwrap();
    }
    let unions: Vec<String> = names.iter().map(|name| format!("SELECT prompt FROM '{name}'")).collect();
    let sql = format!("SELECT count(*) AS n FROM ({})", unions.join(" UNION ALL "));
    let outcome = case.run_limited("ulimit -S -n 40", ["sql", "-c", &sql]).success();
    assert!(outcome.stdout.contains("200"), "{outcome}");
}

#[cfg(target_os = "linux")]
#[test]
fn threads_that_cannot_be_started_are_an_error() {
    let case = Case::new().file("pairs.jsonl", &rows(3));
    let outcome = case.run_within(4000, ["--threads", "4096", "sql", "-c", "SELECT 1"]);
    let parts = ["error: cannot start the threads that compute", "unavailable", "hint: `--threads 1` starts one"];
    refused(&outcome, &parts);
}

/// Names that are no text, or more than a line of it.
#[cfg(target_os = "linux")]
#[test]
fn paths_of_any_bytes_are_read_and_written_or_refused_by_name() {
    use std::os::unix::ffi::OsStrExt as _;
    for name in [&b"a\nb"[..], b"\xffz", b"a b'c\"d", b"-x", b"\xe9t\xe9"] {
        let case = Case::new();
        let name = OsStr::from_bytes(name);
        let path = |end: &str| {
            let mut path = OsString::from("./");
            path.push(name);
            path.push(end);
            path
        };
        fs::write(case.path().join(path(".jsonl")), rows(3)).unwrap();
        let before = names(&case);
        let mut command = case.command(["precompute", "--model", TINY, "-q", "--data"]);
        let output = command.arg(path(".jsonl")).arg("--out").arg(path("")).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!stderr.contains("panicked"), "{stderr}");
        if output.status.success() {
            // What is there is under that name, and under no other.
            let made: Vec<OsString> = names(&case).into_iter().filter(|name| !before.contains(name)).collect();
            assert_eq!(made, [name], "{stderr}");
            let mut command = case.command(["verify"]);
            let verified = command.arg(path("")).output().unwrap();
            assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
        } else {
            assert!(matches!(output.status.code(), Some(1 | 2)), "{stderr}");
            assert_eq!(names(&case), before, "{stderr}");
        }
    }
}

/// What is in the folder of a case.
fn names(case: &Case) -> Vec<OsString> {
    let mut names: Vec<OsString> = fs::read_dir(case.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn numbers_above_2_to_the_63_are_read_or_refused() {
    let row = "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\", \"id\": 18446744073709551615, \
               \"score_chosen\": 9223372036854775808, \"huge\": 123456789012345678901234567890}\n";
    let case =
        Case::new().file("pairs.jsonl", &row.repeat(2)).file("p.toml", "[precompute]\nlimit = 9223372036854775808\n");
    let outcome = case.run(["precompute", "--model", TINY, "--data", "pairs.jsonl", "--out", "t", "-q"]);
    assert!(matches!(outcome.code, Some(0 | 1)) && !outcome.stderr.contains("panicked"), "{outcome}");
    let outcome = case.run(["sql", "-c", "SELECT id, huge FROM 'pairs.jsonl'"]);
    assert!(matches!(outcome.code, Some(0 | 1)) && !outcome.stderr.contains("panicked"), "{outcome}");
    if outcome.code == Some(0) {
        assert!(outcome.stdout.contains("18446744073709551615"), "{outcome}");
    }
    refused(&case.run(["precompute", "p.toml"]), &["p.toml"]);
    for flag in ["--limit", "--rows-per-part", "--max-tokens"] {
        let outcome = case.run(["precompute", "--model", TINY, "--data", "pairs.jsonl", flag, "99999999999999999999"]);
        refused(&outcome, &[flag]);
    }
}

/// A model whose sizes are numbers one by one and none together.
#[test]
fn sizes_that_multiply_to_no_number_are_refused_with_what_they_come_to() {
    let mut config: serde_json::Value =
        serde_json::from_slice(&fs::read(format!("{TINY}/config.json")).unwrap()).unwrap();
    for key in
        ["hidden_size", "intermediate_size", "vocab_size", "num_attention_heads", "num_key_value_heads", "head_dim"]
    {
        config[key] = (1 << 30).into();
    }
    let case = Case::new().file("model/config.json", &config.to_string()).file("pairs.jsonl", &rows(1));
    fs::copy(format!("{TINY}/model.safetensors"), case.path().join("model/model.safetensors")).unwrap();
    fs::copy(format!("{TINY}/tokenizer.json"), case.path().join("model/tokenizer.json")).unwrap();
    let parts = ["its sizes ask for 14855280484106699849464807424 parameters, expected at most 1125899906842624"];
    refused(&case.run(["inspect", "model"]), &parts);
    refused(&case.run(["precompute", "--model", "model", "--data", "pairs.jsonl", "--out", "t"]), &parts);
}
