//! The files of a model: what reads them, and what they usually are.

use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use piref::data::{self, ColumnMap};
use piref::model::{self, Adapter, Decoder, Digests};
use piref::model_source::ModelSource;
use piref::ops::Backend;
use piref::tokenize::{PairTokenizer, TokenizerFiles};
use serde_json::{Value, json};

use super::seeds;

/// Small tokenizers with a part of each kind, and a whole one.
pub(super) fn tokenizer_seeds() -> Vec<Vec<u8>> {
    let vocabulary: Vec<String> =
        ["<unk>", "<s>", "</s>", "a", "b", "ab", "Ġ", "▁", "▁a", "##b", "."].map(str::to_owned).to_vec();
    let ids: Value = vocabulary.iter().zip(0..).map(|(token, id): (&String, u32)| (token.clone(), json!(id))).collect();
    let scored: Vec<Value> =
        vocabulary.iter().zip(0..).map(|(token, at): (&String, i32)| json!([token, -at])).collect();
    let bpe = json!({"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": ids,
        "merges": [["a", "b"], ["▁", "a"]]});
    let piece = json!({"type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100, "vocab": ids});
    let level = json!({"type": "WordLevel", "unk_token": "<unk>", "vocab": ids});
    let unigram = json!({"type": "Unigram", "unk_id": 0, "byte_fallback": false, "vocab": scored});
    let split = json!({"type": "Split", "pattern": {"Regex": "\\s+|a"}, "behavior": "Isolated", "invert": false});
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let metaspace = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true});
    let frame = json!({"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}});
    let normal = json!({"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"},
        {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]});
    let charsmap = json!({"type": "Precompiled", "precompiled_charsmap": "CAAAAP////8AAAAAYQA="});
    let decoders = json!({"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0}]});
    let token = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": true, "normalized": false,
            "special": true})
    };
    let file = |model: &Value, normalizer: &Value, pre_tokenizer: &Value, post_processor: &Value, decoder: &Value| {
        json!({"version": "1.0", "truncation": null, "padding": null,
            "added_tokens": [token(0, "<unk>"), token(1, "<s>"), token(2, "</s>")], "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer, "post_processor": post_processor, "decoder": decoder, "model": model})
        .to_string()
        .into_bytes()
    };
    let pair = json!({"type": "Sequence", "pretokenizers": [split, bytes]});
    let null = Value::Null;
    let mut seeds = vec![
        file(&bpe, &null, &pair, &frame, &bytes),
        file(&bpe, &normal, &metaspace, &frame, &decoders),
        file(
            &piece,
            &json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true}),
            &json!({"type": "BertPreTokenizer"}),
            &null,
            &json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
        ),
        file(&level, &null, &json!({"type": "Whitespace"}), &null, &null),
        file(&unigram, &charsmap, &metaspace, &frame, &decoders),
    ];
    seeds.extend(seeds::whole(&["golden/tokenizers/bos/tokenizer.json"]));
    seeds
}

pub(super) fn config_seeds() -> Vec<Vec<u8>> {
    seeds::whole(&["golden/tokenizers/bos/tokenizer_config.json", "tiny/tokenizer_config.json"])
}

/// Loads the tokenizer of a folder, a small one where there is no other, and tokenises pairs with it.
pub(super) fn read_tokenizer() -> impl Fn(&Path, &[u8]) + Send {
    let rows = data::open(Path::new("fixtures/pairs/edge.jsonl"), &ColumnMap::default()).unwrap();
    let pairs: Vec<_> = rows
        .filter_map(|row| match row.unwrap() {
            data::Row::Pair(pair) => Some(pair),
            data::Row::Reject(_) => None,
        })
        .collect();
    let rules = crate::support::stages::precompute_plan(Path::new("out")).rules;
    let small = tokenizer_seeds().swap_remove(1);
    move |path, _| {
        let folder = path.parent().unwrap();
        let tokenizer = folder.join("tokenizer.json");
        if !tokenizer.exists() {
            fs::write(tokenizer, &small).unwrap();
        }
        let Ok(files) = TokenizerFiles::load(&ModelSource::Folder(folder.to_owned())) else { return };
        let _ = files.decode(&[3, 4, 5, 3, 3]);
        let Ok(tokenizer) = PairTokenizer::new(files, rules) else { return };
        for pair in &pairs {
            let _ = tokenizer.tokenize(pair);
        }
    }
}

