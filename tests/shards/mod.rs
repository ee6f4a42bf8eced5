//! A table made by shards is, byte for byte, the one a single run makes: whatever their number and order, killed and run
//! again, divided otherwise in between, or grown; and what would not be is refused.

mod manifests;
mod yaml;

use std::fs;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use piref::error::Hint;
use piref::interrupt::Interrupt;
use piref::io::Lock;
use piref::precompute::{self, Event, Missing, Outcome, Pairs, Plan, PrecomputeError, Scope, Signals, Start, Summary};
use piref::table::{MANIFEST, REJECTS, ReferenceTable, Shard, TooManyRejects, part_name, signals_name};
use piref::verify;

use crate::support::stages::{self, files};
use crate::support::{Case, wait_for};

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

    /// Stage one over these rows into the folder `table`, 8 pairs a part.
    fn plan(&self, rows: &[String]) -> Plan {
        let data = self.path("pairs.jsonl");
        fs::write(&data, rows.concat()).unwrap();
        Plan {
            pairs: Pairs::Files { paths: vec![data], limit: None },
            rows_per_part: NonZeroUsize::new(8).unwrap(),
            max_tokens: NonZeroUsize::new(64).unwrap(),
            max_reject_rate: 0.2,
            ..stages::precompute_plan(&self.path("table"))
        }
    }

    /// Holds the table of a plan against one that a single run makes of the same data.
    #[track_caller]
    fn is_as_of_a_single_run(&self, plan: &Plan) {
        let single = Plan { out: self.path("single"), start: Start::Fresh, ..plan.clone() };
        stages::precompute(&single);
        let names = |folder: &Path| files(folder).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(&plan.out), names(&single.out));
        assert!(files(&plan.out) == files(&single.out), "the table of shards has other bytes");
    }
}

fn row(i: usize) -> String {
    format!("{{\"prompt\": \"Question {i}?\", \"chosen\": \" Yes, {i}.\", \"rejected\": \" No.\", \"score\": {i}}}\n")
}

fn rows(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(row).collect()
}

fn run(plan: &Plan) -> Result<Outcome, PrecomputeError> {
    precompute::run(plan, &Interrupt::default(), &mut |_| {})
}

fn shard(text: &str) -> Shard {
    text.parse().unwrap()
}

/// The plan of a shard, `i/n`.
fn of_shard(plan: &Plan, text: &str) -> Plan {
    Plan { scope: Scope::Shard(shard(text)), ..plan.clone() }
}

/// Makes a shard.
#[track_caller]
fn make(plan: &Plan, text: &str) -> Summary {
    let summary = stages::precompute(&of_shard(plan, text));
    assert_eq!(summary.shard, Some(shard(text)));
    summary
}

fn finish(plan: &Plan) -> Summary {
    stages::precompute(&Plan { scope: Scope::Finish, ..plan.clone() })
}

/// What keeps a table from being finished.
#[track_caller]
fn missing(plan: &Plan) -> Missing {
    match run(&Plan { scope: Scope::Finish, ..plan.clone() }).unwrap() {
        Outcome::Missing(missing) => missing,
        outcome => panic!("something is missing: {outcome:?}"),
    }
}

/// Makes a shard until so many forward passes are done; how many of its pairs are on disk then.
fn interrupted(plan: &Plan, shard: &str, n_batches: usize) -> u64 {
    let interrupt = Interrupt::default();
    let mut n_seen = 0;
    let outcome = precompute::run(&of_shard(plan, shard), &interrupt, &mut |event| {
        n_seen += usize::from(matches!(event, Event::Scored { .. }));
        if n_seen == n_batches {
            interrupt.set();
        }
    });
    match outcome.unwrap() {
        Outcome::Interrupted { n_done, .. } => n_done,
        outcome => panic!("it was asked to stop: {outcome:?}"),
    }
}

/// Pairs scored, kept in place, with log-probs from before.
fn counts(summary: &Summary) -> (u64, u64, u64) {
    (summary.n_scored, summary.n_resumed, summary.n_reused)
}

