//! What of the user's stands where a command writes: refused, or still there afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::support::{Case, Outcome};

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny");

/// Two pairs, so that a run takes a moment.
const PAIRS: &str = "{\"prompt\": \"Name a colour.\", \"chosen\": \"Blue is one.\", \"rejected\": \"A stone.\"}\n\
                     {\"prompt\": \"Name an animal.\", \"chosen\": \"A cat.\", \"rejected\": \"Grass.\"}\n";

/// A case with the table `t` of the pairs.
fn case() -> Case {
    let case = Case::new().file("pairs.jsonl", PAIRS);
    precompute(&case, &[]).success();
    case
}

fn precompute(case: &Case, more: &[&str]) -> Outcome {
    case.run(["precompute", "--model", TINY, "--data", "pairs.jsonl", "--out", "t", "-q"].iter().chain(more).copied())
}

fn train(case: &Case, more: &[&str]) -> Outcome {
    let usual = [["--model", TINY], ["--table", "t"], ["--max-steps", "2"], ["--learning-rate", "1e-4"]];
    let usual = usual.iter().filter(|[flag, _]| !more.contains(flag)).flatten();
    case.run(["train", "--out", "run", "--batch-size", "1"].iter().chain(usual).chain(more).copied())
}

/// The files below a folder, with their bytes.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(inner) = open.pop() {
        for entry in fs::read_dir(&inner).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                open.push(entry.path());
            } else {
                let name = entry.path().strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(entry.path()).unwrap());
            }
        }
    }
    found
}

#[track_caller]
fn refused(outcome: &Outcome, part: &str) {
    assert_ne!(outcome.code, Some(0), "{outcome}");
    assert!(outcome.stderr.contains(part), "{outcome}");
}

#[test]
fn a_run_does_not_replace_the_policy_it_starts_from() {
    let case = case();
    train(&case, &[]).success();
    let before = files(&case.path().join("run"));
    for more in [&["--model", "run/policy", "--fresh"][..], &["--model", "run", "--fresh"], &["--model", "run/policy"]]
    {
        let outcome = train(&case, &[more, &["--allow-other-reference"]].concat());
        refused(&outcome, "which the run replaces");
        assert_eq!(files(&case.path().join("run")), before, "{outcome}");
    }
    // Of another run it is only read.
    let other =
        ["train", "--model", "run", "--table", "t", "--max-steps", "1", "--out", "other", "--allow-other-reference"];
    case.run(other).success();
    assert_eq!(files(&case.path().join("run")), before);
}

#[test]
fn a_run_that_starts_again_deletes_nothing_before_it_has_a_policy() {
    let case = case();
    train(&case, &[]).success();
    let policy = files(&case.path().join("run/policy"));

    // Refused before the first step: all is as it was.
    let before = files(&case.path().join("run"));
    refused(&train(&case, &["--fresh", "--where", "nothing > 1"]), "nothing");
    refused(&train(&case, &["--fresh", "--table", "none"]), "none");
    assert_eq!(files(&case.path().join("run")), before);

    // Failed on the way, twice: it is still at hand.
    for _ in 0..2 {
        let outcome = train(&case, &["--fresh", "--learning-rate", "1e30", "--max-steps", "4"]);
        refused(&outcome, "NaN");
        assert!(outcome.stderr.contains("the earlier run is kept in `run/.previous`"), "{outcome}");
        assert_eq!(files(&case.path().join("run/.previous/policy")), policy);
    }
    // Gone with the policy that takes its place.
    train(&case, &["--fresh", "--seed", "7"]).success();
    assert!(!case.path().join("run/.previous").exists());
    assert_ne!(files(&case.path().join("run/policy")), policy);
}

#[test]
fn folders_that_only_have_the_names_of_a_runs_are_left_alone() {
    for (name, text) in [
        ("run/policy/privacy.md", "ours"),
        ("run/policy/config.json", "{}"),
        ("run/train/metrics.jsonl", "{\"schema\": \"mine\"}\n"),
        ("run/train/pairs.csv", "a,b\n"),
        ("run/notes.txt", "mine"),
        ("run/train/checkpoints/.git/HEAD", "ref: refs/heads/main"),
    ] {
        let case = case().file(name, text);
        let before = files(&case.path().join("run"));
        for more in [&[][..], &["--fresh"]] {
            let outcome = train(&case, more);
            refused(&outcome, "is not a run folder of piref");
            assert_eq!(files(&case.path().join("run")), before, "{outcome}");
        }
    }
}

#[test]
fn what_a_user_puts_into_a_runs_folders_is_not_deleted_with_them() {
    for name in
        ["run/policy/README.md", "run/train/checkpoints/best/model.safetensors", "run/train/checkpoints/.ssh/key"]
    {
        let case = case();
        train(&case, &[]).success();
        let case = case.file(name, "mine");
        for more in [&[][..], &["--fresh"]] {
            let outcome = train(&case, more);
            refused(
                &outcome,
                name.strip_prefix("run/").unwrap().rsplit_once('/').unwrap().0.trim_start_matches("run/"),
            );
            assert_eq!(fs::read_to_string(case.path().join(name)).unwrap(), "mine");
        }
    }
    // Beside them it stays, and nothing is refused.
    let case = case();
    train(&case, &[]).success();
    let case = case.file("run/train/notes.txt", "mine");
    train(&case, &["--fresh"]).success();
    assert_eq!(fs::read_to_string(case.path().join("run/train/notes.txt")).unwrap(), "mine");
}

#[test]
fn a_table_that_is_made_anew_stands_until_the_new_one_is_finished() {
    let case = case();
    let before = files(&case.path().join("t"));
    refused(&precompute(&case, &["--fresh", "--map", "prompt=nothing"]), "nothing");
    refused(&precompute(&case, &["--fresh", "--reuse", "t"]), "which is to be replaced");
    let of_itself = ["precompute", "--model", TINY, "--data", "t/part-00000.parquet", "--out", "t", "--fresh"];
    refused(&case.run(of_itself), "which is to be replaced");
    refused(&precompute(&case, &["--fresh", "--max-length", "1"]), "no pair to score");
    assert_eq!(
        files(&case.path().join("t"))
            .into_iter()
            .filter(|(name, _)| before.contains_key(name))
            .collect::<BTreeMap<_, _>>(),
        before
    );
    precompute(&case, &["--fresh", "--max-length", "64"]).success();
    assert!(!case.path().join("t/.replaced").exists());
}

#[test]
fn a_table_with_further_references_alone_is_one_still() {
    let case = case();
    case.run(["precompute", "--model", TINY, "--out", "t", "--as", "again", "-q"]).success();
    for name in ["manifest.json", "part-00000.parquet", "signals-00000.parquet"] {
        fs::remove_file(case.path().join("t").join(name)).unwrap();
    }
    precompute(&case, &[]).success();
    case.run(["verify", "t/references/again"]).success();
}
