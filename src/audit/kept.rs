//! Pairs that stay when those that checks have named are left out, as a list for `piref train --curriculum`.

use std::collections::{BTreeSet, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use arrow::array::AsArray;

use super::AuditError;
use super::summary::Kept;
use crate::io::{AtomicFile, IoError};
use crate::table::{ReferenceTable, TableError};

/// What is left out, and where the rest is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exclusion {
    /// Checks whose pairs are left out, by name or family.
    pub checks: Vec<String>,
    /// File for the ids of the others.
    pub path: PathBuf,
}

/// Lists the pairs of the table that are not among `excluded`: an id a row, in table order.
///
/// The first lines, which begin with `#`, say what the list was made of, the last of them in SQL
/// over the findings.
///
/// # Errors
/// If no pair is left, or the file cannot be written.
pub(super) fn write(
    path: &Path,
    table: &ReferenceTable,
    checks: &BTreeSet<String>,
    excluded: &HashSet<String>,
) -> Result<Kept, AuditError> {
    let wrap = |source| IoError::new("write", path, source);
    let names: Vec<String> = checks.iter().cloned().collect();
    let mut file = AtomicFile::create(path)?;
    writeln!(file, "# pairs of `{}` without those that an audit has named", one_line(&table.path().to_string_lossy()))
        .map_err(wrap)?;
    writeln!(file, "# table digest: {}", table.digest()?).map_err(wrap)?;
    writeln!(file, "# query: {}", query(&names)).map_err(wrap)?;
    let (mut n_pairs, mut n_left_out) = (0, 0);
    for batch in table.batches(&["pair_id"])? {
        let batch = batch?;
        let ids = batch.column(0).as_string_opt::<i32>();
        let ids = ids.ok_or_else(|| TableError::Internal { what: "column `pair_id` is no text".into() })?;
        for id in ids.iter().flatten() {
            if excluded.contains(id) {
                n_left_out += 1;
            } else {
                n_pairs += 1;
                writeln!(file, "{id}").map_err(wrap)?;
            }
        }
    }
    if n_pairs == 0 {
        return Err(AuditError::NoneLeft { excluded: names.join(", "), n_pairs: n_left_out });
    }
    file.flush().map_err(wrap)?;
    file.commit()?;
    Ok(Kept { path: path.to_owned(), excluded: names, n_pairs, n_left_out })
}

/// The same pairs in SQL, over the tables of `piref sql RUN` that has the findings.
fn query(checks: &[String]) -> String {
    let names: Vec<String> = checks.iter().map(|id| format!("'{}'", one_line(id).replace('\'', "''"))).collect();
    format!(
        "SELECT pair_id FROM pairs WHERE pair_id NOT IN (SELECT pair_id FROM findings WHERE \"check\" IN ({}) AND pair_id IS NOT NULL)",
        names.join(", ")
    )
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}
