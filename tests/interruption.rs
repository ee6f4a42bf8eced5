//! Signals and second processes, from outside.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use piref::io::Lock;

use crate::support::Case;
use crate::support::stages::{copy_dir, files};

const STEPS: &str = "40";

fn case() -> Case {
    let case = Case::new();
    for name in ["tiny", "pairs"] {
        copy_dir(&Path::new("fixtures").join(name), &case.path().join(name));
    }
    case.run(["precompute", "--model", "tiny", "--data", "pairs/standard.jsonl", "--out", "table"]).success();
    case
}

fn train(out: &str) -> Vec<&str> {
    let settings = ["--max-steps", STEPS, "--batch-size", "4", "--learning-rate", "1e-3", "--save-steps", "15"];
    ["train", "--model", "tiny", "--table", "table", "--out", out].into_iter().chain(settings).collect()
}

/// Metrics without the two columns that measure time.
fn metrics(run: &Path) -> Vec<serde_json::Map<String, serde_json::Value>> {
    let text = fs::read_to_string(run.join("train/metrics.jsonl")).unwrap();
    let mut rows: Vec<serde_json::Map<String, serde_json::Value>> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for row in &mut rows {
        row.retain(|name, _| !["tokens_per_second", "step_seconds"].contains(&name.as_str()));
    }
    rows
}

#[test]
fn ctrl_c_ends_a_run_at_a_checkpoint_and_the_command_it_prints_ends_the_run() {
    let case = case();
    case.run(train("straight")).success();

    let mut arguments = train("my run");
    arguments.push("--fresh");
    let mut child = case.command(arguments).stderr(Stdio::piped()).spawn().unwrap();
    let path = case.path().join("my run/train/metrics.jsonl");
    while fs::read_to_string(&path).unwrap_or_default().lines().count() < 2 {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before its second step");
        std::thread::yield_now();
    }
    let kill = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().unwrap();
    assert!(kill.success());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert!(
        said.contains("interrupted after step ") && said.contains("checkpoint: my run/train/checkpoints/step-"),
        "{said}"
    );
    assert!(!case.path().join("my run/policy").exists() && !case.path().join("my run/train/.piref.lock").exists());

    let resume = said.lines().find_map(|line| line.strip_prefix("to go on: ")).unwrap();
    assert!(resume.contains("--out 'my run'") && !resume.contains("--fresh"), "{resume}");
    let resumed = Command::new("sh").args(["-c", resume]).current_dir(case.path()).output().unwrap();
    assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));

    let (straight, resumed) = (case.path().join("straight"), case.path().join("my run"));
    assert_eq!(metrics(&straight), metrics(&resumed));
    for part in ["policy", "train/checkpoints"] {
        assert!(files(&straight.join(part)) == files(&resumed.join(part)), "`{part}` differs");
    }
}

#[test]
fn a_second_process_on_a_run_is_refused_while_the_first_is_at_work() {
    let case = case();
    fs::create_dir_all(case.path().join("run/train")).unwrap();
    let lock = Lock::acquire(&case.path().join("run/train/.piref.lock")).unwrap();
    let refused = case.run(train("run"));
    assert_eq!(refused.code, Some(1), "{refused}");
    let holder = format!(".piref.lock` is in use by process {}", std::process::id());
    assert!(refused.stderr.contains(&holder), "{refused}");
    assert!(!case.path().join("run/train/metrics.jsonl").exists());
    drop(lock);
    case.run(train("run")).success();
}
