//! Every file of `fixtures/hostile/`, through the program: each is refused for what is wrong with it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{MEGABYTES, check_refusal, pairs, refused, refused_data, with_model};
use crate::support::{Case, Outcome};

const FOLDER: &str = "fixtures/hostile";

/// A file and what its error has to say.
type Expected = &'static [(&'static str, &'static [&'static str])];

/// Checks every file of a folder, and that there is an expectation for each.
#[track_caller]
fn each(folder: &str, expected: Expected, check: impl Fn(&Path, &[&str])) {
    let folder = Path::new(FOLDER).join(folder);
    let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let found: BTreeSet<String> = names.collect();
    let known: BTreeSet<String> = expected.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(found, known, "{}", folder.display());
    for (name, parts) in expected {
        check(&fs::canonicalize(folder.join(name)).unwrap(), parts);
    }
}

/// Runs stage one on a copy of the tiny model with one file replaced.
fn with_file(name: &str, hostile: &Path, parts: &[&str]) {
    let case = Case::new().file("pairs.jsonl", &pairs(3));
    let model = with_model(&case);
    fs::copy(hostile, Path::new(&model).join(name)).unwrap();
    refused(&case, &model, 1, &[parts, &[name]].concat());
}

#[test]
fn safetensors() {
    let expected: Expected = &[
        ("bytes-left-over", &["hint: the file is damaged"]),
        ("dtype-unknown", &["hint: the file is damaged"]),
        ("dtype-wrong", &["tensor `model.norm.weight`: expected f64, f32, f16 or bf16, found I64"]),
        ("header-nested", &["hint: the file is damaged"]),
        ("header-not-json", &["hint: the file is damaged"]),
        ("header-of-2-to-the-63", &["hint: the file is damaged"]),
        ("header-of-90-megabytes", &["hint: the file is damaged"]),
        ("offsets-backwards", &["hint: the file is damaged"]),
        ("offsets-outside", &["hint: the file is damaged"]),
        ("offsets-overlap", &["hint: the file is damaged"]),
        ("shape-overflows", &["hint: the file is damaged"]),
    ];
    each("safetensors", expected, |path, parts| with_file("model.safetensors", path, parts));
}

#[test]
fn gguf() {
    let expected: Expected = &[
        ("alignment-zero.gguf", &["metadata entry 1 of 1, `general.alignment`", "expected a power of two, found 0"]),
        ("array-of-2-to-the-60.gguf", &["metadata entry 1 of 1, `a`", "expected at most 33554432 elements"]),
        ("arrays-nested.gguf", &["metadata entry 1 of 1, `a`", "arrays nested more than 4 deep"]),
        ("entries-2-to-the-60.gguf", &["metadata entry 1 of 1152921504606846976"]),
        ("key-twice.gguf", &["metadata entry 2 of 2, `a`", "the key of entry 1 once more"]),
        ("layers-4-billion.gguf", &["key `llama.block_count`: expected at most 4096 layers"]),
        ("piece-too-long.gguf", &["expected pieces of at most 1024 bytes under `tokenizer.ggml.tokens`"]),
        ("shape-overflows.gguf", &["tensor 1 of 1, `token_embd.weight`", "expected fewer than 2^64 numbers"]),
        ("tensor-outside.gguf", &["tensor `token_embd.weight`", "within the 32 bytes of tensor data"]),
        ("tensor-twice.gguf", &["tensor 2 of 2, `token_embd.weight`", "the name of tensor 1 once more"]),
        ("tensors-2-to-the-60.gguf", &["tensor 1 of 1152921504606846976"]),
        ("tensors-missing.gguf", &["tensor `", "is missing"]),
        ("tensors-overlap.gguf", &["tensor `output.weight`", "begins at 16, within tensor `token_embd.weight`"]),
        ("text-of-a-terabyte.gguf", &["metadata entry 1 of 1, `general.name`", "of text"]),
    ];
    each("gguf", expected, |path, parts| {
        let case = Case::new().file("pairs.jsonl", "{\"prompt\": \"a\", \"chosen\": \"a\", \"rejected\": \"b\"}\n");
        let name = path.file_name().unwrap().to_str().unwrap();
        refused(&case, path.to_str().unwrap(), 1, &[parts, &[name]].concat());
    });
}

