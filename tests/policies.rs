//! The folder of a policy: everything that makes the base usable is in it, and it is proven before the first step.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use piref::model_source::ModelSource;
use piref::tokenize::{TokenizerFiles, end_tokens};
use rand::{Rng, SeedableRng};
use serde_json::{Value as Json, json};

use crate::support::Case;
use crate::support::stages::copy_dir;

const PAIRS: &str = "{\"prompt\": \"Is it?\", \"chosen\": \" Yes.\", \"rejected\": \" No.\"}\n\
                     {\"prompt\": \"Who?\", \"chosen\": \" Nobody.\", \"rejected\": \" All.\"}\n";

fn read(path: &Path) -> Json {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A case with the tiny model in `model`, its configuration and its files changed.
fn case(change: impl Fn(&mut Json), files: &[(&str, &str)], dtype: DType) -> Case {
    let case = Case::new().file("pairs.jsonl", PAIRS);
    let model = case.path().join("model");
    copy_dir(Path::new("fixtures/tiny"), &model);
    let mut config = read(&model.join("config.json"));
    change(&mut config);
    fs::write(model.join("config.json"), config.to_string()).unwrap();
    for (name, text) in files {
        fs::create_dir_all(model.join(name).parent().unwrap()).unwrap();
        fs::write(model.join(name), text).unwrap();
    }
    let path = model.join("model.safetensors");
    let tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    let tensors = tensors.into_iter().map(|(name, tensor)| (name, tensor.to_dtype(dtype).unwrap())).collect();
    candle_core::safetensors::save(&tensors, &path).unwrap();
    case
}

fn run(case: &Case, command: &str) -> crate::support::Outcome {
    case.run(command.split(' ')).success()
}

/// The number types in a folder.
fn dtypes(folder: &Path) -> Vec<DType> {
    let tensors = candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu).unwrap();
    let mut found: Vec<DType> = tensors.values().map(Tensor::dtype).collect();
    found.dedup();
    found
}

#[test]
fn what_the_base_says_of_generation_templates_and_tokens_is_carried_over() {
    let stops = r#"{"eos_token_id": [2, 5, 7], "temperature": 0.6, "do_sample": true}"#;
    let files = [
        ("generation_config.json", stops),
        ("additional_chat_templates/tool_use.jinja", "{{ messages }}"),
        ("special_tokens_map.json", r#"{"eos_token": "<|im_end|>"}"#),
        ("added_tokens.json", "{}"),
        ("LICENSE", "of the base"),
    ];
    let case = case(|_| {}, &files, DType::F32);
    run(&case, "precompute --model model --data pairs.jsonl --out table");
    run(&case, "train --model model --table table --out run --max-steps 1");
    run(&case, "train --model model --table table --out lora --max-steps 1 --lora-r 2");
    run(&case, "export lora --merge --out merged");
    let path = |name: &str| case.path().join(name);
    for policy in [path("run/policy"), path("merged")] {
        for (name, text) in &files[..4] {
            assert_eq!(fs::read_to_string(policy.join(name)).unwrap(), *text, "{name}");
        }
        assert!(!policy.join("LICENSE").exists(), "no program reads it");
        let source = |path: &Path| ModelSource::resolve(path.to_str().unwrap()).unwrap();
        let ends = |path: &Path| {
            let source = source(path);
            end_tokens(&source, &TokenizerFiles::load(&source).unwrap()).unwrap()
        };
        assert_eq!(ends(&policy), ends(&path("model")));
        assert!(ends(&policy).is_superset(&[2, 5, 7].into()));
    }
    assert!(path("lora/policy/additional_chat_templates/tool_use.jinja").is_file());
    assert!(!path("lora/policy/generation_config.json").exists(), "an adapter is no model");
}

/// transformers 4 reads `rope_theta` and `rope_scaling`, transformers 5 `rope_parameters`: a folder that has one of them is
/// another model to the other.
#[test]
fn the_rotary_embedding_is_written_in_the_spelling_of_either_version() {
    let table = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    });
    let with_theta = |mut table: Json| {
        table["rope_theta"] = 5e5.into();
        table
    };
    let of_4 = |config: &mut Json| {
        config.as_object_mut().unwrap().remove("rope_parameters");
        (config["rope_theta"], config["rope_scaling"]) = (5e5.into(), table.clone());
    };
    let of_5 = |config: &mut Json| config["rope_parameters"] = with_theta(table.clone());
    let changes: [&dyn Fn(&mut Json); 2] = [&of_4, &of_5];
    for change in changes {
        let case = case(change, &[], DType::F32);
        run(&case, "precompute --model model --data pairs.jsonl --out table");
        run(&case, "train --model model --table table --out run --max-steps 1");
        let config = read(&case.path().join("run/policy/config.json"));
        assert_eq!((&config["rope_theta"], &config["rope_scaling"]), (&json!(5e5), &table));
        assert_eq!(config["rope_parameters"], with_theta(table.clone()));
        run(&case, "eval --model run/policy --table table");
    }
}

