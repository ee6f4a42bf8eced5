//! `[audit]`: which checks look at a table, and with which numbers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Pipeline;
use super::error::PipelineError;
use super::settings::words;
use super::values::number;
use crate::audit::{self, AuditError, Checks, Exclusion, FailOn};
use crate::data;
use crate::loss::Beta;

/// `[audit]`: what is asked of a table.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditSettings {
    /// Only these checks, by name (`B1`) or family (`B`). Default: all.
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    pub check: Option<Vec<String>>,

    /// Not these checks, by name or family.
    #[arg(long, value_name = "ID,…", value_delimiter = ',')]
    pub skip: Option<Vec<String>>,

    /// Folder with checks of your own: a `.sql` file each, with a header like that of `piref audit --explain B1`.
    #[arg(long, value_name = "FOLDER")]
    pub checks: Option<PathBuf>,

    /// Numbers of checks by check and name, e.g. `E3.z = 4`. The flag is `--threshold`.
    #[arg(skip)]
    pub thresholds: Option<BTreeMap<String, BTreeMap<String, f64>>>,

    /// A second model's log-probs of the same pairs: a further reference of the table by its name, or another table.
    #[arg(long, value_name = "NAME|TABLE")]
    pub reference: Option<String>,

    /// β of the checks that depend on it, in 1/nat. Default: that of `[train.loss]`.
    #[arg(long, value_name = "BETA", value_parser = number::<Beta>)]
    pub beta: Option<Beta>,

    /// File of evaluation prompts that the data should not have; repeat for more.
    #[arg(long, value_name = "FILE")]
    pub against: Option<Vec<PathBuf>>,

    /// Columns with the scores of chosen and rejected; `column.key` for a key inside JSON text. Default: the usual names,
    /// as `score_chosen,score_rejected`.
    #[arg(long, value_name = "CHOSEN,REJECTED", value_delimiter = ',')]
    pub score_columns: Option<Vec<String>>,

    /// Column that is true of pairs whose label is known to be swapped, or `column.key`: measures how well the scores of
    /// suspicion find them, and fits a combination of them unless `--trusted` says to which pairs.
    #[arg(long, value_name = "COLUMN")]
    pub truth: Option<String>,

    /// File of pairs whose labels you have looked at: `pair_id`, and `flipped` (true or false) unless `--truth` says it. Fits
    /// the probability of a swap to them, `p_flipped`; other pairs with a known truth measure it.
    #[arg(long, value_name = "FILE")]
    pub trusted: Option<PathBuf>,

    /// Fail where there is a finding of this level or above.
    #[arg(long, value_name = "LEVEL", value_parser = words::<FailOn>())]
    pub fail_on: Option<FailOn>,
}

impl AuditSettings {
    /// Whether nothing is set.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The checks that are asked for.
    ///
    /// # Errors
    /// If a name is of none, or a file of the folder is no check.
    pub fn checks(&self) -> Result<Checks, AuditError> {
        let list = |ids: &Option<Vec<String>>| ids.clone().unwrap_or_default();
        let mut checks = self.all_checks()?;
        checks.select(&list(&self.check), &list(&self.skip))?;
        Ok(checks)
    }

    /// The checks there are.
    ///
    /// # Errors
    /// If a file of the folder is no check.
    pub fn all_checks(&self) -> Result<Checks, AuditError> {
        let mut checks = Checks::built_in()?;
        if let Some(folder) = &self.checks {
            checks.add_folder(folder)?;
        }
        Ok(checks)
    }
}

impl Pipeline {
    /// The plan of an audit of the table at `table`.
    ///
    /// # Errors
    /// If β has no value: never, with the defaults; or if there is no file of a name in `against`.
    pub fn audit_plan(&self, table: &Path, exclusion: Option<Exclusion>) -> Result<audit::Plan, PipelineError> {
        let audit = &self.settings().audit;
        Ok(audit::Plan {
            table: table.to_owned(),
            reference: audit.reference.clone(),
            beta: self.audit_beta()?,
            thresholds: audit.thresholds.clone().unwrap_or_default(),
            against: data::file_names(audit.against.as_deref().unwrap_or_default(), None)?,
            scores: audit.score_columns.clone(),
            truth: audit.truth.clone(),
            trusted: audit.trusted.clone(),
            exclusion,
            memory_limit: None,
        })
    }

    /// β of the checks that depend on it.
    ///
    /// # Errors
    /// As [`audit_plan`](Self::audit_plan).
    pub fn audit_beta(&self) -> Result<f64, PipelineError> {
        let beta = self.settings().audit.beta.or(self.settings().train.loss.beta);
        let missing = PipelineError::Missing { key: "audit.beta", flag: "--beta" };
        beta.map(Beta::get).ok_or(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Settings;
    use crate::pipeline::file::parse;

    #[test]
    fn a_pipeline_file_says_which_checks_and_numbers() {
        let file =
            parse("[audit]\nskip = ['I']\nfail_on = 'warn'\n[audit.thresholds]\nE3.z = 4\nD1.share = 0.7\n").unwrap();
        let flags = Settings {
            audit: AuditSettings {
                thresholds: Some([("E3".to_owned(), [("z".to_owned(), 5.0)].into())].into()),
                ..AuditSettings::default()
            },
            ..Settings::default()
        };
        let audit = file.under(&flags).unwrap().audit;
        let thresholds = audit.thresholds.clone().unwrap();
        assert_eq!((thresholds["E3"]["z"], thresholds["D1"]["share"]), (5.0, 0.7));
        assert_eq!(audit.fail_on, Some(FailOn::Warn));
        assert!(audit.checks().unwrap().infos().all(|info| !info.id.starts_with('I')));
    }

    #[test]
    fn beta_is_that_of_training_unless_given() {
        let pipeline = Pipeline::from_flags(&Settings::default()).unwrap();
        assert!((pipeline.audit_beta().unwrap() - 0.1).abs() < 1e-12);
        let audit = AuditSettings { beta: Some(Beta::try_from(0.5).unwrap()), ..AuditSettings::default() };
        let pipeline = Pipeline::from_flags(&Settings { audit, ..Settings::default() }).unwrap();
        assert!((pipeline.audit_beta().unwrap() - 0.5).abs() < 1e-12);
    }
}
