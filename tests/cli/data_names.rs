//! What may be named as data, in every command that reads it.

use std::fs;

use crate::support::{Case, Outcome};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny");

fn pair(text: &str) -> String {
    format!("{{\"prompt\": \"{text}?\", \"chosen\": \" yes\", \"rejected\": \" no\"}}\n")
}

/// Files of one pair each; a pair is its file's name.
fn case(names: &[&str]) -> Case {
    names.iter().fold(Case::new(), |case, name| case.file(name, &pair(name)))
}

fn precompute(case: &Case, arguments: &[&str]) -> Outcome {
    let start = ["precompute", "--model", MODEL, "--out", "table", "--fresh", "--no-signals", "--quiet"];
    case.run(start.into_iter().chain(arguments.iter().copied()))
}

/// The prompts that are in the table of this data.
#[track_caller]
fn prompts(case: &Case, arguments: &[&str]) -> Vec<String> {
    precompute(case, arguments).success();
    let sql = "SELECT prompt FROM pairs ORDER BY prompt";
    let rows = case.run(["sql", "table", "-c", sql, "--format", "csv"]).success().stdout;
    rows.lines().skip(1).map(|line| line.trim_end_matches('?').to_owned()).collect()
}

#[test]
fn several_files_and_patterns_are_read_together() {
    let case = case(&["d/a-1.jsonl", "d/a-2.jsonl", "d/sub/b.jsonl"]);
    let names = |names: [&str; 2]| names.map(str::to_owned);
    assert_eq!(prompts(&case, &["--data", "d/a-1.jsonl", "d/sub/b.jsonl"]), names(["d/a-1.jsonl", "d/sub/b.jsonl"]));
    let both = names(["d/a-1.jsonl", "d/a-2.jsonl"]);
    assert_eq!(prompts(&case, &["--data", "d/a-*.jsonl"]), both);
    assert_eq!(prompts(&case, &["--data", "d/a-1.jsonl", "--data", "d/a-2.jsonl"]), both);
    assert_eq!(prompts(&case, &["--data", "d"]).len(), 3);
}

#[test]
fn one_split_of_a_folder_is_read_and_which_is_asked_for() {
    let case = case(&["d/train.jsonl", "d/test.jsonl", "d/.hidden-train.jsonl"]);
    let refused = precompute(&case, &["--data", "d"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("`d` has several splits: train, test"), "{refused}");
    assert!(refused.stderr.contains("hint: `--split train` reads one of them"), "{refused}");
    assert_eq!(prompts(&case, &["--data", "d", "--split", "train"]), ["d/train.jsonl"]);
    assert_eq!(prompts(&case, &["--data", "d", "--split", "all"]), ["d/test.jsonl", "d/train.jsonl"]);
    assert!(precompute(&case, &["--data", "d", "--split", "tset"]).stderr.contains("hint: did you mean `test`?"));
    let pipeline = format!("model = '{MODEL}'\n[data]\nfiles = ['d']\nsplit = 'test'\n");
    fs::write(case.path().join("p.toml"), pipeline).unwrap();
    assert_eq!(prompts(&case, &["p.toml"]), ["d/test.jsonl"]);
}

#[test]
fn a_repository_of_the_local_cache_is_named_as_on_the_hub() {
    let root = "cache/datasets--org--name";
    let case = case(&[&format!("{root}/snapshots/0123/data/train-00000-of-00001.jsonl")]);
    fs::create_dir_all(case.path().join(root).join("refs")).unwrap();
    fs::write(case.path().join(root).join("refs/main"), "0123").unwrap();
    let file = "hf://datasets/org/name/data/train-00000-of-00001.jsonl";
    for name in ["org/name", "org/name@0123", "hf://datasets/org/name", file] {
        assert_eq!(prompts(&case, &["--data", name]).len(), 1, "{name}");
    }
    let refused = precompute(&case, &["--data", "org/name@v2"]);
    assert!(refused.stderr.contains("revision `v2` of data set `org/name` is not in the local cache"), "{refused}");
    assert!(refused.stderr.contains("hint: `hf download --repo-type dataset org/name --revision v2`"), "{refused}");
    let refused = precompute(&case, &["--data", "hf://datasets/org/name/../../x.jsonl"]);
    assert!(refused.stderr.contains("is not in the local cache"), "{refused}");
}

#[test]
fn every_command_that_reads_data_refuses_the_same_names_in_the_same_words() {
    let case = case(&["d/train.jsonl", "d/test.jsonl"]);
    let commands: [&[&str]; 4] = [
        &["precompute", "--model", MODEL, "--out", "t", "--data"],
        &["sft", "--model", MODEL, "--out", "r", "--max-steps", "1", "--data"],
        &["generate", "--model", MODEL, "--max-new-tokens", "1", "--data"],
        &["import", "--model", MODEL, "--out", "t"],
    ];
    for (name, want) in [
        ("-", "`-` is standard input, and data has to be a file"),
        ("https://host/a.jsonl", "`https://host/a.jsonl` is on the web: nothing is downloaded"),
        ("org/none", "data set `org/none` is not in the local cache"),
        ("x-*.jsonl", "no data file matches `x-*.jsonl`"),
        ("/dev/null", "`/dev/null` is a device, and data has to be a file"),
        ("d", "`d` has several splits: train, test"),
    ] {
        for command in commands {
            let refused = case.run(command.iter().copied().chain([name]));
            assert!(refused.code != Some(0) && refused.stderr.contains(want), "{command:?} {name}: {refused}");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_named_pipe_is_refused_and_not_waited_for() {
    let case = Case::new();
    let made = std::process::Command::new("mkfifo").arg(case.path().join("p.jsonl")).status().unwrap();
    assert!(made.success());
    let refused = precompute(&case, &["--data", "p.jsonl"]);
    assert!(refused.stderr.contains("`p.jsonl` is a pipe, and data has to be a file"), "{refused}");
}

#[test]
fn an_empty_shard_is_passed_over_and_an_empty_file_is_not() {
    let case = case(&["d/a.jsonl"]).file("d/b.jsonl", "").file("d/c.jsonl", "\n");
    assert_eq!(prompts(&case, &["--data", "d"]), ["d/a.jsonl"]);
    assert!(precompute(&case, &["--data", "d/b.jsonl"]).stderr.contains("`d/b.jsonl` has no rows"));
    let case = Case::new().file("d/a.jsonl", "").file("d/b.jsonl", "");
    let refused = precompute(&case, &["--data", "d"]);
    assert!(refused.code != Some(0) && refused.stderr.contains("no pair to score in 0 rows"), "{refused}");
}

#[test]
fn separated_values_are_pairs_of_text() {
    let case = Case::new()
        .file("a.csv", "id,prompt,chosen,rejected\n007,\"1, 2?\", 3,nan\n")
        .file("b.tsv", "prompt\tchosen\trejected\nq\ty\tn\n");
    assert_eq!(prompts(&case, &["--data", "a.csv", "b.tsv"]), ["\"1, 2?\"", "q"]);
    let sql = "SELECT chosen, rejected, id FROM pairs WHERE id IS NOT NULL";
    let rows = case.run(["sql", "table", "-c", sql, "--format", "ndjson"]).success().stdout;
    assert_eq!(rows.trim(), r#"{"chosen":" 3","rejected":"nan","id":"007"}"#);
}
