//! A curriculum: a file with the ids of the pairs to train on, one a line, in the order of one epoch.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::error::{Misplaced, SelectionError};
use super::rows::Rows;
use crate::digest::Digest;
use crate::io;

/// First line of a list that `piref sql --format csv` wrote.
const HEADER: &str = "pair_id";

/// What a line begins with that says where the list comes from: `piref audit --write-selection` writes such lines.
const COMMENT: char = '#';

/// The lines of a curriculum.
pub(super) struct Curriculum {
    path: PathBuf,
    /// Line, from 1, and id.
    lines: Vec<(usize, String)>,
    /// Of the ids, in order.
    pub(super) digest: Digest,
}

impl Curriculum {
    /// Reads the file: ids may be repeated; empty lines, lines that begin with `#` and a header
    /// `pair_id` are passed over.
    ///
    /// # Errors
    /// If it cannot be read, or names nothing.
    pub(super) fn read(path: &Path) -> Result<Self, SelectionError> {
        let text = io::read_text(path)?;
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim().to_owned()));
        let lines: Vec<(usize, String)> = lines
            .filter(|(line, id)| !id.is_empty() && !id.starts_with(COMMENT) && (*line, id.as_str()) != (1, HEADER))
            .collect();
        if lines.is_empty() {
            return Err(SelectionError::EmptyCurriculum { path: path.to_owned() });
        }
        let digest = Digest::of_parts(lines.iter().map(|(_, id)| ("", id.as_bytes())));
        Ok(Self { path: path.to_owned(), lines, digest })
    }

    /// The row of each line: of a pair that the tables have several times, the first. `train` and `held_out` are the rows
    /// that are left, by side.
    ///
    /// # Errors
    /// With the first line whose pair is not in the tables, or not to be trained on.
    pub(super) fn rows(&self, rows: &Rows<'_>, train: &[u32], held_out: &[u32]) -> Result<Vec<u32>, SelectionError> {
        let mut row_of: HashMap<&str, Option<u32>> = self.lines.iter().map(|(_, id)| (id.as_str(), None)).collect();
        let mut side = vec![Side::LeftOut; rows.len as usize];
        for (rows, here) in [(train, Side::Train), (held_out, Side::HeldOut)] {
            for &row in rows {
                side[row as usize] = here;
            }
        }
        rows.each_text("pair_id", |row, id| {
            if let Some(known) = row_of.get_mut(id)
                // A predicate may leave out one row of a pair and not another.
                && known.is_none_or(|known| side[known as usize] == Side::LeftOut && side[row as usize] != Side::LeftOut)
            {
                *known = Some(row);
            }
        })?;
        let found = |id: &str| row_of.get(id).copied().flatten();
        let problem = |id: &str| match found(id).map(|row| side[row as usize]) {
            Some(Side::Train) => None,
            Some(Side::HeldOut) => Some(Misplaced::HeldOut),
            Some(Side::LeftOut) => Some(Misplaced::LeftOut),
            None => Some(Misplaced::Nowhere),
        };
        let mut wrong = self.lines.iter().filter_map(|(line, id)| Some((*line, id, problem(id)?)));
        if let Some((line, id, problem)) = wrong.next() {
            let (path, pair_id) = (self.path.clone(), id.clone());
            return Err(SelectionError::Curriculum { path, line, pair_id, problem, n_more: wrong.count() });
        }
        Ok(self.lines.iter().filter_map(|(_, id)| found(id)).collect())
    }

    /// How long it is, in words.
    pub(super) fn note(&self) -> String {
        let distinct: BTreeSet<&str> = self.lines.iter().map(|(_, id)| id.as_str()).collect();
        format!("`{}`: an epoch is its {} lines, of {} pairs", self.path.display(), self.lines.len(), distinct.len())
    }
}

/// What a row is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    LeftOut,
    Train,
    HeldOut,
}