#[test]
fn configurations() {
    let expected: Expected = &[
        ("activation-of-a-megabyte.json", &["key `hidden_act`: expected `silu`, found `\"xxx", "xxx…`"]),
        ("heads-zero.json", &["key `num_attention_heads`: expected a number above 0, found `0`"]),
        ("layers-a-billion.json", &["key `num_hidden_layers`: expected at most 4096 layers, found `1000000000`"]),
        ("nested.json", &["recursion limit exceeded at line 1"]),
        ("vocabulary-2-to-the-63.json", &["key `vocab_size`: expected a whole number up to 2^30"]),
        ("vocabulary-a-billion.json", &["tensor `model.embed_tokens.weight`: expected shape [1000000000, 64]"]),
    ];
    each("config", expected, |path, parts| {
        let case = Case::new().file("pairs.jsonl", &pairs(3));
        let model = with_model(&case);
        fs::copy(path, Path::new(&model).join("config.json")).unwrap();
        refused(&case, &model, 1, parts);
    });
}

/// The tiny model's tokenizer with some members replaced.
fn patched_tokenizer(patch: &Path) -> String {
    let patch = fs::read_to_string(patch).unwrap();
    let Ok(Value::Object(patch)) = serde_json::from_str(&patch) else { return patch };
    let mut whole: Value = serde_json::from_slice(&fs::read("fixtures/tiny/tokenizer.json").unwrap()).unwrap();
    whole.as_object_mut().unwrap().extend(patch);
    whole.to_string()
}

#[test]
fn tokenizers() {
    let expected: Expected = &[
        ("charsmap-of-long-texts.json", &["its normalizer and pre-tokenizer may make 8000 bytes of one"]),
        ("decoders-multiply.json", &["its decoder may make 1099511627776 bytes of one, expected at most 256"]),
        ("id-of-a-billion.json", &["tokenizer.json`: a token has the id 1000000000, expected ids below 16777216"]),
        ("model-unknown.json", &["tokenizer.json` is not a tokenizer"]),
        ("nested.json", &["tokenizer.json` is not a tokenizer: recursion limit exceeded at line 1"]),
        ("normalizers-multiply.json", &["its normalizer and pre-tokenizer may make 2000000000000 bytes of one"]),
        ("post-processor-multiplies.json", &["its post-processor may make 1000 bytes of one, expected at most 256"]),
        ("post-processor-unknown-token.json", &["is not a tokenizer: the decoder gave up on what it found: no entry"]),
        (
            "regex-backtracks.json",
            &["pairs.jsonl`, row 0 (line 1): ", "the tokenizer cannot encode it: ", "Onig: Regex"],
        ),
        ("regex-broken.json", &["tokenizer.json` is not a tokenizer"]),
        ("special-token-of-2000-ids.json", &["its post-processor puts 2000 ids around a text, expected at most 256"]),
    ];
    each("tokenizer", expected, |path, parts| {
        let words = "word ".repeat(40);
        let row = format!("{{\"prompt\": \"{words}\", \"chosen\": \"a\", \"rejected\": \"b\"}}\n");
        let case = Case::new().file("pairs.jsonl", &row.repeat(3));
        let model = with_model(&case);
        fs::write(Path::new(&model).join("tokenizer.json"), patched_tokenizer(path)).unwrap();
        refused(&case, &model, 1, parts);
    });
}

