//! Log-prob tables to and from other programs.
//!
//! [`export_trl`] writes the columns that TRL's collator takes into one Parquet file; [`import()`] makes a table of a
//! data set that another program scored, from text or from token ids.
//!
//! Invariant: nothing is guessed about a number. A foreign log-prob that is none is an error with file, row and column,
//! and whether numbers are sums or averages over tokens is told by the user or measured; where the measurement is not
//! clear, the import is refused. A model's weights are never loaded here: `train` and `verify` score again.

mod columns;
mod error;
mod export;
mod import;
mod masks;
mod meaning;
mod plan;
mod read;
mod write;

pub use columns::{ImportMap, ParseImportMapError};
pub use error::InterchangeError;
pub use export::{ExportSummary, export_trl};
pub use import::{IMPORTED, import};
pub use meaning::{Doubt, Evidence, Meaning};
pub use plan::{ImportDtype, ImportEvent, ImportPlan, ImportSummary, Logps};
