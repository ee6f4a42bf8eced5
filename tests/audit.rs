//! `piref audit` on pairs whose faults are known, from the table to the findings and the selection.

use piref::table::{Level, ReferenceTable};

use crate::support::{Case, Outcome};

/// Model with random weights: what it says of a text means nothing, so only checks of texts have known answers.
const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny");

/// Faults by row: 1 has the same answers, 2 an empty one, 3 one that begins the other; 4 has the prompt of 0 and a score
/// tie; 5 is swapped, and its scores say so.
const PAIRS: &str = r#"{"prompt": "Name a colour.", "chosen": "Blue is one.", "rejected": "A stone.", "metadata": {"score_chosen": 8.5, "score_rejected": 2, "noise": {"selected": false}}}
{"prompt": "Name an animal.", "chosen": "A cat. ", "rejected": "A cat.", "metadata": {"score_chosen": 7, "score_rejected": 2, "noise": {"selected": false}}}
{"prompt": "Name a river.", "chosen": "The Nile.", "rejected": " ", "metadata": {"score_chosen": 9, "score_rejected": 1, "noise": {"selected": false}}}
{"prompt": "Name a tree.", "chosen": "An oak. It lives long.", "rejected": "An oak.", "metadata": {"score_chosen": 6, "score_rejected": 5, "noise": {"selected": false}}}
{"prompt": "Name a colour.", "chosen": "Green.", "rejected": "Red, or so.", "metadata": {"score_chosen": 5, "score_rejected": 5, "noise": {"selected": false}}}
{"prompt": "Name a city.", "chosen": "A kind of fish.", "rejected": "Rome.", "metadata": {"score_chosen": 1, "score_rejected": 9, "noise": {"selected": true}}}
"#;

/// A case with the table of [`PAIRS`].
fn case() -> Case {
    let case = Case::new().file("pairs.jsonl", PAIRS);
    case.run(["precompute", "--model", TINY, "--data", "pairs.jsonl", "--out", "run/reference", "-q"]).success();
    case
}

fn audit<'a>(case: &Case, arguments: impl IntoIterator<Item = &'a str>) -> Outcome {
    case.run(["audit", "run", "-q"].into_iter().chain(arguments))
}

/// Rows of the findings of a check that are about single pairs, by the rows of the data they are of.
fn rows(case: &Case, check: &str) -> String {
    let sql = format!(
        "SELECT coalesce(string_agg(p.row_idx, ' ' ORDER BY p.row_idx), 'none') FROM findings f JOIN pairs p ON f.pair_id = p.pair_id \
         WHERE f.\"check\" = '{check}'"
    );
    let outcome = case.run(["sql", "run", "--format", "csv", "-c", &sql]).success();
    outcome.stdout.lines().nth(1).unwrap_or_default().to_owned()
}

#[test]
fn known_faults_are_found_and_can_be_queried() {
    let case = case();
    let outcome = audit(&case, []).success();
    for (check, want) in
        [("B1", "1"), ("B2", "2"), ("B4", "3"), ("F1", "4 5"), ("A1", "none"), ("A3", "none"), ("C7", "none")]
    {
        assert_eq!(rows(&case, check), want, "{check}:\n{outcome}");
    }
    assert!(
        outcome
            .stdout
            .contains("2 of 6 pairs share their prompt with another: repeated prompts 1, most pairs of one 2"),
        "{outcome}"
    );
    // Chosen is longer in rows 0, 2, 3 and 5 and, by a blank, in 1.
    assert!(outcome.stdout.contains("all pairs, in characters: chosen is longer in 83.3 %"), "{outcome}");
}

#[test]
fn answers_that_are_cut_to_the_same_tokens_are_found() {
    let long = "It is a long way to the river. ".repeat(20);
    let pairs = format!(
        "{{\"prompt\": \"Go on.\", \"chosen\": \"{long}Yes.\", \"rejected\": \"{long}No.\"}}\n\
         {{\"prompt\": \"Name a colour.\", \"chosen\": \"Blue.\", \"rejected\": \"Red.\"}}\n"
    );
    let case = Case::new().file("pairs.jsonl", &pairs);
    let precompute = ["precompute", "--model", TINY, "--data", "pairs.jsonl", "--out", "run/reference"];
    let outcome = case.run(precompute.into_iter().chain(["--max-length", "32"])).success();
    assert!(outcome.stderr.contains("both completions are the same tokens"), "{outcome}");
    let outcome = audit(&case, ["--check", "B1"]).success();
    assert_eq!(rows(&case, "B1"), "0", "{outcome}");
    assert!(outcome.stdout.contains("scored as the same"), "{outcome}");
}

