//! Layouts that are no pairs: each is refused with what to do, and what to do is done here as it is printed.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Case, Outcome};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny");

fn precompute(case: &Case, file: &str, more: &[&str]) -> Outcome {
    let arguments = ["precompute", "--model", MODEL, "--data", file, "--out", "table", "--no-signals", "--quiet"];
    case.run(arguments.into_iter().chain(more.iter().copied()))
}

fn sft(case: &Case, file: &str) -> Outcome {
    case.run(["sft", "--model", MODEL, "--data", file, "--out", "run", "--max-steps", "1", "--quiet"])
}

/// The first command between backticks that hints give.
#[track_caller]
fn command(outcome: &Outcome) -> String {
    assert_ne!(outcome.code, Some(0), "{outcome}");
    let hint = outcome.stderr.lines().find(|line| line.starts_with("hint: ") && line.contains("`piref sql"));
    let hint = hint.unwrap_or_else(|| panic!("no command: {outcome}"));
    let command = hint.split("`piref sql").nth(1).unwrap();
    format!("piref sql{}", command.split('`').next().unwrap())
}

/// Runs a command of a hint in a shell; gives the rows it wrote.
#[track_caller]
fn follow(case: &Case, command: &str) -> (String, Vec<Value>) {
    let program = Path::new(env!("CARGO_BIN_EXE_piref"));
    let path = format!("{}:/usr/bin:/bin", program.parent().unwrap().display());
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(case.path()).env_clear().env("PATH", path).stdin(Stdio::null());
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{command}\n{}", String::from_utf8_lossy(&output.stderr));
    let file = command.rsplit("> ").next().unwrap().trim_matches('\'').replace(r"'\''", "'");
    let text = fs::read_to_string(case.path().join(&file)).unwrap();
    (file, text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

fn assistant(text: &str) -> Value {
    json!({"role": "assistant", "content": text})
}

/// Rows that are refused, and the pairs that the hint makes of them.
#[track_caller]
fn check(rows: &[Value], want: &[Value]) {
    let text = rows.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    let case = Case::new().file("data.jsonl", &text);
    let refused = precompute(&case, "data.jsonl", &[]);
    let (file, found) = follow(&case, &command(&refused));
    assert_eq!(found, want, "{refused}");
    precompute(&case, &file, &[]).success();
    // A second time it writes another file: nothing is overwritten.
    assert_ne!(command(&precompute(&case, "data.jsonl", &["--fresh"])).rsplit("> ").next().unwrap(), file);
}

fn pair(prompt: impl Into<Value>, chosen: impl Into<Value>, rejected: impl Into<Value>) -> Value {
    json!({"prompt": prompt.into(), "chosen": chosen.into(), "rejected": rejected.into()})
}

#[test]
fn ranked_answers_become_pairs_of_the_best_and_the_worst() {
    let answers = |key: &str, scores: [i32; 3]| {
        let texts = ["Hello", "Go", "Hm"];
        let answer = |(text, score): (&str, i32)| json!({key: text, "overall_score": score});
        texts.into_iter().zip(scores).map(answer).collect::<Value>()
    };
    check(
        &[
            json!({"instruction": "Hi", "completions": answers("response", [5, 2, 8])}),
            json!({"instruction": "Tie", "completions": answers("response", [3, 3, 3])}),
            json!({"instruction": "Yo", "completions": answers("response", [1, 2, 0])}),
        ],
        &[pair("Hi", "Hm", "Go"), pair("Yo", "Go", "Hm")],
    );
    let ranked = json!([{"answer": "Go", "rank": 2.0}, {"answer": "Hello", "rank": 1.0}]);
    check(&[json!({"prompt": "Hi ", "answers": ranked})], &[pair("Hi ", "Hello", "Go")]);
    let completion = |rank: u64, text: &str| json!({"rank": rank, "completion": [assistant(text)]});
    check(
        &[json!({"context": [user("Hi")], "completions": [completion(1, "Go"), completion(0, "Hello")]})],
        &[pair(vec![user("Hi")], vec![assistant("Hello")], vec![assistant("Go")])],
    );
    check(&[json!({"prompt": "Hi", "responses": ["Go", "Hello"], "scores": [0.5, 1.5]})], &[pair("Hi", "Hello", "Go")]);
}

#[test]
fn the_better_of_two_answers_is_the_one_another_column_names() {
    let turns = |answer: &str| vec![user("Hi"), assistant(answer)];
    let arena =
        |winner: &str| json!({"conversation_a": turns("Hello"), "conversation_b": turns("Go"), "winner": winner});
    let side = |chosen: &str, rejected: &str| json!({"chosen": turns(chosen), "rejected": turns(rejected)});
    check(
        &[arena("model_b"), arena("tie"), arena("model_a"), arena("tie (bothbad)")],
        &[side("Go", "Hello"), side("Hello", "Go")],
    );
    let safe =
        |better: u64| json!({"prompt": "Hi", "response_0": "Go", "response_1": "Hello", "better_response_id": better});
    check(&[safe(1), safe(0)], &[pair("Hi", "Hello", "Go"), pair("Hi", "Go", "Hello")]);
    let shp = |label: u64| json!({"history": "Hi", "human_ref_A": "Hello", "human_ref_B": "Go", "labels": label});
    check(&[shp(1), shp(0)], &[pair("Hi", "Hello", "Go"), pair("Hi", "Go", "Hello")]);
    let webgpt =
        |a: f64, b: f64| json!({"question": "Hi", "answer_0": "Hello", "answer_1": "Go", "score_0": a, "score_1": b});
    check(
        &[webgpt(1.0, -1.0), webgpt(0.0, 0.0), webgpt(-1.0, 1.0)],
        &[pair("Hi", "Hello", "Go"), pair("Hi", "Go", "Hello")],
    );
    let help = |strength: i64| json!({"context": [user("Hi")], "response1": "Hello", "response2": "Go", "overall_preference": strength});
    check(
        &[help(-2), help(0), help(1)],
        &[pair(vec![user("Hi")], "Hello", "Go"), pair(vec![user("Hi")], "Go", "Hello")],
    );
    let lmsys = |a: u64, b: u64| json!({"prompt": "Hi", "response_a": "Hello", "response_b": "Go", "winner_model_a": a, "winner_model_b": b});
    check(&[lmsys(0, 1), lmsys(0, 0), lmsys(1, 0)], &[pair("Hi", "Go", "Hello"), pair("Hi", "Hello", "Go")]);
}

#[test]
fn a_map_does_not_decide_what_another_column_does() {
    let row = json!({"prompt": "Hi", "response_a": "Hello", "response_b": "Go", "winner": "model_b"});
    let case = Case::new().file("data.jsonl", &row.to_string());
    let map = "chosen=response_a,rejected=response_b";
    let refused = precompute(&case, "data.jsonl", &["--map", map]);
    assert_eq!(follow(&case, &command(&refused)).1, [pair("Hi", "Go", "Hello")]);
    precompute(&case, "data.jsonl", &["--map", &format!("{map},ignore=winner")]).success();
}

#[test]
fn alpaca_prompts_are_joined_from_both_columns() {
    let row =
        |input: &str| json!({"instruction": "Translate.", "input": input, "chosen": "la casa", "rejected": "el perro"});
    let want = |prompt: &str| json!({"chosen": "la casa", "rejected": "el perro", "prompt": prompt});
    let (rows, pairs) = ([row("the house"), row("")], [want("Translate.\nthe house"), want("Translate.")]);
    check(&rows, &pairs);
    check(&[json!({"instruction": "Hi", "input": "", "output": ["Hello", "Go"]})], &[pair("Hi", "Hello", "Go")]);
    // Half of the prompt is none.
    let text = format!("{}\n{}\n", rows[0], rows[1]);
    for map in ["prompt=instruction", "prompt=input"] {
        let case = Case::new().file("data.jsonl", &text);
        let refused = precompute(&case, "data.jsonl", &["--map", map]);
        assert_eq!(follow(&case, &command(&refused)).1, pairs, "{map}");
    }
}

#[test]
fn unpaired_answers_are_joined_by_prompt() {
    let row = |prompt: &str, answer: &str, label: bool| json!({"prompt": prompt, "completion": answer, "label": label});
    let rows = [row("Hi", "Hello", true), row("Hi", "Go", false), row("Yo", "Yes", true)];
    check(&rows, &[pair("Hi", "Hello", "Go")]);
    // Of these, supervised training learns the good ones.
    let text = rows.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    let case = Case::new().file("data.jsonl", &text);
    let (file, good) = follow(&case, &command(&sft(&case, "data.jsonl")));
    let answer = |prompt: &str, answer: &str| json!({"prompt": prompt, "completion": answer});
    assert_eq!(good, [answer("Hi", "Hello"), answer("Yo", "Yes")]);
    sft(&case, &file).success();
}

#[test]
fn rows_that_hold_more_or_other_than_a_pair_are_taken_apart() {
    check(
        &[json!({"prompt": "Hi", "chosen": "Hello", "rejected": ["Go", "No"]})],
        &[pair("Hi", "Hello", "Go"), pair("Hi", "Hello", "No")],
    );
    check(
        &[
            json!({"prompt": [user("Hi")], "chosen": [[assistant("Hello")]], "rejected": [[assistant("Go")], [assistant("No")]]}),
        ],
        &["Go", "No"].map(|text| pair(vec![user("Hi")], vec![assistant("Hello")], vec![assistant(text)])),
    );
    check(&[json!({"prompt": "2+2=", "chosen": 4, "rejected": 5})], &[pair("2+2=", "4", "5")]);
    check(
        &[json!({"data": [pair("Hi", "Hello", "Go"), pair("Yo", "Yes", "No")]})],
        &[pair("Hi", "Hello", "Go"), pair("Yo", "Yes", "No")],
    );
    check(
        &[json!({"prompt": ["Hi", "Yo"], "chosen": ["Hello", "Yes"], "rejected": ["Go", "No"]})],
        &[pair("Hi", "Hello", "Go"), pair("Yo", "Yes", "No")],
    );
}

#[test]
fn other_names_of_answers_are_told_to_supervised_training() {
    for (row, want) in [
        (json!({"question": "Hi", "answer": "Hello"}), "Hi"),
        (json!({"prompt": "Hi", "response": "Hello"}), "Hi"),
        (json!({"instruction": "Say", "input": "hi", "output": "Hello"}), "Say\nhi"),
        (json!({"instruction": "Hi", "output": "Hello"}), "Hi"),
    ] {
        let case = Case::new().file("it's.jsonl", &row.to_string());
        let (file, found) = follow(&case, &command(&sft(&case, "it's.jsonl")));
        assert_eq!(found, [json!({"prompt": want, "completion": "Hello"})]);
        sft(&case, &file).success();
    }
}

#[test]
fn names_with_capitals_and_system_texts_are_mapped_as_the_hint_says() {
    for (row, prompt) in [
        (json!({"Prompt": "Hi", "Chosen": "Hello", "Rejected": "Go"}), "Hi"),
        (
            json!({"system": "Be brief.", "question": "Hi", "chosen": "Hello", "rejected": "Go"}),
            "system: Be brief.\n\nuser: Hi",
        ),
        (
            json!({"system": "Be brief.", "prompt": "Hi", "chosen": "Hello", "rejected": "Go"}),
            "system: Be brief.\n\nuser: Hi",
        ),
        (
            json!({"system_prompt": "Be brief.", "instruction": "Hi", "chosen_response": "Hello", "rejected_response": "Go"}),
            "system: Be brief.\n\nuser: Hi",
        ),
        (
            json!({"system": "Be brief.", "prompt": [user("Hi")], "chosen": [assistant("Hello")], "rejected": [assistant("Go")]}),
            "system: Be brief.\n\nuser: Hi",
        ),
    ] {
        let case = Case::new().file("data.jsonl", &row.to_string());
        let refused = precompute(&case, "data.jsonl", &[]);
        let map = refused.stderr.split("`--map ").nth(1).and_then(|rest| rest.split('`').next()).unwrap().to_owned();
        precompute(&case, "data.jsonl", &["--map", &map]).success();
        let sql = "SELECT prompt FROM pairs";
        let found = case.run(["sql", "table", "-c", sql, "--format", "ndjson"]).success().stdout;
        assert_eq!(serde_json::from_str::<Value>(&found).unwrap(), json!({"prompt": prompt}), "{refused}");
    }
}
