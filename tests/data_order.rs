//! Which pairs a run sees and in which order: selected by SQL, listed in a file, held out by prompt, mixed from tables.

use std::fs;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};

use piref::checkpoint;
use piref::precompute::Pairs;
use piref::selection::{FurtherTables, Selection};
use piref::train::{self, HELD_OUT};
use serde_json::Value;

use crate::support::Case;
use crate::support::stages::{self, copy_dir, files};

/// A table of 36 pairs in which every prompt has three, with a column `grade` from 0 to 35.
fn case() -> Case {
    let rows = (0..36).map(|row| {
        let prompt = format!("Count to {}.", row / 3);
        let [chosen, rejected] = [row % 7 + 1, row % 5 + 1].map(|n| " and one".repeat(n));
        serde_json::json!({ "prompt": prompt, "chosen": chosen, "rejected": format!("{rejected} {row}"), "grade": row })
    });
    let lines: String = rows.flat_map(|row| [row.to_string(), "\n".to_owned()]).collect();
    let case = Case::new().file("pairs.jsonl", &lines);
    copy_dir(Path::new("fixtures/tiny"), &case.path().join("tiny"));
    case.run(["precompute", "--model", "tiny", "--data", "pairs.jsonl", "--out", "table"]).success();
    case
}

/// `piref train` with one pair a step.
fn train<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let words = ["train", "--model", "tiny", "--table", "table", "--out", out, "--batch-size", "1"];
    words.iter().chain(more).copied().collect()
}

/// The rows of a query, without the header.
#[track_caller]
fn sql(case: &Case, query: &str) -> Vec<String> {
    let outcome = case.run(["sql", "table", "-c", query, "--format", "csv"]).success();
    outcome.stdout.lines().skip(1).map(str::to_owned).collect()
}

/// Tokens of every step: with pairs of different lengths they tell which pair it saw.
fn tokens_of_steps(run: &Path) -> Vec<u64> {
    let text = fs::read_to_string(run.join(train::METRICS)).unwrap();
    let totals: Vec<u64> =
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["num_tokens"].as_u64().unwrap()).collect();
    let before = std::iter::once(0).chain(totals.clone());
    totals.iter().zip(before).map(|(total, before)| total - before).collect()
}

/// What `tokens_of_steps` says of these pairs, in the order of a query.
fn tokens_of(case: &Case, rest_of_query: &str) -> Vec<u64> {
    let query = format!("SELECT 2 * prompt_tokens + chosen_tokens + rejected_tokens FROM pairs {rest_of_query}");
    sql(case, &query).iter().map(|n| n.parse().unwrap()).collect()
}

#[test]
fn a_predicate_and_an_order_decide_which_pairs_each_step_sees_and_a_resumed_run_keeps_them() {
    let case = case();
    let order = ["--where", "grade % 4 = 1", "--order-by", "chosen_tokens, grade DESC", "--num-train-epochs", "1"];
    let outcome = case.run(train("run", &order)).success();
    assert!(outcome.stderr.contains("`--where` leaves 9 of 36 pairs"), "{outcome}");
    assert!(outcome.stderr.contains("9 steps over 9 pairs in "), "{outcome}");
    let want = tokens_of(&case, "WHERE grade % 4 = 1 ORDER BY chosen_tokens, grade DESC");
    assert_eq!(tokens_of_steps(&case.path().join("run")), want);

    let plan = fs::read_to_string(case.path().join("run/plan.toml")).unwrap();
    assert!(plan.contains("[train.pairs]\nwhere = \"grade % 4 = 1\"\norder_by = "), "{plan}");
    for (more, want) in [
        (
            ["--where", "grade % 4 = 2", "--order-by", "chosen_tokens, grade DESC"].as_slice(),
            "`where` was `\"grade % 4 = 1\"`, now it is `\"grade % 4 = 2\"`",
        ),
        (&["--where", "grade % 4 = 1"], "`order_by` was `\"chosen_tokens, grade DESC\"`, now it is not set"),
    ] {
        let more = [more, &["--no-shuffle", "--num-train-epochs", "1"]].concat();
        let outcome = case.run(train("run", &more));
        assert!(outcome.code == Some(1) && outcome.stderr.contains(want), "{want}: {outcome}");
    }
    let none = case.run(train("none", &["--where", "grade > 99"]));
    assert!(none.code == Some(1) && none.stderr.contains("leaves none of 36 pairs"), "{none}");
    assert!(none.stderr.contains("hint: ") && !case.path().join("none").exists(), "{none}");
    let wrong = case.run(train("none", &["--where", "grad > 99"]));
    assert!(wrong.code == Some(1) && wrong.stderr.contains("hint: did you mean `grade`?"), "{wrong}");
}