pub(super) fn model_configs() -> Vec<Vec<u8>> {
    let names = ["llama3-rope-untied", "mistral-sliding", "qwen2-bias", "qwen3-qknorm"];
    let names = names.map(|name| format!("architectures/{name}/config.json"));
    seeds::whole(&names.each_ref().map(String::as_str))
}

pub(super) fn read_model_config(path: &Path, _: &[u8]) {
    let _ = model::architecture(&ModelSource::Folder(path.parent().unwrap().to_owned()));
}

pub(super) fn adapter_configs() -> Vec<Vec<u8>> {
    let keys = |targets: Value| {
        json!({
            "alpha_pattern": {}, "base_model_name_or_path": "base", "bias": "none", "init_lora_weights": true,
            "lora_alpha": 8, "lora_dropout": 0.05, "modules_to_save": null, "peft_type": "LORA", "r": 4,
            "target_modules": targets, "task_type": "CAUSAL_LM", "use_dora": false, "use_rslora": false,
        })
    };
    let all = [json!(["q_proj", "layers.0.mlp.up_proj"]), json!("all-linear")];
    all.map(|targets| keys(targets).to_string().into_bytes()).to_vec()
}

pub(super) fn read_adapter_config(path: &Path, _: &[u8]) {
    let folder = path.parent().unwrap();
    let _ = model::adapter_base(folder);
    let _ = model::adapter_config(folder);
}

/// Two matrices for the queries of each layer of the model in `fixtures/architectures/llama-f16`.
pub(super) fn adapter_weights() -> Vec<Vec<u8>> {
    let tensor = |shape: (usize, usize)| Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap();
    let of_layer = |layer: usize| {
        let name =
            move |side: &str| format!("base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{side}.weight");
        [(name("A"), tensor((2, 32))), (name("B"), tensor((32, 2)))]
    };
    vec![safetensors::serialize((0..2).flat_map(of_layer), None).unwrap()]
}

pub(super) fn read_adapter() -> impl Fn(&Path, &[u8]) + Send {
    let source = ModelSource::Folder("fixtures/architectures/llama-f16".into());
    let model = Decoder::load(&source, &Backend::cpu()).unwrap();
    let base = Digests::of(&source).unwrap();
    move |path, _| {
        let folder = path.parent().unwrap();
        let config = folder.join("adapter_config.json");
        if !config.exists() {
            let mut keys: Value = serde_json::from_slice(&adapter_configs()[0]).unwrap();
            keys["target_modules"] = json!(["q_proj"]);
            keys["r"] = json!(2);
            fs::write(config, keys.to_string()).unwrap();
        }
        let _ = Adapter::read(folder, &model, &base);
    }
}

pub(super) fn safetensors_seeds() -> Vec<Vec<u8>> {
    let mut seeds = seeds::whole(&["architectures/llama-f16/model.safetensors"]);
    seeds.extend(seeds::files("fixtures/hostile/safetensors"));
    seeds
}

pub(super) fn read_safetensors(path: &Path, _: &[u8]) {
    let folder = path.parent().unwrap();
    if !folder.join("config.json").exists() {
        fs::copy("fixtures/architectures/llama-f16/config.json", folder.join("config.json")).unwrap();
    }
    let _ = Decoder::load(&ModelSource::Folder(folder.to_owned()), &Backend::cpu());
}

pub(super) fn read_safetensors_index(path: &Path, _: &[u8]) {
    let folder = path.parent().unwrap();
    if !folder.join("config.json").exists() {
        for entry in fs::read_dir("fixtures/architectures/llama-bf16-sharded").unwrap() {
            let from = entry.unwrap().path();
            let to = folder.join(from.file_name().unwrap());
            if to != path {
                fs::copy(from, to).unwrap();
            }
        }
    }
    let _ = Decoder::load(&ModelSource::Folder(folder.to_owned()), &Backend::cpu());
}

pub(super) fn read_gguf(path: &Path, _: &[u8]) {
    let source = ModelSource::Gguf(path.to_owned());
    let _ = Decoder::load(&source, &Backend::cpu());
    if let Ok(files) = TokenizerFiles::load(&source) {
        let _ = files.tokenizer().encode("ab a é </s>", true);
    }
}
