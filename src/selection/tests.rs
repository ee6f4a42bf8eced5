//! What a selection is of some tables.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::error::Hint;
use crate::io;
use crate::table::tests::{batch, provenance};
use crate::table::write_part;

/// A table of one part with these rows; row i is pair `pair-i` with i + 1 chosen tokens.
fn table(folder: &TempDir, rows: Range<u32>, prompt: impl Fn(u32) -> String) -> ReferenceTable {
    let path = folder.path().join(format!("part-{:05}.parquet", rows.start));
    let batch = batch(rows.clone());
    let at = batch.schema().index_of("prompt").unwrap();
    let mut columns = batch.columns().to_vec();
    columns[at] = Arc::new(rows.map(|row| Some(prompt(row))).collect::<StringArray>());
    write_part(&path, &RecordBatch::try_new(batch.schema(), columns).unwrap(), &provenance()).unwrap();
    ReferenceTable::open(&path).unwrap()
}

fn own_prompt(row: u32) -> String {
    format!("What is {row}?")
}

/// Two prompts out of three rows: rows 3i and 3i + 1 have one, but for white space.
fn shared_prompt(row: u32) -> String {
    match row % 3 {
        0 => format!("Tell me of {}.", row / 3),
        1 => format!(" Tell  me\nof {}. ", row / 3),
        _ => format!("And then {}?", row / 3),
    }
}

fn only(selected: &Selected) -> &[u32] {
    assert_eq!(selected.split.train.len(), 1);
    assert_eq!(selected.split.train[0].rows.len(), selected.split.train[0].per_epoch as usize);
    &selected.split.train[0].rows
}

fn names(selected: &Selected) -> Vec<&str> {
    selected.record.iter().map(|(name, _)| *name).collect()
}

fn loaded(selected: &Selected) -> Vec<usize> {
    selected.loaded.as_ref().unwrap().set_indices().collect()
}

#[test]
fn nothing_is_read_or_recorded_where_nothing_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let tables = [table(&folder, 0..4, own_prompt)];
    io::remove(tables[0].path()).unwrap();
    let selected = select(&Selection::default(), &tables).unwrap();
    assert_eq!((only(&selected), selected.loaded.as_ref()), ([0, 1, 2, 3].as_slice(), None));
    assert!(selected.split.held_out.is_empty() && selected.record.is_empty() && selected.notes.is_empty());
    assert_eq!(selected.rows_of_tables.first(), Some(&(0..4)));
}

#[test]
fn a_predicate_and_an_order_give_rows_among_the_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let tables = [table(&folder, 0..5, own_prompt), table(&folder, 10..13, own_prompt)];
    let selection = Selection {
        further_tables: FurtherTables::Joined(vec!["b".into()]),
        predicate: Some("chosen_tokens % 2 = 0".into()),
        pass_order: PassOrder::By("chosen_tokens DESC".into()),
        held_out: None,
    };
    let selected = select(&selection, &tables).unwrap();
    // Pairs 1, 3 and 11: the last has the most tokens.
    assert_eq!((loaded(&selected), only(&selected)), (vec![1, 3, 6], [2, 1, 0].as_slice()));
    assert_eq!(selected.rows_of_tables, [0..2, 2..3]);
    assert_eq!(names(&selected), ["further_table_digests", "where", "order_by", "pairs_digest"]);
    assert_eq!(selected.notes, ["`--where` leaves 3 of 8 pairs"]);
}

#[test]
fn a_predicate_that_leaves_nothing_is_refused_and_so_is_one_that_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let tables = [table(&folder, 0..3, own_prompt)];
    let error =
        |sql: &str| select(&Selection { predicate: Some(sql.into()), ..Selection::default() }, &tables).unwrap_err();
    let none = error("chosen_tokens > 99");
    assert_eq!(none.to_string(), "`--where \"chosen_tokens > 99\"` leaves none of 3 pairs");
    assert!(none.hint().unwrap().contains("SELECT count(*)"));
    let wrong = error("chosen_tokns > 9");
    assert_eq!(wrong.to_string(), "cannot select pairs by `--where \"chosen_tokns > 9\"`");
    assert!(matches!(wrong, SelectionError::Query { source, .. } if source.hint().unwrap().contains("chosen_tokens")));
}

#[test]
fn what_a_query_finds_is_recorded_beside_its_text() {
    let folder = tempfile::tempdir().unwrap();
    let tables = [table(&folder, 0..6, own_prompt)];
    let list = folder.path().join("good.csv");
    let sql = format!("pair_id IN (SELECT pair_id FROM '{}')", list.display());
    let record = |ids: &str| {
        io::write(&list, ids.as_bytes()).unwrap();
        select(&Selection { predicate: Some(sql.clone()), ..Selection::default() }, &tables).unwrap().record
    };
    let (one, other) = (record("pair_id\npair-1\n"), record("pair_id\npair-2\n"));
    assert_eq!(one[0], other[0]);
    assert_ne!(one[1], other[1], "the list of another day selects other pairs");
}

