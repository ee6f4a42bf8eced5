//! Pairs whose labels somebody has looked at, in a file: `pair_id`, and `flipped` where no column of the data says it.

use std::path::Path;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::AuditError;
use super::source_columns::truth;
use super::views::columns;
use crate::query::Session;

/// Name of the file's rows in SQL.
const TABLE: &str = "trusted";

/// Columns of the file.
const PAIR: &str = "pair_id";
const FLIPPED: &str = "flipped";

/// The rows of the file, registered as `trusted`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trusted {
    /// Whether the file itself says what is swapped.
    has_flipped: bool,
    /// Pairs of it that the table does not have.
    pub(super) n_absent: u64,
}

impl Trusted {
    /// Registers the file: any that SQL reads. `has_truth` says whether the data tell which labels are swapped.
    ///
    /// # Errors
    /// If it cannot be read, lacks a column, says of a pair what is neither true nor false, or both, or has no pair of the
    /// table.
    pub(super) fn register(session: &mut Session, path: &Path, has_truth: bool) -> Result<Self, AuditError> {
        session.register_as(TABLE, path)?;
        let columns = columns(session, TABLE)?;
        let has_flipped = columns.contains_key(FLIPPED);
        let needed = [(PAIR, true), (FLIPPED, !has_truth)];
        if let Some((column, _)) = needed.iter().find(|(name, is_needed)| *is_needed && !columns.contains_key(*name)) {
            let found = columns.into_keys().collect::<Vec<_>>().join(", ");
            return Err(AuditError::TrustedColumn { path: path.to_owned(), column, found });
        }
        if has_flipped {
            check_values(session, path)?;
        }
        let counts = "SELECT count(*), count(p.pair_id) FROM (SELECT DISTINCT CAST(pair_id AS VARCHAR) AS pair_id FROM trusted) AS t \
                      LEFT JOIN (SELECT DISTINCT pair_id FROM pairs) AS p ON t.pair_id = p.pair_id";
        let counts = first_row(session, counts)?;
        let count = |at: usize| counts.get(at).and_then(|count| count.parse::<u64>().ok()).unwrap_or_default();
        let (n_listed, n_found) = (count(0), count(1));
        if n_found == 0 {
            return Err(AuditError::TrustedAbsent { path: path.to_owned(), n_pairs: n_listed });
        }
        Ok(Self { has_flipped, n_absent: n_listed.saturating_sub(n_found) })
    }

    /// Whether a label is swapped, in SQL over [`join`](Self::join); `column` is what the data say, for pairs of which the file says
    /// nothing.
    pub(super) fn truth(&self, column: Option<String>) -> String {
        match (self.has_flipped, column) {
            (true, Some(column)) => format!("coalesce(t.flipped, {column})"),
            (true, None) => "t.flipped".into(),
            (false, column) => column.unwrap_or_else(|| "CAST(NULL AS BOOLEAN)".into()),
        }
    }

    /// What comes after the rows `s` of the table, so that each meets what the file says of its pair.
    pub(super) fn join(&self) -> String {
        let flipped = if self.has_flipped { flipped() } else { "CAST(NULL AS BOOLEAN)".into() };
        format!(
            " LEFT JOIN (SELECT CAST(pair_id AS VARCHAR) AS trusted_id, bool_or({flipped}) AS flipped FROM trusted GROUP BY 1) \
             AS t ON s.pair_id = t.trusted_id"
        )
    }
}

/// The column of the file as true, false or null.
fn flipped() -> String {
    truth("CAST(flipped AS VARCHAR)")
}

fn check_values(session: &Session, path: &Path) -> Result<(), AuditError> {
    let flipped = flipped();
    let neither = format!(
        "SELECT coalesce(CAST(pair_id AS VARCHAR), ''), CAST(flipped AS VARCHAR) FROM trusted WHERE flipped IS NOT NULL AND \
         CAST(flipped AS VARCHAR) <> '' AND {flipped} IS NULL ORDER BY 1, 2 LIMIT 1"
    );
    if let [pair_id, found] = first_row(session, &neither)?.as_slice() {
        let (pair_id, found) = (pair_id.clone(), found.clone());
        return Err(AuditError::TrustedValue { path: path.to_owned(), pair_id, found });
    }
    let both = format!(
        "SELECT CAST(pair_id AS VARCHAR) FROM trusted GROUP BY 1 HAVING bool_or({flipped}) AND NOT bool_and({flipped}) \
         ORDER BY 1 LIMIT 1"
    );
    if let [pair_id] = first_row(session, &both)?.as_slice() {
        return Err(AuditError::TrustedTwice { path: path.to_owned(), pair_id: pair_id.clone() });
    }
    Ok(())
}

/// The first row of an answer as text; nothing where there is none.
fn first_row(session: &Session, sql: &str) -> Result<Vec<String>, AuditError> {
    let wrong = |error: ArrowError| AuditError::Internal { what: format!("an answer is no text: {error}") };
    let batches = session.query(sql)?;
    let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else { return Ok(Vec::new()) };
    let texts = batch.columns().iter().map(|column| cast(column, &DataType::Utf8));
    let texts = texts.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    Ok(texts
        .iter()
        .filter_map(|column| column.as_string_opt::<i32>())
        .map(|column| column.value(0).to_owned())
        .collect())
}