#[test]
fn any_number_of_shards_in_any_order_makes_the_bytes_of_a_single_run() {
    // 44 pairs in 6 parts. Two rows are none: one by its form, one by its tokens alone, which only its own shard sees.
    // Prompts and whole pairs return in the parts of other shards, and only one shard has the pair whose score is no whole
    // number, and the further column.
    let mut data = rows(0..36);
    data.insert(3, "{\"prompt\": \"No answers\"}\n".into());
    data.insert(11, row(99).replace("Question", &"Question ".repeat(400)));
    data.extend((0..4).map(|i| row(i).replace(" No.", " Not at all.")));
    data.extend(rows(20..23));
    data.push(row(50).replace("\"score\": 50", "\"score\": 0.5, \"by\": \"hand\""));
    for n_shards in [1, 2, 3, 7] {
        let room = Room::new();
        let plan = room.plan(&data);
        let (mut n_pairs, mut n_rejected, mut n_overlong) = (0, 0, 0);
        for index in (0..n_shards).rev() {
            let summary = make(&plan, &format!("{index}/{n_shards}"));
            // What another shard has finished may be known: three pairs stand in two parts.
            assert!(summary.n_resumed == 0 && summary.n_reused <= 3, "shard {index}/{n_shards}: {summary:?}");
            n_pairs += summary.n_pairs;
            n_rejected += summary.n_rejected;
            n_overlong += summary.n_overlong;
            assert!(!plan.out.join(MANIFEST).exists() && !plan.out.join(REJECTS).exists());
        }
        assert_eq!((n_pairs, n_rejected, n_overlong), (44, n_shards, 1), "{n_shards} shards");
        let summary = finish(&plan);
        assert_eq!((counts(&summary), summary.n_pairs), ((0, 44, 0), 44));
        assert_eq!((summary.n_rejected, summary.n_overlong), (1, 1));
        assert_eq!(summary.shard, None);
        room.is_as_of_a_single_run(&plan);
    }
}

#[test]
fn a_limit_ends_shards_where_it_ends_a_single_run() {
    let room = Room::new();
    let mut data = rows(0..40);
    data.insert(2, row(99).replace("Question", &"Question ".repeat(400)));
    let mut plan = room.plan(&data);
    if let Pairs::Files { limit, .. } = &mut plan.pairs {
        *limit = NonZeroU64::new(20);
    }
    let n_pairs = ["0/2", "1/2"].map(|text| make(&plan, text).n_pairs);
    // 20 pairs were read, in parts of 8 (7 with tokens to score), 8 and 4.
    assert_eq!(n_pairs, [11, 8]);
    finish(&plan);
    room.is_as_of_a_single_run(&plan);
}

#[test]
fn a_part_of_nothing_to_score_is_left_out() {
    let room = Room::new();
    let too_long = (0..8).map(|i| row(i).replace("Question", &"Question ".repeat(400)));
    let data: Vec<String> = rows(0..8).into_iter().chain(too_long).chain(rows(8..12)).collect();
    let plan = Plan { max_reject_rate: 0.5, ..room.plan(&data) };
    let made = ["0/3", "1/3", "2/3"].map(|text| make(&plan, text).n_pairs);
    assert_eq!(made, [8, 0, 4]);
    finish(&plan);
    room.is_as_of_a_single_run(&plan);
    assert!(!plan.out.join(part_name(1)).exists());
    let verified = verify::run(&verify::Plan { table: plan.out, model: None, data: Vec::new() }, &mut |_| {}).unwrap();
    assert!(verified.is_clean());
}

#[test]
fn shards_at_work_at_once_do_not_disturb_each_other() {
    let room = Room::new();
    let plan = &room.plan(&rows(0..40));
    std::thread::scope(|scope| {
        let shards = ["0/3", "1/3", "2/3"].map(|text| scope.spawn(move || make(plan, text)));
        let n_scored: u64 = shards.into_iter().map(|shard| shard.join().unwrap().n_scored).sum();
        assert_eq!(n_scored, 40);
    });
    finish(plan);
    room.is_as_of_a_single_run(plan);
}

#[test]
fn a_shard_that_was_stopped_goes_on_where_it_was() {
    let room = Room::new();
    let plan = room.plan(&rows(0..40));
    let n_done = interrupted(&plan, "1/2", 3);
    assert!(n_done > 0 && n_done < 16, "{n_done}");
    make(&plan, "0/2");
    let gaps = missing(&plan);
    assert_eq!(gaps.shards, [shard("1/2")]);
    let summary = make(&plan, "1/2");
    assert_eq!(summary.n_scored, 16 - n_done, "every forward pass was kept");
    finish(&plan);
    room.is_as_of_a_single_run(&plan);
}

