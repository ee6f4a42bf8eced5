//! The tokenizer of a GGUF file, built from its metadata.
//!
//! Every key under `tokenizer.` is read, known to change no id, or an error that names it. A SentencePiece vocabulary puts
//! its space before the first word of a text only, as `LlamaTokenizer` of transformers 5 does for such a file; nothing in
//! the file tells whether its model was trained so or, as llama.cpp takes it, with a space after every special token.

use std::collections::HashMap;
use std::path::Path;

use candle_core::quantized::gguf_file::Value;
use serde_json::{Map, Value as Json};
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{NFC, Replace};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::{AddedToken, Tokenizer};

use super::error::TokenizeError;
use super::gguf_split::{self, TextSplit};
use super::named_templates::{DEFAULT, NamedTemplates, is_file_name};
use super::tokenizer_files::{Frame, TokenizerFiles, set_frame};
use crate::model_source::Gguf;

/// Metadata keys of the tokens a model names, under the names transformers gives them.
const NAMED: [(&str, &str); 7] = [
    ("bos_token", "tokenizer.ggml.bos_token_id"),
    ("eos_token", "tokenizer.ggml.eos_token_id"),
    ("unk_token", "tokenizer.ggml.unknown_token_id"),
    ("sep_token", "tokenizer.ggml.seperator_token_id"),
    ("pad_token", "tokenizer.ggml.padding_token_id"),
    ("cls_token", "tokenizer.ggml.cls_token_id"),
    ("mask_token", "tokenizer.ggml.mask_token_id"),
];

