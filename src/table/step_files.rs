//! The files that a run leaves whenever it evaluates its policy, one an evaluation under a name that tells the step.
//!
//! A file is complete or not there, and an evaluation that is made again replaces its own: nothing is there twice.

use std::path::{Path, PathBuf};

use crate::io::{self, IoError};

/// What their names begin with.
const STEP: &str = "step-";

/// A kind of these files, which has a folder of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepFiles {
    /// What the policy says of held-out pairs: `schemas/evals.v1.toml`.
    Evals,
    /// What it answers to held-out prompts: `schemas/samples.v1.toml`.
    Samples,
}

impl StepFiles {
    fn extension(self) -> &'static str {
        match self {
            Self::Evals => ".parquet",
            Self::Samples => ".jsonl",
        }
    }

    /// The file of the evaluation after `step` steps in `folder`.
    pub fn path(self, folder: &Path, step: u64) -> PathBuf {
        folder.join(format!("{STEP}{step:08}{}", self.extension()))
    }

    /// The files in `folder`, by step; none where there is no folder.
    pub fn list(self, folder: &Path) -> Result<Vec<(u64, PathBuf)>, IoError> {
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let step = |path: &Path| {
            let name = path.file_name()?.to_str()?;
            name.strip_prefix(STEP)?.strip_suffix(self.extension())?.parse().ok()
        };
        let mut found: Vec<(u64, PathBuf)> =
            io::list(folder)?.into_iter().filter_map(|path| Some((step(&path)?, path))).collect();
        found.sort();
        Ok(found)
    }

    /// Deletes the files of evaluations after `step`, the last that counts; all of them where none does.
    pub fn drop_after(self, folder: &Path, step: Option<u64>) -> Result<(), IoError> {
        for (found, path) in self.list(folder)? {
            if step.is_none_or(|step| found > step) {
                io::remove(&path)?;
            }
        }
        if !folder.is_dir() {
            return Ok(());
        }
        // What a kill left of a file in the making.
        for path in io::list(folder)? {
            if path.is_file() && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
                io::remove(&path)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_step_and_those_that_do_not_count_go() {
        for (kind, extension, other) in
            [(StepFiles::Evals, "parquet", "jsonl"), (StepFiles::Samples, "jsonl", "parquet")]
        {
            let folder = tempfile::tempdir().unwrap();
            for step in [0, 5, 123_456_789, 20] {
                io::write(&kind.path(folder.path(), step), b"").unwrap();
            }
            for name in [
                format!("step-x.{extension}"),
                "step-3".to_owned(),
                format!("step-00000030.{other}"),
                format!("notes.{extension}"),
                format!(".step-00000005.{extension}.a1.partial"),
            ] {
                io::write(&folder.path().join(name), b"").unwrap();
            }
            let steps =
                || -> Vec<u64> { kind.list(folder.path()).unwrap().into_iter().map(|(step, _)| step).collect() };
            assert_eq!(steps(), [0, 5, 20, 123_456_789]);
            kind.drop_after(folder.path(), Some(5)).unwrap();
            assert_eq!((steps(), io::list(folder.path()).unwrap().len()), (vec![0, 5], 6));
            kind.drop_after(folder.path(), None).unwrap();
            assert!(steps().is_empty());
            kind.drop_after(&folder.path().join("none"), None).unwrap();
        }
    }
}
