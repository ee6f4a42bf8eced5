//! What is fuzzed: one function of the library each, by the bytes it reads.

use std::fs;
use std::path::Path;

use piref::data::{self, ColumnMap};
use piref::model::{self, Decoder};
use piref::model_source::ModelSource;
use piref::ops::Backend;
use piref::pipeline::{Pipeline, Settings};
use piref::query::Session;
use piref::table::{Manifest, Provenance, ReferenceTable};
use piref::tokenize::{ChatTemplate, Ending, TemplateInput, TokenizerFiles};
use serde_json::{Map, Value, json};

use super::fuzz;
use super::mutate::Syntax;
use super::seeds;

type Run = Box<dyn Fn(&Path, &[u8]) + Send>;

/// A function that reads bytes, and what it usually gets.
pub(super) struct Target {
    pub(super) name: &'static str,
    pub(super) syntax: Syntax,
    /// Mutations in a run without a time.
    pub(super) n_mutations: u64,
    pub(super) seeds: Vec<Vec<u8>>,
    /// Gets a folder of its own and the bytes, which also are in the file `input` there.
    pub(super) run: Run,
}

fn boxed(run: impl Fn(&Path, &[u8]) + Send + 'static) -> Run {
    Box::new(run)
}

/// A test for each target, and their names.
macro_rules! targets {
    ($($name:ident: $syntax:ident, $n_mutations:literal, $seeds:expr, $run:expr;)+) => {
        /// How many targets there are.
        pub(super) const COUNT: usize = [$(stringify!($name)),+].len();

        /// The names of all targets.
        pub(super) fn names() -> [&'static str; COUNT] {
            [$(stringify!($name)),+]
        }

        mod mutated {
            use super::*;
            $(
                #[test]
                fn $name() {
                    let (name, syntax, run) = (stringify!($name), Syntax::$syntax, boxed($run));
                    fuzz(Target { name, syntax, n_mutations: $n_mutations, seeds: $seeds, run });
                }
            )+
        }
    };
}

targets! {
    rows: Json, 600, seeds::rows(), |folder, bytes| pairs(folder, "input.jsonl", bytes);
    lists: Json, 300, seeds::lists(), |folder, bytes| pairs(folder, "input.json", bytes);
    gzip: Binary, 300, seeds::gzip(), |folder, bytes| pairs(folder, "input.jsonl.gz", bytes);
    zstd: Binary, 300, seeds::zstd(), |folder, bytes| pairs(folder, "input.jsonl.zst", bytes);
    parquet: Binary, 400, parquet_seeds(), |folder, bytes| pairs(folder, "input.parquet", bytes);
    arrow: Binary, 400, seeds::arrow(), |folder, bytes| pairs(folder, "input.arrow", bytes);
    dataset_folder: Json, 200, dataset_lists(), read_dataset_folder;
    column_map: Plain, 1000, vec![b"prompt=question,chosen=better,rejected=worse,system=s".to_vec()], read_column_map;
    chat_template: Template, 400, template_seeds(), read_chat_template;
    tokenizer: Json, 40, tokenizer_seeds(), read_tokenizer;
    tokenizer_config: Json, 60, config_seeds(), read_tokenizer_config;
    model_config: Json, 400, model_configs(), read_model_config;
    adapter_config: Json, 400, adapter_configs(), read_adapter_config;
    safetensors: Binary, 300, safetensors_seeds(), read_safetensors;
    safetensors_index: Json, 200, seeds::whole(&["architectures/llama-bf16-sharded/model.safetensors.index.json"]),
        read_safetensors_index;
    gguf: Binary, 400, seeds::gguf(), read_gguf;
    pipeline: Toml, 400, pipeline_seeds(), read_pipeline;
    manifest: Json, 400, seeds::manifests(), read_manifest;
    provenance: Plain, 400, provenance_seeds(), read_provenance;
    table_part: Binary, 200, vec![seeds::part()], read_table_part;
    sql: Binary, 40, parquet_seeds(), sql_query();
}

/// Every row of a data file, by its own columns and by a map.
fn pairs(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    for map in [ColumnMap::default(), "prompt=question,chosen=better,rejected=worse".parse().unwrap()] {
        if let Ok(rows) = data::open(&path, &map) {
            // A damaged count of rows may be a large one.
            let _ = rows.take(10_000).map_while(Result::ok).count();
        }
    }
}

fn parquet_seeds() -> Vec<Vec<u8>> {
    seeds::whole(&["pairs/columns.parquet", "hostile/container/sound.parquet"])
}

