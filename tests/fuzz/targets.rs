//! What is fuzzed: one function of the library each, by the bytes it reads.

use std::fs;
use std::path::Path;

use piref::data::{self, ColumnMap};
use piref::pipeline::{Pipeline, Settings};
use piref::tokenize::{ChatTemplate, Ending, TemplateInput};
use serde_json::{Map, json};

use super::mutate::Syntax;
use super::{fuzz, models, records, seeds};

type Run = Box<dyn Fn(&Path, &[u8]) + Send>;

/// A function that reads bytes, and what it usually gets.
pub(super) struct Target {
    pub(super) name: &'static str,
    pub(super) syntax: Syntax,
    /// Mutations in a run without a time.
    pub(super) n_mutations: u64,
    /// Name of the file that the bytes are in, in a folder of its own.
    pub(super) file: &'static str,
    pub(super) seeds: Vec<Vec<u8>>,
    /// Gets the path of that file, and its bytes.
    pub(super) run: Run,
}

fn boxed(run: impl Fn(&Path, &[u8]) + Send + 'static) -> Run {
    Box::new(run)
}

/// A test for each target, and their names.
macro_rules! targets {
    ($($name:ident: $syntax:ident, $n_mutations:literal, $file:literal, $seeds:expr, $run:expr;)+) => {
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
                    fuzz(Target { name, syntax, n_mutations: $n_mutations, file: $file, seeds: $seeds, run });
                }
            )+
        }
    };
}

targets! {
    rows: Json, 600, "input.jsonl", seeds::rows(), pairs;
    lists: Json, 300, "input.json", seeds::lists(), pairs;
    gzip: Binary, 300, "input.jsonl.gz", seeds::gzip(), pairs;
    zstd: Binary, 300, "input.jsonl.zst", seeds::zstd(), pairs;
    csv: Delimited, 400, "input.csv", seeds::delimited(','), pairs;
    tsv: Delimited, 300, "input.tsv", seeds::delimited('\t'), pairs;
    csv_gzip: Binary, 200, "input.csv.gz", seeds::gzipped(seeds::delimited(',')), pairs;
    parquet: Binary, 400, "input.parquet", parquet_seeds(), pairs;
    arrow: Binary, 400, "input.arrow", seeds::arrow(), pairs;
    arrow_compressed: Binary, 400, "input.arrow", seeds::arrow_compressed(), pairs;
    feather: Binary, 200, "input.feather", seeds::arrow_compressed(), pairs;
    dataset_folder: Json, 200, "input", dataset_lists(), read_dataset_folder;
    dataset_card: Yaml, 300, "README.md", card_seeds(), read_dataset_card;
    column_map: Plain, 1000, "input", vec![b"prompt=question,chosen=better,rejected=worse,system=s".to_vec()], read_column_map;
    chat_template: Template, 500, "input.jinja", template_seeds(), read_chat_template;
    tokenizer: Tokenizer, 400, "tokenizer.json", models::tokenizer_seeds(), models::read_tokenizer();
    tokenizer_config: Json, 100, "tokenizer_config.json", models::config_seeds(), models::read_tokenizer();
    model_config: Json, 400, "config.json", models::model_configs(), models::read_model_config;
    adapter_config: Json, 400, "adapter_config.json", models::adapter_configs(), models::read_adapter_config;
    adapter: Binary, 300, "adapter_model.safetensors", models::adapter_weights(), models::read_adapter();
    safetensors: Binary, 300, "model.safetensors", models::safetensors_seeds(), models::read_safetensors;
    safetensors_index: Json, 200, "model.safetensors.index.json",
        seeds::whole(&["architectures/llama-bf16-sharded/model.safetensors.index.json"]), models::read_safetensors_index;
    gguf: Binary, 400, "input.gguf", seeds::gguf(), models::read_gguf;
    pipeline: Toml, 400, "input.toml", pipeline_seeds(), read_pipeline;
    manifest: Json, 400, "manifest.json", seeds::manifests(), records::read_manifest;
    provenance: Plain, 400, "input", records::provenance_seeds(), records::read_provenance;
    table_part: Binary, 200, "part.parquet", vec![seeds::part()], records::read_table_part;
    signals: Binary, 100, "input.parquet", records::signals_seeds(), records::read_signals();
    journal: Json, 400, ".piref-journal", records::journal_seeds(), records::read_journal;
    checkpoint: Json, 400, "input", records::checkpoint_seeds("state.json"), records::read_checkpoint_state();
    checkpoint_tensors: Binary, 300, "input", records::checkpoint_seeds("weights.safetensors"),
        records::read_checkpoint_tensors();
    metrics: Json, 40, "input", records::metrics_seeds(), records::read_metrics;
    run_settings: Toml, 40, "plan.toml", pipeline_seeds(), records::read_run_settings;
    curriculum: Plain, 100, "input", records::curriculum_seeds(), records::read_curriculum();
    audit_check: Sql, 400, "check.sql", seeds::files("src/audit/checks"), records::read_audit_check;
    import_rows: Json, 20, "input.jsonl", records::import_rows(), records::import();
    import_csv: Delimited, 20, "input.csv", records::import_csv(), records::import();
    sql: Binary, 40, "input.parquet", parquet_seeds(), records::sql_query();
    sql_text: Sql, 60, "input.sql", records::sql_seeds(), records::sql_text();
}

