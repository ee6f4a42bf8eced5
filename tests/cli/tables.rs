//! `verify`, `inspect` and `diff`: what they print and how they end.

use std::fs;

use insta::assert_snapshot;
use serde_json::Value;

use crate::support::{Case, Outcome};

const PAIRS: &str = "{\"prompt\": \"Is it?\", \"chosen\": \" Yes.\", \"rejected\": \" No.\"}\n\
                     {\"prompt\": \"Is it not?\", \"chosen\": \" No.\", \"rejected\": \" Yes, it is.\"}\n";

fn model() -> String {
    format!("{}/fixtures/tiny", env!("CARGO_MANIFEST_DIR"))
}

/// A table of two pairs under each name.
fn with_tables(names: &[&str]) -> Case {
    let case = Case::new().file("pairs.jsonl", PAIRS);
    for name in names {
        precompute(&case, name, &[]);
    }
    case
}

fn precompute(case: &Case, name: &str, more: &[&str]) {
    let model = model();
    let arguments = ["precompute", "--model", &model, "--data", "pairs.jsonl", "--out", name];
    case.run(arguments.into_iter().chain(more.iter().copied())).success();
}

/// The answer without what differs from run to run.
fn shown(outcome: &Outcome) -> String {
    outcome.to_string().replace(" in 1 s: ", " in 0 s: ")
}

