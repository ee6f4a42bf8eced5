//! The plan of an import: settings of stage one, for pairs that another program scored.

use std::path::PathBuf;

use super::Pipeline;
use super::error::PipelineError;
use super::plans::{check_exists, need};
use crate::interchange::{ImportDtype, ImportMap, ImportPlan, Logps};
use crate::precompute::Start;
use crate::tokenize::Rules;

/// What an import is told that no pipeline file says.
#[derive(Debug, Clone)]
pub struct ImportFlags {
    /// Folder of the table.
    pub out: PathBuf,
    /// Columns by what they are.
    pub map: ImportMap,
    /// In what the log-probs were computed.
    pub dtype: ImportDtype,
    /// What they are.
    pub logps: Logps,
    /// What to do with a table that is there.
    pub start: Start,
}

impl Pipeline {
    /// The plan of an import: model, files, rejects and token rules as in stage one.
    ///
    /// # Errors
    /// If the model or the data is not set, or a data file does not exist.
    pub fn import_plan(&self, flags: ImportFlags) -> Result<ImportPlan, PipelineError> {
        let (data, tokenize) = (&self.settings().data, &self.settings().tokenize);
        let files = need(data.files.as_ref(), "data.files", "FILE")?.clone();
        for file in &files {
            check_exists(file)?;
        }
        let ImportFlags { out, map, dtype, logps, start } = flags;
        Ok(ImportPlan {
            model: need(self.settings().model.clone(), "model", "--model")?,
            data: files,
            map,
            max_reject_rate: need(data.max_reject_rate, "data.max_reject_rate", "--max-reject-rate")?.get(),
            limit: data.limit,
            out,
            rules: Rules {
                max_length: need(tokenize.max_length, "tokenize.max_length", "--max-length")?,
                truncation_mode: need(tokenize.truncation_mode, "tokenize.truncation_mode", "--truncation-mode")?,
                template_date: need(tokenize.template_date, "tokenize.template_date", "--template-date")?,
            },
            dtype,
            logps,
            rows_per_part: need(
                self.settings().precompute.rows_per_part,
                "precompute.rows_per_part",
                "--rows-per-part",
            )?,
            start,
        })
    }
}