/// Every row of a data file, by its own columns and by a map.
fn pairs(path: &Path, _: &[u8]) {
    for map in [ColumnMap::default(), "prompt=question,chosen=better,rejected=worse".parse().unwrap()] {
        if let Ok(rows) = data::open(path, &map) {
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

fn read_dataset_folder(path: &Path, bytes: &[u8]) {
    let folder = path.parent().unwrap();
    for name in ["state.json", "dataset_dict.json"] {
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        if let Ok(files) = data::file_names(&[folder.to_owned()], Some("all")) {
            assert!(files.iter().all(|file| file.starts_with(folder)), "{files:?}");
        }
        fs::remove_file(path).unwrap();
    }
}

/// Cards with the front matter of each kind; the rules for their files are tried beside two files of data.
fn card_seeds() -> Vec<Vec<u8>> {
    let splits = "configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: \"data/train-*\"\n  - split: \
                  test\n    path:\n    - data/test-0.jsonl\n    - data/**\n";
    let two =
        "configs:\n- config_name: a\n  default: true\n  data_dir: data\n- config_name: b\n  data_files: '*.jsonl'\n";
    let other = "language:\n- en\nsize_categories: 1K<n<10K\nconfigs: []\n";
    let anchors = "x: &a [1, 2]\nconfigs:\n- &b\n  data_dir: .\n  y: *a\n";
    [splits, two, other, anchors].map(|front| format!("---\n{front}---\n# A data set\n").into_bytes()).to_vec()
}

fn read_dataset_card(path: &Path, _: &[u8]) {
    let folder = path.parent().unwrap();
    for split in ["train", "test"] {
        let file = folder.join("data").join(format!("{split}-0.jsonl"));
        if !file.exists() {
            fs::create_dir_all(folder.join("data")).unwrap();
            fs::write(file, "{}\n").unwrap();
        }
    }
    for split in [None, Some("train"), Some("all")] {
        if let Ok(files) = data::file_names(&[folder.to_owned()], split) {
            assert!(files.iter().all(|file| file.starts_with(folder)), "{files:?}");
        }
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

fn pipeline_seeds() -> Vec<Vec<u8>> {
    let mut seeds = seeds::files("pipelines");
    seeds.extend(seeds::files("fixtures/hostile/pipeline"));
    seeds
}

fn read_pipeline(path: &Path, _: &[u8]) {
    let _ = Pipeline::load(path, &Settings::default());
}
