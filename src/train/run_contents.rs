//! What a run writes into its folder, by name and by content: all that it may ever replace or delete there.
//!
//! A folder that is called `policy` or `train` may be anybody's. So a run takes a folder only if a record of its own stands
//! in it, and if every entry of what it replaces as a whole has a name that a run gives.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::course::Course;
use super::error::TrainError;
use super::metrics::METRICS;
use super::run_folder::{LOCK, MARKER, PREVIOUS};
use crate::checkpoint::{self, Checkpoint};
use crate::io::{self, IoError};
use crate::model;
use crate::table::schema::{metrics, sft_metrics};
use crate::tokenize::TokenizerFiles;

/// What a run, its report and an audit of its table leave in its folder.
const NAMES: [&str; 7] = ["plan.toml", "report.html", "findings.parquet", "audit.html", "reference", "policy", "train"];

/// Whether a name is one that a run gives.
type IsName<'a> = &'a dyn Fn(&str) -> bool;

/// Refuses a folder with something in it that a run does not write, where a run would replace or delete it.
///
/// # Errors
/// [`TrainError::NotOurs`] with the first such entry; of `policy` and of `train` also where nothing shows that a run has
/// made them.
pub(super) fn check(course: &Course) -> Result<(), TrainError> {
    if !course.out.is_dir() {
        return Ok(());
    }
    let refuse = |found: &Path| {
        let found = found.strip_prefix(&course.out).unwrap_or(found).display().to_string();
        Err(TrainError::NotOurs { path: course.out.clone(), found })
    };
    let previous = course.out.join(PREVIOUS);
    let is_of_policy = |name: &str| model::exports(name) || TokenizerFiles::saves(name);
    let is_of_checkpoints = |name: &str| Checkpoint::is_one(Path::new(name));
    let mut checks: Vec<(PathBuf, IsName<'_>)> = vec![
        (course.out.clone(), &|name| NAMES.contains(&name) || name == PREVIOUS),
        (course.policy(), &is_of_policy),
        (previous.clone(), &|name| ["policy", "checkpoints", "metrics.jsonl"].contains(&name)),
        (previous.join("policy"), &is_of_policy),
    ];
    for checkpoints in [course.checkpoints(), previous.join("checkpoints")] {
        if checkpoints.is_dir() {
            let steps = io::list(&checkpoints)?.into_iter().filter(|path| Checkpoint::is_one(path));
            checks.extend(steps.map(|step| (step, &checkpoint::is_file_of_one as IsName<'_>)));
        }
        checks.push((checkpoints, &is_of_checkpoints));
    }
    for (folder, is_ours) in checks {
        if let Some(stranger) = stranger(&folder, is_ours)? {
            return refuse(&stranger);
        }
    }
    let is_used = |folder: &PathBuf| folder.is_dir() && io::list(folder).is_ok_and(|entries| !entries.is_empty());
    match [course.policy(), course.train_folder()].into_iter().find(is_used) {
        Some(folder) if !has_record(course)? => refuse(&folder),
        _ => Ok(()),
    }
}

/// The first entry of a folder that has no such name, nor that of a half of one.
fn stranger(folder: &Path, is_ours: IsName<'_>) -> Result<Option<PathBuf>, TrainError> {
    if !folder.is_dir() {
        return Ok(None);
    }
    let is_strange = |entry: &PathBuf| {
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        !is_ours(&name) && !io::is_half(&name, is_ours)
    };
    Ok(io::list(folder)?.into_iter().find(is_strange))
}

/// Whether something stands in the folder that only a run writes: its marker or, where an earlier version of piref made it,
/// a line of metrics, a checkpoint, or the lock of one that was killed before either.
fn has_record(course: &Course) -> Result<bool, TrainError> {
    let previous = course.out.join(PREVIOUS);
    for metrics in [course.out.join(METRICS), previous.join("metrics.jsonl")] {
        if metrics.is_file() && has_line_of_ours(&metrics)? {
            return Ok(true);
        }
    }
    let has_checkpoint = |folder: &PathBuf| {
        folder.is_dir() && io::list(folder).is_ok_and(|steps| steps.iter().any(|step| Checkpoint::is_one(step)))
    };
    let folders = [course.checkpoints(), previous.join("checkpoints")];
    let is_there = |name: &str| course.train_folder().join(name).is_file();
    Ok([MARKER, LOCK].into_iter().any(is_there) || folders.iter().any(has_checkpoint))
}

fn has_line_of_ours(path: &Path) -> Result<bool, TrainError> {
    let mut line = Vec::new();
    let read = BufReader::new(io::open(path)?.take(io::SETTINGS_BYTES)).read_until(b'\n', &mut line);
    read.map_err(|source| IoError::new("read", path, source))?;
    let schema = serde_json::from_slice::<Value>(&line).ok().and_then(|line| line.get("schema").cloned());
    // Before its first step a run has an empty one.
    Ok(line.is_empty() || schema.is_some_and(|schema| schema == metrics::VERSION || schema == sft_metrics::VERSION))
}
