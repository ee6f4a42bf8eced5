//! Which rows of the data files are in the table or in its rejects: each must be there once.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::Report;
use crate::table::{Finding, Level, SourceProvenance};

/// Rows whose bits lie together.
const BLOCK_ROWS: u64 = 1 << 16;

const BLOCK_WORDS: usize = 1 << 10;

/// The keys seen so far: a bit a row, in blocks of 8 KiB. A block without a row is not there, so that a number which is
/// wrong by far costs one block and not all below it.
#[derive(Default)]
pub(super) struct Coverage {
    sources: BTreeMap<String, Rows>,
}

#[derive(Default)]
struct Rows {
    blocks: BTreeMap<u64, Box<[u64]>>,
}

/// A key and the place where it stands.
pub(super) struct Key<'a> {
    pub(super) source: &'a str,
    pub(super) row_idx: i64,
    pub(super) pair_id: Option<&'a str>,
    pub(super) path: &'a Path,
    pub(super) row: usize,
}

impl Coverage {
    /// Notes a key; tells it where it was there before or cannot be one.
    pub(super) fn see(&mut self, key: &Key<'_>, report: &mut Report<'_>) {
        let is_new = match u64::try_from(key.row_idx) {
            Err(_) => return foreign(key, "a row from 0", report),
            Ok(row) => match self.sources.get_mut(key.source) {
                Some(rows) => rows.insert(row),
                None => self.sources.entry(key.source.to_owned()).or_default().insert(row),
            },
        };
        if !is_new {
            let evidence = format!(
                "`{}`, row {}: expected each key once, found row {} of `{}` again",
                key.path.display(),
                key.row,
                key.row_idx,
                key.source
            );
            push("duplicate", key.pair_id, Some(key.row_idx as f64), evidence, report);
        }
    }

    /// Holds the keys against what was read of the data files: missing rows are told as runs, foreign ones too.
    pub(super) fn check(&self, sources: &[SourceProvenance], report: &mut Report<'_>) {
        let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
        for source in sources {
            if expected.insert(&source.path, source.rows).is_some() {
                let evidence = format!("expected each data file once in the provenance, found `{}` again", source.path);
                push("duplicate", None, None, evidence, report);
            }
        }
        for source in sources {
            self.check_source(&source.path, expected[source.path.as_str()], report);
        }
        for (source, rows) in self.sources.iter().filter(|(source, _)| !expected.contains_key(source.as_str())) {
            rows.runs(0..u64::MAX, Has::Rows, |first, last| {
                let evidence =
                    format!("expected a data file of the provenance, found {} of `{source}`", span(first, last));
                push("foreign", None, Some((last - first + 1) as f64), evidence, report);
            });
        }
    }

