//! Damaged and wrong input: the right error with its place, no panic, no finished table, within a limit of memory.

mod corpus;
mod large;

use std::fs;
use std::path::Path;

use piref::table::MANIFEST;

use crate::support::{Case, Outcome};

/// Address space of the program in these tests: what it needs for the tiny model, and room for one row at the limit.
const MEGABYTES: u64 = 3000;

/// The tiny model in the folder of a case, to be damaged.
fn with_model(case: &Case) -> String {
    let folder = case.path().join("model");
    fs::create_dir_all(&folder).unwrap();
    for entry in fs::read_dir("fixtures/tiny").unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
    folder.to_str().unwrap().to_owned()
}

fn pairs(n: usize) -> String {
    let row = |i| format!("{{\"prompt\": \"Question {i}?\", \"chosen\": \" Yes.\", \"rejected\": \" No.\"}}\n");
    (0..n).map(row).collect::<Vec<_>>().concat()
}

/// Runs `piref precompute` and expects a failure that says all of `parts`.
#[track_caller]
fn refused(case: &Case, model: &str, code: i32, parts: &[&str]) {
    refused_data(case, model, "pairs.jsonl", code, parts);
}

/// The same with another data file.
#[track_caller]
fn refused_data(case: &Case, model: &str, data: &str, code: i32, parts: &[&str]) {
    let precompute = ["precompute", "--model", model, "--data", data, "--out", "table"];
    let outcome = case.run_within(MEGABYTES, precompute);
    check_refusal(&outcome, code, parts);
    assert!(!case.path().join("table").join(MANIFEST).exists(), "a refused run finished a table");
}

/// An error of ours, with all of `parts` in it, and nothing else.
#[track_caller]
fn check_refusal(outcome: &Outcome, code: i32, parts: &[&str]) {
    assert_eq!(outcome.code, Some(code), "{outcome}");
    for part in parts {
        assert!(outcome.stderr.contains(part), "`{part}` is not said\n{outcome}");
    }
    assert!(outcome.stdout.is_empty(), "{outcome}");
    for word in ["panicked", "RUST_BACKTRACE", "memory allocation", "overflowed its stack"] {
        assert!(!outcome.stderr.contains(word), "{outcome}");
    }
    let is_plain = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    assert!(outcome.stderr.chars().all(is_plain), "{outcome}");
    assert!(outcome.stderr.len() < 8000, "{} bytes of message", outcome.stderr.len());
}

#[test]
fn truncated_weights_are_named() {
    let case = Case::new().file("pairs.jsonl", &pairs(3));
    let model = with_model(&case);
    let path = Path::new(&model).join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    for length in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&path, &bytes[..length]).unwrap();
        refused(&case, &model, 1, &["model.safetensors", "hint: "]);
    }
}

#[test]
fn an_unknown_architecture_is_named_with_the_known_ones() {
    let case = Case::new().file("pairs.jsonl", &pairs(3));
    let model = with_model(&case);
    let path = Path::new(&model).join("config.json");
    let config = fs::read_to_string(&path).unwrap().replace("LlamaForCausalLM", "MambaForCausalLM");
    fs::write(&path, config).unwrap();
    refused(&case, &model, 1, &["config.json", "unknown architecture `MambaForCausalLM`", "Qwen3ForCausalLM"]);
}

#[test]
fn the_tokenizer_of_a_larger_model_is_found_out() {
    let case = Case::new().file("pairs.jsonl", &pairs(3));
    let model = with_model(&case);
    for file in ["config.json", "model.safetensors"] {
        fs::copy(Path::new("fixtures/architectures/llama-f16").join(file), Path::new(&model).join(file)).unwrap();
    }
    refused(&case, &model, 1, &["outside of the model's vocabulary of 96", "hint: the tokenizer is another model's"]);
}

#[test]
fn an_empty_file_is_named() {
    let case = Case::new().file("pairs.jsonl", "");
    let model = with_model(&case);
    refused(&case, &model, 1, &["pairs.jsonl"]);
}

#[test]
fn bad_rows_are_counted_and_the_first_is_quoted_with_its_line() {
    let rows = pairs(5) + "{\"prompt\": \"a\", \"chosen\": \"b\"}\n" + &pairs(4);
    let case = Case::new().file("pairs.jsonl", &rows);
    let model = with_model(&case);
    refused(&case, &model, 1, &["1 of 10 rows rejected", "expected at most 1 %", "row 5 (line 6)", "`rejected`"]);
    assert!(case.path().join("table/rejects.parquet").is_file());

    let query =
        case.run(["sql", "table/rejects.parquet", "-c", "SELECT line, row_idx FROM rejects", "--format", "csv"]);
    assert_eq!(query.success().stdout, "line,row_idx\n6,5\n");
}