#[test]
fn a_run_that_selects_nothing_has_the_trajectory_it_always_had() {
    let case = case();
    case.run(train("run", &["--max-steps", "1"])).success();
    let newest = checkpoint::newest(&case.path().join("run/train/checkpoints")).unwrap().unwrap();
    let names: Vec<&str> = newest.state().trajectory.keys().map(String::as_str).collect();
    let ours = [
        "further_table_digests",
        "where",
        "order_by",
        "pairs_digest",
        "eval_share",
        "curriculum_digest",
        "table_weights",
    ];
    assert!(names.contains(&"table_digest") && ours.iter().all(|name| !names.contains(name)), "{names:?}");
    assert!(!case.path().join("run").join(HELD_OUT).exists());
}

#[test]
fn a_curriculum_from_sql_is_followed_line_by_line() {
    let case = case();
    let query = "SELECT pair_id FROM pairs WHERE grade IN (3, 8, 20, 31) ORDER BY grade DESC";
    case.run(["sql", "table", "-c", query, "--format", "csv", "-o", "c.csv"]).success();
    let list = fs::read_to_string(case.path().join("c.csv")).unwrap();
    // The first pair once more at the end.
    let list = format!("{list}{}\n", list.lines().nth(1).unwrap());
    fs::write(case.path().join("c.csv"), &list).unwrap();
    let outcome = case.run(train("run", &["--curriculum", "c.csv", "--num-train-epochs", "2"])).success();
    assert!(outcome.stderr.contains("`c.csv`: an epoch is its 5 lines, of 4 pairs"), "{outcome}");
    let mut once = tokens_of(&case, "WHERE grade IN (3, 8, 20, 31) ORDER BY grade DESC");
    once.push(once[0]);
    assert_eq!(tokens_of_steps(&case.path().join("run")), [once.clone(), once].concat());

    fs::write(case.path().join("c.csv"), format!("{list}0123\n")).unwrap();
    let outcome = case.run(train("run", &["--curriculum", "c.csv", "--num-train-epochs", "2"]));
    assert!(outcome.code == Some(1) && outcome.stderr.contains("line 7: pair `0123` is in no table"), "{outcome}");
}

#[test]
fn another_curriculum_of_the_same_pairs_is_another_run() {
    let case = case();
    let ids = sql(&case, "SELECT pair_id FROM pairs ORDER BY grade LIMIT 3");
    fs::write(case.path().join("c.csv"), ids.join("\n")).unwrap();
    case.run(train("run", &["--curriculum", "c.csv"])).success();
    let reversed: Vec<&str> = ids.iter().rev().map(String::as_str).collect();
    fs::write(case.path().join("c.csv"), reversed.join("\n")).unwrap();
    let outcome = case.run(train("run", &["--curriculum", "c.csv"]));
    assert!(outcome.code == Some(1) && outcome.stderr.contains("`curriculum_digest` was"), "{outcome}");
    let outcome = case.run(train("run", &["--curriculum", "c.csv", "--order-by", "grade"]));
    assert!(outcome.code == Some(2) && outcome.stderr.contains("`curriculum` has an order of its own"), "{outcome}");
}

#[test]
fn held_out_prompts_are_not_trained_on() {
    let case = case();
    let share = ["--eval-share", "0.3", "--num-train-epochs", "1", "--learning-rate", "1e-3"];
    let outcome = case.run(train("run", &share)).success();
    let ids = fs::read_to_string(case.path().join("run").join(HELD_OUT)).unwrap();
    let n_held_out = ids.lines().count() - 1;
    assert!((3..=33).contains(&n_held_out) && n_held_out.is_multiple_of(3), "{ids}");
    assert!(
        outcome.stderr.contains(&format!(
            "{} steps over {} pairs ({n_held_out} held out)",
            36 - n_held_out,
            36 - n_held_out
        )),
        "{outcome}"
    );
    let held_out = "SELECT pair_id FROM 'run/train/held_out.csv'";
    let leaked = sql(
        &case,
        &format!(
            "SELECT count(*) FROM pairs WHERE pair_id NOT IN ({held_out}) AND prompt IN \
             (SELECT prompt FROM pairs WHERE pair_id IN ({held_out}))"
        ),
    );
    assert_eq!(leaked, ["0"]);

    // The same pairs without the others are the same run.
    let predicate = format!("pair_id NOT IN ({held_out})");
    let rest = ["--where", &predicate, "--num-train-epochs", "1", "--learning-rate", "1e-3"];
    case.run(train("rest", &rest)).success();
    let policy = |run: &str| files(&case.path().join(run).join("policy"));
    assert!(policy("run") == policy("rest"), "held-out pairs have left a trace");
    assert_ne!(fs::read(case.path().join("tiny/model.safetensors")).unwrap(), {
        fs::read(case.path().join("run/policy/model.safetensors")).unwrap()
    });

    // Another share is another run; no share deletes the list.
    let outcome =
        case.run(train("run", &["--eval-share", "0.2", "--num-train-epochs", "1", "--learning-rate", "1e-3"]));
    assert!(outcome.code == Some(1), "{outcome}");
    case.run(train("run", &["--max-steps", "1", "--fresh"])).success();
    assert!(!case.path().join("run").join(HELD_OUT).exists());
}