#[test]
fn what_cannot_be_asked_is_skipped_with_its_reason() {
    let case = case();
    let outcome = audit(&case, ["--check", "G1,G2"]).success();
    let reason = "no second model is named: see `--reference`";
    assert_eq!(outcome.stdout.matches(reason).count(), 2, "{outcome}");

    let plain = Case::new().file("pairs.jsonl", r#"{"prompt": "Say it.", "chosen": " Yes.", "rejected": " No."}"#);
    plain.run(["precompute", "--model", TINY, "--data", "pairs.jsonl", "--out", "t", "-q"]).success();
    let outcome = plain.run(["audit", "t", "--check", "F"]).success();
    assert_eq!(outcome.stdout.matches("no scores were found in the data").count(), 3, "{outcome}");
}

#[test]
fn a_command_fails_from_the_level_it_is_told() {
    let case = case();
    assert_eq!(audit(&case, ["--check", "B1"]).code, Some(0));
    assert_eq!(audit(&case, ["--check", "B1", "--fail-on", "error"]).code, Some(0));
    assert_eq!(audit(&case, ["--check", "B1", "--fail-on", "warn"]).code, Some(1));
    assert_eq!(audit(&case, ["--check", "A", "--fail-on", "warn"]).code, Some(0));
}

#[test]
fn a_selection_leaves_out_what_was_named_and_is_trained_on() {
    let case = case();
    let outcome = audit(&case, ["--exclude", "B1,B2", "--write-selection", "kept.txt"]).success();
    assert!(outcome.stdout.contains("selected 4 of 6 pairs, without those of B1, B2"), "{outcome}");
    let text = std::fs::read_to_string(case.path().join("kept.txt")).unwrap();
    let table = ReferenceTable::open(&case.path().join("run/reference")).unwrap();
    assert!(text.contains(&format!("# table digest: {}", table.digest().unwrap())), "{text}");
    assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), 4, "{text}");

    // The query in the file names the same pairs.
    let query = text.lines().find_map(|line| line.strip_prefix("# query: ")).unwrap();
    let listed = case.run(["sql", "run", "--format", "csv", "-c", query]).success();
    let mut by_query: Vec<&str> = listed.stdout.lines().skip(1).collect();
    let mut by_file: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    by_query.sort_unstable();
    by_file.sort_unstable();
    assert_eq!(by_query, by_file);

    let train = ["train", "--model", TINY, "--table", "run/reference", "--out", "trained", "--max-steps", "1"];
    case.run(train.into_iter().chain(["--curriculum", "kept.txt"])).success();

    let nothing = audit(&case, ["--exclude", "F", "--write-selection", "f.txt", "--skip", "F"]);
    assert_eq!(nothing.code, Some(2), "{nothing}");
}

#[test]
fn a_check_of_a_user_is_run_and_its_number_can_be_set() {
    let check = "-- id = \"SHORT\"\n-- level = \"error\"\n-- title = \"short\"\n-- question = \"?\"\n-- formula = \"chosen_chars < {chars}\"\n\
                 -- source = \"here\"\n-- advice = \"none\"\n-- [thresholds]\n-- chars = 1\n\
                 SELECT pair_id, chosen_chars AS value, 'short' AS evidence FROM audited WHERE chosen_chars < {chars}\n";
    let case = case().file("mine/short.sql", check);
    let arguments = ["--checks", "mine", "--check", "SHORT", "--fail-on", "error"];
    assert_eq!(audit(&case, arguments).code, Some(0));
    // Row 4 has 6 characters; row 1 has 7.
    let more = audit(&case, arguments.into_iter().chain(["--threshold", "SHORT.chars=7"]));
    assert_eq!(more.code, Some(1), "{more}");
    assert_eq!(rows(&case, "SHORT"), "4");
    let wrong = audit(&case, arguments.into_iter().chain(["--threshold", "SHORT.char=7"]));
    assert_eq!(wrong.code, Some(2), "{wrong}");
    assert!(wrong.stderr.contains("check `SHORT` has no threshold `char`: expected chars"), "{wrong}");
}

