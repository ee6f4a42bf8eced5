use serde_json::json;

use super::super::folder;
use super::*;
use crate::model_source::ModelSource;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/");

fn strings(texts: &[impl ToString]) -> Value {
    Value::Array(texts.iter().map(|text| Value::String(text.to_string())).collect())
}

/// The metadata llama.cpp's converter would write for a tokenizer of the fixtures.
fn converted(folder: &str, kind: &str, pre: &str) -> HashMap<String, Value> {
    let path = Path::new(FIXTURES).join(folder).join("tokenizer.json");
    let tokenizer: Json = serde_json::from_slice(&crate::io::read(&path).unwrap()).unwrap();
    let vocabulary = tokenizer["model"]["vocab"].as_object().unwrap();
    let mut tokens: Vec<(u64, &String)> = vocabulary.iter().map(|(token, id)| (id.as_u64().unwrap(), token)).collect();
    tokens.sort_unstable();
    let tokens: Vec<&String> = tokens.into_iter().map(|(_, token)| token).collect();
    let added: Vec<&str> =
        tokenizer["added_tokens"].as_array().unwrap().iter().filter_map(|t| t["content"].as_str()).collect();
    let kinds = tokens.iter().map(|token| Value::I32(if added.contains(&token.as_str()) { 3 } else { 1 }));
    let merges: Vec<String> = tokenizer["model"]["merges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|merge| merge.as_array().unwrap().iter().filter_map(Json::as_str).collect::<Vec<_>>().join(" "))
        .collect();
    let mut values = HashMap::from([
        ("tokenizer.ggml.model".to_owned(), Value::String(kind.into())),
        ("tokenizer.ggml.pre".to_owned(), Value::String(pre.into())),
        ("tokenizer.ggml.tokens".to_owned(), strings(&tokens)),
        ("tokenizer.ggml.token_type".to_owned(), Value::Array(kinds.collect())),
        ("tokenizer.ggml.bos_token_id".to_owned(), Value::U32(1)),
        ("tokenizer.ggml.eos_token_id".to_owned(), Value::U32(2)),
        ("tokenizer.chat_template".to_owned(), Value::String("{{ messages }}".into())),
    ]);
    if kind == "gpt2" {
        values.insert("tokenizer.ggml.merges".to_owned(), strings(&merges));
    } else {
        // Pieces are in the order they were merged in: a later one has a lower score.
        let scores = (0..tokens.len()).map(|id| Value::F32(-(id as f32)));
        values.insert("tokenizer.ggml.scores".to_owned(), Value::Array(scores.collect()));
        values.insert("tokenizer.ggml.unknown_token_id".to_owned(), Value::U32(0));
    }
    values
}

fn build(values: &HashMap<String, Value>) -> Result<TokenizerFiles, TokenizeError> {
    from_metadata(Path::new("m.gguf"), values)
}

/// Every paragraph of the corpus, and what a tokenizer trips over.
fn texts() -> Vec<String> {
    let corpus = crate::io::read_text(&Path::new(FIXTURES).join("tiny/corpus.txt")).unwrap();
    let edges =
        ["", " ", "  a", "\n\n1.  22\t3", "They'RE", "Où 法国 👩‍💻", "e\u{301}", "<|im_end|>x<|im_start|>", "</s> <s>a"];
    corpus.split("\n\n").chain(edges).map(str::to_owned).collect()
}

#[track_caller]
fn check_ids(folder: &str, values: &HashMap<String, Value>) {
    let found = build(values).unwrap();
    let expected = folder::load(&Path::new(FIXTURES).join(folder)).unwrap();
    for text in texts() {
        let ids = |files: &TokenizerFiles| files.tokenizer.encode_fast(text.as_str(), true).unwrap().get_ids().to_vec();
        assert_eq!(ids(&found), ids(&expected), "{text:?}");
        let decode = |files: &TokenizerFiles| files.tokenizer.decode(&ids(files), false).unwrap();
        assert_eq!(decode(&found), decode(&expected), "{text:?}");
    }
}

#[test]
fn a_byte_level_vocabulary_has_the_ids_of_its_folder() {
    check_ids("tiny", &converted("tiny", "gpt2", "smollm"));
}

#[test]
fn flags_say_whether_a_text_begins_and_ends() {
    for (folder, end) in [("golden/tokenizers/bos", false), ("golden/tokenizers/bos-eos", true)] {
        let mut values = converted(folder, "gpt2", "smaug-bpe");
        values.insert("tokenizer.ggml.add_bos_token".into(), Value::Bool(true));
        values.insert("tokenizer.ggml.add_eos_token".into(), Value::Bool(end));
        check_ids(folder, &values);
    }
}

#[test]
fn a_llama_3_vocabulary_begins_a_text_without_being_told_to() {
    let first_id = |pre: &str| {
        let files = build(&converted("golden/tokenizers/bos", "gpt2", pre)).unwrap();
        files.tokenizer.encode_fast("a", true).unwrap().get_ids()[0]
    };
    assert_eq!(first_id("llama-bpe"), 1);
    assert_ne!(first_id("smaug-bpe"), 1);
}

#[test]
fn a_sentence_piece_vocabulary_has_the_ids_of_its_folder() {
    check_ids("golden/tokenizers/metaspace", &converted("golden/tokenizers/metaspace", "llama", "default"));
}

#[test]
fn a_sentence_piece_vocabulary_may_go_without_the_space_in_front() {
    let mut values = converted("golden/tokenizers/metaspace", "llama", "default");
    values.insert("tokenizer.ggml.add_space_prefix".into(), Value::Bool(false));
    let files = build(&values).unwrap();
    let ids = files.tokenizer.encode_fast("a", false).unwrap().get_ids().to_vec();
    assert_eq!(ids.iter().filter_map(|id| files.tokenizer.id_to_token(*id)).collect::<Vec<_>>(), ["a"]);
}

#[test]
fn named_tokens_and_template_come_from_the_metadata() {
    let files = build(&converted("golden/tokenizers/metaspace", "llama", "default")).unwrap();
    let named = json!({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"});
    assert_eq!(Json::Object(files.special_tokens.clone()), named);
    assert_eq!((files.eos_id(), files.template()), (Some(2), Some("{{ messages }}")));
}

#[test]
fn a_token_of_control_or_user_kind_is_matched_in_text_and_an_unused_one_is_not() {
    let mut values = converted("tiny", "gpt2", "smollm");
    let n_tokens = 1200_u32;
    for key in ["tokenizer.ggml.tokens", "tokenizer.ggml.token_type"] {
        let Some(Value::Array(array)) = values.get_mut(key) else { panic!("{key}") };
        array.extend(match key {
            "tokenizer.ggml.tokens" => ["<control>", "<user>", "[PAD7]"].map(|text| Value::String(text.into())),
            _ => [3, 4, 5].map(Value::I32),
        });
    }
    let files = build(&values).unwrap();
    let ids = |text: &str| files.tokenizer.encode_fast(text, false).unwrap().get_ids().to_vec();
    assert_eq!(ids("<control><user>"), [n_tokens, n_tokens + 1]);
    assert!(!ids("[PAD7]").contains(&(n_tokens + 2)));
    assert_eq!(files.tokenizer.decode(&[n_tokens, n_tokens + 1], true).unwrap(), "<user>");
}

#[track_caller]
fn check_refused(change: impl Fn(&mut HashMap<String, Value>), want: &str) {
    let mut values = converted("tiny", "gpt2", "smollm");
    change(&mut values);
    let error = build(&values).unwrap_err().to_string();
    assert!(error.contains(want), "{error}");
}

#[test]
fn what_is_unknown_missing_or_broken_is_named() {
    check_refused(
        |values| drop(values.insert("tokenizer.ggml.pre".into(), Value::String("smolm".into()))),
        "`m.gguf`: `tokenizer.ggml.pre` is `smolm`, expected one of gpt-2, smollm, llama-bpe",
    );
    check_refused(
        |values| drop(values.insert("tokenizer.ggml.model".into(), Value::String("t5".into()))),
        "`tokenizer.ggml.model` is `t5`, expected one of gpt2, llama",
    );
    check_refused(|values| drop(values.remove("tokenizer.ggml.pre")), "expected a text under `tokenizer.ggml.pre`");
    check_refused(
        |values| drop(values.remove("tokenizer.ggml.merges")),
        "expected an array of texts under `tokenizer.ggml.merges`",
    );
    check_refused(|values| drop(values.insert("tokenizer.ggml.merges".into(), strings(&["ab"]))), "two pieces");
    check_refused(
        |values| drop(values.insert("tokenizer.ggml.merges".into(), strings(&["nowhere else"]))),
        "makes no tokenizer",
    );
    check_refused(
        |values| drop(values.insert("tokenizer.ggml.tokens".into(), Value::Bool(true))),
        "expected an array of texts",
    );
    let without_scores = |values: &mut HashMap<String, Value>| {
        values.remove("tokenizer.ggml.merges");
        values.insert("tokenizer.ggml.model".into(), Value::String("llama".into()));
    };
    check_refused(without_scores, "expected a score for every token under `tokenizer.ggml.scores`");
}

#[test]
fn a_slip_in_the_name_is_answered_with_the_right_one() {
    use crate::error::Hint as _;
    let error = build(&converted("tiny", "gpt2", "smolm")).unwrap_err();
    assert!(error.hint().unwrap().starts_with("`smollm` is supported"));
}

#[test]
fn a_saved_tokenizer_is_the_same_one() {
    let found = build(&converted("tiny", "gpt2", "smollm")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    found.save(&crate::model_source::ModelSource::Gguf("m.gguf".into()), folder.path()).unwrap();
    let saved = folder::load(folder.path()).unwrap();
    assert_eq!((saved.digest(), saved.template_digest()), (found.digest(), found.template_digest()));
}

fn refusal(key: &str, value: Value) -> String {
    let mut values = converted("tiny", "gpt2", "smollm");
    values.insert(key.to_owned(), value);
    build(&values).unwrap_err().to_string()
}

#[test]
fn a_key_that_is_not_honoured_is_refused_by_name() {
    for (key, value) in [
        ("tokenizer.ggml.precompiled_charsmap", Value::Array(vec![Value::U8(1)])),
        ("tokenizer.ggml.remove_extra_whitespaces", Value::Bool(true)),
        ("tokenizer.ggml.add_sep_token", Value::Bool(true)),
        ("tokenizer.ggml.something_new", Value::U32(1)),
        ("tokenizer.rwkv.world", Value::String(String::new())),
    ] {
        let error = refusal(key, value);
        assert!(error.contains(&format!("`{key}` is not supported")), "{error}");
    }
    let mut values = converted("tiny", "gpt2", "smollm");
    for key in ["remove_extra_whitespaces", "add_sep_token", "add_space_prefix"] {
        values.insert(format!("tokenizer.ggml.{key}"), Value::Bool(false));
    }
    values.insert("tokenizer.ggml.fim_pre_token_id".into(), Value::U32(5));
    values.insert("general.name".into(), Value::String("x".into()));
    assert!(build(&values).unwrap().notes.is_empty());
}

#[test]
fn a_value_of_another_type_is_no_default() {
    let check = |key: &str, value: Value, want: &str| {
        let error = refusal(key, value);
        assert_eq!(error, format!("GGUF file `m.gguf`: expected {want} under `{key}`"));
    };
    check("tokenizer.ggml.add_bos_token", Value::U32(1), "true or false");
    check("tokenizer.ggml.eos_token_id", Value::U32(1200), "the id of a token of the vocabulary");
    check("tokenizer.ggml.eos_token_id", Value::String("2".into()), "the id of a token of the vocabulary");
    check("tokenizer.ggml.eot_token_id", Value::I32(-2), "the id of a token of the vocabulary");
    check("tokenizer.ggml.token_type", Value::Array(vec![Value::I32(1)]), "a type for every token");
    check("tokenizer.chat_template", Value::U32(1), "a text");
    check(
        "tokenizer.chat_template.a/b",
        Value::String("x".into()),
        "a name of letters, digits, `_`, `-` and `.`, and not `default`",
    );
}

#[test]
fn a_token_around_every_text_has_to_be_named() {
    let mut values = converted("tiny", "gpt2", "smollm");
    values.insert("tokenizer.ggml.bos_token_id".into(), Value::U32(u32::MAX));
    assert!(build(&values).is_ok());
    values.insert("tokenizer.ggml.add_bos_token".into(), Value::Bool(true));
    let error = build(&values).unwrap_err().to_string();
    assert!(error.contains("under `tokenizer.ggml.bos_token_id`"), "{error}");
}

#[test]
fn the_end_of_a_turn_is_matched_whatever_its_type() {
    let mut values = converted("tiny", "gpt2", "smollm");
    values.insert("tokenizer.ggml.token_type".into(), Value::Array(vec![Value::I32(1); 1200]));
    let ids = |values: &HashMap<String, Value>, text: &str| {
        build(values).unwrap().tokenizer.encode_fast(text, false).unwrap().get_ids().to_vec()
    };
    assert_ne!(ids(&values, "<|endoftext|>"), [0]);
    values.insert("tokenizer.ggml.eot_token_id".into(), Value::U32(0));
    assert_eq!(ids(&values, "<|endoftext|><|im_end|>"), [0, 2]);
}

#[test]
fn templates_with_names_are_kept_and_written() {
    let mut values = converted("tiny", "gpt2", "smollm");
    values.insert("tokenizer.chat_template.tool_use".into(), Value::String("tools".into()));
    values.insert("tokenizer.chat_templates".into(), strings(&["tool_use"]));
    values.insert("tokenizer.huggingface.json".into(), Value::String("{}".into()));
    let found = build(&values).unwrap();
    assert_eq!(found.other_templates.iter().collect::<Vec<_>>(), [("tool_use", "tools")]);
    assert_eq!(found.template(), Some("{{ messages }}"));
    assert!(found.notes[0].starts_with("`tokenizer.huggingface.json` is not read"), "{:?}", found.notes);
    let folder = tempfile::tempdir().unwrap();
    found.save(&ModelSource::Gguf("m.gguf".into()), folder.path()).unwrap();
    let saved = folder::load(folder.path()).unwrap();
    assert_eq!(saved.template_digest(), found.template_digest());
}

/// A class that transformers builds around the saved vocabulary builds the one of the file.
#[test]
fn a_saved_qwen_tokenizer_is_the_same_one_under_its_own_class() {
    let found = build(&converted("tiny", "gpt2", "qwen2")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    found.save(&ModelSource::Gguf("m.gguf".into()), folder.path()).unwrap();
    crate::io::write(&folder.path().join("config.json"), br#"{"model_type": "qwen2"}"#).unwrap();
    let saved = folder::load(folder.path()).unwrap();
    assert_eq!((saved.digest(), saved.notes.len()), (found.digest(), 0), "{:?}", saved.notes);
}
