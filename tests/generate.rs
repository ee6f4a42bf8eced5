//! `piref generate` and the library under it, on the fixtures.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use piref::batch::{Group, GroupBatch};
use piref::generate::{FinishReason, Generator, Sampling, Settings};
use piref::model::{Adapter, Decoder, Digests, Keep};
use piref::model_source::ModelSource;
use piref::ops::Backend;
use piref::policy::PolicySource;
use serde_json::{Value, json};

use crate::support::Case;

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny");
const PAIRS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/pairs");

fn load(folder: &str) -> Decoder {
    Decoder::load(&ModelSource::resolve(folder).unwrap(), &Backend::cpu()).unwrap()
}

fn greedy(max_new_tokens: usize) -> Settings {
    Settings { sampling: Sampling::GREEDY, max_new_tokens: NonZeroUsize::new(max_new_tokens).unwrap(), seed: 1 }
}

/// Logits by one pass of the decoder over the whole text.
fn logits(model: &Decoder, ids: &[u32]) -> Vec<f32> {
    let batch = GroupBatch::new(&[Group { prompt: ids, completions: vec![&[0]] }]).unwrap();
    let hidden = model.forward(&batch, Keep::Nothing).unwrap().hidden;
    hidden.matmul(&model.head().1.t().unwrap()).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn most_likely(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
    u32::try_from(best).unwrap()
}

fn checkpoints() -> Vec<String> {
    let folders = std::fs::read_dir("fixtures/architectures").unwrap().map(|entry| entry.unwrap().path());
    let folders = folders.filter(|path| path.is_dir()).map(|path| path.to_str().unwrap().to_owned());
    folders.chain([TINY.to_owned()]).collect()
}

#[test]
fn greedy_answers_are_the_argmax_of_our_own_forward() {
    for folder in checkpoints() {
        let model = load(&folder);
        let mut generator = Generator::new(&model, BTreeSet::new()).unwrap();
        let prompt: Vec<u32> = (0..7).map(|i| 5 + i * 31 % 80).collect();
        let mut ids = prompt.clone();
        for _ in 0..20 {
            let own = logits(&model, &ids);
            let used = generator.next_logits(&ids).unwrap();
            let max = own.iter().zip(&used).map(|(own, used)| (own - used).abs()).fold(0.0, f32::max);
            assert!(max <= 1e-3, "{folder}, {} tokens: max |Δ| {max:e}", ids.len());
            ids.push(most_likely(&own));
        }
        let answer = generator.complete(&prompt, &greedy(20)).unwrap();
        assert_eq!(
            (answer.ids.as_slice(), answer.finish_reason),
            (&ids[prompt.len()..], FinishReason::Length),
            "{folder}"
        );
    }
}

#[test]
fn an_answer_ends_at_an_end_token_or_where_the_model_does() {
    let model = load("fixtures/architectures/qwen2-bias");
    let prompt = [3, 40, 7];
    let free = Generator::new(&model, BTreeSet::new()).unwrap().complete(&prompt, &greedy(200)).unwrap();
    assert_eq!((free.ids.len(), free.finish_reason), (64 - prompt.len(), FinishReason::Length));
    assert_eq!(free.answer(), free.ids);

    let end = free.ids[2];
    let n = free.ids.iter().position(|id| *id == end).unwrap() + 1;
    let mut generator = Generator::new(&model, BTreeSet::from([end])).unwrap();
    let ended = generator.complete(&prompt, &greedy(200)).unwrap();
    assert_eq!((ended.ids.as_slice(), ended.finish_reason), (&free.ids[..n], FinishReason::Stop));
    assert_eq!(ended.answer(), &free.ids[..n - 1]);

    let too_long = generator.complete(&[3; 64], &greedy(1)).unwrap_err();
    assert_eq!(too_long.to_string(), "the prompt of 64 tokens fills the 64 positions the model was made for");
    assert!(generator.complete(&[], &greedy(1)).unwrap_err().to_string().contains("found none"));
    assert!(generator.complete(&[96], &greedy(1)).unwrap_err().to_string().contains("vocabulary of 96"));
}

/// The adapter of the golden files, whose `B` is 0, with numbers in it; `base` is what it calls its base model.
fn adapter(folder: &Path, base: &str) -> PathBuf {
    let original = Path::new("fixtures/golden/lora");
    let weights = candle_core::safetensors::load(original.join("adapter_model.safetensors"), &Device::Cpu).unwrap();
    let number = |i: usize| (i as f32 * 0.7).sin() * 0.3;
    let weights: BTreeMap<String, Tensor> = weights
        .into_iter()
        .map(|(name, tensor)| {
            let values: Vec<f32> = (0..tensor.elem_count()).map(number).collect();
            let tensor = Tensor::from_vec(values, tensor.shape(), &Device::Cpu).unwrap();
            (name, tensor)
        })
        .collect();
    let path = folder.join("adapter");
    std::fs::create_dir(&path).unwrap();
    safetensors::serialize_to_file(weights, None, &path.join("adapter_model.safetensors")).unwrap();
    let config = std::fs::read_to_string(original.join("adapter_config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["base_model_name_or_path"] = base.into();
    std::fs::write(path.join("adapter_config.json"), config.to_string()).unwrap();
    path
}

fn rows(ndjson: &str) -> Vec<Value> {
    ndjson.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const NDJSON: [&str; 3] = ["--greedy", "--output-format", "ndjson"];

fn generate(case: &Case, arguments: &[&str]) -> Vec<Value> {
    let outcome = case.run([&["generate", "--max-new-tokens", "12"], arguments].concat()).success();
    rows(&outcome.stdout)
}

#[test]
fn an_adapter_answers_like_the_model_it_is_merged_into() {
    let case = Case::new();
    let path = adapter(case.path(), TINY);
    let path = path.to_str().unwrap();
    case.run(["export", path, "--merge", "--out", "merged"]).success();
    let answers = |policy: &[&str]| generate(&case, &[policy, &["--prompt", "What is a piref?"], &NDJSON].concat());
    let merged = answers(&["--model", "merged"]);
    assert_eq!(answers(&["--model", path]), merged);
    assert_eq!(answers(&["--model", TINY, "--adapter", path]), merged);
    assert_ne!(answers(&["--model", TINY]), merged);

    // A run folder stands for its policy, be it an adapter or a model.
    std::fs::create_dir(case.path().join("run")).unwrap();
    std::fs::rename(path, case.path().join("run/policy")).unwrap();
    assert_eq!(answers(&["--model", "run"]), merged);
    std::fs::create_dir(case.path().join("whole")).unwrap();
    std::fs::rename(case.path().join("merged"), case.path().join("whole/policy")).unwrap();
    assert_eq!(answers(&["--model", "whole"]), merged);
}

#[test]
fn a_policy_in_memory_answers_like_the_one_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let path = adapter(folder.path(), TINY);
    let source = ModelSource::resolve(TINY).unwrap();
    let base = load(TINY);
    let adapter = Adapter::read(&path, &base, &Digests::of(&source).unwrap()).unwrap();
    let policy = base.with_adapter(adapter).unwrap();
    let (before, prompt) = (logits(&policy, &[5, 6, 7]), [5, 6, 7]);

    let in_memory = Generator::new(&policy, BTreeSet::new()).unwrap().complete(&prompt, &greedy(20)).unwrap();
    let on_disk = PolicySource::resolve(path.to_str().unwrap(), None).unwrap();
    assert_eq!((on_disk.base(), on_disk.adapter()), (&source, Some(path.as_path())));
    let on_disk = Generator::load(&on_disk, BTreeSet::new(), &Backend::cpu()).unwrap().complete(&prompt, &greedy(20));
    assert_eq!(in_memory.ids, on_disk.unwrap().ids);
    assert_eq!(logits(&policy, &prompt), before, "merging for a sample changes nothing of the policy");
    assert!(policy.lora().is_some());
}

#[test]
fn an_adapter_without_a_base_and_a_folder_without_an_adapter_are_named() {
    let case = Case::new();
    adapter(case.path(), "");
    let outcome = case.run(["generate", "--model", "adapter", "--prompt", "x"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(outcome.stderr.contains("the adapter in `adapter` names no base model"), "{outcome}");
    assert!(outcome.stderr.contains("hint: name it with `--model`"), "{outcome}");
    let outcome = case.run(["generate", "--model", TINY, "--adapter", TINY, "--prompt", "x"]);
    assert!(outcome.stderr.contains("no adapter in"), "{outcome}");
}

#[test]
fn a_prompt_alone_is_answered_with_its_text_and_nothing_else() {
    let case = Case::new();
    let arguments = ["generate", "--model", TINY, "--prompt", "Why is the sky blue?", "--max-new-tokens", "9"];
    let alone = case.run([&arguments[..], &["--greedy"]].concat()).success();
    let row = &rows(&case.run([&arguments[..], &NDJSON].concat()).success().stdout)[0];
    assert_eq!(alone.stdout, format!("{}\n", row["completion"].as_str().unwrap()));
    assert_eq!(row["prompt"], "Why is the sky blue?");
    assert!(row["n_tokens"].as_u64().unwrap() <= 9 && row["finish_reason"].is_string(), "{row}");
    assert!(alone.stderr.starts_with("1 answer: ") && alone.stderr.contains("tokens/s"), "{alone}");

    let raw = rows(&case.run([&arguments[..], &NDJSON, &["--raw"]].concat()).success().stdout);
    assert_ne!(raw[0]["completion"], row["completion"], "the chat template is part of the prompt");
    let list = case.run([&arguments[..], &["--greedy", "--output-format", "json"]].concat()).success();
    assert_eq!(serde_json::from_str::<Value>(&list.stdout).unwrap(), json!([row]));
}

#[test]
fn a_draw_depends_on_seed_and_prompt_and_on_nothing_else() {
    let lines: Vec<String> = ["one", "two", "three"].map(|word| json!({"prompt": word}).to_string()).to_vec();
    let reversed: Vec<String> = lines.iter().rev().cloned().collect();
    let case = Case::new()
        .file("a.jsonl", &lines.join("\n"))
        .file("b.jsonl", &[reversed.join("\n"), lines.join("\n")].join("\n"));
    let draw = |arguments: &[&str]| -> BTreeMap<String, Value> {
        let common =
            ["--model", TINY, "--output-format", "ndjson", "--temperature", "0.8", "--top-k", "50", "--top-p", "0.9"];
        let rows = generate(&case, &[&common[..], arguments].concat());
        rows.into_iter().map(|row| (row["prompt"].as_str().unwrap().to_owned(), row)).collect()
    };
    let all = draw(&["--data", "a.jsonl"]);
    assert_eq!(all.len(), 3);
    assert_eq!(draw(&["--data", "b.jsonl"]), all, "in another order, and each twice");
    let first = draw(&["--data", "b.jsonl", "--limit", "1"]);
    assert_eq!((first.len(), &first["three"]), (1, &all["three"]));
    assert_ne!(draw(&["--data", "a.jsonl", "--seed", "7"]), all);
}

#[test]
fn the_prompts_of_pairs_are_completed_once_and_rejects_are_named() {
    let data = format!("{PAIRS}/standard.jsonl");
    let long = json!({"prompt": "word ".repeat(3000)});
    let more = format!("{{\"prompt\": 3}}\n{{\"prompt\": \"\"}}\n{{\"prompt\": \"How?\"}}\n{long}\n");
    let case = Case::new().file("more.jsonl", &more);
    let arguments = ["generate", "--model", TINY, "--data", &data, "--data", &data, "--data", "more.jsonl"];
    let outcome = case.run([&arguments[..], &["--max-new-tokens", "2"], &NDJSON].concat()).success();
    let prompts: Vec<Value> = rows(&outcome.stdout).into_iter().map(|row| row["prompt"].clone()).collect();
    let distinct: BTreeSet<String> = prompts.iter().map(Value::to_string).collect();
    assert!(prompts.len() > 10 && distinct.len() == prompts.len(), "{prompts:?}");
    assert_eq!(prompts[0], "Question: Why does the sky look blue at noon?\nAnswer:");
    for said in [
        "rejected: `more.jsonl`, line 1: column `prompt`: expected a string or messages, found a number",
        "rejected: `more.jsonl`, line 2: its prompt has no tokens",
        "tokens fills the 2048 positions the model was made for",
        "prompts are equal to others and completed once",
        "prompts are plain strings and completed as they are",
    ] {
        assert!(outcome.stderr.contains(said), "{said}\n{outcome}");
    }
    let chat = case.run(["generate", "--model", TINY, "--data", "more.jsonl", "--chat", "--max-new-tokens", "2"]);
    // A user may say nothing: the template still writes a turn.
    assert!(chat.stdout.contains("--- prompt 2\nHow?\n--- completion 2\n"), "{chat}");
    assert!(!chat.stderr.contains("plain strings"), "{chat}");
}

#[test]
fn what_cannot_be_done_is_said_before_the_model_is_loaded() {
    let case = Case::new().file("none.jsonl", "{\"prompt\": 1}\n").file("text.jsonl", "{\"text\": \"x\"}\n");
    let run = |arguments: &[&str]| case.run([&["generate", "--model", TINY], arguments].concat());
    let cases: [(&[&str], i32, &str); 6] = [
        (&[], 2, "required arguments"),
        (
            &["--prompt", "x", "--temperature", "-1"],
            2,
            "`temperature`: expected a finite number of at least 0, found -1",
        ),
        (&["--prompt", "x", "--top-p", "0"], 2, "`top_p`: expected a number in (0, 1], found 0"),
        (&["--prompt", "x", "--greedy", "--top-k", "3"], 2, "cannot be used with"),
        (&["--data", "none.jsonl"], 1, "no prompt can be completed, 1 are rejected; the first, `none.jsonl`, line 1"),
        (&["--data", "text.jsonl"], 1, "`text.jsonl` has no prompts: expected preference pairs, or a column `prompt`"),
    ];
    for (arguments, code, said) in cases {
        let outcome = run(&[arguments, &["--output", "answers.txt"]].concat());
        assert!(outcome.code == Some(code) && outcome.stderr.contains(said), "{arguments:?}\n{outcome}");
        assert!(!case.path().join("answers.txt").exists(), "{arguments:?}");
    }
    run(&["--prompt", "x", "--max-new-tokens", "3", "--output", "answers.txt"]).success();
    assert!(case.path().join("answers.txt").is_file());
}

#[test]
fn a_model_without_a_template_takes_raw_text_only() {
    let case = Case::new();
    std::fs::create_dir(case.path().join("base")).unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(format!("{TINY}/{name}"), case.path().join("base").join(name)).unwrap();
    }
    let arguments = ["generate", "--model", "base", "--prompt", "x", "--max-new-tokens", "2"];
    let outcome = case.run(arguments);
    assert!(outcome.code == Some(2) && outcome.stderr.contains("hint: `--raw` takes the text as it is"), "{outcome}");
    case.run([&arguments[..], &["--raw"]].concat()).success();
}
