//! `sql`: what is said beside the rows, what a model adds, and how a query ends early.

use std::io::Read;
use std::process::{Command, Stdio};

use crate::support::Case;

#[test]
fn timing_is_talk_and_rows_are_data() {
    let outcome = Case::new().run(["sql", "-c", "SELECT 1 AS a", "--format", "csv", "--timing"]).success();
    assert_eq!(outcome.stdout, "a\n1\n");
    assert!(outcome.stderr.starts_with("1 row in ") && outcome.stderr.ends_with(" s\n"), "{outcome}");
}

#[test]
fn tokens_are_counted_with_a_model_and_refused_without() {
    let case = Case::new();
    let model = format!("{}/fixtures/tiny", env!("CARGO_MANIFEST_DIR"));
    let sql = "SELECT n_tokens('') AS none, n_tokens('one') > 0 AS some";
    let outcome = case.run(["sql", "-c", sql, "--model", &model, "--format", "csv"]).success();
    assert_eq!(outcome.stdout, "none,some\n0,true\n");
    let outcome = case.run(["sql", "-c", sql]);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(outcome.stderr.contains("`n_tokens` needs the tokenizer of a model"), "{outcome}");
    assert!(outcome.stderr.contains("hint: `--model M` names one"), "{outcome}");
}

/// With the model that scored them, tokens of a table have their text, and the texts make the answer.
#[test]
fn tokens_of_a_table_have_their_text() {
    let pairs = "{\"prompt\": \"Is it?\", \"chosen\": \" Yes.\", \"rejected\": \" No.\"}\n";
    let case = Case::new().file("pairs.jsonl", pairs);
    let model = format!("{}/fixtures/tiny", env!("CARGO_MANIFEST_DIR"));
    case.run(["precompute", "--model", &model, "--data", "pairs.jsonl", "--out", "t"]).success();
    let sql = "SELECT string_agg(token, '' ORDER BY position) AS text FROM logps WHERE side = 'chosen'";
    let outcome = case.run(["sql", "t", "--model", &model, "-c", sql, "--format", "ndjson"]).success();
    assert!(outcome.stdout.starts_with("{\"text\":\" Yes."), "{outcome}");
    let outcome = case.run(["sql", "t", "-c", "SELECT token FROM logps"]);
    assert_eq!(outcome.code, Some(1), "{outcome}");
}

#[test]
fn a_limit_nothing_can_be_done_with_is_wrong_usage() {
    let outcome = Case::new().run(["sql", "-c", "SELECT 1", "--memory-limit", "1MiB"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(outcome.stderr.contains("expected at least 16.0 MiB, found 1.0 MiB"), "{outcome}");
}

#[test]
fn an_interrupt_ends_a_query_and_its_code_says_so() {
    let endless = "SELECT a.value FROM generate_series(1, 1000000) AS a CROSS JOIN generate_series(1, 1000000) AS b";
    let case = Case::new();
    let mut child = case
        .command(["sql", "-c", endless, "--format", "csv"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut rows = child.stdout.take().unwrap();
    // Rows come only once signals are listened to.
    rows.read_exact(&mut [0; 8]).unwrap();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    std::io::copy(&mut rows, &mut std::io::sink()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "interrupted\n");
}

/// The function and the table agree to the bit, terms and sums, and so do signals; a digest refuses another model.
#[test]
fn ref_logps_are_those_of_the_table() {
    let data = format!("{}/fixtures/pairs/standard.jsonl", env!("CARGO_MANIFEST_DIR"));
    let model = format!("{}/fixtures/tiny", env!("CARGO_MANIFEST_DIR"));
    let case = Case::new();
    case.run(["precompute", "--model", &model, "--data", &data, "--out", "t"]).success();
    let sql = "SELECT count(*) AS n, count(*) FILTER (WHERE r['ref_chosen_logps'] = ref_chosen_logps \
               AND r['ref_rejected_logps'] = ref_rejected_logps AND r['chosen_tokens'] = chosen_tokens \
               AND r['ref_chosen_token_logps'] = ref_chosen_token_logps \
               AND r['ref_rejected_token_logps'] = ref_rejected_token_logps AND r['error'] IS NULL) = count(*) AS all_equal \
               FROM (SELECT *, ref_logps(model_digest(), prompt_ids, chosen_ids, rejected_ids) AS r FROM pairs)";
    let outcome =
        case.run(["sql", "t", "--model", &model, "--max-tokens", "99", "-c", sql, "--format", "csv"]).success();
    assert_eq!(outcome.stdout, "n,all_equal\n42,true\n");
    let sql = "SELECT count(*) FILTER (WHERE r['ref_ches'] = s.ref_ches \
               AND r['ref_chosen_token_entropies'] = s.ref_chosen_token_entropies \
               AND r['ref_rejected_token_top1'] = s.ref_rejected_token_top1) = count(*) AS all_equal FROM (SELECT tokens_id, \
               ref_logps_with_signals(NULL, prompt_ids, chosen_ids, rejected_ids) AS r FROM pairs) AS p \
               JOIN signals AS s ON p.tokens_id = s.tokens_id";
    let outcome = case.run(["sql", "t", "--model", &model, "-c", sql, "--format", "csv"]).success();
    assert_eq!(outcome.stdout, "all_equal\ntrue\n");
}

#[test]
fn ref_logps_refuses_what_is_not_the_model_of_its_digest() {
    let model = format!("{}/fixtures/tiny", env!("CARGO_MANIFEST_DIR"));
    let digest = "0".repeat(64);
    let sql = format!("SELECT ref_logps('{digest}', [1], [2], [3])");
    let case = Case::new();
    let outcome = case.run(["sql", "--model", &model, "-c", &sql]);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(outcome.stderr.contains(&format!("no model at hand has the digest `{digest}`")), "{outcome}");
    assert!(outcome.stderr.contains("hint: `SELECT model_digest()`"), "{outcome}");
    let outcome = case.run(["sql", "-c", "SELECT ref_logps(NULL, [1], [2], [3])"]);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(outcome.stderr.contains("a model is needed, and none was named"), "{outcome}");
    let outcome = case.run(["sql", "--dtype", "bf16", "-c", "SELECT 1"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
}