#[test]
fn all_pairs_of_a_prompt_are_on_one_side_in_every_table() {
    let folder = tempfile::tempdir().unwrap();
    let tables = [table(&folder, 0..90, shared_prompt), table(&folder, 100..130, |row| shared_prompt(row - 100))];
    let side = |tables: &[ReferenceTable], share: f64| {
        let selected = select(&Selection { held_out: Some(share), ..Selection::default() }, tables).unwrap();
        assert_eq!(selected.loaded, None);
        let mut all = [only(&selected), &selected.split.held_out].concat();
        all.sort_unstable();
        let n_rows: u64 = tables.iter().map(ReferenceTable::n_pairs).sum();
        assert_eq!(all, (0..u32::try_from(n_rows).unwrap()).collect::<Vec<_>>());
        selected.split.held_out
    };
    let held_out = side(&tables, 0.3);
    for row in (0..120).filter(|row| row % 3 == 0) {
        assert_eq!(held_out.contains(&row), held_out.contains(&(row + 1)), "rows {row} and {}", row + 1);
    }
    // The second table has the prompts of the first.
    for row in 0..30 {
        assert_eq!(held_out.contains(&row), held_out.contains(&(90 + row)), "row {row}");
    }
    // A third of 60 prompts, give or take three standard deviations.
    let n_prompts = held_out.iter().filter(|row| **row < 90 && **row % 3 != 1).count();
    assert!((8..=29).contains(&n_prompts), "{n_prompts} of 60");
    // What is held out of less data, or for a smaller share, stays held out.
    assert_eq!(side(&tables[..1], 0.3), held_out.iter().copied().filter(|row| *row < 90).collect::<Vec<_>>());
    let fewer = side(&tables, 0.1);
    assert!(fewer.len() < held_out.len() && fewer.iter().all(|row| held_out.contains(row)));
}

#[test]
fn the_place_of_a_prompt_is_pinned() {
    // A change here moves pairs that a policy was trained on to the held-out side.
    let places = ["Tell me of 0.", "", "Straße"].map(held_out::place);
    assert_eq!(places, [0.016_472_504_356_688_678, 0.498_230_963_941_901_6, 0.059_169_002_178_995_234]);
}

#[test]
fn places_are_evenly_spread() {
    let n_below = |share: f64| (0..4000).filter(|row| held_out::place(&own_prompt(*row)) < share).count();
    for (share, want) in [(0.05_f64, 200.0_f64), (0.1, 400.0), (0.5, 2000.0), (0.9, 3600.0)] {
        // Four standard deviations of a binomial.
        let spread = 4.0 * (4000.0 * share * (1.0 - share)).sqrt();
        assert!((n_below(share) as f64 - want).abs() < spread, "{share}: {}", n_below(share));
    }
}

#[test]
fn a_side_without_a_prompt_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let tables = [table(&folder, 0..3, |_| "one".into())];
    let error = |share| select(&Selection { held_out: Some(share), ..Selection::default() }, &tables).unwrap_err();
    let place = held_out::place("one");
    let none = error(place / 2.0);
    assert!(none.to_string().ends_with("holds out none of 1 prompts"), "{none}");
    assert!(none.hint().unwrap().contains("raise"));
    let all = error(f64::midpoint(place, 1.0));
    assert!(all.to_string().ends_with("holds out all 1 prompts"), "{all}");
}