#[test]
fn a_tolerated_bad_row_goes_to_the_rejects_and_the_rest_is_scored() {
    let rows = pairs(9) + "{\"prompt\": \"a\", \"chosen\": \"\u{fffd}\", \"rejected\": 7}\n";
    let case = Case::new().file("pairs.jsonl", &rows);
    let model = with_model(&case);
    let arguments =
        ["precompute", "--model", &model, "--data", "pairs.jsonl", "--out", "table", "--max-reject-rate", "0.2"];
    let json = ["--output-format", "json"];
    let outcome = case.run(arguments.into_iter().chain(json)).success();
    let summary: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((&summary["n_pairs"], &summary["n_rejected"]), (&9.into(), &1.into()));
}

#[test]
fn bytes_that_are_not_utf_8_are_a_reject_with_their_place() {
    let case = Case::new();
    let mut rows = pairs(2).into_bytes();
    rows.extend(b"{\"prompt\": \"\xff\", \"chosen\": \"b\", \"rejected\": \"c\"}\n");
    fs::write(case.path().join("pairs.jsonl"), rows).unwrap();
    let model = with_model(&case);
    refused(&case, &model, 1, &["1 of 3 rows rejected", "line 3", "UTF-8"]);
}

#[test]
fn a_folder_of_somebody_else_is_left_alone() {
    let case = Case::new().file("pairs.jsonl", &pairs(3)).file("table/thesis.tex", "my thesis");
    let model = with_model(&case);
    refused(&case, &model, 1, &["table", "thesis.tex"]);
    let fresh = case.run(["precompute", "--model", &model, "--data", "pairs.jsonl", "--out", "table", "--fresh"]);
    assert_eq!(fresh.code, Some(1), "{fresh}");
    assert_eq!(fs::read_to_string(case.path().join("table/thesis.tex")).unwrap(), "my thesis");
}

#[test]
fn training_needs_a_finished_table_and_the_tables_tokenizer() {
    let case = Case::new().file("pairs.jsonl", &pairs(3));
    let model = with_model(&case);
    let train = ["train", "--model", &model, "--table", "table", "--out", "run", "--max-steps", "1"];
    let missing = case.run(train);
    assert_eq!(missing.code, Some(2), "{missing}");
    assert!(missing.stderr.contains("log-prob table `table` does not exist"), "{missing}");

    case.run(["precompute", "--model", &model, "--data", "pairs.jsonl", "--out", "table"]).success();
    fs::copy("fixtures/golden/tokenizers/bos/tokenizer.json", Path::new(&model).join("tokenizer.json")).unwrap();
    let other = case.run(train);
    assert_eq!(other.code, Some(1), "{other}");
    assert!(other.stderr.contains("was made with another tokenizer: expected `"), "{other}");
    assert!(!case.path().join("run/policy").exists());
}

/// A table whose numbers are not the model's: scored again before the first step, and refused with both numbers.
#[test]
fn a_table_with_other_numbers_is_refused_with_both() {
    let case = Case::new().file("pairs.jsonl", &pairs(3));
    let model = with_model(&case);
    case.run(["precompute", "--model", &model, "--data", "pairs.jsonl", "--out", "table"]).success();
    let table = case.path().join("table");
    crate::support::stages::shift_logps(&table, -0.25);

    let outcome = case.run(["train", "--model", &model, "--table", "table", "--out", "run", "--max-steps", "1"]);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    for part in ["scores `table` differently", "expected -", "found -", "hint: the table is stale"] {
        assert!(outcome.stderr.contains(part), "`{part}` is not said\n{outcome}");
    }
}

#[cfg(unix)]
#[test]
fn a_link_to_itself_is_an_error_wherever_a_path_is_read() {
    let case = Case::new().file("pairs.jsonl", &pairs(1));
    let model = with_model(&case);
    for name in ["loop.jsonl", "loop.parquet", "loop.gguf", "loop.toml", "loop"] {
        std::os::unix::fs::symlink(name, case.path().join(name)).unwrap();
    }
    for arguments in [
        &["precompute", "--model", &model, "--data", "loop.jsonl", "--out", "table"][..],
        &["precompute", "--model", "loop.gguf", "--data", "pairs.jsonl", "--out", "table"],
        &["precompute", "--model", &model, "--data", "pairs.jsonl", "--out", "loop"],
        &["precompute", "loop.toml"],
        &["train", "--model", &model, "--table", "loop", "--out", "run"],
        &["sql", "loop.parquet", "-c", "SELECT 1"],
    ] {
        let outcome = case.run(arguments.iter().copied());
        let code = outcome.code.filter(|code| [1, 2].contains(code));
        check_refusal(&outcome, code.unwrap_or_default(), &["loop"]);
    }
}
