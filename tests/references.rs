//! One data set, several reference models: each is a table, and SQL sees them side by side.

use std::path::Path;

use crate::support::Case;
use crate::support::stages::copy_dir;

/// A table with a further reference `tuned`: the policy that was trained from the table.
fn case() -> Case {
    let case = Case::new();
    for name in ["tiny", "pairs"] {
        copy_dir(&Path::new("fixtures").join(name), &case.path().join(name));
    }
    let precompute = |model, out| {
        case.run(["precompute", "--model", model, "--data", "pairs/standard.jsonl", "--out", out]).success();
    };
    precompute("tiny", "table");
    case.run([
        "train",
        "--model",
        "tiny",
        "--table",
        "table",
        "--out",
        "run",
        "--max-steps",
        "10",
        "--learning-rate",
        "1e-3",
    ])
    .success();
    precompute("run/policy", "table/references/tuned");
    case
}

#[test]
fn drift_between_two_models_is_one_query() {
    let case = case();
    let query = "SELECT count(*) AS n, max(abs(tuned_chosen_logps - ref_chosen_logps)) > 0.1 AS moved, \
                 avg(tuned_margin) > avg(ref_margin) AS learnt FROM by_reference";
    let outcome = case.run(["sql", "table", "-c", query, "--format", "csv"]).success();
    let n = case.run(["sql", "table", "-c", "SELECT count(*) AS n FROM pairs", "--format", "csv"]).success().stdout;
    let n: usize = n.lines().nth(1).unwrap().parse().unwrap();
    assert_eq!(outcome.stdout, format!("n,moved,learnt\n{n},true,true\n"));
}

#[test]
fn a_run_starts_at_the_reference_it_names() {
    let case = case();
    let train = |model: &str, reference: &str| {
        case.run([
            "train",
            "--model",
            model,
            "--table",
            "table",
            "--reference",
            reference,
            "--out",
            "second",
            "--max-steps",
            "1",
            "--output-format",
            "json",
        ])
    };
    let unknown = train("run/policy", "tunned");
    assert_eq!(unknown.code, Some(1), "{unknown}");
    for part in ["table `table` has no reference `tunned`", "hint: did you mean `tuned`?"] {
        assert!(unknown.stderr.contains(part), "{unknown}");
    }
    let other = train("tiny", "tuned");
    assert!(
        other.stderr.contains("table `table/references/tuned` was scored with: expected `model.weights_identity`"),
        "{other}"
    );
    // The policy is that reference: margin 0, loss ln 2.
    let outcome = train("run/policy", "tuned").success();
    let summary: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let loss = summary["first"]["loss"].as_f64().unwrap();
    assert!((loss - std::f64::consts::LN_2).abs() < 1e-6, "{loss}");
}

/// `a-b` and `a_b` have the same columns in SQL, and one would stand in for the other.
#[test]
fn a_name_that_another_reference_has_in_sql_is_refused_before_any_work() {
    let case = Case::new();
    copy_dir(Path::new("fixtures/tiny"), &case.path().join("tiny"));
    copy_dir(Path::new("fixtures/pairs"), &case.path().join("pairs"));
    let precompute = |arguments: &[&str]| {
        let all = ["precompute", "--model", "tiny", "--out", "table", "-q"];
        case.run(all.into_iter().chain(arguments.iter().copied()))
    };
    precompute(&["--data", "pairs/standard.jsonl"]).success();
    precompute(&["--as", "a-b"]).success();
    for (name, part) in [
        ("a_b", "reference `a_b` of table `table` is `a_b` in SQL, and so is reference `a-b`"),
        ("A.b", "so is reference `a-b`"),
        ("Ref", "is `ref` in SQL, and so is the table's own reference"),
        ("scored", "so is its view `scored`"),
    ] {
        let outcome = precompute(&["--as", name]);
        assert!(outcome.code != Some(0) && outcome.stderr.contains(part), "{name}: {outcome}");
        assert!(!case.path().join("table/references").join(name).exists(), "{name}");
    }
    copy_dir(&case.path().join("table/references/a-b"), &case.path().join("table/references/a_b"));
    for arguments in [["sql", "table", "-c", "SELECT 1"], ["verify", "table", "-q", "--output-format=json"]] {
        let outcome = case.run(arguments);
        assert_eq!(outcome.code, Some(1), "{outcome}");
        assert!(format!("{outcome}").contains("in SQL, and so is reference"), "{outcome}");
    }
}

#[test]
fn a_name_is_no_path() {
    let outcome = Case::new().run(["train", "p.toml", "--reference", "../elsewhere"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(outcome.stderr.contains("expected a name of letters, digits"), "{outcome}");
}

/// What a table says of its data may be a stranger's word.
#[test]
fn data_that_only_a_table_names_are_not_fetched_and_no_device_is_read() {
    let case = case();
    let manifest = case.path().join("table/manifest.json");
    let ours = std::fs::read_to_string(&manifest).unwrap();
    assert!(ours.contains("\"pairs/standard.jsonl\""), "{ours}");
    let further = ["precompute", "--model", "tiny", "--out", "table", "--as", "further"];
    for (source, said) in [
        ("s3://stranger/pairs.jsonl", "nothing is fetched because a table says so"),
        ("gs://stranger/pairs.jsonl", "nothing is fetched because a table says so"),
        ("/dev/zero", "/dev/zero"),
        ("/etc/passwd", "is not what table `table` was made from"),
        ("../../../../../../etc/passwd", "is not what table `table` was made from"),
        ("table/manifest.json", "is not what table `table` was made from"),
    ] {
        std::fs::write(&manifest, ours.replace("pairs/standard.jsonl", source)).unwrap();
        let refused = case.run(further);
        assert!(refused.code == Some(1) && refused.stderr.contains(said), "{source}: {refused}");
        assert!(!case.path().join("table/references/further/manifest.json").exists());
    }
    std::fs::write(&manifest, ours).unwrap();
    case.run(further).success();
}
