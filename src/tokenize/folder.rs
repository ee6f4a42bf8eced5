//! The tokenizer of a Hugging Face folder, as transformers loads it.
//!
//! `tokenizer.json` is the tokenizer; `tokenizer_config.json` names special tokens, may add some that the tokenizer
//! does not have yet, and may say whether a text gets a begin and an end token.

use std::path::Path;

use serde_json::{Map, Value as Json};
use tokenizers::{AddedToken, Tokenizer};

use super::error::TokenizeError;
use super::growth;
use super::tokenizer_files::{Frame, TokenizerFiles, set_frame};
use crate::{guard, io};

/// Most bytes of a `tokenizer.json`; those of the largest vocabularies have a quarter of it.
const TOKENIZER_BYTES: u64 = 128 << 20;

const NAMES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Reads `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json` and `chat_template.jinja`.
pub(super) fn load(folder: &Path) -> Result<TokenizerFiles, TokenizeError> {
    let path = folder.join("tokenizer.json");
    if !path.is_file() {
        return Err(TokenizeError::NoTokenizer { folder: folder.to_owned() });
    }
    let wrap = |source| TokenizeError::Tokenizer { path: path.clone(), source };
    let bytes = io::read_up_to(&path, TOKENIZER_BYTES)?;
    let parsed = guard::catch(|| Tokenizer::from_bytes(bytes)).unwrap_or_else(|panicked| Err(panicked.into()));
    let mut tokenizer = parsed.map_err(wrap)?;
    growth::check(&tokenizer, &path)?;
    // Both are settings of whoever saved the file. transformers switches them off too.
    tokenizer.with_truncation(None).map_err(wrap)?;
    tokenizer.with_padding(None);

    let config = json_object(&folder.join("tokenizer_config.json"))?;
    let mut special_tokens = named_tokens(&[&config, &json_object(&folder.join("special_tokens_map.json"))?]);
    for file in ["generation_config.json", "config.json"] {
        let ids = json_object(&folder.join(file))?;
        for name in ["bos_token", "eos_token"] {
            // One id only: of a list, nothing says which one ends a text.
            let id = ids.get(&format!("{name}_id")).and_then(Json::as_u64).and_then(|id| u32::try_from(id).ok());
            if let Some(token) =
                id.filter(|_| !special_tokens.contains_key(name)).and_then(|id| tokenizer.id_to_token(id))
            {
                special_tokens.insert(name.to_owned(), token.into());
            }
        }
    }
    add_missing_tokens(&mut tokenizer, &config, &special_tokens).map_err(wrap)?;
    if config.contains_key("add_bos_token") || config.contains_key("add_eos_token") {
        let flag = |name: &str| config.get(name).and_then(Json::as_bool).unwrap_or(false);
        let frame = Frame { begin: flag("add_bos_token"), end: flag("add_eos_token") };
        set_frame(&mut tokenizer, &special_tokens, frame, &path)?;
    }
    TokenizerFiles::new(folder, tokenizer, special_tokens, template(folder, &config)?)
}

pub(super) fn json_object(path: &Path) -> Result<Map<String, Json>, TokenizeError> {
    if !path.is_file() {
        return Ok(Map::new());
    }
    serde_json::from_slice(&io::read_up_to(path, io::SETTINGS_BYTES)?)
        .map_err(|source| TokenizeError::Config { path: path.to_owned(), source })
}

/// The first file that names a token wins.
fn named_tokens(files: &[&Map<String, Json>]) -> Map<String, Json> {
    let find = |name: &str| files.iter().find_map(|file| token_text(file.get(name)?));
    NAMES.into_iter().filter_map(|name| Some((name.to_owned(), find(name)?.into()))).collect()
}

/// A token written as text, or as an object with its text as `content`.
fn token_text(token: &Json) -> Option<&str> {
    token.as_str().or_else(|| token.get("content")?.as_str())
}

/// Adds what the configuration lists and the tokenizer does not match in text yet.
fn add_missing_tokens(
    tokenizer: &mut Tokenizer,
    config: &Map<String, Json>,
    special_tokens: &Map<String, Json>,
) -> tokenizers::Result<()> {
    let mut listed: Vec<(u32, AddedToken)> = Vec::new();
    for (id, token) in config.get("added_tokens_decoder").and_then(Json::as_object).into_iter().flatten() {
        listed.push((id.parse()?, serde_json::from_value(token.clone())?));
    }
    listed.sort_by_key(|(id, _)| *id);
    let mut wanted: Vec<AddedToken> = listed.into_iter().map(|(_, token)| token).collect();
    let extra = ["additional_special_tokens", "extra_special_tokens"].into_iter().filter_map(|name| config.get(name));
    let extra = extra.flat_map(|tokens| match tokens {
        Json::Array(tokens) => tokens.iter().collect(),
        Json::Object(tokens) => tokens.values().collect(),
        _ => Vec::new(),
    });
    wanted.extend(special_tokens.values().chain(extra).filter_map(token_text).map(|text| AddedToken::from(text, true)));
    for token in wanted {
        if !tokenizer.get_added_vocabulary().get_vocab().contains_key(&token.content) {
            tokenizer.add_tokens([token])?;
        }
    }
    Ok(())
}

/// `chat_template.jinja`, else the configuration's: a text, or the one called `default` of a list.
fn template(folder: &Path, config: &Map<String, Json>) -> Result<Option<String>, TokenizeError> {
    let file = folder.join("chat_template.jinja");
    if file.is_file() {
        return Ok(Some(io::read_text_up_to(&file, io::SETTINGS_BYTES)?));
    }
    let template = match config.get("chat_template") {
        Some(Json::Array(named)) => named
            .iter()
            .find(|template| template.get("name").and_then(Json::as_str) == Some("default"))
            .and_then(|template| template.get("template")),
        template => template,
    };
    Ok(template.and_then(Json::as_str).map(str::to_owned))
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn special_tokens_are_texts_or_objects_and_the_configuration_wins() {
        let folder = folder(
            |_| {},
            &[
                ("tokenizer_config.json", json!({"bos_token": {"content": "<|im_start|>"}, "eos_token": null})),
                ("special_tokens_map.json", json!({"bos_token": "x", "eos_token": {"content": "<|im_end|>"}})),
            ],
        );
        let model = load(folder.path()).unwrap();
        assert_eq!(Json::from(model.special_tokens), json!({"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}));
    }

    #[test]
    fn an_end_token_known_by_its_id_only_is_found_and_a_list_of_ids_is_not_guessed_at() {
        let found = folder(|_| {}, &[("generation_config.json", json!({"eos_token_id": 2}))]);
        assert_eq!(load(found.path()).unwrap().eos_token(), Some("<|im_end|>"));
        let several = folder(|_| {}, &[("generation_config.json", json!({"eos_token_id": [0, 2]}))]);
        assert_eq!(load(several.path()).unwrap().eos_token(), None);
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
    fn begin_and_end_are_added_where_the_configuration_says_so() {
        let config = json!({"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "add_bos_token": true});
        let folder = folder(|_| {}, &[("tokenizer_config.json", config)]);
        let model = load(folder.path()).unwrap();
        assert_eq!(ids(&model, "a")[..1], [1]);
        assert_eq!(ids(&model, ""), [1]);
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
}