/// A level that is none would become that of the header, and `--fail-on` would pass it by.
#[test]
fn a_check_of_a_user_only_reads_and_answers_with_known_levels() {
    let head = "-- id = \"MINE\"\n-- level = \"info\"\n-- title = \"t\"\n-- question = \"?\"\n-- formula = \"f\"\n\
                -- source = \"here\"\n-- advice = \"none\"\n";
    for (sql, part) in [
        (
            "SELECT pair_id, 'warning' AS level, 'e' AS evidence FROM audited",
            "expected column `level` as `error`, `warn` or `info`, found `warning`",
        ),
        ("COPY (SELECT 1 AS a) TO 'x.csv'", "`COPY` writes"),
        ("CREATE OR REPLACE VIEW audited AS SELECT 'a' AS evidence", "`CREATE VIEW` writes"),
        ("SELECT 'a' AS evidence; DROP VIEW audited", "expected one query, found 2 statements"),
        ("SET datafusion.execution.batch_size = 1", "expected one query"),
    ] {
        let case = case().file("mine/mine.sql", &format!("{head}{sql}\n"));
        let outcome = audit(&case, ["--checks", "mine", "--check", "MINE", "--fail-on", "warn"]);
        assert_eq!(outcome.code, Some(1), "{sql}: {outcome}");
        assert!(outcome.stderr.contains("check `MINE` failed") && outcome.stderr.contains(part), "{sql}: {outcome}");
        assert!(!case.path().join("x.csv").exists());
    }
}

/// What cannot be asked, or would be answered differently each time, is known before the first check has run.
#[test]
fn a_check_of_a_user_that_cannot_be_asked_stops_an_audit_before_it_begins() {
    let head = "-- id = \"Z9\"\n-- level = \"info\"\n-- title = \"t\"\n-- question = \"?\"\n-- formula = \"f\"\n\
                -- source = \"here\"\n-- advice = \"none\"\n";
    for (sql, part) in [
        ("SELECT pair_id, 'e' AS evidence FROM audited WHERE random() < 0.5", "`random()` answers differently"),
        ("SELECT pair_id, 'e' AS evidence FROM audited WHERE now() > '2020-01-01'", "`now()` answers differently"),
        ("SELECT pair_id, 'e' AS evidence FROM audited WHERE", "Expected"),
        ("SELECT pair_id, 'e' AS evidence FROM audited WHERE no_such_column > 1", "no_such_column"),
        ("SELECT pair_id FROM audited", "expected column `evidence` as text, found no such column"),
        ("SELECT 'a' AS evidence; SELECT 'b' AS evidence", "expected one query, found 2 statements"),
    ] {
        let case = case().file("mine/mine.sql", &format!("{head}{sql}\n"));
        let outcome = case.run(["audit", "run", "--checks", "mine"]);
        assert_eq!(outcome.code, Some(1), "{sql}: {outcome}");
        assert!(outcome.stderr.contains("check `Z9` failed") && outcome.stderr.contains(part), "{sql}: {outcome}");
        // Rows 0 and 4 share a prompt: no check has said so.
        assert!(!outcome.stdout.contains("share their prompt"), "{sql}: {outcome}");
        assert!(!case.path().join("run/findings.parquet").exists(), "{sql}");
    }
}

