//! Pages of small runs, and of what a hostile one may hold.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::io;
use crate::query::Session;

/// A run of `n_steps` with an evaluation every tenth.
fn run(n_steps: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = Vec::new();
    for step in 1..=n_steps {
        let loss = 0.69 / f64::from(step);
        lines.push(json!({
            "schema": "metrics.v1", "step": step, "epoch": 0.5, "loss": loss, "grad_norm": 1.5, "learning_rate": 1e-6,
            "rewards/chosen": 0.1, "rewards/rejected": -0.1, "rewards/margins": 0.2, "rewards/accuracies": 0.75,
            "logps/chosen": -20.5, "logps/rejected": -21.0, "num_tokens": step, "n_pairs": 8, "displacement": 0.25,
            "tokens_per_second": 100.0, "step_seconds": 0.5, "entropy": 1.25
        }));
        if step % 10 == 0 {
            lines.push(json!({ "schema": "metrics.v1", "step": step, "eval_loss": 2.0 * loss, "eval_n_pairs": 4 }));
        }
    }
    write_metrics(folder.path(), &lines);
    folder
}

fn write_metrics(run: &Path, lines: &[Value]) {
    io::create_dir(&run.join("train")).unwrap();
    let text: Vec<String> = lines.iter().map(Value::to_string).collect();
    io::write(&run.join("train/metrics.jsonl"), text.join("\n").as_bytes()).unwrap();
}

fn figures(page: &Page) -> Vec<(&str, Value)> {
    let blocks = page.sections.iter().flat_map(|section| section.blocks.iter().map(|block| (&*section.id, block)));
    let shown = blocks.filter(|(_, block)| matches!(block, Block::Figure(_)));
    shown.map(|(id, block)| (id, serde_json::to_value(block).unwrap())).collect()
}

#[test]
fn a_run_has_its_curves_and_their_numbers() {
    let folder = run(20);
    let page = run_page(&RunInputs { run: folder.path(), table: None }).unwrap();
    let figures = figures(&page);
    let titles: Vec<(&str, &str)> =
        figures.iter().map(|(id, figure)| (*id, figure["title"].as_str().unwrap())).collect();
    let training = [
        "Loss",
        "Reward accuracy",
        "Reward margin",
        "Rewards",
        "Log-probs",
        "Displacement",
        "Gradient norm",
        "Learning rate",
    ];
    let mut want: Vec<(&str, &str)> = training.map(|title| ("training", title)).into();
    want.extend([("other", "entropy"), ("time", "Speed")]);
    assert_eq!(titles, want);

    let numbers = &figures[0].1["numbers"];
    assert_eq!(numbers["columns"], json!(["step", "trained on", "held out"]));
    assert_eq!(numbers["rows"].as_array().unwrap().len(), 20);
    assert_eq!(numbers["rows"][0], json!(["1", "0.69", ""]));
    assert_eq!(numbers["rows"][9], json!(["10", "0.069", "0.138"]));
    let facts: Vec<String> = page.facts.iter().map(|fact| format!("{}: {}", fact.name, fact.value)).collect();
    assert!(facts.contains(&"steps: 20".to_owned()) && facts.contains(&"loss: 0.69 → 0.0345".to_owned()), "{facts:?}");
    let html = page.to_html().unwrap();
    assert!(html.contains("<dt>in steps</dt><dd>10.0 s</dd>") && html.contains("<dt>median step</dt><dd>500 ms</dd>"));
}

#[test]
fn steps_of_a_long_run_share_points_and_none_is_lost() {
    let folder = run(1001);
    let session = || {
        let mut session = Session::new().unwrap();
        session.register(folder.path()).unwrap();
        session
    };
    let curves = numbers::curves(&session(), "metrics", "loss", &["loss"]).unwrap();
    assert_eq!(curves.steps_per_point, 9.0);
    let points = &curves.lines["loss"];
    assert_eq!((points.len(), points[0].first, points[111].last), (112, 1.0, 1001.0));
    assert!(points.windows(2).all(|pair| pair[0].last + 1.0 == pair[1].first));
    assert_eq!((points[0].greatest, points[0].least), (0.69, 0.69 / 9.0));
    let mean = (1..=9).map(|step| 0.69 / f64::from(step)).sum::<f64>() / 9.0;
    assert!((points[0].mean - mean).abs() < 1e-12);
}

#[test]
fn a_histogram_counts_every_value_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("evals.csv");
    io::write(&path, b"step,margin\n0,0\n0,1\n0,4\n0,4\n8,-1\n8,3\n8,\n").unwrap();
    let mut session = Session::new().unwrap();
    session.register(&path).unwrap();
    let series = [("first", "margin", "step = 0"), ("last", "margin", "step = 8")];
    for (values, from, width) in [(numbers::Values::Continuous, -1.0, 0.125), (numbers::Values::Whole, -1.0, 1.0)] {
        let histogram = numbers::histogram(&session, "evals", "margin", values, &series).unwrap().unwrap();
        assert_eq!((histogram.from, histogram.width), (from, width));
        let counts: Vec<u64> = histogram.bars.iter().map(|bars| bars.counts.iter().sum()).collect();
        assert_eq!(counts, [4, 2]);
        let last_bin = if width == 1.0 { 5 } else { 39 };
        assert_eq!(histogram.bars[0].counts[last_bin], 2);
    }
    let none = numbers::histogram(&session, "evals", "x", numbers::Values::Whole, &[("none", "margin", "step = 3")]);
    assert!(none.unwrap().is_none());
}

