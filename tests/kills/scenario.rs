//! Commands that are killed, and what each has to leave behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value};

use super::killer::{Killer, piped};
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

/// A command in a folder.
pub(super) struct Scenario {
    name: &'static str,
    /// What is run before, and left alone.
    prepare: &'static [&'static [&'static str]],
    command: &'static [&'static str],
    /// What is said if it is started once more after its end; none if it then succeeds.
    finished: Option<&'static str>,
}

const TABLE: &[&str] = &["precompute", "p.toml"];
const SMALL_TABLE: &[&str] = &["precompute", "p.toml", "--limit", "20"];
const POLICY: &[&str] = &["train", "p.toml", "--max-steps", "4"];

pub(super) const PRECOMPUTE: Scenario = Scenario { name: "precompute", prepare: &[], command: TABLE, finished: None };

pub(super) const GROW: Scenario = Scenario { name: "grow", prepare: &[SMALL_TABLE], command: TABLE, finished: None };

/// In the place of a table of other conditions.
pub(super) const FRESH: Scenario = Scenario {
    name: "fresh",
    prepare: &[&["precompute", "p.toml", "--limit", "20", "--max-length", "64"]],
    command: &["precompute", "p.toml", "--fresh"],
    finished: None,
};

pub(super) const REFERENCE: Scenario =
    Scenario { name: "as", prepare: &[TABLE], command: &["precompute", "p.toml", "--as", "again"], finished: None };

pub(super) const FINISH: Scenario = Scenario {
    name: "finish",
    prepare: &[&["precompute", "p.toml", "--shard", "0/2"], &["precompute", "p.toml", "--shard", "1/2"]],
    command: &["precompute", "p.toml", "--finish"],
    finished: None,
};

pub(super) const TRAIN: Scenario =
    Scenario { name: "train", prepare: &[TABLE], command: &["train", "p.toml"], finished: None };

/// In the place of a policy of other settings.
pub(super) const TRAIN_FRESH: Scenario = Scenario {
    name: "train afresh",
    prepare: &[SMALL_TABLE, POLICY],
    command: &["train", "p.toml", "--beta", "0.3", "--fresh"],
    finished: None,
};

pub(super) const LORA: Scenario =
    Scenario { name: "lora", prepare: &[SMALL_TABLE], command: &["train", "p.toml", "--lora-r", "4"], finished: None };

pub(super) const SFT: Scenario = Scenario {
    name: "sft",
    prepare: &[],
    command: &["sft", "p.toml", "--limit", "20", "--out", "tuned"],
    finished: None,
};

pub(super) const SWEEP: Scenario = Scenario {
    name: "sweep",
    prepare: &[SMALL_TABLE],
    command: &[
        "sweep",
        "p.toml",
        "--out",
        "s",
        "--table",
        "runs/killed/reference",
        "--set",
        "train.max_steps=2,4",
        "--set",
        "train.loss.beta=0.1,0.3",
    ],
    finished: None,
};

pub(super) const AUDIT: Scenario = Scenario {
    name: "audit",
    prepare: &[SMALL_TABLE],
    command: &["audit", "runs/killed/reference", "--findings", "f.parquet", "--report", "a.html", "--sarif", "a.sarif"],
    finished: None,
};

pub(super) const EXPORT: Scenario = Scenario {
    name: "export",
    prepare: &[TABLE],
    command: &["export", "runs/killed/reference", "--to", "trl", "--out", "trl.parquet"],
    finished: None,
};

pub(super) const MERGE: Scenario = Scenario {
    name: "merge",
    prepare: &[SMALL_TABLE, &["train", "p.toml", "--max-steps", "2", "--lora-r", "4"]],
    command: &["export", "runs/killed", "--merge", "--out", "merged", "--max-shard-size", "400KB"],
    finished: Some("is there already"),
};

pub(super) const QUERY: Scenario = Scenario {
    name: "query",
    prepare: &[TABLE],
    command: &["sql", "runs/killed/reference", "-c", "SELECT * FROM pairs ORDER BY source, row_idx", "-o", "a.parquet"],
    finished: None,
};

pub(super) const IMPORT: Scenario = Scenario {
    name: "import",
    prepare: &[
        TABLE,
        &[
            "sql",
            "runs/killed/reference",
            "-c",
            "SELECT prompt, chosen, rejected, ref_chosen_logps, ref_rejected_logps FROM pairs ORDER BY source, row_idx",
            "-o",
            "scored.jsonl",
        ],
    ],
    command: &[
        "import",
        "scored.jsonl",
        "--model",
        "PROJECT/fixtures/tiny",
        "--logps",
        "sum",
        "--max-length",
        "256",
        "--rows-per-part",
        "8",
        "--out",
        "imported",
    ],
    finished: Some("holds a table already"),
};

/// A folder with the pipeline.
pub(super) fn case() -> Case {
    Case::new().pipeline(&PIPELINE.replace("PROJECT", env!("CARGO_MANIFEST_DIR")))
}

