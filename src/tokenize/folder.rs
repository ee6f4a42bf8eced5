//! The tokenizer of a Hugging Face folder, as `AutoTokenizer.from_pretrained` of transformers 5.24 makes it.
//!
//! Which class it is decides what `tokenizer.json` has a say in ([`class`], [`rebuilt`]); which file is believed about a
//! special token stands in [`special_tokens`]. Truncation and padding of `tokenizer.json` are settings of whoever saved it:
//! transformers switches them off for every text, and takes from them no more than the name of a pad token. `add_bos_token`
//! and `add_eos_token` of `tokenizer_config.json` are forgotten where there is a `tokenizer.json`: its post-processor says
//! what stands around a text. What contradicts what counts is said in [`TokenizerFiles::notes`].

mod class;
mod rebuilt;
mod settings;
mod special_tokens;
mod templates;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use tokenizers::{AddedToken, NormalizedString, Normalizer, PreTokenizerWrapper, Tokenizer};

use self::class::{NoClass, Rebuilt, TokenizerClass};
pub(super) use self::settings::Settings;
pub(super) use self::special_tokens::NAMES;
use self::special_tokens::{Declared, Sources, SpecialTokens};
use super::error::TokenizeError;
use super::gguf_split::TEKKEN;
use super::growth;
use super::named_templates::NamedTemplates;
use super::patterns;
use super::tokenizer_files::{Frame, TokenizerFiles, set_frame};
use crate::{guard, io};

/// Most bytes of a `tokenizer.json`; those of the largest vocabularies have a quarter of it.
const TOKENIZER_BYTES: u64 = 128 << 20;

/// What `_tokenizer_json_has_byte_level` looks for.
const BYTE_LEVEL: &[u8] = b"\"ByteLevel\"";

/// Arguments of a tokenizer's constructor that are no settings: transformers passes them itself.
const ARGUMENTS: [&str; 7] =
    ["vocab", "merges", "tokenizer_object", "post_processor", "tokenizer_padding", "tokenizer_truncation", "gguf_file"];

/// The tokens that may stand around a text.
const ENDS: [&str; 2] = ["bos_token", "eos_token"];

/// What of a `tokenizer.json` is needed beside the tokenizer itself.
#[derive(Deserialize)]
struct Saved {
    #[serde(default)]
    added_tokens: Vec<SavedToken>,
    #[serde(default)]
    model: SavedModel,
}

#[derive(Deserialize)]
struct SavedToken {
    id: u32,
    #[serde(flatten)]
    token: AddedToken,
}

#[derive(Deserialize, Default)]
struct SavedModel {
    dropout: Option<f64>,
}