#[test]
fn the_number_type_is_that_of_the_base_or_the_one_that_is_asked_for() {
    let case = case(|config| config["dtype"] = "bfloat16".into(), &[], DType::BF16);
    run(&case, "precompute --model model --data pairs.jsonl --out table");
    let train = "train --model model --table table --max-steps 1 --learning-rate 1e-3 --out";
    run(&case, &format!("{train} auto"));
    run(&case, &format!("{train} whole --save-dtype f32"));
    run(&case, &format!("{train} half --save-dtype f16"));
    run(&case, &format!("{train} lora --lora-r 2"));
    run(&case, "export lora --merge --out merged");
    run(&case, "export lora --merge --out merged-f32 --save-dtype f32");
    let path = |name: &str| case.path().join(name);
    for (folder, dtype, named) in [
        ("auto/policy", DType::BF16, "bfloat16"),
        ("whole/policy", DType::F32, "float32"),
        ("half/policy", DType::F16, "float16"),
        ("merged", DType::BF16, "bfloat16"),
        ("merged-f32", DType::F32, "float32"),
    ] {
        assert_eq!(dtypes(&path(folder)), [dtype], "{folder}");
        let config = read(&path(folder).join("config.json"));
        assert_eq!((&config["dtype"], &config["torch_dtype"]), (&json!(named), &json!(named)), "{folder}");
    }
    // A checkpoint has what was trained, whatever the policy has: the run is the same one.
    run(&case, &format!("{train} auto --save-dtype f32"));
    let bytes = |name: &str| fs::read(path(name).join("policy/model.safetensors")).unwrap();
    assert!(bytes("auto") == bytes("whole"));

    let outcome = case.run(format!("{train} x --lora-r 2 --save-dtype bf16").split(' '));
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(
        outcome.stderr.contains("`train.save_dtype` is of a whole policy: an adapter is written in f32"),
        "{outcome}"
    );
}

/// A policy in 16 bits of a training that moved the weights by less than half of their last bit is the base again.
#[test]
fn rounding_that_undoes_the_training_is_said() {
    let case = case(|_| {}, &[], DType::BF16);
    run(&case, "precompute --model model --data pairs.jsonl --out table");
    let train = "train --model model --table table --max-steps 1 --learning-rate";
    let lost = "--save-dtype f32` keeps every number";
    let outcome = run(&case, &format!("{train} 1e-7 --out small"));
    assert!(outcome.stderr.contains(lost), "{outcome}");
    let outcome = run(&case, &format!("{train} 1e-2 --out large"));
    assert!(!outcome.stderr.contains(lost), "{outcome}");
    let outcome = run(&case, &format!("{train} 1e-7 --out exact --save-dtype f32"));
    assert!(!outcome.stderr.contains(lost), "{outcome}");
}

#[cfg(unix)]
#[test]
fn everybody_may_read_a_policy_whom_the_umask_lets() {
    use std::os::unix::fs::PermissionsExt;
    let case = case(|_| {}, &[], DType::F32);
    run(&case, "precompute --model model --data pairs.jsonl --out table");
    run(&case, "train --model model --table table --out run --max-steps 1");
    let reference = case.path().join("reference");
    fs::write(&reference, "made by the system").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for name in ["policy/model.safetensors", "policy/config.json", "train/checkpoints/step-1/weights.safetensors"] {
        assert_eq!(mode(&case.path().join("run").join(name)), mode(&reference), "{name}");
    }
}

