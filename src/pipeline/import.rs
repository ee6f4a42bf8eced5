//! The plan of an import: settings of stage one, for pairs that another program scored.

use std::path::PathBuf;

use super::Pipeline;
use super::error::PipelineError;
use super::plans::need;
use crate::interchange::{ImportDtype, ImportMap, ImportPlan, Logps};
use crate::precompute::Start;

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
        let (data, precompute) = (&self.settings().data, &self.settings().precompute);
        let ImportFlags { out, map, dtype, logps, start } = flags;
        Ok(ImportPlan {
            model: self.model()?,
            data: self.data_names()?,
            map,
            max_reject_rate: need(data.max_reject_rate, "data.max_reject_rate", "--max-reject-rate")?.get(),
            overlong: self.overlong()?,
            limit: data.limit,
            out,
            rules: self.rules()?,
            dtype,
            logps,
            rows_per_part: need(precompute.rows_per_part, "precompute.rows_per_part", "--rows-per-part")?,
            start,
        })
    }
}
