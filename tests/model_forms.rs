//! One argument means one thing: every command takes a model in every form, and refuses what is none with the same words.

use std::fs;
use std::path::Path;

use crate::support::stages::copy_dir;
use crate::support::{Case, Outcome};

const PAIRS: &str = "{\"prompt\": \"Is it?\", \"chosen\": \" Yes.\", \"rejected\": \" No.\"}\n\
                     {\"prompt\": \"Who?\", \"chosen\": \" Nobody.\", \"rejected\": \" All.\"}\n";

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Every command that takes a model, but for the servers.
const COMMANDS: [&str; 10] = [
    "precompute --model MODEL --data pairs.jsonl --out OUT --no-signals",
    "train --model MODEL --table TABLE --out OUT --max-steps 1 --lora-r 2",
    "train --model MODEL --table TABLE --out OUT --max-steps 1",
    "sft --model MODEL --data pairs.jsonl --out OUT --max-steps 1 --lora-r 2",
    "eval --model MODEL --table TABLE",
    "generate --model MODEL --raw --prompt It --max-new-tokens 1",
    "verify TABLE --model MODEL",
    "import scored.jsonl --model MODEL --out OUT --logps sum",
    "bench --model MODEL --data pairs.jsonl --limit 1 --repeat 1",
    "sql --model MODEL -c SELECT(n_tokens('It'))",
];

/// The tiny model in all its places, with a run that trained an adapter of it and one that trained its weights.
fn case() -> Case {
    let case = Case::new().file("pairs.jsonl", PAIRS);
    let scored = PAIRS.replace("\"}", "\", \"ref_chosen_logps\": -1.5, \"ref_rejected_logps\": -2.5}");
    fs::write(case.path().join("scored.jsonl"), scored).unwrap();
    let tiny = Path::new("fixtures/tiny");
    copy_dir(tiny, &case.path().join("models/tiny"));
    let cached = case.path().join("cache/models--org--tiny");
    copy_dir(tiny, &cached.join("snapshots").join(COMMIT));
    fs::create_dir_all(cached.join("refs")).unwrap();
    fs::write(cached.join("refs/main"), COMMIT).unwrap();
    fs::write(cached.join("refs/v1.0"), COMMIT).unwrap();
    case.run(["precompute", "--model", "models/tiny", "--data", "pairs.jsonl", "--out", "t"]).success();
    let train = ["train", "--model", "models/tiny", "--table", "t", "--max-steps", "2", "--learning-rate", "1e-2"];
    case.run([&train[..], &["--out", "run", "--lora-r", "2"]].concat()).success();
    case.run([&train[..], &["--out", "whole"]].concat()).success();
    copy_dir(&case.path().join("run/policy"), &case.path().join("adapter"));
    case
}

/// Runs a command on a model.
fn run(case: &Case, command: &str, model: &str, table: &str, out: &str) -> Outcome {
    let word = |word| match word {
        "MODEL" => model,
        "TABLE" => table,
        "OUT" => out,
        word => word,
    };
    case.run(command.split(' ').map(word))
}

#[test]
fn every_command_takes_a_model_in_every_form() {
    let case = case();
    let short = format!("org/tiny@{}", &COMMIT[..8]);
    let full = format!("org/tiny@{COMMIT}");
    let forms = [
        "models/tiny",
        "models/tiny/",
        "./models/../models/tiny",
        "org/tiny",
        "org/tiny@v1.0",
        &short,
        &full,
        "adapter",
        "run",
        "run/policy",
        "whole",
        "whole/policy",
    ];
    for (form, model) in forms.into_iter().enumerate() {
        let table = format!("table-{form}");
        case.run(["precompute", "--model", model, "--data", "pairs.jsonl", "--out", &table]).success();
        // Of a kind one name with all commands, the others with two.
        let is_first = ["models/tiny", "org/tiny@v1.0", "adapter", "run", "whole"].contains(&model);
        for (at, command) in COMMANDS.into_iter().enumerate().filter(|(at, _)| is_first || [1, 4].contains(at)) {
            // Seconds of arithmetic.
            if command.starts_with("bench") && model != "run" {
                continue;
            }
            run(&case, command, model, &table, &format!("out-{at}-{form}")).success();
        }
    }
}