/// Sums of floats depend on the order of rows: none of it may be left to threads.
#[test]
fn two_audits_of_one_table_say_the_same_to_the_byte() {
    let mut lines = String::new();
    let mut state = 7_u64;
    let mut word = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        "x ".repeat(1 + usize::try_from(state >> 60).unwrap())
    };
    for i in 0..240 {
        let (chosen, rejected) = (word(), word());
        let scores = format!("{{\"score_chosen\": {}.1, \"score_rejected\": {}.7}}", i % 7, i % 5);
        lines.extend([
            format!("{{\"prompt\": \"Number {i}?\", \"chosen\": \"{chosen}\", \"rejected\": \"No: {rejected}\", "),
            format!("\"metadata\": {scores}}}\n"),
        ]);
    }
    let case = Case::new().file("pairs.jsonl", &lines);
    let scored = [
        "precompute",
        "--model",
        TINY,
        "--data",
        "pairs.jsonl",
        "--out",
        "run/reference",
        "--rows-per-part",
        "16",
        "-q",
    ];
    case.run(scored).success();
    let run = |threads: &str| {
        let arguments = ["audit", "run", "-q", "--sarif", "f.sarif", "--report", "page.html"];
        let mut command = case.command(arguments.into_iter().chain(["--output-format", "json"]));
        let output = command.env("RAYON_NUM_THREADS", threads).env("TOKIO_WORKER_THREADS", threads).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        without_times(&mut summary);
        let file = |name: &str| std::fs::read(case.path().join(name)).unwrap();
        (summary, file("run/findings.parquet"), file("f.sarif"), file("page.html"))
    };
    let first = run("1");
    for threads in ["1", "2", "3", "8"] {
        let again = run(threads);
        assert_eq!(first.0, again.0, "{threads}");
        assert!(first.1 == again.1, "findings with {threads} threads");
        assert!(first.2 == again.2, "SARIF with {threads} threads");
        let page = |bytes: &[u8]| {
            let page = String::from_utf8(bytes.to_vec()).unwrap();
            page.lines().filter(|line| !line.contains("seconds")).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(page(&first.3), page(&again.3), "page with {threads} threads");
    }
}

/// Takes how long something took out of a summary.
fn without_times(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(members) => {
            members.remove("seconds");
            members.values_mut().for_each(without_times);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(without_times),
        _ => {}
    }
}

#[test]
fn an_explanation_is_a_check_again() {
    let case = case().file("mine/mine.sql", "");
    let evidence = |check: &str| {
        let sql = format!(
            "SELECT coalesce(string_agg(evidence, '; ' ORDER BY evidence), 'none') AS words FROM findings WHERE \"check\" = '{check}'"
        );
        case.run(["sql", "run", "--format", "csv", "-c", &sql]).success().stdout
    };
    // One without numbers, one with, one with a view.
    for id in ["B1", "D1", "G3"] {
        let explained = case.run(["audit", "--explain", id]).success().stdout;
        assert!(explained.starts_with(&format!("-- id = \"{id}\"\n")), "{explained}");
        let mine = explained.replacen(&format!("\"{id}\""), "\"MINE\"", 1);
        std::fs::write(case.path().join("mine/mine.sql"), mine).unwrap();
        audit(&case, ["--checks", "mine", "--check", &format!("MINE,{id}")]).success();
        assert_eq!(rows(&case, "MINE"), rows(&case, id), "{id}");
        assert_eq!(evidence("MINE"), evidence(id), "{id}");
        assert!(!evidence(id).contains("none"), "{id}");
    }
}

#[test]
fn the_summary_is_told_as_json_and_the_truth_is_measured() {
    let case = case();
    let outcome = audit(&case, ["--truth", "metadata.noise.selected", "--output-format", "json"]).success();
    let summary: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(summary["n_pairs"], 6);
    assert_eq!(summary["scores"], serde_json::json!(["metadata.score_chosen", "metadata.score_rejected"]));
    let b1 = summary["checks"].as_array().unwrap().iter().find(|check| check["id"] == "B1").unwrap();
    assert_eq!(b1["n_findings"], serde_json::json!([0, 1, 0]));
    let suspects = summary["suspects"].as_array().unwrap();
    assert!(suspects.iter().all(|score| score["n_true"] == 1 && score["n_pairs"] == 6), "{outcome}");
    let scores: Vec<&str> = suspects.iter().map(|score| score["score"].as_str().unwrap()).collect();
    // Without a second model there are two scores less, and of one swapped pair nothing is learnt.
    let evidence = ["length", "margin", "margin_mean", "residual", "accuracy", "entropy", "min_token"];
    let by_evidence = evidence.iter().map(|name| format!("by_{name}"));
    let want: Vec<String> =
        std::iter::once("random".into()).chain(by_evidence).chain(std::iter::once("suspicion".into())).collect();
    assert_eq!(scores, want);
    let calibration = &summary["calibration"];
    assert_eq!((&calibration["n_pairs"], &calibration["n_true"]), (&6.into(), &1.into()));
    let lack = "expected trusted pairs of at least 5 prompts whose label is swapped, found 1";
    assert_eq!(calibration["combination"]["lacking"], lack);
    assert_eq!(Level::named("warn"), Some(Level::Warn));
}

