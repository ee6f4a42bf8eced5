//! Sweeps from the command line: one table, runs like any other, nothing made twice.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Map, Value};

use crate::support::Case;
use crate::support::stages::files;

const PIPELINE: &str = r#"
name = "one"
model = "PROJECT/fixtures/tiny"
[data]
files = ["PROJECT/fixtures/pairs/standard.jsonl"]
[train]
learning_rate = 1e-3
batch_size = 4
max_steps = 6
save_steps = 4
logging_steps = 1
"#;

const GRID: [&str; 8] =
    ["sweep", "p.toml", "--out", "s", "--set", "train.loss.beta=0.1,0.5", "--set", "train.loss.loss_type=sigmoid,ipo"];

const RUNS: [&str; 4] =
    ["beta-0.1_loss_type-ipo", "beta-0.1_loss_type-sigmoid", "beta-0.5_loss_type-ipo", "beta-0.5_loss_type-sigmoid"];

fn case() -> Case {
    Case::new().pipeline(&PIPELINE.replace("PROJECT", env!("CARGO_MANIFEST_DIR")))
}

/// The rows of `sweep.parquet`, as `piref sql` has them.
fn rows(case: &Case, columns: &str) -> Vec<Map<String, Value>> {
    let query = format!("SELECT {columns} FROM sweep ORDER BY run");
    let answer = case.run(["sql", "s/sweep.parquet", "-c", &query, "--format", "json"]).success();
    serde_json::from_str(&answer.stdout).unwrap()
}