/// Further tokens that a model stops at; llama.cpp matches them in a text whatever type they have.
const STOPS: [&str; 2] = ["tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];

/// Keys that are read elsewhere here.
const READ: [&str; 12] = [
    "tokenizer.ggml.model",
    "tokenizer.ggml.pre",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.scores",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.merges",
    "tokenizer.ggml.add_bos_token",
    "tokenizer.ggml.add_eos_token",
    "tokenizer.ggml.add_space_prefix",
    "tokenizer.chat_template",
    "tokenizer.chat_templates",
    // The whole `tokenizer.json`: nobody who reads GGUF files reads it, and it is said where there is one.
    "tokenizer.huggingface.json",
];

/// Keys of tasks that are not a decoder's own, and that change no id.
const UNUSED: [&str; 10] = [
    "tokenizer.ggml.token_type_count",
    "tokenizer.ggml.fim_pre_token_id",
    "tokenizer.ggml.fim_suf_token_id",
    "tokenizer.ggml.fim_mid_token_id",
    "tokenizer.ggml.fim_pad_token_id",
    "tokenizer.ggml.fim_rep_token_id",
    "tokenizer.ggml.fim_sep_token_id",
    "tokenizer.ggml.prefix_token_id",
    "tokenizer.ggml.suffix_token_id",
    "tokenizer.ggml.middle_token_id",
];

/// Flags that may be there as long as they are off.
const OFF: [&str; 2] = ["tokenizer.ggml.add_sep_token", "tokenizer.ggml.remove_extra_whitespaces"];

/// Before the name of a chat template.
const TEMPLATE: &str = "tokenizer.chat_template.";

/// Bytes of a SentencePiece piece whose merges have to be found; real ones have some dozen.
const MAX_PIECE: usize = 1024;

/// SentencePiece writes a space as this.
const SPACE: char = '▁';

/// Builds the tokenizer that the metadata describe.
pub(super) fn load(path: &Path) -> Result<TokenizerFiles, TokenizeError> {
    let gguf = Gguf::open(path)?;
    from_metadata(path, &gguf.content.metadata)
}

fn from_metadata(path: &Path, values: &HashMap<String, Value>) -> Result<TokenizerFiles, TokenizeError> {
    let metadata = Metadata { path, values };
    let tokens = metadata.texts("tokenizer.ggml.tokens")?;
    let (mut tokenizer, begins) = match metadata.text("tokenizer.ggml.model")? {
        "gpt2" => byte_level(&metadata, &tokens)?,
        "llama" => (sentence_piece(&metadata, &tokens)?, true),
        found => {
            return Err(TokenizeError::UnknownTokenizer {
                path: path.to_owned(),
                key: "tokenizer.ggml.model",
                found: found.to_owned(),
                known: vec!["gpt2", "llama"],
            });
        }
    };
    metadata.check_keys()?;
    add_special_tokens(&mut tokenizer, &metadata, &tokens)?;

    let mut special_tokens = Map::new();
    for (name, key) in NAMED {
        if let Some(id) = metadata.token_id(key, tokens.len())? {
            special_tokens.insert(name.to_owned(), Json::from(tokens[id]));
        }
    }
    let frame = Frame {
        begin: metadata.flag("tokenizer.ggml.add_bos_token")?.unwrap_or(begins),
        end: metadata.flag("tokenizer.ggml.add_eos_token")?.unwrap_or(false),
    };
    for (is_added, name) in [(frame.begin, "bos_token"), (frame.end, "eos_token")] {
        if is_added && !special_tokens.contains_key(name) {
            // llama.cpp has an id of its own for it, and transformers leaves the token out.
            let key = format!("tokenizer.ggml.{name}_id");
            return Err(metadata.expected(&key, "an id, since the vocabulary puts this token around a text"));
        }
    }
    set_frame(&mut tokenizer, &special_tokens, frame, path)?;
    let notes = metadata.notes();
    let mut files = TokenizerFiles::new(path, tokenizer, special_tokens, metadata.templates()?)?;
    files.notes = notes;
    Ok(files)
}

/// Byte-level BPE, and whether it begins a text where the file does not say.
fn byte_level(metadata: &Metadata<'_>, tokens: &[&str]) -> Result<(Tokenizer, bool), TokenizeError> {
    let wrap = |source| TokenizeError::Vocabulary { path: metadata.path.to_owned(), source };
    let pre = metadata.text("tokenizer.ggml.pre")?;
    let Some(TextSplit { pattern, composes, ignores_merges, begins }) = gguf_split::find(pre) else {
        return Err(TokenizeError::UnknownTokenizer {
            path: metadata.path.to_owned(),
            key: "tokenizer.ggml.pre",
            found: pre.to_owned(),
            known: gguf_split::known(),
        });
    };
    let merges = metadata.merges()?.ok_or_else(|| metadata.expected("tokenizer.ggml.merges", "an array of texts"))?;
    let model = BPE::builder().vocab_and_merges(vocabulary(tokens), merges).ignore_merges(ignores_merges);
    let mut tokenizer = Tokenizer::new(model.build().map_err(wrap)?);
    if composes {
        tokenizer.with_normalizer(Some(NFC)).map_err(wrap)?;
    }
    tokenizer.with_pre_tokenizer(Some(pattern.pre_tokenizer().map_err(wrap)?));
    tokenizer.with_decoder(Some(ByteLevel::new(true, true, true)));
    Ok((tokenizer, begins))
}

/// SentencePiece BPE as transformers builds it for Llama 2: pieces with ▁ for a space, bytes as a last resort.
fn sentence_piece(metadata: &Metadata<'_>, tokens: &[&str]) -> Result<Tokenizer, TokenizeError> {
    let wrap = |source| TokenizeError::Vocabulary { path: metadata.path.to_owned(), source };
    let vocabulary = vocabulary(tokens);
    let merges = match metadata.merges()? {
        Some(merges) => merges,
        // A piece is cut everywhere, so its cuts are as many as its bytes, and each of them has as many.
        None if tokens.iter().any(|token| token.len() > MAX_PIECE) => {
            return Err(metadata.expected("tokenizer.ggml.tokens", "pieces of at most 1024 bytes"));
        }
        None => merges_by_score(tokens, &metadata.scores(tokens.len())?),
    };
    let mut model = BPE::builder().vocab_and_merges(vocabulary, merges).fuse_unk(true).byte_fallback(true);
    if let Some(unknown) = metadata.token_id("tokenizer.ggml.unknown_token_id", tokens.len())? {
        model = model.unk_token(tokens[unknown].to_owned());
    }
    let mut tokenizer = Tokenizer::new(model.build().map_err(wrap)?);
    let begins_with_space = metadata.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let scheme = if begins_with_space { PrependScheme::First } else { PrependScheme::Never };
    tokenizer.with_pre_tokenizer(Some(Metaspace::new(SPACE, scheme, false)));
    let mut decoders = vec![
        Replace::new(SPACE.to_string(), " ").map_err(wrap)?.into(),
        ByteFallback::new().into(),
        Fuse::new().into(),
    ];
    if begins_with_space {
        decoders.push(Strip::new(' ', 1, 0).into());
    }
    tokenizer.with_decoder(Some(Decoders::new(decoders)));
    Ok(tokenizer)
}

/// The merges a vocabulary with scores implies: every way to cut a piece into two others, best piece first.
fn merges_by_score(tokens: &[&str], scores: &[f32]) -> Vec<(String, String)> {
    let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(id, token)| (*token, id)).collect();
    let mut merges = Vec::new();
    for (token, score) in tokens.iter().zip(scores) {
        let cuts = token.char_indices().skip(1).map(|(middle, _)| token.split_at(middle));
        let mut cuts: Vec<_> = cuts.filter_map(|(l, r)| Some(((*ids.get(l)?, *ids.get(r)?), l, r))).collect();
        cuts.sort_unstable();
        merges.extend(cuts.into_iter().map(|(_, left, right)| (score, left, right)));
    }
    let length = |piece: &str| piece.chars().count();
    merges.sort_by(|a, b| b.0.total_cmp(a.0).then(length(b.1).cmp(&length(a.1))).then(length(b.2).cmp(&length(a.2))));
    merges.into_iter().map(|(_, left, right)| (left.to_owned(), right.to_owned())).collect()
}

