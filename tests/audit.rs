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
    for (check, want) in [("B1", "1"), ("B2", "2"), ("B4", "3"), ("F1", "4 5"), ("A1", "none"), ("A3", "none"), ("C7", "none")] {
        assert_eq!(rows(&case, check), want, "{check}:\n{outcome}");
    }
    assert!(outcome.stdout.contains("2 of 6 pairs share one of 1 prompts"), "{outcome}");
    // Chosen is longer in rows 0, 2, 3 and 5 and, by a blank, in 1.
    assert!(outcome.stdout.contains("all pairs, in characters: chosen is longer in 83.3 %"), "{outcome}");
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

#[test]
fn an_explanation_is_a_check_again() {
    let case = case().file("mine/mine.sql", "");
    // One without numbers, one with, one with a view.
    for id in ["B1", "E2", "G3"] {
        let explained = case.run(["audit", "--explain", id]).success().stdout;
        assert!(explained.starts_with(&format!("-- id = \"{id}\"\n")), "{explained}");
        let mine = explained.replacen(&format!("\"{id}\""), "\"MINE\"", 1);
        std::fs::write(case.path().join("mine/mine.sql"), mine).unwrap();
        audit(&case, ["--checks", "mine", "--check", &format!("MINE,{id}")]).success();
        assert_eq!(rows(&case, "MINE"), rows(&case, id), "{id}");
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
    // Without a second model there are two scores less.
    assert_eq!(suspects.len(), 5);
    assert_eq!(Level::named("warn"), Some(Level::Warn));
}
