use std::collections::BTreeMap;
use std::path::Path;

use super::error::SweepError;
use super::name::name;
use super::*;
use crate::error::Hint;
use crate::io;
use crate::pipeline::{Axis, Override, read_list};
use crate::table::MANIFEST;
use crate::train::Start;

/// A folder with a pipeline file and the manifest of a table.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    io::write(&folder.path().join("p.toml"), b"model = 'm'\n[train]\nbatch_size = 4\n").unwrap();
    io::write(&folder.path().join(MANIFEST), b"{}").unwrap();
    folder
}

fn request(folder: &Path, sets: &[&str], list: Option<&str>) -> Request {
    let list = list.map(|text| {
        io::write(&folder.join("list.toml"), text.as_bytes()).unwrap();
        read_list(&folder.join("list.toml")).unwrap()
    });
    Request {
        pipeline: folder.join("p.toml"),
        out: folder.join("sweep"),
        table: Some(folder.to_owned()),
        axes: sets.iter().map(|set| Axis::parse(set).unwrap()).collect(),
        list,
        rank_by: None,
        last_steps: LAST_STEPS,
        start: Start::Resume,
    }
}

#[track_caller]
fn names(sets: &[&str], list: Option<&str>) -> Vec<String> {
    let folder = folder();
    Plan::new(request(folder.path(), sets, list)).unwrap().runs.into_iter().map(|run| run.name).collect()
}

#[track_caller]
fn refused(sets: &[&str], list: Option<&str>) -> SweepError {
    let folder = folder();
    Plan::new(request(folder.path(), sets, list)).unwrap_err()
}

#[test]
fn a_grid_has_every_combination_and_the_first_setting_changes_last() {
    assert_eq!(
        names(&["train.loss.beta=0.05,1", "train.loss.loss_type=sigmoid,ipo"], None),
        [
            "beta-0.05_loss_type-sigmoid",
            "beta-0.05_loss_type-ipo",
            "beta-1.0_loss_type-sigmoid",
            "beta-1.0_loss_type-ipo"
        ]
    );
    let list = "[[run]]\n[[run]]\nname = 'low'\ntrain.loss.beta = 0.01\n[[run]]\ntrain.lora.r = 8\n";
    assert_eq!(names(&[], Some(list)), ["unchanged", "low", "r-8"]);
    assert_eq!(names(&["train.seed=1,2"], Some("[[run]]\nname = 'a'\n")), ["a_seed-1", "a_seed-2"]);
}

#[test]
fn settings_reach_the_plans_and_those_of_an_adapter_have_its_defaults() {
    let folder = folder();
    let list = "[[run]]\ntrain.loss.beta = 0.5\n[[run]]\ntrain.lora.r = 8\n";
    let plan = Plan::new(request(folder.path(), &[], Some(list))).unwrap();
    assert_eq!(plan.settings, ["train.loss.beta", "train.lora.r"]);
    let rates: Vec<f64> = plan.runs.iter().map(|run| run.plan.course.learning_rate).collect();
    assert_eq!(rates, [1e-6, 1e-5]);
    let comparison = Comparison::of(&plan, plan.runs.iter().map(Row::pending).collect()).unwrap();
    let values =
        |row_idx: usize| comparison.values[row_idx].iter().map(|value| value.as_ref().map(ToString::to_string));
    assert_eq!(values(0).collect::<Vec<_>>(), [Some("0.5".into()), None]);
    assert_eq!(values(1).collect::<Vec<_>>(), [Some("0.1".into()), Some("8".into())]);
}