fn dataset_lists() -> Vec<Vec<u8>> {
    let state = r#"{"_data_files": [{"filename": "a.arrow"}, {"filename": "b.arrow"}], "_split": "train"}"#;
    [r#"{"splits": ["train", "test"]}"#, state].map(|text| text.as_bytes().to_vec()).to_vec()
}

fn read_dataset_folder(folder: &Path, bytes: &[u8]) {
    for name in ["state.json", "dataset_dict.json"] {
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        if let Ok(files) = data::file_names(&[folder.to_owned()], Some("all")) {
            assert!(files.iter().all(|file| file.starts_with(folder)), "{files:?}");
        }
        fs::remove_file(path).unwrap();
    }
}

fn read_column_map(_: &Path, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(map) = text.parse::<ColumnMap>() {
        assert_eq!(map.to_string().parse::<ColumnMap>(), Ok(map));
    }
}

fn template_seeds() -> Vec<Vec<u8>> {
    let mut seeds = seeds::files("fixtures/golden/templates");
    seeds.extend(seeds::files("fixtures/hostile/template"));
    // Each run of it, or of what becomes of it, would leave a thread at work behind.
    seeds.retain(|seed| !seed.ends_with(b"{{ ns.l }}"));
    seeds
}

fn read_chat_template(_: &Path, bytes: &[u8]) {
    let source = String::from_utf8_lossy(bytes);
    let Ok(template) = ChatTemplate::parse(&source, "2024-07-26".parse().unwrap()) else { return };
    let message = |role: &str, content: &str| json!({"role": role, "content": content}).as_object().unwrap().clone();
    let mut call = message("assistant", "");
    call.insert(
        "tool_calls".into(),
        json!([{"type": "function", "function": {"name": "f", "arguments": {"x": [1.5]}}}]),
    );
    let messages = [message("system", "s"), message("user", "a <b> é"), call, message("assistant", "</think> c")];
    let special_tokens = Map::from_iter([("bos_token".into(), json!("<s>")), ("eos_token".into(), json!("</s>"))]);
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    for ending in [Ending::LastMessage, Ending::GenerationPrompt] {
        let input = TemplateInput { special_tokens: &special_tokens, tools: Some(&tools), variables: None, ending };
        let _ = template.render(&messages, input);
    }
}

fn tokenizer_seeds() -> Vec<Vec<u8>> {
    let names = ["bos", "metaspace"].map(|name| format!("golden/tokenizers/{name}/tokenizer.json"));
    let mut seeds = seeds::whole(&names.each_ref().map(String::as_str));
    // Vocabulary and merges are most of a file; with less of them more mutations hit the rest.
    for seed in seeds.clone() {
        let mut small: Value = serde_json::from_slice(&seed).unwrap();
        let model = &mut small["model"];
        model["merges"].as_array_mut().unwrap().clear();
        seeds.push(small.to_string().into_bytes());
    }
    seeds
}

fn read_tokenizer(folder: &Path, bytes: &[u8]) {
    fs::write(folder.join("tokenizer.json"), bytes).unwrap();
    load_tokenizer(folder);
}

fn config_seeds() -> Vec<Vec<u8>> {
    seeds::whole(&["golden/tokenizers/bos/tokenizer_config.json", "tiny/tokenizer_config.json"])
}

fn read_tokenizer_config(folder: &Path, bytes: &[u8]) {
    let path = folder.join("tokenizer.json");
    if !path.exists() {
        fs::copy("fixtures/golden/tokenizers/bos/tokenizer.json", path).unwrap();
    }
    fs::write(folder.join("tokenizer_config.json"), bytes).unwrap();
    load_tokenizer(folder);
}

/// Loads a tokenizer and tokenises pairs with it.
fn load_tokenizer(folder: &Path) {
    let Ok(files) = TokenizerFiles::load(&ModelSource::Folder(folder.to_owned())) else { return };
    let rules = crate::support::stages::precompute_plan(folder).rules;
    let Ok(tokenizer) = piref::tokenize::PairTokenizer::new(files, rules) else { return };
    for row in data::open(Path::new("fixtures/pairs/edge.jsonl"), &ColumnMap::default()).unwrap() {
        if let data::Row::Pair(pair) = row.unwrap() {
            let _ = tokenizer.tokenize(&pair);
        }
    }
}

fn model_configs() -> Vec<Vec<u8>> {
    let names = ["llama3-rope-untied", "mistral-sliding", "qwen2-bias", "qwen3-qknorm"];
    let names = names.map(|name| format!("architectures/{name}/config.json"));
    seeds::whole(&names.each_ref().map(String::as_str))
}

fn read_model_config(folder: &Path, bytes: &[u8]) {
    fs::write(folder.join("config.json"), bytes).unwrap();
    let _ = model::architecture(&ModelSource::Folder(folder.to_owned()));
}

fn adapter_configs() -> Vec<Vec<u8>> {
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

fn read_adapter_config(folder: &Path, bytes: &[u8]) {
    fs::write(folder.join("adapter_config.json"), bytes).unwrap();
    let _ = model::adapter_base(folder);
    let _ = model::adapter_config(folder);
}

fn safetensors_seeds() -> Vec<Vec<u8>> {
    let mut seeds = seeds::whole(&["architectures/llama-f16/model.safetensors"]);
    seeds.extend(seeds::files("fixtures/hostile/safetensors"));
    seeds
}

fn read_safetensors(folder: &Path, bytes: &[u8]) {
    fs::copy("fixtures/architectures/llama-f16/config.json", folder.join("config.json")).unwrap();
    fs::write(folder.join("model.safetensors"), bytes).unwrap();
    let _ = Decoder::load(&ModelSource::Folder(folder.to_owned()), &Backend::cpu());
}

fn read_safetensors_index(folder: &Path, bytes: &[u8]) {
    if !folder.join("config.json").exists() {
        for entry in fs::read_dir("fixtures/architectures/llama-bf16-sharded").unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
        }
    }
    fs::write(folder.join("model.safetensors.index.json"), bytes).unwrap();
    let _ = Decoder::load(&ModelSource::Folder(folder.to_owned()), &Backend::cpu());
}

fn read_gguf(folder: &Path, bytes: &[u8]) {
    let path = folder.join("input.gguf");
    fs::write(&path, bytes).unwrap();
    let source = ModelSource::Gguf(path);
    let _ = Decoder::load(&source, &Backend::cpu());
    if let Ok(files) = TokenizerFiles::load(&source) {
        let _ = files.tokenizer().encode("ab a é </s>", true);
    }
}

fn pipeline_seeds() -> Vec<Vec<u8>> {
    let mut seeds = seeds::files("pipelines");
    seeds.extend(seeds::files("fixtures/hostile/pipeline"));
    seeds
}

fn read_pipeline(folder: &Path, bytes: &[u8]) {
    let path = folder.join("input.toml");
    fs::write(&path, bytes).unwrap();
    let _ = Pipeline::load(&path, &Settings::default());
}

fn read_manifest(folder: &Path, bytes: &[u8]) {
    fs::write(folder.join("manifest.json"), bytes).unwrap();
    let _ = Manifest::load(folder);
    let _ = ReferenceTable::open(folder);
}

/// Values of footer entries, one a line.
fn provenance_seeds() -> Vec<Vec<u8>> {
    let manifest: Value = serde_json::from_slice(&seeds::whole(&["hostile/manifest/rows-overflow.json"])[0]).unwrap();
    let provenance: Provenance = serde_json::from_value(manifest["provenance"].clone()).unwrap();
    let values: Vec<String> = provenance.to_footer().into_iter().map(|(_, value)| value).collect();
    vec![values.join("\n").into_bytes()]
}

fn read_provenance(folder: &Path, bytes: &[u8]) {
    const KEYS: [&str; 18] = [
        "piref.schema",
        "piref.crate_version",
        "piref.model.path",
        "piref.model.architecture",
        "piref.model.weights_digest",
        "piref.model.config_digest",
        "piref.model.weights_identity",
        "piref.model.config_identity",
        "piref.tokenizer_digest",
        "piref.chat_template.digest",
        "piref.chat_template.date",
        "piref.dtype",
        "piref.kernel",
        "piref.max_length",
        "piref.truncation_mode",
        "piref.eos_rule",
        "piref.boundary_rule",
        "piref.sources",
    ];
    let text = String::from_utf8_lossy(bytes);
    let values: Vec<&str> = text.lines().collect();
    let value = |key: &str| values.get(KEYS.iter().position(|known| *known == key)?).copied();
    let _ = Provenance::from_footer(folder, value);
}

fn read_table_part(folder: &Path, bytes: &[u8]) {
    let path = folder.join("part.parquet");
    fs::write(&path, bytes).unwrap();
    let Ok(table) = ReferenceTable::open(&path) else { return };
    let columns: Vec<&str> = table.schema().fields().iter().map(|field| field.name().as_str()).collect();
    if let Ok(batches) = table.batches(&columns) {
        let _ = batches.take(100).map_while(Result::ok).count();
    }
}

fn sql_query() -> impl Fn(&Path, &[u8]) + Send {
    let session = Session::new().unwrap();
    move |folder, bytes| {
        let path = folder.join("input.parquet");
        fs::write(&path, bytes).unwrap();
        let _ = session.query(&format!("SELECT * FROM '{}' LIMIT 10000", path.display()));
    }
}
