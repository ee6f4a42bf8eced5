//! SQL over tables, runs and data files, by DataFusion.
//!
//! A [`Session`] knows files by name: [`Session::register`] reads a path and says which names it gave. [`run`] answers
//! statements and writes the rows in one of the [`Format`]s, batch by batch.
//!
//! | path | names |
//! |---|---|
//! | a log-prob table | `pairs`, `scored`, `logps`, and `signals` and `rejects` where there are any |
//! | its further references | `pairs_NAME` for each, and `by_reference` over all |
//! | a run folder | those of its `reference/`, `metrics`, `findings`, and `evals` and `samples`: what its policy said of held-out pairs and answered to held-out prompts at each evaluation |
//! | `a-b.parquet`, `.arrow`, `.jsonl`, `.ndjson`, `.json`, `.csv`, `.tsv`, also `.gz` and `.zst` | the file name as an identifier: `a_b` |
//!
//! `FROM 'path/to/file.parquet'` works for each of these without a name, also for a `file://` URL; a folder of such files, or a
//! pattern (`data/*.jsonl`), is one table. `scored` is `pairs` with the margin and the
//! averages a query would otherwise spell out, and with the numbers of its signals; `logps` has one row a completion token:
//! `pair_id`, `source`, `row_idx`, `side` (`chosen` or `rejected`), `position` from 0, `token_id`, `logp` in nats, and
//! `token`, its text, where the session has the tokenizer of the table. `by_reference` has one row a row of `pairs` and what each reference says
//! of it: `ref_chosen_logps`, `NAME_chosen_logps`, …, null where a reference does not have the pair. Columns of `metrics` have slashes in their names, as in TRL, and need
//! double quotes: `SELECT step, "rewards/margins" FROM metrics`.
//!
//! Beside the functions of DataFusion there are those of [`FUNCTIONS`]. [`Resources`] bound the memory of a session, bring
//! it a tokenizer and further functions, and stop a query.
//!
//! [`pair_rows()`] answers another question: which rows of log-prob tables a predicate holds of, and in which order.
//!
//! Invariant: reads whatever it is given, trusts none of it; every error names the file or the part of the query.

mod arrow_table;
mod columns;
mod delimited_bounds;
mod delimited_table;
mod elsewhere;
mod encode;
mod error;
mod expansion;
mod file_stream;
mod files;
mod float_statistics;
mod format;
mod functions;
mod gate;
mod hints;
mod in_order;
mod json_cursor;
mod json_rows;
mod nesting;
mod numbers;
mod output;
mod pair_rows;
mod parquet_table;
mod path_tables;
mod permitted;
mod rows_file;
#[cfg(feature = "cluster")]
mod served;
mod session;
mod shipped;
mod source;
mod stop;
mod text_table;
mod views;

pub use elsewhere::Elsewhere;
pub use error::{QueryError, RowPlace};
pub use format::{Cells, Form, Format};
pub use functions::{Extra, FUNCTIONS, Function, Kind, register_functions};
#[cfg(feature = "cluster")]
pub(crate) use gate::{PLANNING_STACK, check as check_text, check_plan};
pub(crate) use json_cursor::{Step, scalar_paths};
pub use output::{Answered, Sink, run, run_each};
pub use pair_rows::{RowQuery, pair_rows};
pub use permitted::Refusal;
pub use rows_file::{Replace, RowsFile};
pub use session::{Resources, RowOrder, Rows, Session};
pub use shipped::Shipped;
pub use stop::Stop;
pub use views::{MovedAside, moved_aside, quoted};

#[cfg(test)]
mod tests;