/// 60 pairs with a prompt each; every sixth label is swapped, and the better answer is always the longer one.
fn with_swapped_labels() -> Case {
    let pair = |at: usize| {
        let (long, short) =
            (format!("Yes, {}.", "and so on ".repeat(3 + at % 7)), format!("No{}.", "!".repeat(at % 3)));
        let is_swapped = at.is_multiple_of(6);
        let (chosen, rejected) = if is_swapped { (short, long) } else { (long, short) };
        let prompt = format!("Question {at}?");
        serde_json::json!({"prompt": prompt, "chosen": chosen, "rejected": rejected, "flipped": is_swapped}).to_string()
    };
    let case = Case::new().file("pairs.jsonl", &(0..60).map(pair).collect::<Vec<_>>().join("\n"));
    case.run(["precompute", "--model", TINY, "--data", "pairs.jsonl", "--out", "run/reference", "-q"]).success();
    case
}

/// Writes the answer of a query over the table as a file.
fn listed(case: &Case, name: &str, sql: &str) {
    let answer = case.run(["sql", "run", "--format", "csv", "-c", sql]).success();
    std::fs::write(case.path().join(name), answer.stdout).unwrap();
}

fn summary<'a>(case: &Case, arguments: impl IntoIterator<Item = &'a str>) -> serde_json::Value {
    let arguments = ["--check", "G3", "--output-format", "json"].into_iter().chain(arguments);
    serde_json::from_str(&audit(case, arguments).success().stdout).unwrap()
}

#[test]
fn trusted_pairs_calibrate_the_suspects_and_others_measure_them() {
    let case = with_swapped_labels();
    listed(&case, "trusted.csv", "SELECT pair_id, flipped FROM pairs WHERE row_idx < 36");
    listed(&case, "ids.csv", "SELECT pair_id FROM pairs WHERE row_idx < 36");
    let by_file = summary(&case, ["--trusted", "trusted.csv"]);
    let by_column = summary(&case, ["--trusted", "ids.csv", "--truth", "flipped"]);

    for (summary, n_others) in [(&by_file, 0), (&by_column, 24)] {
        let calibration = &summary["calibration"];
        let counts = ["n_pairs", "n_true", "n_prompts", "n_absent"].map(|name| calibration[name].as_u64().unwrap());
        assert_eq!(counts, [36, 6, 36, 0]);
        let fitted = &calibration["combination"]["fitted"];
        assert_eq!(fitted["is_better_than_chance"], true, "{calibration:#}");
        assert!(fitted["log_loss"].as_f64() < fitted["log_loss_chance"].as_f64(), "{calibration:#}");
        let others = summary["suspects"].as_array().unwrap().iter().filter(|score| score["measured_on"] == "others");
        let combined: Vec<&serde_json::Value> = others.filter(|score| score["score"] == "p_flipped").collect();
        assert_eq!(combined.len(), usize::from(n_others > 0));
        for score in combined {
            assert_eq!((&score["n_pairs"], &score["n_true"]), (&n_others.into(), &4.into()));
            assert!(score["roc_auc"].as_f64().unwrap() > 0.9, "{score:#}");
        }
    }
    // The same truth on two ways is the same fit.
    assert_eq!(by_file["calibration"], by_column["calibration"]);
    // Length alone tells all of them.
    let of_length = by_column["suspects"].as_array().unwrap().iter().filter(|score| score["score"] == "by_length");
    assert!(of_length.into_iter().all(|score| score["roc_auc"] == 1.0), "{by_column:#}");
}

#[test]
fn a_calibrated_check_ranks_by_the_probability_and_its_sql_says_how() {
    let case = with_swapped_labels();
    let outcome = audit(&case, ["--check", "G3", "--truth", "flipped", "--threshold", "G3.share=0.17"]).success();
    assert!(outcome.stdout.contains("better than chance: it is `p_flipped` of `suspects`"), "{outcome}");
    assert!(outcome.stdout.contains("swapped with probability 0."), "{outcome}");
    // A share of 0.17 of 60 pairs are the 11 with at most 10 above them; ranks of other evidence are noise among them.
    let found = rows(&case, "G3");
    let swapped = found.split(' ').filter(|row| row.parse::<usize>().unwrap().is_multiple_of(6)).count();
    assert!(swapped >= 8, "{outcome}");
}

