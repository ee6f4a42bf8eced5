//! The special tokens of a folder, from the five places that name some, in the order in which transformers 5 believes them.
//!
//! `PreTrainedTokenizerBase._from_pretrained` (transformers 5.24): `tokenizer_config.json` comes first. Where it lists
//! `added_tokens_decoder`, neither `special_tokens_map.json` nor `added_tokens.json` is read; where it does not, every
//! key of `special_tokens_map.json` replaces the configuration's, null included. Ids in `config.json` and
//! `generation_config.json` name no token.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value as Json};
use tokenizers::{AddedToken, Tokenizer};

use super::super::error::TokenizeError;
use super::class::{Rebuilt, TokenizerClass};
use super::settings::Settings;

/// `SPECIAL_TOKENS_ATTRIBUTES`, in its order.
pub(in crate::tokenize) const NAMES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// What `CodeLlamaTokenizer` names beside them.
const CODE_LLAMA: [(&str, &str); 5] = [
    ("prefix_token", "▁<PRE>"),
    ("middle_token", "▁<MID>"),
    ("suffix_token", "▁<SUF>"),
    ("eot_token", "▁<EOT>"),
    ("fill_token", "<FILL_ME>"),
];

/// A token as a file writes it: its text, or all that is known of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Text(String),
    Added(AddedToken),
}

impl Token {
    pub(super) fn content(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Added(token) => &token.content,
        }
    }
}

/// The files that say something about special tokens.
pub(super) struct Sources<'a> {
    /// `tokenizer_config.json`.
    pub(super) config: &'a Settings,
    /// `special_tokens_map.json`.
    pub(super) map: &'a Settings,
    /// `added_tokens.json`.
    pub(super) added: &'a Settings,
    /// `added_tokens` of `tokenizer.json`.
    pub(super) saved: &'a [(u32, AddedToken)],
}

/// All that the files say, merged.
#[derive(Debug)]
pub(super) struct Declared {
    /// `tokenizer_config.json` with what other files replace of it.
    pub(super) settings: Settings,
    /// Tokens by their ids.
    pub(super) by_id: BTreeMap<u32, AddedToken>,
    /// Those of [`NAMES`] that a file has a word about; `None` is null.
    standard: BTreeMap<&'static str, Option<Token>>,
    /// Other keys called `…_token`: of `special_tokens_map.json`, then of the configuration.
    of_model: Vec<(String, Token)>,
    extra: Option<Vec<Token>>,
    /// `additional_special_tokens`, where `extra_special_tokens` did not take their place.
    additional: Option<Vec<Token>>,
    pub(super) notes: Vec<String>,
}

/// The tokens of a class: those with names, and those without.
#[derive(Debug)]
pub(super) struct SpecialTokens {
    pub(super) named: Vec<(String, Token)>,
    pub(super) extra: Vec<Token>,
}