#[test]
fn a_few_values_far_away_do_not_flatten_a_histogram() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("evals.csv");
    let values = (0..1000).map(|value| value.to_string()).chain(["90000".into(), "-70000".into()]);
    io::write(&path, format!("margin\n{}\n", values.collect::<Vec<_>>().join("\n")).as_bytes()).unwrap();
    let mut session = Session::new().unwrap();
    session.register(&path).unwrap();
    let histogram = |condition| {
        let series = [("all", "margin", condition)];
        numbers::histogram(&session, "evals", "margin", numbers::Values::Whole, &series).unwrap().unwrap()
    };
    let found = histogram("true");
    // Quantiles 0.005 and 0.995 of 1002 values: the sixth and the sixth last about.
    assert_eq!((found.from, found.width), (4.0, 25.0));
    assert_eq!((found.least, found.greatest), (Some(-70000.0), Some(90000.0)));
    let counts = &found.bars[0].counts;
    assert_eq!((counts.iter().sum::<u64>(), counts[0], counts[1]), (1002, 30, 25), "4 to 28, 0 to 3, and the least");
    let rows = found.numbers().rows;
    assert_eq!([rows[0][0].as_str(), rows[39][0].as_str()], ["-70000 to 29", "979 to 90000"]);

    let near = histogram("margin BETWEEN -1 AND 1000");
    assert_eq!((near.least, near.greatest, near.from), (None, None, 0.0));
}

/// Elements that are open at the end, or closed out of turn: enough to see markup that a name has broken out of.
#[track_caller]
fn check_markup(html: &str) {
    let mut open = Vec::new();
    for tag in html.split('<').skip(1).map(|rest| rest.split_once('>').unwrap().0) {
        let name = tag.trim_end_matches('/').split_whitespace().next().unwrap();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "in <{tag}>"),
            None if tag.ends_with('/') || ["meta", "!doctype"].contains(&name) => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn what_a_run_says_of_itself_is_text() {
    let hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join(hostile.replace('/', "\u{2215}"));
    let metric = hostile.replace('"', "\\\"");
    let line = |step| json!({ "schema": "metrics.v1", "step": step, "loss": 0.5, hostile: 1.5 });
    write_metrics(&run, &[1, 2, 3].map(line));
    let plan =
        format!("model = \"{metric}\"\n[train]\n\"{metric}\" = [\"{metric}\", 1]\n[train.\"{metric}.x\"]\nx = 1\n");
    io::write(&run.join("plan.toml"), plan.as_bytes()).unwrap();

    let samples = run.join("train/samples");
    io::create_dir(&samples).unwrap();
    for step in [0, 3] {
        let line = json!({ "schema": "samples.v1", "step": step, "pair_id": hostile, "prompt": hostile,
                           "completion": format!("{hostile}{step}"), "n_tokens": 1, "finish_reason": "stop" });
        io::write(&samples.join(format!("step-0000000{step}.jsonl")), format!("{line}\n").as_bytes()).unwrap();
    }

    let html = run_page(&RunInputs { run: &run, table: None }).unwrap().to_html().unwrap();
    check_markup(&html);
    assert!(!html.contains("<script") && !html.contains("<img"));
    assert!(
        html.contains("id=\"samples\"") && html.contains("alert(1)&gt;0</td>") && html.contains("alert(1)&gt;3</td>")
    );
    assert!(html.contains("&lt;script&gt;"), "the name is not shown at all");
}

#[test]
fn first_and_last_samples_stand_side_by_side() {
    let folder = run(3);
    let samples = folder.path().join("train/samples");
    io::create_dir(&samples).unwrap();
    for step in [0, 2, 3] {
        let line = |pair: &str| {
            let line = json!({ "schema": "samples.v1", "step": step, "pair_id": pair, "prompt": format!("{pair}?"),
                               "completion": format!("{pair}\n{step}"), "n_tokens": 4, "finish_reason": "length" });
            line.to_string() + "\n"
        };
        let lines = line("b") + &line("a");
        io::write(&samples.join(format!("step-0000000{step}.jsonl")), lines.as_bytes()).unwrap();
    }
    let page = run_page(&RunInputs { run: folder.path(), table: None }).unwrap();
    let section = page.sections.iter().find(|section| section.id == "samples").unwrap();
    let Some(Block::Texts { table, .. }) = section.blocks.last() else { panic!("{section:?}") };
    assert_eq!(table.columns, ["prompt", "step 0", "step 3"]);
    assert_eq!(table.rows, [["b?", "b\n0", "b\n3"], ["a?", "a\n0", "a\n3"]]);
}

#[test]
fn a_page_is_one_file_that_may_not_load_anything() {
    let folder = run(3);
    let html = run_page(&RunInputs { run: folder.path(), table: None }).unwrap().to_html().unwrap();
    check_markup(&html);
    assert!(html.contains("content=\"default-src 'none'; style-src 'unsafe-inline'\""));
    for loading in ["http:", "https:", "src=", "@import", "url(", "<script", "<link"] {
        assert!(!html.contains(loading), "{loading}");
    }
    // As many tables of numbers as figures, each to be opened by a key.
    assert_eq!(html.matches("<figure").count(), html.matches("<details><summary>").count());
}

#[test]
fn a_run_of_one_step_is_a_dot() {
    let folder = run(1);
    let html = run_page(&RunInputs { run: folder.path(), table: None }).unwrap().to_html().unwrap();
    assert!(html.contains("<circle class=\"dot c1 d0\""));
    assert!(!html.contains("NaN") && !html.contains("inf"));
}

#[test]
fn what_is_no_run_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let error = run_page(&RunInputs { run: folder.path(), table: None }).unwrap_err();
    assert!(error.to_string().contains("is neither a log-prob table nor a run folder"), "{error}");
    let folder = run(1);
    io::write(&folder.path().join("plan.toml"), b"model = \n").unwrap();
    let error = run_page(&RunInputs { run: folder.path(), table: None }).unwrap_err();
    assert!(error.to_string().contains("plan.toml"), "{error}");
    let missing = RunInputs { run: Path::new("there/is/none"), table: None };
    assert!(run_page(&missing).unwrap_err().to_string().contains("`there/is/none` does not exist"));
}