#[test]
fn every_command_refuses_what_is_no_model_with_the_same_words() {
    let case = case();
    fs::create_dir(case.path().join("empty")).unwrap();
    copy_dir(Path::new("fixtures/tiny"), &case.path().join("lfs"));
    fs::write(
        case.path().join("lfs/model.safetensors"),
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    )
    .unwrap();
    copy_dir(&case.path().join("adapter"), &case.path().join("both"));
    copy_dir(Path::new("fixtures/tiny"), &case.path().join("both"));
    let fill = |name: &str, base: &str| {
        copy_dir(&case.path().join("adapter"), &case.path().join(name));
        let path = case.path().join(name).join("adapter_config.json");
        let mut config: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        config["base_model_name_or_path"] = base.into();
        fs::write(path, config.to_string()).unwrap();
    };
    fill("lost", "org/nowhere");
    fill("nameless", "");
    for (model, error, hint) in [
        ("nobody/nothing", "model `nobody/nothing` not found", "`hf download nobody/nothing` fetches it"),
        ("org/tiny@v2", "not its revision `v2`", "`hf download org/tiny --revision v2`"),
        ("models", "`models` is no model", "name one of the folders in it: `models/tiny`"),
        ("empty", "`empty` is no model", ""),
        ("models/tiny/config.json", "is a file, but not a `.gguf` one", "name its folder: `models/tiny`"),
        ("lfs", "is a pointer of Git LFS", "lfs pull"),
        ("both", "holds a whole model", "move `adapter_config.json`"),
        ("lost", "the base model `org/nowhere` of the adapter in `lost` is not here", "`hf download org/nowhere`"),
        ("nameless", "the adapter in `nameless` names no base model", "`base_model_name_or_path`"),
        ("s3://bucket/model", "is under a URL", "copy it first"),
        ("cache/models--org--tiny", "is no model", "`--model org/tiny` finds the model"),
    ] {
        for command in COMMANDS {
            let outcome = run(&case, command, model, "t", "new");
            assert_eq!(outcome.code, Some(2), "{command}, {model}\n{outcome}");
            assert!(outcome.stderr.contains(error) && outcome.stderr.contains(hint), "{command}, {model}\n{outcome}");
        }
    }
}

/// A second round: the adapter of the first is the reference, and the policy starts there.
#[test]
fn an_adapter_is_the_reference_of_a_second_round() {
    let case = case();
    let reference = ["--data", "pairs.jsonl", "--out", "second"];
    case.run([&["precompute", "--model", "run"][..], &reference].concat()).success();
    let train = ["train", "--table", "second", "--max-steps", "2", "--learning-rate", "1e-2"];
    for (out, model) in [
        ("over", &["--model", "run", "--lora-r", "4"][..]),
        ("further", &["--model", "models/tiny", "--adapter", "adapter"]),
        ("weights", &["--model", "adapter"]),
    ] {
        case.run([&train[..], model, &["--out", out]].concat()).success();
        let metrics = fs::read_to_string(case.path().join(out).join("train/metrics.jsonl")).unwrap();
        let first: serde_json::Value = serde_json::from_str(metrics.lines().next().unwrap()).unwrap();
        let loss = first["loss"].as_f64().unwrap();
        assert!((loss - std::f64::consts::LN_2).abs() < 1e-5, "{out}: {loss}");
    }
    // The adapter over an adapter is written with it, over the model that is on disk.
    let config = fs::read_to_string(case.path().join("over/policy/adapter_config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!((&config["r"], &config["lora_alpha"]), (&6.into(), &6.into()));
    let last = |run: &str| {
        let eval = case.run(["eval", "--model", run, "--table", "second", "--output-format", "json"]).success();
        let eval: serde_json::Value = serde_json::from_str(&eval.stdout).unwrap();
        eval["eval_loss"].as_f64().unwrap()
    };
    case.run(["export", "over", "--merge", "--out", "merged"]).success();
    assert!(last("over") < std::f64::consts::LN_2 - 1e-3);
    assert!((last("over") - last("merged")).abs() < 1e-5);

    let refused = case.run(["train", "--model", "models/tiny", "--table", "second", "--out", "no", "--max-steps", "1"]);
    assert!(refused.stderr.contains("expected `model.adapter_digest` `"), "{refused}");
    assert!(refused.stderr.contains("name the adapter the table was scored with"), "{refused}");
}