#[test]
fn chat_templates() {
    const IN_MODEL: &str = "chat template of `";
    const IN_ROW: &str = "row 0 (line 1): chat template, line 1: ";
    let expected: Expected = &[
        ("blocks-nested.jinja", &[IN_MODEL, "line 1: "]),
        ("brackets-nested.jinja", &[IN_MODEL, "line 1: "]),
        ("escape-sequences.jinja", &[IN_ROW, "␛[2J"]),
        ("imports-a-file.jinja", &[IN_ROW, "`import`: a chat template cannot load other templates"]),
        ("includes-a-file.jinja", &[IN_ROW, "`include`: a chat template cannot load other templates"]),
        ("join-multiplies.jinja", &[IN_MODEL, "line 1: out of fuel"]),
        ("lists-share-printed.jinja", &[IN_MODEL, "line 1: out of fuel"]),
        ("lists-share.jinja", &[IN_MODEL, "line 1: out of fuel"]),
        ("loops-in-loops.jinja", &[IN_MODEL, "line 1: out of fuel"]),
        ("macro-calls-itself.jinja", &[IN_ROW, "recursion without an end"]),
        ("macros-call-each-other.jinja", &[IN_ROW, "recursion without an end"]),
        ("range-too-long.jinja", &[IN_ROW, "`range` of more than 100000 numbers"]),
        ("replace-multiplies.jinja", &[IN_MODEL, "line 1: out of fuel"]),
        ("text-doubles.jinja", &[IN_MODEL, "line 1: out of fuel"]),
        ("text-times.jinja", &["line 1: "]),
        ("unclosed.jinja", &[IN_MODEL, "line 1: syntax error"]),
    ];
    each("template", expected, |path, parts| {
        let turn = |role: &str, text: &str| format!("[{{\"role\": \"{role}\", \"content\": \"{text}\"}}]");
        let (user, a, b) = (turn("user", "q"), turn("assistant", "a"), turn("assistant", "b"));
        let row = format!("{{\"prompt\": {user}, \"chosen\": {a}, \"rejected\": {b}}}\n");
        let case = Case::new().file("pairs.jsonl", &row.repeat(3));
        let model = with_model(&case);
        fs::copy(path, Path::new(&model).join("chat_template.jinja")).unwrap();
        refused(&case, &model, 1, parts);
    });
}

#[test]
fn rows() {
    let expected: Expected = &[
        ("column-twice.jsonl", &["column `chosen` occurs twice"]),
        ("columns.jsonl", &["expected at most 4096 columns, found 5003"]),
        ("escape-sequences.jsonl", &["(found: prompt, ␛[2J)"]),
        ("half-a-surrogate.jsonl", &["not JSON: half of a surrogate pair (`\\ud800` to `\\udfff`) at byte 19"]),
        ("invalid-utf-8.jsonl", &["not UTF-8: first wrong byte at offset 12"]),
        ("key-twice.jsonl", &["key `role` occurs twice"]),
        ("nested.jsonl", &["nested too deeply"]),
        ("not-a-number.jsonl", &["a number inside of a value is `NaN`"]),
        ("nul.jsonl", &["a NUL byte at offset 13"]),
        ("number-too-large.jsonl", &["not JSON: number out of range at byte"]),
        ("second-half-of-a-surrogate.jsonl", &["not JSON: half of a surrogate pair"]),
    ];
    let case = Case::new();
    let model = with_model(&case);
    each("rows", expected, |path, parts| {
        let place = ["1 of 3 rows rejected", "row 1 (line 2): "];
        refused_data(&case, &model, path.to_str().unwrap(), 1, &[parts, &place].concat());
    });
}