#[test]
fn a_curriculum_is_its_lines_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let tables = [table(&folder, 0..6, own_prompt)];
    let path = folder.path().join("c.csv");
    let run = |text: &str, predicate: Option<&str>, held_out: Option<f64>| {
        io::write(&path, text.as_bytes()).unwrap();
        let pass_order = PassOrder::Curriculum(path.clone());
        let predicate = predicate.map(str::to_owned);
        select(&Selection { predicate, pass_order, held_out, ..Selection::default() }, &tables)
    };
    let selected = run("pair_id\r\npair-4\r\n\r\n pair-1\npair-4\n", None, None).unwrap();
    assert_eq!((loaded(&selected), only(&selected)), (vec![1, 4], [1, 0, 1].as_slice()));
    assert_eq!(names(&selected), ["curriculum_digest"]);
    assert!(selected.notes[0].ends_with("an epoch is its 3 lines, of 2 pairs"), "{:?}", selected.notes);
    // White space and header are no part of the list, its order is.
    assert_eq!(run("pair-4\npair-1\npair-4", None, None).unwrap().record, selected.record);
    assert_ne!(run("pair-1\npair-4\npair-4", None, None).unwrap().record, selected.record);

    let error = |text: &str, predicate, held_out| run(text, predicate, held_out).unwrap_err().to_string();
    let unknown = run("pair_id\npair-1\npair-7\npair-8\n", None, None).unwrap_err();
    let want = "c.csv`, line 3: pair `pair-7` is in no table; 1 more of its lines are wrong";
    assert!(unknown.to_string().ends_with(want), "{unknown}");
    assert!(unknown.hint().unwrap().contains("--format csv"));
    let left_out = error("pair-1\npair-2", Some("pair_id <> 'pair-2'"), None);
    assert!(left_out.ends_with("line 2: pair `pair-2` is left out by `--where`"), "{left_out}");
    assert!(error("pair_id\n\n", None, None).ends_with("c.csv` names no pair"));

    // The prompt with the lowest place of all is the one that is held out.
    let mut rows: Vec<u32> = (0..6).collect();
    rows.sort_by(|a, b| held_out::place(&own_prompt(*a)).total_cmp(&held_out::place(&own_prompt(*b))));
    let share = f64::midpoint(held_out::place(&own_prompt(rows[0])), held_out::place(&own_prompt(rows[1])));
    let held_out = error(&format!("pair-{}\npair-{}", rows[1], rows[0]), None, Some(share));
    assert!(held_out.contains("line 2: ") && held_out.ends_with("held out by `--eval-share`"), "{held_out}");
    let selected = run(&format!("pair-{}", rows[1]), None, Some(share)).unwrap();
    assert_eq!((only(&selected).len(), selected.split.held_out.len()), (1, 1));
}

#[test]
fn an_epoch_of_a_mix_lasts_until_each_table_was_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let tables = [table(&folder, 0..6, own_prompt), table(&folder, 10..12, own_prompt)];
    let run = |first: f64, second: f64, predicate: Option<&str>| {
        let further_tables = FurtherTables::Mixed { first, further: vec![("b".into(), second)] };
        let predicate = predicate.map(str::to_owned);
        select(&Selection { further_tables, predicate, ..Selection::default() }, &tables)
    };
    // Of 6 and 2 pairs: where the second has a tenth, it needs 20 turns, and the first has the other 18.
    for (first, second, want) in [(3.0, 1.0, [6, 2]), (0.75, 0.25, [6, 2]), (1.0, 1.0, [6, 6]), (9.0, 1.0, [18, 2])] {
        let selected = run(first, second, None).unwrap();
        let found: Vec<u32> = selected.split.train.iter().map(|stream| stream.per_epoch).collect();
        assert_eq!(found, want, "{first} : {second}");
    }
    let selected = run(3.0, 1.0, Some("chosen_tokens > 2")).unwrap();
    let rows: Vec<&[u32]> = selected.split.train.iter().map(|stream| &*stream.rows).collect();
    assert_eq!(rows, [[0, 1, 2, 3].as_slice(), &[4, 5]]);
    assert_eq!(names(&selected), ["further_table_digests", "where", "pairs_digest", "table_weights"]);
    assert!(selected.notes[1].starts_with("an epoch has 8 pairs: 6 of `"), "{:?}", selected.notes);
    assert!(selected.notes[1].contains("(1.50 passes), 2 of `"), "{:?}", selected.notes);

    let error = run(1.0, 1.0, Some("chosen_tokens > 8")).unwrap_err();
    assert_eq!(error.to_string(), "nothing to mix: no pair of table 1 is left to train on");
    for weight in [1e-12, 0.0, f64::NAN] {
        assert!(matches!(run(1.0, weight, None).unwrap_err(), SelectionError::EpochTooLong { .. }), "{weight}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Of a stream with share s of an epoch, the first n turns have n·s, but for less than a turn a stream.
    #[test]
    fn turns_are_even(per_epoch in prop::collection::vec(1..40_u32, 1..5)) {
        let streams: Vec<Stream> =
            per_epoch.iter().map(|&per_epoch| Stream { rows: vec![0], per_epoch }).collect();
        let turns = turns(&streams);
        let n_turns: u32 = per_epoch.iter().sum();
        prop_assert_eq!(turns.len(), n_turns as usize);
        let mut had = vec![0.0; streams.len()];
        for (n_done, &stream) in turns.iter().enumerate() {
            had[stream] += 1.0;
            for (had, &per_epoch) in had.iter().zip(&per_epoch) {
                let due = (n_done + 1) as f64 * f64::from(per_epoch) / f64::from(n_turns);
                prop_assert!((had - due).abs() < streams.len() as f64, "{} of {}", had, due);
            }
        }
        let want: Vec<f64> = per_epoch.iter().map(|&per_epoch| f64::from(per_epoch)).collect();
        prop_assert_eq!(had, want);
    }
}
