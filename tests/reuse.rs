//! Nothing is scored twice: after a change of the data, within a data set, across tables; and however a table came
//! about, its bytes are the same.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use piref::error::Hint;
use piref::interrupt::Interrupt;
use piref::precompute::{self, Event, Outcome, Pairs, Plan, PrecomputeError, Start, Summary};
use piref::table::{MANIFEST, part_name, reference_folder};

use crate::support::stages::{self, files};

/// A folder with data files and tables made from them.
struct Room {
    folder: tempfile::TempDir,
}

impl Room {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes rows as a data file.
    fn data(&self, name: &str, rows: &[String]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, rows.concat()).unwrap();
        path
    }

    /// Stage one over these files into the table `out`, 8 pairs a part.
    fn plan(&self, out: &str, data: &[PathBuf]) -> Plan {
        Plan {
            pairs: Pairs::Files { paths: data.to_vec(), limit: None },
            rows_per_part: NonZeroUsize::new(8).unwrap(),
            max_tokens: NonZeroUsize::new(64).unwrap(),
            ..stages::precompute_plan(&self.path(out))
        }
    }

    /// Holds a table against one that is made from nothing of the same data.
    #[track_caller]
    fn is_as_if_fresh(&self, plan: &Plan) {
        let fresh = Plan { out: self.path("fresh"), reuse: Vec::new(), start: Start::Fresh, ..plan.clone() };
        stages::precompute(&fresh);
        assert!(files(&plan.out) == files(&fresh.out), "`{}` has other bytes than a fresh table", plan.out.display());
    }
}

fn row(i: usize) -> String {
    format!("{{\"prompt\": \"Question {i}?\", \"chosen\": \" Yes, {i}.\", \"rejected\": \" No.\", \"score\": {i}}}\n")
}

fn rows(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(row).collect()
}

/// Pairs scored, kept in place, with log-probs from before, repeated.
fn counts(summary: &Summary) -> (u64, u64, u64, u64) {
    (summary.n_scored, summary.n_resumed, summary.n_reused, summary.n_repeated)
}

#[test]
fn changed_data_costs_what_is_new() {
    let edited = |at: usize, to: &str| {
        let mut rows = rows(0..20);
        rows[at] = to.to_owned();
        rows
    };
    let cases: [(&str, Vec<String>, u64); 6] = [
        ("appended", rows(0..24), 4),
        ("edited", edited(3, &row(77)), 1),
        ("only a score edited", edited(3, &row(3).replace("\"score\": 3", "\"score\": 4")), 0),
        ("deleted", rows(1..20), 0),
        ("shuffled", [rows(10..20), rows(0..10)].concat(), 0),
        ("doubled", [rows(0..20), rows(0..20)].concat(), 0),
    ];
    for (name, changed, n_new) in cases {
        let room = Room::new();
        let plan = room.plan("table", &[room.data("pairs.jsonl", &rows(0..20))]);
        assert_eq!(counts(&stages::precompute(&plan)), (20, 0, 0, 0));
        room.data("pairs.jsonl", &changed);
        let summary = stages::precompute(&plan);
        assert_eq!(counts(&summary), (n_new, 0, changed.len() as u64 - n_new, 0), "{name}");
        room.is_as_if_fresh(&plan);
        assert_eq!(counts(&stages::precompute(&plan)), (0, changed.len() as u64, 0, 0), "{name}, once more");
    }
}

#[test]
fn a_split_file_is_the_same_pairs() {
    let room = Room::new();
    stages::precompute(&room.plan("table", &[room.data("pairs.jsonl", &rows(0..20))]));
    let halves = [room.data("a.jsonl", &rows(0..10)), room.data("b.jsonl", &rows(10..20))];
    let plan = room.plan("table", &halves);
    assert_eq!(counts(&stages::precompute(&plan)), (0, 0, 20, 0));
    room.is_as_if_fresh(&plan);
}

