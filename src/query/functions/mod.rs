//! Functions of preference data that SQL does not have: one file each, with its documentation and an example that a
//! test runs.

mod bt_prob;
mod digests;
mod dpo_loss;
mod extremes;
mod growth;
mod jaccard;
mod json;
mod logsigmoid;
mod mad;
mod median;
mod n_tokens;
mod numeric;
mod reward;
mod robust_z;
mod sigmoid;
mod softplus;
mod token_text;
mod tokenize;
mod words;

use std::fmt;
use std::sync::Arc;

use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::ScalarUDF;
use datafusion::prelude::SessionContext;

pub(super) use growth::Measures;

use crate::tokenize::TokenizerFiles;

/// A function of piref's own, as a user reads about it.
#[derive(Debug, Clone, Copy)]
pub struct Function {
    /// Name and arguments: `reward(beta, policy, ref)`.
    pub call: &'static str,
    /// What it takes in at once.
    pub kind: Kind,
    /// What it returns, with its formula and units.
    pub doc: &'static str,
    /// A query that needs no table.
    pub example: &'static str,
    /// The value that the query answers. Of the functions that need a tokenizer: with the model in `fixtures/tiny`.
    pub answer: &'static str,
}

/// What a function takes in at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A row.
    Scalar,
    /// The rows of a group, for one value.
    Aggregate,
    /// The rows of a window, for a value each: `f(x) OVER (PARTITION BY source)`.
    Window,
}

/// A function that a session is given beside those of [`FUNCTIONS`].
#[derive(Debug, Clone)]
pub struct Extra {
    /// What a user reads about it.
    pub function: Function,
    /// What it does.
    pub udf: ScalarUDF,
}

impl Function {
    /// The name alone.
    pub fn name(&self) -> &'static str {
        self.call.split_once('(').map_or(self.call, |(name, _)| name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scalar => "scalar",
            Self::Aggregate => "aggregate",
            Self::Window => "window",
        })
    }
}

/// The functions that every session has beside those of DataFusion, in the order of their names.
pub const FUNCTIONS: [Function; 21] = [
    bt_prob::FUNCTION,
    dpo_loss::FUNCTION,
    jaccard::FUNCTION,
    json::AS_TEXT,
    json::EXTRACT,
    json::GET,
    json::GET_BOOL,
    json::GET_FLOAT,
    json::GET_INT,
    json::GET_STR,
    logsigmoid::FUNCTION,
    mad::FUNCTION,
    digests::MD5,
    n_tokens::FUNCTION,
    reward::FUNCTION,
    robust_z::FUNCTION,
    digests::SHA256,
    sigmoid::FUNCTION,
    softplus::FUNCTION,
    token_text::FUNCTION,
    tokenize::FUNCTION,
];

/// Makes them known to a context, this program's own or one of an engine that runs its queries. Those that need a tokenizer
/// are there without one, and say so when they are called.
pub fn register_functions(ctx: &SessionContext, tokenizer: Option<&Arc<TokenizerFiles>>) {
    for udf in [
        bt_prob::udf(),
        digests::md5(),
        digests::sha256(),
        dpo_loss::udf(),
        jaccard::udf(),
        logsigmoid::udf(),
        n_tokens::udf(tokenizer),
        reward::udf(),
        sigmoid::udf(),
        softplus::udf(),
        token_text::udf(tokenizer),
        tokenize::udf(tokenizer),
    ] {
        ctx.register_udf(udf);
    }
    for udf in json::udfs().into_iter().chain(growth::udfs(ctx)).chain([growth::within()]) {
        ctx.register_udf(udf);
    }
    let mut registry = ctx.clone();
    // The planner is one of the session's state, which clones of a context share.
    _ = registry.register_expr_planner(Arc::new(json::Arrows));
    for udaf in extremes::udafs() {
        ctx.register_udaf(udaf);
    }
    ctx.register_udaf(mad::udaf());
    ctx.register_udwf(robust_z::udwf());
}

#[cfg(test)]
mod tests;
