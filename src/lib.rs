//! piref: offline Direct Preference Optimization.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at a surprise")
)]

pub mod error;

pub mod digest;

pub mod io;

pub mod model_source;

pub mod data;

pub mod tokenize;

pub mod batch;

pub mod ops;

pub mod model;

pub mod logprob;

pub mod table;

pub mod loss;

pub mod optim;

pub mod checkpoint;

pub mod precompute;

pub mod train;

pub mod query;

pub mod pipeline;

pub mod cli;
