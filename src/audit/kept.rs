//! Pairs that stay when those that checks have named are left out, as a list for `piref train --curriculum`.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use arrow::array::AsArray;

use super::summary::Kept;
use super::{AuditError, Info, Keep};
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

/// Pairs that checks have named.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    /// Those of which no row stays.
    pairs: HashSet<String>,
    /// Those of which the first row stays.
    repetitions: HashSet<String>,
}

impl LeftOut {
    /// Adds a pair that a check has found.
    pub(super) fn add(&mut self, pair_id: &str, keep: Keep) {
        let set = match keep {
            Keep::None => &mut self.pairs,
            Keep::First => &mut self.repetitions,
        };
        set.insert(pair_id.to_owned());
    }
}

/// Lists the rows of the table that are not left out: an id a row, in table order.
///
/// The first lines, which begin with `#`, say what the list was made of, the last of them in SQL
/// over the findings.
///
/// # Errors
/// If no pair is left, or the file cannot be written.
pub(super) fn write(
    path: &Path,
    table: &ReferenceTable,
    checks: &[&Info],
    left_out: &LeftOut,
) -> Result<Kept, AuditError> {
    let wrap = |source| IoError::new("write", path, source);
    let names: Vec<String> = checks.iter().map(|info| info.id.clone()).collect();
    let mut file = AtomicFile::create(path)?;
    writeln!(file, "# pairs of `{}` without those that an audit has named", one_line(&table.path().to_string_lossy()))
        .map_err(wrap)?;
    writeln!(file, "# table digest: {}", table.digest()?).map_err(wrap)?;
    writeln!(file, "# query: {}", query(checks)).map_err(wrap)?;
    let (mut n_pairs, mut n_left_out) = (0, 0);
    let mut seen = HashSet::new();
    for batch in table.batches(&["pair_id"])? {
        let batch = batch?;
        let ids = batch.column(0).as_string_opt::<i32>();
        let ids = ids.ok_or_else(|| TableError::Internal { what: "column `pair_id` is no text".into() })?;
        for id in ids.iter().flatten() {
            let is_repetition = left_out.repetitions.contains(id) && !seen.insert(id.to_owned());
            if is_repetition || left_out.pairs.contains(id) {
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

/// The same rows in SQL, over the tables of `piref sql RUN` that has the findings.
fn query(checks: &[&Info]) -> String {
    let found_by = |keep: &[Keep]| {
        let checks = checks.iter().filter(|info| keep.contains(&info.keep));
        let names: Vec<String> = checks.map(|info| format!("'{}'", one_line(&info.id).replace('\'', "''"))).collect();
        let names = names.join(", ");
        (!names.is_empty())
            .then(|| format!("(SELECT pair_id FROM findings WHERE \"check\" IN ({names}) AND pair_id IS NOT NULL)"))
    };
    let mut query = "SELECT pair_id FROM pairs".to_owned();
    if let Some(found) = found_by(&[Keep::None, Keep::First]) {
        query.extend([" WHERE pair_id NOT IN ", &found]);
    }
    if let Some(found) = found_by(&[Keep::First]) {
        query.extend([" UNION ALL SELECT DISTINCT pair_id FROM pairs WHERE pair_id IN ", &found]);
        if let Some(found) = found_by(&[Keep::None]) {
            query.extend([" AND pair_id NOT IN ", &found]);
        }
    }
    query
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}
