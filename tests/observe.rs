//! What a run shows of itself: TensorBoard's event file, the report, the lines of progress.

use std::fs;
use std::path::{Path, PathBuf};

use piref::train;

use crate::support::Case;
use crate::support::stages::{self, copy_dir};

/// Scalars of an event: step, tag, value.
type Scalar = (u64, String, f32);

/// The events of the one event file of a run, read apart from the code that wrote it: `tag`, wire type and content of a
/// protocol buffer, and no more of it than such a file has.
#[track_caller]
fn scalars(run: &Path) -> Vec<Scalar> {
    let entries = fs::read_dir(run.join("train")).unwrap().map(|entry| entry.unwrap().path());
    let is_events = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("events.out.tfevents.");
    let files: Vec<PathBuf> = entries.filter(is_events).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let bytes = fs::read(&files[0]).unwrap();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let length = usize::try_from(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())).unwrap();
        let fields = fields(&bytes[at + 12..at + 12 + length]);
        at += 16 + length;
        let step = fields.iter().find(|field| field.0 == 2).map_or(0, |field| field.1);
        for (_, _, summary) in fields.iter().filter(|field| field.0 == 5) {
            for (_, _, value) in self::fields(summary) {
                let value = self::fields(&value);
                let number = f32::from_bits(u32::try_from(value[1].1).unwrap());
                found.push((step, String::from_utf8(value[0].2.clone()).unwrap(), number));
            }
        }
    }
    found
}

/// Number, value and bytes of each field.
fn fields(message: &[u8]) -> Vec<(u64, u64, Vec<u8>)> {
    let (mut fields, mut at) = (Vec::new(), 0);
    let varint = |at: &mut usize| {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = message[*at];
            *at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    };
    while at < message.len() {
        let key = varint(&mut at);
        let (value, length) = match key & 7 {
            0 => (varint(&mut at), 0),
            1 => (0, 8),
            5 => (u64::from(u32::from_le_bytes(message[at..at + 4].try_into().unwrap())), 4),
            2 => (0, usize::try_from(varint(&mut at)).unwrap()),
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, value, message[at..at + length].to_vec()));
        at += length;
    }
    fields
}

/// What the metrics of a run are as scalars.
fn metrics(run: &Path) -> Vec<Scalar> {
    let text = fs::read_to_string(run.join(train::METRICS)).unwrap();
    let mut scalars = Vec::new();
    for line in text.lines() {
        let row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        let step = row["step"].as_u64().unwrap();
        let numbers = row.iter().filter(|(name, value)| value.is_number() && *name != "step");
        #[expect(clippy::cast_possible_truncation, reason = "as TensorBoard has it")]
        scalars.extend(numbers.map(|(name, value)| (step, format!("train/{name}"), value.as_f64().unwrap() as f32)));
    }
    scalars
}

#[test]
fn the_event_file_has_the_numbers_of_the_metrics_and_a_resumed_run_has_them_once() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    stages::precompute(&stages::precompute_plan(&table));
    let plan = stages::train_plan(&table, &folder.path().join("run"));
    let plan = stages::with(plan, |changed| changed.course.report_to = train::ReportTo::Tensorboard);
    stages::train_until(&plan, 2);
    assert_eq!(scalars(&plan.course.out), metrics(&plan.course.out));
    stages::train_until(&plan, 5);
    // As a kill after step 5 leaves it: the checkpoint is of step 3, the event file goes on.
    fs::remove_dir_all(plan.course.out.join("train/checkpoints/step-5")).unwrap();
    let mut notes = Vec::new();
    let mut observe = |event: train::Event<'_>| {
        if let train::Event::Note(note) = event {
            notes.push(note);
        }
    };
    train::run(&plan, &piref::interrupt::Interrupt::default(), &mut observe).unwrap();
    assert_eq!(scalars(&plan.course.out), metrics(&plan.course.out));
    let steps: Vec<u64> = scalars(&plan.course.out)
        .into_iter()
        .filter(|(_, tag, _)| tag == "train/loss")
        .map(|(step, ..)| step)
        .collect();
    assert_eq!(steps, [1, 2, 3, 4, 5, 6]);
    assert!(!notes.iter().any(|note| note.contains("TensorBoard")), "{notes:?}");
}

