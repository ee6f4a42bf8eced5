//! Which pairs of which tables a run trains on, in which order, and which it holds out.
//!
//! A [`Selection`] is what is asked for; [`select`] reads the tables and says what that is: a [`Split`] of rows.
//!
//! ```text
//! all rows of the tables → those of which `where` holds → minus the held-out prompts → by `order by`, or a curriculum
//! ```
//!
//! Invariants: no prompt is on both sides of a split; which side it is on depends on nothing but its text and the share;
//! what was selected is a function of the tables, the selection and the files it names, and [`Selected::record`] tells
//! two selections apart, so that a run does not go on with another one.

mod curriculum;
mod error;
mod held_out;
mod rows;
mod stream;

use std::ops::Range;
use std::path::{Path, PathBuf};

use arrow::buffer::BooleanBuffer;
use serde_json::{Value, json};

pub use error::{Misplaced, SelectionError};
pub use stream::{Stream, turns};

use crate::digest::Digest;
use crate::query::{self, RowQuery};
use crate::table::ReferenceTable;
use curriculum::Curriculum;
use held_out::Sides;
use rows::Rows;

/// What is asked for. The default is every pair of the one table, in its order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// Tables beside the first.
    pub further_tables: FurtherTables,
    /// Only pairs of which this SQL predicate over the columns of `pairs` and `scored` holds.
    pub predicate: Option<String>,
    /// In which order one pass goes over the pairs, where it is not shuffled.
    pub pass_order: PassOrder,
    /// Share of the prompts whose pairs are not trained on, in (0, 1); `None` for none.
    pub held_out: Option<f64>,
}

/// Tables beside the first, and how they are read together.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum FurtherTables {
    /// There is one table.
    #[default]
    None,
    /// All tables are one: an epoch sees each pair of each once.
    Joined(Vec<PathBuf>),
    /// The tables take turns by weight, positive numbers in any unit: see [`stream`](Stream).
    Mixed {
        /// Weight of the first table.
        first: f64,
        /// The others, each with its weight.
        further: Vec<(PathBuf, f64)>,
    },
}

/// The order of one pass over the pairs.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum PassOrder {
    /// As they stand in the tables.
    #[default]
    Table,
    /// By these SQL expressions, as they stand after `ORDER BY`; equal ones as in the tables.
    By(String),
    /// The pairs of this file, in its order, as often as it names them, and no others.
    Curriculum(PathBuf),
}

/// The pairs of a run by what they are for, as rows of the [`TrainingPairs`](crate::table::TrainingPairs) that are loaded
/// with [`Selected::loaded`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// To be trained on, each stream in the order of one pass: a stream for each table where they are mixed by weights,
    /// one otherwise. None is empty, unless all tables are.
    pub train: Vec<Stream>,
    /// Not to be trained on, in the order of the tables: what the run is evaluated with.
    pub held_out: Vec<u32>,
}

/// What a [`Selection`] is of some tables.
#[derive(Debug, Clone)]
pub struct Selected {
    /// Which rows of the tables, one after the other, are to be loaded; `None` for all.
    pub loaded: Option<BooleanBuffer>,
    /// The loaded rows of each table.
    pub rows_of_tables: Vec<Range<usize>>,
    /// What the loaded rows are for.
    pub split: Split,
    /// What of the selection decides the course of a run, by name; nothing for the default.
    pub record: Vec<(&'static str, Value)>,
    /// What a user should know of it, a line each.
    pub notes: Vec<String>,
}

impl Selection {
    /// The tables beside the first, in order.
    pub fn further_tables(&self) -> Vec<&Path> {
        match &self.further_tables {
            FurtherTables::None => Vec::new(),
            FurtherTables::Joined(tables) => tables.iter().map(PathBuf::as_path).collect(),
            FurtherTables::Mixed { further, .. } => further.iter().map(|(table, _)| table.as_path()).collect(),
        }
    }

    /// Weight of each table, the first one's first, in sum 1; none where they are not mixed.
    fn weights(&self) -> Option<Vec<f64>> {
        let FurtherTables::Mixed { first, further } = &self.further_tables else { return None };
        let weights = || std::iter::once(*first).chain(further.iter().map(|(_, weight)| *weight));
        let sum: f64 = weights().sum();
        Some(weights().map(|weight| weight / sum).collect())
    }