#[test]
fn what_is_missing_is_named_and_nothing_changes() {
    let room = Room::new();
    let plan = room.plan(&rows(0..40));
    assert!(missing(&plan).shards.is_empty(), "no shard has been at work: there may be any number of them");
    for shard in ["0/3", "2/3"] {
        make(&plan, shard);
    }
    let before = files(&plan.out);
    let want = Missing { n_parts: 5, parts: vec![part_name(1), part_name(4)], n_pairs: 16, shards: vec![shard("1/3")] };
    assert_eq!(missing(&plan), want);
    assert!(files(&plan.out) == before);

    let error = ReferenceTable::open(&plan.out).unwrap_err();
    let hint = error.hint().unwrap();
    assert!(error.to_string().contains("is incomplete") && hint.contains("3 shards"), "{error}: {hint}");
    assert!(hint.contains("--finish"), "{hint}");
}

#[test]
fn a_table_is_finished_as_often_as_one_likes() {
    let room = Room::new();
    let plan = room.plan(&rows(0..20));
    make(&plan, "0/2");
    make(&plan, "1/2");
    finish(&plan);
    let before = files(&plan.out);
    assert_eq!(counts(&finish(&plan)), (0, 20, 0));
    assert!(files(&plan.out) == before, "finished twice");
    // A shard has nothing to do any more, and leaves nothing in a finished table.
    assert_eq!(counts(&make(&plan, "0/2")), (0, 12, 0));
    assert!(files(&plan.out) == before, "a shard after the end");
    assert_eq!(counts(&stages::precompute(&plan)), (0, 20, 0));
    assert!(files(&plan.out) == before, "a single run after the end");
}

#[test]
fn another_number_of_shards_takes_over_what_is_there() {
    let room = Room::new();
    let plan = room.plan(&rows(0..40));
    make(&plan, "0/2");
    let n_done = interrupted(&plan, "1/2", 3);
    // Parts 0 and 3, 1 and 4, 2: of those 0, 2 and 4 are there, and pairs of part 1 in a journal.
    assert_eq!(counts(&make(&plan, "0/3")), (8, 8, 0));
    assert_eq!(counts(&make(&plan, "1/3")), (8 - n_done, 8, n_done));
    assert_eq!(counts(&make(&plan, "2/3")), (0, 8, 0));
    finish(&plan);
    room.is_as_of_a_single_run(&plan);
}

#[test]
fn a_single_run_goes_on_where_shards_have_stopped() {
    let room = Room::new();
    let plan = room.plan(&rows(0..40));
    make(&plan, "0/2");
    let n_done = interrupted(&plan, "1/2", 3);
    assert_eq!(counts(&stages::precompute(&plan)), (16 - n_done, 24, n_done));
    room.is_as_of_a_single_run(&plan);
}

#[test]
fn a_finished_table_grows_by_shards_without_scoring_a_pair_twice() {
    let cases = [("appended", rows(0..26)), ("put first", [rows(20..26), rows(0..20)].concat()), ("less", rows(3..9))];
    for (name, changed) in cases {
        let room = Room::new();
        let plan = room.plan(&rows(0..20));
        for shard in ["0/2", "1/2"] {
            make(&plan, shard);
        }
        finish(&plan);

        let plan = room.plan(&changed);
        let before = missing(&plan);
        assert_eq!(before.parts.len(), changed.len().div_ceil(8), "{name}: no part is of this data");
        let made = ["0/2", "1/2"].map(|shard| make(&plan, shard));
        let n_scored: u64 = made.iter().map(|summary| summary.n_scored).sum();
        assert_eq!(n_scored, changed.len().saturating_sub(20) as u64, "{name}");
        assert!(!plan.out.join(MANIFEST).exists(), "{name}");
        finish(&plan);
        room.is_as_of_a_single_run(&plan);
    }
}

#[test]
fn shards_under_other_conditions_are_refused_and_both_are_named() {
    let room = Room::new();
    let plan = room.plan(&rows(0..40));
    make(&plan, "0/2");
    let mut other = plan.clone();
    other.rules.max_length = 100;
    let error = run(&of_shard(&other, "1/2")).unwrap_err();
    let message = error.to_string();
    assert!(message.starts_with("shard 0/2 of "), "{message}");
    assert!(message.ends_with("has another `max_length` than shard 1/2: expected `100`, found `256`"), "{message}");
    assert!(error.hint().unwrap().contains("all shards of a table"));
    let error = run(&Plan { scope: Scope::Finish, ..other.clone() }).unwrap_err();
    assert!(error.to_string().contains("another `max_length` than this run: expected `100`, found `256`"), "{error}");
    let error = run(&Plan { start: Start::Fresh, ..of_shard(&plan, "1/2") }).unwrap_err();
    assert!(matches!(error, PrecomputeError::FreshShard { .. }), "{error}");
    // The first table is as it was.
    make(&plan, "1/2");
    finish(&plan);
    room.is_as_of_a_single_run(&plan);
}

