//! The integration tests: one binary, so that DataFusion is linked once.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at a surprise")
)]

mod sql;