    fn check_source(&self, source: &str, n_rows: u64, report: &mut Report<'_>) {
        let none = Rows::default();
        let rows = self.sources.get(source).unwrap_or(&none);
        rows.runs(0..n_rows, Has::NoRows, |first, last| {
            let evidence =
                format!("expected {} of `{source}` in a part or in the rejects, found no such key", span(first, last));
            push("missing", None, Some((last - first + 1) as f64), evidence, report);
        });
        rows.runs(n_rows..u64::MAX, Has::Rows, |first, last| {
            let evidence = format!("expected rows below {n_rows} of `{source}`, found {}", span(first, last));
            push("foreign", None, Some((last - first + 1) as f64), evidence, report);
        });
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Has {
    Rows,
    NoRows,
}

impl Rows {
    /// Whether the row is new.
    fn insert(&mut self, row: u64) -> bool {
        let (block, word, bit) = place(row);
        let words = self.blocks.entry(block).or_insert_with(|| vec![0; BLOCK_WORDS].into_boxed_slice());
        let is_new = words[word] & bit == 0;
        words[word] |= bit;
        is_new
    }

    /// Calls `tell` with first and last row of each longest run in `rows` that is all there, or all absent.
    fn runs(&self, rows: Range<u64>, has: Has, mut tell: impl FnMut(u64, u64)) {
        let (mut start, mut is_there) = (rows.start, false);
        // From `row` on, rows are there or they are not.
        let mut edge = |row: u64, becomes_there: bool| {
            if becomes_there == is_there {
                return;
            }
            let row = row.clamp(rows.start, rows.end);
            if start < row && is_there == (has == Has::Rows) {
                tell(start, row - 1);
            }
            (start, is_there) = (row, becomes_there);
        };
        let mut next_block = rows.start / BLOCK_ROWS;
        for (&block, words) in self.blocks.range(next_block..) {
            if block > next_block {
                edge(next_block * BLOCK_ROWS, false);
            }
            for (first, &word) in (block * BLOCK_ROWS..).step_by(64).zip(words) {
                match word {
                    0 => edge(first, false),
                    u64::MAX => edge(first, true),
                    _ => (0..64).for_each(|bit| edge(first + bit, word >> bit & 1 == 1)),
                }
            }
            next_block = block + 1;
        }
        edge(next_block * BLOCK_ROWS, false);
        edge(rows.end, true);
    }
}

fn place(row: u64) -> (u64, usize, u64) {
    let word = usize::try_from(row % BLOCK_ROWS / 64).unwrap_or_default();
    (row / BLOCK_ROWS, word, 1 << (row % 64))
}

fn foreign(key: &Key<'_>, expected: &str, report: &mut Report<'_>) {
    let evidence = format!(
        "`{}`, row {}: expected {expected} of `{}`, found {}",
        key.path.display(),
        key.row,
        key.source,
        key.row_idx
    );
    push("foreign", key.pair_id, Some(key.row_idx as f64), evidence, report);
}

fn push(check: &'static str, pair_id: Option<&str>, value: Option<f64>, evidence: String, report: &mut Report<'_>) {
    let pair_id = pair_id.map(str::to_owned);
    report.push(&Finding { pair_id, check: check.into(), level: Level::Error, value, evidence });
}

fn span(first: u64, last: u64) -> String {
    if first == last { format!("row {first}") } else { format!("rows {first} to {last}") }
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;

    fn runs(rows: &Rows, range: Range<u64>, has: Has) -> Vec<(u64, u64)> {
        let mut found = Vec::new();
        rows.runs(range, has, |first, last| found.push((first, last)));
        found
    }

    #[test]
    fn runs_cross_words_blocks_and_gaps() {
        let mut rows = Rows::default();
        for row in (0..130).chain(BLOCK_ROWS - 1..BLOCK_ROWS + 2).chain([1 << 62]) {
            assert!(rows.insert(row));
        }
        assert!(!rows.insert(64));
        assert_eq!(runs(&rows, 0..200, Has::NoRows), [(130, 199)]);
        assert_eq!(
            runs(&rows, 0..BLOCK_ROWS + 5, Has::NoRows),
            [(130, BLOCK_ROWS - 2), (BLOCK_ROWS + 2, BLOCK_ROWS + 4)]
        );
        assert_eq!(
            runs(&rows, 100..u64::MAX, Has::Rows),
            [(100, 129), (BLOCK_ROWS - 1, BLOCK_ROWS + 1), (1 << 62, 1 << 62)]
        );
        assert_eq!(runs(&Rows::default(), 0..3, Has::NoRows), [(0, 2)]);
        assert_eq!(runs(&Rows::default(), 0..0, Has::NoRows), []);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn runs_are_what_a_set_says(set in btree_set(0..400_u64, 0..300), from in 0..200_u64, n in 0..300_u64) {
            let mut rows = Rows::default();
            for &row in &set {
                rows.insert(row);
            }
            for (has, is_there) in [(Has::Rows, true), (Has::NoRows, false)] {
                let found = runs(&rows, from..from + n, has);
                let listed: Vec<u64> = found.iter().flat_map(|&(first, last)| first..=last).collect();
                let want: Vec<u64> = (from..from + n).filter(|row| set.contains(row) == is_there).collect();
                prop_assert_eq!(listed, want);
                prop_assert!(found.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "runs are longest: {:?}", found);
            }
        }
    }
}