/// A table of some of the fixture pairs.
fn table(folder: &Path, name: &str, sources: &[&str], limit: Option<NonZeroU64>) -> PathBuf {
    let mut plan = stages::precompute_plan(&folder.join(name));
    let paths = sources.iter().map(|name| Path::new("fixtures/pairs").join(name)).collect();
    plan.pairs = Pairs::Files { paths, limit };
    stages::precompute(&plan);
    plan.out
}

/// A plan over two tables, four pairs a step.
fn plan(tables: [&Path; 2], weights: Option<[f64; 2]>, out: &Path) -> train::Plan {
    let further = tables[1].to_owned();
    let further_tables = match weights {
        None => FurtherTables::Joined(vec![further]),
        Some([first, second]) => FurtherTables::Mixed { first, further: vec![(further, second)] },
    };
    let selection = Selection { further_tables, ..Selection::default() };
    let batch_size = NonZeroUsize::new(4).unwrap();
    stages::with(stages::train_plan(tables[0], out), |changed| {
        changed.selection = selection;
        changed.course.batch_size = batch_size;
    })
}

#[test]
fn joined_tables_train_as_the_table_of_all_their_data() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = ("standard.jsonl", "conversational.jsonl");
    let tables = [table(folder.path(), "a", &[first], None), table(folder.path(), "b", &[second], None)];
    let whole = table(folder.path(), "whole", &[first, second], None);
    let joined = plan([&tables[0], &tables[1]], None, &folder.path().join("joined"));
    let alone = stages::with(stages::train_plan(&whole, &folder.path().join("alone")), |changed| {
        changed.course.batch_size = joined.course.batch_size;
    });
    assert_eq!(stages::train(&joined).n_pairs, stages::train(&alone).n_pairs);
    assert!(files(&joined.course.out.join("policy")) == files(&alone.course.out.join("policy")), "the policies differ");
}

#[test]
fn mixed_tables_resume_to_the_bit_and_other_weights_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let a = table(folder.path(), "a", &["standard.jsonl"], NonZeroU64::new(10));
    let b = table(folder.path(), "b", &["conversational.jsonl"], NonZeroU64::new(4));
    let straight = plan([&a, &b], Some([0.75, 0.25]), &folder.path().join("straight"));
    // max(10 / 0.75, 4 / 0.25) = 16 pairs: 12 of the first table, 4 of the second, four steps.
    let straight = stages::with(straight, |changed| changed.course.length = train::Length::Epochs(2.0));
    let mut notes = Vec::new();
    train::run(&straight, &piref::interrupt::Interrupt::default(), &mut |event| {
        if let train::Event::Note(note) = event {
            notes.push(note);
        }
    })
    .unwrap();
    let want =
        format!("an epoch has 16 pairs: 12 of `{}` (1.20 passes), 4 of `{}` (1.00 passes)", a.display(), b.display());
    assert!(notes.contains(&want), "{notes:?}");

    let resumed = stages::with(straight.clone(), |changed| changed.course.out = folder.path().join("resumed"));
    for step in [2, 5] {
        assert_eq!(stages::train_until(&resumed, step).n_steps, 8);
    }
    assert_eq!(stages::train(&resumed).n_resumed, 5);
    assert!(
        files(&straight.course.out.join("policy")) == files(&resumed.course.out.join("policy")),
        "the policies differ"
    );

    let other = plan([&a, &b], Some([0.5, 0.5]), &straight.course.out);
    let other =
        stages::with(other, |changed| changed.course.length = train::Length::Steps(NonZeroU64::new(8).unwrap()));
    let error = train::run(&other, &piref::interrupt::Interrupt::default(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("`table_weights` was `[0.75,0.25]`, now it is `[0.5,0.5]`"), "{error}");
}

#[test]
fn several_tables_are_flags_and_a_record() {
    let case = case();
    case.run(["precompute", "--model", "tiny", "--data", "pairs.jsonl", "--limit", "6", "--out", "small"]).success();
    let more = ["--table", "small", "--table-weights", "0.5,0.5", "--max-steps", "2"];
    let outcome = case.run(train("run", &more)).success();
    let want = "an epoch has 72 pairs: 36 of `table` (1.00 passes), 36 of `small` (6.00 passes)";
    assert!(outcome.stderr.contains(want), "{outcome}");
    let plan = fs::read_to_string(case.path().join("run/plan.toml")).unwrap();
    let pairs: toml::Table = plan.parse().unwrap();
    let tables = ["table", "small"].map(|name| toml::Value::String(name.into())).to_vec();
    assert_eq!(pairs["train"]["pairs"]["tables"], toml::Value::Array(tables), "{plan}");

    let outcome = case.run(train("run", &["--table-weights", "0.5,0.5"]));
    assert!(outcome.code == Some(2) && outcome.stderr.contains("expected at least 2 tables"), "{outcome}");
    let outcome = case.run(train("run", &["--table", "smal"]));
    assert!(outcome.code == Some(2) && outcome.stderr.contains("log-prob table `smal` does not exist"), "{outcome}");
}