/// Metrics of a run without what measures time.
fn metrics(run: &Path) -> Vec<Map<String, Value>> {
    let text = fs::read_to_string(run.join("train/metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Map<String, Value>>(line).unwrap());
    let timeless = lines.map(|mut row| {
        row.retain(|name, _| !["tokens_per_second", "step_seconds"].contains(&name.as_str()));
        row
    });
    timeless.collect()
}

/// When each file below a folder was last written.
fn times(folder: &Path) -> BTreeMap<PathBuf, std::time::SystemTime> {
    let time = |path: &Path| fs::metadata(folder.join(path)).unwrap().modified().unwrap();
    files(folder).into_iter().map(|(path, _)| (path.clone(), time(&path))).collect()
}

#[test]
fn a_grid_has_one_reference_pass_and_its_runs_are_those_of_piref_train() {
    let case = case();
    let swept = case.run(GRID).success();
    let passes = swept.stderr.matches("one pass of the reference for all runs").count();
    assert_eq!((passes, swept.stderr.matches("pairs of the table scored again").count()), (1, 4), "{swept}");

    // The same settings by hand.
    let by_hand = ["train", "p.toml", "--out", "by hand", "--beta", "0.5", "--loss-type", "ipo"];
    case.run(by_hand).success();
    let run = case.path().join("s/beta-0.5_loss_type-ipo");
    assert_eq!(metrics(&run), metrics(&case.path().join("by hand")));
    for part in ["policy", "train/checkpoints"] {
        assert!(files(&run.join(part)) == files(&case.path().join("by hand").join(part)), "`{part}` differs");
    }
    let record = fs::read_to_string(run.join("plan.toml")).unwrap();
    assert!(record.contains("name = \"beta-0.5_loss_type-ipo\"") && record.contains("beta = 0.5"), "{record}");

    // Every swept setting is a column, and the numbers are those of the runs.
    let columns = "run, \"train.loss.beta\" AS beta, \"train.loss.loss_type\" AS loss, status, folder, n_steps, seconds, \
                   \"mean/loss\" AS mean, \"last/loss\" AS last, \"mean/rewards/accuracies\" AS accuracy, rank";
    let rows = rows(&case, columns);
    assert_eq!(rows.iter().map(|row| row["run"].as_str().unwrap()).collect::<Vec<_>>(), RUNS);
    for row in &rows {
        let (name, steps) = (row["run"].as_str().unwrap(), metrics(&case.path().join(row["folder"].as_str().unwrap())));
        assert_eq!(name, format!("beta-{}_loss_type-{}", row["beta"], row["loss"].as_str().unwrap()));
        assert_eq!((row["status"].as_str(), row["n_steps"].as_u64()), (Some("finished"), Some(6)));
        let losses: Vec<f64> = steps.iter().map(|step| step["loss"].as_f64().unwrap()).collect();
        assert!((row["mean"].as_f64().unwrap() - losses.iter().sum::<f64>() / 6.0).abs() < 1e-12, "{row:?}");
        assert_eq!(row["last"].as_f64(), losses.last().copied());
        assert!(row["seconds"].as_f64().unwrap() > 0.0);
        let better = rows.iter().filter(|other| other["accuracy"].as_f64() > row["accuracy"].as_f64()).count() as u64;
        assert_eq!(row["rank"].as_u64(), Some(better + 1), "{rows:?}");
    }
    let page = fs::read_to_string(case.path().join("s/sweep.html")).unwrap();
    assert!(RUNS.iter().all(|run| page.contains(run)) && !page.contains("src="), "{page}");
    assert_eq!(page.matches("<rect class=\"bar ").count(), 4, "{page}");
    assert!(page.contains("accuracies, mean of 10 steps, over the steps</h3>"), "{page}");

    // Run again, nothing is made; one more value makes its runs alone.
    let (table, before) = (times(&case.path().join("runs/one")), times(&case.path().join("s")));
    let again = case.run(GRID).success();
    assert_eq!((again.stderr.matches(": finished").count(), &again.stdout), (4, &swept.stdout), "{again}");
    let mut more = GRID;
    more[5] = "train.loss.beta=0.1,0.5,1";
    let listed = case.run(more.into_iter().chain(["--dry-run"])).success();
    assert_eq!(
        (listed.stdout.matches("  finished").count(), listed.stdout.matches("  to do").count()),
        (4, 2),
        "{listed}"
    );
    let longer = case.run(more).success();
    assert_eq!(longer.stderr.matches(": to do").count(), 2, "{longer}");
    assert_eq!(times(&case.path().join("runs/one")), table);
    let mut after = times(&case.path().join("s"));
    after.retain(|path, _| before.contains_key(path) && path.components().count() > 1);
    assert!(before.iter().all(|(path, time)| path.components().count() == 1 || after.get(path) == Some(time)));

    // Of another table they are no longer finished.
    case.run(["precompute", "p.toml", "--limit", "8", "--fresh"]).success();
    let other = case.run(GRID);
    assert_eq!((other.code, other.stderr.matches("belongs to another run").count()), (Some(1), 4), "{other}");
    let fresh = case.run(GRID.into_iter().chain(["--fresh", "--rank-by", "rewards/margins"])).success();
    assert!(fresh.stderr.contains("ranked by mean/rewards/margins, highest first"), "{fresh}");
    assert_eq!(fresh.stderr.matches(": to do").count(), 4, "{fresh}");
}

#[test]
fn a_run_that_fails_loses_no_other_and_is_tried_again() {
    let list = "[[run]]\nname = 'bad'\ntrain.reference = 'sft'\n[[run]]\nname = 'good'\ntrain.loss.beta = 0.5\n";
    let case = case().file("runs.toml", list);
    let arguments = ["sweep", "p.toml", "--out", "s", "--list", "runs.toml"];
    let swept = case.run(arguments);
    assert_eq!(swept.code, Some(1), "{swept}");
    assert!(swept.stderr.contains("error: run `bad` failed\n  caused by: "), "{swept}");
    assert!(case.path().join("s/good/policy").is_dir() && !case.path().join("s/bad/policy").exists());
    let rows = rows(
        &case,
        "run, status, error IS NOT NULL AS failed, rank, \"train.reference\" AS reference, \"train.loss.beta\" AS beta",
    );
    let row = |at: usize| Value::Array(rows[at].values().cloned().collect());
    assert_eq!(row(0), serde_json::json!(["bad", "failed", true, null, "sft", 0.1]));
    assert_eq!(row(1), serde_json::json!(["good", "finished", false, 1, null, 0.5]));

    case.run(["precompute", "p.toml", "--as", "sft"]).success();
    let again = case.run(arguments).success();
    assert!(again.stderr.contains("good: finished") && case.path().join("s/bad/policy").is_dir(), "{again}");
}

#[test]
fn an_interrupted_sweep_goes_on_from_the_checkpoint_of_its_run() {
    let case = case();
    let grid = |out| ["sweep", "p.toml", "--out", out, "--set", "train.seed=1,2", "--set", "train.max_steps=40"];
    case.run(grid("straight")).success();

    let mut child = case.command(grid("s")).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let second = case.path().join("s/seed-2_max_steps-40/train/metrics.jsonl");
    while fs::read_to_string(&second).unwrap_or_default().lines().count() < 2 {
        assert!(child.try_wait().unwrap().is_none(), "the sweep ended before the second step of its second run");
        std::thread::yield_now();
    }
    let kill = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().unwrap();
    assert!(kill.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let statuses = rows(&case, "status, rank");
    assert_eq!(
        statuses.iter().map(|row| row["status"].as_str().unwrap()).collect::<Vec<_>>(),
        ["finished", "interrupted"]
    );
    assert_eq!(statuses[1]["rank"], Value::Null);

    let resumed = case.run(grid("s")).success();
    assert!(resumed.stderr.contains("seed-1_max_steps-40: finished"), "{resumed}");
    assert!(resumed.stderr.contains("seed-2_max_steps-40: to go on from step "), "{resumed}");
    for run in ["seed-1_max_steps-40", "seed-2_max_steps-40"] {
        let (straight, resumed) = (case.path().join("straight").join(run), case.path().join("s").join(run));
        assert_eq!(metrics(&straight), metrics(&resumed));
        for part in ["policy", "train/checkpoints"] {
            assert!(files(&straight.join(part)) == files(&resumed.join(part)), "`{part}` of {run} differs");
        }
    }
}

#[test]
fn wrong_settings_end_a_sweep_before_it_begins() {
    let case = case();
    let refused = |arguments: &[&str]| {
        let outcome = case.run(["sweep", "p.toml", "--out", "s"].into_iter().chain(arguments.iter().copied()));
        assert_eq!(outcome.code, Some(2), "{outcome}");
        assert!(!case.path().join("s").exists() && !case.path().join("runs").exists());
        outcome.stderr
    };
    assert_eq!(
        refused(&["--set", "train.loss.betta=0.1"]),
        "error: cannot sweep\n  caused by: cannot use `--set train.loss.betta=0.1`\n  caused by: unknown key `betta` in \
         `[train.loss]`\n\nhint: did you mean `beta`?\n"
    );
    let said = refused(&["--set", "tokenize.max_length=64,128"]);
    assert!(said.contains("`tokenize.max_length` cannot be swept: it decides what is in the log-prob table"), "{said}");
    let said = refused(&["--set", "train.pairs.tables=[\"a\"],[\"b\"]"]);
    assert!(said.contains("`train.pairs.tables` cannot be swept: all runs share the log-prob table"), "{said}");
    assert!(refused(&[]).contains("nothing to sweep"));
    assert!(
        refused(&["--set", "train.seed=1", "--table", "nowhere"]).contains("log-prob table `nowhere` does not exist")
    );
    assert!(
        refused(&["--set", "train.seed=1", "--rank-by", "los"]).contains("unknown metric `los`: did you mean `loss`?")
    );
    let late = case.run(["sweep", "p.toml", "--out", "s", "--set", "train.max_steps=1", "--rank-by", "eval_loss"]);
    assert_eq!(late.code, Some(1), "{late}");
    assert!(late.stderr.contains("no finished run has `eval_loss`"), "{late}");
}