/// A Llama of one layer with the tokenizer of the tiny model, whose end token is 5 and whose begin token is `bos`.
fn write_gguf(path: &Path, bos: Option<u32>) {
    let tokenizer = read(Path::new("fixtures/tiny/tokenizer.json"));
    let (width, n_tokens) = (64, 1200);
    let mut tokens: Vec<String> = (0..n_tokens).map(|id| format!("[PAD{id}]")).collect();
    let mut kinds = vec![1; n_tokens];
    let vocabulary = tokenizer["model"]["vocab"].as_object().unwrap().iter();
    let added = tokenizer["added_tokens"].as_array().unwrap();
    let id = |value: &Json| usize::try_from(value.as_u64().unwrap()).unwrap();
    vocabulary.for_each(|(token, at)| tokens[id(at)].clone_from(token));
    for token in added {
        token["content"].as_str().unwrap().clone_into(&mut tokens[id(&token["id"])]);
        kinds[id(&token["id"])] = 3;
    }
    let merge = |merge: &Json| match merge {
        Json::String(merge) => merge.clone(),
        merge => format!("{} {}", merge[0].as_str().unwrap(), merge[1].as_str().unwrap()),
    };
    let merges = tokenizer["model"]["merges"].as_array().unwrap().iter().map(merge);
    let texts = |texts: Vec<String>| Value::Array(texts.into_iter().map(Value::String).collect());
    let mut metadata = vec![
        ("general.architecture", Value::String("llama".into())),
        ("llama.block_count", Value::U32(1)),
        ("llama.context_length", Value::U32(256)),
        ("llama.embedding_length", Value::U32(64)),
        ("llama.feed_forward_length", Value::U32(96)),
        ("llama.attention.head_count", Value::U32(4)),
        ("llama.attention.head_count_kv", Value::U32(2)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("llama.rope.freq_base", Value::F32(10_000.0)),
        ("tokenizer.ggml.model", Value::String("gpt2".into())),
        ("tokenizer.ggml.pre", Value::String("smollm".into())),
        ("tokenizer.ggml.tokens", texts(tokens)),
        ("tokenizer.ggml.token_type", Value::Array(kinds.into_iter().map(Value::I32).collect())),
        ("tokenizer.ggml.merges", texts(merges.collect())),
        ("tokenizer.ggml.eos_token_id", Value::U32(5)),
        ("tokenizer.ggml.eot_token_id", Value::U32(7)),
        ("tokenizer.ggml.padding_token_id", Value::U32(0)),
        ("tokenizer.ggml.add_bos_token", Value::Bool(false)),
    ];
    metadata.extend(bos.map(|id| ("tokenizer.ggml.bos_token_id", Value::U32(id))));
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
    let mut tensor = |name: &str, shape: &[usize]| {
        let n = shape.iter().product::<usize>();
        let numbers: Vec<f32> = (0..n).map(|_| rng.random_range(-0.1..0.1)).collect();
        let tensor = Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap();
        (name.to_owned(), QTensor::quantize(&tensor, GgmlDType::F32).unwrap())
    };
    let tensors = [
        tensor("token_embd.weight", &[n_tokens, width]),
        tensor("output.weight", &[n_tokens, width]),
        tensor("output_norm.weight", &[width]),
        tensor("blk.0.attn_norm.weight", &[width]),
        tensor("blk.0.ffn_norm.weight", &[width]),
        tensor("blk.0.attn_q.weight", &[width, width]),
        tensor("blk.0.attn_k.weight", &[32, width]),
        tensor("blk.0.attn_v.weight", &[32, width]),
        tensor("blk.0.attn_output.weight", &[width, width]),
        tensor("blk.0.ffn_gate.weight", &[96, width]),
        tensor("blk.0.ffn_up.weight", &[96, width]),
        tensor("blk.0.ffn_down.weight", &[width, 96]),
    ];
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut file = Cursor::new(Vec::new());
    gguf_file::write(&mut file, &metadata, &tensors).unwrap();
    fs::write(path, file.into_inner()).unwrap();
}

/// transformers takes the ids of Llama 2 where `config.json` says nothing.
#[test]
fn a_policy_of_a_gguf_file_names_the_tokens_that_the_file_names() {
    for bos in [None, Some(1)] {
        let case = Case::new().file("pairs.jsonl", PAIRS);
        write_gguf(&case.path().join("base.gguf"), bos);
        run(&case, "precompute --model base.gguf --data pairs.jsonl --out table");
        run(&case, "train --model base.gguf --table table --out run --max-steps 1");
        let policy = case.path().join("run/policy");
        let config = read(&policy.join("config.json"));
        for (key, want) in [("bos_token_id", json!(bos)), ("eos_token_id", json!(5)), ("pad_token_id", json!(0))] {
            assert_eq!(config.get(key), Some(&want), "{key}");
        }
        let generation = read(&policy.join("generation_config.json"));
        assert_eq!(generation, json!({"bos_token_id": bos, "eos_token_id": [5, 7], "pad_token_id": 0}));
        let named = read(&policy.join("tokenizer_config.json"));
        assert_eq!(named["bos_token"].is_string(), bos.is_some());
        assert!(named["eos_token"].is_string());
        // It goes on as the reference of its own table, and as the metadata of the file it comes from.
        run(&case, "precompute --model run/policy --data pairs.jsonl --out again");
        run(&case, "export run --to gguf --outtype f32 --out policy.gguf");
        run(&case, "eval --model policy.gguf --table again");
    }
}