impl Declared {
    /// # Errors
    /// If a file says something of another type than transformers takes.
    pub(super) fn read(sources: &Sources<'_>) -> Result<Self, TokenizeError> {
        let config = sources.config;
        let mut settings = config.clone();
        // `tokenizer.json` has its post-processor, and the flags are forgotten.
        for key in ["tokenizer_class", "add_bos_token", "add_eos_token"] {
            settings.values.shift_remove(key);
        }
        let is_empty = |value: Option<&Json>| match value {
            None | Some(Json::Null) => true,
            Some(Json::Array(values)) => values.is_empty(),
            Some(Json::Object(values)) => values.is_empty(),
            Some(_) => false,
        };
        if is_empty(settings.get("extra_special_tokens"))
            && let Some(additional) = settings.values.shift_remove("additional_special_tokens")
        {
            settings.values.insert("extra_special_tokens".into(), additional);
        }
        let mut of_config = Map::new();
        settings.values.retain(|key, value| {
            let is_named = is_name_of_model(key) && value.is_string();
            if is_named {
                of_config.insert(key.clone(), value.take());
            }
            !is_named
        });
        if let Some(given) = settings.values.shift_remove("model_specific_special_tokens")
            && of_config.is_empty()
        {
            of_config = object(config, "model_specific_special_tokens", given)?;
        }
        take_named_extra(&mut settings, &mut of_config);

        let mut notes = Vec::new();
        let mut by_id = BTreeMap::new();
        let mut by_content = HashMap::new();
        let mut add = |id: u32, token: &AddedToken| {
            by_id.insert(id, token.clone());
            by_content.insert(token.content.clone(), token.clone());
        };
        if let Some(listed) = config.get("added_tokens_decoder") {
            let listed = object(config, "added_tokens_decoder", listed.clone())?;
            for (id, token) in &listed {
                let key = format!("added_tokens_decoder.{id}");
                let number = id.trim().parse().map_err(|_| config.wrong(&key, "an id as its key", token))?;
                add(number, &config.added_token(&key, token, None)?);
            }
        } else {
            merge_map(&mut settings, sources.map)?;
            take_named_extra(&mut settings, &mut of_config);
            let special = contents_of_special(&settings);
            for (content, id) in &sources.added.values {
                let number = id.as_u64().and_then(|id| u32::try_from(id).ok());
                let number = number.ok_or_else(|| sources.added.wrong(content, "an id", id))?;
                add(number, &AddedToken::from(content, special.contains(content)));
            }
            for (id, token) in sources.saved {
                add(*id, token);
            }
        }
        notes.extend(contradictions(sources));

        let mut standard = BTreeMap::new();
        for name in NAMES {
            if let Some(value) = settings.values.shift_remove(name) {
                let token = match value {
                    Json::Null => None,
                    value => Some(token(&settings, name, &value)?),
                };
                let known = token.as_ref().and_then(|token| by_content.get(token.content()));
                standard.insert(name, known.cloned().map(Token::Added).or(token));
            }
        }
        let mut of_model = Vec::new();
        let keys: Vec<String> = settings.values.keys().filter(|key| is_name_of_model(key)).cloned().collect();
        for key in keys {
            let value = &settings.values[&key];
            if value.is_string() || is_typed(value) {
                of_model.push((key.clone(), token(&settings, &key, value)?));
            }
        }
        for (key, value) in &of_config {
            of_model.push((key.clone(), token(config, key, value)?));
        }
        let extra = tokens(&settings, "extra_special_tokens")?;
        let additional = tokens(&settings, "additional_special_tokens")?;
        Ok(Self { settings, by_id, standard, of_model, extra, additional, notes })
    }

    /// The tokens a class ends up with; `padding` is the pad token of `tokenizer.json`'s own padding.
    pub(super) fn of_class(&self, class: TokenizerClass, padding: Option<&str>) -> SpecialTokens {
        let defaults = match class {
            TokenizerClass::AsSaved => &[][..],
            TokenizerClass::Rebuilt(class) => defaults(class),
        };
        let mut named: Vec<(String, Option<Token>)> = Vec::new();
        for name in NAMES {
            let default = defaults.iter().find(|(known, _)| *known == name);
            let token = match (self.standard.get(name), default) {
                (Some(token), _) => token.clone(),
                (None, Some((_, default))) => default.map(|text| Token::Text(text.to_owned())),
                // What a class passes on itself, padding does not replace.
                (None, None) if name == "pad_token" => padding.map(|text| Token::Text(text.to_owned())),
                (None, None) => None,
            };
            named.push((name.to_owned(), token));
        }
        let is_code_llama = class == TokenizerClass::Rebuilt(Rebuilt::CodeLlama);
        let code_llama = CODE_LLAMA.into_iter().filter(|_| is_code_llama);
        let code_llama: Vec<(String, Token)> =
            code_llama.map(|(name, text)| (name.to_owned(), Token::Text(text.to_owned()))).collect();
        let mut extra = self.extra.clone().or_else(|| self.additional.clone()).unwrap_or_default();
        if self.extra.is_none() {
            extra.extend(code_llama.iter().map(|(_, token)| token.clone()));
        }
        for (name, token) in code_llama.iter().chain(&self.of_model) {
            match named.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known = Some(token.clone()),
                None => named.push((name.clone(), Some(token.clone()))),
            }
        }
        let named = named.into_iter().filter_map(|(name, token)| Some((name, token?))).collect();
        SpecialTokens { named, extra }
    }
}