#[test]
fn what_runs_cannot_differ_in_is_refused_with_the_reason() {
    assert!(matches!(refused(&[], None), SweepError::Nothing));
    assert!(
        matches!(refused(&["tokenize.max_length=128,256"], None), SweepError::ChangesTable { key } if key == "tokenize.max_length")
    );
    assert!(matches!(refused(&[], Some("[[run]]\ndata.limit = 8\n")), SweepError::ChangesTable { .. }));
    assert!(matches!(refused(&["model=a,b"], None), SweepError::Model));
    assert!(matches!(refused(&["train.pairs.tables=['a'],['b', 'c']"], None), SweepError::Tables));
    assert!(matches!(refused(&[], Some("[[run]]\ntrain.pairs.tables = ['a']\n")), SweepError::Tables));
    assert!(matches!(refused(&["name=a,b"], None), SweepError::Name));
    assert!(matches!(refused(&["train.seed=1", "train.seed=2"], None), SweepError::SetTwice { .. }));
    assert!(matches!(refused(&["train.seed=1"], Some("[[run]]\ntrain.seed = 2\n")), SweepError::SetTwice { .. }));
    assert!(matches!(refused(&[], Some("[[run]]\n[[run]]\n")), SweepError::SameName { .. }));
    assert!(matches!(refused(&[], Some("")), SweepError::Nothing));
    let many: Vec<String> = (0..101).map(|seed| seed.to_string()).collect();
    let (seeds, warmups) = (format!("train.seed={}", many.join(",")), format!("train.warmup_steps={}", many.join(",")));
    assert!(matches!(refused(&[&seeds, &warmups], None), SweepError::TooMany { found: 10_201, .. }));
    // A setting that one of the objectives does not read: the run is named.
    let error = refused(&["train.loss.loss_type=sigmoid,ipo", "train.loss.label_smoothing=0.1"], None);
    assert_eq!(error.to_string(), "run `loss_type-ipo_label_smoothing-0.1` cannot be made");
    assert!(error.hint().unwrap().contains("--list"));
}

#[test]
fn a_name_tells_its_settings_or_has_their_digest() {
    let setting = |key: &str, value: toml::Value| Override { key: key.into(), value };
    let losses = toml::Value::from(vec!["sigmoid", "sft"]);
    assert_eq!(name(None, &[setting("train.loss.loss_type", losses)]), "loss_type-sigmoid-sft");
    assert_eq!(name(None, &[setting("train.learning_rate", 1e-6.into())]), "learning_rate-1e-6");
    let device = |text: &str| name(None, &[setting("train.device", text.into())]);
    assert!(device("cuda:1").starts_with("device-cuda-1-") && device("cuda:1") != device("cuda/1"));
    let long = |end: &str| name(Some("a"), &[setting("train.reference", format!("{}{end}", "é".repeat(200)).into())]);
    assert!(long("x").len() <= 120 && long("x") != long("y"), "{}", long("x"));
}

fn row(name: &str, status: Status, metrics: &[(&str, f64)]) -> Row {
    let metrics: BTreeMap<String, f64> = metrics.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    Row {
        name: name.into(),
        folder: name.into(),
        status,
        error: None,
        n_steps: 1,
        seconds: 2.0,
        metrics,
        curves: Vec::new(),
    }
}

#[test]
fn equal_runs_share_a_place_and_only_finished_ones_have_one() {
    let accuracy = |status, value| row("a", status, &[("mean/rewards/accuracies", value), ("mean/loss", -value)]);
    let rows = [
        accuracy(Status::Finished, 0.5),
        accuracy(Status::Finished, 0.75),
        accuracy(Status::Interrupted, 1.0),
        accuracy(Status::Finished, 0.75),
        accuracy(Status::Finished, f64::NAN),
    ];
    let ranking = Ranking::of(None, &rows).unwrap();
    assert_eq!(ranking.ranks, [Some(3), Some(1), None, Some(1), None]);
    assert_eq!(ranking.describe(), "mean/rewards/accuracies, highest first");
    let by_loss = Ranking::of(Some(&"loss".parse().unwrap()), &rows).unwrap();
    assert_eq!((by_loss.best, &by_loss.ranks[..2]), (Best::Lowest, &[Some(3), Some(1)][..]));
    let by_loss = Ranking::of(Some(&"loss:max".parse().unwrap()), &rows).unwrap();
    assert_eq!(by_loss.ranks[0], Some(1));
    assert_eq!(Ranking::of(Some(&"seconds".parse().unwrap()), &rows).unwrap().ranks[..2], [Some(1), Some(1)]);
    assert_eq!(Ranking::of(Some(&"eval_loss".parse().unwrap()), &rows), None);
    // A held-out metric decides where there is one, and nobody has asked for another.
    let held_out = [row("a", Status::Finished, &[("eval_rewards/accuracies", 0.1), ("mean/rewards/accuracies", 0.9)])];
    assert_eq!(Ranking::of(None, &held_out).unwrap().column, "eval_rewards/accuracies");
}

#[test]
fn a_metric_without_a_better_end_needs_one_and_an_unknown_one_has_a_neighbour() {
    let refused = |text: &str| text.parse::<RankBy>().unwrap_err().to_string();
    assert_eq!(refused("rewards/margin"), "unknown metric `rewards/margin`: did you mean `rewards/margins`?");
    assert_eq!(
        refused("logps/rejected"),
        "expected `logps/rejected:min` or `logps/rejected:max`: neither end of it is better by itself"
    );
    for text in ["mean/loss", "last/rewards/margins", "eval_loss", "seconds", "logps/rejected:min", "eval_x:max"] {
        text.parse::<RankBy>().unwrap();
    }
}