#[test]
fn shards_of_another_layout_are_refused_at_work_and_made_again_afterwards() {
    let room = Room::new();
    let plan = room.plan(&rows(0..40));
    let smaller = Plan { rows_per_part: NonZeroUsize::new(4).unwrap(), ..plan.clone() };
    make(&plan, "0/2");
    {
        let _at_work = Lock::acquire(&plan.out.join(".piref-shard-0-of-2.lock")).unwrap();
        let error = run(&of_shard(&smaller, "1/2")).unwrap_err().to_string();
        assert!(error.ends_with("has another `rows_per_part` than shard 1/2: expected `4`, found `8`"), "{error}");
        let error = run(&of_shard(&plan, "1/3")).unwrap_err().to_string();
        assert!(error.ends_with("has another `number of shards` than shard 1/3: expected `3`, found `2`"), "{error}");
        let without = Plan { signals: Signals::Skip, ..of_shard(&plan, "1/2") };
        let error = run(&without).unwrap_err().to_string();
        assert!(error.ends_with("has another `signals` than shard 1/2: expected `false`, found `true`"), "{error}");
    }
    // Parts 1, 3, 5, 7 and 9 of four pairs: 4–7, 12–15, 20–23, 28–31, 36–39. The rows of parts 0, 2 and 4 of eight, 0–7,
    // 16–23 and 32–39, are known.
    assert_eq!(counts(&make(&smaller, "1/2")), (8, 0, 12));
    let error = run(&Plan { scope: Scope::Finish, ..plan.clone() }).unwrap_err().to_string();
    assert!(error.ends_with("has another `rows_per_part` than this run: expected `8`, found `4`"), "{error}");
    // Parts 1 and 3 of eight, 8–15 and 24–31; of these 12–15 and 28–31 are known now.
    assert_eq!(counts(&make(&plan, "1/2")), (8, 0, 8));
    finish(&plan);
    room.is_as_of_a_single_run(&plan);
}

#[test]
fn a_shard_is_made_by_one_process_at_a_time_and_not_beside_a_run_of_the_whole() {
    let room = Room::new();
    let plan = room.plan(&rows(0..20));
    fs::create_dir_all(&plan.out).unwrap();
    let is_refused = |plan: &Plan| run(plan).unwrap_err().to_string().contains("is in use by process");
    {
        let _shard = Lock::acquire(&plan.out.join(".piref-shard-0-of-2.lock")).unwrap();
        assert!(is_refused(&of_shard(&plan, "0/2")), "the same shard");
        assert!(is_refused(&plan), "the whole");
        assert!(is_refused(&Plan { scope: Scope::Finish, ..plan.clone() }), "the end");
        make(&plan, "1/2");
    }
    {
        let _whole = Lock::acquire(&plan.out.join(".piref.lock")).unwrap();
        assert!(is_refused(&of_shard(&plan, "0/2")), "beside the whole");
    }
    // A lock file without its process is no lock, and is gone in the end.
    fs::write(plan.out.join(".piref-shard-0-of-2.lock"), "process 1\n").unwrap();
    make(&plan, "0/2");
    finish(&plan);
    room.is_as_of_a_single_run(&plan);
}

#[test]
fn a_damaged_part_is_found_in_the_end_and_made_again_by_its_shard() {
    let room = Room::new();
    let plan = room.plan(&rows(0..40));
    make(&plan, "0/2");
    make(&plan, "1/2");
    let part = plan.out.join(part_name(3));
    let mut bytes = fs::read(&part).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&part, bytes).unwrap();
    let error = run(&Plan { scope: Scope::Finish, ..plan.clone() }).unwrap_err();
    assert!(
        error.to_string().contains("part-00003.parquet")
            && error.hint().unwrap().contains("part-00003.parquet.damaged"),
        "{error}"
    );
    fs::remove_file(&part).unwrap();
    assert_eq!(missing(&plan).shards, [shard("1/2")]);
    assert_eq!(counts(&make(&plan, "1/2")), (8, 8, 0));
    finish(&plan);
    room.is_as_of_a_single_run(&plan);
}