/// All commands, for the share of each in a long run.
const N_SCENARIOS: usize = 15;

/// Longest that a kill may leave the end of a run open: each start is left alone with one chance in four.
const LEFT_ALONE: (u32, u32) = (1, 4);

impl Scenario {
    /// Runs two folders: one left alone, one killed, until there were so many kills, each time from what was prepared.
    #[expect(clippy::print_stdout, reason = "how many kills there were is what a long run is for")]
    pub(super) fn killed_runs_match(&self, n_kills: usize) {
        let wanted: Option<usize> = std::env::var("PIREF_KILLS").ok().map(|text| text.parse().unwrap());
        let command: Vec<String> =
            self.command.iter().map(|word| word.replace("PROJECT", env!("CARGO_MANIFEST_DIR"))).collect();
        let command: Vec<&str> = command.iter().map(String::as_str).collect();

        let straight = case();
        for step in self.prepare {
            straight.run(step.iter().copied()).success();
        }
        let prepared = files(straight.path());
        let began = Instant::now();
        straight.run(command.iter().copied()).success();
        let duration = began.elapsed();
        let want = results(straight.path());

        let mut killers = vec![Killer::AtMoment(duration)];
        if wanted.is_some() {
            let traced = with_files(&prepared);
            killers.push(Killer::of_calls(&traced, &command));
        }
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        for killer in &killers {
            // A run of the suite is killed twice at most, one of a long run until chance leaves it alone.
            let most = if wanted.is_some() { usize::MAX } else { n_kills };
            let n_kills = wanted.map_or(n_kills, |wanted| wanted.div_ceil(N_SCENARIOS * killers.len()));
            let (mut n_killed, mut n_runs) = (0, 0);
            while n_killed < n_kills {
                let case = with_files(&prepared);
                n_killed += self.kill_until_done(&case, &command, killer, most, &mut rng);
                n_runs += 1;
                let about = format!("{}, run {n_runs}, {n_killed} kills {killer}", self.name);
                same(&results(case.path()), &want, &about);
            }
            println!("{}: {n_killed} kills in {n_runs} runs, {killer}, all with the same bytes", self.name);
        }
    }

    /// Starts the command again and again, and kills it, until it has come to its end.
    fn kill_until_done(
        &self,
        case: &Case,
        command: &[&str],
        killer: &Killer,
        most: usize,
        rng: &mut ChaCha8Rng,
    ) -> usize {
        let mut n_killed = 0;
        loop {
            // Or a run of few steps would never end.
            let is_left_alone = n_killed >= most || n_killed > 0 && rng.random_ratio(LEFT_ALONE.0, LEFT_ALONE.1);
            let child = if is_left_alone {
                piped(&mut case.command(command.iter().copied()))
            } else {
                killer.start(case, command, rng)
            };
            let output = child.wait_with_output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            if output.status.success() {
                return n_killed;
            }
            // Killed after its end, and started again.
            if n_killed > 0 && self.finished.is_some_and(|said| stderr.contains(said)) {
                return n_killed;
            }
            assert!(!is_left_alone, "{}, after {n_killed} kills: {stderr}", self.name);
            assert_eq!(output.status.code(), None, "{}, after {n_killed} kills: {stderr}", self.name);
            n_killed += 1;
        }
    }
}

/// A folder with what the steps before have left.
fn with_files(prepared: &[(PathBuf, Vec<u8>)]) -> Case {
    let case = case();
    for (name, bytes) in prepared {
        let path = case.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    case
}

fn same(found: &[(PathBuf, Vec<u8>)], want: &[(PathBuf, Vec<u8>)], about: &str) {
    let names = |files: &[(PathBuf, Vec<u8>)]| files.iter().map(|file| file.0.clone()).collect::<Vec<_>>();
    assert_eq!(names(found), names(want), "{about}");
    for (found, want) in found.iter().zip(want) {
        assert!(found == want, "{about}: `{}` differs", found.0.display());
    }
}

/// What a command leaves behind, without what measures time.
fn results(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = files(folder);
    for (name, bytes) in &mut found {
        let said = name.to_string_lossy().into_owned();
        if said.ends_with("metrics.jsonl") {
            *bytes = timeless(bytes);
        }
        // One of each, and both of them full of times.
        if said.contains("tfevents") {
            name.set_file_name("events");
            bytes.clear();
        }
        if ["report.html", "sweep.html", "sweep.parquet"].iter().any(|timed| said.ends_with(timed)) {
            bytes.clear();
        }
    }
    found
}

fn timeless(metrics: &[u8]) -> Vec<u8> {
    let mut timeless = Vec::new();
    for line in std::str::from_utf8(metrics).unwrap().lines() {
        let mut row: Map<String, Value> = serde_json::from_str(line).unwrap();
        row.retain(|key, _| !["step_seconds", "tokens_per_second"].contains(&key.as_str()));
        timeless.extend(serde_json::to_vec(&row).unwrap());
    }
    timeless
}
