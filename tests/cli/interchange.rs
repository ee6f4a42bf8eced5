//! `piref export` and `piref import`: tables to and from other programs.

use std::fs::{self, File};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, RecordBatch, StringArray};
use insta::assert_snapshot;
use parquet::arrow::ArrowWriter;

use crate::support::{Case, Outcome};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny");
const PAIRS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/pairs/standard.jsonl");

/// A table of 42 pairs in `table`, and in `foreign.jsonl` what a program that scored them might have written.
fn scored(select: &str) -> Case {
    let case = Case::new();
    let max_length = ["--max-length", "256"];
    let precompute = ["--quiet", "precompute", "--model", MODEL, "--data", PAIRS, "--out", "table"];
    case.run(precompute.into_iter().chain(max_length)).success();
    let query = format!("SELECT {select} FROM pairs ORDER BY row_idx");
    case.run(["sql", "table", "-c", &query, "--format", "ndjson", "--output", "foreign.jsonl"]).success();
    case
}

fn import<'a>(case: &Case, file: &'a str, more: &[&'a str]) -> Outcome {
    let arguments = ["import", file, "--model", MODEL, "--out", "imported", "--max-length", "256"];
    case.run(arguments.into_iter().chain(more.iter().copied()))
}

#[track_caller]
fn refused(outcome: &Outcome, parts: &[&str]) {
    assert_eq!(outcome.code, Some(1), "{outcome}");
    for part in parts {
        assert!(outcome.stderr.contains(part), "`{part}` is not said\n{outcome}");
    }
    assert!(outcome.stdout.is_empty() && !outcome.stderr.contains("panicked"), "{outcome}");
}

/// Largest difference between `table` and `imported`, over both log-probs and all pairs; the pairs they share.
fn difference(case: &Case) -> (u64, f64) {
    let query = "SELECT count(*) AS n, max(greatest(abs(a.ref_chosen_logps - b.ref_chosen_logps), \
                 abs(a.ref_rejected_logps - b.ref_rejected_logps))) AS d \
                 FROM a JOIN b ON a.tokens_id = b.tokens_id AND a.row_idx = b.row_idx";
    let tables = ["sql", "--table", "a=table", "--table", "b=imported", "-c", query, "--format", "json"];
    let rows: serde_json::Value = serde_json::from_str(&case.run(tables).success().stdout).unwrap();
    (rows[0]["n"].as_u64().unwrap(), rows[0]["d"].as_f64().unwrap())
}

const TEXT_AND_SUMS: &str = "prompt, chosen, rejected, topic, ref_chosen_logps, ref_rejected_logps";

const TEXT_AND_AVERAGES: &str = "prompt, chosen, rejected, ref_chosen_logps / chosen_tokens AS ref_chosen_logps, \
                                 ref_rejected_logps / rejected_tokens AS ref_rejected_logps";