#[test]
fn containers() {
    let expected: Expected = &[
        ("cut.jsonl.gz", &["past its first 0 rows", "hint: the file may be cut short"]),
        ("list-never-ends.json", &["is not a JSON list: line 1, after 1 rows: the file ends within the list"]),
        ("list-of-brackets.json", &["is not a JSON list: line 1, after 0 rows: the file ends within the list"]),
        ("message-of-2-gigabytes.arrow", &["past its first 0 rows", "a message is longer than the file"]),
        ("not-arrow.arrow", &["past its first 0 rows", "does not end as an Arrow file"]),
        ("not-gzip.jsonl.gz", &[]),
        ("not-parquet.parquet", &["past its first 0 rows"]),
        ("page-lies-about-its-size.parquet", &["column `prompt`: bytes of a page: expected at most 268435456"]),
        ("page-of-2-gigabytes.parquet", &["row group 0, column `prompt`: bytes of a page: expected at most 268435456"]),
        ("rows-2-to-the-40.parquet", &["rows: expected at most", "found 1099511627776"]),
        ("schema-2-billion-children.parquet", &["children of a column in the schema", "found 2147483647"]),
        ("schema-nested.parquet", &["nesting of the schema: expected at most 64, found 65"]),
        ("sound.parquet", &[]),
        ("value-longer-than-its-page.parquet", &["past its first 0 rows"]),
        ("values-2-to-the-31.parquet", &["column `prompt`: values of a page: expected at most 2, found 2147483647"]),
        ("window-of-2-terabytes.jsonl.zst", &["past its first 0 rows", "too much memory"]),
    ];
    let case = Case::new();
    let model = with_model(&case);
    each("container", expected, |path, parts| {
        let (name, path) = (path.file_name().unwrap().to_str().unwrap(), path.to_str().unwrap());
        if matches!(name, "sound.parquet" | "not-gzip.jsonl.gz") {
            // What the hand-written Parquet files are, but for their lie; and text that only its name calls compressed.
            case.run(["precompute", "--model", &model, "--data", path, "--out", "sound", "--fresh"]).success();
            return;
        }
        refused_data(&case, &model, path, 1, &[parts, &[name]].concat());
        if name.ends_with(".parquet") {
            let parts_of_path = [name];
            let outcome = sql(&case, path);
            // What DataFusion finds while it reads has no file in it.
            let is_found_early = name != "value-longer-than-its-page.parquet";
            check_refusal(&outcome, 1, if is_found_early { &parts_of_path } else { &["eof decoding byte array"] });
        }
    });
}

fn sql(case: &Case, path: &str) -> Outcome {
    let query = format!("SELECT * FROM '{path}'");
    case.run_within(MEGABYTES, ["sql", path, "-c", &query])
}

#[test]
fn manifests() {
    let expected: Expected = &[
        ("nested.json", &["cannot parse manifest"]),
        ("not-utf-8.json", &["is not UTF-8: first wrong byte at offset 12"]),
        ("part-outside.json", &["`../../etc/passwd`"]),
        ("rows-overflow.json", &["`n_pairs`", "found 1"]),
        ("version-of-a-list.json", &["[1]"]),
    ];
    each("manifest", expected, |path, parts| {
        let case = Case::new();
        let model = with_model(&case);
        let table = case.path().join("table");
        fs::create_dir(&table).unwrap();
        fs::copy(path, table.join("manifest.json")).unwrap();
        check_refusal(&case.run_within(MEGABYTES, ["sql", "table", "-c", "SELECT 1"]), 1, parts);
        let train = ["train", "--model", &model, "--table", "table", "--out", "run", "--max-steps", "1"];
        check_refusal(&case.run_within(MEGABYTES, train), 1, parts);
        assert!(!case.path().join("run").exists(), "a refused run left a folder");
    });
}

#[test]
fn pipelines() {
    let expected: Expected = &[
        ("key-dotted.toml", &["line 1: "]),
        ("lists-nested.toml", &["line 1: "]),
        ("nul.toml", &["line 1: "]),
        ("number-too-large.toml", &["line 2: "]),
        ("section-dotted.toml", &["line 1: "]),
        ("tables-nested.toml", &["line 1: "]),
    ];
    each("pipeline", expected, |path, parts| {
        let case = Case::new();
        let name = path.to_str().unwrap();
        for stage in ["precompute", "train"] {
            check_refusal(&case.run_within(MEGABYTES, [stage, name]), 2, &[parts, &["cannot load pipeline"]].concat());
        }
    });
}
