//! The log-prob table: what stage one writes and stage two reads.
//!
//! A table is a folder of immutable Parquet parts and a manifest written last. Its columns are the contract
//! `schemas/reference.v1.toml`, spelt again in [`schema`]; the conditions under which its numbers hold stand in the
//! manifest and in the footer of every part ([`Provenance`]).
//!
//! Beside a part lies, unless it was not wanted, a file of signals (`schemas/signals.v1.toml`): what the same forward
//! passes show of its pairs beside log-probs.
//!
//! The same pairs scored by further models are tables in the folder of the first: `TABLE/references/NAME/`
//! ([`references()`]).
//!
//! Invariants: a log-prob in a table is finite and at most 0; a folder with a manifest is a finished table; a file
//! that is not ours is neither deleted nor mixed with ours.

mod check;
mod diff;
mod error;
mod evals;
mod findings;
mod folder;
mod foreign;
pub mod hosted;
mod journal;
mod manifest;
mod outside;
mod outside_scores;
mod parquet_file;
mod parquet_input;
mod part_reader;
mod provenance;
mod reader;
mod references;
mod rejects;
pub mod schema;
mod shard;
mod signals;
mod signals_file;
mod step_files;
mod training_pairs;
mod writer;

pub use check::is_logp;
pub(crate) use check::{Answer, problems};
pub use diff::{Deltas, Rows, TableDiff, diff};
pub use error::TableError;
pub(crate) use evals::check_evals;
pub use evals::{EvalsWriter, EvaluatedPair};
pub use findings::{Finding, FindingsWriter, Level};
pub use folder::{TableFolder, reference_folder, references_folder};
pub(crate) use folder::{is_part_name, is_replaced, is_signals_name};
pub use foreign::Foreign;
pub(crate) use foreign::refuse_foreign;
pub use journal::{Journal, Layout, Recovered, ScoredPair, Task};
pub use manifest::{MANIFEST, Manifest};
pub use outside::{NotOutside, check_outside};
pub use outside_scores::{OutsideScores, ScoreColumns};
pub use parquet_file::{FileRecord, ParquetFile};
pub(crate) use parquet_input::{ParquetInput, is_contract_file, refuse_other_versions};
pub(crate) use part_reader::PartReader;
pub use provenance::{Difference, ModelProvenance, Provenance, SourceProvenance, TemplateProvenance};
pub use reader::ReferenceTable;
pub use references::{check_reference_name, references, sql_name};
pub use rejects::{REJECTS, RejectCounts, RejectLimits, RejectTally, Rejects, TooManyRejects};
pub use shard::{Shard, ShardError};
pub use signals::{CompletionSignals, PairSignals, TokenScores, signals_name, write_signals};
pub(crate) use signals_file::{SignalsReader, check_signals, signals_problems};
pub use step_files::StepFiles;
pub use training_pairs::{Loading, TokenLogps, TokenLogpsPair, TrainingPair, TrainingPairs};
pub use writer::{PairTokenLogps, Part, assemble, part_name, unscored, write_part};

#[cfg(test)]
pub(crate) mod tests;