#[test]
fn sums_are_imported_and_trained_from_after_a_check() {
    let case = scored(TEXT_AND_SUMS);
    let outcome = import(&case, "foreign.jsonl", &[]).success();
    assert!(outcome.stderr.contains("`ref_chosen_logps`: sums: slope 1.0"), "{outcome}");
    assert_eq!(difference(&case), (42, 0.0));

    let columns =
        "SELECT count(*) FILTER (WHERE ref_chosen_token_logps IS NULL) AS nulls, count(topic) AS topics FROM pairs";
    let columns = case.run(["sql", "imported", "-c", columns, "--format", "csv"]).success();
    assert_eq!(columns.stdout, "nulls,topics\n42,42\n");
    let all = case.run(["sql", "imported", "-c", "SELECT * FROM pairs LIMIT 1", "--format", "csv"]).success();
    assert!(all.stdout.lines().next().unwrap().ends_with("ref_rejected_token_logps,topic"), "{}", all.stdout);
    let manifest = fs::read_to_string(case.path().join("imported/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["provenance"]["kernel"], "imported");
    assert_eq!(
        manifest["provenance"]["sources"][0]["format"],
        "TRL standard with explicit prompt, imported with sums of log-probs"
    );

    let train = ["train", "--model", MODEL, "--table", "imported", "--out", "run", "--max-steps", "1"];
    let train = case.run(train).success();
    assert!(train.stderr.contains("8 pairs of the table scored again"), "{train}");
    assert!(train.stderr.contains("loss 0.6931"), "{train}");
}

#[test]
fn averages_are_refused_and_converted_when_told() {
    let case = scored(TEXT_AND_AVERAGES);
    let outcome = import(&case, "foreign.jsonl", &[]);
    refused(
        &outcome,
        &[
            "`ref_chosen_logps` holds averages over tokens, expected sums: slope ",
            "hint: `--logps average` multiplies by the number of tokens; `--logps sum` takes them as they are",
        ],
    );
    assert!(!case.path().join("imported/manifest.json").exists());

    import(&case, "foreign.jsonl", &["--logps", "average"]).success();
    let (n_pairs, largest) = difference(&case);
    assert!(n_pairs == 42 && largest < 1e-9, "{n_pairs} pairs, {largest:e}");
}

/// What the user says goes, and what is wrong with it is found before the first step.
#[test]
fn averages_told_to_be_sums_are_found_by_training() {
    let case = scored(TEXT_AND_AVERAGES);
    let outcome = import(&case, "foreign.jsonl", &["--logps", "sum"]).success();
    assert!(outcome.stderr.contains("taken for sums as told, and does not look like it: slope"), "{outcome}");
    let train = ["train", "--model", MODEL, "--table", "imported", "--out", "run", "--max-steps", "1"];
    refused(&case.run(train), &["scores `imported` differently", "hint: the table is stale"]);
}

/// Another program's rounding grows with the tokens; another model's difference is larger than that.
#[test]
fn rounding_of_another_program_passes_the_check_of_training_and_no_more() {
    for (nats_per_token, code) in [("2e-5", 0), ("2e-3", 1)] {
        let case = scored(&format!(
            "prompt, chosen, rejected, ref_chosen_logps - {nats_per_token} * chosen_tokens AS ref_chosen_logps, \
             ref_rejected_logps"
        ));
        import(&case, "foreign.jsonl", &[]).success();
        let train = ["train", "--model", MODEL, "--table", "imported", "--out", "run", "--max-steps", "1"];
        let outcome = case.run(train);
        assert_eq!(outcome.code, Some(code), "{nats_per_token}: {outcome}");
    }
}

#[test]
fn what_cannot_be_told_is_refused_with_the_flag_that_tells() {
    let case = scored(TEXT_AND_SUMS);
    assert_snapshot!(import(&case, "foreign.jsonl", &["--limit", "20", "--quiet"]), @"
    exit: 1
    stdout:
    stderr:
    error: cannot import into `imported`
      caused by: cannot tell whether `ref_chosen_logps` holds sums or averages over tokens: expected at least 32 completions of 8 tokens or more, found 18

    hint: `--logps sum` or `--logps average` says which; `piref train` scores a sample again
    ");
    import(&case, "foreign.jsonl", &["--limit", "20", "--logps", "sum"]).success();
    refused(
        &import(&case, "foreign.jsonl", &[]),
        &["`imported` holds a table already", "hint: another `--out` keeps it"],
    );
    import(&case, "foreign.jsonl", &["--fresh"]).success();
    assert_eq!(difference(&case), (42, 0.0));

    let root = "prompt, chosen, rejected, ref_chosen_logps / sqrt(chosen_tokens) AS ref_chosen_logps, \
                ref_rejected_logps / sqrt(rejected_tokens) AS ref_rejected_logps";
    let case = scored(root);
    refused(
        &import(&case, "foreign.jsonl", &[]),
        &["cannot tell whether `ref_chosen_logps` holds sums or averages over tokens: slope 0.5", "`--logps average`"],
    );
}

#[test]
fn an_export_is_imported_again_without_its_text() {
    let case = scored(TEXT_AND_SUMS);
    assert_snapshot!(case.run(["export", "table", "--to", "trl", "--out", "pairs.parquet"]), @"
    exit: 0
    stdout:
    stderr:
    42 pairs with pair_id, prompt_ids, chosen_ids, rejected_ids, ref_chosen_logps, ref_rejected_logps: pairs.parquet
    ");
    let outcome = import(&case, "pairs.parquet", &[]).success();
    assert!(outcome.stderr.contains("read `pairs.parquet` as token ids without text: columns pair_id,"), "{outcome}");
    assert_eq!(difference(&case), (42, 0.0));
    let decoded = "SELECT prompt, chosen FROM pairs WHERE row_idx = 0";
    let text = |table| case.run(["sql", table, "-c", decoded, "--format", "csv"]).success().stdout;
    assert_eq!(text("imported").replace("<|im_end|>", ""), text("table"));
}

#[test]
fn ids_of_older_trl_and_log_probs_of_tokens_are_read() {
    let case = scored(
        "prompt_ids AS prompt_input_ids, chosen_ids AS chosen_input_ids, rejected_ids AS rejected_input_ids, \
         ref_chosen_token_logps, ref_rejected_token_logps",
    );
    import(&case, "foreign.jsonl", &[]).success();
    assert_eq!(difference(&case), (42, 0.0));
    let terms = "SELECT count(ref_chosen_token_logps) AS n FROM pairs";
    let terms = case.run(["sql", "imported", "-c", terms, "--format", "csv"]).success();
    assert_eq!(terms.stdout, "n\n42\n");
}

#[test]
fn completions_with_their_prompt_in_front_are_refused() {
    let case = scored(
        "prompt_ids AS prompt_input_ids, array_concat(prompt_ids, chosen_ids) AS chosen_input_ids, \
         array_concat(prompt_ids, rejected_ids) AS rejected_input_ids, ref_chosen_logps, ref_rejected_logps",
    );
    refused(
        &import(&case, "foreign.jsonl", &[]),
        &["every completion in `chosen_input_ids` begins with its whole prompt", "hint: cut the prompt off"],
    );
}

#[test]
fn an_export_into_its_own_table_is_refused() {
    let case = scored(TEXT_AND_SUMS);
    let outcome = case.run(["export", "table", "--to", "trl", "--out", "table/part-00001.parquet"]);
    refused(&outcome, &["`table/part-00001.parquet`: it would be inside a log-prob table", "hint: name a new file"]);
    let part = "table/part-00000.parquet";
    let outcome = case.run(["export", part, "--to", "trl", "--out", part]);
    refused(&outcome, &["inside a log-prob table"]);
    let outcome = case.run(["export", "tabel", "--to", "trl", "--out", "x.parquet"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    refused_by(&outcome, "log-prob table `tabel` does not exist");
}

#[track_caller]
fn refused_by(outcome: &Outcome, part: &str) {
    assert!(outcome.stderr.contains(part), "`{part}` is not said\n{outcome}");
}

fn row(more: &str) -> String {
    format!("{{\"prompt\": \"Q?\", \"chosen\": \" Yes.\", \"rejected\": \" No.\", {more}}}\n")
}

/// Imports one good row and one with these columns.
#[track_caller]
fn hostile(good: &str, bad: &str, parts: &[&str]) {
    let case = Case::new().file("foreign.jsonl", &(row(good) + &row(bad)));
    refused(&import(&case, "foreign.jsonl", &["--logps", "sum"]), parts);
    assert!(!case.path().join("imported/manifest.json").exists());
}

#[test]
fn each_wrong_value_is_named_with_file_row_and_column() {
    let good = "\"ref_chosen_logps\": -9.5, \"ref_rejected_logps\": -8";
    let place =
        "`foreign.jsonl`, row 1 (line 2), column `ref_chosen_logps`: expected a finite log-prob, at most 0, found";
    for (value, found) in
        [("0.5", "0.5"), ("null", "none (null, NaN or infinite)"), ("\"-3\"", "a string"), ("{}", "an object")]
    {
        let bad = format!("\"ref_chosen_logps\": {value}, \"ref_rejected_logps\": -8");
        hostile(good, &bad, &[&format!("{place} {found}")]);
    }
    hostile(good, "\"ref_rejected_logps\": -8", &[&format!("{place} none")]);
    // As Python's `json` writes it.
    hostile(good, "\"ref_chosen_logps\": NaN, \"ref_rejected_logps\": -8", &[&format!("{place} NaN")]);
}

#[test]
fn log_probs_that_do_not_fit_the_tokens_are_named() {
    let good = "\"ref_chosen_logps\": [-1], \"ref_rejected_logps\": [-1]";
    hostile(
        good,
        good,
        &[
            "`foreign.jsonl`, row 0 (line 1), column `ref_chosen_logps`: expected ",
            " log-probs, one a token of the completion, found 1",
            "hint: the log-probs are of other tokens",
        ],
    );
    let ids = |chosen: &str, logps: &str| {
        format!(
            "\"prompt_ids\": [1, 2], \"chosen_ids\": {chosen}, \"rejected_ids\": [4], \"ref_chosen_logps\": {logps}, \
             \"ref_rejected_logps\": -1"
        )
    };
    hostile(
        &ids("[3]", "-1"),
        &ids("[3, 999999]", "-1"),
        &["row 1 (line 2), column `chosen_ids`: expected token ids below ", "found 999999"],
    );
    hostile(&ids("[3]", "-1"), &ids("[3, -1]", "-1"), &["expected a list of token ids, found -1 in it"]);
    hostile(
        &ids("[3]", "-1"),
        &ids("[3]", "[-1]"),
        &["column `ref_rejected_logps`: expected a list of log-probs as beside it"],
    );
    let terms = "\"ref_chosen_token_logps\": [-1], \"ref_rejected_token_logps\": [-1], ";
    hostile(
        &(terms.to_owned() + &ids("[3]", "-1")),
        &(terms.to_owned() + &ids("[3]", "-2.5")),
        &["expected -1 as the log-probs of the tokens amount to, found -2.5"],
    );
}

#[test]
fn numbers_of_parquet_that_are_none_are_named() {
    let case = Case::new();
    let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text; 2])) };
    let logps = |second: f32| -> ArrayRef { Arc::new(Float32Array::from(vec![-1.0, second])) };
    for (found, name) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-Infinity")] {
        let columns = [
            ("prompt", text("Q?")),
            ("chosen", text(" Yes.")),
            ("rejected", text(" No.")),
            ("ref_chosen_logps", logps(-2.0)),
            ("ref_rejected_logps", logps(found)),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let file = File::create(case.path().join("foreign.parquet")).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        refused(
            &import(&case, "foreign.parquet", &[]),
            &[
                "`foreign.parquet`, row 1, column `ref_rejected_logps`: expected a finite log-prob, at most 0, found ",
                name,
            ],
        );
    }
}

#[test]
fn columns_that_are_not_there_are_named_with_those_that_are() {
    let case = Case::new().file("foreign.jsonl", &row("\"logp_w\": -1, \"logp_l\": -2"));
    let columns = "(columns found: prompt, chosen, rejected, logp_w, logp_l)";
    refused(
        &import(&case, "foreign.jsonl", &[]),
        &["`foreign.jsonl` has no reference log-probs", columns, "hint: name the columns: `--map ref_chosen_logps="],
    );
    let map = ["--logps", "sum", "--map", "ref_chosen_logps=logp_w,ref_rejected_logps=logp_r"];
    refused(&import(&case, "foreign.jsonl", &map), &["has no column `logp_r`", columns]);
    let map = ["--logps", "sum", "--map", "ref_chosen_logps=logp_w,ref_rejected_logps=logp_l"];
    import(&case, "foreign.jsonl", &map).success();
}