/// Reads the tokenizer of a folder with all that its files say about it.
pub(super) fn load(folder: &Path) -> Result<TokenizerFiles, TokenizeError> {
    let path = folder.join("tokenizer.json");
    if !path.is_file() {
        return Err(TokenizeError::NoTokenizer { folder: folder.to_owned() });
    }
    let read = |name: &str| Settings::read(&folder.join(name));
    let (config, model_config) = (read("tokenizer_config.json")?, read("config.json")?);
    refuse_what_is_no_setting(&config)?;
    let wrap = |source| TokenizeError::Tokenizer { path: path.clone(), source };
    let bytes = io::read_up_to(&path, TOKENIZER_BYTES)?;
    let is_byte_level = bytes.windows(BYTE_LEVEL.len()).any(|window| window == BYTE_LEVEL);
    let parsed = guard::catch(|| Tokenizer::from_bytes(&bytes)).unwrap_or_else(|panicked| Err(panicked.into()));
    let saved = parsed.map_err(wrap)?;
    growth::check(&saved, &path)?;
    growth::check_ids(&saved, &path)?;
    patterns::check(&saved, &path)?;
    let parts: Saved = serde_json::from_slice(&bytes).map_err(|source| wrap(source.into()))?;
    drop(bytes);
    let class = class::find(&config.values, &model_config.values, is_byte_level);
    let class = class.map_err(|error| match error {
        NoClass::NotBuilt(class) => TokenizeError::ClassNotBuilt { path: config.path.clone(), class },
        NoClass::OwnCode(class) => TokenizeError::OwnCode { path: config.path.clone(), class },
    })?;
    if class == TokenizerClass::AsSaved && parts.model.dropout.is_some_and(|dropout| dropout != 0.0) {
        let reason = "it makes other ids of the same text each time";
        return Err(TokenizeError::NotHonoured { path, key: "model.dropout".into(), reason });
    }

    let added: Vec<(u32, AddedToken)> = parts.added_tokens.into_iter().map(|saved| (saved.id, saved.token)).collect();
    let sources = Sources {
        config: &config,
        map: &read("special_tokens_map.json")?,
        added: &read("added_tokens.json")?,
        saved: &added,
    };
    let mut declared = Declared::read(&sources)?;
    let mut notes = std::mem::take(&mut declared.notes);
    refuse_what_is_no_setting(&declared.settings)?;
    let padding = saved.get_padding().map(|padding| padding.pad_token.clone());
    let special = declared.of_class(class, padding.as_deref());

    let (mut tokenizer, replaced) = match class {
        TokenizerClass::AsSaved => (saved, Vec::new()),
        TokenizerClass::Rebuilt(class) => {
            let built = rebuilt::build(class, &saved, &declared.settings, &special, &path)?;
            growth::check(&built, &path)?;
            let replaced = rebuilt::replaced(&saved, &built).map_err(|source| wrap(source.into()))?;
            (built, replaced)
        }
    };
    tokenizer.with_truncation(None).map_err(wrap)?;
    tokenizer.with_padding(None);
    if let TokenizerClass::Rebuilt(class) = class
        && !replaced.is_empty()
    {
        notes.push(format!(
            "`tokenizer_class` `{}`: as in transformers, its own {} replaces that of `tokenizer.json`",
            class.name(),
            replaced.join(", ")
        ));
    }

    let unheard: Vec<&str> =
        ENDS.into_iter().filter(|name| special.is_unheard(name, &declared.by_id, &tokenizer)).collect();
    add_tokens(&mut tokenizer, class, &declared.by_id, &special).map_err(wrap)?;
    refuse_equal_tokens(&tokenizer, &path)?;
    notes.extend(unheard.into_iter().filter_map(|name| appended(&tokenizer, &special, name)));
    notes.extend(unmatched(&tokenizer, &added));
    notes.extend(misplaced(&tokenizer, declared.by_id.iter().map(|(id, token)| (*id, token.content.as_str()))));
    if class == TokenizerClass::AsSaved && declared.settings.flag("fix_mistral_regex")? == Some(true) {
        fix_mistral_regex(&mut tokenizer, &model_config, &path)?;
    }
    let texts = special.texts();
    let explicit = [declared.settings.flag("add_bos_token")?, declared.settings.flag("add_eos_token")?];
    if let Some(frame) = frame(class, explicit) {
        set_frame(&mut tokenizer, &texts, frame, &path)?;
    }
    notes.extend(forgotten_flags(&config, &tokenizer, &texts)?);
    if declared.settings.flag("split_special_tokens")? == Some(true) {
        tokenizer.set_encode_special_tokens(true);
        notes.push(
            "`split_special_tokens` is true: as in transformers, special tokens in a text become its letters, those of a \
             chat template and the end token too"
                .into(),
        );
    }

    let templates = templates::read(folder, &declared.settings, &mut notes)?;
    notes.extend(unnamed(&texts, &templates, &model_config, &tokenizer));
    notes.extend(other_end(&texts, &tokenizer, &[&model_config, &read("generation_config.json")?]));
    let mut files = TokenizerFiles::new(folder, tokenizer, texts, templates)?;
    files.notes = notes;
    Ok(files)
}

/// Settings that would make another tokenizer, and that nobody's files have.
fn refuse_what_is_no_setting(config: &Settings) -> Result<(), TokenizeError> {
    let is_set = |key: &str| config.get(key).is_some_and(|value| !value.is_null());
    if let Some(key) = ARGUMENTS.into_iter().find(|key| is_set(key)) {
        return Err(config.not_honoured(key, "it is an argument of transformers, not a setting"));
    }
    if config.get("init_inputs").and_then(Json::as_array).is_some_and(|inputs| !inputs.is_empty()) {
        return Err(config.not_honoured("init_inputs", "transformers hands them to the tokenizer by place"));
    }
    let versions = config.get("fast_tokenizer_files").and_then(Json::as_array).into_iter().flatten();
    if versions.filter_map(Json::as_str).any(|file| file != "tokenizer.json") {
        let reason = "transformers reads another file than `tokenizer.json`, by its version";
        return Err(config.not_honoured("fast_tokenizer_files", reason));
    }
    Ok(())
}

