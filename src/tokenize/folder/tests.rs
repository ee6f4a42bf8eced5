use std::path::PathBuf;

use serde_json::json;

use super::*;

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tiny");

/// The tiny model's tokenizer, changed, with other files beside it.
fn folder(change: impl Fn(&mut Json), files: &[(&str, Json)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut tokenizer =
        serde_json::from_slice(&io::read(&PathBuf::from(TINY).join("tokenizer.json")).unwrap()).unwrap();
    change(&mut tokenizer);
    io::write(&folder.path().join("tokenizer.json"), tokenizer.to_string().as_bytes()).unwrap();
    for (name, content) in files {
        let bytes = content.as_str().map_or_else(|| content.to_string(), str::to_owned);
        io::write(&folder.path().join(name), bytes.as_bytes()).unwrap();
    }
    folder
}

fn ids(model: &TokenizerFiles, text: &str) -> Vec<u32> {
    model.tokenizer.encode_fast(text, true).unwrap().get_ids().to_vec()
}

#[test]
fn truncation_and_padding_in_the_file_are_ignored() {
    let folder = folder(
        |tokenizer| {
            tokenizer["truncation"] =
                json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
            tokenizer["padding"] = json!({"strategy": {"Fixed": 64}, "direction": "Left", "pad_to_multiple_of": null,
                "pad_id": 0, "pad_type_id": 0, "pad_token": "<|endoftext|>"});
        },
        &[],
    );
    let plain = load(Path::new(TINY)).unwrap();
    let text = "What is the capital of France?";
    assert_eq!(ids(&load(folder.path()).unwrap(), text), ids(&plain, text));
}

fn named(files: &[(&str, Json)]) -> Json {
    Json::Object(load(folder(|_| {}, files).path()).unwrap().special_tokens)
}

#[test]
fn the_map_of_special_tokens_wins_unless_the_configuration_lists_added_tokens() {
    let config = json!({"bos_token": "<|im_start|>", "eos_token": null, "sep_token": "s"});
    let map = json!({"bos_token": null, "eos_token": {"content": "<|im_end|>"}, "image_token": "<img>"});
    let files = |config: &Json| [("tokenizer_config.json", config.clone()), ("special_tokens_map.json", map.clone())];
    assert_eq!(named(&files(&config)), json!({"eos_token": "<|im_end|>", "sep_token": "s", "image_token": "<img>"}));
    let mut listing = config;
    listing["added_tokens_decoder"] = json!({});
    assert_eq!(named(&files(&listing)), json!({"bos_token": "<|im_start|>", "sep_token": "s"}));
}

#[test]
fn a_contradiction_of_two_files_is_said_with_the_one_that_counts() {
    let notes = |config: Json| {
        let map = ("special_tokens_map.json", json!({"eos_token": "<|im_end|>"}));
        load(folder(|_| {}, &[("tokenizer_config.json", config), map]).path()).unwrap().notes
    };
    assert_eq!(
        notes(json!({"eos_token": "<|endoftext|>"})),
        [
            "`eos_token` is `<|endoftext|>` in `tokenizer_config.json` and `<|im_end|>` in `special_tokens_map.json`: as in \
          transformers, `special_tokens_map.json` counts"
        ]
    );
    assert_eq!(
        notes(json!({"added_tokens_decoder": {}})),
        ["`eos_token` is no token in `tokenizer_config.json` and `<|im_end|>` in `special_tokens_map.json`: as in \
          transformers, `tokenizer_config.json` counts"]
    );
    assert!(notes(json!({"eos_token": "<|im_end|>"})).is_empty());
    assert!(notes(json!({})).is_empty());
}

/// Whatever `config.json` and `generation_config.json` say: a template would print what no other program prints.
#[test]
fn an_id_names_no_token_and_a_template_that_prints_one_is_told() {
    let files = [
        ("generation_config.json", json!({"eos_token_id": 2})),
        ("config.json", json!({"bos_token_id": 1, "eos_token_id": 2})),
        ("chat_template.jinja", json!("{{ bos_token }}x")),
    ];
    let model = load(folder(|_| {}, &files).path()).unwrap();
    assert_eq!((model.eos_token(), model.special_tokens.len()), (None, 0));
    let [note] = &model.notes[..] else { panic!("{:?}", model.notes) };
    assert!(note.contains("prints `bos_token`") && note.contains("id 1 (`<|im_start|>`)"), "{note}");
}

#[test]
fn an_end_token_the_tokenizer_does_not_match_yet_becomes_one_token() {
    let folder = folder(
        |_| {},
        &[(
            "tokenizer_config.json",
            json!({"eos_token": "</done>", "additional_special_tokens": ["<extra>"], "added_tokens_decoder":
                {"1200": {"content": "<new>", "lstrip": false, "normalized": false, "rstrip": false,
                          "single_word": false, "special": true}}}),
        )],
    );
    let model = load(folder.path()).unwrap();
    assert_eq!(ids(&model, "<new></done><extra>"), [1200, 1201, 1202]);
    assert_eq!((model.eos_id(), model.vocab_size()), (Some(1201), 1203));
}

#[test]
fn flags_beside_a_tokenizer_are_forgotten_and_said_to_be() {
    let config = json!({"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "add_bos_token": true,
                        "add_eos_token": false});
    let model = load(folder(|_| {}, &[("tokenizer_config.json", config)]).path()).unwrap();
    assert_eq!(ids(&model, ""), [0_u32; 0]);
    let [note] = &model.notes[..] else { panic!("{:?}", model.notes) };
    assert!(note.starts_with("`add_bos_token` is true in `tokenizer_config.json`"), "{note}");
    // The one file whose flags transformers keeps.
    let map = json!({"bos_token": "<|im_start|>", "add_bos_token": true});
    assert_eq!(ids(&load(folder(|_| {}, &[("special_tokens_map.json", map)]).path()).unwrap(), ""), [1]);
}

#[test]
fn special_tokens_may_be_split_in_a_text() {
    let split = json!({"eos_token": "<|im_end|>", "split_special_tokens": true});
    let split = load(folder(|_| {}, &[("tokenizer_config.json", split)]).path()).unwrap();
    let whole = json!({"eos_token": "<|im_end|>"});
    let whole = load(folder(|_| {}, &[("tokenizer_config.json", whole)]).path()).unwrap();
    assert_eq!(ids(&whole, "<|im_end|>"), [2]);
    assert!(ids(&split, "<|im_end|>").len() > 3);
    assert_ne!(split.digest(), whole.digest());
    assert!(split.notes[0].starts_with("`split_special_tokens` is true"), "{:?}", split.notes);
}

#[test]
fn what_would_make_other_ids_and_is_not_followed_is_refused_by_name() {
    let error = |change: fn(&mut Json), config: Json| {
        let files = [("tokenizer_config.json", config), ("config.json", json!({"model_type": "llama"}))];
        load(folder(change, &files).path()).unwrap_err().to_string()
    };
    let refused = |config: Json, want: &str| {
        let found = error(|_| {}, config);
        assert!(found.contains(want), "{found}");
    };
    assert!(
        error(|file| file["model"]["dropout"] = json!(0.1), json!({})).contains("`model.dropout` is not supported")
    );
    refused(json!({"tokenizer_class": "T5Tokenizer"}), "`tokenizer_class` is `T5Tokenizer`");
    refused(json!({"auto_map": {"AutoTokenizer": ["a.B", null]}}), "`auto_map` names `a.B`");
    refused(json!({"fast_tokenizer_files": ["tokenizer.json", "tokenizer.4.0.0.json"]}), "`fast_tokenizer_files`");
    refused(json!({"split_special_tokens": "yes"}), "`split_special_tokens` is \"yes\", expected true or false");
    refused(json!({"eos_token": 2}), "`eos_token` is 2, expected a token");
    refused(json!({"extra_special_tokens": "x"}), "`extra_special_tokens` is \"x\", expected a list of tokens");
    refused(json!({"chat_template": [{"name": "a"}]}), "`chat_template` is");
    refused(json!({"vocab": {}}), "`vocab` is not supported");
    refused(json!({"init_inputs": ["x"]}), "`init_inputs` is not supported");
}

#[test]
fn a_class_that_builds_its_own_parts_is_said_to() {
    let config = json!({"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|im_end|>"});
    let files = [("tokenizer_config.json", config), ("config.json", json!({"model_type": "llama"}))];
    let model = load(folder(|_| {}, &files).path()).unwrap();
    assert_eq!(
        model.notes,
        [
            "`tokenizer_class` `GPT2Tokenizer`: as in transformers, its own pre_tokenizer replaces that of `tokenizer.json`"
        ]
    );
    assert_eq!(model.special_tokens["bos_token"], "<|endoftext|>");
}

#[test]
fn a_token_listed_under_another_id_keeps_its_own_and_that_is_said() {
    let listed = json!({"added_tokens_decoder": {"7": {"content": "<|im_end|>", "special": true},
                        "1205": {"content": "<new>"}, "1206": {"content": "<newer>"}}});
    let model = load(folder(|_| {}, &[("tokenizer_config.json", listed)]).path()).unwrap();
    assert_eq!(ids(&model, "<|im_end|><new>"), [2, 1200]);
    assert_eq!(
        model.notes,
        [
            "added tokens: `<|im_end|>` is listed as 7 and has id 2, and 2 more like it: as in transformers, the vocabulary \
          counts"
        ]
    );
}

#[test]
fn templates_are_found_by_precedence() {
    let config = |template: Json| ("tokenizer_config.json", json!({ "chat_template": template }));
    let list = json!([{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]);
    let template = |files: &[(&str, Json)]| load(folder(|_| {}, files).path()).unwrap().template;
    assert_eq!(template(&[]), None);
    assert_eq!(template(&[config(json!(null))]), None);
    assert_eq!(template(&[config(json!("c"))]).as_deref(), Some("c"));
    assert_eq!(template(&[config(list.clone())]).as_deref(), Some("b"));
    assert_eq!(template(&[config(list), ("chat_template.jinja", json!("d"))]).as_deref(), Some("d"));
}

#[test]
fn files_of_templates_replace_those_of_the_configuration() {
    let list = json!({"chat_template": [{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}]});
    let folder =
        folder(|_| {}, &[("tokenizer_config.json", list), ("chat_template.json", json!({"chat_template": "e"}))]);
    let read = || load(folder.path()).unwrap();
    let names = |model: &TokenizerFiles| model.other_templates.names().map(str::to_owned).collect::<Vec<_>>();
    let model = read();
    assert_eq!((model.template.as_deref(), names(&model)), (Some("b"), vec!["tool_use".to_owned()]));
    assert!(model.notes[0].starts_with("`chat_template.json` is not read"), "{:?}", model.notes);
    let of_list = model.template_digest();

    let additional = folder.path().join("additional_chat_templates");
    io::create_dir(&additional).unwrap();
    io::write(&additional.join("rag.jinja"), b"c").unwrap();
    let model = read();
    assert_eq!((model.template.as_deref(), names(&model)), (None, vec!["rag".to_owned()]));
    assert!(model.notes[0].contains("the files count (rag)"), "{:?}", model.notes);
    io::write(&folder.path().join("chat_template.jinja"), b"d").unwrap();
    let model = read();
    assert_eq!((model.template.as_deref(), names(&model)), (Some("d"), vec!["rag".to_owned()]));
    assert_ne!(model.template_digest(), of_list);
}

#[test]
fn digests_are_stable_and_see_every_part() {
    let digest = |folder: &Path| load(folder).unwrap().digest();
    let tiny = digest(Path::new(TINY));
    assert_eq!(tiny, digest(Path::new(TINY)));
    let named = folder(|_| {}, &[("tokenizer_config.json", json!({"eos_token": "<|im_end|>"}))]);
    let unnamed = folder(|_| {}, &[]);
    assert_ne!(digest(named.path()), digest(unnamed.path()));
}

#[test]
fn a_folder_without_tokenizer_and_a_broken_one_are_told_apart() {
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(load(empty.path()), Err(TokenizeError::NoTokenizer { .. })));
    io::write(&empty.path().join("tokenizer.json"), b"{\"model\": 1}").unwrap();
    assert!(matches!(load(empty.path()), Err(TokenizeError::Tokenizer { .. })));
    let config = folder(|_| {}, &[("tokenizer_config.json", json!("[1]"))]);
    assert!(matches!(load(config.path()), Err(TokenizeError::Config { .. })));
}

fn notes_of(config: Json, others: &[(&str, Json)]) -> Vec<String> {
    let mut files = vec![("tokenizer_config.json", config)];
    files.extend_from_slice(others);
    load(folder(|_| {}, &files).path()).unwrap().notes
}

#[test]
fn an_end_token_that_no_vocabulary_has_is_said_to_be_new() {
    assert_eq!(
        notes_of(json!({"eos_token": "</done>"}), &[]),
        [
            "`eos_token` is `</done>`, which `tokenizer.json` does not have: as in transformers it is added, with id 1200"
        ]
    );
    let listed = json!({"eos_token": "</done>", "added_tokens_decoder": {"1200": {"content": "</done>"}}});
    assert!(notes_of(listed, &[]).is_empty());
}

#[test]
fn added_tokens_that_a_class_leaves_out_are_said_to_be_none() {
    let config = json!({"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|im_end|>", "added_tokens_decoder": {}});
    let notes = notes_of(config, &[]);
    assert!(notes[1].starts_with("1 added tokens of `tokenizer.json` are no tokens here, `<|im_start|>`"), "{notes:?}");
}

#[test]
fn an_end_token_that_generation_does_not_stop_at_is_said() {
    let eos = json!({"eos_token": "<|im_end|>"});
    let ids = |ids: Json| [("generation_config.json", json!({ "eos_token_id": ids })), ("config.json", json!({}))];
    assert!(notes_of(eos.clone(), &ids(json!([0, 2]))).is_empty());
    assert!(notes_of(eos.clone(), &ids(json!(null))).is_empty());
    let notes = notes_of(eos, &ids(json!([0, 1])));
    assert!(notes[0].contains("`<|im_end|>` (id 2)") && notes[0].contains(" is 0, 1: "), "{notes:?}");
}

/// The tokenizers library takes one or the other, by the order of a hash map.
#[test]
fn two_added_tokens_of_one_normalised_text_are_refused() {
    let config = |normalized: bool| {
        let token = |content: &str| json!({"content": content, "normalized": normalized});
        json!({"added_tokens_decoder": {"1200": token("THE"), "1201": token("The")}})
    };
    let lower = |tokenizer: &mut Json| tokenizer["normalizer"] = json!({"type": "Lowercase"});
    let load = |normalized| load(folder(lower, &[("tokenizer_config.json", config(normalized))]).path());
    let error = load(true).unwrap_err().to_string();
    assert!(error.contains("the added tokens `The` and `THE` are the same text after its normalizer"), "{error}");
    assert_eq!(ids(&load(false).unwrap(), "THEThe").len(), 2);
}
