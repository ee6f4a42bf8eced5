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

/// Commands with a file to write, `OUT` in its place.
const WRITERS: [&[&str]; 6] = [
    &["audit", "t", "-q", "--findings", "OUT"],
    &["audit", "t", "-q", "--report", "OUT"],
    &["audit", "t", "-q", "--sarif", "OUT"],
    &["audit", "t", "-q", "--exclude", "B1", "--write-selection", "OUT"],
    &["export", "t", "--to", "trl", "--out", "OUT"],
    &["generate", "--model", TINY, "--prompt", "a", "--max-new-tokens", "1", "-q", "--output", "OUT"],
];

fn write_to(case: &Case, command: &[&str], out: &str) -> Outcome {
    case.run(command.iter().map(|argument| if *argument == "OUT" { out } else { argument }))
}

#[test]
fn no_command_writes_into_a_table_a_run_or_a_model() {
    let case = case();
    train(&case, &[]).success();
    fs::create_dir(case.path().join("model")).unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        fs::copy(Path::new(TINY).join(name), case.path().join("model").join(name)).unwrap();
    }
    std::os::unix::fs::symlink("t/manifest.json", case.path().join("link")).unwrap();
    let before = files(case.path());
    let places = [
        "t/part-00000.parquet",
        "t/manifest.json",
        "t/new",
        "run/plan.toml",
        "run/policy/new",
        "model/tokenizer.json",
        "link",
    ];
    for command in WRITERS {
        for out in places {
            let outcome = write_to(&case, command, out);
            refused(&outcome, "it would be inside a");
            assert_eq!(files(case.path()), before, "{out}: {outcome}");
        }
    }
}

#[test]
fn what_stands_in_an_outputs_place_is_written_through_or_replaced_with_its_mode() {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
    let case = case();
    let path = |name: &str| case.path().join(name);
    for command in WRITERS {
        fs::write(path("old"), "old").unwrap();
        fs::set_permissions(path("old"), fs::Permissions::from_mode(0o600)).unwrap();
        symlink("old", path("link")).unwrap();
        write_to(&case, command, "link").success();
        assert!(path("link").is_symlink() && fs::read(path("old")).unwrap() != b"old", "{command:?}");
        assert_eq!(fs::metadata(path("old")).unwrap().permissions().mode() & 0o777, 0o600, "{command:?}");
        fs::remove_file(path("link")).unwrap();

        write_to(&case, command, "/dev/null").success();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device(), "{command:?}");
    }
    case.run(["sql", "-c", "SELECT 1 AS a", "--format", "csv", "-o", "/dev/null"]).success();
}

#[test]
fn a_lock_that_is_a_link_is_not_followed() {
    let case = case().file("key", "secret");
    std::os::unix::fs::symlink("../key", case.path().join("t/.piref.lock")).unwrap();
    refused(&precompute(&case, &["--limit", "1"]), "it is a link");
    fs::create_dir_all(case.path().join("run/train")).unwrap();
    std::os::unix::fs::symlink("../../key", case.path().join("run/train/.piref.lock")).unwrap();
    refused(&train(&case, &[]), "it is a link");
    assert_eq!(fs::read_to_string(case.path().join("key")).unwrap(), "secret");
}

#[test]
fn what_a_killed_command_left_goes_with_the_next_and_nothing_else() {
    let case = case();
    for command in WRITERS {
        for name in [".out.Ab12Cd.partial", ".out.mine.partial", ".other.Ab12Cd.partial"] {
            fs::write(case.path().join(name), "half").unwrap();
        }
        write_to(&case, command, "out").success();
        let left = |name: &str| case.path().join(name).exists();
        assert_eq!(
            [left(".out.Ab12Cd.partial"), left(".out.mine.partial"), left(".other.Ab12Cd.partial")],
            [false, true, true],
            "{command:?}"
        );
    }
}

#[test]
fn an_import_goes_on_where_one_was_killed() {
    let case = case().file(
        "scored.jsonl",
        "{\"prompt\": \"Q?\", \"chosen\": \" Yes.\", \"rejected\": \" No.\", \"ref_chosen_logps\": -9.5, \"ref_rejected_logps\": -8}\n",
    );
    let import = ["import", "scored.jsonl", "--model", TINY, "--logps", "sum", "--out", "i", "-q"];
    case.run(import).success();
    let finished = files(&case.path().join("i"));
    refused(&case.run(import), "--fresh");
    // Before its manifest.
    fs::remove_file(case.path().join("i/manifest.json")).unwrap();
    case.run(import).success();
    assert_eq!(files(&case.path().join("i")), finished);
    // The parts of stage one are a table still.
    fs::remove_file(case.path().join("t/manifest.json")).unwrap();
    refused(&case.run(["import", "scored.jsonl", "--model", TINY, "--logps", "sum", "--out", "t", "-q"]), "--fresh");
}