impl SpecialTokens {
    pub(super) fn find(&self, name: &str) -> Option<&Token> {
        self.named.iter().find(|(known, _)| known == name).map(|(_, token)| token)
    }

    /// Whether a named token is one that neither a list of ids nor the tokenizer has yet.
    pub(super) fn is_unheard(&self, name: &str, by_id: &BTreeMap<u32, AddedToken>, tokenizer: &Tokenizer) -> bool {
        self.find(name).is_some_and(|token| {
            let text = token.content();
            tokenizer.token_to_id(text).is_none() && !by_id.values().any(|token| token.content == text)
        })
    }

    /// All of them, each text once (`all_special_tokens`).
    pub(super) fn all(&self) -> Vec<&str> {
        let mut all: Vec<&str> = Vec::new();
        for token in self.named.iter().map(|(_, token)| token).chain(&self.extra) {
            if !all.contains(&token.content()) {
                all.push(token.content());
            }
        }
        all
    }

    /// What a template sees: names and texts.
    pub(super) fn texts(&self) -> Map<String, Json> {
        self.named.iter().map(|(name, token)| (name.clone(), token.content().into())).collect()
    }

    /// What is to be matched in a text as a whole, in the order in which transformers adds it: first what is known by its
    /// id, then what the tokenizer does not have yet.
    pub(super) fn to_add(&self, by_id: &BTreeMap<u32, AddedToken>, is_added: impl Fn(&str) -> bool) -> Vec<AddedToken> {
        let is_known = |content: &str| is_added(content) || by_id.values().any(|token| token.content == content);
        let mut tokens: Vec<Token> = by_id.values().cloned().map(Token::Added).collect();
        for token in self.named.iter().map(|(_, token)| token).chain(&self.extra) {
            if !is_known(token.content()) && !tokens.contains(token) {
                tokens.push(token.clone());
            }
        }
        let is_named = |content: &str| self.named.iter().any(|(_, token)| token.content() == content);
        let added = tokens.into_iter().map(|token| match token {
            Token::Text(text) => AddedToken::from(text, true),
            Token::Added(token) => {
                let special = token.special || is_named(&token.content);
                token.special(special)
            }
        });
        added.collect()
    }
}

/// What a class names where no file does: the defaults of its `__init__`.
fn defaults(class: Rebuilt) -> &'static [(&'static str, Option<&'static str>)] {
    const END: Option<&str> = Some("<|endoftext|>");
    match class {
        Rebuilt::Llama | Rebuilt::CodeLlama => {
            &[("unk_token", Some("<unk>")), ("bos_token", Some("<s>")), ("eos_token", Some("</s>"))]
        }
        Rebuilt::Gpt2 => &[("unk_token", END), ("bos_token", END), ("eos_token", END), ("pad_token", None)],
        Rebuilt::Qwen2 | Rebuilt::Qwen35 => {
            &[("unk_token", END), ("bos_token", None), ("eos_token", END), ("pad_token", END)]
        }
        Rebuilt::Gemma => &[
            ("unk_token", Some("<unk>")),
            ("bos_token", Some("<bos>")),
            ("eos_token", Some("<eos>")),
            ("pad_token", Some("<pad>")),
            ("mask_token", Some("<mask>")),
        ],
        Rebuilt::GptNeoX => {
            &[("unk_token", END), ("bos_token", END), ("eos_token", END), ("pad_token", Some("<|padding|>"))]
        }
        Rebuilt::Cohere => &[
            ("unk_token", Some("<UNK>")),
            ("bos_token", Some("<BOS_TOKEN>")),
            ("eos_token", Some("<|END_OF_TURN_TOKEN|>")),
            ("pad_token", Some("<PAD>")),
            ("cls_token", Some("<CLS>")),
            ("sep_token", Some("<SEP>")),
            ("mask_token", Some("<MASK_TOKEN>")),
        ],
    }
}

/// A name that a model gives to a token of its own, such as `image_token`.
fn is_name_of_model(key: &str) -> bool {
    key.ends_with("_token") && !NAMES.contains(&key)
}

fn is_typed(value: &Json) -> bool {
    value.get("__type").and_then(Json::as_str) == Some("AddedToken")
}