#[test]
fn a_clean_table_is_verified() {
    let case = with_tables(&["table"]);
    assert_snapshot!(shown(&case.run(["verify", "table"])), @"
    exit: 0
    stdout:
    read `table` in 0 s: parts 1, pairs 2, rejected rows 0
    nothing found
    stderr:
    ");
    let model = model();
    let outcome =
        case.run(["verify", "table", "--model", &model, "--data", "pairs.jsonl", "--output-format", "json"]).success();
    let answer: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((&answer["findings"], &answer["summary"]["n_pairs"]), (&Value::Array(vec![]), &2.into()));
    assert_eq!(answer["summary"]["rescored"]["n_pairs"], 2);
}

#[test]
fn damage_is_told_line_by_line_and_kept_as_findings() {
    let case = with_tables(&["table"]);
    let path = case.path().join("table/manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"n_rejected\": 0", "\"n_rejected\": 3").replace("\"rows\": 2", "\"rows\": 4"))
        .unwrap();
    let arguments = ["verify", "table", "--findings", "findings.parquet"];
    assert_snapshot!(shown(&case.run(arguments)), @"
    exit: 1
    stdout:
    error  manifest    manifest `table/manifest.json`: expected `n_pairs` to be 4, found 2
    error  manifest    manifest `table/manifest.json`: expected `n_rejected` to be 0, found 3
    error  provenance  `table/part-00000.parquet` was scored with another `sources`: expected `pairs.jsonl: rows 4`, found `pairs.jsonl: rows 2`
    error  files       `table/part-00000.parquet` is not the file that the manifest lists: expected rows 4, found 2
    error  files       `table/signals-00000.parquet` is not the file that the manifest lists: expected rows 4, found 2
    error  missing     expected rows 2 to 3 of `pairs.jsonl` in a part or in the rejects, found no such key
    read `table` in 0 s: parts 1, pairs 2, rejected rows 0
    errors 6, warnings 0
    stderr:

    hint: `mv table/part-00000.parquet table/part-00000.parquet.damaged` and run the same `piref precompute` again: only its pairs are scored
    hint: `mv table/signals-00000.parquet table/signals-00000.parquet.damaged` and run the same `piref precompute` again: the table goes on without these signals
    ");

    let query = "SELECT \"check\", count(*) AS n FROM findings GROUP BY 1 ORDER BY 1";
    let rows = case.run(["sql", "findings.parquet", "-c", query, "--format", "csv"]).success();
    let json = case.run(arguments.into_iter().chain(["--output-format", "json"]));
    assert_eq!(json.code, Some(1), "{json}");
    let answer: Value = serde_json::from_str(&json.stdout).unwrap();
    let mut counts = std::collections::BTreeMap::new();
    for finding in answer["findings"].as_array().unwrap() {
        *counts.entry(finding["check"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    let counts: String = counts.iter().map(|(check, n)| [check, ",", &n.to_string(), "\n"].concat()).collect();
    assert_eq!(rows.stdout, format!("check,n\n{counts}"));
}

#[test]
fn a_model_that_is_not_there_is_wrong_usage() {
    let case = with_tables(&["table"]);
    assert_eq!(case.run(["verify", "table", "--model", "nobody/no-model"]).code, Some(2));
    let sample = case.run(["verify", "table", "--sample", "3"]);
    assert_eq!(sample.code, Some(2), "{sample}");
    let missing = case.run(["verify", "nothing", "--output-format", "json"]);
    assert_eq!(missing.code, Some(1), "{missing}");
    assert_eq!(serde_json::from_str::<Value>(&missing.stdout).unwrap()["summary"], Value::Null);
}

#[test]
fn a_part_is_explained() {
    let case = with_tables(&["table"]);
    fs::rename(case.path().join("table/part-00000.parquet"), case.path().join("stray.parquet")).unwrap();
    let text = case.run(["inspect", "stray.parquet"]).success();
    for line in ["kind: part", "rows: 2", "  architecture: LlamaForCausalLM", "  dtype: f32", "  max_length: 1024"] {
        assert!(text.stdout.lines().any(|found| found.trim_start() == line.trim_start()), "`{line}`\n{text}");
    }
    let json = case.run(["inspect", "stray.parquet", "--output-format", "json"]).success();
    let answer: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&answer["kind"], &answer["provenance"]["sources"][0]["rows"]), (&"part".into(), &2.into()));

    assert_snapshot!(case.run(["inspect", "pairs.jsonl"]), @"
    exit: 1
    stdout:
    stderr:
    error: cannot inspect `pairs.jsonl`
      caused by: `pairs.jsonl` is not a file piref knows: expected a `.parquet` file that piref wrote, a `manifest.json` or a `.gguf` file

    hint: `piref sql -c \"DESCRIBE 'pairs.jsonl'\"` shows the columns of a data file, `piref precompute --model MODEL --data pairs.jsonl --out TABLE` scores its pairs
    ");
}

#[test]
fn a_run_is_explained_with_its_table_steps_and_policy() {
    let case = with_tables(&["run/reference"]);
    let model = model();
    case.run(["train", "--model", &model, "--table", "run/reference", "--out", "run", "--max-steps", "2"]).success();
    let json = case.run(["inspect", "run", "--output-format", "json"]).success();
    let answer: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&answer["kind"], &answer["reference"]["n_pairs"]), (&"run".into(), &2.into()));
    assert_eq!((&answer["metrics"]["n_steps"], &answer["metrics"]["last"]["step"]), (&2.into(), &2.into()));
    assert_eq!(answer["policy"]["architecture"], "LlamaForCausalLM");
    assert_eq!(answer["checkpoints"][0]["step"], 2);
    let checkpoint = case.run(["inspect", "run/train/checkpoints/step-2"]).success();
    assert!(checkpoint.stdout.starts_with("kind: checkpoint\n"), "{checkpoint}");
}

#[test]
fn tables_are_compared() {
    let case = with_tables(&["a"]);
    assert_snapshot!(case.run(["diff", "a", "a"]), @"
    exit: 0
    stdout:
    a: 2 pairs, b: 2 pairs
    unchanged: 2
    rescored: 0
    retokenised: 0
    added in b: 0
    removed in b: 0
    log-probs of 4 sequences with the same tokens: max |Δ| 0, mean |Δ| 0 nats a sequence; max 0, mean 0 nats a token
    provenance: equal in every field
    stderr:
    ");
    precompute(&case, "b", &["--max-length", "12", "--limit", "1"]);
    let json = case.run(["diff", "a", "b", "--output-format", "json"]).success();
    let answer: Value = serde_json::from_str(&json.stdout).unwrap();
    let count = |kind: &str| answer[kind]["count"].as_u64().unwrap();
    assert_eq!(count("added"), 0);
    assert_eq!(count("removed"), 1);
    let fields: Vec<&str> =
        answer["provenance"].as_array().unwrap().iter().map(|entry| entry["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["max_length", "sources"]);
}
