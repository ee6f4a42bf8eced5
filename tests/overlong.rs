//! Rows that do not fit `max_length`: counted and listed apart from rows that are no pairs.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Case, Outcome};

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny");

/// Short pairs, then pairs whose prompt alone has more than 64 tokens.
fn rows(n_short: usize, n_long: usize) -> String {
    let row = |prompt: &str| json!({"prompt": prompt, "chosen": " Yes.", "rejected": " No."}).to_string() + "\n";
    let short = (0..n_short).map(|i| row(&format!("Question {i}?")));
    let long = (0..n_long).map(|i| row(&format!("Question {i}: {}?", "why is the sky blue, ".repeat(40))));
    short.chain(long).collect()
}

fn precompute(case: &Case, flags: &[&str]) -> Outcome {
    let always = ["precompute", "--model", TINY, "--data", "pairs.jsonl", "--out", "table", "--max-length", "64"];
    case.run(always.into_iter().chain(flags.iter().copied()))
}

/// The rows of a query, as CSV without its header.
fn query(case: &Case, table: &str, query: &str) -> String {
    let csv = case.run(["sql", table, "-c", query, "--format", "csv"]).success().stdout;
    csv.split_once('\n').unwrap().1.to_owned()
}

const KINDS: &str = "SELECT kind, count(*) FROM rejects GROUP BY kind ORDER BY kind";

#[test]
fn rows_that_do_not_fit_are_dropped_said_and_listed_whatever_their_share() {
    let case = Case::new().file("pairs.jsonl", &rows(3, 5));
    let outcome = precompute(&case, &["--output-format", "json"]).success();
    let summary: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(
        (&summary["n_pairs"], &summary["n_rejected"], &summary["n_overlong"]),
        (&3.into(), &0.into(), &5.into())
    );
    let said = "5 of 8 rows do not fit and are left out, the first in `pairs.jsonl`, row 3 (line 4): its prompt alone \
                fills max_length 64";
    assert!(outcome.stderr.contains(said), "{outcome}");
    assert!(outcome.stderr.contains("0 rejected, 5 do not fit max_length"), "{outcome}");
    assert_eq!(query(&case, "table", KINDS), "overlong,5\n");
    // Every row is in the table or among the rejects.
    case.run(["verify", "table"]).success();
}

#[test]
fn they_do_not_hide_rows_that_are_no_pairs_and_are_not_counted_with_them() {
    let case = Case::new().file("pairs.jsonl", &(rows(200, 20) + "{\"prompt\": \"a\", \"chosen\": \"b\"}\n"));
    // 1 of 221 is below 1 %, 21 would not be.
    precompute(&case, &[]).success();
    assert_eq!(query(&case, "table", KINDS), "malformed,1\noverlong,20\n");

    let case = Case::new().file("pairs.jsonl", &(rows(3, 20) + "{\"prompt\": \"a\", \"chosen\": \"b\"}\n"));
    let outcome = precompute(&case, &[]);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    let said = "1 of 24 rows rejected, expected at most 1 %: first in `pairs.jsonl`, row 23 (line 24)";
    assert!(outcome.stderr.contains(said), "{outcome}");
}

#[test]
fn refuse_stops_before_anything_is_scored_and_names_the_first() {
    let case = Case::new().file("pairs.jsonl", &rows(3, 2));
    let outcome = precompute(&case, &["--overlong", "refuse"]);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    for part in [
        "2 of 5 rows do not fit max_length: first in `pairs.jsonl`, row 3 (line 4): its prompt alone fills",
        "hint: all of them are in `table/rejects.parquet`; `--max-length` allows longer rows, `--overlong drop` leaves them out",
    ] {
        assert!(outcome.stderr.contains(part), "{outcome}");
    }
    assert!(!case.path().join("table/manifest.json").exists());
    assert_eq!(query(&case, "table/rejects.parquet", KINDS), "overlong,2\n");
    // Both hints, followed to the letter.
    assert_eq!(query(&case, "table/rejects.parquet", "SELECT line FROM rejects ORDER BY line"), "4\n5\n");
    precompute(&case, &["--overlong", "drop"]).success();
    let longer = ["precompute", "--model", TINY, "--data", "pairs.jsonl", "--out", "longer", "--max-length", "1024"];
    case.run(longer.into_iter().chain(["--overlong", "refuse"])).success();
    assert_eq!(query(&case, "longer", "SELECT count(*) FROM pairs"), "5\n");
}