fn object(file: &Settings, key: &str, value: Json) -> Result<Map<String, Json>, TokenizeError> {
    match value {
        Json::Object(values) => Ok(values),
        found => Err(file.wrong(key, "an object", &found)),
    }
}

/// `extra_special_tokens` that have names of their own.
fn take_named_extra(settings: &mut Settings, of_config: &mut Map<String, Json>) {
    if settings.get("extra_special_tokens").is_some_and(Json::is_object)
        && let Some(Json::Object(named)) = settings.values.shift_remove("extra_special_tokens")
    {
        of_config.extend(named);
    }
}

/// Every key of `special_tokens_map.json` over the configuration's.
fn merge_map(settings: &mut Settings, map: &Settings) -> Result<(), TokenizeError> {
    for (key, value) in &map.values {
        let value = match value {
            Json::Object(_) if key != "extra_special_tokens" => typed(&map.added_token(key, value, Some(true))?),
            Json::Array(tokens) if key == "extra_special_tokens" => {
                let mut all: Vec<Json> = settings.get(key).and_then(Json::as_array).cloned().unwrap_or_default();
                for token in tokens {
                    let token = if token.is_object() {
                        typed(&map.added_token(key, token, Some(true))?)
                    } else {
                        token.clone()
                    };
                    if !all.contains(&token) {
                        all.push(token);
                    }
                }
                Json::Array(all)
            }
            value => value.clone(),
        };
        settings.values.insert(key.clone(), value);
    }
    Ok(())
}

fn typed(token: &AddedToken) -> Json {
    let AddedToken { content, single_word, lstrip, rstrip, normalized, special } = token;
    serde_json::json!({
        "__type": "AddedToken", "content": content, "single_word": single_word, "lstrip": lstrip, "rstrip": rstrip,
        "normalized": normalized, "special": special,
    })
}

/// Texts that make an entry of `added_tokens.json` a special token.
fn contents_of_special(settings: &Settings) -> Vec<String> {
    let named = NAMES.iter().filter_map(|name| settings.get(name));
    let extra = settings.get("extra_special_tokens").and_then(Json::as_array).into_iter().flatten();
    named.chain(extra).filter_map(text).map(str::to_owned).collect()
}

/// The text of a token written as text or as an object.
fn text(value: &Json) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

/// One token; transformers takes an object only with a `__type`, and there is but one thing that one without can mean.
fn token(file: &Settings, key: &str, value: &Json) -> Result<Token, TokenizeError> {
    match value {
        Json::String(text) => Ok(Token::Text(text.clone())),
        Json::Object(_) => {
            let is_special = (!is_typed(value) && value.get("special").is_none()).then_some(true);
            Ok(Token::Added(file.added_token(key, value, is_special)?))
        }
        found => Err(file.wrong(key, "a token: its text, or an object with `content`", found)),
    }
}

fn tokens(file: &Settings, key: &str) -> Result<Option<Vec<Token>>, TokenizeError> {
    match file.get(key) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Array(values)) => {
            values.iter().map(|value| token(file, key, value)).collect::<Result<_, _>>().map(Some)
        }
        Some(found) => Err(file.wrong(key, "a list of tokens", found)),
    }
}

/// Names that two files give to different tokens, and which of the two counts.
fn contradictions(sources: &Sources<'_>) -> Vec<String> {
    let Sources { config, map, .. } = sources;
    let is_map_read = config.get("added_tokens_decoder").is_none();
    let mut notes = Vec::new();
    for name in NAMES {
        let Some(of_map) = map.get(name) else { continue };
        let of_config = config.get(name);
        let (of_map, of_config) = (text(of_map), of_config.and_then(text));
        if of_map == of_config || (is_map_read && of_config.is_none()) {
            continue;
        }
        let shown = |token: Option<&str>| token.map_or_else(|| "no token".to_owned(), |token| format!("`{token}`"));
        let counts = if is_map_read { map } else { config };
        notes.push(format!(
            "`{name}` is {} in `{}` and {} in `{}`: as in transformers, `{}` counts",
            shown(of_config),
            config.name(),
            shown(of_map),
            map.name(),
            counts.name(),
        ));
    }
    notes
}