#[test]
fn the_same_tokens_are_scored_once() {
    let room = Room::new();
    // In one part and across parts.
    let data = [rows(0..4), rows(0..4), rows(2..12), rows(0..1)].concat();
    let plan = room.plan("table", &[room.data("pairs.jsonl", &data)]);
    assert_eq!(counts(&stages::precompute(&plan)), (12, 0, 0, 7));
}

#[test]
fn another_table_is_reused_under_the_same_conditions_only() {
    let room = Room::new();
    let old = room.plan("old", &[room.data("old.jsonl", &rows(0..12))]);
    stages::precompute(&old);
    let data = [room.data("new.jsonl", &rows(6..18))];
    let plan = Plan { reuse: vec![old.out.clone()], ..room.plan("new", &data) };
    assert_eq!(counts(&stages::precompute(&plan)), (6, 0, 6, 0));
    room.is_as_if_fresh(&plan);

    let mut other = Plan { out: room.path("other"), ..plan };
    other.rules.max_length = 100;
    let error = precompute::run(&other, &Interrupt::default(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("another `max_length`: expected `100`, found `256`"), "{error}");
    assert!(error.hint().unwrap().contains("--reuse"));
}

/// Runs until `n_batches` forward passes are done, then asks for the end.
fn interrupted(plan: &Plan, n_batches: usize) -> (u64, u64) {
    let interrupt = Interrupt::default();
    let mut n_seen = 0;
    let outcome = precompute::run(plan, &interrupt, &mut |event| {
        n_seen += usize::from(matches!(event, Event::Scored { .. }));
        if n_seen == n_batches {
            interrupt.set();
        }
    });
    match outcome.unwrap() {
        Outcome::Interrupted { n_done, n_pairs } => (n_done, n_pairs),
        outcome => panic!("it was asked to stop: {outcome:?}"),
    }
}

#[test]
fn a_forward_pass_is_never_lost_not_even_when_the_data_changes_in_between() {
    let room = Room::new();
    let plan = room.plan("table", &[room.data("pairs.jsonl", &rows(0..20))]);
    let (n_done, n_pairs) = interrupted(&plan, 5);
    assert!(n_done > 8 && n_done < 20, "{n_done} of {n_pairs}");
    assert!(!plan.out.join(MANIFEST).exists());

    room.data("pairs.jsonl", &[rows(5..20), rows(0..5)].concat());
    let (n_more, _) = interrupted(&plan, 1);
    assert!(n_more > n_done && n_more < 20, "{n_more}");
    let summary = stages::precompute(&plan);
    assert_eq!(summary.n_scored, 20 - n_more);
    room.is_as_if_fresh(&plan);
}

#[test]
fn a_finished_table_that_is_being_replaced_loses_nothing() {
    let room = Room::new();
    let plan = room.plan("table", &[room.data("pairs.jsonl", &rows(0..20))]);
    stages::precompute(&plan);
    room.data("pairs.jsonl", &rows(20..40));
    interrupted(&plan, 2);
    // The first data again: what it had is still there.
    room.data("pairs.jsonl", &rows(0..20));
    assert_eq!(counts(&stages::precompute(&plan)), (0, 0, 20, 0));
    room.is_as_if_fresh(&plan);
}

/// Flips a bit in the middle of a file.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_part_is_named_and_made_again_once_the_hint_is_followed() {
    let room = Room::new();
    let plan = room.plan("table", &[room.data("pairs.jsonl", &rows(0..20))]);
    let part = plan.out.join(part_name(0));
    let (n_done, _) = interrupted(&plan, 6);
    // Of an unfinished table the journal has what the part had; of a finished one, only the model.
    for n_scored in [20 - n_done, 8] {
        damage(&part);
        let error = precompute::run(&plan, &Interrupt::default(), &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("part-00000.parquet"), "{error}");
        // To the letter.
        let hint = error.hint().unwrap();
        let command = hint.split('`').nth(1).unwrap();
        assert!(std::process::Command::new("sh").arg("-c").arg(command).status().unwrap().success(), "{hint}");
        assert!(!part.exists(), "{hint}");
        assert_eq!(stages::precompute(&plan).n_scored, n_scored);
        fs::remove_file(part.with_extension("parquet.damaged")).unwrap();
        room.is_as_if_fresh(&plan);
    }
}

