//! The functions of this program in the places where a cluster looks for them.

use std::sync::Arc;

use ballista_core::registry::BallistaFunctionRegistry;
use ballista_core::utils::default_session_builder;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::query;
use crate::scoring::{self, ModelFiles, Models};
use crate::tokenize::TokenizerFiles;

/// Makes the functions known to a context: those of preference data, and those that score, by these models.
pub fn register(ctx: &SessionContext, models: &Arc<dyn Models>, tokenizer: Option<&Arc<TokenizerFiles>>) {
    query::register_functions(ctx, tokenizer);
    for function in scoring::functions(models) {
        ctx.register_udf(function.udf);
    }
}

/// Models for those who plan calls and compute none: a client, a scheduler.
pub(super) fn no_models() -> Arc<dyn Models> {
    Arc::new(ModelFiles::new(Vec::new()))
}

/// A session of a scheduler, which plans calls of the functions.
///
/// # Errors
/// If the engine cannot make one.
pub fn session_state(config: SessionConfig) -> Result<SessionState, DataFusionError> {
    state_with(config, &no_models(), None)
}

/// What an executor looks the functions up in.
///
/// # Errors
/// If the engine cannot make one.
pub fn registry(
    models: &Arc<dyn Models>,
    tokenizer: Option<&Arc<TokenizerFiles>>,
) -> Result<BallistaFunctionRegistry, DataFusionError> {
    Ok((&state_with(SessionConfig::new(), models, tokenizer)?).into())
}

fn state_with(
    config: SessionConfig,
    models: &Arc<dyn Models>,
    tokenizer: Option<&Arc<TokenizerFiles>>,
) -> Result<SessionState, DataFusionError> {
    let ctx = SessionContext::new_with_state(default_session_builder(config)?);
    register(&ctx, models, tokenizer);
    Ok(ctx.state())
}

#[cfg(test)]
mod tests {
    use datafusion::execution::FunctionRegistry;

    use super::*;

    #[test]
    fn functions_of_preference_data_stand_beside_those_of_the_engine() {
        let registry = registry(&no_models(), None).unwrap();
        for name in ["abs", "array_length", "reward", "ref_logps", "ref_logps_with_signals"] {
            assert!(registry.udf(name).is_ok(), "{name}");
        }
        assert!(registry.udaf("mad").is_ok() && registry.udaf("avg").is_ok());
        assert!(registry.udwf("robust_z").is_ok() && registry.udwf("rank").is_ok());
        assert!(registry.udf("nothing").is_err());
        let state = session_state(SessionConfig::new()).unwrap();
        assert!(state.scalar_functions().contains_key("ref_logps"));
    }
}