/// All that is matched in a text as a whole (`TokenizersBackend.__init__`).
fn add_tokens(
    tokenizer: &mut Tokenizer,
    class: TokenizerClass,
    by_id: &BTreeMap<u32, AddedToken>,
    special: &SpecialTokens,
) -> tokenizers::Result<()> {
    let known = tokenizer.get_added_vocabulary().get_vocab();
    let tokens = special.to_add(by_id, |content| known.contains_key(content));
    tokenizer.add_tokens(tokens)?;
    if let TokenizerClass::Rebuilt(class) = class {
        rebuilt::finish(class, tokenizer, special)?;
    }
    Ok(())
}

/// Refuses two added tokens that are one text after the normalizer: the tokenizers library then takes either, by chance, and
/// the other one in the next process.
fn refuse_equal_tokens(tokenizer: &Tokenizer, path: &Path) -> Result<(), TokenizeError> {
    let Some(normalizer) = tokenizer.get_normalizer() else { return Ok(()) };
    let tokens: BTreeMap<u32, AddedToken> = tokenizer.get_added_tokens_decoder().into_iter().collect();
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for token in tokens.into_values().filter(|token| token.normalized) {
        let mut text = NormalizedString::from(token.content.as_str());
        normalizer.normalize(&mut text).map_err(|source| TokenizeError::Tokenizer { path: path.to_owned(), source })?;
        if let Some(other) = seen.insert(text.get().to_owned(), token.content.clone()) {
            return Err(TokenizeError::EqualTokens { path: path.to_owned(), tokens: [other, token.content] });
        }
    }
    Ok(())
}

/// A named token that the tokenizer did not have: whether the model has a row for its id is not the tokenizer's to know.
fn appended(tokenizer: &Tokenizer, special: &SpecialTokens, name: &str) -> Option<String> {
    let text = special.find(name)?.content();
    let id = tokenizer.token_to_id(text)?;
    Some(format!(
        "`{name}` is `{text}`, which `tokenizer.json` does not have: as in transformers it is added, with id {id}"
    ))
}

/// Added tokens of `tokenizer.json` that a class which builds its own tokenizer does not take over.
fn unmatched(tokenizer: &Tokenizer, saved: &[(u32, AddedToken)]) -> Option<String> {
    let known = tokenizer.get_added_vocabulary().get_vocab();
    let mut unmatched = saved.iter().map(|(_, token)| token.content.as_str()).filter(|text| !known.contains_key(*text));
    let first = unmatched.next()?;
    let n = 1 + unmatched.count();
    Some(format!(
        "{n} added tokens of `tokenizer.json` are no tokens here, `{first}` the first of them: as in transformers, the \
         `added_tokens_decoder` of `tokenizer_config.json` replaces them"
    ))
}

/// An end token that generation does not stop at, by the ids of `config.json` and `generation_config.json`.
fn other_end(special_tokens: &Map<String, Json>, tokenizer: &Tokenizer, files: &[&Settings]) -> Option<String> {
    let text = special_tokens.get("eos_token")?.as_str()?;
    let id = u64::from(tokenizer.token_to_id(text)?);
    let ids = files.iter().filter_map(|file| file.get("eos_token_id")).flat_map(|ids| match ids {
        Json::Array(ids) => ids.iter().filter_map(Json::as_u64).collect(),
        id => id.as_u64().into_iter().collect::<Vec<_>>(),
    });
    let ids: BTreeSet<u64> = ids.collect();
    if ids.is_empty() || ids.contains(&id) {
        return None;
    }
    let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
    Some(format!(
        "a plain answer is ended with `{text}` (id {id}), as in TRL; `eos_token_id` of `config.json` or \
         `generation_config.json` is {}: who generates by it does not stop there",
        ids.join(", ")
    ))
}

/// Tokens that a file gives another id than the vocabulary.
fn misplaced<'a>(tokenizer: &Tokenizer, listed: impl Iterator<Item = (u32, &'a str)>) -> Option<String> {
    let mut misplaced = listed.filter_map(|(id, content)| {
        let found = tokenizer.token_to_id(content).filter(|found| *found != id)?;
        Some(format!("`{content}` is listed as {id} and has id {found}"))
    });
    let first = misplaced.next()?;
    let others = match misplaced.count() {
        0 => String::new(),
        n => format!(", and {n} more like it"),
    };
    Some(format!("added tokens: {first}{others}: as in transformers, the vocabulary counts"))
}