#[test]
fn a_table_under_other_conditions_is_refused_before_the_data_is_read() {
    let room = Room::new();
    let plan = room.plan("table", &[room.data("pairs.jsonl", &rows(0..20))]);
    interrupted(&plan, 2);
    let mut other = plan.clone();
    other.rules.max_length = 100;
    let error = precompute::run(&other, &Interrupt::default(), &mut |event| panic!("{event:?}")).unwrap_err();
    assert!(error.to_string().contains("another `max_length`: expected `100`, found `256`"), "{error}");
    let fresh = Plan { start: Start::Fresh, ..other };
    assert_eq!(stages::precompute(&fresh).n_scored, 20);
}

/// The tiny model with every number of one tensor replaced.
fn model_with(room: &Room, name: &str, tensor: &str, change: fn(f32) -> f32) -> String {
    let folder = room.path(name);
    fs::create_dir_all(&folder).unwrap();
    for entry in fs::read_dir("fixtures/tiny").unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
    let path = folder.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let header_len = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header_len]).unwrap();
    assert_eq!(header[tensor]["dtype"], "F32");
    let bound = |i: usize| usize::try_from(header[tensor]["data_offsets"][i].as_u64().unwrap()).unwrap();
    for number in bytes[8 + header_len..][bound(0)..bound(1)].chunks_exact_mut(4) {
        let changed = change(f32::from_le_bytes((&*number).try_into().unwrap()));
        number.copy_from_slice(&changed.to_le_bytes());
    }
    fs::write(&path, bytes).unwrap();
    folder.to_str().unwrap().to_owned()
}

#[test]
fn a_log_prob_that_is_no_number_stops_the_run_and_names_the_pair() {
    let room = Room::new();
    let model = model_with(&room, "broken", "model.norm.weight", |_| f32::NAN);
    let plan = Plan { model, ..room.plan("table", &[room.data("pairs.jsonl", &rows(0..20))]) };
    let error = precompute::run(&plan, &Interrupt::default(), &mut |_| {}).unwrap_err();
    let PrecomputeError::NotALogp { row_idx: 0, side: "chosen", token: 0, found, .. } = &error else {
        panic!("{error}");
    };
    assert!(found.is_nan());
    assert!(!plan.out.join(MANIFEST).exists() && !plan.out.join(part_name(0)).exists());
}

#[test]
fn a_further_reference_scores_the_pairs_of_the_first() {
    let room = Room::new();
    let data = room.data("pairs.jsonl", &rows(0..20));
    let mut plan = room.plan("table", std::slice::from_ref(&data));
    plan.pairs = Pairs::Files { paths: vec![data.clone()], limit: std::num::NonZeroU64::new(10) };
    stages::precompute(&plan);
    let other = Plan {
        model: model_with(&room, "other", "model.norm.weight", |weight| 1.1 * weight),
        pairs: Pairs::OfTable { table: plan.out.clone(), named: Vec::new() },
        out: reference_folder(&plan.out, "other"),
        ..plan.clone()
    };
    assert_eq!(counts(&stages::precompute(&other)), (10, 0, 0, 0));
    let before = files(&plan.out);
    assert_eq!(counts(&stages::precompute(&plan)), (0, 10, 0, 0));
    assert!(files(&plan.out) == before, "the first table, looked at again, has changed");

    // A changed file is not what the first table was made from.
    fs::write(&data, rows(0..19).concat()).unwrap();
    let error = precompute::run(&other, &Interrupt::default(), &mut |_| {}).unwrap_err();
    assert!(matches!(&error, PrecomputeError::OtherSource { what: "digest", .. }), "{error}");
    assert!(is_table(&other.out), "a refused run leaves the table as it was");
}

fn is_table(folder: &Path) -> bool {
    folder.join(MANIFEST).is_file()
}
