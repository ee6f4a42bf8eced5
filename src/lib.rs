//! piref: offline Direct Preference Optimization.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at a surprise")
)]

pub mod data;
pub mod digest;
pub mod error;
pub mod io;
pub mod loss;
pub mod model;
pub mod model_source;
pub mod optim;
pub mod pipeline;
pub mod precompute;
pub mod tokenize;
pub mod train;