#[test]
fn trusted_pairs_that_cannot_be_trusted_are_refused() {
    let case = with_swapped_labels()
        .file("other.jsonl", "{\"pair_id\": \"x\", \"flipped\": true}\n")
        .file("no_id.csv", "id,flipped\nx,true\n");
    listed(&case, "ids.csv", "SELECT pair_id FROM pairs");
    listed(&case, "maybe.csv", "SELECT pair_id, 'maybe' AS flipped FROM pairs WHERE row_idx = 1");
    listed(&case, "both.csv", "SELECT pair_id, flipped FROM pairs UNION ALL SELECT pair_id, NOT flipped FROM pairs");
    for (file, code, want) in [
        ("other.jsonl", 1, "expected pairs of the table, found none among 1"),
        ("no_id.csv", 2, "have no column `pair_id`: found flipped, id"),
        ("ids.csv", 2, "have no column `flipped`: found pair_id"),
        ("maybe.csv", 1, "expected `flipped` true or false, found `maybe`"),
        ("both.csv", 1, "expected one verdict, found `flipped` both true and false"),
    ] {
        let outcome = audit(&case, ["--trusted", file]);
        assert_eq!(outcome.code, Some(code), "{outcome}");
        assert!(outcome.stderr.contains(want), "`{want}`\n{outcome}");
    }
}

#[test]
fn turns_of_messages_and_of_transcripts_are_counted() {
    let messages = r#"{"prompt": [{"role": "user", "content": "What is \"role\":\"user\"?"}], "chosen": [{"role": "assistant", "content": "a"}], "rejected": [{"role": "assistant", "content": "bb"}]}
{"prompt": [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "y"}, {"role": "user", "content": "Two?"}], "chosen": [{"role": "assistant", "content": "a"}], "rejected": [{"role": "assistant", "content": "bb"}]}
"#;
    let transcript = "\\n\\nHuman: a\\n\\nAssistant: b".repeat(4) + "\\n\\nHuman: c\\n\\nAssistant:";
    let plain = format!(
        "{{\"prompt\": \"{transcript}\", \"chosen\": \" yes\", \"rejected\": \" no\"}}\n\
         {{\"prompt\": \"Plain\", \"chosen\": \" yes\", \"rejected\": \" no\"}}\n"
    );
    let case = Case::new().file("messages.jsonl", messages).file("plain.jsonl", &plain);
    let data = ["--data", "messages.jsonl", "--data", "plain.jsonl"];
    let precompute = ["precompute", "--model", TINY, "--out", "run/reference", "-q"];
    case.run(precompute.into_iter().chain(data)).success();
    let outcome = audit(&case, ["--check", "I3"]).success();
    for want in ["1 turn: 2 pairs,", "2 turns: 1 pairs,", "4 or more turns: 1 pairs,"] {
        assert!(outcome.stdout.contains(want), "`{want}`\n{outcome}");
    }
}

#[test]
fn checks_of_signals_look_or_say_what_is_missing() {
    let case = case();
    let outcome =
        audit(&case, ["--check", "E8,H1", "--threshold", "H1.share=0.5", "--threshold", "H1.tokens=1"]).success();
    assert!(outcome.stdout.contains("nats a token above the entropy"), "{outcome}");
    // The rank counts from 0: of 6 pairs those with 0, 1 and 2 above them have shares 0, 0.2 and 0.4.
    assert_eq!(rows(&case, "H1").split(' ').count(), 3, "{outcome}");

    let plain = Case::new().file("pairs.jsonl", PAIRS);
    let precompute = ["precompute", "--model", TINY, "--data", "pairs.jsonl", "--out", "t", "-q", "--no-signals"];
    plain.run(precompute).success();
    let outcome = plain.run(["audit", "t", "--check", "E7,E8,H1"]).success();
    assert_eq!(outcome.stdout.matches("the table has no signals").count(), 3, "{outcome}");
}
