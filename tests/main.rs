//! All integration tests in one binary: DataFusion is linked once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at a surprise")]

mod audit;
mod audit_checks;
mod audit_page;
mod backends;
mod cli;
#[cfg(feature = "cluster")]
mod cluster;
mod data_order;
mod evaluation;
mod export;
mod fuzz;
mod generate;
mod golden;
mod hostile;
mod interruption;
mod invariance;
mod kills;
mod limits;
mod lora;
mod memory;
mod model_forms;
mod objectives;
mod objects;
mod observe;
mod optimizers;
mod overlong;
mod pipelines;
mod policies;
mod provenance;
mod references;
mod resume;
mod reuse;
mod scale;
mod schemas;
mod sft;
mod shards;
mod sharing;
mod signals;
mod sql;
mod support;
mod sweep;
mod tidy;
mod user_files;
mod verify;
