//! Killed at any moment (SIGKILL) and started again, a run ends with the bytes of one that was left alone.
//!
//! A few seeded kills run with the suite; `PIREF_KILLS=200 cargo test --test it kills` runs as many as wanted.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::Case;
use crate::support::stages::files;

const PIPELINE: &str = r#"
name = "killed"
model = "PROJECT/fixtures/tiny"
[data]
files = ["PROJECT/fixtures/pairs/standard.jsonl", "PROJECT/fixtures/pairs/conversational.jsonl"]
[precompute]
rows_per_part = 8
max_tokens = 256
[train]
learning_rate = 1e-3
batch_size = 4
max_steps = 8
save_steps = 2
"#;

fn case() -> Case {
    Case::new().pipeline(&PIPELINE.replace("PROJECT", env!("CARGO_MANIFEST_DIR")))
}

fn n_kills(default: usize) -> usize {
    std::env::var("PIREF_KILLS").ok().map_or(default, |text| text.parse().unwrap())
}

/// What a stage leaves behind, without what measures time.
fn results(run: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = files(run);
    for (name, bytes) in &mut found {
        if name.ends_with("metrics.jsonl") {
            let text = String::from_utf8(std::mem::take(bytes)).unwrap();
            for line in text.lines() {
                let mut row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
                row.retain(|key, _| !["step_seconds", "tokens_per_second"].contains(&key.as_str()));
                bytes.extend(serde_json::to_vec(&row).unwrap());
            }
        }
        // One of each, and both of them full of times.
        if name.starts_with("train") && name.to_string_lossy().contains("tfevents") {
            *name = "train/events".into();
            bytes.clear();
        }
        if name.ends_with("report.html") {
            bytes.clear();
        }
    }
    found
}

/// Starts `stage` again and again, and kills it at a moment drawn from the time it needs, until it has come to its end.
fn kill_until_done(case: &Case, stage: &str, duration: Duration, rng: &mut ChaCha8Rng) -> usize {
    let mut n_killed = 0;
    loop {
        let mut child = case.command([stage, "p.toml"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // One start in four is left alone, or a run of few steps would never end.
        if rng.random_ratio(1, 4) {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "after {n_killed} kills: {}", String::from_utf8_lossy(&output.stderr));
            return n_killed;
        }
        std::thread::sleep(duration.mul_f64(rng.random_range(0.0..1.0)));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        if output.status.success() {
            return n_killed;
        }
        assert_eq!(output.status.code(), None, "{}", String::from_utf8_lossy(&output.stderr));
        n_killed += 1;
    }
}

/// Runs both cases: one left alone, one killed until `n_kills` have happened, each time from nothing.
#[expect(clippy::print_stdout, reason = "how many kills there were is what a long run is for")]
fn killed_runs_match(stage: &str, prepare: &[&str], n_kills: usize) {
    let straight = case();
    for stage in prepare {
        straight.run([*stage, "p.toml"]).success();
    }
    let run = straight.path().join("runs/killed");
    let prepared = if run.is_dir() { files(&run) } else { Vec::new() };
    let began = Instant::now();
    straight.run([stage, "p.toml"]).success();
    let duration = began.elapsed();
    let want = results(&run);

    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let (mut n_killed, mut n_runs) = (0, 0);
    while n_killed < n_kills {
        let case = case();
        let run = case.path().join("runs/killed");
        for (name, bytes) in &prepared {
            let path = run.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        n_killed += kill_until_done(&case, stage, duration, &mut rng);
        n_runs += 1;
        let found = results(&run);
        let names =
            |files: &[(std::path::PathBuf, Vec<u8>)]| files.iter().map(|file| file.0.clone()).collect::<Vec<_>>();
        assert_eq!(names(&found), names(&want), "run {n_runs}, {n_killed} kills");
        for (found, want) in found.iter().zip(&want) {
            assert!(found == want, "run {n_runs}, {n_killed} kills: `{}` differs", found.0.display());
        }
    }
    println!("{stage}: {n_killed} kills in {n_runs} runs of {duration:?}, all with the same bytes");
}

#[test]
fn a_killed_precompute_ends_with_the_same_bytes() {
    killed_runs_match("precompute", &[], n_kills(6));
}

#[test]
fn a_killed_train_ends_with_the_same_bytes() {
    killed_runs_match("train", &["precompute"], n_kills(4));
}

/// Waits until the file holds the text: the sign that a run is in the middle of its work.
fn wait_for(path: &Path, text: &str) {
    let began = Instant::now();
    while !fs::read_to_string(path).is_ok_and(|found| found.contains(text)) {
        assert!(began.elapsed() < Duration::from_mins(1), "`{}` never said `{text}`", path.display());
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
#[cfg(unix)]
fn ctrl_c_commits_and_says_how_to_go_on() {
    let straight = case();
    straight.run(["precompute", "p.toml"]).success();
    let case = case();
    let table = case.path().join("runs/killed/reference");
    let child = case.command(["precompute", "p.toml"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(&table.join(".piref-journal"), "\"scored\"");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("interrupted: the log-probs of ") && stderr.contains(" pairs are on disk\n"), "{stderr}");
    assert!(stderr.trim_end().ends_with("piref precompute p.toml"), "{stderr}");

    let resumed = case.run(["precompute", "p.toml"]).success();
    assert!(resumed.stderr.contains("have their log-probs from before"), "{resumed}");
    assert!(files(&table) == files(&straight.path().join("runs/killed/reference")), "the table has other bytes");
}

#[test]
fn a_second_process_on_a_table_is_refused() {
    let case = case();
    let table = case.path().join("runs/killed/reference");
    fs::create_dir_all(&table).unwrap();
    let lock = piref::io::Lock::acquire(&table.join(".piref.lock")).unwrap();
    let refused = case.run(["precompute", "p.toml"]);
    assert_eq!(refused.code, Some(1), "{refused}");
    let holder = format!("is in use by process {}", std::process::id());
    assert!(refused.stderr.contains(&holder), "{refused}");
    drop(lock);
    // As a killed process leaves it.
    fs::write(table.join(".piref.lock"), "process 1\n").unwrap();
    case.run(["precompute", "p.toml"]).success();
}