fn vocabulary(tokens: &[&str]) -> Vocab {
    (0..).zip(tokens).map(|(id, token)| ((*token).to_owned(), id)).collect()
}

/// Tokens that are matched in a text as a whole: control, unknown and user-defined ones, as in llama.cpp.
fn add_special_tokens(
    tokenizer: &mut Tokenizer,
    metadata: &Metadata<'_>,
    tokens: &[&str],
) -> Result<(), TokenizeError> {
    const UNKNOWN: usize = 2;
    const CONTROL: usize = 3;
    const USER_DEFINED: usize = 4;
    let kinds = metadata.kinds(tokens.len())?;
    let matched = tokens.iter().zip(kinds).filter_map(|(token, kind)| match kind {
        UNKNOWN | CONTROL => Some(AddedToken::from(*token, true)),
        USER_DEFINED => Some(AddedToken::from(*token, false).normalized(false)),
        _ => None,
    });
    let mut named = Vec::new();
    for key in NAMED.iter().map(|(_, key)| *key).chain(STOPS) {
        named.extend(metadata.token_id(key, tokens.len())?.map(|id| AddedToken::from(tokens[id], true)));
    }
    let all = matched.chain(named).filter(|token| !token.content.is_empty());
    let added = tokenizer.add_tokens(all);
    added.map_err(|source| TokenizeError::Vocabulary { path: metadata.path.to_owned(), source })?;
    Ok(())
}

struct Metadata<'a> {
    path: &'a Path,
    values: &'a HashMap<String, Value>,
}

impl<'a> Metadata<'a> {
    fn expected(&self, key: &str, expected: &'static str) -> TokenizeError {
        TokenizeError::Metadata { path: self.path.to_owned(), key: key.to_owned(), expected }
    }

