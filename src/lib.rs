//! piref: offline Direct Preference Optimization.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at a surprise")
)]

pub mod data;
pub mod digest;
pub mod error;
pub mod io;
pub mod model_source;