    fn query(&self) -> RowQuery<'_> {
        let order_by = match &self.pass_order {
            PassOrder::By(order_by) => Some(order_by.as_str()),
            PassOrder::Table | PassOrder::Curriculum(_) => None,
        };
        RowQuery { predicate: self.predicate.as_deref(), order_by }
    }
}

/// Reads what the selection needs of the tables, the first one first: nothing at all for the default.
///
/// # Errors
/// If the SQL is wrong, a curriculum names a pair that is not there, or nothing is left on a side that is asked for.
pub fn select(selection: &Selection, tables: &[ReferenceTable]) -> Result<Selected, SelectionError> {
    let rows = Rows::of(tables)?;
    let mut record = Vec::new();
    let mut notes = Vec::new();
    if let [_, further @ ..] = tables
        && !further.is_empty()
    {
        let digests = further.iter().map(ReferenceTable::digest).collect::<Result<Vec<_>, _>>()?;
        record.push(("further_table_digests", json!(digests)));
    }

    let in_order = by_sql(selection, &rows, &mut record, &mut notes)?;
    let (train, held_out) = match selection.held_out {
        None => (in_order, Vec::new()),
        Some(share) => {
            record.push(("eval_share", json!(share)));
            let sides = Sides::of(&rows, &in_order, share)?;
            notes.push(sides.note(&in_order));
            sides.split(in_order)
        }
    };
    let train = match &selection.pass_order {
        PassOrder::Table | PassOrder::By(_) => train,
        PassOrder::Curriculum(path) => {
            let curriculum = Curriculum::read(path)?;
            record.push(("curriculum_digest", json!(curriculum.digest)));
            notes.push(curriculum.note());
            curriculum.rows(&rows, &train, &held_out)?
        }
    };
    if selection.query().is_any() {
        record.push(("pairs_digest", json!(rows_digest(&train, &held_out))));
    }

    let loaded = rows.loaded(train.iter().chain(&held_out));
    let train = loaded.numbered(train);
    let train = match selection.weights() {
        None => vec![Stream::whole(train)?],
        Some(weights) => {
            record.push(("table_weights", json!(weights)));
            let streams = stream::mixed(train, &loaded.of_tables, &weights)?;
            notes.push(stream::note(&streams, tables));
            streams
        }
    };
    let split = Split { train, held_out: loaded.numbered(held_out) };
    Ok(Selected { loaded: loaded.bits, rows_of_tables: loaded.of_tables, split, record, notes })
}

/// The rows of which the predicate holds, in the order of one pass.
fn by_sql(
    selection: &Selection,
    rows: &Rows<'_>,
    record: &mut Vec<(&'static str, Value)>,
    notes: &mut Vec<String>,
) -> Result<Vec<u32>, SelectionError> {
    let query = selection.query();
    record.extend(query.predicate.map(|sql| ("where", json!(sql))));
    record.extend(query.order_by.map(|sql| ("order_by", json!(sql))));
    if !query.is_any() {
        return Ok((0..rows.len).collect());
    }
    let moved = rows.tables.iter().flat_map(|table| query::moved_aside(table.schema())).map(|moved| moved.to_string());
    for note in moved {
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    let wrap = |source| SelectionError::Query { clauses: clauses(query), source };
    let found = query::pair_rows(rows.tables, query).map_err(wrap)?;
    let found: Vec<u32> = found.into_iter().filter_map(|row| u32::try_from(row).ok()).collect();
    if let Some(predicate) = query.predicate {
        if found.is_empty() {
            return Err(SelectionError::NoneLeft { predicate: predicate.to_owned(), n_pairs: rows.len });
        }
        notes.push(format!("`--where` leaves {} of {} pairs", found.len(), rows.len));
    }
    Ok(found)
}

fn clauses(query: RowQuery<'_>) -> String {
    let predicate = query.predicate.map(|sql| format!("`--where \"{sql}\"`"));
    let order_by = query.order_by.map(|sql| format!("`--order-by \"{sql}\"`"));
    predicate.into_iter().chain(order_by).collect::<Vec<_>>().join(", ")
}

/// Of rows of tables whose digests are known.
fn rows_digest(train: &[u32], held_out: &[u32]) -> Digest {
    let bytes = |rows: &[u32]| rows.iter().flat_map(|row| row.to_le_bytes()).collect::<Vec<u8>>();
    Digest::of_parts([("train", bytes(train).as_slice()), ("held out", bytes(held_out).as_slice())])
}

#[cfg(test)]
mod tests;
