use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use tempfile::TempDir;

use super::*;
use crate::table::tests::{logps, provenance, store};
use crate::table::{Manifest, PairTokenLogps, Provenance, TableFolder, assemble, write_part};

/// A table of rows, each a pair, its tokens, and a shift of its chosen log-prob.
fn table(rows: &[(&str, &str, f32)], provenance: &Provenance) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let claimed = TableFolder::claim(folder.path()).unwrap();
    let n_rows = u32::try_from(rows.len()).unwrap();
    let store = store(0..n_rows);
    let text = |texts: Vec<&str>| -> ArrayRef { Arc::new(StringArray::from(texts)) };
    let mut columns = store.columns().to_vec();
    columns[0] = text(rows.iter().map(|row| row.0).collect());
    columns[1] = text(rows.iter().map(|row| row.1).collect());
    let store = RecordBatch::try_new(store.schema(), columns).unwrap();
    let shifted = logps(0..n_rows).into_iter().zip(rows).map(|(pair, (_, _, shift))| PairTokenLogps {
        // One token carries the shift; a power of two, so that no rounding blurs it.
        chosen: pair.chosen.iter().enumerate().map(|(at, logp)| if at == 0 { logp + shift } else { *logp }).collect(),
        ..pair
    });
    let batch = assemble(&store, &[], &shifted.collect::<Vec<_>>()).unwrap();
    let part = write_part(&claimed.part_path(0), &batch, provenance).unwrap();
    claimed.finish(&Manifest::new(provenance.clone(), vec![part], None)).unwrap();
    folder
}

#[track_caller]
fn compared(a: &Path, b: &Path, limit: usize) -> TableDiff {
    diff(&ReferenceTable::open(a).unwrap(), &ReferenceTable::open(b).unwrap(), limit).unwrap()
}

#[test]
fn each_kind_is_told_apart() {
    let a = table(
        &[("same", "t0", 0.0), ("rescored", "t1", 0.0), ("retokenised", "t2", 0.0), ("gone", "t3", 0.0)],
        &provenance(),
    );
    let other = Provenance { dtype: "bf16".into(), crate_version: "9.9.9".into(), ..provenance() };
    let b = table(
        &[("new", "t9", 0.0), ("rescored", "t1", -0.25), ("retokenised", "t5", 0.0), ("same", "t0", 0.0)],
        &other,
    );
    let found = compared(a.path(), b.path(), 10);
    let ids =
        |ids: &[&str]| Rows { count: ids.len() as u64, first_pairs: ids.iter().map(ToString::to_string).collect() };
    assert_eq!((found.n_pairs_a, found.n_pairs_b), (4, 4));
    assert_eq!(found.retokenised, ids(&["retokenised"]));
    assert_eq!((found.added, found.removed), (ids(&["new"]), ids(&["gone"])));
    // `same` stands in another row of b, where the fixture gives it other log-probs.
    assert_eq!((found.unchanged, found.rescored.count), (0, 2));
    let fields: Vec<&str> = found.provenance.iter().map(|difference| difference.field).collect();
    assert_eq!(fields, ["crate_version", "dtype"]);
}

#[test]
fn a_table_equals_itself_and_differences_have_their_size() {
    let rows = [("p0", "t0", 0.0), ("p1", "t1", 0.0), ("p2", "t2", 0.0)];
    let a = table(&rows, &provenance());
    let found = compared(a.path(), a.path(), 10);
    assert_eq!((found.unchanged, found.rescored.count, found.provenance.len()), (3, 0, 0));
    assert_eq!(found.logps.unwrap().max_sequence, 0.0);

    let mut shifted = rows;
    shifted[1].2 = -0.25;
    let b = table(&shifted, &provenance());
    let found = compared(a.path(), b.path(), 10);
    assert_eq!((found.unchanged, &found.rescored.first_pairs), (2, &vec!["p1".to_owned()]));
    // Rows have 1, 2 and 3 chosen tokens and 2 rejected ones: 12 tokens in 6 sequences.
    let want = Deltas {
        n_sequences: 6,
        max_sequence: 0.25,
        mean_sequence: 0.25 / 6.0,
        max_token: 0.125,
        mean_token: 0.25 / 12.0,
    };
    assert_eq!(found.logps, Some(want));
}

#[test]
fn a_repeated_pair_counts_as_often_as_it_occurs() {
    let a = table(&[("p", "t0", 0.0), ("p", "t0", 0.0), ("p", "t1", 0.0)], &provenance());
    let b = table(&[("p", "t7", 0.0), ("p", "t0", 0.0), ("p", "t1", 0.0), ("p", "t1", 0.0)], &provenance());
    let found = compared(a.path(), b.path(), 10);
    // Equal tokens meet before unequal ones, wherever they stand.
    assert_eq!(found.unchanged + found.rescored.count, 2);
    assert_eq!((found.retokenised.count, found.added.count, found.removed.count), (1, 1, 0));
    let back = compared(b.path(), a.path(), 10);
    assert_eq!((back.retokenised.count, back.added.count, back.removed.count), (1, 0, 1));
}

#[test]
fn the_limit_cuts_lists_and_not_counts() {
    let rows: Vec<(String, String)> = (0..9).map(|row| (format!("p{row}"), format!("t{row}"))).collect();
    let rows: Vec<(&str, &str, f32)> =
        rows.iter().map(|(pair, tokens)| (pair.as_str(), tokens.as_str(), 0.0)).collect();
    let (a, b) = (table(&rows, &provenance()), table(&rows[..1], &provenance()));
    let found = compared(a.path(), b.path(), 3);
    assert_eq!((found.removed.count, found.removed.first_pairs), (8, ["p1", "p2", "p3"].map(str::to_owned).to_vec()));
}

#[test]
fn a_row_takes_about_64_bytes() {
    assert!(size_of::<Kept>() <= 64);
}