/// What stands around a text where not the post-processor of `tokenizer.json` says so: `explicit` are the flags of
/// `special_tokens_map.json`, the one file whose flags transformers does not forget.
fn frame(class: TokenizerClass, explicit: [Option<bool>; 2]) -> Option<Frame> {
    let [begin, end] = explicit;
    match class {
        TokenizerClass::Rebuilt(Rebuilt::CodeLlama) => {
            Some(Frame { begin: begin.unwrap_or(true), end: end.unwrap_or(false) })
        }
        _ if explicit != [None; 2] || class == TokenizerClass::Rebuilt(Rebuilt::GptNeoX) => {
            Some(Frame { begin: begin.unwrap_or(false), end: end.unwrap_or(false) })
        }
        _ => None,
    }
}

/// `add_bos_token` and `add_eos_token` of `tokenizer_config.json` that say other than the tokenizer does.
fn forgotten_flags(
    config: &Settings,
    tokenizer: &Tokenizer,
    special_tokens: &Map<String, Json>,
) -> Result<Vec<String>, TokenizeError> {
    let mut notes = Vec::new();
    let Ok(empty) = tokenizer.encode_fast("", true) else { return Ok(notes) };
    for name in ENDS {
        let key = &format!("add_{name}");
        let Some(flag) = config.flag(key)? else { continue };
        let id = special_tokens.get(name).and_then(Json::as_str).and_then(|text| tokenizer.token_to_id(text));
        let is_added = id.is_some_and(|id| empty.get_ids().contains(&id));
        if flag != is_added {
            let (does, not) = if is_added { ("", "") } else { ("no ", " not") };
            notes.push(format!(
                "`{key}` is {flag} in `tokenizer_config.json`, and `tokenizer.json` adds {does}`{name}`: as in transformers \
                 5, it is{not} added"
            ));
        }
    }
    Ok(notes)
}

/// Tokens that a template prints, that the tokenizer does not name, and that `config.json` has an id of.
fn unnamed(
    special_tokens: &Map<String, Json>,
    templates: &NamedTemplates,
    model_config: &Settings,
    tokenizer: &Tokenizer,
) -> Vec<String> {
    let unnamed = ENDS.into_iter().filter_map(|name| {
        let id = model_config.get(&format!("{name}_id")).and_then(Json::as_u64)?;
        let token = u32::try_from(id).ok().and_then(|id| tokenizer.id_to_token(id))?;
        (!special_tokens.contains_key(name) && templates.mentions(name)).then(|| {
            format!(
                "the chat template prints `{name}`, and the tokenizer names none: as in transformers nothing is printed, \
                 whatever id {id} (`{token}`) in `config.json` says"
            )
        })
    });
    unnamed.collect()
}

/// The repair of Mistral's pattern that a folder asks for with `fix_mistral_regex` (`_patch_mistral_regex`): only of large
/// vocabularies saved by transformers before 5.
fn fix_mistral_regex(tokenizer: &mut Tokenizer, model_config: &Settings, path: &Path) -> Result<(), TokenizeError> {
    const VOCABULARY: usize = 100_000;
    const FAMILIES: [&str; 5] = ["mistral", "mistral3", "voxtral", "ministral", "pixtral"];
    let version = model_config.get("transformers_version").and_then(Json::as_str);
    let is_old = version.is_none_or(|version| {
        version.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_none_or(|major| major < 5)
    });
    let family = model_config.get("model_type").and_then(Json::as_str);
    let is_theirs = family.is_none_or(|family| FAMILIES.contains(&family));
    let Some(current) = tokenizer.get_pre_tokenizer() else { return Ok(()) };
    if model_config.values.is_empty() || !is_old || !is_theirs || tokenizer.get_vocab_size(true) <= VOCABULARY {
        return Ok(());
    }
    let wrap = |source: serde_json::Error| TokenizeError::Tokenizer { path: path.to_owned(), source: source.into() };
    let split = json!({"type": "Split", "pattern": {"Regex": TEKKEN}, "behavior": "Isolated", "invert": false});
    let mut steps = serde_json::to_value(current).map_err(wrap)?;
    if let Some(steps) = steps.get_mut("pretokenizers").and_then(Json::as_array_mut).filter(|steps| !steps.is_empty()) {
        steps[0] = split;
    } else {
        if steps.get("type").and_then(Json::as_str) == Some("Metaspace") {
            steps = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
        }
        steps = json!({"type": "Sequence", "pretokenizers": [split, steps]});
    }
    let steps: PreTokenizerWrapper = serde_json::from_value(steps).map_err(wrap)?;
    tokenizer.with_pre_tokenizer(Some(steps));
    Ok(())
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