    fn text(&self, key: &str) -> Result<&'a str, TokenizeError> {
        match self.values.get(key) {
            Some(Value::String(text)) => Ok(text),
            _ => Err(self.expected(key, "a text")),
        }
    }

    fn texts(&self, key: &str) -> Result<Vec<&'a str>, TokenizeError> {
        let texts = self.values.get(key).and_then(|value| value.to_vec().ok());
        let texts =
            texts.and_then(|texts| texts.iter().map(|text| text.to_string().ok().map(String::as_str)).collect());
        texts.ok_or_else(|| self.expected(key, "an array of texts"))
    }

    fn merges(&self) -> Result<Option<Vec<(String, String)>>, TokenizeError> {
        const KEY: &str = "tokenizer.ggml.merges";
        if !self.values.contains_key(KEY) {
            return Ok(None);
        }
        let merges = self.texts(KEY)?.into_iter().map(|merge| {
            let (left, right) = merge.split_once(' ')?;
            Some((left.to_owned(), right.to_owned()))
        });
        merges
            .collect::<Option<_>>()
            .map(Some)
            .ok_or_else(|| self.expected(KEY, "two pieces with a space between them"))
    }

    fn scores(&self, n_tokens: usize) -> Result<Vec<f32>, TokenizeError> {
        const KEY: &str = "tokenizer.ggml.scores";
        let scores = self.values.get(KEY).and_then(|value| value.to_vec().ok());
        let scores: Option<Vec<f32>> =
            scores.and_then(|scores| scores.iter().map(|score| score.to_f32().ok()).collect());
        scores.filter(|scores| scores.len() == n_tokens).ok_or_else(|| self.expected(KEY, "a score for every token"))
    }

    /// Types of the tokens; none where the file has none.
    fn kinds(&self, n_tokens: usize) -> Result<Vec<usize>, TokenizeError> {
        const KEY: &str = "tokenizer.ggml.token_type";
        let Some(kinds) = self.values.get(KEY) else { return Ok(Vec::new()) };
        let kinds: Option<Vec<usize>> = kinds.to_vec().ok().and_then(|kinds| kinds.iter().map(number).collect());
        kinds.filter(|kinds| kinds.len() == n_tokens).ok_or_else(|| self.expected(KEY, "a type for every token"))
    }

    /// The id under a key, of a token there is; all bits set, it is none.
    fn token_id(&self, key: &str, n_tokens: usize) -> Result<Option<usize>, TokenizeError> {
        match self.values.get(key) {
            None | Some(Value::U32(u32::MAX) | Value::I32(-1)) => Ok(None),
            Some(value) => {
                let id = number(value).filter(|id| *id < n_tokens);
                id.map(Some).ok_or_else(|| self.expected(key, "the id of a token of the vocabulary"))
            }
        }
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, TokenizeError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.expected(key, "true or false")),
        }
    }

    /// # Errors
    /// For a key that says something about ids and is not honoured.
    fn check_keys(&self) -> Result<(), TokenizeError> {
        let mut keys: Vec<&String> = self.values.keys().filter(|key| key.starts_with("tokenizer.")).collect();
        keys.sort_unstable();
        for key in keys {
            let key = key.as_str();
            let is_named = NAMED.iter().any(|(_, named)| *named == key) || STOPS.contains(&key);
            if is_named || READ.contains(&key) || UNUSED.contains(&key) || key.starts_with(TEMPLATE) {
                continue;
            }
            if OFF.contains(&key) && self.flag(key)? == Some(false) {
                continue;
            }
            let reason = "what it does to ids is not known";
            return Err(TokenizeError::NotHonoured { path: self.path.to_owned(), key: key.to_owned(), reason });
        }
        Ok(())
    }

    /// The chat templates: that of all conversations, and those with names.
    fn templates(&self) -> Result<NamedTemplates, TokenizeError> {
        let mut templates = NamedTemplates::default();
        if self.values.contains_key("tokenizer.chat_template") {
            templates.insert(DEFAULT, self.text("tokenizer.chat_template")?);
        }
        let mut named: Vec<&String> = self.values.keys().filter(|key| key.starts_with(TEMPLATE)).collect();
        named.sort_unstable();
        for key in named {
            let name = &key[TEMPLATE.len()..];
            if !is_file_name(name) || name == DEFAULT {
                return Err(self.expected(key, "a name of letters, digits, `_`, `-` and `.`, and not `default`"));
            }
            templates.insert(name, self.text(key)?);
        }
        Ok(templates)
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.values.contains_key("tokenizer.huggingface.json") {
            notes.push("`tokenizer.huggingface.json` is not read: the vocabulary under `tokenizer.ggml` counts".into());
        }
        let is_byte_level = self.text("tokenizer.ggml.model").is_ok_and(|model| model == "gpt2");
        if is_byte_level && matches!(self.values.get("tokenizer.ggml.add_space_prefix"), Some(Value::Bool(true))) {
            notes.push(
                "`tokenizer.ggml.add_space_prefix` is true: as in llama.cpp, a byte-level vocabulary puts no space"
                    .into(),
            );
        }
        notes
    }
}

/// A number that is not negative, in any of GGUF's widths.
pub(super) fn number(value: &Value) -> Option<usize> {
    match value {
        Value::I8(number) => usize::try_from(*number).ok(),
        Value::I16(number) => usize::try_from(*number).ok(),
        Value::I32(number) => usize::try_from(*number).ok(),
        Value::I64(number) => usize::try_from(*number).ok(),
        value => value.to_u64().ok().and_then(|number| usize::try_from(number).ok()),
    }
}

#[cfg(test)]
mod tests;