#[test]
fn steps_that_the_event_file_lacks_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    stages::precompute(&stages::precompute_plan(&table));
    let silent = stages::train_plan(&table, &folder.path().join("run"));
    stages::train_until(&silent, 4);
    let mut notes = String::new();
    let plan = stages::with(silent, |changed| changed.course.report_to = train::ReportTo::Tensorboard);
    let mut observe = |event: train::Event<'_>| {
        if let train::Event::Note(note) = event {
            notes += &note;
        }
    };
    train::run(&plan, &piref::interrupt::Interrupt::default(), &mut observe).unwrap();
    assert!(notes.contains("lacks the steps 1 to 4"), "{notes}");
    assert_eq!(scalars(&plan.course.out).iter().map(|(step, ..)| *step).min(), Some(5));
}

const PIPELINE: &str = r#"
name = "shown"
model = "tiny"
[data]
files = ["pairs/standard.jsonl"]
[train]
learning_rate = 1e-3
batch_size = 4
max_steps = 4
"#;

fn case() -> Case {
    let case = Case::new().pipeline(PIPELINE);
    for name in ["tiny", "pairs"] {
        copy_dir(&Path::new("fixtures").join(name), &case.path().join(name));
    }
    case.run(["precompute", "p.toml", "--quiet"]).success();
    case
}

#[test]
fn training_ends_with_a_report_and_an_event_file_and_can_do_without_the_latter() {
    let case = case();
    let trained = case.run(["train", "p.toml"]).success();
    assert!(trained.stderr.contains("report: runs/shown/report.html\n"), "{trained}");
    let run = case.path().join("runs/shown");
    assert_eq!(scalars(&run), metrics(&run));
    let page = fs::read_to_string(run.join("report.html")).unwrap();
    for shown in
        ["<title>shown · piref</title>", "Log-probs per token", "Reward margin", "train.loss", "<td>sigmoid</td>"]
    {
        assert!(page.contains(shown), "{shown}");
    }

    // The report of a run is a matter of what is in its folder.
    fs::remove_file(run.join("report.html")).unwrap();
    let reported = case.run(["report", "p.toml"]).success();
    assert_eq!((reported.stdout.as_str(), reported.stderr.as_str()), ("", "report: runs/shown/report.html\n"));
    assert_eq!(fs::read_to_string(run.join("report.html")).unwrap(), page);

    case.run(["train", "p.toml", "--fresh", "--report-to", "none"]).success();
    let names = fs::read_dir(run.join("train")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, [".piref-run", "checkpoints", "metrics.jsonl"]);
}

#[test]
fn a_report_of_a_table_alone_and_of_a_run_that_has_its_table_elsewhere() {
    let case = case();
    case.run(["report", "runs/shown", "--out", "before.html"]).success();
    let before = fs::read_to_string(case.path().join("before.html")).unwrap();
    assert!(before.contains("Lengths of prompts") && !before.contains("Gradient norm"));

    let train = ["train", "--model", "tiny", "--table", "runs/shown/reference", "--out", "apart", "--max-steps", "2"];
    case.run(train).success();
    let apart = fs::read_to_string(case.path().join("apart/report.html")).unwrap();
    assert!(apart.contains("Lengths of prompts") && apart.contains("Gradient norm"));
    case.run(["report", "apart", "--table", "runs/shown/reference", "--out", "again.html"]).success();
    assert_eq!(fs::read_to_string(case.path().join("again.html")).unwrap(), apart);

    let refused = case.run(["report", "tiny"]);
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("`tiny` is neither a log-prob table nor a run folder"), "{refused}");
    assert!(!case.path().join("tiny/report.html").exists());
}

#[test]
fn progress_is_said_in_lines_where_there_is_no_terminal_and_not_at_all_when_quiet() {
    let case = case();
    let trained = case.run(["train", "p.toml", "--logging-steps", "2"]).success();
    let steps: Vec<&str> = trained.stderr.lines().filter(|line| line.starts_with("step ")).collect();
    assert_eq!(steps.len(), 3, "{trained}");
    assert!(
        steps.iter().zip([1, 2, 4]).all(|(line, step)| line.starts_with(&format!("step {step}/4: loss 0."))),
        "{trained}"
    );
    let quiet = case.run(["train", "p.toml", "--fresh", "--quiet"]).success();
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
}
