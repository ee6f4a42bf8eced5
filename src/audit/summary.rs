//! What an audit ends with, for a program or a page.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Info;
use super::calibration::Calibration;
use super::quality::ScoreQuality;
use crate::digest::Digest;
use crate::table::{Finding, Level};

/// Findings of a check that a summary quotes: of the data set, and of single pairs.
const QUOTED: [usize; 2] = [50, 3];

/// What an audit ends with.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The table.
    pub table: PathBuf,
    /// Digest of its rows.
    pub table_digest: Digest,
    /// Its rows.
    pub n_pairs: u64,
    /// β of the checks that depend on it, in 1/nat.
    pub beta: f64,
    /// Where the scores of the data were found, chosen first.
    pub scores: Option<[String; 2]>,
    /// Every check that was asked for, by name.
    pub checks: Vec<CheckSummary>,
    /// Findings that say something is wrong.
    pub n_errors: u64,
    /// Findings that say something is probably not what was meant.
    pub n_warnings: u64,
    /// Findings worth knowing.
    pub n_infos: u64,
    /// How well scores of suspicion find labels that are known to be swapped, where the truth is named.
    pub suspects: Vec<ScoreQuality>,
    /// What trusted pairs make of all of them together, where the truth is named.
    pub calibration: Option<Calibration>,
    /// What stays after the exclusions, where a selection was written.
    pub selection: Option<Kept>,
    /// Wall time, in seconds.
    pub seconds: f64,
}

/// What one check has found.
#[derive(Debug, Clone, Serialize)]
pub struct CheckSummary {
    /// The check.
    #[serde(flatten)]
    pub info: Info,
    /// Why it could not look; `None` where it has.
    pub skipped: Option<String>,
    /// Its findings that are errors, warnings and information.
    pub n_findings: [u64; 3],
    /// Findings about the data set, and the first about single pairs.
    pub findings: Vec<Finding>,
    /// Wall time, in seconds.
    pub seconds: f64,
}

/// Pairs that a selection has.
#[derive(Debug, Clone, Serialize)]
pub struct Kept {
    /// The file.
    pub path: PathBuf,
    /// Checks by whose findings pairs were left out.
    pub excluded: Vec<String>,
    /// Rows that stay.
    pub n_pairs: u64,
    /// Rows that were left out.
    pub n_left_out: u64,
}

/// From which level on findings fail a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailOn {
    /// Warnings and errors.
    Warn,
    /// Errors only.
    Error,
}

impl Summary {
    /// Whether there are findings of this level or above.
    pub fn fails(&self, on: FailOn) -> bool {
        self.n_errors > 0 || (on == FailOn::Warn && self.n_warnings > 0)
    }

    pub(super) fn count(&mut self, check: &CheckSummary) {
        let [errors, warnings, infos] = check.n_findings;
        self.n_errors += errors;
        self.n_warnings += warnings;
        self.n_infos += infos;
    }
}

impl CheckSummary {
    pub(super) fn new(info: Info) -> Self {
        Self { info, skipped: None, n_findings: [0; 3], findings: Vec::new(), seconds: 0.0 }
    }

    /// All its findings.
    pub fn n_all(&self) -> u64 {
        self.n_findings.iter().sum()
    }

    /// The gravest level among its findings.
    pub fn level(&self) -> Option<Level> {
        let levels = [Level::Error, Level::Warn, Level::Info];
        levels.into_iter().zip(self.n_findings).find(|(_, n)| *n > 0).map(|(level, _)| level)
    }

    pub(super) fn push(&mut self, finding: &Finding) {
        let at = match finding.level {
            Level::Error => 0,
            Level::Warn => 1,
            Level::Info => 2,
        };
        self.n_findings[at] += 1;
        let is_alike = |quoted: &&Finding| quoted.pair_id.is_some() == finding.pair_id.is_some();
        let room = QUOTED[usize::from(finding.pair_id.is_some())];
        if self.findings.iter().filter(is_alike).count() < room {
            self.findings.push(finding.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(pair_id: Option<&str>, level: Level) -> Finding {
        let evidence = "e".into();
        Finding { pair_id: pair_id.map(str::to_owned), check: "X1".into(), level, value: None, evidence }
    }

    #[test]
    fn findings_are_counted_and_a_few_are_quoted() {
        let info = toml::from_str(
            "id = 'X1'\nlevel = 'info'\ntitle = ''\nquestion = ''\nformula = ''\nsource = ''\nadvice = ''",
        );
        let mut check = CheckSummary::new(info.unwrap());
        assert_eq!(check.level(), None);
        for _ in 0..60 {
            check.push(&finding(Some("a"), Level::Info));
            check.push(&finding(None, Level::Warn));
        }
        assert_eq!((check.n_findings, check.n_all(), check.level()), ([0, 60, 60], 120, Some(Level::Warn)));
        assert_eq!(check.findings.iter().filter(|finding| finding.pair_id.is_some()).count(), 3);
        assert_eq!(check.findings.len(), 53);
    }
}