#[test]
fn metrics_are_means_over_the_last_steps_and_evaluations_are_their_own_lines() {
    let folder = folder();
    let plan = Plan::new(request(folder.path(), &["train.seed=1"], None)).unwrap();
    let run = &plan.runs[0];
    io::create_dir(&run.plan.course.out.join("train")).unwrap();
    let path = run.plan.course.out.join(crate::train::METRICS);
    let step = |step: u64, loss: f64| {
        format!("{{\"schema\":\"metrics.v1\",\"step\":{step},\"epoch\":0.5,\"loss\":{loss},\"step_seconds\":0.25}}\n")
    };
    let eval = "{\"schema\":\"metrics.v1\",\"step\":3,\"eval_loss\":0.625,\"eval_x\":null}\n";
    io::write(&path, [&step(1, 8.0), &step(2, 2.0), &step(3, 1.0), eval].concat().as_bytes()).unwrap();
    let row = Row::read(run, Status::Finished, 2).unwrap();
    assert_eq!((row.n_steps, row.seconds), (3, 0.75));
    let found: Vec<(&str, f64)> = row.metrics.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(
        found,
        [
            ("eval_loss", 0.625),
            ("last/epoch", 0.5),
            ("last/loss", 1.0),
            ("last/step_seconds", 0.25),
            ("mean/loss", 1.5),
            ("mean/step_seconds", 0.25),
        ]
    );
    assert_eq!(row.curve("last/loss").unwrap().points, [(1.0, 8.0), (2.0, 5.0), (3.0, 1.5)]);
    assert_eq!(row.curve("eval_loss").unwrap().points, [(3.0, 0.625)]);

    let other = step(1, 8.0).replace("metrics.v1", "metrics.v9");
    io::write(&path, other.as_bytes()).unwrap();
    let error = Row::read(run, Status::Finished, 2).unwrap_err();
    assert!(error.to_string().ends_with("line 1: expected an object of `metrics.v1`, found `metrics.v9`"), "{error}");
}

#[test]
fn a_page_has_the_runs_by_rank_and_each_has_one_colour() {
    let folder = folder();
    let plan = Plan::new(request(folder.path(), &["train.seed=1,2,3"], None)).unwrap();
    let curve = |points: &[(f64, f64)]| vec![Curve { name: "mean/loss".into(), points: points.to_vec() }];
    let accuracy = |value| [("mean/rewards/accuracies", value)];
    let rows = vec![
        Row { curves: curve(&[(1.0, 0.5), (2.0, 0.25)]), ..row("low", Status::Finished, &accuracy(0.25)) },
        Row { error: Some("<b>no".into()), ..row("bad", Status::Failed, &[]) },
        row("high", Status::Finished, &accuracy(0.75)),
    ];
    let html = page::page(&Comparison::of(&plan, rows).unwrap(), &plan).to_html().unwrap();
    let place = |text: &str| html.find(text).unwrap_or_else(|| panic!("no `{text}` in {html}"));
    let cells = |run: &str, rank: &str, seed: u8, accuracy: &str, status: &str| {
        let cells = [rank, &seed.to_string(), accuracy, "1", "2.0", status, run];
        cells.map(|cell| format!("<td>{cell}</td>")).concat()
    };
    let (high, low) = (cells("high", "1", 3, "0.7500", "finished"), cells("low", "2", 1, "0.2500", "finished"));
    let bad = cells("bad", "", 2, "", "failed: &lt;b&gt;no");
    assert!(place(&high) < place(&low) && place(&low) < place(&bad), "{html}");
    // The bar of `low` is a third of that of `high`, which spans the drawing; the run without a place has none.
    place("<rect class=\"bar c1 d0\" x=\"4.0\" y=\"19\" width=\"412.0\"");
    place("<rect class=\"bar c2 d1\" x=\"4.0\" y=\"53\" width=\"137.3\"");
    assert!(!html.contains("bar c3"), "{html}");
    // Its curve is the only one of the loss, and it has the second colour there, too.
    assert!(html.contains("<path class=\"line c2 d1\" d=\"M56.0"), "{html}");
    assert!(!html.contains("NaN"), "{html}");
}