#[test]
fn curves_drawn_together_differ_in_colour_or_dash() {
    let styles: std::collections::BTreeSet<String> = (0..32).map(chart::style).collect();
    assert_eq!(styles.len(), 32);
    let line = |name: &str, y| Line { name: name.into(), points: vec![Point::at(1.0, y), Point::at(2.0, 0.5)] };
    let chart = |lines| Chart::Lines(LineChart { x: "step".into(), unit: None, lines, guides: Vec::new() });
    let figure = Figure::new("t", "", &chart(vec![line("a<b", 0.0), line("b", 1.0), line("c", 2.0)]));
    let block = Block::Figure(figure);
    let shown = serde_json::to_value(&block).unwrap();
    let want = json!([
        { "name": "a<b", "style": "c1 d0" }, { "name": "b", "style": "c2 d1" }, { "name": "c", "style": "c3 d2" }
    ]);
    assert_eq!(shown["key"], want);
    let section = Section { id: "s".into(), heading: "S".into(), blocks: vec![block] };
    let page = Page { title: "p".into(), subtitle: String::new(), facts: Vec::new(), sections: vec![section] };
    let html = page.to_html().unwrap();
    check_markup(&html);
    assert!(html.contains("</svg>a&lt;b</li>") && html.matches("<path class=\"line c3 d2\"").count() == 2, "{html}");
    // One curve needs no name but that of its figure.
    let alone = serde_json::to_value(Figure::new("t", "", &chart(vec![line("a", 0.0)]))).unwrap();
    assert_eq!(alone["key"], json!([]));
}

#[test]
fn bars_begin_at_zero_on_both_sides_of_it() {
    let bar = |name: &str, value| Bar { name: name.into(), value };
    let bars = vec![bar("up", Some(3.0)), bar("down", Some(-1.0)), bar("none", None), bar("wrong", Some(f64::NAN))];
    let guides = vec![Guide { at: 1.0, name: "<one>".into() }];
    let (of, value) = ("run".to_owned(), "margin".to_owned());
    let of_each = BarChart { of, value, bars, tones: Tones::Each, guides };
    let alike = Chart::Bars(BarChart { tones: Tones::Alike, ..of_each.clone() }).svg("t");
    assert_eq!(alike.matches("<rect class=\"bar c1 d0\"").count(), 2, "{alike}");
    let chart = Chart::Bars(of_each);
    let svg = chart.svg("t");
    check_markup(&svg);
    // From -1 to 3 on 4 to 416: 0 is at 107.
    assert!(svg.contains("<rect class=\"bar c1 d0\" x=\"107.0\" y=\"19\" width=\"309.0\""), "{svg}");
    assert!(svg.contains("<rect class=\"bar c2 d1\" x=\"4.0\" y=\"53\" width=\"103.0\""), "{svg}");
    assert_eq!(svg.matches("<rect").count(), 2, "{svg}");
    // 1 is half of the way.
    assert!(svg.contains("<path class=\"guide\" d=\"M210.0 0V136\"><title>&lt;one&gt;</title></path>"), "{svg}");
    assert_eq!(chart.numbers().rows[..3], [["up", "3"], ["down", "-1"], ["none", ""]]);
}
