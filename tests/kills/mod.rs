//! Killed at any moment (SIGKILL) and started again, a command ends with the bytes of one that was left alone, and with no
//! file besides.
//!
//! A few kills of each command at moments of the clock run with the suite. `PIREF_KILLS=2000 cargo test --test it kills`
//! (`make kills`) runs as many as wanted, half of them before a certain call that changes files, which takes `strace`.

mod killer;
mod scenario;

use std::fs;
use std::process::{Command, Stdio};

use crate::support::stages::files;
use crate::support::wait_for;
use scenario::case;

/// Kills of a command in the suite.
const N_KILLS: usize = 2;

#[test]
fn precompute() {
    scenario::PRECOMPUTE.killed_runs_match(N_KILLS);
}

#[test]
fn a_grown_table() {
    scenario::GROW.killed_runs_match(N_KILLS);
}

#[test]
fn a_table_made_afresh() {
    scenario::FRESH.killed_runs_match(N_KILLS);
}

#[test]
fn a_further_reference() {
    scenario::REFERENCE.killed_runs_match(N_KILLS);
}

#[test]
fn shards_made_into_a_table() {
    scenario::FINISH.killed_runs_match(N_KILLS);
}

#[test]
fn train() {
    scenario::TRAIN.killed_runs_match(N_KILLS);
}

#[test]
fn a_policy_trained_afresh() {
    scenario::TRAIN_FRESH.killed_runs_match(N_KILLS);
}

#[test]
fn lora() {
    scenario::LORA.killed_runs_match(N_KILLS);
}

#[test]
fn sft() {
    scenario::SFT.killed_runs_match(N_KILLS);
}

#[test]
fn sweep() {
    scenario::SWEEP.killed_runs_match(N_KILLS);
}

#[test]
fn audit() {
    scenario::AUDIT.killed_runs_match(N_KILLS);
}

#[test]
fn export() {
    scenario::EXPORT.killed_runs_match(N_KILLS);
}

#[test]
fn merge() {
    scenario::MERGE.killed_runs_match(N_KILLS);
}

#[test]
fn an_answer_in_a_file() {
    scenario::QUERY.killed_runs_match(N_KILLS);
}

#[test]
fn import() {
    scenario::IMPORT.killed_runs_match(N_KILLS);
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
