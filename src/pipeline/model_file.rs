//! The model of scoring functions in SQL, by the settings of stage one.

use super::Pipeline;
use super::error::PipelineError;
use super::plans::need;
use crate::ops::Backend;
use crate::policy::PolicySource;
use crate::scoring::ModelFile;

impl Pipeline {
    /// The model that was found at `source`, in the number format, on the device and within the budget of stage one.
    ///
    /// # Errors
    /// If the model is not set, or the device cannot be used.
    pub fn model_file(&self, source: PolicySource) -> Result<ModelFile, PipelineError> {
        let precompute = &self.settings().precompute;
        Ok(ModelFile {
            name: self.model()?,
            source,
            backend: Backend::best(need(precompute.device, "precompute.device", "--device")?.open()?),
            dtypes: vec![need(precompute.dtype, "precompute.dtype", "--dtype")?],
            max_tokens: need(precompute.max_tokens, "precompute.max_tokens", "--max-tokens")?,
        })
    }
}