#[test]
fn where_nothing_fits_the_error_says_so_and_what_allows_it() {
    let case = Case::new().file("pairs.jsonl", &rows(0, 3));
    let outcome = precompute(&case, &[]);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(outcome.stderr.contains("no pair to score in 3 rows: 3 of them do not fit max_length"), "{outcome}");
    assert!(outcome.stderr.contains("`--max-length` allows longer rows"), "{outcome}");
}

#[test]
fn an_answer_that_fills_the_end_that_is_kept_is_overlong_too() {
    let row = json!({"prompt": "Why?", "chosen": " Yes.", "rejected": "no, ".repeat(80)}).to_string() + "\n";
    let case = Case::new().file("pairs.jsonl", &(rows(2, 0) + &row));
    let outcome = precompute(&case, &["--truncation-mode", "keep_end"]).success();
    assert!(outcome.stderr.contains("row 2 (line 3): its rejected answer alone fills max_length 64"), "{outcome}");
}

#[test]
fn supervised_training_counts_answers_beyond_max_length_apart() {
    let long = "why is the sky blue, ".repeat(40);
    let example = |question: &str| {
        let (question, answer) =
            (json!({"role": "user", "content": question}), json!({"role": "assistant", "content": "Yes."}));
        json!({"messages": [question, answer]}).to_string() + "\n"
    };
    let case = Case::new().file("examples.jsonl", &[example("Hm?"), example(&long), example("Ha?")].concat());
    let sft =
        ["sft", "--model", TINY, "--data", "examples.jsonl", "--out", "run", "--max-length", "64", "--max-steps", "1"];
    let outcome = case.run(sft.into_iter().chain(["--overlong", "refuse"]));
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(
        outcome.stderr.contains("1 of 3 rows do not fit max_length: first in `examples.jsonl`, row 1 (line 2)"),
        "{outcome}"
    );
    let outcome = case.run(sft.into_iter().chain(["--output-format", "json"])).success();
    let summary: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(
        (&summary["n_sequences"], &summary["n_rejected"], &summary["n_overlong"]),
        (&2.into(), &0.into(), &1.into())
    );
    assert!(outcome.stderr.contains("no answer lies within max_length 64"), "{outcome}");
}

#[test]
fn an_import_counts_them_apart() {
    let scored = |row: &str| {
        let mut row: Value = serde_json::from_str(row).unwrap();
        row["ref_chosen_logps"] = json!(-8.0);
        row["ref_rejected_logps"] = json!(-9.0);
        row.to_string() + "\n"
    };
    let case = Case::new().file("pairs.jsonl", &rows(3, 2).lines().map(scored).collect::<String>());
    let import = ["import", "pairs.jsonl", "--model", TINY, "--out", "table", "--logps", "sum", "--max-length", "64"];
    let outcome = case.run(import.into_iter().chain(["--overlong", "refuse"]));
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(outcome.stderr.contains("2 of 5 rows do not fit max_length"), "{outcome}");
    let outcome = case.run(import).success();
    assert!(outcome.stderr.contains("2 of 5 rows do not fit and are left out"), "{outcome}");
    assert_eq!(query(&case, "table", KINDS), "overlong,2\n");
}

/// A table of before rows were told apart.
#[test]
fn rejects_of_the_version_before_are_read() {
    let case = Case::new().file("pairs.jsonl", &rows(3, 1));
    precompute(&case, &[]).success();
    let table = case.path().join("table");
    let rejects = table.join("rejects.parquet");
    write_v1(&rejects);
    let (digest, bytes) = piref::io::digest(&rejects).unwrap();
    let path = table.join("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    manifest["rejects"]["digest"] = digest.to_string().into();
    manifest["rejects"]["bytes"] = bytes.into();
    fs::write(&path, serde_json::to_string_pretty(&manifest).unwrap() + "\n").unwrap();
    case.run(["verify", "table"]).success();
    case.run(["inspect", "table/rejects.parquet"]).success();
    assert_eq!(query(&case, "table", "SELECT line, row_idx FROM rejects"), "4,3\n");
    // The same command writes them anew.
    precompute(&case, &[]).success();
    assert_eq!(query(&case, "table", KINDS), "overlong,1\n");
}

/// The same rows without `kind`, as version 1 had them.
fn write_v1(path: &Path) {
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap().build().unwrap();
    let batches: Vec<_> = reader.map(|batch| batch.unwrap().project(&[0, 1, 2, 3]).unwrap()).collect();
    let footer = vec![("piref.schema", "rejects.v1".to_owned())];
    let mut file = piref::table::ParquetFile::create(path, batches[0].schema(), footer).unwrap();
    for batch in &batches {
        file.write(batch).unwrap();
    }
    file.finish().unwrap();
}