#[test]
fn shards_without_signals_make_the_table_of_a_run_without() {
    let room = Room::new();
    let plan = Plan { signals: Signals::Skip, ..room.plan(&rows(0..20)) };
    make(&plan, "0/2");
    make(&plan, "1/2");
    finish(&plan);
    assert!(!plan.out.join(signals_name(0)).exists());
    room.is_as_of_a_single_run(&plan);
}

#[test]
fn too_many_rejects_stop_every_shard_and_can_be_read() {
    let room = Room::new();
    let mut data = rows(0..20);
    data.extend(std::iter::repeat_n("{\"prompt\": \"No answers\"}\n".to_owned(), 10));
    let plan = room.plan(&data);
    for shard in ["0/2", "1/2"] {
        let error = run(&of_shard(&plan, shard)).unwrap_err();
        let PrecomputeError::TooManyRejects(TooManyRejects::Malformed { n_rejected: 10, .. }) = error else {
            panic!("{error}")
        };
        assert!(plan.out.join(REJECTS).is_file());
    }
}

const PIPELINE: &str = r#"
name = "shards"
model = "PROJECT/fixtures/tiny"
[data]
files = ["PROJECT/fixtures/pairs/standard.jsonl", "PROJECT/fixtures/pairs/conversational.jsonl"]
[precompute]
rows_per_part = 8
max_tokens = 256
"#;

fn case() -> Case {
    Case::new().pipeline(&PIPELINE.replace("PROJECT", env!("CARGO_MANIFEST_DIR")))
}

/// On the command line, the index from the environment of a Slurm array; one of the tasks is killed and submitted again.
#[test]
fn a_killed_task_of_an_array_is_submitted_again() {
    let single = case();
    single.run(["precompute", "p.toml"]).success();
    let case = case();
    let table = case.path().join("runs/shards/reference");
    let task = |id: &str| {
        let mut command = case.command(["precompute", "p.toml", "--shard", "auto"]);
        command.envs([
            ("SLURM_ARRAY_TASK_ID", id),
            ("SLURM_ARRAY_TASK_COUNT", "2"),
            ("SLURM_ARRAY_TASK_MIN", "0"),
            ("SLURM_ARRAY_TASK_MAX", "1"),
            ("SLURM_ARRAY_TASK_STEP", "1"),
        ]);
        command
    };
    let mut child = task("1").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for(&table.join(".piref-journal-1-of-2"), "\"scored\"");
    child.kill().unwrap();
    child.wait().unwrap();
    let output = task("0").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("shard 0/2 of "), "{stderr}");
    assert!(stderr.trim_end().ends_with("precompute p.toml --finish"), "{stderr}");

    // The kill came before the shard was done, unless this machine is very fast.
    let unfinished = case.run(["precompute", "p.toml", "--finish"]);
    if unfinished.code != Some(0) {
        assert_eq!(unfinished.code, Some(1), "{unfinished}");
        assert!(unfinished.stderr.contains("precompute p.toml --shard 1/2\n"), "{unfinished}");
    }
    assert!(task("1").output().unwrap().status.success());
    case.run(["precompute", "p.toml", "--finish"]).success();
    assert!(files(&table) == files(&single.path().join("runs/shards/reference")), "the table has other bytes");
    assert!(case.path().join("runs/shards/plan.toml").is_file());
}

#[test]
fn wrong_shards_are_refused_on_the_command_line() {
    let case = case();
    for (shard, wanted) in [
        ("4/4", "expected a shard from `0/4` to `3/4`, found `4/4`"),
        ("1", "expected a shard like `0/4`"),
        ("auto", "found none"),
        ("auto/4", "found none"),
    ] {
        let outcome = case.run(["precompute", "p.toml", "--shard", shard]);
        assert_eq!(outcome.code, Some(2), "{outcome}");
        assert!(outcome.stderr.contains(wanted), "{outcome}");
    }
    for other in ["--fresh", "--finish"] {
        let outcome = case.run(["precompute", "p.toml", "--shard", "0/2", other]);
        assert_eq!(outcome.code, Some(2), "{outcome}");
        assert!(outcome.stderr.contains("cannot be used with"), "{outcome}");
    }
}
